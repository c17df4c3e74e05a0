//! A walk along one descriptor chain, one descriptor at a time.
//!
//! Owns the position in the chain and what the chain may still contain. Each descriptor is
//! copied once, and the copy is checked and used.

use super::QueueError;
use crate::memory::GuestMemory;
use virtio_spec::virtq::{Desc, DescF};
use zerocopy::IntoBytes;

/// Most descriptors that an indirect table may have. Larger tables are refused: no driver of a
/// device here has use for them, and the walk stays bounded.
pub const MAX_INDIRECT: u16 = 256;

/// Bytes of a descriptor (virtio 1.2 §2.7.5).
const DESCRIPTOR: u32 = size_of::<Desc>() as u32;

/// Which side may write a buffer (VIRTQ_DESC_F_WRITE).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the driver to the device.
    Readable,
    /// From the device to the driver.
    Writable,
}

/// What is left of one buffer of a chain: never empty, never wrapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// First byte left, an IPA.
    pub ipa: u64,
    /// Bytes left.
    pub length: u32,
    /// Who writes it.
    pub direction: Direction,
}

impl Segment {
    /// All zero.
    const NONE: Self = Self { ipa: 0, length: 0, direction: Direction::Readable };
}

/// What [`Chain::advance`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Step {
    /// A buffer, now current.
    Segment(Segment),
    /// An indirect table; the next step reads its first descriptor.
    Table,
    /// The end of the chain.
    End,
}

/// A chain taken from a queue, and how far it is consumed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    head: u16,
    /// Table in use: the queue's, or an indirect one.
    table: u64,
    entries: u16,
    next: Option<u16>,
    /// Descriptors that the table in use may still yield; what ends a loop.
    left: u16,
    indirect: Indirect,
    writable_seen: bool,
    /// Of length 0 where there is none.
    current: Segment,
}

/// Whether an indirect descriptor may come (§2.7.5.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Indirect {
    Refused,
    Allowed,
    Inside,
}

impl Chain {
    /// None: all zero, for a static table.
    pub(super) const NONE: Self = Self {
        head: 0,
        table: 0,
        entries: 0,
        next: None,
        left: 0,
        indirect: Indirect::Refused,
        writable_seen: false,
        current: Segment::NONE,
    };

    /// The chain from `head` in the queue's own table of `entries` descriptors.
    pub(super) const fn new(head: u16, table: u64, entries: u16, indirect: bool) -> Self {
        let indirect = if indirect { Indirect::Allowed } else { Indirect::Refused };
        Self {
            head,
            table,
            entries,
            next: Some(head),
            left: entries,
            indirect,
            writable_seen: false,
            current: Segment::NONE,
        }
    }

    /// Index of the first descriptor: the chain's name in the used ring.
    pub const fn head(&self) -> u16 {
        self.head
    }

    /// What is left of the current buffer; `None` before the first step and once consumed.
    pub const fn current(&self) -> Option<Segment> {
        if self.current.length > 0 { Some(self.current) } else { None }
    }

    /// Whether nothing of the chain is left to read or to fill.
    pub const fn is_finished(&self) -> bool {
        self.current.length == 0 && self.next.is_none()
    }

    /// Takes `count` bytes off the front of the current buffer, at most what it has left.
    pub fn consume(&mut self, count: u32) {
        let rest = self.current().and_then(|segment| {
            let length = segment.length.checked_sub(count).filter(|&left| left > 0)?;
            Some(Segment { ipa: segment.ipa.wrapping_add(u64::from(count)), length, ..segment })
        });
        self.current = rest.unwrap_or(Segment::NONE);
    }

    /// Reads the next descriptor, dropping what is left of the current buffer.
    ///
    /// # Errors
    /// If the descriptor breaks a rule of virtio 1.2 §2.7.5 or is not in RAM.
    pub fn advance(&mut self, memory: &dyn GuestMemory) -> Result<Step, QueueError> {
        self.current = Segment::NONE;
        let Some(index) = self.next else {
            return Ok(Step::End);
        };
        if index >= self.entries {
            return Err(QueueError::DescriptorIndex(index));
        }
        self.left = self.left.checked_sub(1).ok_or(QueueError::Endless(self.head))?;
        let descriptor = read_descriptor(memory, self.table, index)?;
        let flags = descriptor.flags;
        self.next = flags.contains(DescF::NEXT).then(|| descriptor.next.to_ne());
        if flags.contains(DescF::INDIRECT) {
            return self.enter(&descriptor);
        }
        let direction = if flags.contains(DescF::WRITE) {
            self.writable_seen = true;
            Direction::Writable
        } else if self.writable_seen {
            return Err(QueueError::Direction(self.head));
        } else {
            Direction::Readable
        };
        let (ipa, length) = (descriptor.addr.to_ne(), descriptor.len.to_ne());
        if length == 0 || ipa.checked_add(u64::from(length)).is_none() {
            return Err(QueueError::Range { ipa, length });
        }
        let segment = Segment { ipa, length, direction };
        self.current = segment;
        Ok(Step::Segment(segment))
    }

    /// Goes over to an indirect table, the last descriptor of its chain (§2.7.5.3.1); its write
    /// flag means nothing (§2.7.5.3.2).
    fn enter(&mut self, descriptor: &Desc) -> Result<Step, QueueError> {
        let refused = QueueError::Indirect(self.head);
        if self.indirect != Indirect::Allowed || self.next.is_some() {
            return Err(refused);
        }
        let (table, length) = (descriptor.addr.to_ne(), descriptor.len.to_ne());
        let entries = u16::try_from(length / DESCRIPTOR).map_err(|_| refused)?;
        if !length.is_multiple_of(DESCRIPTOR) || entries == 0 || entries > MAX_INDIRECT {
            return Err(refused);
        }
        if table.checked_add(u64::from(length)).is_none() {
            return Err(QueueError::Range { ipa: table, length });
        }
        self.indirect = Indirect::Inside;
        (self.table, self.entries, self.left, self.next) = (table, entries, entries, Some(0));
        Ok(Step::Table)
    }
}

/// Copies one descriptor of a table that was checked not to wrap.
fn read_descriptor(memory: &dyn GuestMemory, table: u64, index: u16) -> Result<Desc, QueueError> {
    let mut words = [0_u64; 2];
    let ipa = table.wrapping_add(u64::from(DESCRIPTOR) * u64::from(index));
    memory.read(ipa, words.as_mut_bytes())?;
    let [addr, rest] = words.map(u64::from_le);
    // len, flags and next follow the address, 32, 16 and 16 bits (§2.7.5).
    Ok(Desc {
        addr: addr.into(),
        len: (rest as u32).into(),
        flags: DescF::from_bits_retain(((rest >> 32) as u16).into()),
        next: ((rest >> 48) as u16).into(),
    })
}
