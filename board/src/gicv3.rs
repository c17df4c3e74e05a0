//! The physical GICv3 (IHI0069) as EL2 drives it.
//!
//! All interrupts are non-secure group 1 and of one priority, since EL2 never takes one interrupt while
//! it serves another; EOImode is 1, so that what a guest was given it deactivates itself. The registers'
//! layout and the configuration of single interrupts are `arm-gic`'s; initialization is done here, since
//! that crate waits without a bound and leaves what a warm start finds pending or active. List registers
//! and all that is virtual belong to `hv-arch`.

#[cfg(target_arch = "aarch64")]
pub mod cpu;
mod distributor;
mod redistributor;

pub use distributor::Distributor;
pub use redistributor::Redistributor;

use hv_core::addr::{IntId, Pa};
use thiserror::Error;

/// The number that an acknowledgement gives when nothing is pending (IHI0069 §2.2.1).
pub const SPURIOUS: IntId = IntId(1023);

/// The priority of every interrupt: the middle, which is a group-1 priority from both security states'
/// view (IHI0069 §4.8.6).
const PRIORITY: u8 = 0x80;
/// Four of them, as the priority registers hold them.
const PRIORITIES: u32 = u32::from_ne_bytes([PRIORITY; 4]);

/// Every bit of a register with one bit per interrupt.
const ALL: u32 = u32::MAX;

/// Why the GIC cannot be driven.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum GicError {
    /// The tree gives no address for it.
    #[error("GIC at address 0")]
    NoAddress,
    /// A register write does not take effect.
    #[error("GIC: register write pending for ever at {0}")]
    WritePending(Pa),
    /// A redistributor does not leave its sleep.
    #[error("GIC: redistributor at {0} does not wake")]
    Asleep(Pa),
    /// No region has a redistributor for a CPU.
    #[error("GIC: no redistributor for the CPU with affinity {0:#x}")]
    NoRedistributor(u64),
    /// The CPU interface has no system registers.
    #[error("GIC: the CPU interface has no system registers")]
    NoSystemRegisters,
    /// The number is no shared interrupt of this GIC.
    #[error("GIC: {0} is no shared interrupt here")]
    NotShared(IntId),
}

/// A CPU as the target of software-generated interrupts: ICC_SGI1R_EL1 without its INTID
/// (IHI0069 §12.2.20).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SgiTarget(u64);

impl SgiTarget {
    /// The CPU with the affinity fields of `mpidr`.
    pub fn of(mpidr: u64) -> Self {
        let affinity = |level: u32| (mpidr >> level) & 0xff;
        let (aff3, aff2, aff1, aff0) = (affinity(32), affinity(16), affinity(8), affinity(0));
        let (range, list) = (aff0 >> 4, 1 << (aff0 & 0xf));
        Self(aff3 << 48 | range << 44 | aff2 << 32 | aff1 << 16 | list)
    }

    /// The register's value to send `sgi`, of which the low four bits count.
    #[inline]
    pub const fn value(self, sgi: IntId) -> u64 {
        self.0 | ((sgi.0 & 0xf) as u64) << 24
    }
}

#[cfg(test)]
mod tests;
