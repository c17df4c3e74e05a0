//! A driver that writes what it likes where it likes, while requests are in flight.

use super::guest::*;
use crate::blk::*;
use crate::testing::Random;
use crate::testing::hostile::{self, MANY, ONE_IN, OPERATIONS, access, scribble};

const SECTORS: u64 = 1000;

/// Accesses that one call may make: a chain of the queue's table and an indirect one, and the ring around it.
const MOST_ACCESSES: usize = 400;

/// How often it came to something.
#[derive(Default)]
pub(crate) struct Reached {
    requests: u64,
    broken: u64,
    running: u64,
}

fn registers(guest: &mut Guest, held: &[Taken], random: &Random) {
    let (offset, size, value) = access(random);
    guest.memory.take_accesses();
    if guest.block.write(offset, size, value) == BlockEffect::Wait {
        assert!(!held.is_empty(), "only what is in flight is waited for");
    }
    let _ = guest.block.read(random.below(0x210), random.pick(&[1, 2, 4, 8]));
    assert_eq!(guest.memory.take_accesses(), 0, "registers reach no memory");
}

fn ask(guest: &mut Guest, random: &Random) {
    let (sector, bytes) = (random.below(SECTORS), 512 * random.below(4) as usize);
    let ask = match random.below(8) {
        0 => Ask::of(random.pick(&[FLUSH, GET_ID, random.next() as u32])),
        1 => Ask::range(random.pick(&[DISCARD, WRITE_ZEROES]), sector, random.below(20) as u32, random.below(3) as u32),
        2 => Ask::write(sector, &vec![7; bytes]),
        _ => Ask::read(sector, bytes),
    };
    let queue = random.below(2) as usize;
    if guest.queues[queue].in_flight() < 6 {
        let _ = guest.send(queue, &ask);
    }
}

/// The caller takes the next request.
fn take(guest: &mut Guest, held: &mut Vec<Taken>, random: &Random) -> bool {
    let mut request = Request::new();
    guest.memory.take_accesses();
    let found = guest.block.next(random.below(5) as u16, &guest.memory, &mut request) == Next::Request;
    assert!(guest.memory.take_accesses() <= MOST_ACCESSES);
    if found {
        let Request { ticket, operation, through, data } = request;
        let moved = data.iter().map(|segment| u64::from(segment.length)).sum::<u64>() / 512;
        match operation {
            Operation::Read { sector } | Operation::Write { sector } => assert!(within(sector, moved)),
            Operation::Discard { sector, sectors } | Operation::WriteZeroes { sector, sectors, .. } => {
                assert!(within(sector, sectors));
            }
            Operation::Flush => {}
        }
        held.push(Taken { ticket, operation, through, data: data.to_vec() });
    }
    assert_eq!(usize::from(guest.block.in_flight()), held.len());
    assert!(held.len() <= 2 * usize::from(QUEUE_SIZE_MAX));
    found
}

fn within(sector: u64, sectors: u64) -> bool {
    sectors > 0 && sector.checked_add(sectors).is_some_and(|end| end <= SECTORS)
}

/// The caller has finished with one of them, in any order.
fn finish(guest: &mut Guest, held: &mut Vec<Taken>, random: &Random) {
    if held.is_empty() {
        return;
    }
    let taken = held.swap_remove(random.below(held.len() as u64) as usize);
    let outcome = random.pick(&[Outcome::Done, Outcome::Failed]);
    guest.block.complete(&taken.ticket, outcome, &guest.memory);
    guest.block.signal(taken.ticket.queue, &guest.memory);
    assert!(guest.memory.take_accesses() <= MOST_ACCESSES);
}

/// One device's life under such a driver; how many operations it had.
pub(crate) fn game(random: &Random, reached: &mut Reached) -> u64 {
    let mut guest = Guest::new(&disk(SECTORS), random.pick(&[0, 1 << 29]), random.next());
    let mut held = vec![];
    let mut operations = 0;
    while random.goes_on() {
        match random.below(10) {
            0..=2 => registers(&mut guest, &held, random),
            3..=5 => scribble(&guest.memory, random, 2),
            6 => ask(&mut guest, random),
            7..=8 => reached.requests += u64::from(take(&mut guest, &mut held, random)),
            _ => finish(&mut guest, &mut held, random),
        }
        guest.memory.take_accesses();
        operations += 1;
    }
    reached.broken += u64::from(guest.get(STATUS) & 64 != 0);
    reached.running += u64::from(guest.get(STATUS) == 15);
    operations
}

#[cfg(test)]
fn run(operations: u64) {
    let mut reached = Reached::default();
    hostile::play(0x0bad_d15c, operations, |random| game(random, &mut reached));
    let Reached { requests, broken, running } = reached;
    let least = operations / ONE_IN;
    assert!(requests >= 10 * least, "{requests} requests");
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
