//! The driver of a network card against a card of queues that `guest-virtio` has.

mod life;

use std::collections::VecDeque;

use guest_virtio::memory::GuestMemory;
use guest_virtio::queue::{Areas, Direction, Queue, RingFeatures, Segment, Step};
use hv_core::addr::Pa;
use proptest::prelude::*;

use super::machine::{Memory, Registers};
use crate::virtio::nic::{CSUM, DEPTH, FRAME_MAX, HEADER, MAC, MEMORY, MTU, Nic, Received, Shape, read_shape};
use crate::virtio::ring::SLOTS;
use crate::virtio::{Kind, VirtioError};

/// VIRTIO_NET_F_MTU (§5.1.3), VIRTIO_F_EVENT_IDX (§6), in the lower half of the features.
const MTU_BIT: u32 = 1 << 3;
const EVENT_INDEX: u32 = 1 << 29;
/// Bytes of a queue: its rings, and 64 buffers of 2,048 bytes.
const QUEUE: u64 = 0x800 + 64 * 1536;
/// The register QueueNotify (§4.2.2).
const NOTIFY: usize = 0x50;

type Header = [u8; HEADER];

/// A driver and its card.
struct Card {
    nic: Nic,
    receive: Queue,
    transmit: Queue,
    registers: Registers,
    memory: Memory,
}

/// Registers of a card with an address, an MTU, and a link.
fn registers(features: u32, mtu: u16) -> Registers {
    Registers::new(1, features | 1, &[(0, 0x5452_0002), (4, 0x0001_5756), (8, u32::from(mtu) << 16)])
}

fn start(registers: &mut Registers, memory: &Memory) -> Result<Nic, VirtioError> {
    let found = registers.look().unwrap()?;
    assert_eq!(found.kind, Kind::Nic);
    Nic::start(found, memory.dma())
}

impl Card {
    fn new(features: u32) -> Self {
        let (mut registers, memory) = (registers(features, 1500), Memory::new(MEMORY as usize));
        let nic = start(&mut registers, &memory).unwrap();
        let [receive, transmit] = [0, QUEUE].map(|start| {
            let mut queue = Queue::new();
            queue.set_size(SLOTS);
            let [descriptor, driver, device] = [0, 0x400, 0x500].map(|area| memory.start + start + area);
            *queue.areas_mut().unwrap() = Areas { descriptor, driver, device };
            let features = RingFeatures { indirect: false, event_index: features & EVENT_INDEX != 0 };
            queue.enable(SLOTS, features).unwrap();
            queue
        });
        Self { nic, receive, transmit, registers, memory }
    }

    /// A frame comes to the card; whether it had a buffer.
    fn arrive(&mut self, header: &Header, frame: &[u8]) -> bool {
        let Some((head, buffer)) = next(&mut self.receive, &self.memory) else {
            return false;
        };
        assert_eq!((buffer.direction, buffer.length), (Direction::Writable, 1536));
        self.memory.write(buffer.ipa, header).unwrap();
        self.memory.write(buffer.ipa + HEADER as u64, frame).unwrap();
        self.receive.push_used(&self.memory, head, (HEADER + frame.len()) as u32).unwrap();
        true
    }

    /// A frame leaves the card.
    fn leave(&mut self) -> Option<(Header, Vec<u8>)> {
        let (head, buffer) = next(&mut self.transmit, &self.memory)?;
        assert_eq!(buffer.direction, Direction::Readable);
        let (mut header, mut frame) = ([0; HEADER], vec![0; buffer.length as usize - HEADER]);
        self.memory.read(buffer.ipa, &mut header).unwrap();
        self.memory.read(buffer.ipa + HEADER as u64, &mut frame).unwrap();
        self.transmit.push_used(&self.memory, head, 0).unwrap();
        Some((header, frame))
    }

    /// EL2 sends a frame.
    fn send(&mut self, header: Header, frame: &[u8]) -> bool {
        let (slot, address) = self.nic.place().unwrap();
        self.memory.write(address.0, frame).unwrap();
        self.nic.send(slot, header, frame.len() as u32)
    }

    /// What EL2 finds in a frame that has come.
    fn read(&self, received: &Received) -> Vec<u8> {
        let mut frame = vec![0; received.length as usize];
        self.memory.read(self.nic.frame(received.slot).0, &mut frame).unwrap();
        frame
    }

    /// The card says that it has given back `slot` of the queue that begins at `queue`, `written` bytes long.
    fn lie(&self, queue: u64, slot: u32, written: u32) {
        let used = self.memory.start + queue + 0x500;
        self.memory.write_u32(used + 4, slot).unwrap();
        self.memory.write_u32(used + 8, written).unwrap();
        self.memory.write_u16(used + 2, 1).unwrap();
    }
}

/// The next request of a queue, which is one buffer inside of the driver's memory.
fn next(queue: &mut Queue, memory: &Memory) -> Option<(u16, Segment)> {
    let mut chain = queue.pop(memory).unwrap()?;
    let Step::Segment(buffer) = chain.advance(memory).unwrap() else {
        panic!("a request without a buffer");
    };
    assert_eq!(chain.advance(memory), Ok(Step::End));
    let end = buffer.ipa.checked_add(buffer.length.into()).unwrap();
    assert!(buffer.ipa >= memory.start && end <= memory.start + MEMORY);
    Some((chain.head(), buffer))
}

/// A frame that is unlike others.
fn frame(fill: u8, length: usize) -> (Header, Vec<u8>) {
    ([fill; HEADER], (0..length).map(|n| fill.wrapping_mul(31).wrapping_add(n as u8)).collect())
}

#[derive(Clone, Copy, Debug)]
enum Move {
    Arrive(u8, usize),
    Take,
    GiveBack(usize),
    Place,
    Send(usize, u8, usize),
    Cancel(usize),
    Leave,
    Reclaim,
}

fn any_move() -> impl Strategy<Value = Move> {
    prop_oneof![
        3 => (any::<u8>(), 0..=FRAME_MAX as usize).prop_map(|(fill, length)| Move::Arrive(fill, length)),
        3 => Just(Move::Take),
        2 => (0..DEPTH).prop_map(Move::GiveBack),
        3 => Just(Move::Place),
        3 => (0..DEPTH, any::<u8>(), 14..=1518_usize).prop_map(|(place, fill, length)| Move::Send(place, fill, length)),
        1 => (0..DEPTH).prop_map(Move::Cancel),
        2 => Just(Move::Leave),
        1 => Just(Move::Reclaim),
    ]
}

/// What has to be where.
struct Model {
    card: Card,
    /// Frames that have come and were not taken; taken and not given back.
    arrived: VecDeque<(Header, Vec<u8>)>,
    held: Vec<(Received, Vec<u8>)>,
    /// Places without a frame; frames that the card has; frames that it has sent and nobody has reclaimed.
    places: Vec<(u16, Pa)>,
    sent: VecDeque<(Header, Vec<u8>)>,
    gone: usize,
}

impl Model {
    fn step(&mut self, step: Move) {
        let card = &mut self.card;
        match step {
            Move::Arrive(fill, length) => {
                let (header, frame) = frame(fill, length);
                let has_buffer = self.arrived.len() + self.held.len() < DEPTH;
                assert_eq!(card.arrive(&header, &frame), has_buffer);
                self.arrived.extend(has_buffer.then_some((header, frame)));
            }
            Move::Take => {
                let received = card.nic.received().unwrap();
                assert_eq!(received.is_some(), !self.arrived.is_empty());
                if let (Some(received), Some((header, frame))) = (received, self.arrived.pop_front()) {
                    assert_eq!((received.header, received.length as usize), (header, frame.len()));
                    self.held.push((received, frame));
                }
            }
            Move::GiveBack(index) if index < self.held.len() => {
                let (received, frame) = self.held.swap_remove(index);
                assert_eq!(card.read(&received), frame);
                card.nic.give_back(received.slot);
            }
            _ => self.transmit(step),
        }
    }

    fn transmit(&mut self, step: Move) {
        let card = &mut self.card;
        match step {
            Move::Place => {
                let place = card.nic.place();
                assert_eq!(place.is_some(), self.places.len() + self.sent.len() + self.gone < DEPTH);
                self.places.extend(place);
            }
            Move::Send(index, fill, length) if index < self.places.len() => {
                let ((slot, address), (header, frame)) = (self.places.swap_remove(index), frame(fill, length));
                card.memory.write(address.0, &frame).unwrap();
                assert!(card.nic.send(slot, header, length as u32));
                self.sent.push_back((header, frame));
            }
            Move::Cancel(index) if index < self.places.len() => card.nic.cancel(self.places.swap_remove(index).0),
            Move::Leave => {
                self.gone += usize::from(!self.sent.is_empty());
                assert_eq!(card.leave(), self.sent.pop_front());
            }
            Move::Reclaim => assert_eq!(card.nic.reclaim(), Ok(std::mem::take(&mut self.gone) as u32)),
            _ => {}
        }
        assert_eq!(card.nic.free() as usize, DEPTH - self.places.len() - self.sent.len() - self.gone);
    }
}

proptest! {
    #[test]
    fn frames_come_and_leave_whole_and_in_order_whatever_is_done_meanwhile(
        event_index in any::<bool>(),
        steps in prop::collection::vec(any_move(), 1..600),
    ) {
        let card = Card::new(if event_index { EVENT_INDEX } else { 0 });
        let (arrived, held, places, sent) = Default::default();
        let mut model = Model { card, arrived, held, places, sent, gone: 0 };
        steps.into_iter().for_each(|step| model.step(step));
        // Then everything still on its way arrives.
        (0..=DEPTH).for_each(|_| model.step(Move::Leave));
        (0..=DEPTH).for_each(|_| model.step(Move::Take));
        (0..DEPTH).for_each(|_| model.step(Move::GiveBack(0)));
        (0..DEPTH).for_each(|_| model.step(Move::Cancel(0)));
        model.step(Move::Reclaim);
        prop_assert_eq!(model.card.nic.free() as usize, DEPTH);
    }
}

#[test]
fn more_frames_than_an_index_counts_pass_both_ways() {
    for event_index in [0, EVENT_INDEX] {
        let mut card = Card::new(event_index);
        for number in 0..70_000_usize {
            let (header, frame) = frame(number as u8, 14 + number % 5);
            assert!(card.arrive(&header, &frame));
            let received = card.nic.received().unwrap().unwrap();
            assert_eq!((received.header, card.read(&received)), (header, frame.clone()));
            card.nic.give_back(received.slot);
            assert!(card.send(header, &frame));
            assert_eq!(card.leave(), Some((header, frame)));
            if number % 50 == 49 {
                assert_eq!(card.nic.reclaim(), Ok(50));
            }
        }
    }
}

#[test]
fn a_frame_that_comes_has_what_was_written_behind_its_header() {
    // Bytes that the card says to have written, header included.
    for (written, expected) in [
        (12, Ok(0)),
        (1526, Ok(1514)),
        (1536, Ok(1524)),
        // Less than a header is no frame, and its taker drops it.
        (0, Ok(0)),
        (11, Ok(0)),
        (25, Ok(13)),
        (1537, Err(VirtioError::Written(1537))),
        (u32::MAX, Err(VirtioError::Written(u32::MAX))),
    ] {
        let mut card = Card::new(0);
        card.lie(0, 5, written);
        assert_eq!(card.nic.received().map(|received| received.unwrap().length), expected);
    }
}

#[test]
fn a_card_that_gives_back_what_it_has_not_is_not_believed() {
    for lie in [64, 0x1_0000, u32::MAX] {
        let mut card = Card::new(0);
        card.lie(0, lie, 100);
        assert_eq!(card.nic.received(), Err(VirtioError::NotIts(lie)));
    }
    let mut card = Card::new(0);
    assert!(card.send([0; HEADER], &[0; 60]));
    let (placed, _) = card.nic.place().unwrap();
    for lie in [u32::from(placed), 63, 64, u32::MAX] {
        card.lie(QUEUE, lie, 0);
        assert_eq!(card.nic.reclaim(), Err(VirtioError::NotIts(lie)));
    }
    // It writes nothing into what it sends, whatever it says.
    card.lie(QUEUE, 0, u32::MAX);
    assert_eq!(card.nic.reclaim(), Ok(1));
    let mut card = Card::new(0);
    assert!(card.arrive(&[0; HEADER], &[1; 60]));
    let slot = card.nic.received().unwrap().unwrap().slot;
    card.receive.push_used(&card.memory, slot, 72).unwrap();
    assert_eq!(card.nic.received(), Err(VirtioError::NotIts(slot.into())), "twice");
}

#[test]
fn only_frames_that_the_card_takes_are_sent_and_a_refused_one_leaves_its_place() {
    for (mtu, length, sent) in [
        (1500, 0, false),
        (1500, 13, false),
        (1500, 14, true),
        (1500, 1514, true),
        // With a VLAN's tag (IEEE 802.1Q).
        (1500, 1518, true),
        (1500, 1519, false),
        (1500, u32::MAX, false),
        (600, 618, true),
        (600, 619, false),
    ] {
        let (mut registers, memory) = (registers(MTU_BIT, mtu), Memory::new(MEMORY as usize));
        let mut nic = start(&mut registers, &memory).unwrap();
        let (slot, _) = nic.place().unwrap();
        assert_eq!(nic.send(slot, [0; HEADER], length), sent, "{length} bytes of {mtu}");
        assert_eq!(nic.free(), 64 - u32::from(sent));
    }
}

#[test]
fn what_is_not_the_drivers_is_neither_sent_nor_given_back() {
    let mut card = Card::new(0);
    assert!(!card.nic.send(0, [0; HEADER], 60), "no place");
    assert!(card.send([0; HEADER], &[0; 60]));
    for slot in [0, 64, u16::MAX] {
        assert!(!card.nic.send(slot, [0; HEADER], 60), "{slot} is the card's, or none");
        card.nic.cancel(slot);
        card.nic.give_back(slot);
    }
    assert_eq!(card.nic.free(), 63);
    assert!(card.leave().is_some() && card.leave().is_none());
    let buffers = std::iter::from_fn(|| next(&mut card.receive, &card.memory)).count();
    assert_eq!(buffers, DEPTH);
}

#[test]
fn the_card_interrupts_for_frames_when_asked_and_for_room_only_then() {
    for event_index in [0, EVENT_INDEX] {
        let mut card = Card::new(event_index);
        let (header, frame) = frame(1, 60);
        let comes = |card: &mut Card| {
            assert!(card.arrive(&header, &frame));
            let wanted = card.receive.should_notify(&card.memory).unwrap();
            let received = card.nic.received().unwrap().unwrap();
            card.nic.give_back(received.slot);
            wanted
        };
        assert!(comes(&mut card), "from the start");
        card.nic.quiet();
        assert!((0..200).all(|_| !comes(&mut card)));
        assert!(!card.nic.arm());
        assert!(comes(&mut card));
        card.nic.quiet();
        assert!(card.arrive(&header, &frame) && card.nic.arm(), "one came meanwhile");
        let leaves = |card: &mut Card| {
            assert!(card.send(header, &frame) && card.leave().is_some());
            card.transmit.should_notify(&card.memory).unwrap()
        };
        assert!((0..60).all(|_| !leaves(&mut card)));
        assert_eq!(card.nic.reclaim(), Ok(60));
        assert!(!card.nic.want_room(1));
        assert!(leaves(&mut card));
        assert!(card.nic.want_room(1), "there is room meanwhile");
        assert_eq!(card.nic.reclaim(), Ok(1));
        assert!((0..60).all(|_| !leaves(&mut card)), "there was room");
    }
}

#[test]
fn room_for_many_frames_is_told_of_when_it_is_there_and_not_for_each() {
    for (event_index, sooner) in [(EVENT_INDEX, false), (0, true)] {
        let mut card = Card::new(event_index);
        let (header, frame) = frame(1, 60);
        (0..DEPTH).for_each(|_| assert!(card.send(header, &frame)));
        assert!(!card.nic.want_room(10));
        let mut leaves = || {
            assert!(card.leave().is_some());
            card.transmit.should_notify(&card.memory).unwrap()
        };
        assert_eq!([(); 9].map(|()| leaves()), [sooner; 9]);
        assert!(leaves(), "the tenth");
        assert_eq!(card.nic.reclaim(), Ok(10));
        // Four of fourteen are missing; more than the card has places for is all of them.
        assert!(!card.nic.want_room(14));
        (0..4).for_each(|_| assert!(card.leave().is_some()));
        assert!(card.nic.want_room(14), "it is there meanwhile");
        assert_eq!(card.nic.reclaim(), Ok(4));
        assert!(!card.nic.want_room(1000));
        (0..50).for_each(|_| assert!(card.leave().is_some()));
        assert!(card.nic.want_room(1000));
    }
}

#[test]
fn each_queue_is_told_of_what_is_new_in_it() {
    let mut card = Card::new(0);
    assert_eq!(card.registers.read(NOTIFY), 0, "the receive queue has buffers from the start");
    let told = |card: &mut Card| {
        let told = card.registers.read(NOTIFY);
        card.registers.write(NOTIFY, 0xffff);
        told
    };
    told(&mut card);
    card.nic.notify();
    card.nic.refill_notify();
    assert_eq!(told(&mut card), 0xffff);
    assert!(card.send([0; HEADER], &[0; 60]));
    card.nic.notify();
    assert_eq!(told(&mut card), 1);
    assert!(card.arrive(&[0; HEADER], &[0; 60]));
    let received = card.nic.received().unwrap().unwrap();
    card.nic.give_back(received.slot);
    card.nic.refill_notify();
    assert_eq!(told(&mut card), 0);
}
