//! Checks that all it has stays as it left it: general, FP and system registers over sleeps, spins and calls, its memory,
//! its GIC, its mailbox, and that its timer wakes it in time.
//!
//! It takes no interrupt, so nothing but the hypervisor can change what it looks at. On a received `e` it prints
//! `WITNESS ok|wrong ...` and ends: by power-off if all was right.
//! Options: `limit-ms=N` (100), by which a timer may be late; `seed=N` (1).
#![no_std]
#![no_main]

mod interrupts;
mod memory;
mod registers;

use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use hv_abi::guest_map::{GICD_BASE, PPI_VIRTUAL_TIMER};
use interrupts::Configuration;
use memory::Patterns;
use registers::Held;
use spin::Once;
use test_guests::random::Random;
use test_guests::{Machine, console, cpu, gic, guest, power, println, ring, timer};

guest!(main);

/// From one wake to the next.
const PERIOD_NS: u64 = 2_000_000;
/// How long the timer and the interrupt of it may be behind the counter.
const SETTLE_NS: u64 = 1_000_000_000;
/// Steps of a spin: some slices of the scheduler now and then.
const SPIN: u64 = 300_000;
const PSCI_VERSION: u64 = 0x8400_0000;
const PSCI_1_1: u64 = 0x1_0001;
/// Lines about what is wrong.
const COMPLAINTS: u64 = 16;

static MACHINE: Once<Machine> = Once::new();
static ENOUGH: AtomicBool = AtomicBool::new(false);
static FINISHED: AtomicUsize = AtomicUsize::new(0);
static ROUNDS: AtomicU64 = AtomicU64::new(0);
/// What was wrong first.
static FIRST: Once<&str> = Once::new();
static WRONG: AtomicU64 = AtomicU64::new(0);
/// The longest time by which a timer was late, in ticks, and how often it was late by more than a period.
static WORST: AtomicU64 = AtomicU64::new(0);
static LATE: AtomicU64 = AtomicU64::new(0);
/// How often a sleep ended without a reason.
static EARLY: AtomicU64 = AtomicU64::new(0);

fn main(machine: &Machine) {
    MACHINE.call_once(|| machine.clone());
    gic::init_distributor();
    console::listen();
    (1..machine.vcpus).for_each(|cpu| cpu::start(cpu, watch));
    println!("witness: {} vCPUs watch", machine.vcpus);
    watch(0);
    while FINISHED.load(Ordering::Acquire) != machine.vcpus {
        cpu::relax();
    }
    let worst = timer::nanoseconds(WORST.load(Ordering::Relaxed));
    if worst > machine.number("limit-ms", 100) * 1_000_000 {
        complain("timer, late by ns", 0, worst);
    }
    let wrong = WRONG.load(Ordering::Relaxed);
    println!(
        "WITNESS {} first {:?} rounds {} wrong {wrong} worst-late-ns {worst} late {} early {}",
        if wrong == 0 { "ok" } else { "wrong" },
        FIRST.get().unwrap_or(&"-"),
        ROUNDS.load(Ordering::Relaxed),
        LATE.load(Ordering::Relaxed),
        EARLY.load(Ordering::Relaxed),
    );
    if wrong != 0 {
        // So that EL2's log tells it too.
        power::crash();
    }
}

/// Counts something that is not as it was left, and says so.
fn complain(what: &'static str, expected: u64, found: u64) {
    FIRST.call_once(|| what);
    if WRONG.fetch_add(1, Ordering::Relaxed) < COMPLAINTS {
        println!("WITNESS {what}: {expected:#x} has become {found:#x}");
    }
}

/// Compares.
fn check(what: &'static str, expected: u64, found: u64) {
    if expected != found {
        complain(what, expected, found);
    }
}

/// What each vCPU does until it is enough.
fn watch(cpu: usize) {
    let machine = MACHINE.get().expect("vCPU 0 has read it");
    let mut random = Random::new(machine.number("seed", 1) << 8 | cpu as u64);
    gic::init_cpu();
    gic::enable_ppi(PPI_VIRTUAL_TIMER);
    let configuration = Configuration::make(&mut random, cpu);
    let mut patterns = Patterns::fill(machine, cpu);
    while !ENOUGH.load(Ordering::Relaxed) {
        round(&mut random);
        patterns.check_next();
        configuration.check(&mut random);
        if machine.mailbox {
            check("mailbox", 0, u64::from(ring::load(hv_abi::mailbox::INBOUND_PRODUCER)));
        }
        ROUNDS.fetch_add(1, Ordering::Relaxed);
        if cpu == 0 && console::get() == Some(b'e') {
            ENOUGH.store(true, Ordering::Relaxed);
        }
    }
    FINISHED.fetch_add(1, Ordering::AcqRel);
}

/// Holds fresh values in all registers while others run.
fn round(random: &mut Random) {
    let mut held = Held::fresh(random);
    match random.below(4) {
        0 => held.while_spinning(SPIN),
        1 => held.while_calling(PSCI_VERSION, PSCI_1_1),
        2 => held.while_loading(GICD_BASE + 4),
        _ => sleep(&mut held),
    }
}

/// What `read` says once it says `wanted`, or after a while. QEMU's timer is behind its counter: it sets ISTATUS and
/// interrupts when a thread of the host gets to it.
fn settled(wanted: u64, read: impl Fn() -> u64) -> u64 {
    let end = timer::now() + timer::ticks(SETTLE_NS);
    loop {
        let value = read();
        if value == wanted || timer::now() > end {
            return value;
        }
    }
}

/// Sleeps in WFI until the timer's interrupt waits.
fn sleep(held: &mut Held) {
    let deadline = timer::now() + timer::ticks(PERIOD_NS);
    timer::arm(deadline);
    held.while_waiting();
    // A WFI may end before there is a reason (Arm ARM D1.6.2); that it does so seldom is the hypervisor's courtesy.
    while timer::now() < deadline {
        EARLY.fetch_add(1, Ordering::Relaxed);
        held.while_waiting();
    }
    let late = timer::now() - deadline;
    WORST.fetch_max(late, Ordering::Relaxed);
    LATE.fetch_add(u64::from(late > timer::ticks(PERIOD_NS)), Ordering::Relaxed);
    check("timer, control", 0b101, settled(0b101, || test_guests::read_register!("cntv_ctl_el0")));
    check("timer, compare value", deadline, test_guests::read_register!("cntv_cval_el0"));
    let interrupt = u64::from(PPI_VIRTUAL_TIMER);
    check("interrupt", interrupt, settled(interrupt, || u64::from(gic::acknowledge())));
    timer::disarm();
    gic::end(PPI_VIRTUAL_TIMER);
}
