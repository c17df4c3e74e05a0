//! The device's side of a queue against an independent driver, a list of its lies, and any order
//! of both sides' steps.

pub(crate) mod hostile;

use super::*;
use crate::testing::{Buffer, DriverQueue, Layout, RAM_BASE, Random, VecMemory, need_event};
#[cfg(test)]
use proptest::prelude::*;
use std::collections::VecDeque;

const BOTH: RingFeatures = RingFeatures { indirect: true, event_index: true };
const PLAIN: RingFeatures = RingFeatures { indirect: false, event_index: false };
const DATA: u64 = RAM_BASE + 0x1_0000;

/// A driver and a device on one queue whose indices begin at `start`.
fn pair(size: u16, features: RingFeatures, start: u16) -> (VecMemory, DriverQueue, Queue) {
    let memory = VecMemory::new();
    let driver = DriverQueue::new(RAM_BASE, size, features.event_index, start);
    for ring in [driver.driver, driver.device] {
        memory.write_u16(ring + 2, start).unwrap();
    }
    let mut queue = enabled(&driver, features);
    (queue.next_available, queue.next_used, queue.decided_at) = (start, start, start);
    (memory, driver, queue)
}

fn enabled(driver: &DriverQueue, features: RingFeatures) -> Queue {
    let mut queue = Queue::new();
    queue.set_size(driver.size);
    *queue.areas_mut().unwrap() = Areas { descriptor: driver.descriptor, driver: driver.driver, device: driver.device };
    queue.enable(16, features).unwrap();
    queue
}

fn walk(chain: &mut Chain, memory: &VecMemory) -> Result<Vec<Segment>, QueueError> {
    let mut segments = Vec::new();
    loop {
        match chain.advance(memory)? {
            Step::Segment(segment) => segments.push(segment),
            Step::Table => {}
            Step::End => return Ok(segments),
        }
    }
}

#[test]
fn enable_checks_size_alignment_and_wrap() {
    let good = Areas { descriptor: 0x1000, driver: 0x2002, device: 0x3004 };
    let last = u64::MAX - 15;
    let cases: &[(u16, Areas, Result<(), QueueError>)] = &[
        (16, good, Ok(())),
        (1, good, Ok(())),
        (0, good, Err(QueueError::Size(0))),
        (3, good, Err(QueueError::Size(3))),
        (32, good, Err(QueueError::Size(32))),
        (8, Areas { descriptor: 0x1008, ..good }, Err(QueueError::Area(0x1008))),
        (8, Areas { driver: 0x2001, ..good }, Err(QueueError::Area(0x2001))),
        (8, Areas { device: 0x3002, ..good }, Err(QueueError::Area(0x3002))),
        (8, Areas { descriptor: last, ..good }, Err(QueueError::Area(last))),
        (8, Areas { driver: last, ..good }, Err(QueueError::Area(last))),
        (8, Areas { device: last, ..good }, Err(QueueError::Area(last))),
    ];
    for &(size, areas, expected) in cases {
        let mut queue = Queue::new();
        queue.set_size(size);
        *queue.areas_mut().unwrap() = areas;
        assert_eq!(queue.enable(16, BOTH), expected, "size {size}, {areas:x?}");
        assert_eq!(queue.is_ready(), expected.is_ok());
    }
}

#[test]
fn enabled_queue_keeps_its_size_and_areas() {
    let (_, _, mut queue) = pair(8, BOTH, 0);
    queue.set_size(16);
    assert_eq!((queue.size(), queue.areas_mut()), (8, None));
    queue.disable();
    queue.set_size(16);
    assert_eq!(queue.size(), 16);
}

#[test]
fn disabled_queue_does_nothing() {
    let (memory, mut driver, mut queue) = pair(8, BOTH, 0);
    driver.add(&memory, &[Buffer::readable(DATA, 1)], Layout::Direct).unwrap();
    let chain = queue.pop(&memory).unwrap().unwrap();
    queue.hold(chain.clone());
    queue.disable();
    assert_eq!(queue.pop(&memory), Err(QueueError::NotReady));
    assert_eq!(queue.push_used(&memory, chain.head(), 0), Err(QueueError::NotReady));
    assert_eq!(queue.should_notify(&memory), Err(QueueError::NotReady));
    assert_eq!(queue.arm(&memory), Err(QueueError::NotReady));
}

#[test]
fn every_layout_yields_the_same_buffers_in_order() {
    let buffers = [Buffer::readable(DATA, 7), Buffer::readable(DATA + 0x100, 1), Buffer::writable(DATA + 0x200, 0x300)];
    for layout in [Layout::Direct, Layout::Indirect, Layout::Mixed] {
        let (memory, mut driver, mut queue) = pair(8, BOTH, 0xfffe);
        let head = driver.add(&memory, &buffers, layout).unwrap();
        let mut chain = queue.pop(&memory).unwrap().unwrap();
        assert_eq!(chain.head(), head);
        let found = walk(&mut chain, &memory).unwrap();
        let found: Vec<_> = found.iter().map(|s| (s.ipa, s.length, s.direction == Direction::Writable)).collect();
        let expected: Vec<_> = buffers.iter().map(|b| (b.ipa, b.length, b.writable)).collect();
        assert_eq!(found, expected, "{layout:?}");
        assert!(chain.is_finished());
        assert_eq!(queue.pop(&memory), Ok(None));
    }
}

#[test]
fn write_flag_of_an_indirect_descriptor_is_ignored() {
    // Virtio 1.2 §2.7.5.3.2.
    let (memory, mut driver, mut queue) = pair(8, BOTH, 0);
    let table = RAM_BASE + 0x3000;
    driver.describe(&memory, (driver.descriptor, 0), (table, 16, 4 | 2, 0));
    driver.describe(&memory, (table, 0), (DATA, 5, 0, 0));
    driver.publish(&memory, 0);
    let mut chain = queue.pop(&memory).unwrap().unwrap();
    assert_eq!(walk(&mut chain, &memory).unwrap().len(), 1);
}

#[test]
fn longest_chain_of_the_table_is_accepted() {
    let (memory, mut driver, mut queue) = pair(16, BOTH, 0);
    let buffers = vec![Buffer::readable(DATA, 1); 16];
    driver.add(&memory, &buffers, Layout::Direct).unwrap();
    let mut chain = queue.pop(&memory).unwrap().unwrap();
    assert_eq!(walk(&mut chain, &memory).unwrap().len(), 16);
}

/// Descriptor fields: address, length, flags, next.
type Fields = (u64, u32, u16, u16);

#[test]
fn bad_chains_are_named() {
    const NEXT: u16 = 1;
    const WRITE: u16 = 2;
    const INDIRECT: u16 = 4;
    let table = RAM_BASE + 0x3000;
    let outside = RAM_BASE + crate::testing::RAM_SIZE as u64 - 8;
    let memory_error = GuestMemoryError { ipa: outside, length: 16 };
    let range = |ipa, length| QueueError::Range { ipa, length };
    // Entries 0 and 1 of the queue's table, entries 0 and 1 of an indirect one, features.
    let cases: &[(&str, [Fields; 4], RingFeatures, QueueError)] = &[
        (
            "loop of two",
            [(DATA, 1, NEXT, 1), (DATA, 1, NEXT, 0), (0, 0, 0, 0), (0, 0, 0, 0)],
            BOTH,
            QueueError::Endless(0),
        ),
        ("loop of one", [(DATA, 1, NEXT, 0), (0, 0, 0, 0), (0, 0, 0, 0), (0, 0, 0, 0)], BOTH, QueueError::Endless(0)),
        (
            "link outside",
            [(DATA, 1, NEXT, 8), (0, 0, 0, 0), (0, 0, 0, 0), (0, 0, 0, 0)],
            BOTH,
            QueueError::DescriptorIndex(8),
        ),
        ("no bytes", [(DATA, 0, 0, 0), (0, 0, 0, 0), (0, 0, 0, 0), (0, 0, 0, 0)], BOTH, range(DATA, 0)),
        ("wraps", [(u64::MAX, 1, 0, 0), (0, 0, 0, 0), (0, 0, 0, 0), (0, 0, 0, 0)], BOTH, range(u64::MAX, 1)),
        (
            "readable after writable",
            [(DATA, 1, NEXT | WRITE, 1), (DATA, 1, 0, 0), (0, 0, 0, 0), (0, 0, 0, 0)],
            BOTH,
            QueueError::Direction(0),
        ),
        (
            "indirect not negotiated",
            [(table, 16, INDIRECT, 0), (0, 0, 0, 0), (DATA, 1, 0, 0), (0, 0, 0, 0)],
            PLAIN,
            QueueError::Indirect(0),
        ),
        (
            "indirect with a link",
            [(table, 16, INDIRECT | NEXT, 1), (DATA, 1, 0, 0), (DATA, 1, 0, 0), (0, 0, 0, 0)],
            BOTH,
            QueueError::Indirect(0),
        ),
        (
            "indirect in indirect",
            [(table, 32, INDIRECT, 0), (0, 0, 0, 0), (table, 16, INDIRECT, 0), (0, 0, 0, 0)],
            BOTH,
            QueueError::Indirect(0),
        ),
        (
            "half a descriptor",
            [(table, 24, INDIRECT, 0), (0, 0, 0, 0), (DATA, 1, 0, 0), (0, 0, 0, 0)],
            BOTH,
            QueueError::Indirect(0),
        ),
        (
            "empty table",
            [(table, 0, INDIRECT, 0), (0, 0, 0, 0), (DATA, 1, 0, 0), (0, 0, 0, 0)],
            BOTH,
            QueueError::Indirect(0),
        ),
        (
            "huge table",
            [(table, 16 * (MAX_INDIRECT as u32 + 1), INDIRECT, 0), (0, 0, 0, 0), (DATA, 1, 0, 0), (0, 0, 0, 0)],
            BOTH,
            QueueError::Indirect(0),
        ),
        (
            "table of 4 GiB",
            [(table, 0xffff_fff0, INDIRECT, 0), (0, 0, 0, 0), (DATA, 1, 0, 0), (0, 0, 0, 0)],
            BOTH,
            QueueError::Indirect(0),
        ),
        (
            "table wraps",
            [(u64::MAX - 7, 16, INDIRECT, 0), (0, 0, 0, 0), (DATA, 1, 0, 0), (0, 0, 0, 0)],
            BOTH,
            range(u64::MAX - 7, 16),
        ),
        (
            "table not in RAM",
            [(outside, 16, INDIRECT, 0), (0, 0, 0, 0), (DATA, 1, 0, 0), (0, 0, 0, 0)],
            BOTH,
            QueueError::Memory(memory_error),
        ),
        (
            "link out of the indirect table",
            [(table, 32, INDIRECT, 0), (0, 0, 0, 0), (DATA, 1, NEXT, 2), (DATA, 1, 0, 0)],
            BOTH,
            QueueError::DescriptorIndex(2),
        ),
        (
            "loop in the indirect table",
            [(table, 32, INDIRECT, 0), (0, 0, 0, 0), (DATA, 1, NEXT, 1), (DATA, 1, NEXT, 0)],
            BOTH,
            QueueError::Endless(0),
        ),
    ];
    for (name, [first, second, inner_first, inner_second], features, expected) in cases {
        let (memory, mut driver, mut queue) = pair(8, *features, 0);
        driver.describe(&memory, (driver.descriptor, 0), *first);
        driver.describe(&memory, (driver.descriptor, 1), *second);
        driver.describe(&memory, (table, 0), *inner_first);
        driver.describe(&memory, (table, 1), *inner_second);
        driver.publish(&memory, 0);
        let mut chain = queue.pop(&memory).unwrap().unwrap();
        assert_eq!(walk(&mut chain, &memory), Err(*expected), "{name}");
    }
}

#[test]
fn head_outside_the_table_is_refused() {
    let (memory, mut driver, mut queue) = pair(8, BOTH, 0);
    driver.publish(&memory, 8);
    assert_eq!(queue.pop(&memory), Err(QueueError::DescriptorIndex(8)));
}

#[test]
fn available_index_that_runs_ahead_is_a_lie() {
    for start in [0, 0xfff8] {
        let (memory, driver, mut queue) = pair(8, BOTH, start);
        memory.write_u16(driver.driver + 2, start.wrapping_add(8)).unwrap();
        assert_eq!(queue.available(&memory), Ok(8), "a full ring is no lie");
        for lie in [9, 100, 0x7fff, 0xffff] {
            let index = start.wrapping_add(lie);
            memory.write_u16(driver.driver + 2, index).unwrap();
            let expected = QueueError::AvailableIndex { index, expected: start, in_flight: 0 };
            assert_eq!(queue.pop(&memory), Err(expected), "{lie}");
        }
    }
}

#[test]
fn chains_that_the_device_still_has_count_against_the_ring() {
    for start in [0, 0xfff8] {
        let (memory, mut driver, mut queue) = pair(8, BOTH, start);
        let add = |driver: &mut DriverQueue| {
            driver.add(&memory, &[Buffer::readable(DATA, 1)], Layout::Direct).unwrap();
        };
        (0..5).for_each(|_| add(&mut driver));
        let chains: Vec<_> = (0..5).map(|_| queue.pop(&memory).unwrap().unwrap()).collect();
        (0..3).for_each(|_| add(&mut driver));
        assert_eq!(queue.available(&memory), Ok(3), "five taken and three waiting fill the ring");
        // A head that is in flight is offered once more.
        driver.publish(&memory, chains[0].head());
        let (index, expected) = (start.wrapping_add(9), start.wrapping_add(5));
        let lie = QueueError::AvailableIndex { index, expected, in_flight: 5 };
        assert_eq!(queue.pop(&memory), Err(lie));
        queue.push_used(&memory, chains[0].head(), 0).unwrap();
        assert_eq!(queue.available(&memory), Ok(4));
    }
}

#[test]
fn rings_outside_ram_are_an_error_and_not_a_panic() {
    let (memory, driver, _) = pair(8, BOTH, 0);
    for place in [0, RAM_BASE + crate::testing::RAM_SIZE as u64, 1 << 60] {
        let mut queue = Queue::new();
        queue.set_size(8);
        *queue.areas_mut().unwrap() = Areas { descriptor: place, driver: place, device: place };
        queue.enable(8, BOTH).unwrap();
        let error = QueueError::Memory(GuestMemoryError { ipa: place + 2, length: 2 });
        assert_eq!(queue.pop(&memory), Err(error));
    }
    assert_eq!(driver.in_flight(), 0);
}

#[test]
fn held_chain_comes_back_as_far_consumed_as_it_was() {
    let (memory, mut driver, mut queue) = pair(8, BOTH, 0);
    driver.add(&memory, &[Buffer::readable(DATA, 10)], Layout::Direct).unwrap();
    driver.add(&memory, &[Buffer::readable(DATA, 1)], Layout::Direct).unwrap();
    let mut chain = queue.pop(&memory).unwrap().unwrap();
    assert_eq!(chain.current(), None);
    let _: Step = chain.advance(&memory).unwrap();
    chain.consume(4);
    let expected = Segment { ipa: DATA + 4, length: 6, direction: Direction::Readable };
    assert_eq!(chain.current(), Some(expected));
    queue.hold(chain);
    assert_eq!(queue.backlog(&memory), Ok(Backlog::Waiting));
    let mut chain = queue.pop(&memory).unwrap().unwrap();
    assert_eq!(chain.current(), Some(expected));
    chain.consume(6);
    assert!(chain.is_finished());
    assert_eq!(queue.pop(&memory).unwrap().unwrap().head(), 1);
}

#[test]
fn rewinding_leaves_the_ring_as_it_was() {
    for start in [0, 0xfffe] {
        let (memory, mut driver, mut queue) = pair(8, BOTH, start);
        let heads: Vec<_> =
            (0..6).map(|_| driver.add(&memory, &[Buffer::writable(DATA, 9)], Layout::Direct).unwrap()).collect();
        let before = memory.bytes(RAM_BASE, 0x600);
        let take = |queue: &mut Queue, count| -> Vec<u16> {
            (0..count).map(|_| queue.pop(&memory).unwrap().unwrap().head()).collect()
        };
        assert_eq!(take(&mut queue, 5), heads[..5]);
        queue.rewind(3);
        assert_eq!((queue.in_flight(), queue.available(&memory)), (2, Ok(4)));
        assert!(memory.bytes(RAM_BASE, 0x600) == before, "nothing was written");
        assert_eq!(take(&mut queue, 4), heads[2..]);
        queue.push_used(&memory, heads[0], 0).unwrap();
        queue.rewind(100);
        assert_eq!((queue.in_flight(), queue.available(&memory)), (0, Ok(5)), "what was given back stays so");
    }
}

#[test]
fn staged_chains_are_seen_together() {
    let (memory, mut driver, mut queue) = pair(8, BOTH, 0xffff);
    for _ in 0..3 {
        driver.add(&memory, &[Buffer::writable(DATA, 9)], Layout::Direct).unwrap();
        let head = queue.pop(&memory).unwrap().unwrap().head();
        queue.stage_used(&memory, head, 7).unwrap();
        assert_eq!(driver.take_used(&memory), None);
    }
    queue.publish_used(&memory).unwrap();
    assert_eq!([(); 4].map(|()| driver.take_used(&memory)), [Some((0, 7)), Some((1, 7)), Some((2, 7)), None]);
    queue.disable();
    assert_eq!(queue.stage_used(&memory, 0, 0), Err(QueueError::NotReady));
    assert_eq!(queue.publish_used(&memory), Err(QueueError::NotReady));
}

#[test]
fn discard_gives_back_everything_unread() {
    let (memory, mut driver, mut queue) = pair(4, BOTH, 0xffff);
    for _ in 0..4 {
        // Descriptors that could not be read are of no interest.
        driver.add(&memory, &[Buffer::readable(0, 0)], Layout::Direct).unwrap();
    }
    let chain = queue.pop(&memory).unwrap().unwrap();
    queue.hold(chain);
    assert_eq!(queue.discard(&memory), Ok(Backlog::Empty));
    for _ in 0..4 {
        assert!(matches!(driver.take_used(&memory), Some((_, 0))));
    }
    assert_eq!((driver.take_used(&memory), driver.in_flight()), (None, 0));
    driver.must_kick(&memory);
    driver.add(&memory, &[Buffer::readable(DATA, 1)], Layout::Direct).unwrap();
    assert!(driver.must_kick(&memory), "the queue is armed again");
}

#[test]
fn interrupt_suppression_follows_the_flag_without_event_index() {
    let (memory, mut driver, mut queue) = pair(8, PLAIN, 0);
    for flag in [0_u16, 1, 0, 1] {
        memory.write_u16(driver.driver, flag).unwrap();
        assert_eq!(queue.should_notify(&memory), Ok(false), "nothing given back");
        driver.add(&memory, &[Buffer::writable(DATA, 1)], Layout::Direct).unwrap();
        let chain = queue.pop(&memory).unwrap().unwrap();
        queue.push_used(&memory, chain.head(), 1).unwrap();
        assert_eq!(queue.should_notify(&memory), Ok(flag == 0));
        driver.take_used(&memory).unwrap();
    }
}

#[test]
fn event_condition_matches_the_specification_for_all_near_indices() {
    for before in [0_u16, 1, 5, 0x7fff, 0x8000, 0xfff0, 0xffff] {
        for count in 0..20_u16 {
            let now = before.wrapping_add(count);
            for distance in -25..25_i16 {
                let event = before.wrapping_add_signed(distance);
                assert_eq!(passes(event, before, now), need_event(event, now, before), "{event} {before} {now}");
            }
        }
    }
}

#[test]
fn interrupts_follow_the_event_index_and_ignore_the_flag() {
    let random = Random::new(7);
    let (memory, mut driver, mut queue) = pair(16, BOTH, 0xff00);
    // §2.7.7.2: the flag means nothing once event indices are negotiated.
    memory.write_u16(driver.driver, 1).unwrap();
    let mut decided = 0xff00_u16;
    for _ in 0..2000 {
        let batch = random.below(4);
        for _ in 0..batch {
            driver.add(&memory, &[Buffer::writable(DATA, 1)], Layout::Direct).unwrap();
            let chain = queue.pop(&memory).unwrap().unwrap();
            queue.push_used(&memory, chain.head(), 1).unwrap();
        }
        let event = driver.used.wrapping_add(random.below(6) as u16).wrapping_sub(1);
        driver.set_used_event(&memory, event);
        let now = driver.used.wrapping_add(batch as u16);
        let expected = need_event(event, now, decided);
        assert_eq!(queue.should_notify(&memory), Ok(expected));
        decided = now;
        while driver.take_used(&memory).is_some() {}
    }
}

#[test]
fn armed_driver_kicks_for_its_next_buffer_and_unarmed_one_does_not() {
    let (memory, mut driver, mut queue) = pair(8, BOTH, 0xfffd);
    assert_eq!(queue.arm(&memory), Ok(Backlog::Empty));
    for round in 0..20 {
        driver.add(&memory, &[Buffer::readable(DATA, 1)], Layout::Direct).unwrap();
        assert!(driver.must_kick(&memory), "round {round}");
        driver.add(&memory, &[Buffer::readable(DATA, 1)], Layout::Direct).unwrap();
        assert!(!driver.must_kick(&memory), "round {round}");
        // Arming late tells the device of both.
        assert_eq!(queue.arm(&memory), Ok(Backlog::Waiting));
        while let Some(chain) = queue.pop(&memory).unwrap() {
            queue.push_used(&memory, chain.head(), 0).unwrap();
        }
        assert_eq!(queue.arm(&memory), Ok(Backlog::Empty));
        while driver.take_used(&memory).is_some() {}
    }
}

/// One step of either side.
#[derive(Clone, Copy, Debug)]
enum Move {
    Add {
        buffers: usize,
        layout: Layout,
    },
    Pop,
    GiveBack {
        written: u32,
    },
    HoldAndPopAgain,
    /// The last chains are put back into the ring.
    Rewind {
        count: usize,
    },
    TakeUsed,
}

#[cfg(test)]
fn any_move() -> impl Strategy<Value = Move> {
    let layout = prop_oneof![Just(Layout::Direct), Just(Layout::Indirect), Just(Layout::Mixed)];
    prop_oneof![
        3 => (2..6_usize, layout).prop_map(|(buffers, layout)| Move::Add { buffers, layout }),
        3 => Just(Move::Pop),
        3 => any::<u32>().prop_map(|written| Move::GiveBack { written }),
        1 => Just(Move::HoldAndPopAgain),
        1 => (0..4_usize).prop_map(|count| Move::Rewind { count }),
        2 => Just(Move::TakeUsed),
    ]
}

/// The driver's and the device's chains in each stage, checked against the queue at each step.
struct Model {
    memory: VecMemory,
    driver: DriverQueue,
    queue: Queue,
    /// Heads and tags made available and not popped.
    waiting: VecDeque<(u16, u64)>,
    popped: VecDeque<(Chain, u64)>,
    given_back: VecDeque<(u16, u32)>,
    tag: u64,
}

impl Model {
    fn new(start: u16) -> Self {
        let (memory, driver, queue) = pair(16, BOTH, start);
        let (waiting, popped, given_back) = Default::default();
        Self { memory, driver, queue, waiting, popped, given_back, tag: 0 }
    }

    fn step(&mut self, step: Move) {
        match step {
            Move::Add { buffers, layout } => self.add(buffers, layout),
            Move::Pop => self.pop(),
            Move::GiveBack { written } => {
                if let Some((chain, _)) = self.popped.pop_front() {
                    self.given_back.push_back((chain.head(), written));
                    self.queue.push_used(&self.memory, chain.head(), written).unwrap();
                }
            }
            Move::HoldAndPopAgain => {
                if let Some((chain, tag)) = self.popped.pop_back() {
                    self.queue.hold(chain.clone());
                    assert_eq!(self.queue.pop(&self.memory), Ok(Some(chain.clone())));
                    self.popped.push_back((chain, tag));
                }
            }
            Move::Rewind { count } => self.rewind(count),
            Move::TakeUsed => {
                assert_eq!(self.driver.take_used(&self.memory), self.given_back.pop_front());
            }
        }
    }

    fn add(&mut self, buffers: usize, layout: Layout) {
        // The tag travels as the first buffer's address: a chain mixed up shows.
        self.tag += 1;
        let tag = DATA + self.tag * 8;
        let chain: Vec<_> = (0..buffers as u64).map(|n| Buffer::readable(tag + n, 1)).collect();
        if let Some(head) = self.driver.add(&self.memory, &chain, layout) {
            self.waiting.push_back((head, tag));
        }
    }

    fn pop(&mut self) {
        let chain = self.queue.pop(&self.memory).unwrap();
        let expected = self.waiting.pop_front();
        assert_eq!(chain.as_ref().map(Chain::head), expected.map(|(head, _)| head));
        let (Some(chain), Some((_, tag))) = (chain, expected) else {
            return;
        };
        let segments = walk(&mut chain.clone(), &self.memory).unwrap();
        for (n, segment) in (0..).zip(&segments) {
            assert_eq!((segment.ipa, segment.length), (tag + n, 1));
        }
        self.popped.push_back((chain, tag));
    }

    fn rewind(&mut self, count: usize) {
        let count = count.min(self.popped.len());
        self.queue.rewind(count as u16);
        for _ in 0..count {
            let (chain, tag) = self.popped.pop_back().unwrap();
            self.waiting.push_front((chain.head(), tag));
        }
    }
}

#[cfg(test)]
proptest! {
    #[test]
    fn no_order_of_steps_loses_or_repeats_a_chain(
        start in prop_oneof![Just(0_u16), 0xffe0..=0xffff_u16],
        steps in prop::collection::vec(any_move(), 1..400),
    ) {
        let mut model = Model::new(start);
        for step in steps {
            model.step(step);
        }
        // Then everything still on its way arrives.
        while !model.waiting.is_empty() {
            model.pop();
        }
        while !model.popped.is_empty() {
            model.step(Move::GiveBack { written: 3 });
        }
        while !model.given_back.is_empty() {
            model.step(Move::TakeUsed);
        }
        prop_assert_eq!(model.driver.in_flight(), 0);
        prop_assert_eq!(model.driver.take_used(&model.memory), None);
    }
}
