//! Jobs of a disk's users, and the end of a disk that breaks the rules, with a device at its rings.

use std::boxed::Box;

use proptest::prelude::*;

use guest_virtio::memory::GuestMemory;
use guest_virtio::queue::Queue;
use hv_core::addr::Pa;

use super::disk::{INDIRECT, SEG_MAX, disk, ram, registers};
use super::machine::{Memory, Registers};
use super::pieces;
use crate::virtio::disk::Command;
use crate::virtio::requests::{Fault, Finished, Order, PARTS_MAX, Requests};

/// VIRTIO_BLK_F_BLK_SIZE, VIRTIO_BLK_F_FLUSH.
const BLOCK_SIZE: u32 = 1 << 6;
const FLUSH: u32 = 1 << 9;
/// Status: DEVICE_NEEDS_RESET (virtio 1.2 §2.1).
const NEEDS_RESET: u32 = 64;

/// A request as the device finds it: its number, first sector, and the payload's pieces.
type Taken = (u16, u64, Vec<(u64, u32)>);

/// A disk with requests, its registers, and the device.
struct Bench {
    requests: Requests<u32>,
    registers: Box<Registers>,
    memory: Box<Memory>,
    queue: Queue,
}

impl Bench {
    fn new(features: u32, pieces: u32, block: u32) -> Self {
        let mut registers = Box::new(registers(INDIRECT | SEG_MAX | BLOCK_SIZE | features, pieces));
        registers.write(0x114, block);
        let memory = Box::new(ram());
        let (disk, queue) = disk(&mut registers, &memory);
        Self { requests: Requests::new(disk, u32::MAX), registers, memory, queue }
    }

    fn set(&mut self, offset: usize, value: u32) {
        self.registers.write(offset, value);
    }

    fn status(&self) -> u32 {
        self.registers.read(0x70)
    }

    fn begin(&mut self, tag: u32, pieces: &[(u64, u32)]) -> bool {
        let pieces = pieces.iter().map(|(at, length)| Some((Pa(*at), *length)));
        self.requests.transfer(&Order { tag, through: false }, Command::Read(8), pieces)
    }

    /// What the device finds.
    fn take(&mut self) -> Vec<Taken> {
        let mut found = vec![];
        while let Some(mut chain) = self.queue.pop(&*self.memory).unwrap() {
            let all = pieces(&self.memory, &mut chain);
            let sector = self.memory.read_u64(all[0].address.0 + 8).unwrap();
            let data = all[1..all.len() - 1].iter().map(|piece| (piece.address.0, piece.length)).collect();
            // VIRTIO_BLK_S_OK.
            self.memory.write(all[all.len() - 1].address.0, &[0]).unwrap();
            found.push((chain.head(), sector, data));
        }
        found
    }

    fn give_back(&mut self, head: u16) {
        self.queue.push_used(&*self.memory, head, 1).unwrap();
    }

    fn drain(&mut self, now: u64) -> Vec<Finished<u32>> {
        std::iter::from_fn(|| self.requests.finished(now).unwrap()).collect()
    }
}

const fn failed(tag: u32, lost: bool) -> Finished<u32> {
    Finished { tag, went_well: false, lost }
}

/// Three jobs, the second of two parts.
fn three_jobs() -> Bench {
    let mut bench = Bench::new(0, 2, 512);
    assert!(bench.begin(1, &[(0x1000, 512)]));
    assert!(bench.begin(2, &[(0x2000, 512), (0x4000, 512), (0x6000, 512)]));
    assert!(bench.begin(3, &[(0x8000, 512)]));
    bench.requests.notify(0);
    bench
}

#[test]
fn a_disk_that_gives_back_what_it_has_not_is_reset_and_all_that_it_has_fails() {
    let mut bench = three_jobs();
    let heads: Vec<u16> = bench.take().iter().map(|found| found.0).collect();
    assert_eq!(heads.len(), 4);
    bench.give_back(heads[0]);
    bench.give_back(heads[0]);
    assert_eq!(bench.requests.finished(1), Ok(Some(Finished { tag: 1, went_well: true, lost: false })));
    assert_eq!(bench.requests.finished(1), Err(Fault::NotIts));
    assert_ne!(bench.status(), 0);
    assert_eq!(bench.requests.give_up(), Ok(()));
    assert_eq!(bench.status(), 0, "reset (§2.4)");
    assert_eq!(bench.drain(2), [failed(2, false), failed(3, false)]);
    assert_eq!(bench.drain(3), [], "once");
}

#[test]
fn a_disk_that_was_given_up_has_room_and_fails_everything_at_once() {
    let mut bench = three_jobs();
    assert_eq!(bench.requests.give_up(), Ok(()));
    bench.drain(0);
    let before = bench.take().len();
    for tag in 0..200 {
        assert!(bench.requests.has_room() && !bench.requests.works() && !bench.requests.is_flushed());
        assert!(!bench.begin(tag, &[(0x1000, 512)]));
        assert!(!bench.requests.command(&Order { tag, through: true }, Command::Flush));
        assert!(!bench.requests.notify(9));
    }
    assert_eq!((before, bench.take().len(), bench.drain(9)), (4, 0, vec![]));
    assert_eq!(bench.requests.answers_by(1), None);
}

#[test]
fn what_a_disk_had_that_stays_in_reset_is_lost() {
    let mut bench = three_jobs();
    bench.requests.fail_all(false);
    assert_eq!(bench.drain(0), [failed(1, true), failed(2, true), failed(3, true)]);
    assert!(!bench.begin(4, &[(0x1000, 512)]));
}

#[test]
fn a_disk_that_asks_for_a_reset_says_so_by_a_configuration_interrupt() {
    let mut bench = three_jobs();
    let status = bench.status();
    for (interrupt, more, expected) in
        [(1, 0, Ok(())), (2, 0, Ok(())), (1, NEEDS_RESET, Ok(())), (2, NEEDS_RESET, Err(Fault::NeedsReset))]
    {
        bench.set(0x60, interrupt);
        bench.set(0x70, status | more);
        assert_eq!(bench.requests.acknowledge(), expected, "{interrupt} {more}");
    }
    assert_eq!(bench.requests.give_up(), Ok(()));
    bench.set(0x70, NEEDS_RESET);
    assert_eq!(bench.requests.acknowledge(), Ok(()), "it was given up");
}

#[test]
fn the_time_to_answer_runs_from_the_first_request_and_from_each_answer() {
    let mut bench = Bench::new(0, 2, 512);
    assert_eq!((bench.requests.notify(5), bench.requests.answers_by(30)), (false, None), "it has nothing");
    assert!(bench.begin(1, &[(0x1000, 512)]));
    assert!(bench.requests.notify(10));
    assert!(bench.begin(2, &[(0x2000, 512)]));
    assert!(!bench.requests.notify(20), "it runs already");
    assert_eq!(bench.requests.answers_by(30), Some(40));
    let heads: Vec<u16> = bench.take().iter().map(|found| found.0).collect();
    assert_eq!(bench.drain(25), []);
    assert_eq!(bench.requests.answers_by(30), Some(40), "a look is no answer");
    bench.give_back(heads[1]);
    assert_eq!(bench.drain(35).len(), 1);
    assert_eq!(bench.requests.answers_by(30), Some(65));
    bench.give_back(heads[0]);
    assert_eq!(bench.drain(60).len(), 1);
    assert_eq!(bench.requests.answers_by(30), None);
    assert!(bench.begin(3, &[(0x1000, 512)]) && bench.requests.notify(100));
    assert_eq!(bench.requests.answers_by(30), Some(130));
    assert_eq!(bench.requests.answers_by(u64::MAX), Some(u64::MAX));
}

#[test]
fn a_write_through_a_cache_is_over_after_a_flush() {
    let mut bench = Bench::new(FLUSH, 1, 512);
    let order = Order { tag: 7, through: true };
    let data = [(0x1000, 512), (0x3000, 512)].map(|(at, length)| Some((Pa(at), length)));
    assert!(bench.requests.transfer(&order, Command::Write(8), data.into_iter()));
    for (head, ..) in bench.take() {
        assert_eq!(bench.drain(0), []);
        bench.give_back(head);
    }
    assert_eq!(bench.drain(0), []);
    let flush = bench.take();
    assert_eq!((flush.len(), flush[0].2.len()), (1, 0));
    bench.give_back(flush[0].0);
    assert_eq!(bench.drain(0), [Finished { tag: 7, went_well: true, lost: false }]);
}

#[test]
fn a_part_that_ends_within_a_block_is_cut_over_as_many_pieces_as_that_needs() {
    let mut bench = Bench::new(0, 4, 512);
    let block = [(0x2000, 300), (0x3000, 100), (0x4000, 100), (0x5000, 12)];
    let wanted = [&[(0x1000, 512)], &block[..], &[(0x6000, 512)]].concat();
    assert!(bench.begin(1, &wanted));
    let parts: Vec<_> = bench.take().into_iter().map(|(_, sector, data)| (sector, data)).collect();
    assert_eq!(parts, [(8, vec![(0x1000, 512)]), (9, block.to_vec()), (10, vec![(0x6000, 512)])]);
}

/// Bytes that a disk of so many pieces a request can be given, and whether that is all: parts of whole blocks, each as long as
/// its pieces allow.
fn model(lengths: &[u32], most: u32, block: u32) -> (u32, bool) {
    let ends: Vec<u32> = lengths.iter().scan(0, |sum, length| Some(*sum + length).inspect(|end| *sum = *end)).collect();
    let mut start = 0;
    for part in 0..PARTS_MAX {
        let first = ends.iter().position(|end| *end > start).unwrap();
        let Some(end) = ends.get(first + most as usize - 1).filter(|end| *end != ends.last().unwrap()) else {
            return (*ends.last().unwrap(), true);
        };
        let whole = end - end % block;
        if whole == start || part + 1 == PARTS_MAX {
            break;
        }
        start = whole;
    }
    (start, false)
}

proptest! {
    #[test]
    fn parts_are_of_whole_blocks_and_as_much_as_pieces_allow_of_what_was_asked(
        most in 1_u32..20,
        shift in 0_u32..4,
        mut lengths in prop::collection::vec(prop_oneof![1_u32..700, Just(512_u32), Just(4096)], 1..60),
    ) {
        let block = 512 << shift;
        let mut bench = Bench::new(0, most, block);
        lengths.push(block - lengths.iter().sum::<u32>() % block);
        // Far from each other: none grows together with the next.
        let wanted: Vec<_> = (1_u64..).map(|at| at << 20).zip(lengths.iter().copied()).collect();
        let begun = bench.begin(1, &wanted);
        let bytes = |pieces: &[(u64, u32)]| -> Vec<u64> {
            pieces.iter().flat_map(|(at, length)| *at..at + u64::from(*length)).collect()
        };
        let (mut done, mut heads) = (vec![], vec![]);
        for (head, sector, data) in bench.take() {
            prop_assert_eq!(sector, 8 + done.len() as u64 / 512);
            prop_assert!(data.len() <= most as usize);
            let data = bytes(&data);
            prop_assert!(!data.is_empty() && data.len().is_multiple_of(block as usize));
            done.extend(data);
            heads.push(head);
        }
        let (count, whole) = model(&lengths, most, block);
        prop_assert_eq!(&done[..], &bytes(&wanted)[..count as usize]);
        prop_assert_eq!(begun, count > 0);
        heads.iter().for_each(|head| bench.give_back(*head));
        let finished = bench.drain(0);
        let expected = Finished { tag: 1, went_well: whole, lost: false };
        prop_assert_eq!(finished, vec![expected; usize::from(begun)]);
    }
}
