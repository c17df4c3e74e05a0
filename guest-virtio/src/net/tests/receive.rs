//! What a driver is given, by §5.1.6.3 and §5.1.6.4.

use super::guest::*;
use crate::memory::{GuestMemory, GuestMemoryError};
use crate::net::*;
use crate::testing::{Buffer, Layout, RAM_BASE, VecMemory};
use std::cell::Cell;

/// A guest's RAM that counts the writes to one address.
struct Watched<'a> {
    memory: &'a VecMemory,
    ipa: u64,
    writes: Cell<usize>,
}

impl GuestMemory for Watched<'_> {
    fn read(&self, ipa: u64, into: &mut [u8]) -> Result<(), GuestMemoryError> {
        self.memory.read(ipa, into)
    }

    fn write(&self, ipa: u64, from: &[u8]) -> Result<(), GuestMemoryError> {
        self.writes.set(self.writes.get() + usize::from(ipa == self.ipa));
        self.memory.write(ipa, from)
    }
}

/// All but MRG_RXBUF.
fn single(seed: u64) -> Guest {
    Guest::new(&nic(), MRG_RXBUF, seed)
}

fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8).collect()
}

#[test]
fn a_frame_is_spread_over_buffers_only_where_they_are_merged() {
    for seed in 0..50 {
        let mut guest = Guest::new(&nic(), 0, seed);
        guest.offers(3, 500);
        assert_eq!(guest.give(&Offload::None, &bytes(1200)), Reception::Room);
        let (header, frame) = guest.receive().unwrap();
        assert_eq!(header, Header { num_buffers: 3, ..Header::default() });
        assert!(frame == bytes(1200));

        let mut guest = single(seed);
        for length in [500, 500, 1526] {
            guest.offer(length).unwrap();
        }
        assert_eq!(guest.give(&Offload::None, &bytes(489)), Reception::TooLong, "one byte too many");
        assert_eq!(guest.give(&Offload::None, &bytes(488)), Reception::Room);
        let (header, frame) = guest.receive().unwrap();
        assert_eq!(header, Header { num_buffers: 1, ..Header::default() });
        assert!(frame == bytes(488));
        assert_eq!(guest.give(&Offload::None, &bytes(60)), Reception::Room);
        assert_eq!(guest.give(&Offload::None, &bytes(1514)), Reception::Room);
        assert_eq!([guest.receive().unwrap().1.len(), guest.receive().unwrap().1.len()], [60, 1514]);
    }
}

#[test]
fn the_chains_of_a_frame_are_used_together() {
    let mut guest = Guest::new(&nic(), 0, 1);
    guest.offers(4, 400);
    let mut room = Room::new();
    assert_eq!(guest.net.room(1500, &guest.memory, &mut room), Reception::Room);
    let watched = Watched { memory: &guest.memory, ipa: guest.queues[RX].device + 2, writes: Cell::new(0) };
    guest.net.deliver(&room, &Offload::None, &watched);
    assert_eq!(watched.writes.get(), 1, "one write of the used ring's index");
    assert_eq!(watched.read_u16(watched.ipa), Ok(4));
}

#[test]
fn too_few_buffers_are_left_as_they_were_and_the_driver_notifies_of_more() {
    for (without, seed) in [(0, 1), (0, 2), (0, 3), (EVENT_IDX, 4), (INDIRECT, 5)] {
        let mut guest = Guest::new(&nic(), without, seed);
        for expected in [0_u16, 2] {
            guest.offers(expected, 500);
            let _ = guest.queues[RX].must_kick(&guest.memory);
            for _ in 0..3 {
                assert_eq!(guest.give(&Offload::None, &bytes(1000)), Reception::Full);
            }
            assert_eq!(guest.queues[RX].take_used(&guest.memory), None);
        }
        guest.offer(500).unwrap();
        assert!(guest.queues[RX].must_kick(&guest.memory), "without {without:#x}");
        assert_eq!(guest.give(&Offload::None, &bytes(1000)), Reception::Room);
        let (header, frame) = guest.receive().unwrap();
        assert!(header.num_buffers == 3 && frame == bytes(1000));
    }
}

#[test]
fn room_that_is_not_used_is_there_again() {
    let mut guest = Guest::new(&nic(), 0, 1);
    let heads = [(); 3].map(|()| guest.offer(500).unwrap());
    let mut room = Room::new();
    for _ in 0..5 {
        assert_eq!(guest.net.room(1000, &guest.memory, &mut room), Reception::Room);
        guest.net.cancel_rx(&room);
    }
    assert_eq!(guest.give(&Offload::None, &bytes(400)), Reception::Room);
    assert_eq!(guest.queues[RX].take_used(&guest.memory), Some((heads[0], 412)));
    assert_eq!(guest.give(&Offload::None, &bytes(900)), Reception::Room);
    assert_eq!(guest.queues[RX].in_flight(), 2);
}

#[test]
fn a_frame_that_no_buffers_can_hold_is_too_long() {
    let mut guest = Guest::new(&nic(), 0, 1);
    for _ in 0..ENTRIES {
        guest.queues[RX].add(&guest.memory, &[Buffer::writable(DATA, 64)], Layout::Direct).unwrap();
    }
    let mut room = Room::new();
    assert_eq!(guest.net.room(16 * 64 - 12, &guest.memory, &mut room), Reception::Room);
    guest.net.cancel_rx(&room);
    assert_eq!(guest.net.room(16 * 64 - 11, &guest.memory, &mut room), Reception::TooLong, "the ring is full");
    // As many descriptors of one byte as an indirect table has.
    let mut guest = Guest::new(&nic(), 0, 1);
    let table = DATA + 0x1000;
    for index in 0..128 {
        let flags = 2 | u16::from(index < 127);
        guest.queues[RX].describe(&guest.memory, (table, index), (DATA, 1, flags, index + 1));
    }
    guest.queues[RX].describe(&guest.memory, (guest.queues[RX].descriptor, 0), (table, 16 * 128, 4, 0));
    guest.queues[RX].publish(&guest.memory, 0);
    assert_eq!(guest.net.room(65, &guest.memory, &mut room), Reception::TooLong);
    assert_eq!(guest.net.room(64, &guest.memory, &mut room), Reception::Room);
    assert_eq!(guest.get(STATUS), 15);
}

#[test]
fn buffers_that_are_none_ask_for_a_reset() {
    let [header, rest] = [Buffer::writable(DATA, 12), Buffer::readable(DATA + 0x100, 100)];
    let chains: [(&str, u64, Vec<Buffer>); 4] = [
        ("readable", 0, vec![rest]),
        ("shorter than the header", 0, vec![Buffer::writable(DATA, 11)]),
        ("shorter, not merged", MRG_RXBUF, vec![Buffer::writable(DATA, 4), Buffer::writable(DATA + 8, 4)]),
        ("readable behind the header", 0, vec![header, rest]),
    ];
    for (name, without, buffers) in chains {
        let mut guest = Guest::new(&nic(), without, 1);
        guest.queues[RX].add(&guest.memory, &buffers, Layout::Direct).unwrap();
        assert_eq!(guest.net.room(60, &guest.memory, &mut Room::new()), Reception::Off, "{name}");
        assert_eq!(guest.get(STATUS), 15 | 64, "{name}");
        assert!(guest.net.take_pulse());
    }
    let mut guest = Guest::new(&nic(), 0, 1);
    let mut room = Room::new();
    guest.queues[RX].add(&guest.memory, &[Buffer::writable(RAM_BASE - 0x1000, 1526)], Layout::Direct).unwrap();
    assert_eq!(guest.net.room(60, &guest.memory, &mut room), Reception::Room);
    assert!(room.write(0, &[1; 6], &guest.memory).is_err());
    guest.net.deliver(&room, &Offload::None, &guest.memory);
    assert_eq!(guest.get(STATUS), 15 | 64, "a header outside");
}

#[test]
fn what_is_read_and_written_is_within_the_frame() {
    let mut guest = Guest::new(&nic(), 0, 1);
    let (mut frame, mut room) = (Frame::new(), Room::new());
    guest.send(&Header::default(), &bytes(100)).unwrap();
    guest.take(&mut frame).unwrap();
    guest.offer(1526).unwrap();
    assert_eq!(guest.net.room(100, &guest.memory, &mut room), Reception::Room);
    let mut piece = [0; 40];
    for (offset, within) in [(0, true), (33, true), (60, true), (61, false), (100, false), (u32::MAX, false)] {
        let range = Err(PayloadError::Range { offset, length: 40 });
        let expected = if within { Ok(()) } else { range };
        assert_eq!(frame.read(offset, &mut piece, &guest.memory), expected);
        assert_eq!(room.write(offset, &piece, &guest.memory), expected);
        if within {
            assert_eq!(piece, bytes(100)[offset as usize..][..40]);
        }
    }
    assert_eq!(frame.read(100, &mut [], &guest.memory), Ok(()));
}

#[test]
fn a_receiver_takes_what_it_has_accepted() {
    let sum = Checksum { start: 34, offset: 16 };
    let of = |header: Header| Offload::from_bytes(&header.bytes(), 1514).unwrap();
    let (tcp4, tcp6) = (of(Header::tcp4(1000)), of(Header { gso_type: 4, ..Header::tcp4(1000) }));
    let ecn = of(Header { gso_type: 0x81, ..Header::tcp4(1000) });
    let all = [Offload::None, Offload::Valid, Offload::Checksum(sum), tcp4, tcp6, ecn];
    let segments = GUEST_TSO4 | GUEST_TSO6 | GUEST_ECN;
    let [same, checksum, cut] = [Fit::AsIs, Fit::NeedsChecksum, Fit::NeedsSegments];
    for (without, expected) in [
        (0, [same; 6]),
        (GUEST_ECN, [same, same, same, same, same, cut]),
        (GUEST_TSO4, [same, same, same, cut, same, cut]),
        (GUEST_TSO6, [same, same, same, same, cut, same]),
        (segments, [same, same, same, cut, cut, cut]),
        (segments | GUEST_CSUM, [same, same, checksum, cut, cut, cut]),
    ] {
        let mut guest = Guest::new(&nic(), without, 1);
        assert_eq!(all.map(|offload| guest.net.accepts(&offload, 1514)), expected, "{without:#x}");
        // Whatever the caller says, the driver sees no more than that.
        for (offload, fit) in all.into_iter().zip(expected) {
            guest.offer(1526).unwrap();
            assert_eq!(guest.give(&offload, &bytes(1514)), Reception::Room);
            let told = fit == same && without & GUEST_CSUM == 0;
            let header =
                if told { Header::of(&offload.to_bytes(1)) } else { Header { num_buffers: 1, ..Header::default() } };
            assert_eq!(guest.receive().unwrap(), (header, bytes(1514)), "{offload:?} without {without:#x}");
        }
    }
}

#[test]
fn a_receiver_takes_what_its_mtu_allows() {
    let guest = Guest::new(&nic(), 0, 1);
    let tcp = Offload::from_bytes(&Header::tcp4(1000).bytes(), 9000).unwrap();
    for (offload, length, expected) in [
        (Offload::None, 1518, Fit::AsIs),
        (Offload::None, 1519, Fit::TooLong),
        (Offload::Checksum(Checksum { start: 34, offset: 16 }), 1519, Fit::TooLong),
        (tcp, 1519, Fit::AsIs),
        (tcp, 65_550, Fit::AsIs),
        (tcp, 65_551, Fit::TooLong),
    ] {
        assert_eq!(guest.net.accepts(&offload, length), expected, "{offload:?}, {length}");
    }
}
