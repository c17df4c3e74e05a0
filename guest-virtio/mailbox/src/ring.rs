//! The owner's side of the page's two rings.
//!
//! Owns the owner's two indices: they are kept here and only ever written to the page. EL2's two
//! are read from the page each time and checked before they are believed.

use core::fmt;

use hv_abi::mailbox::{
    INBOUND_CONSUMER, INBOUND_PRODUCER, INBOUND_SLOTS, OUTBOUND_CONSUMER, OUTBOUND_PRODUCER, OUTBOUND_SLOTS, SLOTS,
    Slot, slot_offset,
};
use zerocopy::IntoBytes;

use crate::{Exchange, Frames, MailboxError, Progress, Sink};

/// Access to the mailbox page, which EL2 reads and writes meanwhile. Offsets are in bytes from the
/// page's start and lie in it; those of `u32` are aligned.
pub trait Page {
    /// Reads a little-endian index with acquire order: no later access of the page is done before it.
    fn load_u32(&self, offset: usize) -> u32;
    /// Writes a little-endian index with release order: every earlier access of the page is done before it.
    fn store_u32(&self, offset: usize, value: u32);
    /// Copies bytes out of the page.
    fn read(&self, offset: usize, into: &mut [u8]);
    /// Copies bytes into the page.
    fn write(&self, offset: usize, from: &[u8]);
}

impl<P: Page + ?Sized> Page for &P {
    fn load_u32(&self, offset: usize) -> u32 {
        (**self).load_u32(offset)
    }

    fn store_u32(&self, offset: usize, value: u32) {
        (**self).store_u32(offset, value);
    }

    fn read(&self, offset: usize, into: &mut [u8]) {
        (**self).read(offset, into);
    }

    fn write(&self, offset: usize, from: &[u8]) {
        (**self).write(offset, from);
    }
}

/// One of the page's rings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ring {
    /// From the owner to EL2.
    Outbound,
    /// From EL2 to the owner.
    Inbound,
}

impl fmt::Display for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Outbound => "outbound",
            Self::Inbound => "inbound",
        })
    }
}

/// How much of a message is in the ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Sent {
    /// All of it.
    All,
    /// The ring is full; so many frames went in this time.
    Partly(u32),
}

/// What the caller does next in an exchange.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Step {
    /// Frames were put into or taken from the page: ring the doorbell, then step again.
    RingDoorbell,
    /// Nothing moved: wait for the mailbox's interrupt, then ring the doorbell (EL2 looks at the
    /// page at no other time) and step again.
    Wait,
    /// The reply is there, or EL2's reason why there will be none. The step may have taken frames:
    /// ring the doorbell once more if other replies are awaited.
    Ended(Progress),
}

/// The owner's side of a mailbox page.
#[derive(Debug)]
pub struct Client<P> {
    page: P,
    outbound_producer: u32,
    inbound_consumer: u32,
}

impl<P: Page> Client<P> {
    /// Takes up the page where its owner left it: both of the owner's indices stand in it.
    pub fn new(page: P) -> Self {
        let outbound_producer = page.load_u32(OUTBOUND_PRODUCER);
        let inbound_consumer = page.load_u32(INBOUND_CONSUMER);
        Self { page, outbound_producer, inbound_consumer }
    }

    /// Free slots of the outbound ring.
    ///
    /// # Errors
    /// [`MailboxError::Broken`].
    pub fn room(&self) -> Result<u32, MailboxError> {
        let consumer = self.page.load_u32(OUTBOUND_CONSUMER);
        let used = used(Ring::Outbound, self.outbound_producer, consumer)?;
        Ok(SLOTS - used)
    }

    /// Puts a frame into the outbound ring. EL2 sees it at the next doorbell.
    ///
    /// # Errors
    /// [`MailboxError::Full`], [`MailboxError::Broken`].
    pub fn send(&mut self, slot: &Slot) -> Result<(), MailboxError> {
        if self.room()? == 0 {
            return Err(MailboxError::Full);
        }
        let offset = slot_offset(OUTBOUND_SLOTS, self.outbound_producer);
        self.page.write(offset, slot.as_bytes());
        self.outbound_producer = self.outbound_producer.wrapping_add(1);
        self.page.store_u32(OUTBOUND_PRODUCER, self.outbound_producer);
        Ok(())
    }

    /// Puts as many of a message's frames into the outbound ring as fit; the rest stays in `frames`.
    ///
    /// # Errors
    /// [`MailboxError::Broken`].
    pub fn send_message(&mut self, frames: &mut Frames<'_>) -> Result<Sent, MailboxError> {
        let room = self.room()?;
        for slot in frames.by_ref().take(room as usize) {
            self.send(&slot)?;
        }
        Ok(if frames.is_empty() { Sent::All } else { Sent::Partly(room) })
    }

    /// Takes the oldest frame from the inbound ring; [`crate::open`] checks it.
    ///
    /// # Errors
    /// [`MailboxError::Broken`].
    pub fn receive(&mut self) -> Result<Option<Slot>, MailboxError> {
        let producer = self.page.load_u32(INBOUND_PRODUCER);
        if used(Ring::Inbound, producer, self.inbound_consumer)? == 0 {
            return Ok(None);
        }
        let mut slot = Slot::EMPTY;
        let offset = slot_offset(INBOUND_SLOTS, self.inbound_consumer);
        self.page.read(offset, slot.as_mut_bytes());
        self.inbound_consumer = self.inbound_consumer.wrapping_add(1);
        self.page.store_u32(INBOUND_CONSUMER, self.inbound_consumer);
        Ok(Some(slot))
    }

    /// Drives an exchange as far as it goes without waiting. Frames that are not part of it are
    /// dropped: who has several requests open calls [`Client::receive`] and [`Exchange::accept`].
    ///
    /// # Errors
    /// [`MailboxError::Broken`], and those of [`Exchange::accept`].
    pub fn step<S: Sink>(&mut self, exchange: &mut Exchange<'_, S>) -> Result<Step, MailboxError> {
        let mut moved = false;
        while let Some(slot) = self.receive()? {
            moved = true;
            match exchange.accept(&slot)? {
                Progress::NotMine | Progress::Partial => {}
                ended => return Ok(Step::Ended(ended)),
            }
        }
        if !exchange.frames().is_empty() {
            moved |= self.send_message(exchange.frames())? != Sent::Partly(0);
        }
        Ok(if moved { Step::RingDoorbell } else { Step::Wait })
    }
}

/// Slots in use between the indices of a ring.
fn used(ring: Ring, producer: u32, consumer: u32) -> Result<u32, MailboxError> {
    let used = producer.wrapping_sub(consumer);
    if used > SLOTS {
        return Err(MailboxError::Broken { ring, producer, consumer });
    }
    Ok(used)
}

#[cfg(test)]
mod tests;
