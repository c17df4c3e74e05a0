//! Stolen time (DEN0057A): a page of each VM that says of its vCPUs how long they could have run and did not.

use core::sync::atomic::{AtomicU64, Ordering};

use hv_abi::guest_map::{STOLEN_TIME_BASE, STOLEN_TIME_SIZE};
use hv_arch::ram;
use hv_core::addr::{Pa, VcpuIdx};

use crate::machine::machine;

/// Offset of the nanoseconds in a vCPU's structure. What is before them, revision and attributes, is zero.
const STOLEN: u64 = 8;

/// A VM's page, or none.
pub struct StolenTime(AtomicU64);

impl StolenTime {
    /// No page.
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Takes a page of zeroes.
    pub fn attach(&self, page: Pa) {
        self.0.store(page.0, Ordering::Relaxed);
    }

    /// Lets the page go.
    pub fn detach(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// Whether there is a page.
    pub fn is_attached(&self) -> bool {
        self.0.load(Ordering::Relaxed) != 0
    }

    /// Where the guest finds a vCPU's structure.
    pub fn ipa(&self, vcpu: VcpuIdx) -> Option<u64> {
        self.is_attached().then_some(STOLEN_TIME_BASE + offset(vcpu))
    }

    /// Tells a vCPU that is being loaded for how many ticks it has waited.
    #[inline]
    pub fn tell(&self, vcpu: VcpuIdx, ticks: u64) {
        let page = self.0.load(Ordering::Relaxed);
        if page != 0 {
            let at = Pa(page + offset(vcpu) + STOLEN);
            ram::write(at, &machine().nanoseconds(ticks).to_le_bytes());
        }
    }
}

const fn offset(vcpu: VcpuIdx) -> u64 {
    vcpu.0 as u64 * STOLEN_TIME_SIZE
}
