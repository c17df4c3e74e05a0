//! Never gives way, and measures how long it runs in each period. Options: `period-us` (10000), `periods` (100).
#![no_std]
#![no_main]

use test_guests::{Machine, guest, println, timer};

guest!(main);

/// Between two looks at the counter: nobody who runs takes so long, and every stay off the CPU takes longer.
const GAP_NS: u64 = 50_000;

fn main(machine: &Machine) {
    let period = timer::ticks(machine.number("period-us", 10_000) * 1000);
    let (gap, periods) = (timer::ticks(GAP_NS), machine.number("periods", 100));
    // A period begins as it comes back to the CPU.
    let mut last = timer::now();
    while timer::now() - last <= gap {
        last = timer::now();
    }
    last = timer::now();
    let (mut end, mut ran, mut done) = (last + period, 0, 0);
    let (mut least, mut most) = (u64::MAX, 0);
    while done < periods {
        let now = timer::now();
        if now >= end {
            (least, most) = (least.min(ran), most.max(ran));
            (ran, end, done) = (0, end + period, done + 1);
        }
        if now - last <= gap {
            ran += now - last;
        }
        last = now;
    }
    println!("PERIODS {periods} least-ns {} most-ns {}", timer::nanoseconds(least), timer::nanoseconds(most));
}
