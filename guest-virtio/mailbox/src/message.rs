//! Messages and their frames: cutting, and putting together with a bound.

use hv_abi::mailbox::{BODY_MAX, Flags, Frame, FrameError, MESSAGE_MAX, Party, Slot};

use crate::MailboxError;

/// The checked header of a frame, and its body.
///
/// # Errors
/// The field of the header that is wrong.
pub fn open(slot: &Slot) -> Result<(Frame, &[u8]), FrameError> {
    let frame = Frame::parse(&slot.header)?;
    // A checked length is at most BODY_MAX.
    let body = slot.body.get(..frame.length).unwrap_or_default();
    Ok((frame, body))
}

/// A message cut into frames, first to last. All but the last carry [`Flags::MORE`] and are full.
#[derive(Clone, Debug)]
pub struct Frames<'m> {
    frame: Frame,
    /// What was not cut off yet; `None` behind the last frame.
    rest: Option<&'m [u8]>,
}

impl<'m> Frames<'m> {
    /// The frames of a request.
    ///
    /// # Errors
    /// [`MailboxError::TooLong`].
    pub fn request(party: Party, id: u32, message: &'m [u8]) -> Result<Self, MailboxError> {
        Self::new(Frame::request(party, Flags::default(), id, 0), message)
    }

    /// The frames of the reply to the request whose header is `request`: same party, id, port and VM.
    ///
    /// # Errors
    /// [`MailboxError::TooLong`].
    pub fn reply(request: &Frame, message: &'m [u8]) -> Result<Self, MailboxError> {
        let frame = Frame { flags: Flags::default(), ..*request };
        Self::new(frame, message)
    }

    const fn new(frame: Frame, message: &'m [u8]) -> Result<Self, MailboxError> {
        if message.len() > MESSAGE_MAX {
            return Err(MailboxError::TooLong);
        }
        Ok(Self { frame, rest: Some(message) })
    }

    /// Says that asking twice does no harm, which a header can say of a message of one frame only.
    #[must_use]
    pub fn repeat_safe(mut self) -> Self {
        if self.rest.is_some_and(|rest| rest.len() <= BODY_MAX) {
            self.frame.flags = self.frame.flags.union(Flags::REPEAT_SAFE);
        }
        self
    }

    /// The request's number.
    pub const fn id(&self) -> u32 {
        self.frame.id
    }

    /// Whether every frame was taken.
    pub const fn is_empty(&self) -> bool {
        self.rest.is_none()
    }
}

impl Iterator for Frames<'_> {
    type Item = Slot;

    fn next(&mut self) -> Option<Slot> {
        let rest = self.rest?;
        let (body, behind) = rest.split_at(rest.len().min(BODY_MAX));
        let more = !behind.is_empty();
        self.rest = more.then_some(behind);
        let flags = if more { self.frame.flags.union(Flags::MORE) } else { self.frame.flags };
        Some(Slot::new(Frame { flags, ..self.frame }, body))
    }
}

/// Where a message is put together.
pub trait Sink {
    /// Appends bytes.
    ///
    /// # Errors
    /// [`MailboxError::Buffer`] where they do not fit.
    fn append(&mut self, bytes: &[u8]) -> Result<(), MailboxError>;
    /// What was appended.
    fn bytes(&self) -> &[u8];
    /// Forgets what was appended.
    fn clear(&mut self);
}

/// A sink in a buffer of the caller's.
#[derive(Debug)]
pub struct Buffer<'b> {
    buffer: &'b mut [u8],
    length: usize,
}

impl<'b> Buffer<'b> {
    /// An empty sink with room for all of `buffer`.
    pub const fn new(buffer: &'b mut [u8]) -> Self {
        Self { buffer, length: 0 }
    }
}

impl Sink for Buffer<'_> {
    fn append(&mut self, bytes: &[u8]) -> Result<(), MailboxError> {
        let size = self.buffer.len();
        self.buffer
            .get_mut(self.length..)
            .and_then(|room| room.get_mut(..bytes.len()))
            .ok_or(MailboxError::Buffer(size))?
            .copy_from_slice(bytes);
        self.length += bytes.len();
        Ok(())
    }

    fn bytes(&self) -> &[u8] {
        self.buffer.get(..self.length).unwrap_or_default()
    }

    fn clear(&mut self) {
        self.length = 0;
    }
}

#[cfg(feature = "alloc")]
impl Sink for alloc::vec::Vec<u8> {
    fn append(&mut self, bytes: &[u8]) -> Result<(), MailboxError> {
        self.extend_from_slice(bytes);
        Ok(())
    }

    fn bytes(&self) -> &[u8] {
        self
    }

    fn clear(&mut self) {
        self.clear();
    }
}

/// What a frame was to its message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Part {
    /// More frames follow.
    More,
    /// It was the last: the message is whole.
    Last,
}

/// Puts one message together. The caller gives it the frames of that message and no others.
#[derive(Debug)]
pub struct Assembler<S> {
    sink: S,
}

impl<S: Sink> Assembler<S> {
    /// Begins a message.
    pub fn new(mut sink: S) -> Self {
        sink.clear();
        Self { sink }
    }

    /// Appends a frame's body.
    ///
    /// # Errors
    /// [`MailboxError::TooLong`], [`MailboxError::Buffer`], [`MailboxError::EmptyPart`]. What was
    /// there before is kept.
    pub fn push(&mut self, frame: &Frame, body: &[u8]) -> Result<Part, MailboxError> {
        let more = frame.flags.contains(Flags::MORE);
        if more && body.is_empty() {
            return Err(MailboxError::EmptyPart);
        }
        // Both are lengths of slices, whose sum is far below the address space.
        if self.sink.bytes().len() + body.len() > MESSAGE_MAX {
            return Err(MailboxError::TooLong);
        }
        self.sink.append(body)?;
        Ok(if more { Part::More } else { Part::Last })
    }

    /// What is there so far.
    pub fn message(&self) -> &[u8] {
        self.sink.bytes()
    }

    /// The sink with the message.
    pub fn into_sink(self) -> S {
        self.sink
    }
}

#[cfg(test)]
mod tests;
