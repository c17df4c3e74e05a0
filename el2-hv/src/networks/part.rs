//! What a receiver gets of a frame: all of it, or one of the TCP segments that it is cut into.

use core::ops::Range;

use guest_virtio::net::Offload;
use guest_virtio::net::checksum::Patch;
use guest_virtio::net::segment::{Segment, Segments};

use hv_core::switch::HEADER;

use super::copy::Source;
use crate::interrupts;

/// Segments after which those that are left make way for an interrupt: more than a whole frame has on an Ethernet.
const TURN: usize = 64;

/// A frame, or a segment of one.
pub(super) struct Part<'s> {
    /// Headers of its own.
    pub(super) headers: &'s [u8],
    /// What follows, in the source's frame.
    pub(super) payload: Range<u32>,
    /// A checksum that goes into it.
    pub(super) patch: Option<Patch>,
    /// What is left to its receiver.
    pub(super) offload: Offload,
}

impl<'s> Part<'s> {
    /// All of a frame.
    pub(super) fn whole(source: &'s Source<'_>, patch: Option<Patch>, offload: Offload) -> Self {
        Self { headers: &source.first, payload: HEADER as u32..source.frame.length, patch, offload }
    }

    /// A segment, its checksum left to its receiver.
    pub(super) fn of(segment: &'s Segment<'_>) -> Self {
        let (headers, payload) = (segment.headers, segment.payload.clone());
        Self { headers, payload, patch: None, offload: segment.offload() }
    }

    /// The same with its checksum.
    pub(super) fn completed(self, segment: &Segment<'_>, source: &Source<'_>) -> Option<Self> {
        let patch = segment.complete(source.frame, source.memory)?;
        Some(Self { patch: Some(patch), offload: Offload::None, ..self })
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
