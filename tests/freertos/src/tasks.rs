//! The tasks: a conductor above all others starts them, waits, and prints one line for each check.

use crate::interrupts::{self, URGENT_PER_SECOND};
use crate::kernel::{self, Mutex, Queue, TICKS_PER_SECOND};
use core::arch::asm;
use core::ffi::c_void;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use test_guests::{console, power, println, timer};

/// The conductor's priority. It sleeps nearly always.
pub const CONDUCTOR: u64 = 6;
const PERIODIC: u64 = 5;
const RECEIVER: u64 = 5;
const HIGH: u64 = 4;
const MEDIUM: u64 = 3;
const LOW: u64 = 2;
const SPINNER: u64 = 1;

/// Periods of the periodic task.
pub static ROUNDS: AtomicU64 = AtomicU64::new(0);
/// Ticks of a period.
const PERIOD: u64 = 5;
/// How long a board without CPUs to spare may take until everything that was due has come.
const SETTLE_NS: u64 = 30_000_000_000;
/// Ticks that the spinners have for themselves.
const SHARE: u64 = 400;

static SPINS: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];
static DAMAGED: AtomicU64 = AtomicU64::new(0);
static PERIODIC_DONE: AtomicBool = AtomicBool::new(false);
static EARLY: AtomicU64 = AtomicU64::new(0);
static MISSED: AtomicU64 = AtomicU64::new(0);
static WORST: AtomicU64 = AtomicU64::new(0);
static RECEIVED: AtomicU64 = AtomicU64::new(0);
static LAST: AtomicU64 = AtomicU64::new(0);
static DISORDER: AtomicU64 = AtomicU64::new(0);
static STEPS: AtomicU64 = AtomicU64::new(0);
static HIGH_STEP: AtomicU64 = AtomicU64::new(0);
static MEDIUM_STEP: AtomicU64 = AtomicU64::new(0);

/// A check and its name.
type Check = (&'static str, fn() -> bool);

/// Runs every check, prints a verdict, and powers off when it is told to by an `o`.
pub extern "C" fn conductor(_: *mut c_void) {
    for (number, name) in [c"spinner a", c"spinner b"].into_iter().enumerate() {
        kernel::create(spinner, name, SPINNER, number);
    }
    let checks: [Check; 6] = [
        ("shares", shares),
        ("periods", periods),
        ("masking", masking),
        ("inheritance", inheritance),
        ("registers", registers),
        ("ticks", ticks),
    ];
    let mut failed = 0;
    for (name, check) in checks {
        if !check() {
            println!("RTOS check {name} failed");
            failed += 1;
        }
    }
    println!("RTOS {}", if failed == 0 { "PASS" } else { "FAIL" });
    while console::get() != Some(b'o') {
        kernel::delay(PERIOD);
    }
    power::off()
}

/// Two tasks of one priority that never sleep both get on. How evenly is for the reader: a tick that comes late
/// cuts somebody's share.
fn shares() -> bool {
    kernel::delay(SHARE);
    let [a, b] = [SPINS[0].load(Relaxed), SPINS[1].load(Relaxed)];
    println!("RTOS shares {a} {b}");
    a > 0 && b > 0
}

/// A task that wakes at every fifth tick preempts the two that never sleep, and misses no period.
fn periods() -> bool {
    kernel::create(periodic, c"periodic", PERIODIC, 0);
    while !PERIODIC_DONE.load(Relaxed) {
        kernel::delay(PERIOD);
    }
    let worst = timer::nanoseconds(WORST.load(Relaxed)) / 1000;
    let (early, missed) = (EARLY.load(Relaxed), MISSED.load(Relaxed));
    println!("RTOS periods {} early {early} missed {missed} late-us {worst}", ROUNDS.load(Relaxed));
    early == 0
}

extern "C" fn periodic(_: *mut c_void) {
    let mut tick = kernel::ticks();
    for _ in 0..ROUNDS.load(Relaxed) {
        let waited = kernel::delay_until(&mut tick, PERIOD);
        let (now, due) = (timer::now(), interrupts::due(tick));
        MISSED.fetch_add(u64::from(!waited), Relaxed);
        EARLY.fetch_add(u64::from(now < due), Relaxed);
        WORST.fetch_max(now.saturating_sub(due), Relaxed);
    }
    PERIODIC_DONE.store(true, Relaxed);
    kernel::end_task()
}

/// In a critical section no tick comes, but every urgent interrupt does; what was held back comes after it.
fn masking() -> bool {
    let queue = Queue::new(16);
    kernel::create(receiver, c"receiver", RECEIVER, queue.raw());
    interrupts::start_urgent(queue);
    let (ticks, urgent, all) = kernel::critical(|| {
        let (ticks, urgent, begin) = (kernel::ticks(), interrupts::urgent(), timer::now());
        busy(timer::ticks(20_000_000));
        let all = settles(|| {
            let due = (timer::now() - begin) * URGENT_PER_SECOND / timer::frequency();
            (interrupts::urgent() - urgent).abs_diff(due) <= 1
        });
        (kernel::ticks() - ticks, interrupts::urgent() - urgent, all)
    });
    kernel::delay(TICKS_PER_SECOND / 10);
    interrupts::stop_urgent();
    kernel::delay(TICKS_PER_SECOND / 10);
    let (received, last, disorder) = (RECEIVED.load(Relaxed), LAST.load(Relaxed), DISORDER.load(Relaxed));
    println!("RTOS masking ticks {ticks} urgent {urgent} messages {received}");
    ticks == 0 && all && received > 0 && disorder == 0 && last == interrupts::urgent()
}

extern "C" fn receiver(queue: *mut c_void) {
    let queue = Queue::from_raw(queue as usize);
    loop {
        let number = queue.receive();
        DISORDER.fetch_add(u64::from(number < LAST.swap(number, Relaxed)), Relaxed);
        RECEIVED.fetch_add(1, Relaxed);
    }
}

/// A task that waits for a mutex gets it before one of a priority between it and the owner may go on.
fn inheritance() -> bool {
    let mutex = Mutex::new();
    kernel::create(low, c"low", LOW, mutex.raw());
    kernel::delay(2);
    kernel::create(high, c"high", HIGH, mutex.raw());
    kernel::create(medium, c"medium", MEDIUM, 0);
    while MEDIUM_STEP.load(Relaxed) == 0 || HIGH_STEP.load(Relaxed) == 0 {
        kernel::delay(PERIOD);
    }
    let (high, medium) = (HIGH_STEP.load(Relaxed), MEDIUM_STEP.load(Relaxed));
    println!("RTOS inheritance high {high} medium {medium}");
    high < medium
}

extern "C" fn low(mutex: *mut c_void) {
    Mutex::from_raw(mutex as usize).hold(|| busy(timer::ticks(10_000_000)));
    kernel::end_task()
}

extern "C" fn medium(_: *mut c_void) {
    busy(timer::ticks(40_000_000));
    MEDIUM_STEP.store(STEPS.fetch_add(1, Relaxed) + 1, Relaxed);
    kernel::end_task()
}

extern "C" fn high(mutex: *mut c_void) {
    Mutex::from_raw(mutex as usize).hold(|| HIGH_STEP.store(STEPS.fetch_add(1, Relaxed) + 1, Relaxed));
    kernel::end_task()
}

/// FP registers are each task's own, over all switches so far.
fn registers() -> bool {
    let damaged = DAMAGED.load(Relaxed);
    println!("RTOS registers damaged {damaged}");
    damaged == 0
}

/// No tick was lost since the start, however late some came.
fn ticks() -> bool {
    let all = settles(|| {
        let before = kernel::ticks();
        let now = timer::now();
        interrupts::due(before) <= now && now < interrupts::due(kernel::ticks() + 2)
    });
    println!("RTOS ticks {}", kernel::ticks());
    all
}

/// Whether `holds` soon: interrupts that were due while this CPU was somebody else's come one after the other.
fn settles(holds: impl Fn() -> bool) -> bool {
    let end = timer::now() + timer::ticks(SETTLE_NS);
    while timer::now() < end {
        if holds() {
            return true;
        }
    }
    false
}

/// Never sleeps; holds a pattern in FP registers meanwhile.
extern "C" fn spinner(number: *mut c_void) {
    let number = number as usize;
    let pattern = 0x0123_4567_89ab_cdef_u64.rotate_left(4 * number as u32 + 4);
    loop {
        let (low, middle, high): (u64, u64, u64);
        // SAFETY: writes the named registers only.
        unsafe {
            asm!(
                "dup v0.2d, {pattern}",
                "dup v15.2d, {pattern}",
                "dup v31.2d, {pattern}",
                "2: subs {rounds}, {rounds}, #1",
                "b.ne 2b",
                "umov {low}, v0.d[1]",
                "umov {middle}, v15.d[0]",
                "umov {high}, v31.d[1]",
                pattern = in(reg) pattern,
                rounds = inout(reg) 1000_u64 => _,
                low = out(reg) low,
                middle = out(reg) middle,
                high = out(reg) high,
                out("v0") _, out("v15") _, out("v31") _,
                options(nomem, nostack),
            );
        }
        DAMAGED.fetch_add(u64::from([low, middle, high] != [pattern; 3]), Relaxed);
        SPINS[number].fetch_add(1, Relaxed);
    }
}

/// Computes until `counts` of the counter have passed.
fn busy(counts: u64) {
    let end = timer::now() + counts;
    while timer::now() < end {
        core::hint::spin_loop();
    }
}
