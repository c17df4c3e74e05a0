//! Computes between two moments of the board's time, `from-ms` (200) and `for-ms` (2000) later, and counts rounds of that, each
//! with a YIELD.
#![no_std]
#![no_main]

use test_guests::{Machine, cpu, guest, println, read_register, timer};

guest!(main);

/// Steps of a round. QEMU ends its turn at a YIELD, which takes the host far longer than an instruction.
const STEPS: u32 = 250;

fn main(machine: &Machine) {
    let milliseconds = |key, default| timer::ticks(machine.number(key, default) * 1_000_000);
    let start = milliseconds("from-ms", 200);
    let end = start + milliseconds("for-ms", 2000);
    while now() < start {
        compute();
    }
    let mut rounds = 0_u64;
    while now() < end {
        compute();
        rounds += 1;
    }
    println!("COUNT {rounds}");
    loop {
        cpu::wait();
    }
}

fn compute() {
    for step in 0..STEPS {
        core::hint::black_box(step);
    }
    cpu::relax();
}

/// The board's time, which no VM's offset moves.
fn now() -> u64 {
    read_register!("cntpct_el0")
}
