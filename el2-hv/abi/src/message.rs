//! Typed requests and replies between a guest's `hvctl` and the service partition.
//!
//! On the ring they are postcard; at a web edge the same types are JSON. Variants and fields are
//! only ever added at the end: their numbers are the wire format, held by golden bytes among the tests.

mod change;
mod console;
mod crash;
mod device;
mod plug;
mod restart;

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

mod share;

pub use change::{BalloonUse, DeviceChanges, DeviceSet, DiskSet, MemorySet, MissedPolicy, NicSet};
pub use console::ConsoleAttach;
pub use crash::{Crash, CrashedVcpu};
pub use device::{DiskSpec, DiskUse, NicDrops, NicUse};
pub use plug::{DiskAttach, DiskDetach};
pub use restart::RestartPolicy;
pub use share::{CpuShare, Reservation, VmSet};

/// What is asked of the service partition.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// All VMs. Repeat-safe.
    VmList,
    /// One VM in full. Repeat-safe.
    VmShow {
        /// Its name.
        name: String,
    },
    /// Defines a VM.
    VmCreate(VmCreate),
    /// Builds a defined VM and starts it.
    VmStart {
        /// Its name.
        name: String,
    },
    /// Stops a VM at once and returns its memory; its spec stays.
    VmStop {
        /// Its name.
        name: String,
    },
    /// Stops a VM where it runs, and forgets a spec that was made by `VmCreate`.
    VmDestroy {
        /// Its name.
        name: String,
    },
    /// Makes the service partition fail, in builds with the feature `fault-injection`; refused by all others.
    Fault(Fault),
    /// Changes what a VM gets of the CPUs.
    VmSet(VmSet),
    /// Stops a VM that runs, and starts it anew from its spec.
    VmReboot {
        /// Its name.
        name: String,
    },
    /// Lets a running VM stand still, in its own time as well.
    VmPause {
        /// Its name.
        name: String,
    },
    /// Lets a paused VM go on.
    VmResume {
        /// Its name.
        name: String,
    },
    /// Stops all VMs, the one that was started last first, and powers the board off or resets it.
    Board(BoardPower),
    /// Attaches a VM's console to the port that this comes by. Repeat-safe.
    Console(ConsoleAttach),
    /// Changes a device of a VM that runs. Repeat-safe.
    VmDevice(DeviceSet),
    /// Gives a VM that runs a disk.
    VmAttach(DiskAttach),
    /// Takes a disk from a VM that runs.
    VmDetach(DiskDetach),
}

impl Request {
    /// Whether asking twice does no harm.
    pub const fn is_repeat_safe(&self) -> bool {
        matches!(self, Self::VmList | Self::VmShow { .. } | Self::VmSet(_) | Self::Console(_) | Self::VmDevice(_))
    }
}

/// A new VM: the spec of a guest of the description, with changes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct VmCreate {
    /// Name of the new VM.
    pub name: String,
    /// The guest whose spec is copied.
    pub from: String,
    /// Bytes of RAM.
    pub memory: Option<u64>,
    /// vCPUs.
    pub vcpus: Option<u8>,
    /// Kernel command line.
    pub bootargs: Option<String>,
    /// Member of the boot archive to start.
    pub image: Option<String>,
    /// Grants, in the place of the copied ones.
    pub grants: Option<Vec<String>>,
}

/// How to fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Fault {
    /// What happens.
    pub kind: FaultKind,
    /// After how many further privileged calls; 0 is at once.
    pub after_calls: u32,
}

/// Ways to fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// An access to nothing.
    Crash,
    /// A loop without end.
    Spin,
}

/// What becomes of the board.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BoardPower {
    /// It is powered off.
    Off,
    /// It is reset.
    Reset,
}

/// What the service partition answers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// Done.
    Done,
    /// To `VmList`.
    VmList(Vec<VmSummary>),
    /// To `VmShow`.
    Vm(Box<VmDetail>),
    /// Not done.
    Error(Failure),
    /// To `VmDetach`: the guest was told, and has not let go yet.
    Pending,
}

/// Where a VM is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VmPhase {
    /// There is a spec; EL2 has no VM.
    Defined,
    /// Being built.
    Building,
    /// Runs.
    Running,
    /// Ended, its memory not yet returned.
    Stopped,
    /// Its memory is being returned.
    Dying,
    /// Its last life is over, and the next begins when its back-off is.
    Restarting,
    /// Stands still until it is resumed.
    Paused,
}

impl core::fmt::Display for VmPhase {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.pad(match self {
            Self::Defined => "defined",
            Self::Building => "building",
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Dying => "dying",
            Self::Restarting => "restarting",
            Self::Paused => "paused",
        })
    }
}

/// A line of `VmList`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct VmSummary {
    /// Name.
    pub name: String,
    /// Where it is in its life.
    pub state: VmPhase,
    /// vCPUs.
    pub vcpus: u8,
    /// Bytes of RAM.
    pub memory: u64,
    /// Since its start, pauses excepted; `None` where it does not run.
    pub uptime_ns: Option<u64>,
}

/// A VM in full.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct VmDetail {
    /// The line of the list.
    pub summary: VmSummary,
    /// What it is built from.
    pub spec: VmSpec,
    /// Where the spec is from.
    pub origin: Origin,
    /// How its last life ended, where one has.
    pub last_end: Option<String>,
    /// Times that it was started again by itself since somebody last started it.
    pub restarts: u32,
    /// How its last life crashed or hung, where it did and that is still kept.
    pub crash: Option<Crash>,
    /// What its disks have done in this life.
    #[serde(default)]
    pub disks: Vec<DiskUse>,
    /// What went by its network cards in this life.
    #[serde(default)]
    pub nics: Vec<NicUse>,
    /// Names of network cards whose link is down.
    #[serde(default)]
    pub links_down: Vec<String>,
    /// Where its balloon is, if it has one.
    #[serde(default)]
    pub balloon: Option<BalloonUse>,
}

/// Where a spec is from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// The system description.
    Description,
    /// `VmCreate`.
    Created,
}

/// What a VM is built from: the same type in the description, on the wire and in notes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct VmSpec {
    /// Name, by the rules of [`crate::handle::Label`].
    pub name: String,
    /// Bytes of RAM.
    pub memory: u64,
    /// vCPUs.
    pub vcpus: u8,
    /// Member of the boot archive.
    pub image: String,
    /// How it is loaded.
    pub format: ImageFormat,
    /// Member of the boot archive that becomes its initrd.
    pub initrd: Option<String>,
    /// Kernel command line.
    pub bootargs: String,
    /// Started when the board is powered on.
    pub autostart: bool,
    /// What it may ask: `manage`, `info`, `log`.
    pub grants: Vec<String>,
    /// Management ports.
    pub ports: u8,
    /// Whether it has a watchdog.
    pub watchdog: bool,
    /// What each of its vCPUs gets of the CPUs.
    #[serde(default)]
    pub cpu: CpuShare,
    /// After which ends it is started again.
    pub restart: RestartPolicy,
    /// Restarts in a row, of lives that were short, after which it is not; 0 is no limit.
    pub restart_limit: u32,
    /// Memory that it shares with others.
    #[serde(default)]
    pub shared: Vec<SharedMemory>,
    /// Its disks, in the order in which it finds them.
    #[serde(default)]
    pub disks: Vec<DiskSpec>,
    /// Its network cards, in the order in which it finds them.
    #[serde(default)]
    pub nics: Vec<NicSpec>,
    /// Whether it has an entropy device.
    #[serde(default)]
    pub rng: bool,
    /// Bytes of its RAM that stay its own; it has a balloon, and what it reports free above that is given to others. None where
    /// all of it is.
    #[serde(default)]
    pub guarantee: Option<u64>,
    /// What becomes of it where it has not given memory up in time.
    #[serde(default)]
    pub memory_missed: MissedPolicy,
}

/// A network card of a VM.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NicSpec {
    /// Its name, by the rules of [`crate::handle::Label`].
    pub name: String,
    /// The network that it is in, by its name in the description.
    pub network: String,
    /// Number of that network.
    pub number: u8,
    /// Its address; one made of the VM's name and its own, if absent.
    pub mac: Option<[u8; 6]>,
    /// Bytes of a packet.
    pub mtu: u16,
    /// It reaches the board's network card and ports without this, and no other.
    pub isolated: bool,
    /// It may send from other addresses than its own.
    pub any_source: bool,
    /// Most thousands of bits that it sends in a second; 0 is no limit.
    pub kbit_per_s: u32,
    /// Most packets that it sends in a second; 0 is no limit.
    pub packets_per_s: u32,
}

impl NicSpec {
    /// Its address in a VM of this name. Where none was given, it is always the same for the names of VM and card: a local
    /// one (IEEE 802, §8.2), the rest a hash (FNV-1a). EL2 refuses a second card of an address in a network.
    pub fn address(&self, vm: &str) -> [u8; 6] {
        let bytes = vm.bytes().chain([b'/']).chain(self.name.bytes());
        let step = |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        let hash = bytes.fold(0xcbf2_9ce4_8422_2325, step);
        let [a, b, c, d, e, ..] = (hash ^ hash >> 40).to_le_bytes();
        self.mac.unwrap_or([0x02, a, b, c, d, e])
    }
}

/// Memory that a VM shares with others, and a doorbell to them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SharedMemory {
    /// Name of the region, by the rules of [`crate::handle::Label`].
    pub name: String,
    /// Bytes of it.
    pub bytes: u64,
    /// Whether the VM may write there.
    pub writable: bool,
    /// The VM's number among those that have it.
    pub number: u8,
}

/// How an image is loaded.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImageFormat {
    /// An arm64 Linux `Image`.
    Linux,
    /// Bytes at an address, entered at their start.
    Raw {
        /// IPA.
        load_address: u64,
    },
}

/// Why something was not done.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Failure {
    /// For programs.
    pub code: FailureCode,
    /// For people: names the object and the reason.
    pub message: String,
}

/// Kinds of failure; `hvctl` makes its exit code of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureCode {
    /// No such VM, guest or image.
    NotFound,
    /// The name is taken.
    Exists,
    /// The VM's state does not allow it.
    WrongState,
    /// A value is not allowed.
    Invalid,
    /// Not enough memory or slots.
    NoResources,
    /// The build or the description forbids it.
    Denied,
    /// The service partition could not read the request.
    BadRequest,
    /// Something in the service partition failed.
    Internal,
}

/// A message that cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("message: not readable ({0})")]
pub struct MessageError(postcard::Error);

/// The bytes of a message.
pub fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    // Serialising these types to a vector cannot fail: they hold no maps and no unsized sequences.
    postcard::to_allocvec(message).unwrap_or_default()
}

/// The message in `bytes`.
///
/// # Errors
/// The bytes are no such message.
pub fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, MessageError> {
    postcard::from_bytes(bytes).map_err(MessageError)
}

#[cfg(test)]
mod tests;
