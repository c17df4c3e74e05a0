//! Looks for marks that an earlier owner of its memory left, then leaves marks in all of it but the
//! lowest 16 MiB, where it lives itself. Option: `end=off|stay` (off). With marks found it crashes.
#![no_std]
#![no_main]

use test_guests::{Machine, cpu, guest, power, println};

guest!(main);

/// A mark is its own address under this.
const MARK: u64 = 0xd0e5_0e5e_7ea1_1eaf;
const OWN: u64 = 16 << 20;

fn main(machine: &Machine) {
    let end = machine.ram_base + machine.memory;
    let words = || (machine.ram_base + OWN..end).step_by(8).map(|address| address as *mut u64);
    let marks = words()
        .filter(|&word| {
            // SAFETY: RAM of this machine that nothing else uses.
            let address = unsafe { word.read_volatile() } ^ MARK;
            (machine.ram_base..end).contains(&address)
        })
        .count();
    println!("RESIDUE found {marks} marks");
    for word in words() {
        // SAFETY: as above.
        unsafe { word.write_volatile(word as u64 ^ MARK) }
    }
    println!("RESIDUE left {} marks", words().count());
    if machine.option("end") == Some("stay") {
        loop {
            cpu::wait();
        }
    }
    if marks != 0 {
        power::crash();
    }
    power::off()
}
