//! What a VM is told of its slots that devices come to and leave while it runs.

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A VM's virtio slots, a bit each, of those that devices come to and leave.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PlugRecord {
    /// A device is there.
    pub present: U32,
    /// It is to leave, or is gone already: its driver should let go.
    pub leaving: U32,
}
