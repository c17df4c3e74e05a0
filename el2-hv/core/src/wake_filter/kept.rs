//! Frames that are kept while the partition wakes: the one that has woken it, and those behind it.

use crate::switch::PortId;

/// Frames that are kept at most: some clients' first ones, for the tenths of a second that a wake takes.
pub const FRAMES_KEPT: usize = 16;
/// Bytes of the longest frame that is kept: an Ethernet header with a VLAN tag and 1500 bytes (IEEE 802.3 §3.2.7), up
/// to a multiple of a cache's line.
pub const KEPT_MAX: usize = 1536;

/// A queue. One that is full refuses what comes: the oldest frame is the one that somebody has waited for longest, and
/// a lost SYN is sent again (RFC 9293 §3.8.1).
#[derive(Debug)]
pub struct Kept {
    frames: [[u8; KEPT_MAX]; FRAMES_KEPT],
    lengths: [usize; FRAMES_KEPT],
    sources: [PortId; FRAMES_KEPT],
    /// Place of the oldest.
    first: usize,
    count: usize,
    refused: u64,
}

impl Kept {
    /// Nothing is kept: all zero.
    pub const NONE: Self = Self {
        frames: [[0; KEPT_MAX]; FRAMES_KEPT],
        lengths: [0; FRAMES_KEPT],
        sources: [PortId(0); FRAMES_KEPT],
        first: 0,
        count: 0,
        refused: 0,
    };

    /// Keeps a frame of `length` bytes that came from a port, behind the others. Returns the place for its bytes, all
    /// zero: what is not written there is nobody else's frame. `None` where there is no room for it, or none so long.
    #[must_use]
    pub fn keep(&mut self, source: PortId, length: usize) -> Option<&mut [u8]> {
        if self.count == FRAMES_KEPT || length > KEPT_MAX {
            self.refused = self.refused.wrapping_add(1);
            return None;
        }
        let place = (self.first + self.count) % FRAMES_KEPT;
        self.count += 1;
        (self.lengths[place], self.sources[place]) = (length, source);
        let bytes = &mut self.frames[place][..length];
        bytes.fill(0);
        Some(bytes)
    }

    /// The oldest frame, and where it came from.
    pub fn first(&self) -> Option<(PortId, &[u8])> {
        let bytes = &self.frames[self.first][..self.lengths[self.first]];
        (self.count != 0).then_some((self.sources[self.first], bytes))
    }

    /// Forgets the oldest frame, if there is one.
    pub const fn drop_first(&mut self) {
        if self.count != 0 {
            self.first = (self.first + 1) % FRAMES_KEPT;
            self.count -= 1;
        }
    }

    /// Forgets all frames. What was refused is still counted.
    pub const fn clear(&mut self) {
        self.first = 0;
        self.count = 0;
    }

    /// Frames that are kept.
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether none is kept.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Frames that were refused. The number wraps.
    pub const fn refused(&self) -> u64 {
        self.refused
    }
}
