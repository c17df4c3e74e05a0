//! The driver's rings against the device's side of the specification, which `guest-virtio` has and shares no code with them.

mod disk;
mod machine;
mod nic;
mod requests;

use std::collections::VecDeque;

use guest_virtio::memory::GuestMemory;
use guest_virtio::queue::{Areas, Chain, Direction, Queue, RingFeatures, Step};
use hv_core::addr::Pa;

use super::disk::{OWN_SIZE, PIECES, Requests};
use super::ring::{NotIts, Piece, Ring, SLOTS};
use machine::Memory;

/// A ring, and a device at it.
fn pair(memory: &Memory, event_index: bool) -> (Requests, Queue) {
    let ring = Requests::new(memory.dma(), event_index);
    let queue = device(&ring, event_index);
    (ring, queue)
}

/// A device at a ring.
fn device<const PIECES: usize, const OWN: usize>(ring: &Ring<PIECES, OWN>, event_index: bool) -> Queue {
    let [descriptor, driver, device] = ring.areas().map(|area| area.0);
    let mut queue = Queue::new();
    queue.set_size(SLOTS);
    *queue.areas_mut().unwrap() = Areas { descriptor, driver, device };
    // Where no request has a table of its own, the feature is not agreed on.
    queue.enable(SLOTS, RingFeatures { indirect: PIECES > 1, event_index }).unwrap();
    queue
}

fn ram() -> Memory {
    Memory::new(Requests::SIZE)
}

fn pieces(memory: &Memory, chain: &mut Chain) -> Vec<Piece> {
    let mut found = vec![];
    loop {
        match chain.advance(memory).unwrap() {
            Step::Table => {}
            Step::End => return found,
            Step::Segment(segment) => found.push(Piece {
                address: Pa(segment.ipa),
                length: segment.length,
                writable: segment.direction == Direction::Writable,
            }),
        }
    }
}

fn submit(ring: &mut Requests, pieces: &[Piece]) -> u16 {
    let slot = ring.take().unwrap();
    pieces.iter().enumerate().for_each(|(index, piece)| ring.describe(slot, index, piece));
    ring.submit(slot, pieces.len());
    slot
}

/// Pieces that say their request's number.
fn request(number: u32) -> Vec<Piece> {
    let readable = Piece { address: Pa(0x1000 + u64::from(number)), length: 16, writable: false };
    let writable = Piece { address: Pa(0x9_0000_0000 + u64::from(number)), length: 1 + number, writable: true };
    let mut pieces = vec![readable; 1 + number as usize % 5];
    pieces.push(writable);
    pieces
}

#[test]
fn the_device_finds_what_was_submitted_in_whatever_order_it_gives_back() {
    for event_index in [false, true] {
        let memory = ram();
        let (mut ring, mut queue) = pair(&memory, event_index);
        let mut with_device: VecDeque<(u16, Vec<Piece>)> = VecDeque::new();
        let mut held = vec![];
        // More than 65,536 requests: each index wraps.
        for number in 0..70_000_u32 {
            let expected = request(number % 1000);
            let slot = submit(&mut ring, &expected);
            with_device.push_back((slot, expected));
            if number % 7 == 3 {
                while let Some(mut chain) = queue.pop(&memory).unwrap() {
                    let (slot, expected) = with_device.pop_front().unwrap();
                    assert_eq!((chain.head(), pieces(&memory, &mut chain)), (slot, expected));
                    held.push(chain.head());
                }
                if number % 2 == 0 {
                    held.reverse();
                }
                for head in held.drain(..) {
                    queue.push_used(&memory, head, number ^ u32::from(head)).unwrap();
                    assert_eq!(ring.done(), Ok(Some((head, number ^ u32::from(head)))));
                    ring.release(head);
                }
                assert_eq!(ring.done(), Ok(None));
                assert_eq!(ring.free(), u32::from(SLOTS));
            }
        }
    }
}

#[test]
fn a_full_ring_has_no_slot_and_the_longest_request_fits() {
    let memory = ram();
    let (mut ring, mut queue) = pair(&memory, true);
    let longest = vec![Piece { address: Pa(8), length: 8, writable: false }; PIECES];
    let slots: Vec<u16> = (0..SLOTS).map(|_| submit(&mut ring, &longest)).collect();
    assert_eq!((ring.take(), ring.free()), (None, 0));
    for slot in slots {
        let mut chain = queue.pop(&memory).unwrap().unwrap();
        assert_eq!((chain.head(), pieces(&memory, &mut chain)), (slot, longest.clone()));
        // A slot's own bytes are its own.
        ring.write_own(slot, 0, u64::from(slot) + 1);
        ring.write_own(slot, OWN_SIZE - 8, u64::MAX);
    }
    for slot in 0..SLOTS {
        assert_eq!([0, OWN_SIZE - 1].map(|at| ring.read_own::<u8>(slot, at)), [slot as u8 + 1, 0xff]);
        assert_eq!(memory.read_u64(ring.own(slot, 0).0).unwrap(), u64::from(slot) + 1);
    }
}

#[test]
fn the_device_is_told_exactly_when_it_wants_to_hear() {
    for event_index in [false, true] {
        let memory = ram();
        let (mut ring, mut queue) = pair(&memory, event_index);
        assert!(!ring.must_notify(), "nothing was submitted");
        submit(&mut ring, &request(1));
        assert!(ring.must_notify());
        assert!(!ring.must_notify(), "it was told");
        while queue.pop(&memory).unwrap().is_some() {}
        if event_index {
            // It has looked, and asks for the next but one.
            memory.write_u16(ring.areas()[2].0 + 4 + 8 * u64::from(SLOTS), 2).unwrap();
            submit(&mut ring, &request(2));
            assert!(!ring.must_notify());
            submit(&mut ring, &request(3));
            assert!(ring.must_notify());
        } else {
            memory.write_u16(ring.areas()[2].0, 1).unwrap();
            submit(&mut ring, &request(2));
            assert!(!ring.must_notify(), "VIRTQ_USED_F_NO_NOTIFY");
        }
    }
}

#[test]
fn an_interrupt_is_asked_for_the_next_and_what_came_meanwhile_is_seen() {
    let memory = ram();
    let (mut ring, mut queue) = pair(&memory, true);
    for _ in 0..3 {
        submit(&mut ring, &request(1));
    }
    let heads: Vec<u16> = std::iter::from_fn(|| queue.pop(&memory).unwrap()).map(|chain| chain.head()).collect();
    assert!(!ring.arm());
    queue.push_used(&memory, heads[0], 0).unwrap();
    assert_eq!(queue.should_notify(&memory), Ok(true));
    assert!(ring.arm(), "one came before it was asked for");
    assert_eq!(ring.done(), Ok(Some((heads[0], 0))));
    queue.push_used(&memory, heads[1], 0).unwrap();
    assert_eq!(queue.should_notify(&memory), Ok(false), "the driver still looks");
    assert_eq!(ring.done(), Ok(Some((heads[1], 0))));
    assert!(!ring.arm());
    queue.push_used(&memory, heads[2], 0).unwrap();
    assert_eq!(queue.should_notify(&memory), Ok(true));
}

#[test]
fn a_device_that_gives_back_what_it_has_not_is_not_believed() {
    for lie in [1, u32::from(SLOTS), 0x1_0000, u32::MAX] {
        let memory = ram();
        let (mut ring, _) = pair(&memory, true);
        assert_eq!(submit(&mut ring, &request(1)), 0);
        let used = ring.areas()[2].0;
        memory.write_u32(used + 4, lie).unwrap();
        memory.write_u16(used + 2, 1).unwrap();
        assert_eq!(ring.done(), Err(NotIts(lie)));
    }
    let memory = ram();
    let (mut ring, mut queue) = pair(&memory, true);
    submit(&mut ring, &request(1));
    queue.push_used(&memory, 0, 0).unwrap();
    queue.push_used(&memory, 0, 0).unwrap();
    assert_eq!(ring.done(), Ok(Some((0, 0))));
    assert_eq!(ring.done(), Err(NotIts(0)), "twice");
}
