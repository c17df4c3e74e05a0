use std::cell::{Cell, RefCell};
use std::vec::Vec;

use hv_abi::mailbox::{BODY_MAX, Flags, Frame, HvError, HvErrorKind, PAGE_SIZE, Party, SLOT_SIZE, Slot};
use zerocopy::FromBytes;
use zerocopy::little_endian::U32;

use super::*;
use crate::{Buffer, open};

/// The page as plain memory. Every access first calls `before`, where a test lets the other side run.
struct Memory<'t> {
    bytes: RefCell<[u8; PAGE_SIZE]>,
    before: &'t dyn Fn(&Memory<'_>),
    busy: Cell<bool>,
}

impl<'t> Memory<'t> {
    fn new(before: &'t dyn Fn(&Memory<'_>)) -> Self {
        Self { bytes: RefCell::new([0; PAGE_SIZE]), before, busy: Cell::new(false) }
    }

    /// Calls `before`, unless the access is the other side's own.
    fn let_others_run(&self) {
        if !self.busy.replace(true) {
            (self.before)(self);
            self.busy.set(false);
        }
    }
}

impl Page for Memory<'_> {
    fn load_u32(&self, offset: usize) -> u32 {
        let mut bytes = [0; 4];
        self.read(offset, &mut bytes);
        u32::from_le_bytes(bytes)
    }

    fn store_u32(&self, offset: usize, value: u32) {
        self.write(offset, &value.to_le_bytes());
    }

    fn read(&self, offset: usize, into: &mut [u8]) {
        self.let_others_run();
        into.copy_from_slice(&self.bytes.borrow()[offset..offset + into.len()]);
    }

    fn write(&self, offset: usize, from: &[u8]) {
        self.let_others_run();
        self.bytes.borrow_mut()[offset..offset + from.len()].copy_from_slice(from);
    }
}

/// EL2's side by the contract's description: indices of its own, one access of the page for each step.
#[derive(Clone, Default)]
struct Peer {
    producer: u32,
    consumer: u32,
    stage: u8,
    to_send: Vec<Slot>,
    received: Vec<Slot>,
}

impl Peer {
    fn at(producer: u32, consumer: u32) -> Self {
        Self { producer, consumer, ..Self::default() }
    }

    /// One step of putting the next frame into the inbound ring.
    fn produce(&mut self, page: &Memory<'_>) {
        let Some(slot) = self.to_send.first() else {
            return;
        };
        match self.stage {
            0 => {
                let consumer = page.load_u32(INBOUND_CONSUMER);
                self.stage = u8::from(self.producer.wrapping_sub(consumer) < 8);
            }
            1 => {
                page.write(0x880 + (self.producer % 8) as usize * 240, slot.as_bytes());
                self.stage = 2;
            }
            _ => {
                self.producer = self.producer.wrapping_add(1);
                page.store_u32(INBOUND_PRODUCER, self.producer);
                self.to_send.remove(0);
                self.stage = 0;
            }
        }
    }

    /// One step of taking the next frame from the outbound ring.
    fn consume(&mut self, page: &Memory<'_>) {
        match self.stage {
            0 => {
                let producer = page.load_u32(OUTBOUND_PRODUCER);
                let used = producer.wrapping_sub(self.consumer);
                assert!(used <= 8, "owner's index is {used} away");
                self.stage = u8::from(used > 0);
            }
            1 => {
                let mut bytes = [0; SLOT_SIZE];
                page.read(0x100 + (self.consumer % 8) as usize * 240, &mut bytes);
                self.received.push(Slot::read_from_bytes(&bytes).unwrap());
                self.stage = 2;
            }
            _ => {
                self.consumer = self.consumer.wrapping_add(1);
                page.store_u32(OUTBOUND_CONSUMER, self.consumer);
                self.stage = 0;
            }
        }
    }
}

fn frame(id: u32) -> Slot {
    let body = [id as u8 ^ 0x5a; 33];
    Slot::new(Frame::request(Party::Sos, Flags::default(), id, 33), &body)
}

fn nothing(_: &Memory<'_>) {}

/// Every sequence of choices, depth first.
#[derive(Default)]
struct Choices {
    taken: Vec<bool>,
    at: usize,
}

impl Choices {
    fn choose(&mut self) -> bool {
        if self.at == self.taken.len() {
            self.taken.push(false);
        }
        self.at += 1;
        self.taken[self.at - 1]
    }

    /// Moves on to the next sequence.
    fn advance(&mut self) -> bool {
        self.at = 0;
        while self.taken.pop_if(|last| *last).is_some() {}
        match self.taken.last_mut() {
            Some(last) => {
                *last = true;
                true
            }
            None => false,
        }
    }
}

/// Runs `body` with every interleaving of its accesses and at most `budget` steps of `step`.
fn interleave(
    budget: usize,
    peer: &Peer,
    step: fn(&mut Peer, &Memory<'_>),
    body: impl Fn(&Memory<'_>, &RefCell<Peer>),
) -> usize {
    let choices = RefCell::new(Choices::default());
    let mut runs = 0;
    loop {
        runs += 1;
        let peer = RefCell::new(peer.clone());
        let left = Cell::new(budget);
        let before = |page: &Memory<'_>| {
            while left.get() > 0 && choices.borrow_mut().choose() {
                left.set(left.get() - 1);
                step(&mut peer.borrow_mut(), page);
            }
        };
        body(&Memory::new(&before), &peer);
        if !choices.borrow_mut().advance() {
            return runs;
        }
    }
}

/// Sets the page as it is after `produced` and `consumed` frames in each ring, without a schedule.
fn set_indices(page: &Memory<'_>, produced: u32, consumed: u32) {
    page.busy.set(true);
    for (producer, consumer) in [(0x000, 0x040), (0x080, 0x0c0)] {
        page.store_u32(producer, produced);
        page.store_u32(consumer, consumed);
    }
    page.busy.set(false);
}

/// Sends four frames in every interleaving with EL2, from a ring with `full` frames in it whose
/// index wraps behind the first of the four; gives the number of interleavings.
fn send_against_el2(full: u32, steps: usize) -> usize {
    let (start, consumed) = (u32::MAX, u32::MAX - full);
    let peer = Peer::at(start, consumed);
    interleave(steps, &peer, Peer::consume, |page, peer| {
        set_indices(page, start, consumed);
        let mut client = Client::new(page);
        let mut sent = 0;
        for _ in 0..4 {
            match client.send(&frame(sent)) {
                Ok(()) => sent += 1,
                Err(error) => assert_eq!(error, MailboxError::Full),
            }
        }
        page.busy.set(true);
        let mut peer = peer.borrow_mut();
        (0..60).for_each(|_| peer.consume(page));
        let ours: Vec<Slot> = peer.received.split_off(full as usize);
        assert_eq!(ours, (0..sent).map(frame).collect::<Vec<_>>());
        assert!(sent >= 1);
    })
}

#[test]
fn every_interleaving_of_sender_and_el2_keeps_all_frames_in_order() {
    // An empty ring, where EL2 may look for a frame as soon as its index says that it is there.
    assert!(send_against_el2(0, 7) > 10_000);
    // A ring with one free slot, where the sender must not overtake EL2.
    assert!(send_against_el2(7, 8) > 10_000);
}

#[test]
fn every_interleaving_of_el2_and_receiver_keeps_all_frames_in_order() {
    let start = u32::MAX;
    let peer = Peer { to_send: (0..3).map(frame).collect(), ..Peer::at(start, 0) };
    let runs = interleave(8, &peer, Peer::produce, |page, peer| {
        set_indices(page, start, start);
        let mut client = Client::new(page);
        let mut got = Vec::new();
        for _ in 0..4 {
            got.extend(client.receive().unwrap());
        }
        page.busy.set(true);
        (0..9).for_each(|_| peer.borrow_mut().produce(page));
        while let Some(slot) = client.receive().unwrap() {
            got.push(slot);
        }
        assert_eq!(got, (0..3).map(frame).collect::<Vec<_>>());
    });
    assert!(runs > 10_000, "{runs}");
}

#[test]
fn a_full_inbound_ring_is_never_overtaken_by_el2() {
    // The ring holds 7 and EL2 adds 3: it has to wait for the receiver after the first.
    let peer = Peer { to_send: (7..10).map(frame).collect(), ..Peer::at(u32::MAX, 0) };
    interleave(8, &peer, Peer::produce, |page, peer| {
        set_indices(page, u32::MAX, u32::MAX - 7);
        for id in 0..7u32 {
            let index = (u32::MAX - 7).wrapping_add(id);
            page.bytes.borrow_mut()[slot_offset(INBOUND_SLOTS, index)..][..SLOT_SIZE]
                .copy_from_slice(frame(id).as_bytes());
        }
        let mut client = Client::new(page);
        let mut got = Vec::new();
        for _ in 0..3 {
            got.extend(client.receive().unwrap());
        }
        page.busy.set(true);
        loop {
            (0..3).for_each(|_| peer.borrow_mut().produce(page));
            match client.receive().unwrap() {
                Some(slot) => got.push(slot),
                None => break,
            }
        }
        assert_eq!(got, (0..10).map(frame).collect::<Vec<_>>());
    });
}

#[test]
fn a_thousand_frames_each_way_pass_over_the_wrap_of_the_indices() {
    let page = Memory::new(&nothing);
    let start = u32::MAX - 499;
    set_indices(&page, start, start);
    let mut client = Client::new(&page);
    let mut peer = Peer::at(start, start);
    let mut random = 0x2545_f491_4f6c_dd1du64;
    let (mut sent, mut got) = (0, Vec::new());
    while sent < 1000 || got.len() < 1000 {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        match random % 4 {
            0 if sent < 1000 && client.send(&frame(sent)).is_ok() => sent += 1,
            1 => (0..3).for_each(|_| peer.consume(&page)),
            2 => {
                while let Some(slot) = peer.received.first().copied() {
                    peer.received.remove(0);
                    peer.to_send.push(slot);
                }
                (0..3).for_each(|_| peer.produce(&page));
            }
            _ => got.extend(client.receive().unwrap()),
        }
    }
    assert_eq!(got, (0..1000).map(frame).collect::<Vec<_>>());
}

#[test]
fn the_ninth_frame_is_refused_and_fits_after_el2_took_one() {
    let page = Memory::new(&nothing);
    let mut client = Client::new(&page);
    (0..8).for_each(|id| client.send(&frame(id)).unwrap());
    assert_eq!(client.room(), Ok(0));
    assert_eq!(client.send(&frame(8)), Err(MailboxError::Full));
    page.store_u32(OUTBOUND_CONSUMER, 1);
    assert_eq!(client.send(&frame(8)), Ok(()));
    let mut last = [0; SLOT_SIZE];
    page.read(0x100, &mut last);
    assert_eq!(last, frame(8).as_bytes(), "frame 8 lies in slot 0");
}

#[test]
fn an_index_more_than_a_ring_away_is_broken_and_touches_nothing() {
    let page = Memory::new(&nothing);
    set_indices(&page, 100, 100);
    let mut client = Client::new(&page);
    for (consumer, ring_is_broken) in [(100, false), (92, false), (91, true), (101, true)] {
        page.store_u32(OUTBOUND_CONSUMER, consumer);
        let room = client.room();
        assert_eq!(room.is_err(), ring_is_broken, "consumer {consumer}: {room:?}");
    }
    let error = MailboxError::Broken { ring: Ring::Outbound, producer: 100, consumer: 101 };
    assert_eq!(client.send(&frame(0)), Err(error));
    assert_eq!(page.load_u32(OUTBOUND_PRODUCER), 100);
    for (producer, ring_is_broken) in [(100, false), (109, true), (99, true)] {
        page.store_u32(INBOUND_PRODUCER, producer);
        assert_eq!(client.receive().is_err(), ring_is_broken, "producer {producer}");
    }
    assert_eq!(page.load_u32(INBOUND_CONSUMER), 100);
}

#[test]
fn a_new_client_goes_on_where_the_one_before_stopped() {
    let page = Memory::new(&nothing);
    let mut first = Client::new(&page);
    (0..3).for_each(|id| first.send(&frame(id)).unwrap());
    let mut second = Client::new(&page);
    assert_eq!(second.room(), Ok(5));
    second.send(&frame(3)).unwrap();
    let mut peer = Peer::default();
    (0..12).for_each(|_| peer.consume(&page));
    assert_eq!(peer.received, (0..4).map(frame).collect::<Vec<_>>());
}

/// A doorbell of EL2's: takes what is in the outbound ring, fills the inbound ring.
fn doorbell(peer: &mut Peer, page: &Memory<'_>) {
    peer.stage = 0;
    (0..24).for_each(|_| peer.consume(page));
    peer.stage = 0;
    (0..24).for_each(|_| peer.produce(page));
}

#[test]
fn an_exchange_longer_than_both_rings_is_driven_by_doorbells_alone() {
    let page = Memory::new(&nothing);
    let mut client = Client::new(&page);
    let mut peer = Peer::default();
    let question: Vec<u8> = (0..3000u32).map(|i| i as u8).collect();
    let answer: Vec<u8> = question.iter().rev().copied().collect();
    let mut buffer = [0; 3000];
    let frames = Frames::request(Party::Sos, 7, &question).unwrap();
    let mut exchange = Exchange::new(frames, Buffer::new(&mut buffer));
    let mut steps = 0;
    loop {
        steps += 1;
        match client.step(&mut exchange).unwrap() {
            Step::RingDoorbell => doorbell(&mut peer, &page),
            Step::Wait => panic!("nothing to wait for at step {steps}"),
            Step::Ended(progress) => {
                assert_eq!(progress, Progress::Complete);
                break;
            }
        }
        let asked: usize = peer.received.iter().map(|slot| open(slot).unwrap().1.len()).sum();
        if asked == question.len() {
            let request = open(&peer.received[0]).unwrap().0;
            peer.to_send = Frames::reply(&request, &answer).unwrap().collect();
            // Others' replies on the same ring do not disturb.
            peer.to_send.insert(1, frame(99));
            peer.received.clear();
            doorbell(&mut peer, &page);
        }
        assert!(steps < 50);
    }
    assert_eq!(exchange.reply(), answer);
}

#[test]
fn a_step_with_nothing_to_move_waits_and_an_error_ends_it() {
    let page = Memory::new(&nothing);
    let mut client = Client::new(&page);
    let mut buffer = [0; BODY_MAX];
    let frames = Frames::request(Party::Sos, 7, b"question").unwrap();
    let mut exchange = Exchange::new(frames, Buffer::new(&mut buffer));
    assert_eq!(client.step(&mut exchange), Ok(Step::RingDoorbell));
    assert_eq!(client.step(&mut exchange), Ok(Step::Wait));
    let error = HvError { kind: U32::new(HvErrorKind::SosFailed as u32) };
    let header = Frame::request(Party::Hv, Flags::ERROR, 7, 4);
    let mut peer = Peer { to_send: [Slot::new(header, error.as_bytes())].into(), ..Peer::default() };
    doorbell(&mut peer, &page);
    let failed = Progress::Failed(HvErrorKind::SosFailed);
    assert_eq!(client.step(&mut exchange), Ok(Step::Ended(failed)));
}

#[test]
fn a_page_of_random_bytes_never_harms_the_client() {
    let page = Memory::new(&nothing);
    let mut client = Client::new(&page);
    let mut random = 0x9e37_79b9_7f4a_7c15u64;
    let mut buffer = [0; 600];
    for round in 0..50_000u32 {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let word = if random.is_multiple_of(3) { (random >> 32) as u32 } else { round };
        let offset = match random % 5 {
            0 => OUTBOUND_CONSUMER,
            1 => INBOUND_PRODUCER,
            _ => ((random >> 8) as usize % PAGE_SIZE) & !3,
        };
        page.store_u32(offset, word);
        let frames = Frames::request(Party::Sos, round, b"x").unwrap();
        let mut exchange = Exchange::new(frames, Buffer::new(&mut buffer));
        let _ = client.step(&mut exchange);
        assert!(client.room().is_ok_and(|room| room <= SLOTS) || client.room().is_err());
    }
}
