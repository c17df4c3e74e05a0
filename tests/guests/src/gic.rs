//! GICv3 (IHI0069): distributor, this vCPU's redistributor, CPU interface by system registers.
//! All interrupts are non-secure group 1, as on a machine with one security state.

use crate::{cpu, read_register, write_register};
use hv_abi::guest_map::{GICD_BASE, GICR_BASE, GICR_STRIDE};

const GICD_CTLR: u64 = GICD_BASE;
const GICD_TYPER: u64 = GICD_BASE + 0x4;
const GICD_IGROUPR: u64 = GICD_BASE + 0x80;
const GICD_ISENABLER: u64 = GICD_BASE + 0x100;
const GICD_IPRIORITYR: u64 = GICD_BASE + 0x400;
const GICD_IROUTER: u64 = GICD_BASE + 0x6000;
const GICR_WAKER: u64 = 0x14;
/// The second frame of a redistributor: SGIs and PPIs.
pub const SGI_BASE: u64 = 0x1_0000;
const ARE_AND_GROUP1: u32 = 1 << 4 | 1 << 1;
const PROCESSOR_SLEEP: u32 = 1 << 1;
const CHILDREN_ASLEEP: u32 = 1 << 2;
const PRIORITY: u8 = 0xa0;
/// As many interrupts as there can be.
const DRAIN_MAX: u32 = 1024;

/// An acknowledged INTID at or above this is none (IHI0069 §2.2.1).
pub const SPECIAL: u32 = 1020;

/// Brings back what the virtual timer's interrupt needs to arrive on this vCPU, whatever was written.
pub fn revive_timer() {
    write32(GICD_CTLR, ARE_AND_GROUP1);
    init_cpu();
    enable_ppi(hv_abi::guest_map::PPI_VIRTUAL_TIMER);
}

/// Brings back what the virtual timer's interrupt needs outside of vCPU `cpu` to arrive there, whatever was written.
pub fn revive(cpu: usize) {
    let redistributor = redistributor(cpu) + SGI_BASE;
    write32(GICD_CTLR, ARE_AND_GROUP1);
    write32(redistributor + 0x80, u32::MAX);
    write32(redistributor + 0x380, u32::MAX);
    for word in 0..8 {
        write32(redistributor + 0x400 + word * 4, u32::from_ne_bytes([PRIORITY; 4]));
    }
    write32(redistributor + 0x100, 0xffff | 1 << hv_abi::guest_map::PPI_VIRTUAL_TIMER);
}

/// This vCPU's own CPU interface takes every interrupt, and forgets those that it has begun.
pub fn revive_interface() {
    write_register!("S3_0_C12_C8_4", 0); // ICC_AP0R0_EL1
    write_register!("S3_0_C12_C9_0", 0); // ICC_AP1R0_EL1
    write_register!("S3_0_C12_C12_4", 0); // ICC_CTLR_EL1
    write_register!("S3_0_C12_C12_3", 0); // ICC_BPR1_EL1
    write_register!("S3_0_C4_C6_0", 0xff); // ICC_PMR_EL1
    write_register!("S3_0_C12_C12_7", 1); // ICC_IGRPEN1_EL1
}

/// Brings up the distributor with every interrupt disabled, in group 1, of one priority.
pub fn init_distributor() {
    write32(GICD_CTLR, ARE_AND_GROUP1);
    let words = u64::from(read32(GICD_TYPER) & 0x1f) + 1;
    for word in 1..words {
        write32(GICD_IGROUPR + word * 4, u32::MAX);
        for interrupt in word * 32..word * 32 + 32 {
            write8(GICD_IPRIORITYR + interrupt, PRIORITY);
        }
    }
}

/// Brings up this vCPU's redistributor and CPU interface.
pub fn init_cpu() {
    let redistributor = redistributor(cpu::current());
    while read32(redistributor + GICR_WAKER) & (PROCESSOR_SLEEP | CHILDREN_ASLEEP) != 0 {
        let waker = read32(redistributor + GICR_WAKER);
        write32(redistributor + GICR_WAKER, waker & !PROCESSOR_SLEEP);
        cpu::relax();
    }
    write32(redistributor + SGI_BASE + 0x80, u32::MAX);
    for interrupt in 0..32 {
        write8(redistributor + SGI_BASE + 0x400 + interrupt, PRIORITY);
    }
    // SGIs are enabled from the start; PPIs by enable_ppi.
    write32(redistributor + SGI_BASE + 0x100, 0xffff);
    write_register!("S3_0_C12_C12_5", read_register!("S3_0_C12_C12_5") | 1); // ICC_SRE_EL1.SRE
    write_register!("S3_0_C4_C6_0", 0xff); // ICC_PMR_EL1
    write_register!("S3_0_C12_C12_7", 1); // ICC_IGRPEN1_EL1
}

/// Forgets what is pending or active among this vCPU's own interrupts, and what its CPU interface was told.
pub fn forget() {
    let redistributor = redistributor(cpu::current());
    write32(redistributor + SGI_BASE + 0x280, u32::MAX);
    write32(redistributor + SGI_BASE + 0x380, u32::MAX);
    write_register!("S3_0_C12_C8_4", 0); // ICC_AP0R0_EL1
    write_register!("S3_0_C12_C9_0", 0); // ICC_AP1R0_EL1
    write_register!("S3_0_C12_C12_4", 0); // ICC_CTLR_EL1
    write_register!("S3_0_C12_C12_3", 0); // ICC_BPR1_EL1
}

/// The redistributor of vCPU `cpu`.
pub fn redistributor(cpu: usize) -> u64 {
    GICR_BASE + cpu as u64 * GICR_STRIDE
}

/// Enables PPI `interrupt` (16 to 31) of this vCPU.
pub fn enable_ppi(interrupt: u32) {
    write32(redistributor(cpu::current()) + SGI_BASE + 0x100, 1 << interrupt);
}

/// Gives SGI or PPI `interrupt` of this vCPU a priority; the smaller goes first.
pub fn set_priority(interrupt: u32, priority: u8) {
    write8(redistributor(cpu::current()) + SGI_BASE + 0x400 + u64::from(interrupt), priority);
}

/// Disables PPI `interrupt` of this vCPU.
pub fn disable_ppi(interrupt: u32) {
    write32(redistributor(cpu::current()) + SGI_BASE + 0x180, 1 << interrupt);
}

/// Enables SPI `spi` (INTID - 32) and routes it to this vCPU.
pub fn enable_spi(spi: u32) {
    let interrupt = u64::from(spi) + 32;
    write64(GICD_IROUTER + interrupt * 8, cpu::current() as u64);
    write32(GICD_ISENABLER + interrupt / 32 * 4, 1 << (interrupt % 32));
}

/// Whether interrupt `interrupt` (0 to 31) of this vCPU is pending, by its redistributor.
pub fn is_pending(interrupt: u32) -> bool {
    read32(redistributor(cpu::current()) + SGI_BASE + 0x200) >> interrupt & 1 != 0
}

/// Whether it is active.
pub fn is_active(interrupt: u32) -> bool {
    read32(redistributor(cpu::current()) + SGI_BASE + 0x300) >> interrupt & 1 != 0
}

/// Acknowledges the highest pending interrupt, or a number from [`SPECIAL`] on.
pub fn acknowledge() -> u32 {
    read_register!("S3_0_C12_C12_0") as u32 & 0xff_ffff // ICC_IAR1_EL1
}

/// Drops the priority of `interrupt` and deactivates it.
pub fn end(interrupt: u32) {
    write_register!("S3_0_C12_C12_1", u64::from(interrupt)); // ICC_EOIR1_EL1
}

/// Value for ICC_SGI1R_EL1 that sends SGI `interrupt` to vCPU `cpu` (IHI0069 §12.2.10).
pub const fn sgi_to(interrupt: u32, cpu: usize) -> u64 {
    (interrupt as u64) << 24 | 1 << cpu
}

/// Acknowledges and ends what is pending, as far as it ends: a line that stays high comes again and again.
pub fn drain() {
    for _ in 0..DRAIN_MAX {
        match acknowledge() {
            none if none >= SPECIAL => return,
            interrupt => end(interrupt),
        }
    }
}

/// Sends SGI `interrupt` to vCPU `cpu`.
pub fn send(interrupt: u32, cpu: usize) {
    write_register!("S3_0_C12_C11_5", sgi_to(interrupt, cpu)); // ICC_SGI1R_EL1
}

fn read32(address: u64) -> u32 {
    // SAFETY: a GIC register of this machine.
    unsafe { (address as *const u32).read_volatile() }
}

fn write32(address: u64, value: u32) {
    // SAFETY: a GIC register of this machine.
    unsafe { (address as *mut u32).write_volatile(value) }
}

fn write8(address: u64, value: u8) {
    // SAFETY: a GIC register that takes bytes (IHI0069 §12.9.20).
    unsafe { (address as *mut u8).write_volatile(value) }
}

fn write64(address: u64, value: u64) {
    // SAFETY: GICD_IROUTER, a register of 64 bits.
    unsafe { (address as *mut u64).write_volatile(value) }
}
