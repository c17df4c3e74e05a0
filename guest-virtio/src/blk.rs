//! A virtio block device (virtio 1.2 §5.2).
//!
//! Owns the transport, the configuration space and what of a request is the protocol's: its header, its status byte, its
//! limits. It never touches a payload: a [`Request`] names the guest's buffers, and the caller has them read or filled,
//! where it can by a disk's own DMA, and then gives the request back by [`Block::complete`].
//!
//! # Use
//! After [`Block::write`] has said that there are requests, the caller takes them by [`Block::next`] until that has none, and
//! gives each back, in any order. [`Block::signal`] after some of them decides whether the driver is interrupted.
//!
//! While requests are in flight a driver's reset has to wait ([`BlockEffect::Wait`]): afterwards its buffers are its own
//! again, and no disk may still write them.
//!
//! # Bounds
//! One call looks at one chain, of at most [`crate::queue::MAX_INDIRECT`] descriptors and the queue's own. Requests in flight are
//! bounded by the sizes of the queues.

mod config;
mod request;
#[cfg(any(test, fuzzing))]
pub(crate) mod tests;

pub use request::{MAX_SEGMENTS, Operation, REQUEST_MAX, Request, SEGMENT_MAX, Ticket};

use crate::memory::GuestMemory;
use crate::mmio::{CONFIG_BASE, Effect, Profile, Transport};
use crate::queue::{Backlog, QueueError};
use request::Parsed;
use virtio_spec::Id;
use virtio_spec::blk::{F, S};

/// Most queues that a disk has.
pub const MAX_QUEUES: usize = 4;
/// Most entries of each queue.
pub const QUEUE_SIZE_MAX: u16 = 256;
/// Bytes of a sector, the unit of all that a driver asks (§5.2.4).
pub const SECTOR: u64 = 512;
/// Bytes of a disk's serial number (§5.2.6, GET_ID).
pub const SERIAL: usize = 20;

/// What a disk is to its guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Capacity, in sectors.
    pub sectors: u64,
    /// It takes no writes.
    pub read_only: bool,
    /// Most sectors that one request gives back, or overwrites by zeroes; 0 where the disk can do neither.
    pub discard: u32,
    /// Bytes of a block, a power of two from [`SECTOR`] to 4096: requests begin and end at blocks.
    pub block_size: u32,
    /// The disk is best used in units of 2 to this power of blocks.
    pub physical_exponent: u8,
    /// Most buffers of a request's payload, 1 to [`MAX_SEGMENTS`].
    pub segments: u8,
    /// Number of queues, 1 to [`MAX_QUEUES`]; other numbers count as the nearest.
    pub queues: u8,
    /// Its name, zeroes behind it.
    pub serial: [u8; SERIAL],
}

impl Disk {
    /// None: all zero, for a static table.
    pub const NONE: Self = Self {
        sectors: 0,
        read_only: false,
        discard: 0,
        block_size: 0,
        physical_exponent: 0,
        segments: 0,
        queues: 0,
        serial: [0; SERIAL],
    };

    /// Sectors of a block.
    fn block_sectors(&self) -> u64 {
        (u64::from(self.block_size) / SECTOR).max(1)
    }

    /// Whether a range is of whole blocks that the disk has.
    fn has(&self, sector: u64, sectors: u64) -> bool {
        let whole = sector.is_multiple_of(self.block_sectors()) && sectors.is_multiple_of(self.block_sectors());
        whole && sector.checked_add(sectors).is_some_and(|end| end <= self.sectors)
    }
}

/// What a register write asks of the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum BlockEffect {
    /// Nothing.
    None,
    /// The driver put requests into this queue.
    Requests(u16),
    /// The driver is running: there may be requests in each queue.
    Started,
    /// The write takes buffers back, and requests are in flight: nothing was done. The caller takes no more, gives back all
    /// that it has, and then performs the write again.
    Wait,
    /// The driver stopped a queue.
    Stopped,
    /// The driver reset the device.
    Reset,
}

/// What [`Block::next`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Next {
    /// A request, in what the caller gave for it.
    Request,
    /// A request that was answered at once: a question that the device can answer, or one that no disk could.
    Answered,
    /// None; the driver notifies of the next.
    Empty,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All of it was done.
    Done,
    /// It failed, in part or as a whole.
    Failed,
}

/// The device.
#[derive(Clone, Debug)]
pub struct Block {
    transport: Transport<MAX_QUEUES>,
    disk: Disk,
    /// Requests that the caller has, all queues together.
    in_flight: u16,
}

impl Default for Block {
    fn default() -> Self {
        Self::NONE
    }
}

impl Block {
    /// No device, until [`Block::restart`]: all zero, for a static table.
    pub const NONE: Self = Self { transport: Transport::new(Profile::NONE), disk: Disk::NONE, in_flight: 0 };

    /// Becomes this disk, as after power-on. Nothing may be in flight.
    pub fn restart(&mut self, disk: &Disk) {
        let queues = u16::from(disk.queues).clamp(1, MAX_QUEUES as u16);
        let profile =
            Profile { id: Id::Block, offered: offered(disk), required: 0, queues, queue_size_max: QUEUE_SIZE_MAX };
        self.transport.restart(profile);
        self.disk = *disk;
        self.in_flight = 0;
    }

    /// Sets the capacity, in sectors, and tells a running driver (§5.2.5, capacity may change).
    pub fn resize(&mut self, sectors: u64) {
        if sectors != self.disk.sectors {
            self.disk.sectors = sectors;
            self.transport.config_changed();
        }
    }

    /// Answers a read of `size` bytes (1, 2, 4 or 8) at `offset` into the slot.
    pub fn read(&self, offset: u64, size: u8) -> u64 {
        if offset < CONFIG_BASE { self.transport.read(offset, size, &[]) } else { self.read_config(offset, size) }
    }

    fn read_config(&self, offset: u64, size: u8) -> u64 {
        self.transport.read(offset, size, &config::encode(&self.disk))
    }

    /// Performs a write of `size` bytes at `offset` into the slot.
    pub fn write(&mut self, offset: u64, size: u8, value: u64) -> BlockEffect {
        if self.in_flight > 0 && self.transport.takes_buffers_back(offset, size, value) {
            return BlockEffect::Wait;
        }
        match self.transport.write(offset, size, value) {
            Effect::None => BlockEffect::None,
            Effect::QueueStopped(_) => BlockEffect::Stopped,
            Effect::Started => BlockEffect::Started,
            Effect::Notify(queue) => BlockEffect::Requests(queue),
            Effect::Reset => BlockEffect::Reset,
        }
    }

    /// Whether the slot's SPI must be pulsed now; true once for all causes since the last call.
    pub const fn take_pulse(&mut self) -> bool {
        self.transport.take_pulse()
    }

    /// Whether a driver has begun to use it, and has not reset it since.
    pub const fn is_driven(&self) -> bool {
        self.in_flight > 0 || self.transport.is_driven()
    }

    /// Requests that the caller has not given back.
    pub const fn in_flight(&self) -> u16 {
        self.in_flight
    }

    /// Takes the next request of `queue` into `request`.
    ///
    /// A chain that is none, or lies outside of the guest's memory as far as the device itself reads it, makes the
    /// device ask for a reset (§2.1.2), and there are no more requests.
    pub fn next(&mut self, queue: u16, memory: &dyn GuestMemory, request: &mut Request) -> Next {
        let taken = self.take(queue, memory, request);
        self.check(taken).unwrap_or(Next::Empty)
    }

    /// Gives a request back to the driver.
    pub fn complete(&mut self, ticket: &Ticket, outcome: Outcome, memory: &dyn GuestMemory) {
        self.in_flight = self.in_flight.saturating_sub(1);
        let (status, written) = match outcome {
            Outcome::Done => (S::Ok, ticket.fills),
            Outcome::Failed => (S::Ioerr, 0),
        };
        let answered = self.answer(ticket, status, written, memory);
        let _: Option<()> = self.check(answered);
    }

    /// Interrupts the driver if it wants to hear of what was given back on `queue`.
    pub fn signal(&mut self, queue: u16, memory: &dyn GuestMemory) {
        let wanted = match self.transport.queue(queue) {
            Some(ring) => ring.should_notify(memory),
            None => Ok(false),
        };
        if self.check(wanted) == Some(true) {
            self.transport.signal_used();
        }
    }

    /// Unpacks a result; a broken queue makes the device ask for a reset.
    fn check<T>(&mut self, result: Result<T, QueueError>) -> Option<T> {
        if result.is_err() {
            self.transport.fail();
        }
        result.ok()
    }

    fn take(&mut self, queue: u16, memory: &dyn GuestMemory, request: &mut Request) -> Result<Next, QueueError> {
        let through = !self.transport.has_accepted(bits(F::FLUSH));
        let chain = loop {
            let Some(ring) = self.transport.queue(queue) else {
                return Ok(Next::Empty);
            };
            match ring.pop(memory)? {
                Some(chain) => break chain,
                None if ring.arm(memory)? == Backlog::Empty => return Ok(Next::Empty),
                None => {}
            }
        };
        match request.parse(queue, chain, &self.disk, memory)? {
            Parsed::Request => {
                request.through = through;
                self.in_flight = self.in_flight.saturating_add(1);
                return Ok(Next::Request);
            }
            Parsed::Refused(status) => self.answer(&request.ticket, status, 0, memory)?,
            Parsed::Serial => {
                let written = request.fill(&self.disk.serial, memory)?;
                self.answer(&request.ticket, S::Ok, written, memory)?;
            }
        }
        Ok(Next::Answered)
    }

    /// Writes the status byte and gives the chain back: of its buffers, `written` bytes of payload were filled.
    fn answer(&mut self, ticket: &Ticket, status: S, written: u32, memory: &dyn GuestMemory) -> Result<(), QueueError> {
        let Some(ring) = self.transport.queue(ticket.queue) else {
            return Ok(());
        };
        memory.write(ticket.status, &[u8::from(status)])?;
        ring.push_used(memory, ticket.head, written.saturating_add(1))
    }
}

/// The feature bits of a disk.
fn offered(disk: &Disk) -> u64 {
    let mut features = F::SIZE_MAX | F::SEG_MAX | F::BLK_SIZE | F::FLUSH | F::TOPOLOGY;
    features.set(F::RO, disk.read_only);
    features.set(F::MQ, disk.queues > 1);
    features.set(F::DISCARD | F::WRITE_ZEROES, disk.discard > 0 && !disk.read_only);
    bits(features)
}

/// The low 64 of the specification's 128 feature bits.
const fn bits(features: F) -> u64 {
    features.bits().to_ne() as u64
}
