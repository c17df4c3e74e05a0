//! Sleep, and the interrupts that end it: the mailbox's, the network card's and the virtual timer's.
//!
//! Interrupts are never taken. They are enabled so that WFI sees them, and acknowledged by hand.

use core::arch::asm;
use core::sync::atomic::{AtomicU8, Ordering};

use hv_abi::guest_map::{GICD_BASE, GICR_BASE, MAILBOX_SPI, NIC_SLOT, PPI_VIRTUAL_TIMER, VIRTIO_SPI};

use crate::runtime::mmio;

/// The mailbox's INTID.
const MAILBOX: u32 = MAILBOX_SPI + 32;
/// The network card's.
const NETWORK: u32 = VIRTIO_SPI + NIC_SLOT + 32;
const _: () = assert!(MAILBOX / 32 == NETWORK / 32 && MAILBOX / 16 != NETWORK / 16);
/// INTIDs from here on are special: nothing is pending (IHI0069 §2.2.1).
const SPECIAL: u32 = 1020;

/// Distributor (IHI0069 §12.9): GICD_CTLR with ARE_NS and EnableGrp1.
const GICD_CTLR: u64 = GICD_BASE;
const CTLR_ENABLE: u32 = 1 << 4 | 1 << 1;
/// One bit for each SPI of the group of 32 that both are in: group 1, enabled. Other SPIs there are not this partition's.
const GICD_IGROUPR: u64 = GICD_BASE + 0x080 + (MAILBOX / 32) as u64 * 4;
const GICD_ISENABLER: u64 = GICD_BASE + 0x100 + (MAILBOX / 32) as u64 * 4;
const BOTH: u32 = 1 << (MAILBOX % 32) | 1 << (NETWORK % 32);
/// Two bits for each: 0b10 is edge.
const GICD_ICFGR: u64 = GICD_BASE + 0xc00;

/// Redistributor (IHI0069 §12.11): wake up, group and enable of its own interrupts in its second frame.
const GICR_WAKER: u64 = GICR_BASE + 0x14;
const CHILDREN_ASLEEP: u32 = 1 << 2;
const GICR_IGROUPR0: u64 = GICR_BASE + 0x1_0080;
const GICR_ISENABLER0: u64 = GICR_BASE + 0x1_0100;

/// What came during a [`wait`], a bit each.
static KEPT: AtomicU8 = AtomicU8::new(0);

/// Which interrupts ended a sleep; none of these, if it was the timer's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Wakes {
    /// The mailbox's.
    pub(crate) mailbox: bool,
    /// The network card's, which comes for a packet even while nobody drives the card.
    pub(crate) network: bool,
}

/// Enables the interrupts. The network card's is one register more: whether there is a card is not known yet.
pub(crate) fn init() {
    // SAFETY: the GIC's registers by its specification; nothing here makes it access memory.
    // Interrupts stay masked, so that no code is interrupted.
    unsafe {
        mmio::write(GICR_WAKER, 0);
        while mmio::read(GICR_WAKER) & CHILDREN_ASLEEP != 0 {}
        mmio::write(GICR_IGROUPR0, 1 << PPI_VIRTUAL_TIMER);
        mmio::write(GICR_ISENABLER0, 1 << PPI_VIRTUAL_TIMER);
        mmio::write(GICD_CTLR, CTLR_ENABLE);
        mmio::write(GICD_IGROUPR, BOTH);
        for number in [MAILBOX, NETWORK] {
            mmio::write(GICD_ICFGR + u64::from(number / 16 * 4), 0b10 << (number % 16 * 2));
        }
        mmio::write(GICD_ISENABLER, BOTH);
        // GICD_IROUTER stays 0: affinity 0.0.0.0 is this partition's only vCPU.
        asm!(
            "msr icc_sre_el1, {sre}",
            "isb",
            "msr icc_pmr_el1, {pmr}",
            "msr icc_igrpen1_el1, {enable}",
            "isb",
            sre = in(reg) 1u64,
            pmr = in(reg) 0xffu64,
            enable = in(reg) 1u64,
            options(nostack, preserves_flags)
        );
    }
}

/// The counter.
pub(crate) fn now() -> u64 {
    let count: u64;
    // SAFETY: reads a counter; the barrier keeps the read from being done early (Arm ARM D12.1.2).
    unsafe {
        asm!("isb", "mrs {0}, cntvct_el0", out(reg) count, options(nostack, nomem, preserves_flags));
    }
    count
}

/// Waits amid of something, until an interrupt or `until`. Whoever sleeps next hears what it was that came.
pub(crate) fn wait(until: u64) {
    let wakes = doze(Some(until));
    KEPT.fetch_or(u8::from(wakes.mailbox) | u8::from(wakes.network) << 1, Ordering::Relaxed);
}

/// Sleeps until an interrupt or `until`. An interrupt that is pending already ends it at once.
pub(crate) fn sleep(until: Option<u64>) -> Wakes {
    match KEPT.swap(0, Ordering::Relaxed) {
        0 => doze(until),
        kept => Wakes { mailbox: kept & 1 != 0, network: kept & 2 != 0 },
    }
}

fn doze(until: Option<u64>) -> Wakes {
    if let Some(until) = until {
        // SAFETY: programs the virtual timer, whose interrupt is never taken.
        unsafe {
            asm!(
                "msr cntv_cval_el0, {0}",
                "msr cntv_ctl_el0, {1}",
                "isb",
                in(reg) until,
                in(reg) 1u64,
                options(nostack, preserves_flags)
            );
        }
    }
    // SAFETY: waits. What this CPU wrote to the mailbox page must be seen before (DSB).
    unsafe { asm!("dsb sy", "wfi", options(nostack, preserves_flags)) };
    if until.is_some() {
        // The timer's interrupt is a level: it goes away before it is deactivated below.
        // SAFETY: switches the virtual timer off.
        unsafe {
            asm!("msr cntv_ctl_el0, xzr", "isb", options(nostack, preserves_flags));
        }
    }
    acknowledge()
}

/// Acknowledges and deactivates whatever is pending.
fn acknowledge() -> Wakes {
    let mut wakes = Wakes::default();
    loop {
        let id: u64;
        // SAFETY: acknowledges the highest pending interrupt of group 1 (IHI0069 §12.2.14). The
        // barrier keeps reads of the mailbox behind it.
        unsafe {
            asm!("mrs {0}, icc_iar1_el1", "dsb sy", out(reg) id, options(nostack, preserves_flags));
        }
        let number = (id & 0xff_ffff) as u32;
        if number >= SPECIAL {
            return wakes;
        }
        wakes.mailbox |= number == MAILBOX;
        wakes.network |= number == NETWORK;
        // SAFETY: ends what was acknowledged just above (IHI0069 §12.2.10).
        unsafe {
            asm!("msr icc_eoir1_el1, {0}", "isb", in(reg) id, options(nostack, preserves_flags));
        }
    }
}
