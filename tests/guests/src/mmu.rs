//! An identity map of 1 GiB blocks (Arm ARM D8): devices below RAM, RAM, and everything behind it as
//! device memory, so that an access to nothing reaches stage 2 instead of ending in this table.

use core::arch::asm;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering};

/// Entries of a table.
pub const ENTRIES: usize = 512;
/// Level-1 block or table entry attributes: valid, access flag.
const VALID: u64 = 1;
const ACCESS: u64 = 1 << 10;
const INNER_SHAREABLE: u64 = 3 << 8;
const NOT_GLOBAL: u64 = 1 << 11;
/// MAIR index 0: Device-nGnRnE. Not executable.
const DEVICE: u64 = VALID | ACCESS | 3 << 53;
/// MAIR index 1: normal, write-back.
const NORMAL: u64 = VALID | ACCESS | INNER_SHAREABLE | 1 << 2;
const MAIR: u64 = 0xff00;
/// T0SZ 25 (39 bits, so the root is level 1), write-back walks, 4 KiB, no TTBR1, 40-bit output.
const TCR: u64 = 25 | 1 << 8 | 1 << 10 | 3 << 12 | 1 << 23 | 2 << 32;
const GIB: u64 = 1 << 30;
/// GiBs that are mapped as RAM; nothing here runs where speculation into a hole would matter.
const RAM_GIBS: core::ops::Range<u64> = 1..4;
/// M, C, I.
const SCTLR_ON: u64 = 1 | 1 << 2 | 1 << 12;

/// A translation table.
#[repr(C, align(4096))]
pub struct Table(UnsafeCell<[u64; ENTRIES]>);

// SAFETY: entries are written by volatile stores; who writes which is each test's own matter.
unsafe impl Sync for Table {}

impl Default for Table {
    fn default() -> Self {
        Self::new()
    }
}

impl Table {
    /// An empty table.
    pub const fn new() -> Self {
        Self(UnsafeCell::new([0; ENTRIES]))
    }

    /// Its address; everything is mapped at its physical address.
    pub fn address(&self) -> u64 {
        self.0.get() as u64
    }

    /// Writes entry `index`.
    pub fn set(&self, index: usize, entry: u64) {
        assert!(index < ENTRIES);
        // SAFETY: inside the table; the walker reads it, no Rust reference to it exists.
        unsafe { self.0.get().cast::<u64>().add(index).write_volatile(entry) }
    }

    /// Fills it with the identity map.
    pub fn identity(&self) {
        for gib in 0..ENTRIES as u64 {
            let attributes = if RAM_GIBS.contains(&gib) { NORMAL } else { DEVICE };
            self.set(gib as usize, (gib * GIB) | attributes);
        }
    }

    /// Fills it with the identity map of normal memory that can be executed, devices too.
    pub fn normal(&self) {
        for gib in 0..ENTRIES as u64 {
            self.set(gib as usize, block_entry(gib * GIB, Whose::El1));
        }
    }
}

/// Who may use a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Whose {
    /// EL1 alone.
    El1,
    /// EL0 as well; EL1 then executes nothing in it (Arm ARM D8.4.1).
    El0,
}

/// An entry for a block of normal memory at `address`, not global.
pub const fn block_entry(address: u64, whose: Whose) -> u64 {
    let unprivileged = matches!(whose, Whose::El0) as u64;
    address | NORMAL | NOT_GLOBAL | unprivileged << 6
}

/// An entry that points to `table`.
pub fn table_entry(table: &Table) -> u64 {
    table.address() | 0b11
}

/// A level-3 entry for the normal page at `address`, not global.
pub fn page_entry(address: u64) -> u64 {
    address | NORMAL | NOT_GLOBAL | 0b11
}

static IDENTITY: Table = Table::new();
static FILLED: AtomicBool = AtomicBool::new(false);

/// Turns the MMU on with the identity map.
pub fn enable() {
    // The boot vCPU is alone the first time; later ones find the map filled.
    if !FILLED.load(Ordering::Relaxed) {
        IDENTITY.identity();
        FILLED.store(true, Ordering::Relaxed);
    }
    enable_with(&IDENTITY, 0);
}

/// Turns the MMU on with everything, devices too, as normal memory that can be executed.
pub fn enable_normal() {
    static NORMAL_MAP: Table = Table::new();
    NORMAL_MAP.normal();
    enable_with(&NORMAL_MAP, 0);
}

/// Turns the MMU on, or over to the table `root` under `asid`; `root` maps this code where it is.
pub fn enable_with(root: &Table, asid: u64) {
    load(root, asid);
    // SAFETY: forgets what can be read again.
    unsafe { asm!("tlbi vmalle1", "dsb nsh", "isb", options(nostack)) }
    turn_on();
}

/// The same without forgetting translations: all that are kept are of this table, or of another ASID and not global.
pub fn switch_to(root: &Table, asid: u64) {
    load(root, asid);
    turn_on();
}

fn load(root: &Table, asid: u64) {
    // SAFETY: the root maps all that runs at its own address.
    unsafe {
        asm!(
            "dsb sy",
            "msr mair_el1, {mair}",
            "msr tcr_el1, {tcr}",
            "msr ttbr0_el1, {ttbr}",
            "isb",
            mair = in(reg) MAIR,
            tcr = in(reg) TCR,
            ttbr = in(reg) root.address() | asid << 48,
            options(nostack)
        );
    }
}

fn turn_on() {
    // SAFETY: the table that was loaded maps all that runs at its own address.
    unsafe {
        asm!(
            "mrs {tmp}, sctlr_el1",
            "orr {tmp}, {tmp}, {on}",
            "msr sctlr_el1, {tmp}",
            "isb",
            on = in(reg) SCTLR_ON,
            tmp = out(reg) _,
            options(nostack)
        );
    }
}

/// Turns the MMU off.
pub fn disable() {
    // SAFETY: everything is mapped at its own address, so the code goes on where it is.
    unsafe {
        asm!(
            "dsb sy",
            "mrs {tmp}, sctlr_el1",
            "bic {tmp}, {tmp}, {on}",
            "msr sctlr_el1, {tmp}",
            "isb",
            on = in(reg) SCTLR_ON,
            tmp = out(reg) _,
            options(nostack)
        );
    }
}
