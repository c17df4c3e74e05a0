//! The maps that operations are done under, made once: all is where it is in each of them, and a window shows more.

use hv_abi::guest_map::{GICD_BASE, GICR_BASE, MAILBOX_BASE, RAM_BASE, RTC_BASE, UART_BASE, VIRTIO_BASE};
use test_guests::Machine;
use test_guests::entry::CPUS_MAX;
use test_guests::mmu::{self, ENTRIES, Table, Whose, block_entry, page_entry, table_entry};

/// What an operation needs to be mapped, and how.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Map {
    /// Whatever is there.
    Any,
    /// The MMU is off: every address leaves the vCPU.
    Off,
    /// Everything, devices too, is normal memory, so that stage 1 stops nothing.
    Normal,
    /// The same, but EL0 has no access to this program.
    Unprivileged,
}

pub(super) const PAGE: u64 = 0x1000;
const GIB: u64 = 1 << 30;
const BLOCK: u64 = 2 << 20;
/// The GiB with the window, where no device and no RAM is.
const WINDOW_GIB: usize = 300;
/// Pages of memory, each with one of [`PLACES`] behind it.
pub(super) const WINDOW: u64 = WINDOW_GIB as u64 * GIB;
/// The same, a pair for each vCPU to run code in.
pub(super) const LEDGE: u64 = WINDOW + 2 * PAGE * PLACES.len() as u64;
/// A block for each of [`PLACES`], whose table of pages is said to be there.
pub(super) const FALSE_LEAF: u64 = WINDOW + BLOCK;
/// The same for tables of blocks, a GiB each.
pub(super) const FALSE_MIDDLE: u64 = WINDOW + GIB;
/// Where behind the scratch page the window's memory is.
const MEMORY: u64 = 0x8_0000;
const NOP: u32 = 0xd503_201f;

/// Places that are not this guest's memory; the last is behind its 40 bits.
pub(super) const PLACES: [u64; 12] = [
    GICD_BASE,
    UART_BASE,
    RTC_BASE,
    VIRTIO_BASE,
    MAILBOX_BASE,
    GICR_BASE,
    GICR_BASE + 0x1_0000,
    0,
    0x0a80_0000,
    RAM_BASE - PAGE,
    1 << 39,
    1 << 40,
];

static NORMAL: Table = Table::new();
static UNPRIVILEGED: Table = Table::new();
/// RAM's GiB as EL0 sees it.
static RAM: Table = Table::new();
static MIDDLE: Table = Table::new();
static LEAF: Table = Table::new();

const _: () = assert!(2 * (PLACES.len() + CPUS_MAX) < ENTRIES);

/// Makes them all.
pub(super) fn build(machine: &Machine) {
    let upper = machine.ram_base + machine.memory / 2;
    NORMAL.normal();
    for gib in 0..ENTRIES as u64 {
        UNPRIVILEGED.set(gib as usize, block_entry(gib * GIB, Whose::El0));
    }
    let ram = machine.ram_base / GIB * GIB;
    for block in (0..ENTRIES as u64).map(|i| ram + i * BLOCK) {
        let whose = if block < upper { Whose::El1 } else { Whose::El0 };
        RAM.set((block % GIB / BLOCK) as usize, block_entry(block, whose));
    }
    UNPRIVILEGED.set((ram / GIB) as usize, table_entry(&RAM));
    NORMAL.set(WINDOW_GIB, table_entry(&MIDDLE));
    MIDDLE.set(0, table_entry(&LEAF));
    for pair in 0..PLACES.len() + CPUS_MAX {
        let memory = upper + MEMORY + pair as u64 * PAGE;
        let place = PLACES[pair % PLACES.len()];
        LEAF.set(2 * pair, page_entry(memory));
        LEAF.set(2 * pair + 1, page_entry(place));
        fill(memory);
    }
    for (i, place) in PLACES.into_iter().enumerate() {
        MIDDLE.set(1 + i, place | 0b11);
        NORMAL.set(WINDOW_GIB + 1 + i, place | 0b11);
    }
}

/// Code that runs over the end of its page.
fn fill(page: u64) {
    for word in (page..page + PAGE).step_by(4) {
        // SAFETY: the upper half of RAM belongs to the attacks.
        unsafe { (word as *mut u32).write_volatile(NOP) }
    }
}

/// The first map of a vCPU that was just turned on.
pub(super) fn enter() {
    mmu::enable_with(&NORMAL, 1);
}

/// Over to another map.
pub(super) fn switch_to(map: Map) {
    match map {
        Map::Any => {}
        Map::Off => mmu::disable(),
        Map::Normal => mmu::switch_to(&NORMAL, 1),
        Map::Unprivileged => mmu::switch_to(&UNPRIVILEGED, 2),
    }
}

/// Back to what the other phases work under.
pub(super) fn leave() {
    mmu::disable();
}
