//! What went through disks and network cards. All counts begin with the device and wrap at 64 bits.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::DevicesHeader;
use crate::mailbox::BODY_MAX;

/// What a guest's disk has done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DiskRecord {
    /// Which of the VM's disks it is.
    pub disk: u8,
    /// Zero.
    pub reserved: [u8; 7],
    /// Most requests in a second; 0 is no limit.
    pub iops: U32,
    /// Most thousands of bytes in a second; 0 is no limit.
    pub kbytes_per_s: U32,
    /// Reads that were done.
    pub reads: U64,
    /// Bytes of these.
    pub read_bytes: U64,
    /// Writes that were done.
    pub writes: U64,
    /// Bytes of these.
    pub written_bytes: U64,
    /// Flushes that were done.
    pub flushes: U64,
    /// Discards and writes of zeroes that were done.
    pub others: U64,
    /// Requests that the drive failed, or that EL2 could not hand to it. What the device itself refuses is not among them.
    pub failed: U64,
    /// How often the disk had to wait for its limits.
    pub waits: U64,
}

/// Disks that one answer has at most.
pub const DISKS_ASKED_MAX: usize = (BODY_MAX - size_of::<DevicesHeader>()) / size_of::<DiskRecord>();

/// Why frames of a network card, or for it, were dropped, in the order of [`NicRecord::dropped`]: it sent from an address
/// that is not its own; it sent too many group frames; nobody has the destination; nobody whom it may reach has it; it had
/// no room for what came.
pub const NIC_DROPS: [&str; 5] = ["spoofed", "storm", "nobody", "isolated", "no_room"];

/// What went by a guest's network card. A frame that stands for several counts once.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct NicRecord {
    /// Which of the VM's network cards it is.
    pub nic: u8,
    /// Number of its network.
    pub network: u8,
    /// Its link: 0 is up, 1 down.
    pub link_down: u8,
    /// Zero.
    pub reserved: [u8; 5],
    /// Most thousands of bits that it sends in a second; 0 is no limit.
    pub kbit_per_s: U32,
    /// Most packets that it sends in a second; 0 is no limit.
    pub packets_per_s: U32,
    /// Frames that it has sent.
    pub sent_frames: U64,
    /// Bytes of these.
    pub sent_bytes: U64,
    /// Frames that it got.
    pub received_frames: U64,
    /// Bytes of these.
    pub received_bytes: U64,
    /// Frames that were dropped, by [`NIC_DROPS`].
    pub dropped: [U64; NIC_DROPS.len()],
}

/// A VM's balloon.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct BalloonRecord {
    /// Bytes that the VM is to have.
    pub target: U64,
    /// Bytes that it has, if its driver is to be believed.
    pub actual: U64,
    /// Bytes that it has given up, by its balloon or as free, and that were taken.
    pub taken: U64,
    /// Bytes that stay its own.
    pub guarantee: U64,
}

/// What became of frames for the service partition while it was off, since it has a network card.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct WakeRecord {
    /// Frames that a rule matched.
    pub matched: U64,
    /// Frames that went nowhere, because a rule said so or none did.
    pub dropped: U64,
    /// Frames that were answered.
    pub answered: U64,
    /// Frames that woke it.
    pub woken: U64,
    /// Frames that would have been answered, or have woken it, had there been fewer before.
    pub limited: U64,
}

const _: () = assert!(DISKS_ASKED_MAX == 2);
const _: () = assert!(size_of::<DevicesHeader>() + size_of::<NicRecord>() <= BODY_MAX);
