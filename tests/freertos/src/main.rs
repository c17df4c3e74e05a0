//! FreeRTOS's kernel on QEMU's `virt` machine, with tasks that check what a real-time system is chosen for:
//! ticks that are never lost, preemption, equal shares, bounded critical sections, priority inheritance.
//!
//! The kernel is the one that FreeRTOS publishes, unchanged; nothing in this image knows of a hypervisor.
#![no_std]
#![no_main]

mod interrupts;
mod kernel;
mod tasks;

use test_guests::{Machine, guest, println};

guest!(main);

fn main(machine: &Machine) {
    interrupts::init();
    tasks::ROUNDS.store(machine.number("rounds", 200), core::sync::atomic::Ordering::Relaxed);
    println!("RTOS {} ticks a second", kernel::TICKS_PER_SECOND);
    kernel::create(tasks::conductor, c"conductor", tasks::CONDUCTOR, 0);
    kernel::run()
}
