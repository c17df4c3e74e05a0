//! What a receiver gets of a frame: all of it, or one of the TCP segments that it is cut into.

use core::ops::Range;

use guest_virtio::net::checksum::Completion;
use guest_virtio::net::segment::{Segment, Segments};
use guest_virtio::net::{Checksum, Offload};

use hv_core::switch::HEADER;

use super::copy::{Source, Sums};
use crate::interrupts;

/// Segments after which those that are left make way for an interrupt: more than a whole frame has on an Ethernet.
const TURN: usize = 64;

/// A frame, or a segment of one.
pub(super) struct Part<'s> {
    /// Headers of its own.
    pub(super) headers: &'s [u8],
    /// What follows, in the source's frame.
    payload: Range<u32>,
    /// A checksum that is computed as it is copied.
    completes: Option<Checksum>,
    /// What is left to its receiver.
    pub(super) offload: Offload,
}

impl<'s> Part<'s> {
    /// All of a frame.
    pub(super) fn whole(source: &'s Source<'_>) -> Self {
        let offload = source.frame.offload;
        Self { headers: &source.first, payload: HEADER as u32..source.frame.length, completes: None, offload }
    }

    /// A segment, its checksum left to its receiver.
    pub(super) fn of(segment: &'s Segment<'_>) -> Self {
        let (headers, payload) = (segment.headers, segment.payload.clone());
        Self { headers, payload, completes: None, offload: segment.offload() }
    }

    /// The same with its checksum, where that was left undone.
    pub(super) fn completed(self) -> Self {
        match self.offload {
            Offload::Checksum(checksum) => Self { completes: Some(checksum), offload: Offload::None, ..self },
            _ => self,
        }
    }

    /// Its checksum, of which its headers have come.
    pub(super) fn begin(&self) -> Option<Completion> {
        let mut completion = Completion::new(self.completes?);
        completion.add(self.headers);
        Some(completion)
    }

    /// What follows its headers, for that checksum.
    pub(super) fn payload<'c>(&self, completion: &'c mut Option<Completion>) -> Sums<'c> {
        Sums { bytes: self.payload.clone(), completion: completion.as_mut() }
    }

    /// Its bytes.
    pub(super) fn length(&self) -> u32 {
        self.headers.len() as u32 + self.payload.len() as u32
    }
}

/// Cuts a frame into segments, as long as they can be given away; whether one was. What a receiver has no room for is lost, and
/// sent again by TCP.
pub(super) fn segments(source: &Source<'_>, give: &mut dyn FnMut(&Segment<'_>) -> bool) -> bool {
    let Some(mut segments) = Segments::new(source.frame, source.memory) else {
        return false;
    };
    let mut given = 0;
    while let Some(segment) = segments.next_segment() {
        // Its own copy of the headers has to be what was decided by.
        let same = segment.headers.starts_with(&source.first);
        if !same || given >= TURN && interrupts::look() || !give(&segment) {
            break;
        }
        given += 1;
    }
    given > 0
}
