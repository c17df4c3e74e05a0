//! One frame that a driver sends: from a descriptor chain to what its header says and which buffers it is in.

use super::offload::{HEADER, Offload};
use super::payload::{self, PayloadError};
use super::{MAX_SEGMENTS, SEGMENTED_MAX};
use crate::memory::GuestMemory;
use crate::queue::{Chain, Direction, QueueError, Segment, Step};
use arrayvec::ArrayVec;
use virtio_spec::net::Hdr;
use zerocopy::{FromZeros, IntoBytes};

/// A frame that a driver sends, kept by the caller to be used again and again.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Its chain's name in the used ring.
    pub(super) head: u16,
    /// Its bytes, without the header in front of it.
    pub length: u32,
    /// What its sender has left undone.
    pub offload: Offload,
    /// The guest's buffers that it is in: as many bytes as it has.
    pub data: ArrayVec<Segment, MAX_SEGMENTS>,
}

impl Default for Frame {
    fn default() -> Self {
        Self::new()
    }
}

impl Frame {
    /// None.
    pub const fn new() -> Self {
        Self { head: 0, length: 0, offload: Offload::None, data: ArrayVec::new_const() }
    }

    /// Copies bytes of the frame from `offset` on. Its driver can change them at any time: what was decided by a copy holds
    /// for that copy only.
    ///
    /// # Errors
    /// If the frame does not have them, or lies outside of its guest's RAM.
    pub fn read(&self, offset: u32, into: &mut [u8], memory: &dyn GuestMemory) -> Result<(), PayloadError> {
        payload::read(&self.data, offset, into, memory)
    }

    /// Becomes the frame in `chain`; whether that holds one.
    ///
    /// # Errors
    /// If the chain is none.
    pub(super) fn parse(&mut self, mut chain: Chain, memory: &dyn GuestMemory) -> Result<bool, QueueError> {
        self.head = chain.head();
        self.length = 0;
        self.data.clear();
        let mut header = Hdr::new_zeroed();
        let mut has = 0;
        loop {
            let mut segment = match chain.advance(memory)? {
                Step::Table => continue,
                Step::End => break,
                Step::Segment(segment) => segment,
            };
            if segment.direction != Direction::Readable {
                return Ok(false);
            }
            if has < HEADER {
                has += read_header(&mut header, has, &mut segment, memory)?;
                if segment.length == 0 {
                    continue;
                }
            }
            self.length = self.length.saturating_add(segment.length);
            if self.length > SEGMENTED_MAX || self.data.try_push(segment).is_err() {
                return Ok(false);
            }
        }
        let offload = Offload::from_header(&header, self.length);
        // What a driver says of its own checksums is not known to be so (§5.1.6.2.2).
        self.offload = offload.filter(|&said| said != Offload::Valid).unwrap_or(Offload::None);
        Ok(has == HEADER && offload.is_some())
    }
}

/// Takes what the header still lacks, of which it `has` some bytes, off the front of `segment`; how many these were.
fn read_header(
    header: &mut Hdr,
    has: usize,
    segment: &mut Segment,
    memory: &dyn GuestMemory,
) -> Result<usize, QueueError> {
    let (_, missing) = header.as_mut_bytes().split_at_mut(has);
    let count = missing.len().min(segment.length as usize);
    let (piece, _) = missing.split_at_mut(count);
    memory.read(segment.ipa, piece)?;
    segment.ipa = segment.ipa.wrapping_add(count as u64);
    segment.length -= count as u32;
    Ok(count)
}
