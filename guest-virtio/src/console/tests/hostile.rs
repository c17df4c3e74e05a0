//! A driver that writes what it likes where it likes, to a console and its ports.

use super::guest::*;
use crate::testing::Random;
use crate::testing::hostile::{self, MANY, ONE_IN, OPERATIONS, access, scribble};

/// Descriptor reads of one call, and the ring accesses around each, twice over.
pub(super) const MOST_ACCESSES: usize = 1000;

/// How often it came to something.
#[derive(Default)]
pub(crate) struct Reached {
    moved: u64,
    broken: u64,
    running: u64,
}

fn registers(guest: &mut Guest, random: &Random) {
    let (offset, size, value) = access(random);
    guest.memory.take_accesses();
    let _ = guest.console.write(offset, size, value);
    let _ = guest.console.read(random.below(0x210), size);
    assert_eq!(guest.memory.take_accesses(), 0, "registers reach no memory");
}

/// The caller moves bytes of a port, or looks after it; how many were moved.
fn serve(guest: &mut Guest, random: &Random) -> usize {
    let port = port(random.below(4) as u32);
    match random.below(4) {
        0 => {
            let _ = guest.console.serve_control(&guest.memory);
            0
        }
        1 => {
            let taken = random.below(400) as usize;
            let sink = &mut |bytes: &[u8]| taken.min(bytes.len() + 3);
            guest.console.take_tx(port, &guest.memory, 5000, sink).bytes
        }
        2 => {
            let bytes = vec![1; random.below(5000) as usize];
            guest.console.give_rx(port, &guest.memory, &bytes).unwrap_or(0)
        }
        _ => {
            let _ = guest.console.poll_port_event();
            let _ = guest.console.rx_room(port, &guest.memory);
            0
        }
    }
}

/// One console's life under such a driver; how many operations it had.
pub(crate) fn game(random: &Random, reached: &mut Reached) -> u64 {
    let mut guest = Guest::probed(4, random.pick(&[Rings::Plain, Rings::EventIndex]));
    for number in 0..4 {
        guest.open(number);
    }
    guest.memory.take_accesses();
    let mut operations = 0;
    while random.goes_on() {
        match random.below(10) {
            0..=3 => registers(&mut guest, random),
            4..=5 => scribble(&guest.memory, random, 10),
            _ => reached.moved += u64::from(serve(&mut guest, random) > 0),
        }
        assert!(guest.memory.take_accesses() <= MOST_ACCESSES);
        operations += 1;
    }
    reached.broken += u64::from(guest.get(STATUS) & 64 != 0);
    reached.running += u64::from(guest.get(STATUS) == 15);
    operations
}

#[cfg(test)]
fn run(operations: u64) {
    let mut reached = Reached::default();
    hostile::play(0xdead, operations, |random| game(random, &mut reached));
    let Reached { moved, broken, running } = reached;
    let least = operations / ONE_IN;
    assert!(moved >= 10 * least, "{moved} times bytes were moved");
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
