//! A pattern in all memory above this program, another one each time that it was found whole.

use crate::check;
use alloc::vec;
use alloc::vec::Vec;
use test_guests::Machine;
use test_guests::random::Random;

extern crate alloc;

/// Memory below is this program's.
const OWN: u64 = 16 << 20;
const CHUNK: u64 = 64 << 10;

/// A vCPU's share of the memory.
pub(crate) struct Patterns {
    /// Where each chunk is, and which pattern is in it.
    chunks: Vec<(u64, u64)>,
    next: usize,
}

impl Patterns {
    /// Fills the share of vCPU `cpu`.
    pub(crate) fn fill(machine: &Machine, cpu: usize) -> Self {
        let chunks = (machine.memory - OWN) / CHUNK / machine.vcpus as u64;
        let first = machine.ram_base + OWN + cpu as u64 * chunks * CHUNK;
        let mut all = vec![(0, 0); chunks as usize];
        for (i, chunk) in all.iter_mut().enumerate() {
            *chunk = (first + i as u64 * CHUNK, 0);
            write(chunk.0, 0);
        }
        Self { chunks: all, next: 0 }
    }

    /// Checks the next chunk and fills it anew.
    pub(crate) fn check_next(&mut self) {
        let (start, pattern) = &mut self.chunks[self.next];
        let mut random = generator(*start, *pattern);
        for place in (*start..*start + CHUNK).step_by(8) {
            // SAFETY: memory of this machine that nothing else uses.
            check("memory", random.next(), unsafe { (place as *const u64).read_volatile() });
        }
        *pattern += 1;
        write(*start, *pattern);
        self.next = (self.next + 1) % self.chunks.len();
    }
}

fn generator(start: u64, pattern: u64) -> Random {
    Random::new(start ^ pattern << 40)
}

fn write(start: u64, pattern: u64) {
    let mut random = generator(start, pattern);
    for place in (start..start + CHUNK).step_by(8) {
        // SAFETY: as above.
        unsafe { (place as *mut u64).write_volatile(random.next()) }
    }
}
