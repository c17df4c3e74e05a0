//! A guest with a disk: a driver that lays its requests out as it likes, and a caller that has a medium.

use crate::blk::*;
use crate::queue::Direction;
use crate::testing::{Buffer, DriverQueue, Layout, QUEUE_BYTES, RAM_BASE, Random, VecMemory};

pub(super) const STATUS: u64 = 0x70;
const ENTRIES: u16 = 16;
/// Where the buffers of a queue's heads lie, and how many bytes each has.
const DATA: u64 = RAM_BASE + 0x1_0000;
const ROOM: u64 = 0x1200;
/// Most bytes of a payload.
pub(super) const PAYLOAD: usize = 0x1000;

/// Request types (§5.2.6).
pub(super) const IN: u32 = 0;
pub(super) const OUT: u32 = 1;
pub(super) const FLUSH: u32 = 4;
pub(super) const GET_ID: u32 = 8;
pub(super) const DISCARD: u32 = 11;
pub(super) const WRITE_ZEROES: u32 = 13;

/// Statuses, and what stands there before the device has answered.
pub(super) const OK: u8 = 0;
pub(super) const IOERR: u8 = 1;
pub(super) const UNSUPP: u8 = 2;
const PENDING: u8 = 0xee;

/// Feature bits (§5.2.3).
pub(super) const RO: u64 = 1 << 5;
pub(super) const WITH_FLUSH: u64 = 1 << 9;

/// What a driver asks for.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) kind: u32,
    pub(super) sector: u64,
    /// What it sends.
    pub(super) out: Vec<u8>,
    /// Bytes that it wants.
    pub(super) into: usize,
}

impl Ask {
    pub(super) fn read(sector: u64, bytes: usize) -> Self {
        Self { kind: IN, sector, out: vec![], into: bytes }
    }

    pub(super) fn write(sector: u64, bytes: &[u8]) -> Self {
        Self { kind: OUT, sector, out: bytes.to_vec(), into: 0 }
    }

    pub(super) fn of(kind: u32) -> Self {
        Self { kind, sector: 0, out: vec![], into: 0 }
    }

    pub(super) fn range(kind: u32, sector: u64, sectors: u32, flags: u32) -> Self {
        let out = [&sector.to_le_bytes()[..], &sectors.to_le_bytes(), &flags.to_le_bytes()].concat();
        Self { kind, sector: 0, out, into: 0 }
    }
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u8,
    pub(super) written: u32,
    pub(super) bytes: Vec<u8>,
}

/// A request of which the driver knows where it lies.
#[derive(Clone, Debug)]
struct Sent {
    into: Vec<Buffer>,
    status: u64,
}

/// A request that the caller has.
#[derive(Clone, Debug)]
pub(super) struct Taken {
    pub(super) ticket: Ticket,
    pub(super) operation: Operation,
    pub(super) through: bool,
    pub(super) data: Vec<crate::queue::Segment>,
}

pub(super) struct Guest {
    pub(super) memory: VecMemory,
    pub(super) block: Block,
    pub(super) queues: Vec<DriverQueue>,
    pub(super) medium: Vec<u8>,
    pub(super) random: Random,
    indirect: bool,
    sent: Vec<Vec<Option<Sent>>>,
    request: Request,
}

pub(super) fn disk(sectors: u64) -> Disk {
    let mut serial = [0; SERIAL];
    serial[..5].copy_from_slice(b"disk0");
    Disk {
        sectors,
        read_only: false,
        discard: 1 << 21,
        block_size: 512,
        physical_exponent: 3,
        segments: 126,
        queues: 2,
        serial,
    }
}

/// Sectors that say their number, and are not alike behind it. It is made anew in each game, so it is quick to make.
fn medium(sectors: u64) -> Vec<u8> {
    let mut medium = vec![0; sectors as usize * 512];
    for (sector, bytes) in (0..sectors).zip(medium.chunks_mut(512)) {
        bytes.fill((sector * 7) as u8);
        bytes[..8].copy_from_slice(&sector.to_le_bytes());
    }
    medium
}

impl Guest {
    /// A guest whose driver has taken all features but those in `without`.
    pub(super) fn new(disk: &Disk, without: u64, seed: u64) -> Self {
        let mut block = Block::NONE;
        block.restart(disk);
        let medium = medium(disk.sectors);
        let (memory, random) = (VecMemory::new(), Random::new(seed));
        let mut guest = Self {
            memory,
            block,
            queues: vec![],
            medium,
            random,
            indirect: false,
            sent: vec![],
            request: Request::new(),
        };
        guest.probe(without);
        guest
    }

    pub(super) fn get(&self, offset: u64) -> u32 {
        u32::try_from(self.block.read(offset, 4)).unwrap()
    }

    pub(super) fn set(&mut self, offset: u64, value: u32) -> BlockEffect {
        self.block.write(offset, 4, value.into())
    }

    /// Features that are offered.
    pub(super) fn offered(&mut self) -> u64 {
        let half = |guest: &mut Self, selector| {
            let _ = guest.set(0x14, selector);
            u64::from(guest.get(0x10))
        };
        half(self, 0) | half(self, 1) << 32
    }

    pub(super) fn probe(&mut self, without: u64) {
        for status in [0, 1, 3] {
            let _ = self.set(STATUS, status);
        }
        let features = self.offered() & !without;
        for (offset, value) in [(0x24, 0), (0x20, features as u32), (0x24, 1), (0x20, (features >> 32) as u32)] {
            let _ = self.set(offset, value);
        }
        let _ = self.set(STATUS, 11);
        assert_eq!(self.get(STATUS), 11, "FEATURES_OK stands");
        self.indirect = features & 1 << 28 != 0;
        self.queues.clear();
        for index in 0..self.get(0x100 + 34 - 2) >> 16 {
            let event_index = features & 1 << 29 != 0;
            let queue = DriverQueue::new(RAM_BASE + u64::from(index) * QUEUE_BYTES, ENTRIES, event_index, 0);
            let zeroes = vec![0; QUEUE_BYTES as usize];
            self.memory.write(queue.descriptor, &zeroes).unwrap();
            let areas = [(0x80, queue.descriptor), (0x90, queue.driver), (0xa0, queue.device)];
            let _ = self.set(0x30, index);
            let _ = self.set(0x38, ENTRIES.into());
            for (offset, area) in areas {
                let _ = self.set(offset, area as u32);
                let _ = self.set(offset + 4, (area >> 32) as u32);
            }
            let _ = self.set(0x44, 1);
            self.queues.push(queue);
        }
        self.sent = vec![vec![None; ENTRIES.into()]; self.queues.len()];
        assert_eq!(self.set(STATUS, 15), BlockEffect::Started);
    }

    /// Lays `ask` out in pieces and makes it available; its head, where there is room.
    pub(super) fn send(&mut self, queue: usize, ask: &Ask) -> Option<u16> {
        let slot = self.queues[queue].next_head()?;
        let base = DATA + ROOM * (u64::from(ENTRIES) * queue as u64 + u64::from(slot));
        let header = [&ask.kind.to_le_bytes()[..], &[0; 4], &ask.sector.to_le_bytes(), &ask.out].concat();
        self.memory.write(base, &header).unwrap();
        let status = base + header.len() as u64 + ask.into as u64;
        self.memory.write(status, &[PENDING]).unwrap();
        let mut buffers = self.cut(base, header.len(), false);
        buffers.extend(self.cut(base + header.len() as u64, ask.into + 1, true));
        let layouts: &[Layout] =
            if self.indirect { &[Layout::Direct, Layout::Indirect, Layout::Mixed] } else { &[Layout::Direct] };
        let layout = self.random.pick(layouts);
        let head = self.queues[queue].add(&self.memory, &buffers, layout)?;
        let into = buffers.into_iter().filter(|buffer| buffer.writable).collect();
        self.sent[queue][usize::from(head)] = Some(Sent { into, status });
        Some(head)
    }

    /// Cuts a range into one to four buffers.
    fn cut(&self, ipa: u64, length: usize, writable: bool) -> Vec<Buffer> {
        let mut places: Vec<usize> =
            (0..self.random.below(4)).map(|_| self.random.below(length as u64) as usize).collect();
        places.extend([0, length]);
        places.sort_unstable();
        places.dedup();
        let piece = |pair: &[usize]| Buffer { ipa: ipa + pair[0] as u64, length: (pair[1] - pair[0]) as u32, writable };
        places.windows(2).map(piece).collect()
    }

    /// The caller's next request, those that are answered at once skipped.
    pub(super) fn take(&mut self, queue: usize) -> Option<Taken> {
        loop {
            match self.block.next(queue as u16, &self.memory, &mut self.request) {
                Next::Answered => {}
                Next::Empty => return None,
                Next::Request => break,
            }
        }
        let Request { ticket, operation, through, ref data } = self.request;
        Some(Taken { ticket, operation, through, data: data.to_vec() })
    }

    /// What the caller does with a request on its medium.
    pub(super) fn perform(&mut self, taken: &Taken) {
        let range = |sector: u64, bytes: u64| sector as usize * 512..sector as usize * 512 + bytes as usize;
        let bytes = taken.data.iter().map(|segment| u64::from(segment.length)).sum();
        match taken.operation {
            Operation::Read { sector } => {
                let mut from = self.medium[range(sector, bytes)].iter().as_slice();
                for segment in &taken.data {
                    assert_eq!(segment.direction, Direction::Writable);
                    let (piece, rest) = from.split_at(segment.length as usize);
                    self.memory.write(segment.ipa, piece).unwrap();
                    from = rest;
                }
            }
            Operation::Write { sector } => {
                let mut gathered = vec![];
                for segment in &taken.data {
                    assert_eq!(segment.direction, Direction::Readable);
                    gathered.extend(self.memory.bytes(segment.ipa, segment.length as usize));
                }
                self.medium[range(sector, bytes)].copy_from_slice(&gathered);
            }
            Operation::Discard { sector, sectors } | Operation::WriteZeroes { sector, sectors, .. } => {
                assert_eq!(bytes, 0);
                self.medium[range(sector, sectors * 512)].fill(0);
            }
            Operation::Flush => assert_eq!(bytes, 0),
        }
        self.block.complete(&taken.ticket, Outcome::Done, &self.memory);
    }

    /// Does all that waits in `queue`.
    pub(super) fn serve(&mut self, queue: usize) {
        while let Some(taken) = self.take(queue) {
            self.perform(&taken);
        }
        self.block.signal(queue as u16, &self.memory);
    }

    /// The driver's next answer.
    pub(super) fn answer(&mut self, queue: usize) -> Option<(u16, Answer)> {
        let (head, written) = self.queues[queue].take_used(&self.memory)?;
        let sent = self.sent[queue][usize::from(head)].take().unwrap();
        let mut bytes: Vec<u8> =
            sent.into.iter().flat_map(|buffer| self.memory.bytes(buffer.ipa, buffer.length as usize)).collect();
        bytes.pop();
        let status = self.memory.bytes(sent.status, 1)[0];
        assert_ne!(status, PENDING, "an answer has a status");
        Some((head, Answer { status, written, bytes }))
    }

    /// Asks and waits for the answer.
    pub(super) fn ask(&mut self, queue: usize, ask: &Ask) -> Answer {
        let head = self.send(queue, ask).expect("room for a request");
        self.serve(queue);
        let (answered, answer) = self.answer(queue).expect("an answer");
        assert_eq!(answered, head);
        answer
    }

    /// The status of an ask that gets nothing else.
    pub(super) fn status_of(&mut self, ask: &Ask) -> u8 {
        let answer = self.ask(0, ask);
        assert!(answer.written == 1 || answer.status == OK, "{answer:?}");
        answer.status
    }
}
