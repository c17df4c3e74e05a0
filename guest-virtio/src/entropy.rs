//! A virtio entropy device (virtio 1.2 §5.4).
//!
//! Owns the transport and what of a request is the protocol's. It has no configuration space and no features of its own
//! (§5.4.3, §5.4.4). The random bytes are the caller's, and so is how many of them its guest may have in a second.
//!
//! # Use
//! After [`Entropy::write`] has said that there are requests, the caller calls [`Entropy::fill`] until it leaves none.
//!
//! # Bounds
//! One call fills at most [`REQUESTS_MAX`] requests, each with at most [`REQUEST_BYTES`] bytes: a device may use less than
//! the buffer (§5.4.6.2). Of the guest's memory it reads the ring and descriptors, never a buffer.

#[cfg(any(test, fuzzing))]
pub(crate) mod tests;

use crate::memory::GuestMemory;
use crate::mmio::{Effect, Profile, Transport};
use crate::queue::{Backlog, Chain, Direction, QueueError, Step};
use virtio_spec::Id;

/// Most entries of the queue.
pub const QUEUE_SIZE_MAX: u16 = 64;
/// Most bytes that one request gets.
pub const REQUEST_BYTES: usize = 64;
/// Most requests that one call fills.
pub const REQUESTS_MAX: usize = 8;

/// The only queue (§5.4.2).
const REQUESTS: u16 = 0;

/// What the device is.
const PROFILE: Profile = Profile { id: Id::Rng, offered: 0, required: 0, queues: 1, queue_size_max: QUEUE_SIZE_MAX };

/// What a register write asks of the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum EntropyEffect {
    /// Nothing.
    None,
    /// There may be requests.
    Requests,
    /// The driver reset the device, or stopped its queue.
    Reset,
}

/// The device.
#[derive(Clone, Debug)]
pub struct Entropy {
    transport: Transport<1>,
}

impl Default for Entropy {
    fn default() -> Self {
        Self::NONE
    }
}

impl Entropy {
    /// No device, until [`Entropy::restart`]: all zero, for a static table.
    pub const NONE: Self = Self { transport: Transport::new(Profile::NONE) };

    /// Becomes an entropy device, as after power-on.
    pub fn restart(&mut self) {
        self.transport.restart(PROFILE);
    }

    /// Answers a read of `size` bytes (1, 2, 4 or 8) at `offset` into the slot.
    pub fn read(&self, offset: u64, size: u8) -> u64 {
        self.transport.read(offset, size, &[])
    }

    /// Performs a write of `size` bytes at `offset` into the slot.
    pub fn write(&mut self, offset: u64, size: u8, value: u64) -> EntropyEffect {
        match self.transport.write(offset, size, value) {
            Effect::None => EntropyEffect::None,
            Effect::Started | Effect::Notify(_) => EntropyEffect::Requests,
            Effect::QueueStopped(_) | Effect::Reset => EntropyEffect::Reset,
        }
    }

    /// Whether the slot's SPI must be pulsed now; true once for all causes since the last call.
    pub const fn take_pulse(&mut self) -> bool {
        self.transport.take_pulse()
    }

    /// Fills requests with bytes of `source`, which fills all of what it is given, and interrupts the driver if it wants to
    /// hear of them. Where requests are left, the driver need not notify of them: the caller calls again.
    ///
    /// A chain that is none, that the driver does not let the device write, or that lies outside of the guest's memory,
    /// makes the device ask for a reset (§2.1.2), and no requests are left.
    pub fn fill(&mut self, memory: &dyn GuestMemory, source: &mut dyn FnMut(&mut [u8])) -> Backlog {
        let left = self.serve(memory, source).and_then(|left| self.signal(memory).map(|()| left));
        left.unwrap_or_else(|_| {
            self.transport.fail();
            Backlog::Empty
        })
    }

    fn serve(&mut self, memory: &dyn GuestMemory, source: &mut dyn FnMut(&mut [u8])) -> Result<Backlog, QueueError> {
        let Some(ring) = self.transport.queue(REQUESTS) else {
            return Ok(Backlog::Empty);
        };
        for _ in 0..REQUESTS_MAX {
            let Some(chain) = ring.pop(memory)? else { break };
            let head = chain.head();
            let written = fill_chain(chain, memory, source)?;
            ring.push_used(memory, head, written)?;
        }
        ring.arm(memory)
    }

    fn signal(&mut self, memory: &dyn GuestMemory) -> Result<(), QueueError> {
        let wanted = match self.transport.queue(REQUESTS) {
            Some(ring) => ring.should_notify(memory)?,
            None => false,
        };
        if wanted {
            self.transport.signal_used();
        }
        Ok(())
    }
}

/// Fills the front of a chain's buffers and returns how many bytes it has got: at least one, as no buffer is empty
/// (§5.4.6.2).
fn fill_chain(
    mut chain: Chain,
    memory: &dyn GuestMemory,
    source: &mut dyn FnMut(&mut [u8]),
) -> Result<u32, QueueError> {
    let mut bytes = [0; REQUEST_BYTES];
    let mut written = 0;
    while written < REQUEST_BYTES {
        let segment = match chain.advance(memory)? {
            Step::Table => continue,
            Step::End => break,
            Step::Segment(segment) => segment,
        };
        // The driver must not place buffers that the device reads (§5.4.6.1).
        if segment.direction != Direction::Writable {
            return Err(QueueError::Direction(chain.head()));
        }
        let length = (segment.length as usize).min(REQUEST_BYTES - written);
        source(&mut bytes[..length]);
        memory.write(segment.ipa, &bytes[..length])?;
        written += length;
    }
    Ok(written as u32)
}
