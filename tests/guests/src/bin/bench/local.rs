//! Metrics that one vCPU takes alone.

use crate::operations;
use core::sync::atomic::{AtomicU32, Ordering};
use hv_abi::guest_map::{GICD_BASE, PPI_PHYSICAL_TIMER, PPI_VIRTUAL_TIMER, UART_BASE};
use test_guests::{console, cpu, gic, timer};

const PSCI_VERSION: u64 = 0x8400_0000;
/// A fast call of the vendor hypervisor range that no table has.
const UNKNOWN: u64 = 0xc600_7ff0;
const SGI: u32 = 1;
/// Deadline of the busy timer; long enough for its programming, in nanoseconds.
const BUSY_NS: u64 = 20_000;
const ASLEEP_NS: u64 = 1_000_000;
/// Characters that are written to the console before a new line.
const LINE: u32 = 64;

pub(crate) fn psci_version() -> u64 {
    let (ticks, version) = operations::hvc(PSCI_VERSION);
    assert!(version == 0x1_0001, "PSCI version {version:#x}");
    ticks
}

pub(crate) fn hvc_unknown() -> u64 {
    let (ticks, status) = operations::hvc(UNKNOWN);
    assert!(status as i32 == -1, "unknown call answered {status:#x}");
    ticks
}

pub(crate) fn gicd_typer() -> u64 {
    operations::load(GICD_BASE + 4)
}

pub(crate) fn sysreg_id() -> u64 {
    operations::read_id()
}

pub(crate) fn uart_char() -> u64 {
    static COLUMN: AtomicU32 = AtomicU32::new(0);
    if COLUMN.fetch_add(1, Ordering::Relaxed) % LINE == LINE - 1 {
        console::put(b'\r');
        console::put(b'\n');
    }
    console::await_room();
    operations::store(UART_BASE, u32::from(b'.'))
}

pub(crate) fn sgi_self() -> u64 {
    operations::send_to_self(gic::sgi_to(SGI, cpu::current()))
}

pub(crate) fn vtimer() -> u64 {
    gic::enable_ppi(PPI_VIRTUAL_TIMER);
    operations::timer_busy(timer::ticks(BUSY_NS))
}

pub(crate) fn wfi_wake() -> u64 {
    gic::enable_ppi(PPI_VIRTUAL_TIMER);
    operations::timer_asleep(timer::ticks(ASLEEP_NS))
}

pub(crate) fn wake_idle() -> u64 {
    gic::enable_ppi(PPI_PHYSICAL_TIMER);
    operations::physical_timer_asleep(timer::ticks(ASLEEP_NS))
}
