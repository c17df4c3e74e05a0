//! Sleeps as deep as PSCI knows: CPU_SUSPEND with the context lost, woken by the timer, then SYSTEM_SUSPEND, woken by
//! the clock's alarm, then SYSTEM_RESET2. With a second vCPU that stands in SYSTEM_SUSPEND's way.
//!
//! Bootargs: `rounds=` of CPU_SUSPEND (5).
#![no_std]
#![no_main]

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use hv_abi::guest_map::{PPI_VIRTUAL_TIMER, RTC_BASE, RTC_SPI};
use smccc::psci::{AffinityState, Error, LowestAffinityLevel};
use smccc::{Hvc, psci};
use test_guests::{Machine, cpu, gic, guest, power, println, read_register, timer, write_register};

guest!(main);

const ROUND_NS: u64 = 20_000_000;
/// A value that a vCPU which lost its context does not have any more.
const MARK: u64 = 0x5afe_c0de;

static ROUND: AtomicU32 = AtomicU32::new(0);
static ROUNDS: AtomicU32 = AtomicU32::new(0);
static DUE: AtomicU64 = AtomicU64::new(0);
/// The second vCPU may go.
static LEAVES: AtomicBool = AtomicBool::new(false);

fn main(machine: &Machine) {
    ROUNDS.store(machine.number("rounds", 5) as u32, Ordering::Relaxed);
    gic::init_distributor();
    gic::init_cpu();
    gic::enable_ppi(PPI_VIRTUAL_TIMER);
    for function in [0xc400_0001, 0xc400_000e, 0x8400_0012, 0xc400_0012] {
        expect("PSCI_FEATURES", psci::psci_features::<Hvc>(function), Ok(0));
    }
    expect("CPU_SUSPEND to nowhere", psci::cpu_suspend::<Hvc>(1 << 16, 0, 0), Err(Error::InvalidAddress));
    expect("CPU_SUSPEND of no kind", psci::cpu_suspend::<Hvc>(1 << 17, 0, 0), Err(Error::InvalidParameters));
    cpu::start(1, |_| {
        while !LEAVES.load(Ordering::Acquire) {
            cpu::relax();
        }
    });
    sleep_a_round();
}

fn sleep_a_round() {
    DUE.store(timer::now() + timer::ticks(ROUND_NS), Ordering::Relaxed);
    timer::arm(DUE.load(Ordering::Relaxed));
    write_register!("tpidr_el1", MARK);
    fail("CPU_SUSPEND", cpu::power_down(woken_by_timer));
}

fn woken_by_timer(_: usize) {
    let late = timer::now().checked_sub(DUE.load(Ordering::Relaxed));
    lost_context();
    gic::init_cpu();
    let interrupt = gic::acknowledge();
    if late.is_none() || interrupt != PPI_VIRTUAL_TIMER {
        fail("CPU_SUSPEND wakes", (late, interrupt));
    }
    timer::disarm();
    gic::end(interrupt);
    let rounds = ROUNDS.load(Ordering::Relaxed);
    if ROUND.fetch_add(1, Ordering::Relaxed) + 1 < rounds {
        return sleep_a_round();
    }
    println!("SUSPEND cpu {rounds} rounds");
    suspend_system();
}

/// What a vCPU has right after its power-down.
fn lost_context() {
    // ICC_PMR_EL1, ICC_IGRPEN1_EL1, and a register of its own.
    let left = [read_register!("S3_0_C4_C6_0"), read_register!("S3_0_C12_C12_7"), read_register!("tpidr_el1")];
    if left != [0; 3] {
        fail("context", left);
    }
}

fn clock(offset: u64) -> *mut u32 {
    (RTC_BASE + offset) as *mut u32
}

fn suspend_system() {
    if let Error::Denied = cpu::suspend_system(woken_by_alarm) {
        println!("SUSPEND denied while another is on");
    }
    LEAVES.store(true, Ordering::Release);
    let info = || psci::affinity_info::<Hvc>(1, LowestAffinityLevel::All);
    while info() != Ok(AffinityState::Off) {
        cpu::relax();
    }
    // A timer whose interrupt nobody takes must not wake the machine.
    gic::disable_ppi(PPI_VIRTUAL_TIMER);
    timer::arm(timer::now());
    gic::enable_spi(RTC_SPI);
    // SAFETY: registers of the PL031 (DDI0224 §3.2): RTCDR, RTCMR, RTCIMSC.
    unsafe {
        let now = clock(0x00).read_volatile();
        clock(0x04).write_volatile(now + 2);
        clock(0x10).write_volatile(1);
    }
    write_register!("tpidr_el1", MARK);
    fail("SYSTEM_SUSPEND", cpu::suspend_system(woken_by_alarm));
}

fn woken_by_alarm(_: usize) {
    // SAFETY: RTCDR and RTCMR.
    let early = unsafe { clock(0x00).read_volatile() < clock(0x04).read_volatile() };
    lost_context();
    gic::init_cpu();
    let interrupt = gic::acknowledge();
    if early || interrupt != RTC_SPI + 32 {
        fail("SYSTEM_SUSPEND wakes", (early, interrupt));
    }
    expect("SYSTEM_RESET2 of no kind", psci::system_reset2::<Hvc>(1, 0), Err(Error::InvalidParameters));
    println!("SUSPEND ok");
    let answer = psci::system_reset2::<Hvc>(0, 0);
    fail("SYSTEM_RESET2", answer);
}

fn expect<T: PartialEq + core::fmt::Debug>(what: &str, answer: T, expected: T) {
    if answer != expected {
        fail(what, answer);
    }
}

fn fail(what: &str, found: impl core::fmt::Debug) -> ! {
    println!("SUSPEND {what}: {found:?}");
    power::off()
}
