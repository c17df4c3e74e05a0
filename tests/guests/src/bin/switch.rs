//! What it takes to give a CPU from one vCPU to another, by the counter that all VMs share.
//!
//! Bootargs: `role=waiter`: sleeps `rounds` times (64), and prints when: `SLEPT <count> ...`.
//! `role=busy`: computes, and prints when it got the CPU back `rounds` times: `BACK <count> ...`.
//! `role=turns`: all vCPUs compute, and the times from the end of one's turn to the begin of the next one's are
//! printed: `TURN <ticks> ...`. `role=load`: all vCPUs compute for ever.
//! `role=metronome`: moves a deadline before it for ever, a microsecond away at most, and never meets it.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};
use hv_abi::guest_map::PPI_VIRTUAL_TIMER;
use test_guests::{Machine, cpu, gic, guest, println, timer};

guest!(main);

/// Between two reads of a vCPU that runs.
const GAP: u64 = 300;
const PERIOD_NS: u64 = 300_000;

fn main(machine: &Machine) {
    let rounds = machine.number("rounds", 64) as usize;
    match machine.option("role") {
        Some("waiter") => wait(rounds),
        Some("busy") => compute(rounds),
        Some("turns") => turns(machine),
        Some("metronome") => beat(),
        _ => {
            (1..machine.vcpus).for_each(|vcpu| cpu::start(vcpu, burn));
            println!("SWITCH load of {} vCPUs", machine.vcpus);
            burn(0);
        }
    }
}

fn show(name: &str, counts: &[u64]) -> ! {
    let counts = counts.iter().map(|count| format!(" {count}")).collect::<String>();
    println!("{name}{counts}");
    println!("SWITCH-END");
    // The console stays until somebody has read it.
    loop {
        cpu::wait();
    }
}

/// CNTPCT_EL0, which no VM's offset moves.
fn now() -> u64 {
    test_guests::read_register!("cntpct_el0")
}

fn wait(rounds: usize) {
    gic::init_distributor();
    gic::init_cpu();
    gic::enable_ppi(PPI_VIRTUAL_TIMER);
    let slept: Vec<u64> = (0..rounds).map(|_| sleep()).collect();
    show("SLEPT", &slept);
}

/// Sleeps for a period; when it began to.
fn sleep() -> u64 {
    timer::arm(timer::now() + timer::ticks(PERIOD_NS));
    let at: u64;
    // SAFETY: reads a counter and waits.
    unsafe { asm!("isb", "mrs {}, cntpct_el0", "wfi", out(reg) at, options(nostack)) };
    timer::disarm();
    gic::drain();
    at
}

/// Runs until the CPU was away; the last count before and the first count after.
fn away() -> (u64, u64) {
    let mut last = now();
    loop {
        let count = now();
        if count - last > GAP {
            return (last, count);
        }
        last = count;
        cpu::relax();
    }
}

fn compute(rounds: usize) {
    let back: Vec<u64> = (0..rounds).map(|_| away().1).collect();
    show("BACK", &back);
}

fn burn(_: usize) {
    loop {
        away();
    }
}

fn beat() -> ! {
    loop {
        timer::arm(timer::now() + timer::ticks(1000));
        cpu::relax();
    }
}

/// The last count of each vCPU.
static LEFT: [AtomicU64; VCPUS] = [const { AtomicU64::new(0) }; VCPUS];
/// From one's last count to another's first.
static TAKEN: [AtomicU64; SAMPLES] = [const { AtomicU64::new(0) }; SAMPLES];
static COUNT: AtomicU64 = AtomicU64::new(0);
const SAMPLES: usize = 256;
const VCPUS: usize = 8;

/// Notes its last count before it lost the CPU, and how long ago another one of this VM did.
fn turn(vcpu: usize) {
    let mut last = now();
    while (COUNT.load(Ordering::Relaxed) as usize) < SAMPLES {
        let count = now();
        if count - last > GAP {
            let before = LEFT.iter().map(|left| left.load(Ordering::Relaxed)).max();
            if let Some(before) = before.filter(|before| *before > last) {
                note(count - before);
            }
        }
        last = count;
        LEFT[vcpu % VCPUS].store(count, Ordering::Relaxed);
    }
}

fn note(ticks: u64) {
    let sample = COUNT.fetch_add(1, Ordering::Relaxed) as usize;
    if let Some(place) = TAKEN.get(sample) {
        place.store(ticks, Ordering::Relaxed);
    }
}

fn turns(machine: &Machine) {
    (1..machine.vcpus).for_each(|vcpu| cpu::start(vcpu, turn));
    turn(0);
    let taken: Vec<u64> = TAKEN.iter().map(|taken| taken.load(Ordering::Relaxed)).filter(|&taken| taken > 0).collect();
    show("TURN", &taken);
}
