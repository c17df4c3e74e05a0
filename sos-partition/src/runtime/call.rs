//! Privileged calls by HVC (`hv_abi::call`, DEN0028).

use alloc::vec::Vec;
use core::arch::asm;

use hv_abi::call::{
    Call, ConfigKind, DeviceChange, DeviceKind, DiskPart, DrainAnswer, Grants, NOTE_MAX, NicPort, Scheduling,
    SharedRegion,
};
use hv_abi::console::ConsoleRight;
use hv_abi::handle::Label;
use hv_abi::mailbox::BODY_MAX;
use hv_abi::message::Fault;
use hv_abi::record::{CrashRecord, HvInfo, QueryKind, SosStatus};
use hv_abi::wake::WakeRule;
use hv_abi::{Status, VmHandle};
use sos_partition::Hypervisor;
use sos_partition::hypervisor::{DriveBlock, Note, QueryAnswer};
use zerocopy::FromBytes;

use crate::runtime::faults::Faults;
use crate::runtime::interrupts;
use crate::runtime::memory::ANSWERS;

/// x1 to x3 of an answer.
type Results = [u64; 3];

/// Bytes of a `drive_read`.
const READ_SIZE: u64 = 4096;
/// How long one is waited for, in seconds: meanwhile nobody else is served.
const READ_PATIENCE_S: u64 = 1;

/// EL2, by its calls.
pub(crate) struct El2 {
    faults: Faults,
    /// Drives that have not answered in time, a bit each: nobody waits for them again in this life.
    silent: u64,
    ticks_per_second: u64,
}

impl El2 {
    /// EL2, over a counter of that frequency in Hz.
    pub(crate) const fn new(ticks_per_second: u64) -> Self {
        Self { faults: Faults::new(), silent: 0, ticks_per_second }
    }

    /// A privileged call that has no other outcome than its status.
    fn call<const N: usize>(&mut self, call: Call, arguments: [u64; N]) -> Result<Results, Status> {
        let (status, results) = self.call_status(call, arguments);
        status.ok().map(|()| results)
    }

    /// The record that EL2 answers a query with.
    fn query<T: FromBytes>(&mut self, kind: QueryKind) -> Result<T, Status> {
        let arguments = [kind as u64, 0, ANSWERS.ipa(), size_of::<T>() as u64];
        let [bytes, ..] = self.call(Call::HvQuery, arguments)?;
        if bytes == size_of::<T>() as u64 { Ok(ANSWERS.record()) } else { Err(Status::NotSupported) }
    }

    fn call_status<const N: usize>(&mut self, call: Call, arguments: [u64; N]) -> (Status, Results) {
        let answer = hypercall(call, arguments);
        self.faults.after_call();
        answer
    }
}

/// Makes a call. Arguments and results are plain numbers; EL2 checks every one.
pub(crate) fn hypercall<const N: usize>(call: Call, arguments: [u64; N]) -> (Status, Results) {
    const { assert!(N <= 6) };
    let mut x = [0; 6];
    x[..N].copy_from_slice(&arguments);
    let (status, results);
    let [mut x1, mut x2, mut x3, x4, x5, x6] = x;
    // SAFETY: x4 to x30 are kept. EL2 may write to the buffer that an argument names, which is why
    // this counts as a write to memory, and to nothing else of ours.
    unsafe {
        asm!(
            "hvc #0",
            inlateout("x0") u64::from(call as u32) => status,
            inlateout("x1") x1,
            inlateout("x2") x2,
            inlateout("x3") x3,
            in("x4") x4,
            in("x5") x5,
            in("x6") x6,
            options(nostack)
        );
    }
    results = [x1, x2, x3];
    (Status::from_register(status), results)
}

impl Hypervisor for El2 {
    fn doorbell(&mut self) -> Result<(), Status> {
        // Not privileged: every VM with a mailbox has it, and faults are not counted by it.
        hypercall(Call::Doorbell, []).0.ok()
    }

    fn vm_create(&mut self, label: Label, vcpus: u8) -> Result<VmHandle, Status> {
        let [a, b, c, d] = label.to_registers();
        let [handle, ..] = self.call(Call::VmCreate, [a, b, c, d, u64::from(vcpus)])?;
        Ok(VmHandle(handle))
    }

    fn vm_memory(&mut self, vm: VmHandle, ipa: u64, bytes: u64) -> Result<u64, Status> {
        match self.call_status(Call::VmMemory, [vm.0, ipa, bytes]) {
            (Status::Success, _) => Ok(bytes),
            (Status::Again, [done, ..]) => Ok(done),
            (error, _) => Err(error),
        }
    }

    fn vm_copy_in(&mut self, vm: VmHandle, target: u64, bytes: &[u8]) -> Result<u64, Status> {
        let source = bytes.as_ptr() as u64;
        let arguments = [vm.0, target, source, bytes.len() as u64];
        match self.call_status(Call::VmCopyIn, arguments) {
            (Status::Success | Status::Again, [done, ..]) => Ok(done),
            (error, _) => Err(error),
        }
    }

    fn vm_device(&mut self, vm: VmHandle, kind: DeviceKind, [first, second, third]: [u64; 3]) -> Result<(), Status> {
        self.call(Call::VmDevice, [vm.0, kind as u64, first, second, third]).map(|_| ())
    }

    fn vm_device_set(&mut self, vm: VmHandle, change: DeviceChange) -> Result<(), Status> {
        let [kind, first, second, third] = change.to_registers();
        self.call(Call::VmDeviceSet, [vm.0, kind, first, second, third]).map(|_| ())
    }

    fn vcpu_init(&mut self, vm: VmHandle, entry: u64, x0: u64) -> Result<(), Status> {
        self.call(Call::VcpuInit, [vm.0, entry, x0]).map(|_| ())
    }

    fn vm_start(&mut self, vm: VmHandle) -> Result<(), Status> {
        self.call(Call::VmStart, [vm.0]).map(|_| ())
    }

    fn vm_stop(&mut self, vm: VmHandle) -> Result<(), Status> {
        self.call(Call::VmStop, [vm.0]).map(|_| ())
    }

    fn vm_destroy(&mut self, vm: VmHandle) -> Result<(), Status> {
        self.call(Call::VmDestroy, [vm.0]).map(|_| ())
    }

    fn vm_query(&mut self, slot: u64) -> Result<QueryAnswer, Status> {
        let [next, ..] = self.call(Call::VmQuery, [slot, ANSWERS.ipa()])?;
        Ok(QueryAnswer { record: ANSWERS.record(), next: (next != u64::MAX).then_some(next) })
    }

    fn vm_grant(&mut self, vm: VmHandle, grants: Grants) -> Result<(), Status> {
        self.call(Call::VmGrant, [vm.0, grants.0]).map(|_| ())
    }

    fn hv_info(&mut self) -> Result<HvInfo, Status> {
        self.query(QueryKind::HvInfo)
    }

    fn sos_status(&mut self) -> Result<SosStatus, Status> {
        self.query(QueryKind::SosStatus)
    }

    fn hv_query(&mut self, kind: QueryKind, argument: u64) -> Result<Vec<u8>, Status> {
        let arguments = [kind as u64, argument, ANSWERS.ipa(), BODY_MAX as u64];
        let [bytes, ..] = self.call(Call::HvQuery, arguments)?;
        Ok(ANSWERS.bytes(bytes))
    }

    fn hv_config(&mut self, kind: ConfigKind) -> Result<(), Status> {
        self.call(Call::HvConfig, [kind as u64]).map(|_| ())
    }

    fn sos_ready(&mut self) -> Result<(), Status> {
        self.call(Call::SosReady, []).map(|_| ())
    }

    fn sos_idle(&mut self, answer: DrainAnswer) -> Result<(), Status> {
        self.call(Call::SosIdle, [answer as u64]).map(|_| ())
    }

    fn note_get(&mut self, note: u64) -> Result<Note, Status> {
        let arguments = [note, ANSWERS.ipa(), NOTE_MAX as u64];
        let [bytes, version, _] = self.call(Call::NoteGet, arguments)?;
        Ok(Note { bytes: ANSWERS.bytes(bytes), version })
    }

    fn note_set(&mut self, note: u64, bytes: &[u8], replaces: u64) -> Result<u64, Status> {
        let arguments = [note, bytes.as_ptr() as u64, bytes.len() as u64, replaces];
        let [version, ..] = self.call(Call::NoteSet, arguments)?;
        Ok(version)
    }

    fn vm_sched(&mut self, vm: VmHandle, words: &Scheduling) -> Result<(), Status> {
        let [cpus, share, reservation] = words.to_registers();
        self.call(Call::VmSched, [vm.0, u64::MAX, cpus, share, reservation]).map(|_| ())
    }

    fn vm_sched_get(&mut self, vm: VmHandle) -> Result<Scheduling, Status> {
        let answer = self.call(Call::VmSchedGet, [vm.0])?;
        Scheduling::from_registers(answer).ok_or(Status::NotSupported)
    }

    fn sos_alarm(&mut self, at: Option<u64>) -> Result<(), Status> {
        // 0 is no alarm; a time that is as good as 0 has come.
        self.call(Call::SosAlarm, [at.map_or(0, |at| at.max(1))]).map(|_| ())
    }

    fn vm_pause(&mut self, vm: VmHandle) -> Result<(), Status> {
        self.call(Call::VmPause, [vm.0]).map(|_| ())
    }

    fn vm_resume(&mut self, vm: VmHandle) -> Result<(), Status> {
        self.call(Call::VmResume, [vm.0]).map(|_| ())
    }

    fn vm_crash(&mut self, label: Label) -> Result<CrashRecord, Status> {
        let [a, b, c, d] = label.to_registers();
        self.call(Call::VmCrash, [a, b, c, d, ANSWERS.ipa()]).map(|_| ANSWERS.record())
    }

    fn vm_share(&mut self, vm: VmHandle, name: Label, region: SharedRegion) -> Result<(), Status> {
        let [a, b, c, d] = name.to_registers();
        self.call(Call::VmShare, [vm.0, a, b, c, d, region.to_register()]).map(|_| ())
    }

    fn sos_network(&mut self, port: NicPort) -> Result<(), Status> {
        self.call(Call::SosNetwork, port.to_registers()).map(|_| ())
    }

    fn sos_wake_rules(&mut self, rules: &[WakeRule]) -> Result<(), Status> {
        self.call(Call::SosRules, [rules.as_ptr() as u64, rules.len() as u64]).map(|_| ())
    }

    fn console_attach(&mut self, vm: VmHandle, to: (VmHandle, u16), right: ConsoleRight) -> Result<(), Status> {
        self.call(Call::ConsoleAttach, [vm.0, to.0.0, u64::from(to.1), right as u64]).map(|_| ())
    }

    fn drive_read(&mut self, drive: u8, sector: u64) -> Result<DriveBlock, Status> {
        if self.silent & 1 << (drive % 64) != 0 {
            return Err(Status::Again);
        }
        // The counter never stands at a value twice: nobody has asked by this number.
        let number = interrupts::now();
        let until = number.saturating_add(self.ticks_per_second.saturating_mul(READ_PATIENCE_S));
        loop {
            let arguments = [u64::from(drive), sector, ANSWERS.ipa(), number];
            let (status, [sectors, block_size, _]) = self.call_status(Call::DriveRead, arguments);
            if status != Status::Again {
                let bytes = status.ok().map(|()| ANSWERS.bytes(READ_SIZE))?;
                return Ok(DriveBlock { bytes, sectors, block_size: block_size as u32 });
            }
            let now = interrupts::now();
            if now >= until {
                self.silent |= 1 << (drive % 64);
                return Err(Status::Again);
            }
            // A drive without room for the read says nothing when it has some.
            interrupts::wait(until.min(now.saturating_add(self.ticks_per_second / 100)));
        }
    }

    fn vm_attach(&mut self, vm: VmHandle, part: DiskPart) -> Result<(), Status> {
        let [which, first, sectors] = part.to_registers();
        self.call(Call::VmAttach, [vm.0, which, first, sectors]).map(|_| ())
    }

    fn vm_detach(&mut self, vm: VmHandle, disk: u8, force: bool) -> Result<(), Status> {
        self.call(Call::VmDetach, [vm.0, disk.into(), force.into()]).map(|_| ())
    }

    fn inject(&mut self, fault: Fault) -> Result<(), Status> {
        self.faults.arm(fault)
    }
}
