//! A machine that is never at rest: on each vCPU, in random order, timers that are due at once or soon, SGIs to all,
//! sleeps of each depth, vCPUs that go off and are turned on again, and marks that a later owner of the memory must not
//! find (those of `residue`). It does not end by itself. Option: `seed` (1).
#![no_std]
#![no_main]

use core::sync::atomic::{AtomicU64, Ordering};

use hv_abi::guest_map::PPI_VIRTUAL_TIMER;
use test_guests::entry::CPUS_MAX;
use test_guests::random::Random;
use test_guests::{Machine, cpu, gic, guest, println, timer};

guest!(main);

/// A mark is its own address under this.
const MARK: u64 = 0xd0e5_0e5e_7ea1_1eaf;
/// The lowest of RAM is this guest's own.
const OWN: u64 = 16 << 20;
/// Words that are marked at a time.
const MARKS: u64 = 512;

static VCPUS: AtomicU64 = AtomicU64::new(1);
/// RAM that is marked: its first byte, and the one behind.
static RAM: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];
/// Where each vCPU's random numbers go on when it has lost everything else.
static SEEDS: [AtomicU64; CPUS_MAX] = [const { AtomicU64::new(0) }; CPUS_MAX];

fn main(machine: &Machine) {
    let seed = machine.number("seed", 1);
    for (cpu, place) in SEEDS.iter().enumerate() {
        place.store(seed * CPUS_MAX as u64 + cpu as u64, Ordering::Relaxed);
    }
    VCPUS.store(machine.vcpus as u64, Ordering::Relaxed);
    RAM[0].store(machine.ram_base + OWN, Ordering::Relaxed);
    RAM[1].store(machine.ram_base + machine.memory, Ordering::Relaxed);
    gic::init_distributor();
    println!("STORM on {} vCPUs", machine.vcpus);
    for other in 1..machine.vcpus {
        // One that storms already may have been first.
        let _ = cpu::try_start(other, storm);
    }
    storm(0);
}

fn storm(own: usize) {
    let mut random = Random::new(SEEDS[own].load(Ordering::Relaxed));
    let vcpus = VCPUS.load(Ordering::Relaxed);
    timer::disarm();
    gic::init_cpu();
    gic::enable_ppi(PPI_VIRTUAL_TIMER);
    loop {
        let soon = timer::now() + timer::ticks(random.below(300) * 1000);
        match random.below(12) {
            0..4 => timer::sleep_until(soon),
            4..7 => gic::send(random.below(16) as u32, random.below(vcpus) as usize),
            7 => {
                let other = random.below(vcpus) as usize;
                // It may be on.
                let _ = cpu::try_start(other, storm);
            }
            8 => {
                SEEDS[own].store(random.next(), Ordering::Relaxed);
                timer::arm(soon);
                let _ = cpu::power_down(storm);
            }
            9 if own != 0 => {
                SEEDS[own].store(random.next(), Ordering::Relaxed);
                return;
            }
            10 => gic::drain(),
            _ => mark(&mut random),
        }
    }
}

/// Leaves marks in some place of RAM.
fn mark(random: &mut Random) {
    let [start, end] = [&RAM[0], &RAM[1]].map(|place| place.load(Ordering::Relaxed));
    let first = start + random.below((end - start) / 8 - MARKS) * 8;
    for address in (first..first + MARKS * 8).step_by(8) {
        // SAFETY: RAM of this machine that nothing but marks is in.
        unsafe { (address as *mut u64).write_volatile(address ^ MARK) };
    }
}
