//! A guest with a card: a driver that lays frames and buffers out as it likes, and the copying that is a switch's.

use crate::net::checksum::{Completion, Patch};
use crate::net::*;
use crate::queue::{Direction, Segment};
use crate::testing::{Buffer, DriverQueue, Layout, QUEUE_BYTES, RAM_BASE, Random, VecMemory};

pub(super) const STATUS: u64 = 0x70;
pub(super) const ENTRIES: u16 = 16;
pub(super) const RX: usize = 0;
pub(super) const TX: usize = 1;
/// Where the buffers of a queue's heads lie, and how many bytes each has.
pub(super) const DATA: u64 = RAM_BASE + 0x1_0000;
pub(super) const ROOM: u64 = 0x1800;

/// Feature bits (§5.1.3, §6).
pub(super) const CSUM: u64 = 1;
pub(super) const GUEST_CSUM: u64 = 1 << 1;
pub(super) const GUEST_TSO4: u64 = 1 << 7;
pub(super) const GUEST_TSO6: u64 = 1 << 8;
pub(super) const GUEST_ECN: u64 = 1 << 9;
pub(super) const HOST_TSO4: u64 = 1 << 11;
pub(super) const HOST_TSO6: u64 = 1 << 12;
pub(super) const HOST_ECN: u64 = 1 << 13;
pub(super) const MRG_RXBUF: u64 = 1 << 15;
pub(super) const INDIRECT: u64 = 1 << 28;
pub(super) const EVENT_IDX: u64 = 1 << 29;

/// struct virtio_net_hdr (§5.1.6), little-endian.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) flags: u8,
    pub(super) gso_type: u8,
    pub(super) hdr_len: u16,
    pub(super) gso_size: u16,
    pub(super) csum_start: u16,
    pub(super) csum_offset: u16,
    pub(super) num_buffers: u16,
}

impl Header {
    pub(super) fn bytes(&self) -> [u8; 12] {
        let words = [self.hdr_len, self.gso_size, self.csum_start, self.csum_offset, self.num_buffers];
        let mut bytes = [self.flags, self.gso_type, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        for (to, word) in bytes[2..].chunks_mut(2).zip(words) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    pub(super) fn of(bytes: &[u8]) -> Self {
        let word = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        Self {
            flags: bytes[0],
            gso_type: bytes[1],
            hdr_len: word(2),
            gso_size: word(4),
            csum_start: word(6),
            csum_offset: word(8),
            num_buffers: word(10),
        }
    }

    /// A checksum to be computed.
    pub(super) fn checksum(csum_start: u16, csum_offset: u16) -> Self {
        Self { flags: 1, csum_start, csum_offset, ..Self::default() }
    }

    /// A frame with TCP behind an IPv4 header that is to be cut.
    pub(super) fn tcp4(gso_size: u16) -> Self {
        Self { gso_type: 1, hdr_len: 54, gso_size, ..Self::checksum(34, 16) }
    }
}

pub(super) struct Guest {
    pub(super) memory: VecMemory,
    pub(super) net: Net,
    pub(super) queues: [DriverQueue; 2],
    pub(super) random: Random,
    pub(super) indirect: bool,
    /// The buffers of each receive chain.
    offered: Vec<Vec<Buffer>>,
}

pub(super) fn nic() -> Nic {
    Nic { mac: [2, 0x44, 0x6d, 0, 0, 7], mtu: 1500, link_up: true, segmentation: true }
}

pub(super) fn gather(segments: &[Segment], direction: Direction, memory: &VecMemory) -> Vec<u8> {
    assert!(segments.iter().all(|segment| segment.direction == direction && segment.length > 0));
    segments.iter().flat_map(|segment| memory.bytes(segment.ipa, segment.length as usize)).collect()
}

/// The checksum that a frame's sender has left undone; `None` where it has not, or where the frame is not in its RAM.
pub(super) fn complete(frame: &Frame, memory: &VecMemory) -> Option<Patch> {
    let Offload::Checksum(checksum) = frame.offload else {
        return None;
    };
    let mut bytes = vec![0; frame.length as usize];
    frame.read(0, &mut bytes, memory).ok()?;
    Some(completed(checksum, &[&bytes]))
}

/// The checksum of a frame that comes in these pieces.
pub(super) fn completed(checksum: Checksum, pieces: &[&[u8]]) -> Patch {
    let mut completion = Completion::new(checksum);
    pieces.iter().for_each(|piece| completion.add(piece));
    completion.finish()
}

pub(super) fn scatter(bytes: &[u8], segments: &[Segment], memory: &VecMemory) {
    let mut rest = bytes.iter().as_slice();
    for segment in segments {
        assert!(segment.direction == Direction::Writable && segment.length > 0);
        let (piece, behind) = rest.split_at(segment.length as usize);
        memory.write(segment.ipa, piece).unwrap();
        rest = behind;
    }
    assert!(rest.is_empty(), "room for exactly the frame");
}

impl Guest {
    /// A guest whose driver has taken all features but those in `without`.
    pub(super) fn new(nic: &Nic, without: u64, seed: u64) -> Self {
        let mut net = Net::NONE;
        net.restart(nic);
        let queues = [0, 1].map(|index| DriverQueue::new(RAM_BASE + index * QUEUE_BYTES, ENTRIES, true, 0));
        let (memory, random) = (VecMemory::new(), Random::new(seed));
        let mut guest = Self { memory, net, queues, random, indirect: false, offered: vec![] };
        guest.probe(without);
        guest
    }

    pub(super) fn get(&self, offset: u64) -> u32 {
        u32::try_from(self.net.read(offset, 4)).unwrap()
    }

    pub(super) fn set(&mut self, offset: u64, value: u32) -> NetEffect {
        self.net.write(offset, 4, value.into())
    }

    /// Features that are offered.
    pub(super) fn features(&mut self) -> u64 {
        let half = |guest: &mut Self, selector| {
            let _ = guest.set(0x14, selector);
            u64::from(guest.get(0x10))
        };
        half(self, 0) | half(self, 1) << 32
    }

    /// Accepts these features; whether FEATURES_OK stands.
    pub(super) fn negotiate(&mut self, features: u64) -> bool {
        for status in [0, 1, 3] {
            let _ = self.set(STATUS, status);
        }
        for (offset, value) in [(0x24, 0), (0x20, features as u32), (0x24, 1), (0x20, (features >> 32) as u32)] {
            let _ = self.set(offset, value);
        }
        let _ = self.set(STATUS, 11);
        self.get(STATUS) == 11
    }

    pub(super) fn probe(&mut self, without: u64) {
        let features = self.features() & !without;
        assert!(self.negotiate(features), "FEATURES_OK stands");
        self.indirect = features & INDIRECT != 0;
        for index in 0..2 {
            let base = RAM_BASE + index * QUEUE_BYTES;
            let queue = DriverQueue::new(base, ENTRIES, features & EVENT_IDX != 0, 0);
            self.memory.write(base, &vec![0; QUEUE_BYTES as usize]).unwrap();
            let _ = self.set(0x30, index as u32);
            let _ = self.set(0x38, ENTRIES.into());
            for (offset, area) in [(0x80, queue.descriptor), (0x90, queue.driver), (0xa0, queue.device)] {
                let _ = self.set(offset, area as u32);
                let _ = self.set(offset + 4, (area >> 32) as u32);
            }
            let _ = self.set(0x44, 1);
            self.queues[index as usize] = queue;
        }
        self.offered = vec![vec![]; ENTRIES.into()];
        assert_eq!(self.set(STATUS, 15), NetEffect::Started);
    }

    /// A layout for so many buffers.
    fn layout(&self, count: usize) -> Layout {
        match (self.indirect, count) {
            (false, _) => Layout::Direct,
            (true, 1) => self.random.pick(&[Layout::Direct, Layout::Indirect]),
            (true, _) => self.random.pick(&[Layout::Direct, Layout::Indirect, Layout::Mixed]),
        }
    }

    /// Where the buffers of the next head lie.
    fn place(&self, queue: usize) -> Option<u64> {
        let slot = self.queues[queue].next_head()?;
        Some(DATA + ROOM * (u64::from(ENTRIES) * queue as u64 + u64::from(slot)))
    }

    /// Sends a frame, cut into pieces anywhere; its head, where there is room.
    pub(super) fn send(&mut self, header: &Header, frame: &[u8]) -> Option<u16> {
        let base = self.place(TX)?;
        let bytes = [&header.bytes()[..], frame].concat();
        self.memory.write(base, &bytes).unwrap();
        let buffers = self.cut(base, bytes.len(), false);
        let layout = self.layout(buffers.len());
        self.queues[TX].add(&self.memory, &buffers, layout)
    }

    /// Offers a chain of `length` bytes to receive into.
    pub(super) fn offer(&mut self, length: usize) -> Option<u16> {
        let base = self.place(RX)?;
        self.memory.write(base, &vec![0xee; length]).unwrap();
        let buffers = self.cut(base, length, true);
        let layout = self.layout(buffers.len());
        let head = self.queues[RX].add(&self.memory, &buffers, layout)?;
        self.offered[usize::from(head)] = buffers;
        Some(head)
    }

    /// Offers `count` chains of `length` bytes each.
    pub(super) fn offers(&mut self, count: u16, length: usize) {
        for _ in 0..count {
            self.offer(length).expect("room for a chain");
        }
    }

    /// Cuts a range into one to four buffers, small ones in front as often as not.
    fn cut(&self, ipa: u64, length: usize, writable: bool) -> Vec<Buffer> {
        let near = if self.random.chance(2) { length.min(20) } else { length };
        let mut places: Vec<usize> =
            (0..self.random.below(4)).map(|_| self.random.below(near as u64) as usize).collect();
        places.extend([0, length]);
        places.sort_unstable();
        places.dedup();
        let piece = |pair: &[usize]| Buffer { ipa: ipa + pair[0] as u64, length: (pair[1] - pair[0]) as u32, writable };
        places.windows(2).map(piece).collect()
    }

    /// The next frame that the guest sends: what its header has left undone, and its bytes.
    pub(super) fn take(&mut self, frame: &mut Frame) -> Option<Vec<u8>> {
        match self.net.next_tx(&self.memory, frame) {
            Next::Frame => {
                let bytes = gather(&frame.data, Direction::Readable, &self.memory);
                assert_eq!(bytes.len(), frame.length as usize);
                Some(bytes)
            }
            Next::Dropped | Next::Empty => None,
        }
    }

    /// What becomes of a frame that is sent at once: whether it is one. It is given back in any case.
    pub(super) fn sends(&mut self, header: &Header, bytes: &[u8]) -> bool {
        let head = self.send(header, bytes).expect("room for a frame");
        let mut frame = Frame::new();
        let next = self.net.next_tx(&self.memory, &mut frame);
        if next == Next::Frame {
            assert_eq!(self.queues[TX].take_used(&self.memory), None, "the caller has it");
            self.net.complete_tx(&frame, &self.memory);
        }
        assert_eq!(self.queues[TX].take_used(&self.memory), Some((head, 0)));
        next == Next::Frame
    }

    /// Gives the guest a frame, where it has room.
    pub(super) fn give(&mut self, offload: &Offload, bytes: &[u8]) -> Reception {
        let mut room = Room::new();
        let found = self.net.room(bytes.len() as u32, &self.memory, &mut room);
        if found == Reception::Room {
            scatter(bytes, &room.data, &self.memory);
            self.net.deliver(&room, offload, &self.memory);
        }
        found
    }

    /// The next frame that the driver was given, by the rules of §5.1.6.4: header and bytes.
    pub(super) fn receive(&mut self) -> Option<(Header, Vec<u8>)> {
        let (mut bytes, length) = self.used_chain()?;
        let header = Header::of(&bytes[..12]);
        let mut full = bytes.len() == length;
        for _ in 1..header.num_buffers {
            assert!(full, "all chains but the last are used completely");
            let (more, length) = self.used_chain().expect("the chains of a frame are used together");
            full = more.len() == length;
            bytes.extend(more);
        }
        Some((header, bytes.split_off(12)))
    }

    /// The bytes written to the next chain given back, and how many it has.
    fn used_chain(&mut self) -> Option<(Vec<u8>, usize)> {
        let (head, written) = self.queues[RX].take_used(&self.memory)?;
        let buffers = std::mem::take(&mut self.offered[usize::from(head)]);
        let mut bytes: Vec<u8> =
            buffers.iter().flat_map(|buffer| self.memory.bytes(buffer.ipa, buffer.length as usize)).collect();
        let length = bytes.len();
        assert!(bytes[written as usize..].iter().all(|&byte| byte == 0xee), "nothing is written behind the frame");
        bytes.truncate(written as usize);
        Some((bytes, length))
    }
}
