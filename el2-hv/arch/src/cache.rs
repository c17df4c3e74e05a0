//! Cache maintenance (Arm ARM B2.7, D7.5), and the copies and scrubs that end with it.
//!
//! A guest begins with its caches off and reads memory, not EL2's cache lines. So whatever EL2
//! writes for a guest, the zeroes of a scrub among them, is cleaned to the point of coherency.

use core::arch::asm;

use hv_core::addr::Pa;

use crate::mrs;

/// Bytes of the smallest data cache line (CTR_EL0.DminLine).
#[inline]
fn data_line() -> u64 {
    4 << (mrs!("ctr_el0") >> 16 & 0xf)
}

/// Cleans `size` bytes at `start` to the point of coherency.
pub fn clean_to_poc(start: Pa, size: u64) {
    let line = data_line();
    let mut at = start.0 & !(line - 1);
    let end = start.0 + size;
    while at < end {
        // SAFETY: cleaning writes back what the line holds; EL2 maps all memory it is called for.
        unsafe { asm!("dc cvac, {}", in(reg) at, options(nostack, preserves_flags)) };
        at += line;
    }
    // SAFETY: a barrier.
    unsafe { asm!("dsb sy", options(nostack, preserves_flags)) };
}

/// Cleans `size` bytes at `start` to the point of coherency and forgets them: what a device writes past the caches is read
/// anew.
pub fn clean_and_invalidate(start: Pa, size: u64) {
    let line = data_line();
    let mut at = start.0 & !(line - 1);
    let end = start.0 + size;
    while at < end {
        // SAFETY: as in `clean_to_poc`; what the line held is in memory before it is forgotten.
        unsafe { asm!("dc civac, {}", in(reg) at, options(nostack, preserves_flags)) };
        at += line;
    }
    finish();
}

/// Cleans the line at `at` to the point of coherency. Without the barrier that ends it: see [`finish`].
#[inline]
pub(crate) fn clean_line(at: Pa) {
    // SAFETY: cleaning writes back what the line holds.
    unsafe { asm!("dc cvac, {}", in(reg) at.0, options(nostack, preserves_flags)) };
}

/// Forgets all instructions that any CPU has cached: code was written.
pub fn invalidate_instructions() {
    // SAFETY: the instruction cache holds copies only.
    unsafe { asm!("ic ialluis", "dsb ish", "isb", options(nostack, preserves_flags)) };
}

/// How this CPU zeroes memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Zeroing {
    /// By DC ZVA, a cache line of 64 bytes at a time.
    Lines,
    /// By stores.
    Stores,
}

impl Zeroing {
    /// By DCZID_EL0 (DZP and BS, in words) and CTR_EL0.
    #[inline]
    pub(crate) fn find() -> Self {
        if mrs!("dczid_el0") == 4 && data_line() == 64 { Self::Lines } else { Self::Stores }
    }
}

/// Zeroes whole frames from `start` to `end`, cleaned to memory. Without the barrier that ends it: see [`finish`].
///
/// # Safety
/// The frames are RAM that no Rust object lives in; there is one at least.
#[inline(always)]
pub(crate) unsafe fn scrub(zeroing: Zeroing, start: Pa, end: Pa) {
    match zeroing {
        // SAFETY: the caller's; 64 lines of 64 bytes are a frame.
        Zeroing::Lines => unsafe {
            asm!(
                "2:",
                ".rept 64",
                hv_core::scrub_line!(),
                "add {at}, {at}, #64",
                ".endr",
                "cmp {at}, {end}",
                "b.ne 2b",
                at = inout(reg) start.0 => _,
                end = in(reg) end.0,
                options(nostack)
            );
        },
        // SAFETY: the caller's.
        Zeroing::Stores => unsafe { scrub_by_stores(start, end) },
    }
}

/// [`scrub`] where DC ZVA is not to be had, or cache lines have another size.
///
/// # Safety
/// As there.
#[cold]
unsafe fn scrub_by_stores(start: Pa, end: Pa) {
    // SAFETY: the caller's; the stores stay inside the frames.
    unsafe {
        asm!(
            "2:",
            "stp xzr, xzr, [{at}], #16",
            "cmp {at}, {end}",
            "b.ne 2b",
            at = inout(reg) start.0 => _,
            end = in(reg) end.0,
            options(nostack)
        );
    }
    clean_to_poc(start, end.0.wrapping_sub(start.0));
}

/// Waits until scrubs and cleans before it have reached memory.
#[inline]
pub fn finish() {
    // SAFETY: a barrier.
    unsafe { asm!("dsb sy", options(nostack, preserves_flags)) };
}
