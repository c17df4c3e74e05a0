//! The mailbox page from its owner's side: frames out, frames in.
//!
//! Indices are free-running; the owner writes the producer of the outbound ring and the consumer of
//! the inbound ring and keeps its own copy of both. Of EL2's indices it believes only what is
//! possible: a ring that claims more than its slots is broken, and a broken mailbox ends this life.

use hv_abi::mailbox::{
    INBOUND_CONSUMER, INBOUND_PRODUCER, INBOUND_SLOTS, OUTBOUND_CONSUMER, OUTBOUND_PRODUCER, OUTBOUND_SLOTS, SLOTS,
    Slot, slot_offset,
};

use crate::error::Error;

/// Access to the page's bytes, at offsets that `hv_abi::mailbox` gives. EL2 writes to it at any time,
/// so that there are only copies.
pub trait Page {
    /// An index, with load-acquire.
    fn load(&self, offset: usize) -> u32;
    /// Sets an index, with store-release.
    fn store(&mut self, offset: usize, value: u32);
    /// A copy of the slot at `offset`.
    fn read_slot(&self, offset: usize) -> Slot;
    /// Writes the slot at `offset`.
    fn write_slot(&mut self, offset: usize, slot: &Slot);
}

/// Both rings.
#[derive(Debug)]
pub struct Rings<P> {
    page: P,
    out_producer: u32,
    in_consumer: u32,
}

impl<P: Page> Rings<P> {
    /// The rings in `page`, going on where the owner's indices stand.
    pub fn new(page: P) -> Self {
        let out_producer = page.load(OUTBOUND_PRODUCER);
        let in_consumer = page.load(INBOUND_CONSUMER);
        Self { page, out_producer, in_consumer }
    }

    /// Whether a frame waits.
    ///
    /// # Errors
    /// [`Error::Mailbox`] where EL2's index is impossible.
    pub fn has_frame(&self) -> Result<bool, Error> {
        let waiting = self.page.load(INBOUND_PRODUCER).wrapping_sub(self.in_consumer);
        if waiting > SLOTS {
            return Err(Error::Mailbox { ring: "inbound", filled: waiting });
        }
        Ok(waiting != 0)
    }

    /// Takes the next frame.
    ///
    /// # Errors
    /// [`Error::Mailbox`] where EL2's index is impossible.
    pub fn take(&mut self) -> Result<Option<Slot>, Error> {
        if !self.has_frame()? {
            return Ok(None);
        }
        let slot = self.page.read_slot(slot_offset(INBOUND_SLOTS, self.in_consumer));
        self.in_consumer = self.in_consumer.wrapping_add(1);
        self.page.store(INBOUND_CONSUMER, self.in_consumer);
        Ok(Some(slot))
    }

    /// Puts a frame into the outbound ring. The doorbell is the caller's.
    ///
    /// # Errors
    /// [`Error::Mailbox`] where the ring is full: EL2 empties it at each doorbell, and one frame at a
    /// time is sent.
    pub fn put(&mut self, slot: &Slot) -> Result<(), Error> {
        let filled = self.out_producer.wrapping_sub(self.page.load(OUTBOUND_CONSUMER));
        if filled >= SLOTS {
            return Err(Error::Mailbox { ring: "outbound", filled });
        }
        self.page.write_slot(slot_offset(OUTBOUND_SLOTS, self.out_producer), slot);
        self.out_producer = self.out_producer.wrapping_add(1);
        self.page.store(OUTBOUND_PRODUCER, self.out_producer);
        Ok(())
    }
}
