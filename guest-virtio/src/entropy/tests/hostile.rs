//! A driver that writes what it likes where it likes, to an entropy device.

use super::*;
use crate::testing::hostile::{self, MANY, ONE_IN, OPERATIONS, access, scribble};

/// Accesses that one call may make: for each request its ring entry, a table of the queue's and an indirect one of one-byte
/// buffers, and the rings around them.
const MOST_ACCESSES: usize = REQUESTS_MAX * (2 * REQUEST_BYTES + ENTRIES as usize + 8) + 8;

/// How often it came to something.
#[derive(Default)]
pub(crate) struct Reached {
    bytes: u64,
    broken: u64,
    running: u64,
}

fn registers(guest: &mut Guest, random: &Random) {
    let (offset, size, value) = access(random);
    guest.memory.take_accesses();
    let _ = guest.device.write(offset, size, value);
    let _ = guest.device.read(random.below(0x210), random.pick(&[1, 2, 4, 8]));
    assert_eq!(guest.memory.take_accesses(), 0, "registers reach no memory");
}

fn fill(guest: &mut Guest) {
    guest.memory.take_accesses();
    let before = guest.given.len();
    let left = guest.fill();
    assert!(guest.given.len() - before <= REQUESTS_MAX * REQUEST_BYTES);
    assert!(guest.memory.take_accesses() <= MOST_ACCESSES);
    assert!(left == Backlog::Empty || guest.get(STATUS) & 64 == 0, "a broken device leaves nothing");
}

/// One device's life under such a driver; how many operations it had.
pub(crate) fn game(random: &Random, reached: &mut Reached) -> u64 {
    let mut guest = Guest::new(random.pick(&[0, EVENT_IDX]));
    let mut operations = 0;
    while random.goes_on() {
        match random.below(8) {
            0..=1 => registers(&mut guest, random),
            2..=3 => scribble(&guest.memory, random, 1),
            4..=5 if guest.queue.in_flight() < 12 => {
                let layout = random.pick(&[Layout::Direct, Layout::Indirect]);
                let _ = guest.offer(&[1 + random.below(300) as u32, 1], layout);
            }
            _ => fill(&mut guest),
        }
        operations += 1;
    }
    reached.bytes += guest.given.len() as u64;
    reached.broken += u64::from(guest.get(STATUS) & 64 != 0);
    reached.running += u64::from(guest.get(STATUS) == 15);
    operations
}

#[cfg(test)]
fn run(operations: u64) {
    let mut reached = Reached::default();
    hostile::play(0x0bad_5eed, operations, |random| game(random, &mut reached));
    let Reached { bytes, broken, running } = reached;
    let least = operations / ONE_IN;
    assert!(bytes >= 100 * least, "{bytes} bytes");
    assert!(broken >= least && running >= least, "{broken} broken, {running} still running");
}

#[test]
fn a_hostile_driver_causes_no_panic_and_bounded_work() {
    run(OPERATIONS);
}

#[test]
#[ignore = "long; make soak runs it"]
fn ten_million_operations_of_a_hostile_driver_cause_no_panic_and_bounded_work() {
    run(MANY);
}
