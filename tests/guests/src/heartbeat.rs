//! A guest that sleeps, beats once a period, and ends in the way that a received character says.

use crate::{Machine, console, gic, power, println, timer};
use hv_abi::guest_map::{PPI_VIRTUAL_TIMER, UART_SPI, WATCHDOG_CONTROL_BASE, WATCHDOG_REFRESH_BASE};

/// Runs it for ever under the name `name`. Options: `period-ms` (1000), `watchdog-ms` (0: none), whose watchdog each
/// beat feeds, `reset-after` (0: never), a number of beats.
pub fn run(name: &str, machine: &Machine) -> ! {
    println!("{name}: vcpus {} memory {}", machine.vcpus, machine.memory);
    gic::init_distributor();
    gic::init_cpu();
    gic::enable_ppi(PPI_VIRTUAL_TIMER);
    gic::enable_spi(UART_SPI);
    console::listen();
    let period = timer::ticks(machine.number("period-ms", 1000) * 1_000_000);
    let watchdog = timer::ticks(machine.number("watchdog-ms", 0) * 1_000_000);
    if watchdog != 0 {
        start_watchdog(watchdog);
    }
    let last = machine.number("reset-after", 0);
    let mut beat = 0u64;
    let mut deadline = timer::now() + period;
    timer::arm(deadline);
    loop {
        crate::cpu::wait();
        let interrupt = gic::acknowledge();
        if interrupt == PPI_VIRTUAL_TIMER {
            beat += 1;
            println!("{name}: beat {beat}");
            if beat == last {
                power::reset();
            }
            if watchdog != 0 {
                // SAFETY: WRR: any write refreshes (DEN0094, Generic Watchdog).
                unsafe { (WATCHDOG_REFRESH_BASE as *mut u32).write_volatile(1) };
            }
            deadline += period;
            timer::arm(deadline);
        } else if interrupt == UART_SPI + 32 {
            console::acknowledge();
            while let Some(byte) = console::get() {
                obey(name, byte);
            }
        }
        if interrupt < gic::SPECIAL {
            gic::end(interrupt);
        }
    }
}

/// Ends this VM where it is not fed for two times `period` ticks.
fn start_watchdog(period: u64) {
    // SAFETY: WOR and WCS of this machine's watchdog.
    unsafe {
        ((WATCHDOG_CONTROL_BASE + 0x08) as *mut u32).write_volatile(period as u32);
        (WATCHDOG_CONTROL_BASE as *mut u32).write_volatile(1);
    }
}

fn obey(name: &str, byte: u8) {
    println!("{name}: got {:?}", char::from(byte));
    match byte {
        b'o' => power::off(),
        b'r' => power::reset(),
        b'c' => power::crash(),
        // Hangs.
        b'h' => loop {
            core::hint::spin_loop();
        },
        _ => {}
    }
}
