//! The vCPUs of the mix: who is at work, and who sleeps because another has taken its interrupts away.

use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use smccc::psci::{self, AffinityState};
use test_guests::entry::CPUS_MAX;
use test_guests::{cpu, gic, println, timer};

/// A vCPU that does not get on for this long may have lost its interrupts.
const PATIENCE_NS: u64 = 2_000_000;
/// One that does not get on for this long, whatever is done, never will.
const HOPELESS_NS: u64 = 60_000_000_000;

const OFF: u8 = 0;
const AT_WORK: u8 = 1;
const PARKED: u8 = 2;

static STATES: [AtomicU8; CPUS_MAX] = [const { AtomicU8::new(OFF) }; CPUS_MAX];
static STEPS: [AtomicU64; CPUS_MAX] = [const { AtomicU64::new(0) }; CPUS_MAX];
/// What each does: the number of the operation and its kind.
static DOING: [AtomicU64; CPUS_MAX] = [const { AtomicU64::new(0) }; CPUS_MAX];
static STARTS: AtomicU64 = AtomicU64::new(0);
static PAUSE: AtomicBool = AtomicBool::new(false);

/// This vCPU does operation `number`, which is of the kind `kind`.
pub(super) fn begin(cpu: usize, number: u64, kind: usize) {
    DOING[cpu].store(number << 8 | kind as u64, Ordering::Relaxed);
}

/// This vCPU begins. A second beginning without an end would be a vCPU that runs twice.
pub(super) fn enter(cpu: usize) {
    let before = STATES[cpu].swap(AT_WORK, Ordering::AcqRel);
    assert!(before == OFF, "vCPU {cpu} was started while it ran");
    STARTS.fetch_add(1, Ordering::Relaxed);
    tick(cpu);
}

/// This vCPU goes off next.
pub(super) fn leave(cpu: usize) {
    STATES[cpu].store(OFF, Ordering::Release);
}

/// This vCPU has done an operation; it waits here while all are to be quiet.
pub(super) fn tick(cpu: usize) {
    STEPS[cpu].fetch_add(1, Ordering::Relaxed);
    if PAUSE.load(Ordering::Acquire) {
        STATES[cpu].store(PARKED, Ordering::Release);
        while PAUSE.load(Ordering::Acquire) {
            cpu::relax();
        }
        STATES[cpu].store(AT_WORK, Ordering::Release);
    }
}

/// What vCPU 0 knows of the others.
pub(super) struct Team {
    vcpus: usize,
    /// Steps that each had done, when that was seen first, and when it was last helped.
    seen: [(u64, u64, u64); CPUS_MAX],
    rescues: u64,
}

impl Team {
    /// Starts all others.
    pub(super) fn start(vcpus: usize) -> Self {
        for cpu in 1..vcpus {
            // One that is at work already may have started it.
            match cpu::try_start(cpu, super::help) {
                Ok(()) | Err(psci::Error::AlreadyOn | psci::Error::OnPending) => {}
                Err(error) => panic!("vCPU {cpu} does not start: {error}"),
            }
        }
        Self { vcpus, seen: [(0, timer::now(), 0); CPUS_MAX], rescues: 0 }
    }

    /// Gives back its interrupts to whoever has stood still for a while.
    pub(super) fn look_after(&mut self) {
        let now = timer::now();
        for cpu in 1..self.vcpus {
            let steps = STEPS[cpu].load(Ordering::Relaxed);
            let seen = &mut self.seen[cpu];
            if steps != seen.0 || STATES[cpu].load(Ordering::Acquire) != AT_WORK {
                *seen = (steps, now, now);
            } else if now - seen.2 > timer::ticks(PATIENCE_NS) {
                if now - seen.1 > timer::ticks(HOPELESS_NS) {
                    give_up(cpu);
                }
                seen.2 = now;
                self.rescues += 1;
                gic::revive(cpu);
                gic::send(0, cpu);
            }
        }
    }

    /// Waits until nobody else does anything.
    pub(super) fn pause(&mut self) {
        PAUSE.store(true, Ordering::Release);
        while (1..self.vcpus).any(|cpu| STATES[cpu].load(Ordering::Acquire) == AT_WORK) {
            self.look_after();
            cpu::relax();
        }
    }

    /// The others go on.
    pub(super) fn go_on(&self) {
        PAUSE.store(false, Ordering::Release);
    }

    /// Waits until all others are off.
    pub(super) fn finish(&mut self) {
        let is_off = |cpu: usize| {
            let state = psci::affinity_info::<smccc::Hvc>(cpu as u64, psci::LowestAffinityLevel::All);
            STATES[cpu].load(Ordering::Acquire) == OFF && state == Ok(AffinityState::Off)
        };
        while !(1..self.vcpus).all(is_off) {
            self.look_after();
            cpu::relax();
        }
    }

    /// How it went.
    pub(super) fn report(&self) {
        println!("HOSTILE starts {} rescues {}", STARTS.load(Ordering::Relaxed), self.rescues);
    }
}

/// Says what vCPU `cpu` never came back from.
fn give_up(cpu: usize) -> ! {
    PAUSE.store(true, Ordering::Release);
    test_guests::console::reset();
    let doing = DOING[cpu].load(Ordering::Relaxed);
    let kind = super::KINDS[(doing & 0xff) as usize].name;
    panic!("\r\nHOSTILE vCPU {cpu} never came back from operation {}, {kind}", doing >> 8);
}
