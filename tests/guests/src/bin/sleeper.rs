//! Wakes on every vCPU once a period, does nothing, and sleeps again: a quiet neighbour whose
//! context a shared CPU has to take and leave. Option: `period-us` (300).
#![no_std]
#![no_main]

use core::sync::atomic::{AtomicU64, Ordering};
use hv_abi::guest_map::PPI_VIRTUAL_TIMER;
use test_guests::{Machine, cpu, gic, guest, println, timer};

guest!(main);

static PERIOD: AtomicU64 = AtomicU64::new(0);

fn main(machine: &Machine) {
    let period = machine.number("period-us", 300) * 1000;
    PERIOD.store(timer::ticks(period), Ordering::Relaxed);
    gic::init_distributor();
    (1..machine.vcpus).for_each(|cpu| cpu::start(cpu, sleep));
    println!("sleeper: sleeps on {} vCPUs", machine.vcpus);
    sleep(0);
}

fn sleep(_: usize) {
    gic::init_cpu();
    gic::enable_ppi(PPI_VIRTUAL_TIMER);
    let period = PERIOD.load(Ordering::Relaxed);
    loop {
        timer::sleep_until(timer::now() + period);
    }
}
