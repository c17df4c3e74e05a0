//! Disks of VMs, and what went through disks and network cards.

use alloc::string::String;

use serde::{Deserialize, Serialize};

/// A part of a drive that a VM has as a disk.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DiskSpec {
    /// Its name, by the rules of [`crate::handle::Label`].
    pub name: String,
    /// Number of the drive, as EL2 found them.
    pub drive: u8,
    /// First sector of 512 bytes.
    pub first: u64,
    /// Sectors; 0 is all up to the drive's end.
    pub sectors: u64,
    /// Whether the VM may write there.
    pub writable: bool,
    /// Most requests in a second; 0 is no limit.
    #[serde(default)]
    pub iops: u32,
    /// Most thousands of bytes that it reads and writes in a second, together; 0 is no limit.
    #[serde(default)]
    pub kbytes_per_s: u32,
    /// The partition of the drive that it is, in the words of the description, instead of sectors.
    #[serde(default)]
    pub partition: Option<String>,
}

/// What a disk has done: see [`crate::record::DiskRecord`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DiskUse {
    /// Its name.
    pub name: String,
    /// Reads that were done.
    pub reads: u64,
    /// Bytes of these.
    pub read_bytes: u64,
    /// Writes that were done.
    pub writes: u64,
    /// Bytes of these.
    pub written_bytes: u64,
    /// Flushes that were done.
    pub flushes: u64,
    /// Discards and writes of zeroes that were done.
    pub others: u64,
    /// Requests that failed.
    pub failed: u64,
    /// How often it had to wait for its limits.
    pub waits: u64,
}

/// What went by a network card: see [`crate::record::NicRecord`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NicUse {
    /// Its name.
    pub name: String,
    /// Frames that it has sent.
    pub sent_frames: u64,
    /// Bytes of these.
    pub sent_bytes: u64,
    /// Frames that it got.
    pub received_frames: u64,
    /// Bytes of these.
    pub received_bytes: u64,
    /// Frames that were dropped.
    pub dropped: NicDrops,
}

/// Why frames of a network card, or for it, were dropped, as [`crate::record::NIC_DROPS`] names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NicDrops {
    /// Sent from an address that is not its own.
    pub spoofed: u64,
    /// One group frame too many.
    pub storm: u64,
    /// Nobody has the destination.
    pub nobody: u64,
    /// Nobody whom it may reach has the destination.
    pub isolated: u64,
    /// It had no room for what came.
    pub no_room: u64,
}
