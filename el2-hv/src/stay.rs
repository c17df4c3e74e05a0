//! The measuring build: how long a CPU stays at EL2 without a look for interrupts, and why it was there. Each longest
//! stay so far is a line of the log: counts of the counter, which are instructions where that counts these.

use core::sync::atomic::{AtomicU64, Ordering};

use hv_arch::guest::Trap;
use hv_arch::{counter, pmu};
use hv_core::addr::CpuId;
use hv_core::sched::MAX_CPUS;

use crate::vcpu::Loaded;

/// What a CPU is at EL2 for.
struct Stay {
    /// When it began; 0 is none.
    since: AtomicU64,
    /// ESR_EL2 and x0 of the exit, or a number below.
    reason: [AtomicU64; 2],
    longest: AtomicU64,
    longest_reason: [AtomicU64; 2],
}

static STAYS: [Stay; MAX_CPUS] = [const {
    Stay {
        since: AtomicU64::new(0),
        reason: [AtomicU64::new(0), AtomicU64::new(0)],
        longest: AtomicU64::new(0),
        longest_reason: [AtomicU64::new(0), AtomicU64::new(0)],
    }
}; MAX_CPUS];
/// The longest that the log has.
static SHOWN: AtomicU64 = AtomicU64::new(0);

/// A reason without a syndrome; no ESR_EL2 is so small but that of an unknown reason, which has IL set.
const INTERRUPT: u64 = 1;

fn begin(stay: &Stay, reason: [u64; 2]) {
    for (place, value) in stay.reason.iter().zip(reason) {
        place.store(value, Ordering::Relaxed);
    }
    stay.since.store(counter::now(), Ordering::Relaxed);
}

fn of(cpu: CpuId) -> &'static Stay {
    &STAYS[cpu.index()]
}

/// This CPU counts its instructions at EL2 from now on.
pub fn start() {
    pmu::start();
}

/// A VM has ended: what this CPU has executed at EL2 so far.
pub fn ended() {
    log::info!("stay: {} instructions at EL2 so far", pmu::instructions());
}

/// A guest was left.
pub fn entered(cpu: CpuId, trap: &Trap, loaded: &Loaded) {
    let reason = match trap {
        Trap::Sync => [hv_arch::guest::esr(), loaded.core.registers.x[0]],
        Trap::Interrupt | Trap::SError => [INTERRUPT, 0],
    };
    begin(of(cpu), reason);
}

/// A guest is entered, or the CPU waits for an interrupt.
pub fn left(cpu: CpuId) {
    let stay = of(cpu);
    let since = stay.since.swap(0, Ordering::Relaxed);
    let length = counter::now().wrapping_sub(since);
    if since != 0 && length > stay.longest.load(Ordering::Relaxed) {
        stay.longest.store(length, Ordering::Relaxed);
        for (place, value) in stay.longest_reason.iter().zip(&stay.reason) {
            place.store(value.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }
}

/// A look for interrupts: what comes after it is another stay, for the same reason.
pub fn looked() {
    let cpu = hv_arch::cpu::current();
    left(cpu);
    of(cpu).since.store(counter::now(), Ordering::Relaxed);
}

/// Between two turns: the longest stay is said where it is longer than any so far.
pub fn show(cpu: CpuId) {
    let stay = of(cpu);
    let longest = stay.longest.load(Ordering::Relaxed);
    if longest > SHOWN.fetch_max(longest, Ordering::Relaxed) {
        let [what, more] = stay.longest_reason.each_ref().map(|reason| reason.load(Ordering::Relaxed));
        log::info!("stay: {longest} at EL2 for {what:#x} {more:#x}");
        // The line is no part of what is measured.
        stay.since.store(0, Ordering::Relaxed);
    }
}
