//! A driver that writes what it likes where it likes, while the device works.

use super::guest::*;
use crate::memory::{GuestMemory, GuestMemoryError};
use crate::net::checksum::complete;
use crate::net::*;
use crate::queue::Direction;
use crate::testing::{RAM_BASE, RAM_SIZE, Random, VecMemory};
use std::cell::Cell;

/// Accesses that taking a frame or room for one may make: of each of 64 chains or buffers a ring's entry, a table and a
/// descriptor, and what is around them.
const MOST_ACCESSES: usize = 4 * MAX_SEGMENTS + 32;

/// What was reached.
#[derive(Default)]
struct Reached {
    frames: usize,
    rooms: usize,
    dropped: usize,
    too_long: usize,
    broken: usize,
    running: usize,
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

fn scribble(guest: &Guest, random: &Random) {
    let queue = random.below(2) * 0x2000;
    let at = RAM_BASE + (queue + random.below(random.pick(&[0x480, 0x2000]))).min(RAM_SIZE as u64 - 8);
    let value = random.pick(&[random.next(), random.below(20), RAM_BASE + random.below(0x4_0000)]);
    guest.memory.write(at, &value.to_le_bytes()[..random.pick(&[1, 2, 8])]).unwrap();
}

fn registers(guest: &mut Guest, random: &Random) {
    let offset = random.pick(&[0x50, 0x50, 0x30, 0x44, 0x70, random.below(0x200)]);
    let value = random.pick(&[random.below(6), random.next(), 15, 0]);
    guest.memory.take_accesses();
    let _ = guest.net.write(offset, random.pick(&[4, 4, 4, 1, 2, 8]), value);
    let _ = guest.net.read(random.below(0x210), random.pick(&[1, 2, 4, 8]));
    guest.net.set_link(random.chance(2));
    assert_eq!(guest.memory.take_accesses(), 0, "registers reach no memory");
}

fn transmit(guest: &mut Guest, random: &Random, reached: &mut Reached) {
    let mut frame = Frame::new();
    let next = guest.net.next_tx(&guest.memory, &mut frame);
    assert!(guest.memory.take_accesses() <= MOST_ACCESSES);
    reached.dropped += usize::from(next == Next::Dropped);
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
        scribble(guest, random);
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
    reached.too_long += usize::from(found == Reception::TooLong);
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
        1..=2 => scribble(guest, random),
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

#[test]
fn a_hostile_driver_causes_no_panic_and_bounded_work() {
    let random = Random::new(0x0bad_cafe);
    let mut reached = Reached::default();
    for seed in 0..3000 {
        let without = random.pick(&[0, INDIRECT, EVENT_IDX, MRG_RXBUF]);
        let mut guest = Guest::new(&nic(), without, seed);
        for _ in 0..random.below(200) {
            hostile_step(&mut guest, &random, &mut reached);
        }
        reached.broken += usize::from(guest.get(STATUS) & 64 != 0);
        reached.running += usize::from(guest.get(STATUS) == 15);
    }
    let Reached { frames, rooms, dropped, too_long, broken, running } = reached;
    assert!(frames > 1000 && rooms > 1000 && dropped > 1000 && too_long > 100, "{frames} {rooms} {dropped} {too_long}");
    assert!(broken > 100 && running > 100, "{broken} broken, {running} still running");
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
