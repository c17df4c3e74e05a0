//! Waits for what comes by time alone, one thing a run. Option: `for`, one of `timer`, `alarm`, `input`, `watchdog`.
#![no_std]
#![no_main]

use hv_abi::guest_map::{
    PPI_VIRTUAL_TIMER, RTC_BASE, RTC_SPI, UART_SPI, WATCHDOG_CONTROL_BASE, WATCHDOG_REFRESH_BASE, WATCHDOG_SPI,
};
use test_guests::{Machine, console, cpu, gic, guest, power, println, read_register, timer, write_register};

guest!(main);

/// The physical timer's interrupt.
const PPI_PHYSICAL: u32 = 30;
/// What is pending if nothing is (IHI0069 §2.2.1).
const NOTHING: u64 = 1023;
/// Watch periods whose first signal the watchdog's guest answers.
const REFRESHES: u32 = 5;

fn main(machine: &Machine) {
    gic::init_distributor();
    gic::init_cpu();
    match machine.option("for") {
        Some("timer") => withdrawn_timer(),
        Some("alarm") => alarm(),
        Some("input") => input(),
        Some("watchdog") => watchdog(),
        other => panic!("for={other:?}"),
    }
    power::off();
}

/// Interrupts are masked throughout: the virtual timer fires, and is disarmed before anybody takes its interrupt,
/// which must be gone when the physical timer's comes, of the same priority and a higher number.
fn withdrawn_timer() {
    gic::enable_ppi(PPI_VIRTUAL_TIMER);
    gic::enable_ppi(PPI_PHYSICAL);
    timer::arm(timer::now());
    await_pending(PPI_VIRTUAL_TIMER);
    timer::disarm();
    write_register!("cntp_cval_el0", read_register!("cntpct_el0") + timer::ticks(20_000_000));
    write_register!("cntp_ctl_el0", 1);
    await_pending(PPI_PHYSICAL);
    println!("WAITS timer ok");
}

/// The clock's alarm ends a WFI, although nobody looks at the clock.
fn alarm() {
    let clock = |offset: u64| (RTC_BASE + offset) as *mut u32;
    gic::enable_spi(RTC_SPI);
    // SAFETY: registers of the PL031 (DDI0224 §3.2): RTCDR, RTCMR, RTCIMSC.
    unsafe {
        let now = clock(0x00).read_volatile();
        clock(0x04).write_volatile(now + 2);
        clock(0x10).write_volatile(1);
    }
    await_pending(RTC_SPI + 32);
    // SAFETY: RTCDR and RTCMR.
    let (now, due) = unsafe { (clock(0x00).read_volatile(), clock(0x04).read_volatile()) };
    println!("WAITS alarm {}", if now >= due { "ok" } else { "early" });
}

/// Input that came before the line was enabled interrupts soon after, without more input.
fn input() {
    gic::enable_spi(UART_SPI);
    console::listen_before_enabled();
    await_pending(UART_SPI + 32);
    println!("WAITS input {:?}", console::get().map(char::from));
}

/// The watchdog's first signal ends a WFI and goes with the refresh that answers it. Then nobody answers any more.
fn watchdog() {
    gic::enable_spi(WATCHDOG_SPI);
    let period = timer::ticks(20_000_000);
    write_control(0x08, period as u32); // WOR
    let mut begun = timer::now();
    write_control(0x00, 1); // WCS.EN
    // It compares the counter that this guest reads.
    let compare = u64::from(read_control(0x10)) | u64::from(read_control(0x14)) << 32; // WCV
    if !(begun..=timer::now()).contains(&(compare - period)) {
        println!("WAITS watchdog compares {compare}, enabled at {begun} for {period} ticks");
        return;
    }
    for round in 0..REFRESHES {
        await_pending(WATCHDOG_SPI + 32);
        let waited = timer::now() - begun;
        let status = read_control(0x00);
        if waited <= period || status != 0b011 {
            println!("WAITS watchdog round {round}: {waited} of {period} ticks, status {status:#b}");
            return;
        }
        begun = timer::now();
        // SAFETY: WRR, a register of the watchdog (DEN0094, "Generic Watchdog").
        unsafe { (WATCHDOG_REFRESH_BASE as *mut u32).write_volatile(0) };
        if read_register!("icc_hppir1_el1") != NOTHING || read_control(0x00) != 1 {
            println!("WAITS watchdog round {round}: the signal stays after a refresh");
            return;
        }
    }
    println!("WAITS watchdog {REFRESHES} refreshes");
    loop {
        cpu::wait();
    }
}

fn read_control(offset: u64) -> u32 {
    // SAFETY: a register of the watchdog's control frame (DEN0094, "Generic Watchdog").
    unsafe { ((WATCHDOG_CONTROL_BASE + offset) as *const u32).read_volatile() }
}

fn write_control(offset: u64, value: u32) {
    // SAFETY: a register of the watchdog's control frame (DEN0094, "Generic Watchdog").
    unsafe { ((WATCHDOG_CONTROL_BASE + offset) as *mut u32).write_volatile(value) }
}

fn await_pending(interrupt: u32) {
    while read_register!("icc_hppir1_el1") != u64::from(interrupt) {
        cpu::wait();
    }
}
