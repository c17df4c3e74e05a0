//! The CPU's counter, by which benches in a guest tell time.

/// The counter and its frequency.
#[derive(Clone, Copy, PartialEq, Eq, serde::Serialize, Debug)]
pub(crate) struct Counter {
    /// CNTVCT_EL0.
    pub(crate) cntvct: u64,
    /// CNTFRQ_EL0, in Hz.
    pub(crate) cntfrq: u64,
}

#[cfg(target_arch = "aarch64")]
mod cpu {
    use aarch64_cpu::asm::barrier;
    use aarch64_cpu::registers::{CNTFRQ_EL0, CNTVCT_EL0, Readable};

    use super::Counter;

    /// Reads the counter, which Linux lets programs do (CNTKCTL_EL1.EL0VCTEN).
    pub(crate) fn read() -> Option<Counter> {
        // A read of the counter may be done ahead of its turn (Arm ARM D12.2.2).
        barrier::isb(barrier::SY);
        Some(Counter { cntvct: CNTVCT_EL0.get(), cntfrq: CNTFRQ_EL0.get() })
    }
}

#[cfg(not(target_arch = "aarch64"))]
mod cpu {
    use super::Counter;

    /// Other CPUs have no such counter.
    pub(crate) const fn read() -> Option<Counter> {
        None
    }
}

pub(crate) use cpu::read;
