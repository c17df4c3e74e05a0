//! Two or more vCPUs with one ASID and different tables: each must only ever see its own page.
//!
//! Every vCPU maps the same virtual page, non-global, to pages of its own, and reads it over and
//! over. In between it spins, yields, sleeps, calls the hypervisor, or maps the page to its other
//! physical page with break-before-make and a TLB invalidation for this CPU only (no `is`), which
//! holds no longer when the vCPU has moved unless the hypervisor sees to it.
//! Options: `rounds` (100000), `seed` (1).
#![no_std]
#![no_main]

use core::arch::asm;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use hv_abi::guest_map::PPI_VIRTUAL_TIMER;
use test_guests::entry::CPUS_MAX;
use test_guests::mmu::{self, Table};
use test_guests::random::Random;
use test_guests::{Machine, cpu, gic, guest, power, println, timer};

guest!(main);

/// The address that every vCPU maps for itself, far from the identity map's RAM.
const VA: u64 = 384 << 30;
const ASID: u64 = 5;
const WORDS: usize = 512;
const SLEEP_NS: u64 = 50_000;

#[repr(C, align(4096))]
struct Page(UnsafeCell<[u64; WORDS]>);

// SAFETY: each page belongs to one vCPU.
unsafe impl Sync for Page {}

/// What a vCPU has to itself.
struct Space {
    root: Table,
    middle: Table,
    leaf: Table,
    pages: [Page; 2],
}

static SPACES: [Space; CPUS_MAX] = [const {
    Space {
        root: Table::new(),
        middle: Table::new(),
        leaf: Table::new(),
        pages: [const { Page(UnsafeCell::new([0; WORDS])) }; 2],
    }
}; CPUS_MAX];
static ROUNDS: AtomicU64 = AtomicU64::new(0);
static SEED: AtomicU64 = AtomicU64::new(0);
static FINISHED: AtomicUsize = AtomicUsize::new(0);
static WRONG: AtomicU64 = AtomicU64::new(0);

fn main(machine: &Machine) {
    ROUNDS.store(machine.number("rounds", 100_000), Ordering::Relaxed);
    SEED.store(machine.number("seed", 1), Ordering::Relaxed);
    gic::init_distributor();
    (1..machine.vcpus).for_each(|cpu| cpu::start(cpu, verify));
    verify(0);
    while FINISHED.load(Ordering::Acquire) != machine.vcpus {
        cpu::relax();
    }
    let wrong = WRONG.load(Ordering::Relaxed);
    println!("ASID {} wrong {wrong}", if wrong == 0 { "PASS" } else { "FAIL" });
    if wrong != 0 {
        // So that EL2's log tells it too, where this console has no focus.
        power::crash();
    }
}

/// What page `page` of vCPU `cpu` holds; the seed makes two VMs differ too.
fn pattern(cpu: usize, page: usize) -> u64 {
    Random::new(SEED.load(Ordering::Relaxed) << 8 | (cpu as u64) << 4 | page as u64).next()
}

fn verify(cpu: usize) {
    gic::init_cpu();
    gic::enable_ppi(PPI_VIRTUAL_TIMER);
    let space = &SPACES[cpu];
    build(cpu, space);
    let mut random = Random::new(SEED.load(Ordering::Relaxed) + cpu as u64);
    let mut page = 0;
    let mut wrong = 0;
    for _ in 0..ROUNDS.load(Ordering::Relaxed) {
        let place = VA + random.below(WORDS as u64) * 8;
        // SAFETY: mapped by build(), at one page or the other.
        let found = unsafe { (place as *const u64).read_volatile() };
        wrong += u64::from(found != pattern(cpu, page));
        match random.below(64) {
            0 => timer::sleep_until(timer::now() + timer::ticks(SLEEP_NS)),
            1 => {
                page = 1 - page;
                remap(space, page);
            }
            2 => {
                let _ = smccc::psci::version::<smccc::Hvc>();
            }
            3..8 => cpu::relax(),
            _ => {}
        }
    }
    mmu::enable();
    println!("asid: vCPU {cpu}: {wrong} wrong reads");
    WRONG.fetch_add(wrong, Ordering::AcqRel);
    FINISHED.fetch_add(1, Ordering::AcqRel);
}

/// Fills the pages, builds the tables and switches to them.
fn build(cpu: usize, space: &Space) {
    for (i, page) in space.pages.iter().enumerate() {
        // SAFETY: this vCPU's own page.
        unsafe { (*page.0.get()).fill(pattern(cpu, i)) }
    }
    space.root.identity();
    space.root.set((VA >> 30) as usize, mmu::table_entry(&space.middle));
    space.middle.set(0, mmu::table_entry(&space.leaf));
    space.leaf.set(0, mmu::page_entry(space.pages[0].0.get() as u64));
    mmu::enable_with(&space.root, ASID);
}

/// Maps the page elsewhere: break, invalidate on this CPU, make (Arm ARM D8.16.1).
fn remap(space: &Space, page: usize) {
    space.leaf.set(0, 0);
    // SAFETY: nothing holds a reference through the page.
    unsafe {
        asm!("dsb nshst", "tlbi vae1, {}", "dsb nsh", "isb", in(reg) ASID << 48 | VA >> 12, options(nostack));
    }
    space.leaf.set(0, mmu::page_entry(space.pages[page].0.get() as u64));
    // SAFETY: a barrier, so that the walker sees the new entry.
    unsafe { asm!("dsb nshst", "isb", options(nostack)) }
}
