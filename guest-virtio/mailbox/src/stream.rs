//! Frames that follow each other as bytes, as on a management port.
//!
//! A stream has no marks to find the next frame by once a header is wrong, and guessing would take
//! a body for a header. So a broken header ends the stream: the port is closed, which discards what
//! is under way on both sides, and opened again.

use hv_abi::mailbox::{Frame, HEADER_SIZE, Slot};
use zerocopy::IntoBytes;

use crate::MailboxError;

/// Finds frames in a stream of bytes that comes in pieces of any size.
#[derive(Debug)]
pub struct FrameReader {
    slot: Slot,
    filled: usize,
    broken: Option<MailboxError>,
}

impl Default for FrameReader {
    fn default() -> Self {
        Self::new()
    }
}

impl FrameReader {
    /// A reader at the beginning of a stream.
    pub const fn new() -> Self {
        Self { slot: Slot::EMPTY, filled: 0, broken: None }
    }

    /// Takes bytes from the front of `bytes` up to the end of the next frame. `None` means that all
    /// were taken and the frame is not whole; otherwise call again until it is.
    ///
    /// # Errors
    /// [`MailboxError::Frame`] for a broken header, the same again at each later call.
    pub fn push(&mut self, bytes: &mut &[u8]) -> Result<Option<Slot>, MailboxError> {
        if let Some(error) = self.broken {
            return Err(error);
        }
        self.fill(bytes, HEADER_SIZE);
        if self.filled < HEADER_SIZE {
            return Ok(None);
        }
        let frame = Frame::parse(&self.slot.header).map_err(|error| {
            let error = MailboxError::Frame(error);
            self.broken = Some(error);
            error
        })?;
        let end = HEADER_SIZE + frame.length;
        self.fill(bytes, end);
        if self.filled < end {
            return Ok(None);
        }
        self.filled = 0;
        Ok(Some(core::mem::replace(&mut self.slot, Slot::EMPTY)))
    }

    /// Moves bytes from the front of `bytes` to the slot, until it has `end` of them.
    fn fill(&mut self, bytes: &mut &[u8], end: usize) {
        let missing = end.saturating_sub(self.filled).min(bytes.len());
        let (taken, rest) = bytes.split_at(missing);
        // `end` is at most the slot's size: a header, or a header and a checked length.
        if let Some(room) = self.slot.as_mut_bytes().get_mut(self.filled..) {
            room.iter_mut().zip(taken).for_each(|(to, from)| *to = *from);
        }
        self.filled += missing;
        *bytes = rest;
    }
}

#[cfg(test)]
mod tests;
