//! What the tests share: a guest's memory, random numbers, and the driver's side of a split
//! virtqueue, written from virtio 1.2 §2.7 and sharing no code with the device's side.

pub(crate) mod hostile;

use crate::memory::{GuestMemory, GuestMemoryError};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

/// First byte of the test guest's RAM.
pub(crate) const RAM_BASE: u64 = 0x4000_0000;
/// Bytes of the test guest's RAM.
pub(crate) const RAM_SIZE: usize = 0x4_0000;

/// A guest's RAM that counts how often it is reached.
pub(crate) struct VecMemory {
    bytes: RefCell<Vec<u8>>,
    accesses: Cell<usize>,
}

impl VecMemory {
    pub(crate) fn new() -> Self {
        let bytes = RefCell::new(vec![0; RAM_SIZE]);
        Self { bytes, accesses: Cell::new(0) }
    }

    /// Accesses since the last call.
    pub(crate) fn take_accesses(&self) -> usize {
        self.accesses.take()
    }

    fn range(&self, ipa: u64, length: usize) -> Result<std::ops::Range<usize>, GuestMemoryError> {
        self.accesses.set(self.accesses.get() + 1);
        let error = GuestMemoryError { ipa, length };
        let start = usize::try_from(ipa.checked_sub(RAM_BASE).ok_or(error)?).map_err(|_| error)?;
        let end = start.checked_add(length).filter(|&end| end <= RAM_SIZE).ok_or(error)?;
        Ok(start..end)
    }

    pub(crate) fn bytes(&self, ipa: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.read(ipa, &mut bytes).unwrap();
        bytes
    }
}

impl GuestMemory for VecMemory {
    fn read(&self, ipa: u64, into: &mut [u8]) -> Result<(), GuestMemoryError> {
        let range = self.range(ipa, into.len())?;
        into.copy_from_slice(&self.bytes.borrow()[range]);
        Ok(())
    }

    fn write(&self, ipa: u64, from: &[u8]) -> Result<(), GuestMemoryError> {
        let range = self.range(ipa, from.len())?;
        self.bytes.borrow_mut()[range].copy_from_slice(from);
        Ok(())
    }
}

/// What decides: xorshift64, with the same numbers for the same seed, or a fuzzer's input, with zeroes behind it.
pub(crate) struct Random(RefCell<Source>);

enum Source {
    Seed(u64),
    Input(VecDeque<u8>),
}

impl Source {
    /// A number of so many bytes of the input, or of eight of a seed's.
    fn next(&mut self, bytes: usize) -> u64 {
        match self {
            Self::Seed(state) => {
                *state ^= *state << 13;
                *state ^= *state >> 7;
                *state ^= *state << 17;
                *state
            }
            Self::Input(input) => {
                let drawn = input.drain(..bytes.min(input.len()));
                drawn.fold(0, |number, byte| number << 8 | u64::from(byte))
            }
        }
    }
}

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(RefCell::new(Source::Seed(seed | 1)))
    }

    pub(crate) fn of_input(input: &[u8]) -> Self {
        Self(RefCell::new(Source::Input(input.iter().copied().collect())))
    }

    pub(crate) fn next(&self) -> u64 {
        self.0.borrow_mut().next(8)
    }

    /// A number below `bound`.
    pub(crate) fn below(&self, bound: u64) -> u64 {
        match &mut *self.0.borrow_mut() {
            source @ Source::Seed(_) => (source.next(8) >> 11) % bound,
            // No more bytes than it takes, so that each of them decides something.
            source => source.next((u64::BITS - (bound - 1).leading_zeros()).div_ceil(8) as usize) % bound,
        }
    }

    /// Whether there is one more step: to the end of the input, or for about a hundred.
    pub(crate) fn goes_on(&self) -> bool {
        if let Source::Input(input) = &*self.0.borrow() {
            return !input.is_empty();
        }
        !self.chance(100)
    }

    pub(crate) fn chance(&self, one_in: u64) -> bool {
        self.below(one_in) == 0
    }

    pub(crate) fn pick<T: Copy>(&self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}

/// One buffer that a driver offers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Buffer {
    pub(crate) ipa: u64,
    pub(crate) length: u32,
    pub(crate) writable: bool,
}

impl Buffer {
    pub(crate) fn readable(ipa: u64, length: u32) -> Self {
        Self { ipa, length, writable: false }
    }

    pub(crate) fn writable(ipa: u64, length: u32) -> Self {
        Self { ipa, length, writable: true }
    }
}

/// How a driver lays out a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// In the queue's table.
    Direct,
    /// In an indirect table that one descriptor of the queue's table names.
    Indirect,
    /// The first buffer in the queue's table, the others in an indirect one (§2.7.5.3.2).
    Mixed,
}

/// Bytes that a [`DriverQueue`] of 16 entries and its indirect tables take.
pub(crate) const QUEUE_BYTES: u64 = 0x2000;

const TABLE_BYTES: u64 = 0x100;

/// The driver's side of one split virtqueue.
#[derive(Clone, Debug)]
pub(crate) struct DriverQueue {
    pub(crate) descriptor: u64,
    pub(crate) driver: u64,
    pub(crate) device: u64,
    pub(crate) size: u16,
    tables: u64,
    event_index: bool,
    /// Index of the next available entry; also what was published last.
    pub(crate) available: u16,
    pub(crate) used: u16,
    /// `available` at the last decision whether to notify.
    kicked: u16,
    free: VecDeque<u16>,
    /// Descriptors of the queue's table that each head holds.
    chains: Vec<Option<Vec<u16>>>,
}

impl DriverQueue {
    /// A queue of at most 16 entries laid out from `base`, its indices starting at `start`.
    pub(crate) fn new(base: u64, size: u16, event_index: bool, start: u16) -> Self {
        assert!(size <= 16);
        Self {
            descriptor: base,
            driver: base + 0x200,
            device: base + 0x400,
            size,
            tables: base + 0x1000,
            event_index,
            available: start,
            used: start,
            kicked: start,
            free: (0..size).collect(),
            chains: vec![None; usize::from(size)],
        }
    }

    pub(crate) fn describe(&self, memory: &VecMemory, slot: (u64, u16), fields: (u64, u32, u16, u16)) {
        let (ipa, length, flags, next) = fields;
        let at = slot.0 + 16 * u64::from(slot.1);
        memory.write_u64(at, ipa).unwrap();
        memory.write_u32(at + 8, length).unwrap();
        memory.write_u16(at + 12, flags).unwrap();
        memory.write_u16(at + 14, next).unwrap();
    }

    /// Writes `buffers` as entries `slots` of `table`, linked.
    fn link(&self, memory: &VecMemory, table: u64, slots: &[u16], buffers: &[Buffer]) {
        for (position, (&slot, buffer)) in slots.iter().zip(buffers).enumerate() {
            let next = slots.get(position + 1).copied();
            let flags = u16::from(next.is_some()) | if buffer.writable { 2 } else { 0 };
            let fields = (buffer.ipa, buffer.length, flags, next.unwrap_or(0));
            self.describe(memory, (table, slot), fields);
        }
    }

    /// The head that the next chain will have.
    pub(crate) fn next_head(&self) -> Option<u16> {
        self.free.front().copied()
    }

    /// Makes a chain available; returns its head, or `None` if the table has no room.
    pub(crate) fn add(&mut self, memory: &VecMemory, buffers: &[Buffer], layout: Layout) -> Option<u16> {
        let direct = match layout {
            Layout::Direct => buffers.len(),
            Layout::Indirect => 1,
            Layout::Mixed => 2,
        };
        if self.free.len() < direct || usize::from(self.size) < direct {
            return None;
        }
        let slots: Vec<u16> = self.free.drain(..direct).collect();
        let head = slots[0];
        let table = self.tables + TABLE_BYTES * u64::from(head);
        let split = match layout {
            Layout::Direct => buffers.len(),
            Layout::Indirect => 0,
            Layout::Mixed => 1,
        };
        let (front, back) = buffers.split_at(split);
        self.link(memory, self.descriptor, &slots, front);
        if !back.is_empty() {
            let inner: Vec<u16> = (0..back.len() as u16).collect();
            self.link(memory, table, &inner, back);
            let last = slots[split];
            self.describe(memory, (self.descriptor, last), (table, 16 * back.len() as u32, 4, 0));
            if split == 1 {
                let first = front[0];
                let flags = 1 | if first.writable { 2 } else { 0 };
                let fields = (first.ipa, first.length, flags, last);
                self.describe(memory, (self.descriptor, head), fields);
            }
        }
        self.chains[usize::from(head)] = Some(slots);
        self.publish(memory, head);
        Some(head)
    }

    /// Puts a head into the available ring and publishes it.
    pub(crate) fn publish(&mut self, memory: &VecMemory, head: u16) {
        let entry = self.driver + 4 + 2 * u64::from(self.available % self.size);
        memory.write_u16(entry, head).unwrap();
        self.available = self.available.wrapping_add(1);
        memory.write_u16(self.driver + 2, self.available).unwrap();
    }

    /// Whether the device wants to be notified of what was added since the last call (§2.7.10).
    pub(crate) fn must_kick(&mut self, memory: &VecMemory) -> bool {
        let before = std::mem::replace(&mut self.kicked, self.available);
        if self.event_index {
            let event = memory.read_u16(self.device + 4 + 8 * u64::from(self.size)).unwrap();
            need_event(event, self.available, before)
        } else {
            memory.read_u16(self.device).unwrap() & 1 == 0
        }
    }

    /// The oldest chain given back that was not looked at yet: head and bytes written.
    pub(crate) fn take_used(&mut self, memory: &VecMemory) -> Option<(u16, u32)> {
        if memory.read_u16(self.device + 2).unwrap() == self.used {
            return None;
        }
        let entry = self.device + 4 + 8 * u64::from(self.used % self.size);
        let head = memory.read_u32(entry).unwrap();
        let written = memory.read_u32(entry + 4).unwrap();
        let head = u16::try_from(head).expect("a head that was made available");
        let slots = self.chains[usize::from(head)].take().expect("a chain that is in flight");
        self.free.extend(slots);
        self.used = self.used.wrapping_add(1);
        Some((head, written))
    }

    /// Asks for an interrupt at the used entry numbered `index` (§2.7.7.1).
    pub(crate) fn set_used_event(&self, memory: &VecMemory, index: u16) {
        memory.write_u16(self.driver + 4 + 2 * u64::from(self.size), index).unwrap();
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.chains.iter().flatten().count()
    }
}

/// The condition as §2.7.10.1 words it for the driver and §2.7.7.2 for the device: entries
/// `before`, `before + 1`, … `now - 1` were filled, and `event` is one of them.
pub(crate) fn need_event(event: u16, now: u16, before: u16) -> bool {
    let mut entry = before;
    while entry != now {
        if entry == event {
            return true;
        }
        entry = entry.wrapping_add(1);
    }
    false
}
