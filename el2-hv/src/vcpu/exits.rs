//! How often a vCPU comes to EL2, and why.

use core::sync::atomic::{AtomicU64, Ordering};

use hv_abi::record::EXITS;

/// What brings a vCPU to EL2, in the order of [`EXITS`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub enum Reason {
    /// HVC.
    Hypercall,
    /// A system register.
    Register,
    /// A device's register.
    Device,
    /// WFI or WFE.
    Wait,
    /// Its virtual timer.
    Timer,
    /// Another interrupt of the CPU.
    Interrupt,
    /// Aborts, and all else.
    Other,
}

const _: () = assert!(Reason::Other as usize + 1 == EXITS.len());

/// Counters, which only the CPU that has the vCPU loaded changes. Others read them at any time.
pub struct Exits([AtomicU64; EXITS.len()]);

impl Exits {
    /// None yet.
    pub const fn new() -> Self {
        Self([const { AtomicU64::new(0) }; EXITS.len()])
    }

    /// Counts one.
    #[inline(always)]
    pub fn count(&self, reason: Reason) {
        let counter = &self.0[reason as usize];
        // Nobody else writes: no read-modify-write is needed.
        counter.store(counter.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    /// Begins anew.
    pub fn reset(&self) {
        self.0.iter().for_each(|counter| counter.store(0, Ordering::Relaxed));
    }

    /// All of them.
    pub fn read(&self) -> [u64; EXITS.len()] {
        self.0.each_ref().map(|counter| counter.load(Ordering::Relaxed))
    }
}
