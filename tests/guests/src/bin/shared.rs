//! Memory shared with other VMs, and its doorbell.
//!
//! Options: `role=ask|answer|read|attack` (ask), `rounds=N` (100), `seed=N` (1). All but `attack` stay.
//! - `ask`, number 0, writes a number and rings, until number 1 has written the same, `rounds` times.
//! - `answer`, number 1, does that for ever.
//! - `read` may not write, and tries.
//! - `attack` writes to all of what it shares, and to all doorbells that there could be.
#![no_std]
#![no_main]

use hv_abi::guest_map::{
    DOORBELL_BASE, DOORBELL_NUMBER, DOORBELL_PRESENT, DOORBELL_RING, DOORBELL_SPI, DOORBELL_STRIDE, SHARED_BASE,
    SHARED_MAX, SHARED_SLOTS,
};
use test_guests::random::Random;
use test_guests::{Machine, cpu, exception, gic, guest, power, println};

guest!(main);

/// Where the asked, the answered and the left-behind number are.
const ASKED: u64 = SHARED_BASE;
const ANSWERED: u64 = SHARED_BASE + 64;
const LEFT: u64 = SHARED_BASE + 128;
const MARK: u64 = 0x5a5a_0001;
/// ldr w0, [x0]; ret and str w1, [x0]; ret (Arm ARM C6.2).
static LOAD: [u32; 2] = [0xb940_0000, 0xd65f_03c0];
static STORE: [u32; 2] = [0xb900_0001, 0xd65f_03c0];

fn main(machine: &Machine) {
    gic::init_distributor();
    gic::init_cpu();
    gic::enable_spi(DOORBELL_SPI);
    exception::install();
    let (number, present) = (load(DOORBELL_BASE + DOORBELL_NUMBER), load(DOORBELL_BASE + DOORBELL_PRESENT));
    println!("SHARED number {number} present {present:#x} first {:#x} left {:#x}", load(ASKED), load(LEFT));
    let rounds = machine.number("rounds", 100) as u32;
    match machine.option("role") {
        Some("answer") => answer(rounds),
        Some("read") => read(),
        Some("attack") => attack(rounds, machine.number("seed", 1)),
        _ => ask(rounds),
    }
}

fn ask(rounds: u32) -> ! {
    for round in 1..=rounds {
        store(ASKED, round);
        ring(1);
        while load(ANSWERED) != round {
            await_ring();
            // Nobody may have been there when it rang.
            ring(1);
        }
    }
    store(LEFT, MARK as u32);
    println!("SHARED asked {rounds} rounds");
    stay()
}

fn answer(rounds: u32) -> ! {
    ring(0);
    loop {
        let round = load(ASKED);
        if load(ANSWERED) != round {
            store(ANSWERED, round);
            if round == rounds {
                println!("SHARED answered {rounds} rounds");
            }
        }
        ring(0);
        await_ring();
    }
}

fn read() -> ! {
    // SAFETY: a store that is refused.
    let esr = unsafe { exception::attempt((&raw const STORE) as u64, [LEFT, 1, 0]) };
    println!("SHARED store class {:#x} left {:#x}", esr >> 26, load(LEFT));
    ring(0);
    stay()
}

fn attack(rounds: u32, seed: u64) -> ! {
    let mut random = Random::new(seed);
    let mut faults = 0;
    for _ in 0..u64::from(rounds) * 100 {
        let value = random.interesting();
        let slot = random.below(SHARED_SLOTS as u64 + 1);
        let place = match random.below(3) {
            0 => SHARED_BASE + slot * SHARED_MAX + random.below(SHARED_MAX) / 4 * 4,
            1 => DOORBELL_BASE + slot * DOORBELL_STRIDE + DOORBELL_RING,
            _ => DOORBELL_BASE + slot * DOORBELL_STRIDE + random.below(DOORBELL_STRIDE) / 4 * 4,
        };
        let code = if random.below(4) == 0 { &raw const LOAD } else { &raw const STORE };
        // SAFETY: memory that is nobody's of this program, and devices that do no DMA.
        faults += u64::from(unsafe { exception::attempt(code as u64, [place, value, 0]) } != 0);
    }
    println!("SHARED attacked, {faults} faults");
    power::off()
}

fn stay() -> ! {
    loop {
        gic::drain();
        cpu::wait();
    }
}

/// Sleeps until a doorbell rings.
fn await_ring() {
    cpu::wait();
    gic::drain();
}

fn ring(number: u32) {
    store(DOORBELL_BASE + DOORBELL_RING, number);
}

fn load(address: u64) -> u32 {
    // SAFETY: what is shared, or a doorbell; no reference to either exists.
    unsafe { (address as *const u32).read_volatile() }
}

fn store(address: u64, value: u32) {
    // SAFETY: as in `load`.
    unsafe { (address as *mut u32).write_volatile(value) }
}
