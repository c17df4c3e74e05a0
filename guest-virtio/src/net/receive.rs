//! Room for one frame that a driver is given: from the buffers that it has offered to those that hold the header and the
//! frame.

use super::offload::{HEADER, Offload};
use super::payload::{self, PayloadError};
use super::{MAX_SEGMENTS, next_chain};
use crate::memory::GuestMemory;
use crate::queue::{Chain, Direction, Queue, QueueError, Segment, Step};
use arrayvec::ArrayVec;

/// Most chains of one frame. Linux' mergeable buffers have at least 1,518 bytes, so 44 hold the longest.
pub const MAX_CHAINS: usize = 64;

/// How many of a driver's chains a frame may be spread over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spread {
    /// One, without MRG_RXBUF (§5.1.6.3.2).
    Single,
    /// As many as it needs.
    Merged,
}

/// What a frame needs of a driver's buffers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Need {
    /// Bytes of the frame.
    pub(super) length: u32,
    pub(super) spread: Spread,
}

/// What [`super::Net::room`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Reception {
    /// Room, in what the caller gave for it.
    Room,
    /// Too few buffers as yet; the driver notifies of its next ones.
    Full,
    /// The buffers that are waiting cannot hold the frame, however many come after them: it is to be dropped.
    TooLong,
    /// There is no driver that receives.
    Off,
}

/// A chain that is to be given back, and how many bytes of it are filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Used {
    pub(super) head: u16,
    pub(super) written: u32,
}

/// Room for a frame, kept by the caller to be used again and again.
#[derive(Clone, Debug)]
pub struct Room {
    pub(super) chains: ArrayVec<Used, MAX_CHAINS>,
    /// Where the header goes: each of its bytes may have a buffer of its own (§2.7.4.1).
    header: ArrayVec<Segment, HEADER>,
    /// The guest's buffers that the frame goes to: as many bytes as it has.
    pub data: ArrayVec<Segment, MAX_SEGMENTS>,
}

impl Default for Room {
    fn default() -> Self {
        Self::new()
    }
}

impl Room {
    /// None.
    pub const fn new() -> Self {
        Self { chains: ArrayVec::new_const(), header: ArrayVec::new_const(), data: ArrayVec::new_const() }
    }

    /// Copies `from` to where the frame's bytes from `offset` on are.
    ///
    /// # Errors
    /// If there is no room of that many bytes, or it lies outside of its guest's RAM.
    pub fn write(&self, offset: u32, from: &[u8], memory: &dyn GuestMemory) -> Result<(), PayloadError> {
        payload::write(&self.data, offset, from, memory)
    }

    /// Chains that it has of the driver's.
    pub(super) fn chain_count(&self) -> u16 {
        self.chains.len() as u16
    }

    pub(super) fn clear(&mut self) {
        self.chains.clear();
        self.header.clear();
        self.data.clear();
    }

    /// Takes chains of `queue` until they hold the header and the frame, or takes none.
    ///
    /// # Errors
    /// If the queue or a chain is bad.
    pub(super) fn take(
        &mut self,
        queue: &mut Queue,
        need: Need,
        memory: &dyn GuestMemory,
    ) -> Result<Reception, QueueError> {
        self.clear();
        let taken = self.collect(queue, need, memory)?;
        if taken != Reception::Room {
            queue.rewind(self.chain_count());
            self.clear();
        }
        Ok(taken)
    }

    fn collect(&mut self, queue: &mut Queue, need: Need, memory: &dyn GuestMemory) -> Result<Reception, QueueError> {
        let most = match need.spread {
            Spread::Single => 1,
            Spread::Merged => MAX_CHAINS,
        };
        let mut missing = need.length.saturating_add(HEADER as u32);
        while missing > 0 && self.chains.len() < most {
            // Armed before the chains are put back: what the driver is to notify of is what comes after all of them.
            let Some(mut chain) = next_chain(queue, memory)? else {
                // A driver whose every entry is taken has none to add.
                let all = queue.in_flight() >= queue.size();
                return Ok(if all { Reception::TooLong } else { Reception::Full });
            };
            let fitted = self.fit(&mut chain, missing, memory)?;
            let written = missing - fitted.unwrap_or(missing);
            let listed = self.chains.try_push(Used { head: chain.head(), written }).ok();
            let (Some(left), Some(())) = (fitted, listed) else {
                return Ok(Reception::TooLong);
            };
            missing = left;
        }
        Ok(if missing == 0 { Reception::Room } else { Reception::TooLong })
    }

    /// Takes buffers of one chain for the `missing` bytes and returns how many are missing still; `None` if there are more
    /// buffers than a frame may have. What lies in the chain behind the last byte is not looked at.
    fn fit(&mut self, chain: &mut Chain, missing: u32, memory: &dyn GuestMemory) -> Result<Option<u32>, QueueError> {
        let mut left = missing;
        while left > 0 {
            let mut segment = match chain.advance(memory)? {
                Step::Table => continue,
                Step::End if missing - left < HEADER as u32 => return Err(QueueError::Short(chain.head())),
                Step::End => break,
                Step::Segment(segment) => segment,
            };
            if segment.direction != Direction::Writable {
                return Err(QueueError::Direction(chain.head()));
            }
            segment.length = segment.length.min(left);
            left -= segment.length;
            if self.place(segment).is_none() {
                return Ok(None);
            }
        }
        Ok(Some(left))
    }

    /// Takes a buffer, its front for what the header still lacks; `None` if it is one too many.
    fn place(&mut self, mut segment: Segment) -> Option<()> {
        if self.chains.is_empty() {
            let has: u32 = self.header.iter().map(|piece| piece.length).sum();
            let length = segment.length.min((HEADER as u32).saturating_sub(has));
            if length > 0 {
                self.header.try_push(Segment { length, ..segment }).ok()?;
                segment.ipa = segment.ipa.wrapping_add(u64::from(length));
                segment.length -= length;
            }
        }
        if segment.length == 0 {
            return Some(());
        }
        self.data.try_push(segment).ok()
    }

    /// Writes the header in front of the frame.
    ///
    /// # Errors
    /// If its buffers are not the guest's RAM.
    pub(super) fn write_header(&self, offload: &Offload, memory: &dyn GuestMemory) -> Result<(), QueueError> {
        let bytes = offload.to_bytes(self.chain_count());
        let mut rest = bytes.iter().as_slice();
        for segment in &self.header {
            let (piece, behind) = rest.split_at(rest.len().min(segment.length as usize));
            memory.write(segment.ipa, piece)?;
            rest = behind;
        }
        Ok(())
    }
}
