//! Code made at run time and the machine state that attacks spoil: tried, caught, restored.

use core::arch::asm;
use test_guests::random::Random;
use test_guests::{Machine, exception, gic, timer};

/// RET.
const RET: u32 = 0xd65f_03c0;
/// MSR DAIFClr, #2: the watchdog may strike.
const UNMASK: u32 = 0xd503_42ff;
/// Words of code that fit.
const WORDS: usize = 1024;
/// Where behind the scratch page code is made, each vCPU's in a place of its own: what random code reaches relative to
/// where it runs is neither this program nor anything that it needs.
const CODE: u64 = 0x10_0000;
const CODE_STRIDE: u64 = 0x1_0000;
/// Bytes from the scratch page on that no wild address is in.
const RESERVED: u64 = 0x20_0000;
/// An attempt that takes longer is ended by the watchdog.
const WATCHDOG_NS: u64 = 200_000;

/// What an attack works with.
pub(crate) struct Attacker<'m> {
    /// The machine that is attacked from.
    pub(crate) machine: &'m Machine,
    /// The vCPU that does it.
    pub(crate) cpu: usize,
    /// This phase's generator.
    pub(crate) random: Random,
    /// Things tried.
    pub(crate) attempts: u64,
    /// Those that ended by an exception.
    pub(crate) faults: u64,
    /// Those that ended by an interrupt, the watchdog's usually.
    pub(crate) interrupted: u64,
}

impl<'m> Attacker<'m> {
    /// An attacker with fresh counters.
    pub(crate) fn new(machine: &'m Machine, random: Random) -> Self {
        let attacker = Self::on(machine, 0, random);
        gic::init_distributor();
        attacker.restore();
        attacker
    }

    /// The same on vCPU `cpu`, in the middle of others' work.
    pub(crate) fn on(machine: &'m Machine, cpu: usize, random: Random) -> Self {
        Self { machine, cpu, random, attempts: 0, faults: 0, interrupted: 0 }
    }

    /// Rounds of a random phase.
    pub(crate) fn rounds(&self) -> u64 {
        self.machine.number("rounds", 20_000)
    }

    /// RAM that holds neither this program nor its tree: the upper half.
    pub(crate) fn scratch(&self) -> u64 {
        self.machine.ram_base + self.machine.memory / 2
    }

    /// Writes `words` and a RET behind the scratch page, and makes them fetchable (Arm ARM B2.4.4).
    pub(crate) fn assemble(&self, words: &[u32]) -> u64 {
        assert!(words.len() < WORDS);
        let start = self.scratch() + CODE + self.cpu as u64 * CODE_STRIDE;
        for (i, word) in words.iter().copied().chain([RET]).enumerate() {
            let place = start + i as u64 * 4;
            // SAFETY: the upper half of RAM belongs to the attacks.
            unsafe {
                (place as *mut u32).write_volatile(word);
                asm!("dc cvau, {0}", "dsb ish", "ic ivau, {0}", in(reg) place, options(nostack));
            }
        }
        // SAFETY: barriers.
        unsafe { asm!("dsb ish", "isb", options(nostack)) }
        start
    }

    /// Runs the code at `code`; counts, and gives ESR_EL1 of the exception that ended it, or as `attempt`.
    pub(crate) fn run(&mut self, code: u64, arguments: [u64; 3]) -> u64 {
        self.attempts += 1;
        // SAFETY: what the code may spoil is the upper half of RAM and what restore() restores;
        // garbage may reach further, which is the risk that this program lives with.
        let syndrome = unsafe { exception::attempt(code, arguments) };
        match syndrome {
            0 => {}
            exception::INTERRUPTED => self.interrupted += 1,
            _ => self.faults += 1,
        }
        syndrome
    }

    /// Runs what is at `address`, which is no code of this program. Nothing that it is likely to be returns, or waits.
    pub(crate) fn run_at(&mut self, address: u64) -> u64 {
        let value = self.random.interesting();
        self.run(address, [value, 0, 0])
    }

    /// As [`Attacker::run`], for code that may not end: a timer ends it.
    pub(crate) fn run_watched(&mut self, words: &[u32], arguments: [u64; 3]) -> u64 {
        let mut watched = [UNMASK; WORDS];
        watched[1..=words.len()].copy_from_slice(words);
        let code = self.assemble(&watched[..=words.len()]);
        timer::arm(timer::now() + timer::ticks(WATCHDOG_NS));
        let syndrome = self.run(code, arguments);
        timer::disarm();
        // A timer that struck late is still pending, and would end the next attempt before it begins.
        gic::drain();
        syndrome
    }

    /// Puts back what an attack may have left: MMU off, FP on, vectors, timers, GIC, UART.
    pub(crate) fn restore(&self) {
        test_guests::write_register!("cpacr_el1", 3 << 20);
        test_guests::mmu::disable();
        exception::install();
        timer::disarm();
        test_guests::write_register!("cntp_ctl_el0", 0);
        gic::forget();
        gic::revive_timer();
        gic::drain();
        test_guests::console::reset();
    }

    /// An address that is anything but the half of RAM with this program, or the code that it has made.
    pub(crate) fn wild_address(&mut self) -> u64 {
        let own = self.machine.ram_base..self.scratch() + RESERVED;
        loop {
            let address = self.random.interesting() & 0x000f_ffff_ffff_ffff;
            if !own.contains(&address) && !own.contains(&(address + 64)) {
                return address;
            }
        }
    }
}
