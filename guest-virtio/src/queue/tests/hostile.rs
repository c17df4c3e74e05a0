//! A driver that writes what it likes into rings and tables while the device takes chains and gives them back.

use super::*;
use crate::testing::hostile::{self, MANY, ONE_IN, OPERATIONS, scribble};

/// How often it came to something.
#[derive(Default)]
pub(crate) struct Reached {
    chains: u64,
    refused: u64,
}

fn offer(memory: &VecMemory, driver: &mut DriverQueue, random: &Random) {
    let buffers = [Buffer::readable(DATA, 9), Buffer::writable(DATA, 9)];
    driver.add(memory, &buffers, random.pick(&[Layout::Direct, Layout::Indirect, Layout::Mixed]));
}

/// Takes a chain to its end and gives it back, or keeps it for later, or puts it back; whether the queue goes on.
fn take(memory: &VecMemory, queue: &mut Queue, (random, reached): (&Random, &mut Reached)) -> bool {
    memory.take_accesses();
    let found = queue.pop(memory);
    assert!(memory.take_accesses() <= 2);
    let Ok(Some(mut chain)) = found else {
        reached.refused += u64::from(found.is_err());
        return found.is_ok();
    };
    reached.chains += 1;
    match random.below(8) {
        0 => queue.hold(chain),
        1 => queue.rewind(1),
        _ => {
            reached.refused += u64::from(walk(&mut chain, memory).is_err());
            assert!(memory.take_accesses() <= 16 + usize::from(MAX_INDIRECT));
            let _ = queue.push_used(memory, chain.head(), random.next() as u32);
        }
    }
    let _ = (queue.should_notify(memory), queue.arm(memory));
    assert!(memory.take_accesses() <= 5);
    true
}

/// One queue's life under such a driver; how many operations it had.
pub(crate) fn game(random: &Random, reached: &mut Reached) -> u64 {
    let features = random.pick(&[BOTH, PLAIN]);
    let (memory, mut driver, mut queue) = pair(16, features, random.next() as u16);
    let mut operations = 0;
    while random.goes_on() {
        operations += 1;
        match random.below(4) {
            0 => offer(&memory, &mut driver, random),
            1 => scribble(&memory, random, 1),
            _ if take(&memory, &mut queue, (random, reached)) => {}
            // What a device whose driver lied does: nothing more before it is set up again.
            _ => break,
        }
    }
    operations
}

#[cfg(test)]
fn run(operations: u64) {
    let mut reached = Reached::default();
    hostile::play(0x5eed, operations, |random| game(random, &mut reached));
    let least = operations / ONE_IN;
    let Reached { chains, refused } = reached;
    assert!(chains >= 10 * least && refused >= 10 * least, "{chains} chains, {refused} refused");
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
