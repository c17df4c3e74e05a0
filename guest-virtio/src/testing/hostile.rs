//! What hostile drivers of all devices do.

use super::{QUEUE_BYTES, RAM_BASE, RAM_SIZE, Random, VecMemory};
use crate::memory::GuestMemory;

/// Operations of a hostile driver in an ordinary run of the tests; the interpreter takes a thousand times as long for each.
pub(crate) const OPERATIONS: u64 = if cfg!(miri) { 1500 } else { 300_000 };
/// Operations in a long run.
pub(crate) const MANY: u64 = 10_000_000;
/// What ought to happen in a run happens once in so many operations at least.
pub(crate) const ONE_IN: u64 = 3000;

/// Plays game after game until so many operations were done. A game says how many it had.
pub(crate) fn play(seed: u64, operations: u64, mut game: impl FnMut(&Random) -> u64) {
    let random = Random::new(seed);
    let mut done = 0;
    while done < operations {
        done += game(&random);
    }
}

/// An access that a driver may try on any register: its offset, its size in bytes, and what it writes.
pub(crate) fn access(random: &Random) -> (u64, u8, u64) {
    let offset = random.pick(&[0x50, 0x50, 0x30, 0x44, 0x70, random.below(0x200)]);
    let value = random.pick(&[random.below(12), random.next(), 15, 0]);
    (offset, random.pick(&[4, 4, 4, 1, 2, 8]), value)
}

/// Writes what it likes into the rings and the tables of one of so many queues.
pub(crate) fn scribble(memory: &VecMemory, random: &Random, queues: u64) {
    let queue = RAM_BASE + random.below(queues) * QUEUE_BYTES;
    if random.chance(4) {
        return describe(memory, random, queue);
    }
    let at = queue + random.below(random.pick(&[0x480, QUEUE_BYTES - 8]));
    let value = random.pick(&[random.next(), random.below(20), RAM_BASE + random.below(RAM_SIZE as u64)]);
    memory.write(at, &value.to_le_bytes()[..random.pick(&[1, 2, 8])]).unwrap();
}

/// A descriptor of the queue's table or of an indirect one: over the rings themselves, at RAM's end or outside, of any
/// length, and with any other behind it, itself too.
fn describe(memory: &VecMemory, random: &Random, queue: u64) {
    let table = random.pick(&[queue, queue, queue + 0x1000 + 0x100 * random.below(16)]);
    let at = table + 16 * random.below(16);
    let end = RAM_BASE + RAM_SIZE as u64;
    let ipa = random.pick(&[queue + random.below(QUEUE_BYTES), RAM_BASE, end - random.below(0x1000), random.next()]);
    let length = random.pick(&[0, 1, 16, 512, 0x1000, 1 << 20, u32::MAX]);
    memory.write_u64(at, ipa).unwrap();
    memory.write_u32(at + 8, length).unwrap();
    memory.write_u16(at + 12, random.below(8) as u16).unwrap();
    memory.write_u16(at + 14, random.below(20) as u16).unwrap();
}

#[test]
fn an_input_decides_until_it_is_over() {
    let random = Random::of_input(&[3, 1, 2]);
    assert!(random.goes_on());
    assert_eq!([random.below(10), random.below(1000)], [3, 0x102]);
    assert!(!random.goes_on());
    assert_eq!([random.below(10), random.next()], [0, 0]);
}
