//! Fixed records: what EL2 tells about itself and its VMs. Little-endian, no padding, no pointers.
//!
//! A guest gets them as the answer of a frame to `hv` whose body is a [`Query`]; the service
//! partition also by `hv_query` and `vm_query`. All times are in nanoseconds of the counter.

mod crash;
mod device;
mod plug;

pub use crash::{CrashRecord, NO_VCPU};
pub use device::{BalloonRecord, DISKS_ASKED_MAX, DiskRecord, NIC_DROPS, NicRecord, WakeRecord};
pub use plug::PlugRecord;

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::handle::LABEL_MAX;

/// What is asked of `hv`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum QueryKind {
    /// A [`SosStatus`]. Needs the grant INFO.
    SosStatus = 1,
    /// An [`HvInfo`]. Needs the grant INFO.
    HvInfo = 2,
    /// A piece of EL2's log from the position in the argument on: a [`LogHeader`] and text. Needs the grant LOG.
    Log = 3,
    /// A [`VcpusHeader`] and up to [`VCPUS_MAX`] [`VcpuRecord`]s: vCPUs of one VM, from the position in the argument on;
    /// 0 is the first. Needs the grant INFO.
    Vcpus = 4,
    /// The same of a VM's console, of its present life or its last one; the body is a [`ConsoleQuery`]. Needs the grant
    /// CONSOLES.
    Console = 5,
    /// A [`HistoryHeader`] and up to [`LIVES_MAX`] [`PastLife`]s: the last lives of the service partition, from the number
    /// in the argument on. Needs the grant INFO.
    Lives = 6,
    /// A [`HistoryHeader`] and up to [`ASKERS_MAX`] [`AskerRecord`]s: what the service partition has done for whom, from
    /// the position in the argument on. Needs the grant INFO.
    Askers = 7,
    /// A [`DevicesHeader`] and up to [`DISKS_ASKED_MAX`] [`DiskRecord`]s: disks of one VM, from the position in the argument
    /// on; 0 is the first, and 256 times a VM's slot the first from that slot on. Needs the grant INFO.
    Disks = 8,
    /// The same of network cards: a [`DevicesHeader`] and at most one [`NicRecord`]. Needs the grant INFO.
    Nics = 9,
    /// A [`WakeRecord`]. Needs the grant INFO.
    Packets = 10,
    /// As of disks, of balloons: a [`DevicesHeader`] and at most one [`BalloonRecord`]. Needs the grant INFO.
    Balloons = 12,
    /// A [`crate::console::ConsolePiece`] and text of the console that the asker watches, from the position in the
    /// argument on: answered when there is some, or its VM has ended. A later one takes the place of one without an answer.
    ConsoleNext = 16,
    /// A [`crate::console::ConsoleTyped`]: up to [`crate::console::TYPE_MAX`] bytes behind the query are typed at the console that the asker
    /// watches. One at a time. Needs a console that was attached to type.
    ConsoleType = 17,
    /// A [`PlugRecord`] of the asker itself. Needs no grant.
    Plugs = 18,
}

impl QueryKind {
    /// The kind with that number.
    pub const fn from_number(number: u32) -> Option<Self> {
        Some(match number {
            1 => Self::SosStatus,
            2 => Self::HvInfo,
            3 => Self::Log,
            4 => Self::Vcpus,
            5 => Self::Console,
            6 => Self::Lives,
            7 => Self::Askers,
            8 => Self::Disks,
            9 => Self::Nics,
            10 => Self::Packets,
            12 => Self::Balloons,
            16 => Self::ConsoleNext,
            17 => Self::ConsoleType,
            18 => Self::Plugs,
            _ => return None,
        })
    }
}

/// Body of a request to `hv`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Query {
    /// See [`QueryKind`].
    pub kind: U32,
    /// Zero.
    pub reserved: U32,
    /// Depends on the kind.
    pub argument: U64,
}

/// Body of a [`QueryKind::Console`]. Positions count from the beginning of the VM's life.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ConsoleQuery {
    /// As of every query.
    pub query: Query,
    /// The VM's label, zero padded.
    pub label: [u8; LABEL_MAX + 1],
}

/// State of a VM.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum VmState {
    /// Being built; no vCPU has run.
    Building = 1,
    /// Started.
    Running = 2,
    /// Its vCPUs have stopped for good; its memory is still there.
    Stopped = 3,
    /// Its memory is being scrubbed and returned.
    Dying = 4,
    /// None of its vCPUs runs, and its virtual time stands still, until it is resumed.
    Paused = 5,
}

impl VmState {
    /// The state with that number.
    pub const fn from_number(number: u32) -> Option<Self> {
        Some(match number {
            1 => Self::Building,
            2 => Self::Running,
            3 => Self::Stopped,
            4 => Self::Dying,
            5 => Self::Paused,
            _ => return None,
        })
    }
}

/// Why a VM stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum EndReason {
    /// It has not.
    None = 0,
    /// PSCI SYSTEM_OFF.
    PoweredOff = 1,
    /// PSCI SYSTEM_RESET.
    Reset = 2,
    /// A vCPU could not go on.
    Crashed = 3,
    /// `vm_stop`.
    Stopped = 4,
    /// Its watchdog was not refreshed for two periods.
    Watchdog = 5,
}

impl EndReason {
    /// The reason with that number.
    pub const fn from_number(number: u32) -> Option<Self> {
        Some(match number {
            0 => Self::None,
            1 => Self::PoweredOff,
            2 => Self::Reset,
            3 => Self::Crashed,
            4 => Self::Stopped,
            5 => Self::Watchdog,
            _ => return None,
        })
    }
}

impl core::fmt::Display for EndReason {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.pad(match self {
            Self::None => "-",
            Self::PoweredOff => "powered off",
            Self::Reset => "reset",
            Self::Crashed => "crashed",
            Self::Stopped => "stopped",
            Self::Watchdog => "watchdog expired",
        })
    }
}

/// What EL2 knows of a VM.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct VmRecord {
    /// Its handle.
    pub handle: U64,
    /// Its label, zero padded.
    pub label: [u8; LABEL_MAX + 1],
    /// See [`VmState`].
    pub state: U32,
    /// See [`EndReason`].
    pub end: U32,
    /// vCPUs it has.
    pub vcpus: U32,
    /// vCPUs that are on.
    pub vcpus_on: U32,
    /// Bytes of RAM that it owns.
    pub memory: U64,
    /// Time since it was started, pauses excepted; up to its end where it has ended.
    pub uptime_ns: U64,
    /// See [`crate::call::Grants`].
    pub grants: U64,
}

/// States of the service partition, as in [`SosStatus::state`].
pub const SOS_STATES: [&str; 6] = ["off", "loading", "booting", "ready", "draining", "faulted"];

/// The service partition's account.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SosStatus {
    /// Index into [`SOS_STATES`].
    pub state: U32,
    /// Lives so far.
    pub lives: U32,
    /// Lives that ended by a crash or a hang.
    pub failures: U32,
    /// Requests that wait or are in progress.
    pub requests: U32,
    /// Frames that it owns now, the frames of its tables and mailbox included.
    pub frames: U64,
    /// From the request that woke it last to its first reply.
    pub wake_to_answer_ns: U64,
    /// Time that it was not off.
    pub on_ns: U64,
    /// Time since EL2 started.
    pub up_ns: U64,
    /// Who woke it last: a VM's label, or "hv".
    pub woken_by: [u8; LABEL_MAX + 1],
}

/// Before lives, and before askers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct HistoryHeader {
    /// What to ask for next, or all ones behind the last.
    pub next: U64,
    /// Time since EL2 started.
    pub up_ns: U64,
}

/// How a life of the service partition ended, in the order of [`PastLife::end`]'s numbers.
pub const LIFE_ENDS: [&str; 4] = ["on", "drained", "crashed", "hung"];

/// A life of the service partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PastLife {
    /// Its number, from 1.
    pub life: U32,
    /// Index into [`LIFE_ENDS`].
    pub end: U32,
    /// Who woke it: a VM's label, or "hv".
    pub woken_by: [u8; LABEL_MAX + 1],
    /// When it began, since EL2 started.
    pub began_ns: U64,
    /// How long it was on, so far.
    pub on_ns: U64,
    /// CPU time of it. Of one that is on: what was charged so far.
    pub cpu_ns: U64,
    /// Requests that it has answered.
    pub requests: U32,
    /// Zero.
    pub reserved: U32,
}

/// What the service partition has done for an asker, in all of its lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AskerRecord {
    /// A VM's label, or "hv".
    pub label: [u8; LABEL_MAX + 1],
    /// Lives that it woke.
    pub wakes: U32,
    /// Requests of it that were answered.
    pub requests: U32,
    /// CPU time.
    pub cpu_ns: U64,
}

/// Lives that one answer has at most.
pub const LIVES_MAX: usize = (crate::mailbox::BODY_MAX - size_of::<HistoryHeader>()) / size_of::<PastLife>();
/// Askers that one answer has at most.
pub const ASKERS_MAX: usize = (crate::mailbox::BODY_MAX - size_of::<HistoryHeader>()) / size_of::<AskerRecord>();
const _: () = assert!(LIVES_MAX == 2 && ASKERS_MAX == 4);

/// Where all of RAM is, and what EL2 runs on. The rows of memory add up to `ram`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct HvInfo {
    /// CPUs that run.
    pub cpus: U32,
    /// Frequency of the counter in Hz.
    pub counter_hz: U32,
    /// Bytes of RAM by the host's device tree.
    pub ram: U64,
    /// RAM of guests.
    pub guests: U64,
    /// RAM, tables and mailbox of the service partition.
    pub sos: U64,
    /// EL2: its image, .bss included.
    pub el2_image: U64,
    /// EL2: stacks.
    pub el2_stacks: U64,
    /// EL2: translation tables and the frame table.
    pub el2_tables: U64,
    /// EL2: console and log rings.
    pub el2_rings: U64,
    /// EL2: guests' mailboxes.
    pub el2_mailboxes: U64,
    /// The boot archive.
    pub archive: U64,
    /// Notes.
    pub notes: U64,
    /// What firmware keeps: reserved memory and the device tree; and what a drive may use that cannot be stopped.
    pub firmware: U64,
    /// Free, with what is held for the service partition's next life.
    pub free: U64,
    /// Of the free memory: held for the service partition.
    pub held: U64,
    /// Counter at the first entry of the first guest, 0 before.
    pub first_guest_count: U64,
    /// Time since EL2 started.
    pub up_ns: U64,
    /// CRC-32 of the EL2 image's file as it was loaded.
    pub image_crc: U32,
    /// CPUs that are off: the one that the service partition has for itself, while it sleeps; those that did not start.
    pub cpus_off: U32,
}

/// Before a piece of the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct LogHeader {
    /// Position of the text's first byte since EL2 started.
    pub position: U64,
    /// Position behind the log's last byte.
    pub end: U64,
}

/// Names of what brings a vCPU to EL2, in the order of [`VcpuRecord::exits`].
pub const EXITS: [&str; 7] = ["hypercall", "register", "device", "wait", "timer", "interrupt", "other"];

/// Names of what a vCPU does, in the order of [`VcpuRecord::state`]'s numbers.
pub const VCPU_STATES: [&str; 4] = ["off", "sleeps", "waits", "runs"];

/// Before vCPUs of a VM.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct VcpusHeader {
    /// Position to ask for next, or all ones behind the last.
    pub next: U64,
    /// Time since EL2 started, of these records.
    pub up_ns: U64,
    /// The VM's handle.
    pub handle: U64,
    /// The VM's label, zero padded.
    pub label: [u8; LABEL_MAX + 1],
}

/// Before disks, network cards or the balloon of a VM.
pub type DevicesHeader = VcpusHeader;

/// What a vCPU has had since its VM was created.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct VcpuRecord {
    /// Its number in its VM.
    pub vcpu: u8,
    /// The CPU that has it, or had it last.
    pub cpu: u8,
    /// Index into [`VCPU_STATES`].
    pub state: u8,
    /// Zero.
    pub reserved: [u8; 5],
    /// It ran.
    pub ran_ns: U64,
    /// It could have run and did not: stolen time.
    pub waited_ns: U64,
    /// How often it came to EL2, by [`EXITS`].
    pub exits: [U64; EXITS.len()],
}

/// vCPUs that one answer has at most.
pub const VCPUS_MAX: usize = (crate::mailbox::BODY_MAX - size_of::<VcpusHeader>()) / size_of::<VcpuRecord>();

const _: () = assert!(VCPUS_MAX == 2);
const _: () = assert!(size_of::<HvInfo>() <= crate::mailbox::BODY_MAX);
const _: () = assert!(size_of::<SosStatus>() <= crate::mailbox::BODY_MAX);
