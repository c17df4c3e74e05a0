//! The privileged calls as a trait: one method for each, in the order of the call table.
//!
//! Implementations only carry arguments over the border; nothing here decides or retries.

use alloc::vec::Vec;

use hv_abi::call::{
    ConfigKind, DeviceChange, DeviceKind, DiskPart, DrainAnswer, Grants, NicPort, Scheduling, SharedRegion,
};
use hv_abi::console::ConsoleRight;
use hv_abi::handle::Label;
use hv_abi::message::Fault;
use hv_abi::record::{CrashRecord, HvInfo, QueryKind, SosStatus, VmRecord};
use hv_abi::wake::WakeRule;
use hv_abi::{Status, VmHandle};

/// A global note as EL2 keeps it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Note {
    /// Its bytes; empty where it was never set.
    pub bytes: Vec<u8>,
    /// Its version, for [`Hypervisor::note_set`].
    pub version: u64,
}

/// A VM found by [`Hypervisor::vm_query`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QueryAnswer {
    /// What EL2 knows of it.
    pub record: VmRecord,
    /// The slot to ask for next, or `None` behind the last VM.
    pub next: Option<u64>,
}

/// What [`Hypervisor::drive_read`] has read, and of what.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DriveBlock {
    /// 4 KiB.
    pub bytes: Vec<u8>,
    /// Sectors of 512 bytes of the drive.
    pub sectors: u64,
    /// Bytes of its blocks.
    pub block_size: u32,
}

/// EL2, as the service partition calls it. Every method returns EL2's status as its error;
/// `hv_abi::call` says what each call does.
pub trait Hypervisor {
    /// `doorbell`.
    ///
    /// # Errors
    /// `NO_ROOM`: the receiver has no room for the reply, which was taken back.
    fn doorbell(&mut self) -> Result<(), Status>;

    /// `vm_create`.
    ///
    /// # Errors
    /// EL2's status.
    fn vm_create(&mut self, label: Label, vcpus: u8) -> Result<VmHandle, Status>;

    /// `vm_memory`: bytes done, less than asked where EL2 answers `AGAIN`.
    ///
    /// # Errors
    /// EL2's status.
    fn vm_memory(&mut self, vm: VmHandle, ipa: u64, bytes: u64) -> Result<u64, Status>;

    /// `vm_copy_in` of `bytes`, which lie in this partition's memory or in the boot archive: bytes done.
    ///
    /// # Errors
    /// EL2's status.
    fn vm_copy_in(&mut self, vm: VmHandle, target: u64, bytes: &[u8]) -> Result<u64, Status>;

    /// `vm_device`.
    ///
    /// # Errors
    /// EL2's status.
    fn vm_device(&mut self, vm: VmHandle, kind: DeviceKind, parameters: [u64; 3]) -> Result<(), Status>;

    /// `vcpu_init`.
    ///
    /// # Errors
    /// EL2's status.
    fn vcpu_init(&mut self, vm: VmHandle, entry: u64, x0: u64) -> Result<(), Status>;

    /// `vm_start`.
    ///
    /// # Errors
    /// EL2's status.
    fn vm_start(&mut self, vm: VmHandle) -> Result<(), Status>;

    /// `vm_stop`.
    ///
    /// # Errors
    /// EL2's status, `AGAIN` among them.
    fn vm_stop(&mut self, vm: VmHandle) -> Result<(), Status>;

    /// `vm_destroy`.
    ///
    /// # Errors
    /// EL2's status, `AGAIN` among them.
    fn vm_destroy(&mut self, vm: VmHandle) -> Result<(), Status>;

    /// `vm_query`.
    ///
    /// # Errors
    /// EL2's status; `NO_SUCH_VM` where no VM is left.
    fn vm_query(&mut self, slot: u64) -> Result<QueryAnswer, Status>;

    /// `vm_grant`.
    ///
    /// # Errors
    /// EL2's status.
    fn vm_grant(&mut self, vm: VmHandle, grants: Grants) -> Result<(), Status>;

    /// `hv_query` for where RAM is and what EL2 runs on.
    ///
    /// # Errors
    /// EL2's status.
    fn hv_info(&mut self) -> Result<HvInfo, Status>;

    /// `hv_query` for this partition's lives.
    ///
    /// # Errors
    /// EL2's status.
    fn sos_status(&mut self) -> Result<SosStatus, Status>;

    /// `hv_query` for a record of any other kind: its bytes.
    ///
    /// # Errors
    /// EL2's status.
    fn hv_query(&mut self, kind: QueryKind, argument: u64) -> Result<Vec<u8>, Status>;

    /// `hv_config`.
    ///
    /// # Errors
    /// EL2's status.
    fn hv_config(&mut self, kind: ConfigKind) -> Result<(), Status>;

    /// `sos_ready`.
    ///
    /// # Errors
    /// EL2's status.
    fn sos_ready(&mut self) -> Result<(), Status>;

    /// `sos_idle`. Does not return where EL2 takes an agreement.
    ///
    /// # Errors
    /// EL2's status.
    fn sos_idle(&mut self, answer: DrainAnswer) -> Result<(), Status>;

    /// `sos_note_get`.
    ///
    /// # Errors
    /// EL2's status.
    fn note_get(&mut self, note: u64) -> Result<Note, Status>;

    /// `sos_note_set`: the new version.
    ///
    /// # Errors
    /// EL2's status; `CONFLICT` where the note has another version than `replaces`.
    fn note_set(&mut self, note: u64, bytes: &[u8], replaces: u64) -> Result<u64, Status>;

    /// `vm_sched` of every vCPU.
    ///
    /// # Errors
    /// EL2's status.
    fn vm_sched(&mut self, vm: VmHandle, words: &Scheduling) -> Result<(), Status>;

    /// `vm_sched_get`.
    ///
    /// # Errors
    /// EL2's status.
    fn vm_sched_get(&mut self, vm: VmHandle) -> Result<Scheduling, Status>;
    /// `sos_alarm`: the event `Alarm` comes when the counter gets there; `None` takes the alarm back.
    ///
    /// # Errors
    /// EL2's status.
    fn sos_alarm(&mut self, at: Option<u64>) -> Result<(), Status>;

    /// `vm_pause`.
    ///
    /// # Errors
    /// EL2's status, `AGAIN` among them.
    fn vm_pause(&mut self, vm: VmHandle) -> Result<(), Status>;

    /// `vm_resume`.
    ///
    /// # Errors
    /// EL2's status, `AGAIN` among them.
    fn vm_resume(&mut self, vm: VmHandle) -> Result<(), Status>;

    /// `vm_crash`.
    ///
    /// # Errors
    /// EL2's status; `NO_SUCH_VM` where nothing is kept of a crash of that name.
    fn vm_crash(&mut self, label: Label) -> Result<CrashRecord, Status>;

    /// `vm_share`.
    ///
    /// # Errors
    /// EL2's status.
    fn vm_share(&mut self, vm: VmHandle, name: Label, region: SharedRegion) -> Result<(), Status>;

    /// `sos_network`.
    ///
    /// # Errors
    /// EL2's status; `EXISTS` where this partition has a card already.
    fn sos_network(&mut self, port: NicPort) -> Result<(), Status>;

    /// `sos_wake_rules`.
    ///
    /// # Errors
    /// EL2's status.
    fn sos_wake_rules(&mut self, rules: &[WakeRule]) -> Result<(), Status>;

    /// `console_attach` of `vm`'s console to a port of another VM.
    ///
    /// # Errors
    /// EL2's status; `DENIED` where the other VM has no grant for it.
    fn console_attach(&mut self, vm: VmHandle, to: (VmHandle, u16), right: ConsoleRight) -> Result<(), Status>;

    /// `vm_device_set`.
    ///
    /// # Errors
    /// EL2's status; nothing is changed then.
    fn vm_device_set(&mut self, vm: VmHandle, change: DeviceChange) -> Result<(), Status>;

    /// `drive_read` of 4 KiB from a sector on, which is waited for, but not for long.
    ///
    /// # Errors
    /// EL2's status; `AGAIN` where the drive has not answered in time, or had not before in this life.
    fn drive_read(&mut self, drive: u8, sector: u64) -> Result<DriveBlock, Status>;

    /// `vm_attach`.
    ///
    /// # Errors
    /// EL2's status.
    fn vm_attach(&mut self, vm: VmHandle, part: DiskPart) -> Result<(), Status>;

    /// `vm_detach` of a disk; `force`: at once.
    ///
    /// # Errors
    /// EL2's status; `AGAIN` where it waits for the disk's driver.
    fn vm_detach(&mut self, vm: VmHandle, disk: u8, force: bool) -> Result<(), Status>;

    /// No call: makes this partition fail, in builds with the feature `fault-injection`.
    ///
    /// # Errors
    /// `DENIED` in every other build.
    fn inject(&mut self, fault: Fault) -> Result<(), Status>;
}
