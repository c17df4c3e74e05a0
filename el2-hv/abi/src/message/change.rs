//! Changes of devices of a VM that runs.

use alloc::string::String;

use serde::{Deserialize, Serialize};

/// A change of one of a VM's devices.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DeviceSet {
    /// The VM.
    pub vm: String,
    /// The device, and what becomes of it.
    pub change: DeviceChanges,
}

/// What becomes of which device.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceChanges {
    /// A disk.
    Disk(DiskSet),
    /// A network card.
    Nic(NicSet),
    /// Its memory.
    Memory(MemorySet),
}

/// A change of a disk; what is `None` stays.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct DiskSet {
    /// Its name, or its number among the VM's disks.
    pub disk: String,
    /// Most requests in a second; 0 takes the limit away.
    pub iops: Option<u32>,
    /// Most thousands of bytes in a second; 0 takes the limit away.
    pub kbytes_per_s: Option<u32>,
    /// Its size in sectors of 512 bytes; 0 is all up to the drive's end.
    pub sectors: Option<u64>,
}

/// A change of a network card; what is `None` stays.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct NicSet {
    /// Its name, or its number among the VM's network cards.
    pub nic: String,
    /// Most thousands of bits that it sends in a second; 0 takes the limit away.
    pub kbit_per_s: Option<u32>,
    /// Most packets that it sends in a second; 0 takes the limit away.
    pub packets_per_s: Option<u32>,
    /// Whether its link is up.
    pub link_up: Option<bool>,
}

/// How much memory a VM is to have.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MemorySet {
    /// Bytes.
    pub bytes: u64,
    /// Seconds until when; `None`: whenever it is.
    pub within_s: Option<u32>,
}

/// What becomes of a VM that has not given memory up in time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MissedPolicy {
    /// It is not asked for it any more.
    #[default]
    Refuse,
    /// It is paused.
    Pause,
    /// It is stopped for good.
    Kill,
}

/// Where a VM's balloon is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BalloonUse {
    /// Bytes that the VM is to have.
    pub target: u64,
    /// Bytes that it has, if its driver is to be believed.
    pub actual: u64,
    /// Bytes that it has given up and that are others'.
    pub taken: u64,
    /// Milliseconds that it has left for the target; `None` where it has all time.
    pub left_ms: Option<u64>,
    /// It did not give up in time what it was asked for last.
    pub missed: bool,
}
