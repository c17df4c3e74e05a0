//! Waits for what comes by time alone, one thing a run. Option: `for`, one of `timer`, `alarm`, `input`.
#![no_std]
#![no_main]

use hv_abi::guest_map::{PPI_VIRTUAL_TIMER, RTC_BASE, RTC_SPI, UART_SPI};
use test_guests::{Machine, console, cpu, gic, guest, power, println, read_register, timer, write_register};

guest!(main);

/// The physical timer's interrupt.
const PPI_PHYSICAL: u32 = 30;

fn main(machine: &Machine) {
    gic::init_distributor();
    gic::init_cpu();
    match machine.option("for") {
        Some("timer") => withdrawn_timer(),
        Some("alarm") => alarm(),
        Some("input") => input(),
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

fn await_pending(interrupt: u32) {
    while read_register!("icc_hppir1_el1") != u64::from(interrupt) {
        cpu::wait();
    }
}
