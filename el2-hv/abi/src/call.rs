//! Hypercalls: one table is the source of numbers, arguments, results and of docs/HYPERCALLS.md.
//!
//! A call is `HVC #0` with the function identifier in w0 and arguments in x1 to x6, by the SMC
//! Calling Convention (DEN0028): identifiers lie in the range of vendor specific hypervisor
//! services, fast and 64-bit. x0 returns a [`crate::Status`], x1 to x3 results; x4 to x30 are kept.

mod change;
mod device;

pub use change::DeviceChange;
pub use device::{DISK_QUEUES_MAX, DeviceKind, DiskLimits, DiskPart, MTU_MAX, MTU_MIN, NETWORKS_MAX, NicPort};

use crate::guest_map::{SHARED_MAX, SHARED_MIN, SHARED_USERS};

/// First identifier: fast call, SMC64, owner 6 (vendor specific hypervisor service), function 0
/// (DEN0028 §2.5, §6).
pub const BASE: u32 = 0xC600_0000;

/// Who may make a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Caller {
    /// Every VM that has a mailbox, the service partition among them.
    Mailbox,
    /// The service partition only. Everybody else gets `NOT_SUPPORTED`.
    ServicePartition,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct CallSpec {
    /// The call.
    pub call: Call,
    /// Its name in documents.
    pub name: &'static str,
    /// Who may make it.
    pub caller: Caller,
    /// Arguments x1 and up.
    pub arguments: &'static [&'static str],
    /// Results x1 and up.
    pub results: &'static [&'static str],
    /// What it does.
    pub summary: &'static str,
}

macro_rules! calls {
    ($($variant:ident = $number:literal, $name:literal, $caller:ident,
       [$($argument:literal),*] -> [$($result:literal),*], $summary:literal;)*) => {
        /// A hypercall.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(u32)]
        pub enum Call {
            $(#[doc = $summary] $variant = BASE + $number,)*
        }

        /// Every call, in the order of its number.
        pub const CALLS: &[CallSpec] = &[$(CallSpec {
            call: Call::$variant,
            name: $name,
            caller: Caller::$caller,
            arguments: &[$($argument),*],
            results: &[$($result),*],
            summary: $summary,
        }),*];

        impl Call {
            /// The call with identifier `function`.
            #[inline]
            pub const fn from_function(function: u32) -> Option<Self> {
                match function {
                    $(f if f == BASE + $number => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }
    };
}

calls! {
    Doorbell = 0, "doorbell", Mailbox, [] -> [],
        "EL2 looks at the caller's mailbox: takes frames from the outbound ring and fills the inbound ring. The service partition gets NO_ROOM when the receiver of a reply has none: that frame was taken from the ring and not delivered, and the ones behind it were not looked at.";
    VmCreate = 1, "vm_create", ServicePartition, ["label[0..8]", "label[8..16]", "label[16..24]", "label[24..32]", "vCPU count"] -> ["handle"],
        "Reserves a slot for a VM with a unique label. EXISTS if a VM has the label, NO_MEMORY if no slot or vCPU is free.";
    VmMemory = 2, "vm_memory", ServicePartition, ["handle", "IPA", "bytes"] -> ["bytes done"],
        "Gives a VM that was not started RAM at an IPA, both multiples of 2 MiB. EL2 picks the frames. AGAIN with the bytes done so far: call again with IPA and bytes moved on.";
    VmCopyIn = 3, "vm_copy_in", ServicePartition, ["handle", "target IPA", "source IPA of the caller", "bytes, at most 65536"] -> ["bytes done"],
        "Copies from the caller's memory, or its view of the boot archive, to a VM that was not started, cleaned to the point of coherency. May do less than asked: go on from there.";
    VmDevice = 4, "vm_device", ServicePartition, ["handle", "device (see DeviceKind)", "parameter", "of a disk, its first sector; of a network card, its address", "of a disk, its sectors, 0: up to the drive's end; of a network card, its limits"] -> [],
        "Gives a VM that was not started a device. For a disk: INVALID_ARGUMENT if there is no such drive or the sectors are not among its own, DENIED if the drive takes no writes, CONFLICT if another VM writes to some of them, EXISTS if the VM has a disk in the place, NO_MEMORY if there are too many disks. For a network card: CONFLICT if another one in the network has the address, EXISTS if the VM has a card in the place, NO_ROOM if the network has as many as it may. For limits: INVALID_ARGUMENT if the VM has no such disk; they begin with a whole burst.";
    VcpuInit = 5, "vcpu_init", ServicePartition, ["handle", "entry IPA", "x0 at entry"] -> [],
        "Sets where the boot vCPU starts. The others start by the guest's PSCI CPU_ON.";
    VmStart = 6, "vm_start", ServicePartition, ["handle"] -> [],
        "Starts a VM. From now on the caller can neither read nor write its memory.";
    VmStop = 7, "vm_stop", ServicePartition, ["handle"] -> [],
        "Stops a VM's vCPUs at once and for good. AGAIN while one of them is still on a CPU.";
    VmDestroy = 8, "vm_destroy", ServicePartition, ["handle"] -> [],
        "Scrubs a VM's memory and returns every frame. Stops it first where it runs. AGAIN until all is returned; then the handle is stale.";
    VmQuery = 9, "vm_query", ServicePartition, ["slot", "IPA of a VmRecord"] -> ["next slot, or all ones"],
        "Writes the record of the first VM in the slots from `slot` on. NO_SUCH_VM when there is none.";
    VmGrant = 10, "vm_grant", ServicePartition, ["handle", "Grants"] -> [],
        "Sets what a VM that was not started may ask.";
    HvQuery = 11, "hv_query", ServicePartition, ["QueryKind", "argument", "IPA of the buffer", "bytes of the buffer"] -> ["bytes written"],
        "Writes the record that a guest with every grant would get from `hv`.";
    HvConfig = 12, "hv_config", ServicePartition, ["ConfigKind"] -> [],
        "Powers the board off, or resets it.";
    SosReady = 13, "sos_ready", ServicePartition, [] -> [],
        "The service partition takes requests from now on.";
    SosIdle = 14, "sos_idle", ServicePartition, ["DrainAnswer"] -> [],
        "Answers a drain: agreed (the call does not return), or busy.";
    NoteGet = 15, "sos_note_get", ServicePartition, ["note", "IPA of the buffer", "bytes of the buffer"] -> ["bytes of the note", "version"],
        "Reads a global note. INVALID_ARGUMENT if the buffer is too small; x1 then says what it takes.";
    NoteSet = 16, "sos_note_set", ServicePartition, ["note", "IPA of the bytes", "bytes", "version it replaces"] -> ["version"],
        "Replaces a global note if it still has that version; CONFLICT otherwise.";
    VmSched = 17, "vm_sched", ServicePartition, ["handle", "vCPU number, or all ones: every one", "CPUs it may run on, a bit each, or all ones: every one", "weight | cap << 32 | pinned << 48", "budget | period << 32"] -> [],
        "Sets what vCPUs of a VM get, before or after its start: weight 1 to 10000; cap in thousandths of a CPU, 10 to 1000, 0 none; a reservation of 100 us or more in each period of 1000 to 1000000 us, 0 none; pinned: a CPU for itself, with neither cap nor reservation. All vCPUs named, or none. DENIED if no such CPU is open to one of them, NO_ROOM if none has so much left to reserve (for a pinned one: all have reservations), CONFLICT if another vCPU would be left without a CPU, WRONG_STATE once the VM has ended.";
    VmSchedGet = 18, "vm_sched_get", ServicePartition, ["handle"] -> ["CPUs", "weight | cap << 32 | pinned << 48", "budget | period << 32"],
        "What the first vCPU of a VM gets, as `vm_sched` takes it.";
    SosAlarm = 19, "sos_alarm", ServicePartition, ["count"] -> [],
        "Sets when the service partition is woken by the event `Alarm`, as a value of the counter that it reads; 0 takes the alarm back. There is one; it outlives lives until it is set again, or a life that was told of it has agreed to end.";
    VmPause = 20, "vm_pause", ServicePartition, ["handle"] -> [],
        "Takes the vCPUs of a running VM from their CPUs; its virtual time stands still. AGAIN while one of them is still on a CPU; success where it is paused.";
    VmResume = 21, "vm_resume", ServicePartition, ["handle"] -> [],
        "Lets a paused VM go on where it was, its virtual counter included. AGAIN while it is being paused.";
    VmCrash = 22, "vm_crash", ServicePartition, ["label[0..8]", "label[8..16]", "label[16..24]", "label[24..32]", "IPA of a CrashRecord"] -> [],
        "Writes how the last life of a VM of that label crashed, or hung. NO_SUCH_VM if it did not, or nothing of it is kept any more.";
    VmShare = 23, "vm_share", ServicePartition, ["handle", "name[0..8]", "name[8..16]", "name[16..24]", "name[24..32]", "region (see SharedRegion)"] -> ["IPA"],
        "Gives a VM that was not started memory that it shares with others, by its name, and a doorbell to them; the first one makes it, of zeroes, the last one takes it along. EXISTS if the VM has it or another has that number, CONFLICT if it has another size, NO_ROOM if the VM has as many as it may, NO_MEMORY if there are too many regions or no frames.";
    SosNetwork = 24, "sos_network", ServicePartition, ["port (see NicPort)", "its address", "its limits"] -> [],
        "Gives the service partition a network card in virtio slot NIC_SLOT, which keeps its address and port while the partition is off. EXISTS if it has one: nothing is changed.";
    SosRules = 25, "sos_wake_rules", ServicePartition, ["IPA of WakeRules", "how many, at most 16"] -> [],
        "Sets what becomes of frames for the service partition while it is off, instead of what was set before. INVALID_ARGUMENT if one of them reaches beyond its answer or the bytes that are looked at: nothing is changed.";
    ConsoleAttach = 26, "console_attach", ServicePartition, ["handle", "handle of the VM that watches", "its port; 0 is its ring", "ConsoleRight"] -> [],
        "Lets a VM watch another one's console on one of its ports, in the place of what it watched there before, until the port is closed: EL2 answers what it asks for. NO_SUCH_VM if one of them does not exist, WRONG_STATE if one of them does not live, INVALID_ARGUMENT if they are the same or there is no such port, DENIED if the VM that watches lacks the grant CONSOLES, or to type the grant MANAGE, NO_ROOM if there are too many who watch.";
    DriveRead = 27, "drive_read", ServicePartition, ["drive", "first sector", "IPA of a page", "number of the read"] -> ["sectors of the drive", "bytes of its blocks"],
        "Reads 8 sectors of 512 bytes of a drive, whoever has them as a disk. AGAIN while the drive reads, with an interrupt of the mailbox when it has; the same number fetches what was read, once, and no other: a caller chooses one that it has never used. One read of a drive is on its way at a time. INVALID_ARGUMENT if there is no such drive, or the sectors are not among its own or no whole blocks: without a drive x1 is 0. DENIED if the drive has failed to read them, or was given up.";
    VmDeviceSet = 29, "vm_device_set", ServicePartition, ["handle", "change (see DeviceChange)", "which device, or bytes of memory", "of a disk, its limits or sectors; of a network card, its limits or link", "0"] -> [],
        "Changes a device of a VM that was started, and tells the guest where it can see it. WRONG_STATE if the VM does not live; INVALID_ARGUMENT if it has no such device, the drive no such sectors, or the VM not so much memory; CONFLICT if another VM writes to the sectors; DENIED if the disk would become smaller, or the memory less than the VM's guarantee. Nothing is changed then.";
    VmAttach = 32, "vm_attach", ServicePartition, ["handle", "disk (see DiskPart)", "its first sector", "its sectors, 0: up to the drive's end"] -> [],
        "Gives a VM that was started a disk, in a slot that is empty: its driver finds it when it looks there again. WRONG_STATE if the VM does not live; else as `vm_device`.";
    VmDetach = 33, "vm_detach", ServicePartition, ["handle", "which of its disks", "0: when its driver lets go; 1: at once"] -> [],
        "Takes a disk away from a VM that was started. AGAIN if a driver has it: it goes when that resets it. At once: it has no sectors any more, what is asked of it fails, and its sectors are nobody's when the drive has finished with what it has of it. WRONG_STATE if the VM does not live, INVALID_ARGUMENT if it has no such disk.";
}

/// What `vm_sched` sets, as it stands in x3 to x5, and in x1 to x3 of what `vm_sched_get` answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Scheduling {
    /// CPUs that it may run on, a bit each, or [`Scheduling::EVERY_CPU`].
    pub cpus: u64,
    /// Its share among those that compete.
    pub weight: u32,
    /// The most that it gets, in thousandths of a CPU; 0 is no cap.
    pub cap: u32,
    /// What it gets in each period, in microseconds; 0 is no reservation.
    pub budget_us: u32,
    /// A period, in microseconds; 0 is no reservation.
    pub period_us: u32,
    /// It has a CPU for itself.
    pub pinned: bool,
}

impl Scheduling {
    /// Every CPU that there is.
    pub const EVERY_CPU: u64 = u64::MAX;
    /// What a VM has that was given nothing else.
    pub const DEFAULT: Self =
        Self { cpus: Self::EVERY_CPU, weight: 100, cap: 0, budget_us: 0, period_us: 0, pinned: false };
    /// Weights.
    pub const WEIGHTS: core::ops::RangeInclusive<u32> = 1..=10_000;
    /// Caps.
    pub const CAPS: core::ops::RangeInclusive<u32> = 10..=1000;
    /// Periods of reservations.
    pub const PERIODS_US: core::ops::RangeInclusive<u32> = 1000..=1_000_000;
    /// The smallest budget.
    pub const BUDGET_MIN_US: u32 = 100;
    /// The period of a cap.
    pub const CAP_PERIOD_US: u32 = 20_000;

    /// The registers.
    pub fn to_registers(self) -> [u64; 3] {
        let pair = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
        let share = pair(self.weight, self.cap) | u64::from(self.pinned) << 48;
        [self.cpus, share, pair(self.budget_us, self.period_us)]
    }

    /// What registers say, or `None` where an unknown flag is set. Whether the values are allowed is EL2's to check.
    pub const fn from_registers([cpus, share, reservation]: [u64; 3]) -> Option<Self> {
        let flags = share >> 48;
        if flags > 1 {
            return None;
        }
        Some(Self {
            cpus,
            weight: share as u32,
            cap: (share >> 32) as u16 as u32,
            budget_us: reservation as u32,
            period_us: (reservation >> 32) as u32,
            pinned: flags == 1,
        })
    }
}

/// The most that one `vm_copy_in` copies.
pub const COPY_MAX: u64 = 64 * 1024;

/// Alignment of a VM's memory in IPA and size: one stage-2 block (Arm ARM D8.2, level 2, 4 KiB granule).
pub const MEMORY_ALIGNMENT: u64 = 2 * 1024 * 1024;

/// How a VM has a region: a register of `vm_share`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SharedRegion {
    /// Bytes: a power of two from [`SHARED_MIN`] to [`SHARED_MAX`].
    pub bytes: u64,
    /// Whether the VM may write there.
    pub writable: bool,
    /// The VM's number among those that have the region, below [`SHARED_USERS`].
    pub number: u8,
}

impl SharedRegion {
    /// `bytes | number << 8 | writable`.
    pub const fn to_register(self) -> u64 {
        self.bytes | (self.number as u64) << 8 | self.writable as u64
    }

    /// The region in a register, or `None` where a value is out of its range.
    pub fn from_register(register: u64) -> Option<Self> {
        let (bytes, number, flags) = (register & !0xffff, (register >> 8) as u8, register & 0xff);
        let fits = bytes.is_power_of_two() && (SHARED_MIN..=SHARED_MAX).contains(&bytes);
        let known = usize::from(number) < SHARED_USERS && flags <= 1;
        (fits && known).then_some(Self { bytes, writable: flags == 1, number })
    }
}

/// Number of global notes.
pub const NOTES: usize = 4;
/// Bytes that a global note holds at most.
pub const NOTE_MAX: usize = 16 * 1024;

/// Management ports that a VM may have.
pub const PORTS_MAX: u64 = 4;

/// What a VM may ask, a set of bits. A VM without any has no port and its doorbell answers `NOT_SUPPORTED`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(transparent)]
pub struct Grants(pub u64);

impl Grants {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Requests to the service partition.
    pub const MANAGE: Self = Self(1);
    /// Status and info from `hv`.
    pub const INFO: Self = Self(1 << 1);
    /// EL2's log.
    pub const LOG: Self = Self(1 << 2);
    /// What VMs have said on their consoles.
    pub const CONSOLES: Self = Self(1 << 3);
    /// Every grant.
    pub const ALL: Self = Self(0b1111);

    /// The set in a register, or `None` where an unknown bit is set.
    pub const fn from_register(register: u64) -> Option<Self> {
        if register & !Self::ALL.0 == 0 { Some(Self(register)) } else { None }
    }

    /// Whether all of `other` is in the set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both sets together.
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// What `hv_config` does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u64)]
pub enum ConfigKind {
    /// Powers the board off, because the service partition gives up.
    PowerOff = 1,
    /// Resets the board.
    Reset = 2,
    /// Powers the board off in good order: an end that was asked for.
    ShutDown = 3,
}

impl ConfigKind {
    /// The kind with that number.
    pub const fn from_register(register: u64) -> Option<Self> {
        match register {
            1 => Some(Self::PowerOff),
            2 => Some(Self::Reset),
            3 => Some(Self::ShutDown),
            _ => None,
        }
    }
}

/// The service partition's answer to a drain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u64)]
pub enum DrainAnswer {
    /// Nothing is in progress; its life may end here.
    Agreed = 0,
    /// Something is in progress.
    Busy = 1,
    /// As [`Self::Agreed`]: packets came for this life, and nobody has connected.
    AgreedUnvisited = 2,
}

impl DrainAnswer {
    /// The answer with that number.
    pub const fn from_register(register: u64) -> Option<Self> {
        match register {
            0 => Some(Self::Agreed),
            1 => Some(Self::Busy),
            2 => Some(Self::AgreedUnvisited),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
