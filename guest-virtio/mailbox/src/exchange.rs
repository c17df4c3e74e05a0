//! One request and its reply.

use hv_abi::mailbox::{Flags, HvError, HvErrorKind, Slot};
use zerocopy::FromBytes;

use crate::{Assembler, Frames, MailboxError, Part, Sink, open};

/// What a frame was to an exchange.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Progress {
    /// It belongs to another request, or is an event.
    NotMine,
    /// A part of the reply; more follows.
    Partial,
    /// The reply is whole.
    Complete,
    /// EL2 ended the request. What had come of a reply is worth nothing.
    Failed(HvErrorKind),
}

/// One request and its reply, matched by the request's number: numbers are unique among the
/// requests of a ring or port, so nothing else has to be compared, and EL2's own error may come in
/// the place of a reply of the service partition, or in the middle of one.
#[derive(Debug)]
pub struct Exchange<'m, S> {
    frames: Frames<'m>,
    reply: Assembler<S>,
}

impl<'m, S: Sink> Exchange<'m, S> {
    /// An exchange with the request `frames`, whose reply is put together in `sink`.
    pub fn new(frames: Frames<'m>, sink: S) -> Self {
        Self { frames, reply: Assembler::new(sink) }
    }

    /// The frames of the request that were not sent yet.
    pub const fn frames(&mut self) -> &mut Frames<'m> {
        &mut self.frames
    }

    /// Takes a frame that came from EL2.
    ///
    /// # Errors
    /// A header or reply that cannot be read; nothing more is to be expected of the exchange then.
    pub fn accept(&mut self, slot: &Slot) -> Result<Progress, MailboxError> {
        let (frame, body) = open(slot)?;
        if frame.id != self.frames.id() || frame.flags.contains(Flags::EVENT) {
            return Ok(Progress::NotMine);
        }
        if frame.flags.contains(Flags::ERROR) {
            return failure(body).map(Progress::Failed);
        }
        Ok(match self.reply.push(&frame, body)? {
            Part::More => Progress::Partial,
            Part::Last => Progress::Complete,
        })
    }

    /// The reply, after [`Progress::Complete`].
    pub fn reply(&self) -> &[u8] {
        self.reply.message()
    }

    /// The sink with the reply.
    pub fn into_sink(self) -> S {
        self.reply.into_sink()
    }
}

/// The reason in the body of an error frame.
fn failure(body: &[u8]) -> Result<HvErrorKind, MailboxError> {
    let number = HvError::read_from_bytes(body).map_or(0, |error| error.kind.get());
    HvErrorKind::from_number(number).ok_or(MailboxError::UnknownError(number))
}

#[cfg(test)]
mod tests;
