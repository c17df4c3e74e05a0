//! Does everything that a guest must not do, or may do too often, and survives it.
//!
//! Bootargs: `seed=N` (1), `phases=NAME,...` (all), `calls=N` (1000000 HVC and SMC calls),
//! `rounds=N` (20000, of every other random phase), `ops=N` and more of the phase `mix` (there), `end=off|reset|crash|stay` (off).
//! Output: `HOSTILE seed <n>`, `HOSTILE done <phase> <attempts> faults <faults> interrupted <interrupts>`, `HOSTILE end <how>`.
#![no_std]
#![no_main]

mod calls;
mod code;
mod devices;
mod disk;
mod garbage;
mod mailbox;
mod memory;
mod mix;
mod net;
mod registers;
mod rng;
mod shapes;
mod storms;
mod virtio;

use code::Attacker;
use test_guests::random::Random;
use test_guests::{Machine, cpu, guest, mmu, power, println};

guest!(main);

/// A phase: its name and what it does.
type Phase = (&'static str, fn(&mut Attacker<'_>));

const PHASES: &[Phase] = &[
    ("smccc", calls::smccc),
    ("psci", calls::psci),
    ("gicd", devices::distributor),
    ("gicr", devices::redistributors),
    ("uart", devices::uart),
    ("rtc", devices::clock),
    ("virtio", devices::virtio),
    ("queues", devices::queues),
    ("disk", disk::requests),
    ("net", net::frames),
    ("rng", rng::requests),
    ("shapes", devices::shapes),
    ("sysreg", registers::sweep),
    ("icc", registers::interrupt_controller),
    ("sysreg-el0", registers::sweep_unprivileged),
    ("memory", memory::unmapped),
    ("garbage", garbage::execute),
    ("mailbox-frames", mailbox::frames),
    ("mailbox-page", mailbox::page),
    ("setway", storms::set_way),
    ("tlbi", storms::tlbi),
    ("wait", storms::wait),
    ("sgi", storms::sgi),
    ("timer", storms::timers),
    ("console", storms::console),
    ("mix", mix::run),
];

fn main(machine: &Machine) {
    let seed = machine.number("seed", 1);
    println!("HOSTILE seed {seed}");
    // Addresses are physical from here on, so that every one of them leaves this vCPU.
    mmu::disable();
    for (i, (name, attack)) in PHASES.iter().enumerate() {
        if !machine.chooses("phases", name) {
            continue;
        }
        // Each phase has its own sequence, so that one can be repeated without the others.
        let mut attacker = Attacker::new(machine, Random::new(seed * 100 + i as u64));
        attack(&mut attacker);
        attacker.restore();
        println!(
            "HOSTILE done {name} {} faults {} interrupted {}",
            attacker.attempts, attacker.faults, attacker.interrupted
        );
    }
    let end = machine.option("end").unwrap_or("off");
    println!("HOSTILE end {end}");
    finish(end)
}

/// Ends as it was asked to.
fn finish(end: &str) -> ! {
    match end {
        "reset" => power::reset(),
        "crash" => power::crash(),
        "stay" => loop {
            cpu::wait();
        },
        _ => power::off(),
    }
}
