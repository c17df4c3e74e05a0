//! Counts on every vCPU without ever giving way, and finds the longest time that one stood still.
//!
//! Options: `seconds` (2) of virtual time, `limit-ms` (20).
#![no_std]
#![no_main]

use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use test_guests::entry::CPUS_MAX;
use test_guests::{Machine, cpu, guest, println, timer};

guest!(main);

static VCPUS: AtomicUsize = AtomicUsize::new(1);
static STARTED: AtomicUsize = AtomicUsize::new(0);
static FINISHED: AtomicUsize = AtomicUsize::new(0);
static SECONDS: AtomicU64 = AtomicU64::new(0);
static STEPS: [AtomicU64; CPUS_MAX] = [const { AtomicU64::new(0) }; CPUS_MAX];
static LONGEST: [AtomicU64; CPUS_MAX] = [const { AtomicU64::new(0) }; CPUS_MAX];

fn main(machine: &Machine) {
    VCPUS.store(machine.vcpus, Ordering::Relaxed);
    SECONDS.store(machine.number("seconds", 2), Ordering::Relaxed);
    (1..machine.vcpus).for_each(|cpu| cpu::start(cpu, count));
    println!("progress: {} vCPUs count", machine.vcpus);
    count(0);
    while FINISHED.load(Ordering::Acquire) != machine.vcpus {
        cpu::relax();
    }
    let limit = machine.number("limit-ms", 20) * 1_000_000;
    let mut late = 0;
    for cpu in 0..machine.vcpus {
        let steps = STEPS[cpu].load(Ordering::Relaxed);
        let gap = timer::nanoseconds(LONGEST[cpu].load(Ordering::Relaxed));
        late += usize::from(gap > limit || steps == 0);
        println!("PROGRESS vcpu {cpu} steps {steps} max-gap-ns {gap}");
    }
    println!("PROGRESS {}", if late == 0 { "ok" } else { "late" });
}

/// Counts from when all vCPUs have started until the time is up.
fn count(cpu: usize) {
    STARTED.fetch_add(1, Ordering::AcqRel);
    while STARTED.load(Ordering::Acquire) != VCPUS.load(Ordering::Relaxed) {
        cpu::relax();
    }
    let start = timer::now();
    let end = start + SECONDS.load(Ordering::Relaxed) * timer::frequency();
    let (mut last, mut longest, mut steps) = (start, 0, 0u64);
    while last < end {
        let now = timer::now();
        longest = longest.max(now - last);
        last = now;
        steps += 1;
    }
    STEPS[cpu].store(steps, Ordering::Relaxed);
    LONGEST[cpu].store(longest, Ordering::Relaxed);
    FINISHED.fetch_add(1, Ordering::AcqRel);
}
