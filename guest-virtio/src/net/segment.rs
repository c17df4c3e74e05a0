//! A frame cut into TCP segments, for a receiver that takes none that are to be cut: a guest without GUEST_TSO4 or GUEST_TSO6,
//! or a physical card without segmentation.
//!
//! Owns the headers, in one copy that is checked once: what the guest writes there later changes no segment. It never touches
//! the payload: a [`Segment`] says where in the frame that is, and the caller copies it from there.
//!
//! # Use
//! [`Segments::new`] at [`super::Fit::NeedsSegments`], then [`Segments::next_segment`] until there is none, in as many turns as the
//! caller likes. Each segment is a frame of its own: its receiver is asked by [`super::Net::accepts`] with
//! [`Segment::offload`] and [`Segment::length`], and where that comes to [`super::Fit::NeedsChecksum`], a
//! [`super::checksum::Completion`] computes it. [`Segments::postpone`] has the last segment come again.

mod headers;

use super::frame::Frame;
use super::offload::{Checksum, Offload};
use crate::memory::GuestMemory;
use core::ops::Range;
use headers::Headers;

pub use headers::HEADERS_MAX;

/// Most segments of a frame: the longest can be cut by 64 bytes or more. The number is what bounds the work, not the least
/// size: a path's segments may be small (RFC 9293 §3.7.1 knows no least MSS), and then its frames are short.
pub const COUNT_MAX: u16 = 1024;

/// A part of the bytes of the stream that a frame carries.
#[derive(Clone, Copy, Debug)]
struct Part {
    /// Parts before it.
    index: u16,
    /// Its first byte, from the first that the frame carries.
    offset: u32,
    /// Bytes.
    length: u16,
    /// None follows.
    last: bool,
}

/// One segment: headers, and a part of the frame's payload behind them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment<'a> {
    /// Ethernet, IP and TCP. The TCP checksum is the sum of this segment's pseudo header (virtio 1.2 §5.1.6.2).
    pub headers: &'a [u8],
    /// The bytes of the source frame that follow, from its first byte: at most gso_size, none if it carries none.
    pub payload: Range<u32>,
    /// What is left undone.
    pub checksum: Checksum,
}

impl Segment<'_> {
    /// Its bytes, headers and payload.
    pub const fn length(&self) -> u32 {
        self.headers.len() as u32 + (self.payload.end - self.payload.start)
    }

    /// What is left undone, for a receiver that has accepted it.
    pub const fn offload(&self) -> Offload {
        Offload::Checksum(self.checksum)
    }
}

/// A frame's segments, one after the other.
#[derive(Clone, Debug)]
pub struct Segments {
    headers: Headers,
    /// Bytes of the stream that the frame carries.
    payload: u32,
    /// Most bytes of a segment's payload (gso_size).
    size: u16,
    count: u16,
    /// Those that were yielded.
    done: u16,
}

impl Default for Segments {
    fn default() -> Self {
        Self::NONE
    }
}

impl Segments {
    /// Of no frame: all zero, for a static table.
    pub const NONE: Self = Self { headers: Headers::NONE, payload: 0, size: 0, count: 0, done: 0 };

    /// Cuts a frame. `None` if it is not to be cut; if its headers are not those of one TCP segment over IP that its offload
    /// speaks of, within [`HEADERS_MAX`] bytes of the guest's RAM; or if it has more than [`COUNT_MAX`] segments.
    pub fn new(frame: &Frame, memory: &dyn GuestMemory) -> Option<Self> {
        let Offload::Segments(checksum, how) = frame.offload else {
            return None;
        };
        let headers = Headers::read(frame, memory)?;
        if headers.checksum() != checksum || headers.protocol() != how.protocol {
            return None;
        }
        let payload = frame.length.checked_sub(headers.length().into())?;
        let size = how.size.get();
        let count = u16::try_from(payload.div_ceil(size.into()).max(1)).ok()?;
        let fits = headers.can_carry(payload.min(size.into()));
        (fits && count <= COUNT_MAX).then_some(Self { headers, payload, size, count, done: 0 })
    }

    /// The next segment; `None` behind the last.
    pub fn next_segment(&mut self) -> Option<Segment<'_>> {
        let part = self.part()?;
        self.done += 1;
        self.headers.fit(&part);
        let start = u32::from(self.headers.length()) + part.offset;
        Some(Segment {
            headers: self.headers.bytes(),
            payload: start..start + u32::from(part.length),
            checksum: self.headers.checksum(),
        })
    }

    /// Puts back the segment that was yielded last: the next [`Segments::next_segment`] yields it again.
    pub const fn postpone(&mut self) {
        self.done = self.done.saturating_sub(1);
    }

    /// Segments that are still to come.
    pub const fn left(&self) -> u16 {
        self.count.saturating_sub(self.done)
    }

    /// What the next segment carries.
    fn part(&self) -> Option<Part> {
        let left = self.left();
        let offset = u32::from(self.done) * u32::from(self.size);
        let length = self.payload.saturating_sub(offset).min(self.size.into()) as u16;
        (left > 0).then_some(Part { index: self.done, offset, length, last: left == 1 })
    }
}
