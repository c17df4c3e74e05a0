//! The hardware room: the only one with assembly, and with most of the unsafe code.
//!
//! It performs, and never decides: what to map, whom to run, what a trap means is said by
//! `hv-core` and the image. Interrupts are masked at EL2 at all times; the image polls for them
//! ([`cpu::interrupt_pending`]), so that no code here or above is ever interrupted.
#![no_std]

pub mod boot;
pub mod cache;
pub mod checksum;
pub mod counter;
pub mod cpu;
pub mod debug;
pub mod frames;
pub mod guest;
pub mod lock;
mod mem;
pub mod paging;
pub mod pmu;
pub mod ram;
pub mod serror;
pub mod tlb;
pub mod vectors;
pub mod vgic;

/// Reads a system register by its name in assembly.
macro_rules! mrs {
    ($name:literal) => {{
        let value: u64;
        // SAFETY: reading a system register that EL2 may read has no effect on memory.
        unsafe { core::arch::asm!(concat!("mrs {}, ", $name), out(reg) value, options(nomem, nostack, preserves_flags)) };
        value
    }};
}

/// Writes a system register by its name in assembly. The register must not change what EL2's own
/// code or memory accesses mean.
macro_rules! msr {
    ($name:literal, $value:expr) => {{
        let value: u64 = $value;
        // SAFETY: callers name registers of the lower exception levels, or of EL2's trap and
        // timer configuration; none of them changes EL2's translation or control flow.
        unsafe { core::arch::asm!(concat!("msr ", $name, ", {}"), in(reg) value, options(nostack, preserves_flags)) };
    }};
}

pub(crate) use {mrs, msr};
