//! The generic timer (Arm ARM D12): the counter, and the virtual timer of this vCPU.

use crate::{read_register, write_register};

/// The virtual counter.
pub fn now() -> u64 {
    read_register!("cntvct_el0")
}

/// Ticks a second.
pub fn frequency() -> u64 {
    read_register!("cntfrq_el0")
}

/// Ticks of `ns` nanoseconds, rounded down; 64 bits hold what tests ask for.
pub fn ticks(ns: u64) -> u64 {
    let frequency = frequency();
    ns / 1_000_000_000 * frequency + ns % 1_000_000_000 * frequency / 1_000_000_000
}

/// Nanoseconds of `ticks`.
pub fn nanoseconds(ticks: u64) -> u64 {
    let frequency = frequency();
    ticks / frequency * 1_000_000_000 + ticks % frequency * 1_000_000_000 / frequency
}

/// The virtual timer fires when the counter reaches `deadline`.
pub fn arm(deadline: u64) {
    write_register!("cntv_cval_el0", deadline);
    write_register!("cntv_ctl_el0", 1);
}

/// The virtual timer does not fire.
pub fn disarm() {
    write_register!("cntv_ctl_el0", 0);
}

/// Sleeps in WFI, interrupts masked, until `deadline`; any other pending interrupt ends it too. The
/// timer's PPI must be enabled. Everything that is pending is taken and ended.
pub fn sleep_until(deadline: u64) {
    arm(deadline);
    crate::cpu::wait();
    disarm();
    crate::gic::drain();
}
