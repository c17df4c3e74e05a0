//! A driver that writes what it likes where it likes, while the device works.

use super::guest::*;
use crate::memory::{GuestMemory, GuestMemoryError};
use crate::net::*;
use crate::queue::Direction;
use crate::testing::hostile::{self, MANY, ONE_IN, OPERATIONS, access, scribble};
use crate::testing::{Random, VecMemory};
use std::cell::Cell;

/// Accesses that taking a frame or room for one may make: of each of 64 chains or buffers a ring's entry, a table and a
/// descriptor, and what is around them.
const MOST_ACCESSES: usize = 4 * MAX_SEGMENTS + 32;

/// How often it came to something.
#[derive(Default)]
pub(crate) struct Reached {
    frames: u64,
    rooms: u64,
    dropped: u64,
    too_long: u64,
    broken: u64,
    running: u64,
}

fn random_header(random: &Random) -> Header {
    Header {
        flags: random.pick(&[0, 1, 1, 2, random.next() as u8]),
        gso_type: random.pick(&[0, 0, 1, 4, 0x81, random.next() as u8]),
        hdr_len: random.next() as u16,
        gso_size: random.pick(&[0, 1, 1448, random.next() as u16]),
        csum_start: random.pick(&[34, random.below(1600) as u16, random.next() as u16]),
        csum_offset: random.pick(&[16, random.below(1600) as u16, random.next() as u16]),
        num_buffers: random.next() as u16,
    }
}

fn registers(guest: &mut Guest, random: &Random) {
    let (offset, size, value) = access(random);
    guest.memory.take_accesses();
    let _ = guest.net.write(offset, size, value);
    let _ = guest.net.read(random.below(0x210), random.pick(&[1, 2, 4, 8]));
    guest.net.set_link(random.chance(2));
    assert_eq!(guest.memory.take_accesses(), 0, "registers reach no memory");
}

fn transmit(guest: &mut Guest, random: &Random, reached: &mut Reached) {
    let mut frame = Frame::new();
    let next = guest.net.next_tx(&guest.memory, &mut frame);
    assert!(guest.memory.take_accesses() <= MOST_ACCESSES);
    reached.dropped += u64::from(next == Next::Dropped);
    if next != Next::Frame {
        return;
    }
    reached.frames += 1;
    let bytes: u64 = frame.data.iter().map(|segment| u64::from(segment.length)).sum();
    assert_eq!(bytes, u64::from(frame.length));
    assert!(frame.data.iter().all(|segment| segment.direction == Direction::Readable));
    assert!((14..=if frame.offload.is_segmented() { 65_550 } else { 1518 }).contains(&frame.length));
    // Another vCPU writes what a register or a ring says in the meantime.
    if random.chance(3) {
        scribble(&guest.memory, random, 2);
    }
    if random.chance(4) {
        registers(guest, random);
    }
    let _ = frame.read(random.below(70_000) as u32, &mut [0; 64], &guest.memory);
    if let Some(patch) = complete(&frame, &guest.memory) {
        assert!(patch.at >= 14 && patch.at + 2 <= frame.length, "behind the Ethernet header, within the frame");
    }
    guest.memory.take_accesses();
    match random.below(3) {
        0 => guest.net.postpone_tx(),
        _ => guest.net.complete_tx(&frame, &guest.memory),
    }
    guest.net.signal_tx(&guest.memory);
    assert!(guest.memory.take_accesses() <= 4);
}

fn receive(guest: &mut Guest, random: &Random, reached: &mut Reached) {
    let mut room = Room::new();
    let length = random.pick(&[14 + random.below(1505), random.below(6000), random.below(65_551)]) as u32;
    let found = guest.net.room(length, &guest.memory, &mut room);
    assert!(guest.memory.take_accesses() <= MOST_ACCESSES);
    reached.too_long += u64::from(found == Reception::TooLong);
    if found == Reception::Room {
        reached.rooms += 1;
        let bytes: u64 = room.data.iter().map(|segment| u64::from(segment.length)).sum();
        assert_eq!(bytes, u64::from(length));
        assert!(room.data.iter().all(|segment| segment.direction == Direction::Writable));
    }
    if random.chance(4) {
        registers(guest, random);
    }
    let _ = room.write(random.below(7000) as u32, &[1, 2], &guest.memory);
    let offload = Offload::from_bytes(&random_header(random).bytes(), length).unwrap_or(Offload::None);
    guest.memory.take_accesses();
    match random.below(3) {
        0 => guest.net.cancel_rx(&room),
        _ => guest.net.deliver(&room, &offload, &guest.memory),
    }
    guest.net.signal_rx(&guest.memory);
    assert!(guest.memory.take_accesses() <= 12 + MAX_CHAINS + 4);
}

fn hostile_step(guest: &mut Guest, random: &Random, reached: &mut Reached) {
    guest.memory.take_accesses();
    match random.below(12) {
        0 => registers(guest, random),
        1..=2 => scribble(&guest.memory, random, 2),
        3..=4 => {
            if guest.queues[TX].in_flight() < 6 {
                let _ = guest.send(&random_header(random), &vec![3; random.below(1600) as usize]);
            }
        }
        5..=6 => {
            if guest.queues[RX].in_flight() < 6 {
                let _ = guest.offer(random.pick(&[1, 12, 200, 1526, 6000]));
            }
        }
        7..=9 => transmit(guest, random, reached),
        _ => receive(guest, random, reached),
    }
}

/// One card's life under such a driver; how many operations it had.
pub(crate) fn game(random: &Random, reached: &mut Reached) -> u64 {
    let without = random.pick(&[0, INDIRECT, EVENT_IDX, MRG_RXBUF]);
    let mut guest = Guest::new(&nic(), without, random.next());
    let mut operations = 0;
    while random.goes_on() {
        hostile_step(&mut guest, random, reached);
        operations += 1;
    }
    reached.broken += u64::from(guest.get(STATUS) & 64 != 0);
    reached.running += u64::from(guest.get(STATUS) == 15);
    operations
}

#[cfg(test)]
fn run(operations: u64) {
    let mut reached = Reached::default();
    hostile::play(0x0bad_cafe, operations, |random| game(random, &mut reached));
    let Reached { frames, rooms, dropped, too_long, broken, running } = reached;
    let least = operations / ONE_IN;
    assert!(frames >= 10 * least && rooms >= 10 * least, "{frames} frames, room for {rooms}");
    assert!(dropped >= 10 * least && too_long >= least, "{dropped} dropped, {too_long} too long");
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

/// A guest's RAM of which another vCPU writes an index to and fro, at each reading.
struct Restless<'a> {
    memory: &'a VecMemory,
    ipa: u64,
    index: Cell<u16>,
}

impl GuestMemory for Restless<'_> {
    fn read(&self, ipa: u64, into: &mut [u8]) -> Result<(), GuestMemoryError> {
        if ipa == self.ipa {
            let index = self.index.replace(1 - self.index.get());
            self.memory.write(ipa, &index.to_le_bytes())?;
        }
        self.memory.read(ipa, into)
    }

    fn write(&self, ipa: u64, from: &[u8]) -> Result<(), GuestMemoryError> {
        self.memory.write(ipa, from)
    }
}

#[test]
fn an_index_that_goes_to_and_fro_keeps_nobody() {
    let mut guest = Guest::new(&nic(), 0, 1);
    let restless =
        |queue: usize| Restless { memory: &guest.memory, ipa: guest.queues[queue].driver + 2, index: Cell::new(0) };
    let [receive, transmit] = [restless(RX), restless(TX)];
    assert_eq!(guest.net.next_tx(&transmit, &mut Frame::new()), Next::Empty);
    assert_eq!(guest.net.room(60, &receive, &mut Room::new()), Reception::Full);
    assert!(guest.memory.take_accesses() <= 2 * MOST_ACCESSES);
}
