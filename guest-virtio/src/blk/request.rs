//! One request of a disk's driver: from a descriptor chain to what is asked and which buffers it is about.
//!
//! What a driver puts into which descriptor is its own affair (§2.7.4.1): the readable bytes are the header and then the
//! payload of a write, the writable ones the payload of a read and then the status.

use super::{Disk, SECTOR};
use crate::memory::GuestMemory;
use crate::queue::{Chain, Direction, QueueError, Segment, Step};
use arrayvec::ArrayVec;
use virtio_spec::blk::{DiscardWriteZeroes, DiscardWriteZeroesFlags, S, T};
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// Most buffers of a request's payload (seg_max, §5.2.4): with header and status, as many descriptors as an indirect table
/// may have.
pub const MAX_SEGMENTS: usize = 254;

/// What a request begins with (§5.2.6): the front of struct virtio_blk_req.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Header {
    kind: U32,
    reserved: U32,
    sector: U64,
}

/// Most bytes of a buffer (size_max, §5.2.4), so that a request is bounded.
pub const SEGMENT_MAX: u32 = 1 << 20;
/// Most bytes of a request: what a driver can ask for that keeps to size_max and seg_max. A driver that has not accepted
/// SIZE_MAX may have longer buffers (§5.2.5).
pub const REQUEST_MAX: u64 = SEGMENT_MAX as u64 * MAX_SEGMENTS as u64;

/// Bytes of a request's header.
const HEADER: usize = size_of::<Header>();
/// Bytes of a range that is discarded or overwritten by zeroes.
const RANGE: usize = size_of::<DiscardWriteZeroes>();

/// What a request wants of the disk. Sectors are the guest's; they are whole blocks within its disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Its buffers are filled from `sector` on.
    Read {
        /// The first.
        sector: u64,
    },
    /// Its buffers are written from `sector` on.
    Write {
        /// The first.
        sector: u64,
    },
    /// What was written and given back before is on the medium before this is given back.
    Flush,
    /// What is there is not needed any more.
    Discard {
        /// The first.
        sector: u64,
        /// How many.
        sectors: u64,
    },
    /// Zeroes are there.
    WriteZeroes {
        /// The first.
        sector: u64,
        /// How many.
        sectors: u64,
        /// Their blocks may be given back.
        unmap: bool,
    },
}

/// What gives a request back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The queue that it came by.
    pub queue: u16,
    pub(super) head: u16,
    /// Where its status byte is, an IPA.
    pub(super) status: u64,
    /// Bytes of its buffers that the disk fills if all goes well.
    pub(super) fills: u32,
}

impl Ticket {
    /// Of no request: all zero, for a static table.
    pub const NONE: Self = Self { queue: 0, head: 0, status: 0, fills: 0 };
}

/// A request, kept by the caller to be used again and again.
#[derive(Clone, Debug)]
pub struct Request {
    /// What gives it back.
    pub ticket: Ticket,
    /// What it wants.
    pub operation: Operation,
    /// Its effect is on the medium before it is given back: its driver has no other way to know (§5.2.6.2).
    pub through: bool,
    /// The buffers of its payload: as many bytes as sectors are read or written, none where none are.
    pub data: ArrayVec<Segment, { MAX_SEGMENTS + 1 }>,
}

impl Default for Request {
    fn default() -> Self {
        Self::new()
    }
}

/// What a chain was found to be.
pub(super) enum Parsed {
    /// A request for the caller.
    Request,
    /// Nothing that can be done.
    Refused(S),
    /// The question for the disk's serial number.
    Serial,
}

/// What a walk along a chain has found besides its buffers.
struct Walk {
    header: Header,
    /// Bytes of the header that have come.
    has: usize,
    /// The last byte that the device may write.
    status: Option<u64>,
    /// There are more buffers than a request may have.
    too_many: bool,
}

impl Request {
    /// None.
    pub const fn new() -> Self {
        Self { ticket: Ticket::NONE, operation: Operation::Flush, through: false, data: ArrayVec::new_const() }
    }

    /// Bytes of its buffers.
    pub fn bytes(&self) -> u64 {
        self.data.iter().map(|segment| u64::from(segment.length)).sum()
    }

    /// Becomes the request in `chain`.
    ///
    /// # Errors
    /// If the chain is none, or too short for a request.
    pub(super) fn parse(
        &mut self,
        queue: u16,
        mut chain: Chain,
        disk: &Disk,
        memory: &dyn GuestMemory,
    ) -> Result<Parsed, QueueError> {
        let head = chain.head();
        let walk = self.walk(&mut chain, memory)?;
        let status = walk.status.filter(|_| walk.has == HEADER).ok_or(QueueError::Short(head))?;
        self.ticket = Ticket { queue, head, status, fills: 0 };
        if walk.too_many {
            return Ok(Parsed::Refused(S::Ioerr));
        }
        // The status byte is no payload.
        if let Some(last) = self.data.last_mut() {
            last.length -= 1;
        }
        if self.data.last().is_some_and(|last| last.length == 0) {
            self.data.pop();
        }
        self.decide(&walk.header, disk, memory)
    }

    /// Collects the buffers behind the header.
    fn walk(&mut self, chain: &mut Chain, memory: &dyn GuestMemory) -> Result<Walk, QueueError> {
        self.data.clear();
        let mut walk = Walk { header: Header::new_zeroed(), has: 0, status: None, too_many: false };
        loop {
            let mut segment = match chain.advance(memory)? {
                Step::Table => continue,
                Step::End => return Ok(walk),
                Step::Segment(segment) => segment,
            };
            match segment.direction {
                Direction::Readable => walk.read_header(&mut segment, memory)?,
                Direction::Writable => walk.status = Some(segment.ipa + u64::from(segment.length) - 1),
            }
            if segment.length > 0 {
                walk.too_many |= self.data.try_push(segment).is_err();
            }
        }
    }

    /// Checks what the header asks for.
    fn decide(&mut self, header: &Header, disk: &Disk, memory: &dyn GuestMemory) -> Result<Parsed, QueueError> {
        let Ok(kind) = T::try_from(header.kind.get()) else {
            return Ok(Parsed::Refused(S::Unsupp));
        };
        let sector = header.sector.get();
        let changes = matches!(kind, T::Out | T::Discard | T::WriteZeroes);
        if changes && disk.read_only {
            return Ok(Parsed::Refused(S::Ioerr));
        }
        match kind {
            T::In => Ok(self.transfer(Operation::Read { sector }, Direction::Writable, disk)),
            T::Out => Ok(self.transfer(Operation::Write { sector }, Direction::Readable, disk)),
            T::Flush => {
                self.data.clear();
                self.operation = Operation::Flush;
                Ok(Parsed::Request)
            }
            T::GetId if self.goes(Direction::Writable) => Ok(Parsed::Serial),
            T::Discard | T::WriteZeroes if disk.discard > 0 => self.range(kind, disk, memory),
            _ => Ok(Parsed::Refused(S::Unsupp)),
        }
    }

    /// Whether the payload goes this way only.
    fn goes(&self, direction: Direction) -> bool {
        self.data.iter().all(|segment| segment.direction == direction)
    }

    fn transfer(&mut self, operation: Operation, direction: Direction, disk: &Disk) -> Parsed {
        let (Operation::Read { sector } | Operation::Write { sector }) = operation else {
            return Parsed::Refused(S::Unsupp);
        };
        let bytes = self.bytes();
        let fits = self.data.len() <= usize::from(disk.segments) && bytes <= REQUEST_MAX;
        let whole = fits && bytes > 0 && bytes.is_multiple_of(SECTOR) && disk.has(sector, bytes / SECTOR);
        if !whole || !self.goes(direction) {
            return Parsed::Refused(S::Ioerr);
        }
        self.operation = operation;
        if direction == Direction::Writable {
            self.ticket.fills = u32::try_from(bytes).unwrap_or(u32::MAX);
        }
        Parsed::Request
    }

    /// A discard or a write of zeroes: of one range, as the configuration says (§5.2.6.2).
    fn range(&mut self, kind: T, disk: &Disk, memory: &dyn GuestMemory) -> Result<Parsed, QueueError> {
        if !self.goes(Direction::Readable) || self.bytes() != RANGE as u64 {
            return Ok(Parsed::Refused(S::Ioerr));
        }
        let range = self.read_range(memory)?;
        self.data.clear();
        let flags = DiscardWriteZeroesFlags::from(range.flags);
        if flags.reserved() != 0 || kind == T::Discard && flags.unmap() {
            return Ok(Parsed::Refused(S::Unsupp));
        }
        let (sector, count) = (range.sector.to_ne(), range.num_sectors.to_ne());
        let sectors = u64::from(count);
        if count == 0 || count > disk.discard || !disk.has(sector, sectors) {
            return Ok(Parsed::Refused(S::Ioerr));
        }
        self.operation = match kind {
            T::Discard => Operation::Discard { sector, sectors },
            _ => Operation::WriteZeroes { sector, sectors, unmap: flags.unmap() },
        };
        Ok(Parsed::Request)
    }

    /// Copies the range out of its buffers, which are that long.
    fn read_range(&self, memory: &dyn GuestMemory) -> Result<DiscardWriteZeroes, QueueError> {
        let mut range = DiscardWriteZeroes::new_zeroed();
        let mut rest = range.as_mut_bytes();
        for segment in &self.data {
            let (piece, behind) = rest.split_at_mut(rest.len().min(segment.length as usize));
            memory.read(segment.ipa, piece)?;
            rest = behind;
        }
        Ok(range)
    }

    /// Copies `bytes` to its buffers, as far as they have room; how many went.
    pub(super) fn fill(&self, bytes: &[u8], memory: &dyn GuestMemory) -> Result<u32, QueueError> {
        let mut rest = bytes;
        for segment in &self.data {
            let (piece, behind) = rest.split_at(rest.len().min(segment.length as usize));
            memory.write(segment.ipa, piece)?;
            rest = behind;
        }
        Ok((bytes.len() - rest.len()) as u32)
    }
}

impl Walk {
    /// Takes what the header still lacks off the front of `segment`.
    fn read_header(&mut self, segment: &mut Segment, memory: &dyn GuestMemory) -> Result<(), QueueError> {
        let (_, missing) = self.header.as_mut_bytes().split_at_mut(self.has);
        let count = missing.len().min(segment.length as usize);
        let (piece, _) = missing.split_at_mut(count);
        memory.read(segment.ipa, piece)?;
        self.has += count;
        segment.ipa = segment.ipa.wrapping_add(count as u64);
        segment.length -= count as u32;
        Ok(())
    }
}
