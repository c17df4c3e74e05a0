//! A guest with a balloon: its driver's side, and what is done with its pages.

use super::super::*;
use crate::testing::{Buffer, DriverQueue, Layout, QUEUE_BYTES, RAM_BASE, VecMemory};

pub(super) const STATUS: u64 = 0x70;
pub(super) const ENTRIES: u16 = 16;
pub(super) const EVENT_IDX: u64 = 1 << 29;
/// VIRTIO_BALLOON_F_PAGE_REPORTING (§5.5.3).
pub(super) const PAGE_REPORTING: u64 = 1 << 5;
/// Where the arrays of the heads of each queue lie, and how many bytes each has.
const DATA: u64 = RAM_BASE + 0x1_0000;
const ROOM: u64 = 0x800;

/// What the device was heard to ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Inflate(u32),
    Deflate(u32),
    Report(u64, u32),
}

/// Keeps what is asked for, in its order, and puts off as it is told.
#[derive(Default)]
pub(super) struct Book {
    pub(super) asked: Vec<Asked>,
    /// So many questions are put off before each that is answered.
    pub(super) lazy: u32,
    /// Bytes of a range that are done with at once; 0 is all.
    pub(super) piece: u32,
    put_off: u32,
    /// Questions, those that were put off counted.
    pub(super) questions: usize,
}

impl Book {
    fn is_later(&mut self) -> bool {
        self.questions += 1;
        self.put_off += 1;
        if self.put_off <= self.lazy {
            return true;
        }
        self.put_off = 0;
        false
    }

    fn answer(&mut self, asked: Asked) -> Answer {
        if self.is_later() {
            return Answer::Later;
        }
        self.asked.push(asked);
        Answer::Done
    }
}

impl Pages for Book {
    fn inflate(&mut self, page: u32) -> Answer {
        self.answer(Asked::Inflate(page))
    }

    fn deflate(&mut self, page: u32) -> Answer {
        self.answer(Asked::Deflate(page))
    }

    fn report(&mut self, ipa: u64, bytes: u32) -> u32 {
        assert!(bytes > 0 && ipa.checked_add(bytes.into()).is_some(), "no range that wraps");
        if self.is_later() {
            return 0;
        }
        let done = if self.piece == 0 { bytes } else { self.piece.min(bytes) };
        self.asked.push(Asked::Report(ipa, done));
        done
    }
}

pub(super) struct Guest {
    pub(super) memory: VecMemory,
    pub(super) device: Balloon,
    pub(super) queues: Vec<DriverQueue>,
    pub(super) book: Book,
}

impl Guest {
    /// A guest whose driver has taken all features but those in `without`.
    pub(super) fn new(without: u64) -> Self {
        let mut device = Balloon::NONE;
        device.restart();
        let base = |queue: u64| RAM_BASE + queue * QUEUE_BYTES;
        let queues = (0..5).map(|queue| DriverQueue::new(base(queue), ENTRIES, without & EVENT_IDX == 0, 0)).collect();
        let mut guest = Self { memory: VecMemory::new(), device, queues, book: Book::default() };
        guest.probe(without);
        guest
    }

    pub(super) fn get(&self, offset: u64) -> u32 {
        u32::try_from(self.device.read(offset, 4)).unwrap()
    }

    pub(super) fn set(&mut self, offset: u64, value: u32) -> BalloonEffect {
        self.device.write(offset, 4, value.into())
    }

    pub(super) fn features(&mut self) -> u64 {
        [1, 0].into_iter().fold(0, |features, selector| {
            let _ = self.set(0x14, selector);
            features << 32 | u64::from(self.get(0x10))
        })
    }

    /// Begins anew, as a driver does that is loaded (§3.1.1).
    pub(super) fn probe(&mut self, without: u64) {
        for status in [0, 1, 3] {
            let _ = self.set(STATUS, status);
        }
        let features = self.features() & !without;
        for (offset, value) in [(0x24, 0), (0x20, features as u32), (0x24, 1), (0x20, (features >> 32) as u32)] {
            let _ = self.set(offset, value);
        }
        let _ = self.set(STATUS, 11);
        assert_eq!(self.get(STATUS), 11, "FEATURES_OK stands");
        for index in 0..5 {
            let queue = self.queues[index].clone();
            self.memory.write(queue.descriptor, &[0; QUEUE_BYTES as usize]).unwrap();
            let _ = (self.set(0x30, index as u32), self.set(0x38, ENTRIES.into()));
            for (offset, area) in [(0x80, queue.descriptor), (0x90, queue.driver), (0xa0, queue.device)] {
                let _ = (self.set(offset, area as u32), self.set(offset + 4, (area >> 32) as u32));
            }
            let _ = self.set(0x44, 1);
        }
        assert_eq!(self.set(STATUS, 15), BalloonEffect::Requests);
    }

    /// Offers these page numbers on a queue in one chain, cut into buffers of so many bytes; its head, where there is room.
    pub(super) fn offer(&mut self, queue: usize, pages: &[u32], (cut, layout): (u32, Layout)) -> Option<u16> {
        let head = self.queues[queue].next_head()?;
        let base = DATA + ROOM * (queue as u64 * u64::from(ENTRIES) + u64::from(head));
        let bytes: Vec<u8> = pages.iter().flat_map(|page| page.to_le_bytes()).collect();
        self.memory.write(base, &bytes).unwrap();
        let buffers: Vec<_> = (0..bytes.len() as u32)
            .step_by(cut as usize)
            .map(|at| Buffer::readable(base + u64::from(at), cut.min(bytes.len() as u32 - at)))
            .collect();
        self.queues[queue].add(&self.memory, &buffers, layout)
    }

    /// Reports these ranges free on a queue in one chain.
    pub(super) fn report(&mut self, queue: usize, ranges: &[(u64, u32)], layout: Layout) -> Option<u16> {
        let buffers: Vec<_> = ranges.iter().map(|&(ipa, bytes)| Buffer::writable(ipa, bytes)).collect();
        self.queues[queue].add(&self.memory, &buffers, layout)
    }

    pub(super) fn serve(&mut self) -> Backlog {
        self.device.serve(&self.memory, &mut self.book)
    }

    /// Serves until nothing is left; how many calls that took.
    pub(super) fn serve_all(&mut self) -> usize {
        (1..100_000).find(|_| self.serve() == Backlog::Empty).unwrap()
    }

    pub(super) fn take(&mut self, queue: usize) -> Option<(u16, u32)> {
        self.queues[queue].take_used(&self.memory)
    }

    pub(super) fn is_broken(&self) -> bool {
        self.get(STATUS) & 64 != 0
    }
}
