//! Order between a CPU and devices that reach memory by themselves (Arm ARM B2.3.12).
//!
//! A device may be outside of the inner shareable domain, so the barriers are of the outer one. They order stores to memory
//! before a later store to a device's register as well, by which the device is told to look.

use aarch64_cpu::asm::barrier::{OSH, OSHLD, OSHST, dmb};

/// Stores before it are seen by a device before stores after it.
#[inline]
pub(crate) fn before_device() {
    dmb(OSHST);
}

/// Loads after it are not done before loads before it.
#[inline]
pub(crate) fn after_device() {
    dmb(OSHLD);
}

/// Stores before it are seen before loads after it are done.
#[inline]
pub(crate) fn both_ways() {
    dmb(OSH);
}
