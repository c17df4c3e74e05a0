//! A disk (virtio 1.2 §5.2): requests whose payload the disk itself reads from or writes to RAM.
//!
//! One queue, up to [`DEPTH`] requests at once. A request is drafted piece by piece, submitted, and comes back in any order.

use hv_core::addr::Pa;
use virtio_drivers::transport::{InterruptStatus, SomeTransport, Transport};

use super::link::Link;
use super::ring::{Piece, Ring, SLOTS};
use super::{
    DmaMemory, EVENT_IDX, Found, INDIRECT_DESC, VirtioError, begin, configuration, install, needs_reset, negotiate,
    reset,
};
use crate::barrier;

/// Requests in flight at most.
pub const DEPTH: usize = SLOTS as usize;
/// Bytes of memory that a disk needs for its requests.
pub const MEMORY: u64 = Requests::SIZE.next_multiple_of(4096) as u64;
/// Descriptors of a request, and bytes for what the driver itself says and hears in it.
pub(super) const PIECES: usize = 250;
pub(super) const OWN_SIZE: usize = 48;
/// Most pieces of a request's payload: the header and the status take two more.
pub const MAX_PIECES: usize = PIECES - 2;

/// The queue.
pub(super) type Requests = Ring<PIECES, OWN_SIZE>;

/// Feature bits (§5.2.3).
const SEG_MAX: u64 = 1 << 2;
const READ_ONLY: u64 = 1 << 5;
const BLOCK_SIZE: u64 = 1 << 6;
const FLUSH: u64 = 1 << 9;
const TOPOLOGY: u64 = 1 << 10;
const DISCARD: u64 = 1 << 13;
const WRITE_ZEROES: u64 = 1 << 14;
const BOTH: u64 = DISCARD | WRITE_ZEROES;

/// The queue of requests (§5.2.2).
const QUEUE: u16 = 0;
/// The status of a request that went well, and what stands there before (§5.2.6).
const OK: u8 = 0;
const NONE: u8 = 0xff;

/// In a slot's own bytes: the header, a range, the status.
const RANGE: usize = 16;
const STATUS: usize = 32;

/// What a disk is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shape {
    /// Capacity in sectors of 512 bytes.
    pub sectors: u64,
    /// It takes no writes.
    pub read_only: bool,
    /// Bytes of a block: requests begin and end at blocks.
    pub block_size: u32,
    /// It is best used in units of 2 to this power of blocks.
    pub physical_exponent: u8,
    /// Most sectors that one request gives back, or overwrites by zeroes; 0 where it can do neither.
    pub discard: u32,
    /// Writes may stay in a cache until a flush.
    pub cached: bool,
    /// Most pieces of a request's payload.
    pub pieces: u8,
}

/// What is asked of a disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Command {
    /// Fill the payload from this sector on.
    Read(u64),
    /// Write the payload from this sector on.
    Write(u64),
    /// What was written is on the medium.
    Flush,
    /// These sectors are not needed any more.
    Discard(u64, u32),
    /// These sectors are zero; their blocks may be given back.
    WriteZeroes(u64, u32, bool),
}

impl Command {
    /// The same so many sectors further.
    pub const fn behind(self, sectors: u32) -> Self {
        match self {
            Self::Read(sector) => Self::Read(sector.saturating_add(sectors as u64)),
            Self::Write(sector) => Self::Write(sector.saturating_add(sectors as u64)),
            other => other,
        }
    }

    /// The request's type and its sector.
    const fn header(self) -> [u64; 2] {
        match self {
            Self::Read(sector) => [0, sector],
            Self::Write(sector) => [1, sector],
            Self::Flush => [4, 0],
            Self::Discard(..) => [11, 0],
            Self::WriteZeroes(..) => [13, 0],
        }
    }

    /// The range that is its payload: sector, number and flags.
    fn range(self) -> Option<[u64; 2]> {
        match self {
            Self::Discard(sector, count) => Some([sector, u64::from(count)]),
            Self::WriteZeroes(sector, count, unmap) => Some([sector, u64::from(count) | u64::from(unmap) << 32]),
            _ => None,
        }
    }
}

/// A disk that is in use.
#[derive(Debug)]
pub struct Disk {
    transport: Link,
    ring: Requests,
    shape: Shape,
}

/// A request that is being put together.
#[derive(Debug)]
pub struct Draft<'d> {
    disk: &'d mut Disk,
    slot: u16,
    writable: bool,
    count: usize,
    /// The last piece, which grows as long as what follows is behind it in memory.
    last: Option<Piece>,
}

impl Disk {
    /// Brings a disk up. Its memory is of [`MEMORY`] bytes.
    ///
    /// # Errors
    ///
    /// It is not what EL2 can use; then it is reset, or fails to be.
    pub fn start(found: Found, memory: DmaMemory) -> Result<Self, VirtioError> {
        let mut transport = found.link;
        let started = Self::negotiate(&mut transport, memory);
        let (ring, shape) = match started {
            Ok(started) => started,
            Err(error) => return Err(reset(&mut *transport).err().unwrap_or(error)),
        };
        Ok(Self { transport, ring, shape })
    }

    fn negotiate(transport: &mut SomeTransport<'static>, memory: DmaMemory) -> Result<(Requests, Shape), VirtioError> {
        let wanted = SEG_MAX | READ_ONLY | BLOCK_SIZE | FLUSH | TOPOLOGY | DISCARD | WRITE_ZEROES | EVENT_IDX;
        let features = negotiate(transport, INDIRECT_DESC, wanted)?;
        let shape = configuration(transport, |transport| read_shape(transport, features))?;
        if !shape.block_size.is_power_of_two() || !(512..=4096).contains(&shape.block_size) {
            return Err(VirtioError::BlockSize(shape.block_size));
        }
        let ring = Requests::new(memory, features & EVENT_IDX != 0);
        install(transport, QUEUE, &ring)?;
        begin(transport);
        Ok((ring, shape))
    }

    /// What it is.
    pub const fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Requests that can be begun.
    pub const fn free(&self) -> u32 {
        self.ring.free()
    }

    /// Begins a request; `None` where [`DEPTH`] are in flight.
    pub fn draft(&mut self, command: Command) -> Option<Draft<'_>> {
        let slot = self.ring.take()?;
        let [kind, sector] = command.header();
        self.ring.write_own(slot, 0, kind);
        self.ring.write_own(slot, 8, sector);
        self.ring.write_own(slot, STATUS, NONE);
        let header = Piece { address: self.ring.own(slot, 0), length: 16, writable: false };
        self.ring.describe(slot, 0, &header);
        let writable = matches!(command, Command::Read(_));
        let mut draft = Draft { disk: self, slot, writable, count: 1, last: None };
        if let Some([sector, rest]) = command.range() {
            let ring = &mut draft.disk.ring;
            ring.write_own(slot, RANGE, sector);
            ring.write_own(slot, RANGE + 8, rest);
            let address = ring.own(slot, RANGE);
            draft.last = Some(Piece { address, length: 16, writable: false });
        }
        Some(draft)
    }

    /// Tells the disk of what was submitted, if it wants to hear of it.
    pub fn notify(&mut self) {
        if self.ring.must_notify() {
            barrier::before_device();
            self.transport.notify(QUEUE);
        }
    }

    /// Takes its interrupt back. Afterwards all that [`Disk::done`] has is taken, and [`Disk::arm`] says that this was all.
    /// Whether it has more to say: its configuration or [its status](Disk::needs_reset) has changed.
    pub fn acknowledge(&mut self) -> bool {
        self.transport.ack_interrupt().contains(InterruptStatus::DEVICE_CONFIGURATION_INTERRUPT)
    }

    /// A request that is over, and whether it went well. Its number stays its own until [`Disk::release`].
    ///
    /// # Errors
    ///
    /// The disk gives back what it was not given: nothing that it says can be believed any more.
    pub fn done(&mut self) -> Result<Option<(u16, bool)>, VirtioError> {
        let done = self.ring.done()?;
        // How much the disk has written says nothing that the status does not.
        Ok(done.map(|(slot, _)| (slot, self.ring.read_own::<u8>(slot, STATUS) == OK)))
    }

    /// The number of a request that is over can be that of another from here on.
    pub const fn release(&mut self, slot: u16) {
        self.ring.release(slot);
    }

    /// Asks for an interrupt when the next request is over. Whether one was meanwhile.
    pub fn arm(&mut self) -> bool {
        self.ring.arm()
    }

    /// Whether it has met an error that it cannot recover from, and says so (DEVICE_NEEDS_RESET, §2.1.2).
    pub fn needs_reset(&self) -> bool {
        needs_reset(&*self.transport)
    }

    /// Resets it for good. Afterwards nothing is in flight, it uses no memory, and no request can be begun.
    ///
    /// # Errors
    ///
    /// It does not come out of reset: what was in flight may still be.
    pub fn stop(&mut self) -> Result<(), VirtioError> {
        reset(&mut *self.transport)?;
        self.ring.close();
        Ok(())
    }
}

impl Draft<'_> {
    /// Adds a part of the payload. `false` where the request is full, and nothing was added.
    pub fn push(&mut self, address: Pa, length: u32) -> bool {
        if let Some(last) = &mut self.last
            && last.address.0 + u64::from(last.length) == address.0
            && let Some(together) = last.length.checked_add(length)
        {
            last.length = together;
            return true;
        }
        // Before the last piece are the header and the pieces that are settled.
        if self.last.is_some() && self.count == usize::from(self.disk.shape.pieces) {
            return false;
        }
        self.settle();
        self.last = Some(Piece { address, length, writable: self.writable });
        true
    }

    /// Takes up to so many bytes off its end, of one piece; where they are. `None` where nothing is left.
    pub fn take_back(&mut self, most: u32) -> Option<(Pa, u32)> {
        let last = self.last.take().or_else(|| self.unsettle())?;
        let count = last.length.min(most);
        let rest = last.length - count;
        self.last = (rest > 0).then_some(Piece { length: rest, ..last });
        Some((Pa(last.address.0 + u64::from(rest)), count))
    }

    /// Takes back what was settled last; the header stays.
    fn unsettle(&mut self) -> Option<Piece> {
        self.count = self.count.checked_sub(1).filter(|count| *count > 0)?;
        Some(self.disk.ring.described(self.slot, self.count))
    }

    /// Writes the last piece where the disk will find it.
    fn settle(&mut self) {
        if let Some(last) = self.last.take() {
            self.disk.ring.describe(self.slot, self.count, &last);
            self.count += 1;
        }
    }

    /// Hands the request to the disk; its number until it is over.
    pub fn submit(mut self) -> u16 {
        self.settle();
        let (slot, ring) = (self.slot, &mut self.disk.ring);
        let status = Piece { address: ring.own(slot, STATUS), length: 1, writable: true };
        ring.describe(slot, self.count, &status);
        ring.submit(slot, self.count + 1);
        core::mem::forget(self);
        slot
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        self.disk.ring.release(self.slot);
    }
}

/// struct virtio_blk_config (§5.2.4), as far as features say that it is there.
fn read_shape(transport: &SomeTransport<'_>, features: u64) -> virtio_drivers::Result<Shape> {
    let word = |offset| transport.read_config_space::<u32>(offset);
    let sectors = u64::from(word(0)?) | u64::from(word(4)?) << 32;
    let block_size = if features & BLOCK_SIZE != 0 { word(20)? } else { 512 };
    let exponent = if features & TOPOLOGY != 0 { transport.read_config_space::<u8>(24)? } else { 0 };
    let discard = match features & BOTH {
        BOTH => word(36)?.min(word(48)?),
        _ => 0,
    };
    Ok(Shape {
        sectors,
        read_only: features & READ_ONLY != 0,
        block_size,
        physical_exponent: exponent.min(15),
        discard,
        cached: features & FLUSH != 0,
        pieces: (if features & SEG_MAX != 0 { word(12)? } else { 1 }).clamp(1, MAX_PIECES as u32) as u8,
    })
}
