//! How a VM crashed, or hung.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// [`CrashRecord::vcpu`] where no vCPU's registers are known.
pub const NO_VCPU: u32 = u32::MAX;

/// How a VM crashed, or hung.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CrashRecord {
    /// Its handle then.
    pub handle: U64,
    /// See [`super::EndReason`].
    pub reason: U32,
    /// The vCPU whose registers follow: the one that could not go on, or of a VM that hung the first; or [`NO_VCPU`].
    pub vcpu: U32,
    /// Where it was.
    pub pc: U64,
    /// Its PSTATE.
    pub pstate: U64,
    /// ESR_EL2 and FAR_EL2 of its last exit.
    pub esr: U64,
    /// See `esr`.
    pub far: U64,
    /// What its last exception at EL1 has left.
    pub elr_el1: U64,
    /// See `elr_el1`.
    pub esr_el1: U64,
    /// See `elr_el1`.
    pub far_el1: U64,
    /// SP_EL1.
    pub sp_el1: U64,
    /// x0 to x30.
    pub x: [U64; 31],
}

impl CrashRecord {
    /// Of no crash.
    pub const NONE: Self = zerocopy::transmute!([0u8; size_of::<Self>()]);
}
