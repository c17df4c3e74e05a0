//! A guest that sleeps, beats once a period, and ends in the way that a received character says.

use crate::{Machine, console, gic, power, println, timer};
use hv_abi::guest_map::{PPI_VIRTUAL_TIMER, UART_SPI};

/// Runs it for ever under the name `name`. Options: `period-ms` (1000).
pub fn run(name: &str, machine: &Machine) -> ! {
    println!("{name}: vcpus {} memory {}", machine.vcpus, machine.memory);
    gic::init_distributor();
    gic::init_cpu();
    gic::enable_ppi(PPI_VIRTUAL_TIMER);
    gic::enable_spi(UART_SPI);
    console::listen();
    let period = timer::ticks(machine.number("period-ms", 1000) * 1_000_000);
    let mut beat = 0u64;
    let mut deadline = timer::now() + period;
    timer::arm(deadline);
    loop {
        crate::cpu::wait();
        let interrupt = gic::acknowledge();
        if interrupt == PPI_VIRTUAL_TIMER {
            beat += 1;
            println!("{name}: beat {beat}");
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

fn obey(name: &str, byte: u8) {
    println!("{name}: got {:?}", char::from(byte));
    match byte {
        b'o' => power::off(),
        b'r' => power::reset(),
        b'c' => power::crash(),
        _ => {}
    }
}
