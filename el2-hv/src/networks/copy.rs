//! The one copy of a frame.

use core::ops::Range;

use arrayvec::ArrayVec;
use guest_virtio::memory::{GuestMemory, GuestMemoryError};
use guest_virtio::net::checksum::Completion;
use guest_virtio::net::{Frame, MAX_SEGMENTS, Room};
use guest_virtio::queue::{Direction, Segment};
use hv_arch::ram;
use hv_core::addr::Pa;
use hv_core::switch::HEADER;

use crate::guest_ram::Ram;

/// Most pieces of RAM that a frame is in: each of its buffers may lie on a border of two blocks.
const PIECES: usize = 2 * MAX_SEGMENTS;

/// A frame, and where it is in RAM.
pub(super) struct Source<'f> {
    /// The frame.
    pub(super) frame: &'f Frame,
    /// Its first bytes, by which it was decided who gets it: nobody gets others, whatever its sender does meanwhile.
    pub(super) first: [u8; HEADER],
    /// What its buffers' addresses are in.
    pub(super) memory: &'f dyn GuestMemory,
    pieces: ArrayVec<(Pa, u32), PIECES>,
}

impl<'f> Source<'f> {
    /// A guest's frame that begins with these bytes; `None` where a part of it is not the guest's RAM.
    pub(super) fn of_guest(frame: &'f Frame, first: [u8; HEADER], ram: &'f Ram) -> Option<Self> {
        let mut pieces = ArrayVec::new();
        for piece in frame.data.iter().flat_map(|segment| ram.pieces(segment)) {
            pieces.try_push(piece?).ok()?;
        }
        Some(Self { frame, first, memory: ram, pieces })
    }

    /// A frame in a buffer of EL2's; `None` where it is too short for one.
    pub(super) fn of_board(frame: &'f Frame) -> Option<Self> {
        let mut first = [0; HEADER];
        frame.read(0, &mut first, &Board).ok()?;
        let pieces = frame.data.iter().map(|segment| (Pa(segment.ipa), segment.length)).take(PIECES).collect();
        Some(Self { frame, first, memory: &Board, pieces })
    }

    /// Copies these bytes of it to a guest's room for a frame, from its byte `at` on; whether all of that is the guest's RAM.
    pub(super) fn copy_to(&self, part: Sums<'_>, (room, at): (&Room, u32), ram: &Ram) -> bool {
        let to = room.data.iter().flat_map(|segment| ram.pieces(segment));
        let mut whole = true;
        let found = to.map_while(|piece| {
            whole &= piece.is_some();
            piece
        });
        self.copy(part, behind(found, at));
        whole
    }

    /// Copies these bytes of it to one place in RAM that is as long.
    pub(super) fn copy_out(&self, part: Sums<'_>, to: Pa) {
        let length = part.bytes.len() as u32;
        self.copy(part, core::iter::once((to, length)));
    }

    /// Copies bytes of it to pieces of RAM, until either ends.
    fn copy(&self, part: Sums<'_>, to: impl Iterator<Item = (Pa, u32)>) {
        let mut from = behind(self.pieces.iter().copied(), part.bytes.start);
        let (mut missing, mut completion) = (part.bytes.len() as u32, part.completion);
        let (mut at, mut left) = (Pa(0), 0);
        for (mut to, mut length) in to {
            while length > 0 && missing > 0 {
                if left == 0 {
                    let Some(next) = from.next() else {
                        return;
                    };
                    (at, left) = next;
                }
                let count = length.min(left).min(missing);
                copy(to, at, count, completion.as_deref_mut());
                (to, at) = (Pa(to.0 + u64::from(count)), Pa(at.0 + u64::from(count)));
                (length, left, missing) = (length - count, left - count, missing - count);
            }
        }
    }
}

/// Bytes of a frame that are copied, and a checksum that they may have to come to.
pub(super) struct Sums<'c> {
    pub(super) bytes: Range<u32>,
    pub(super) completion: Option<&'c mut Completion>,
}

/// What is left of pieces of RAM behind their first `skipped` bytes.
fn behind(pieces: impl Iterator<Item = (Pa, u32)>, mut skipped: u32) -> impl Iterator<Item = (Pa, u32)> {
    pieces.filter_map(move |(at, length)| {
        let skip = skipped.min(length);
        skipped -= skip;
        (length > skip).then_some((Pa(at.0 + u64::from(skip)), length - skip))
    })
}

/// Copies bytes from one place in RAM to another, for a checksum that may cover them.
#[inline]
fn copy(to: Pa, from: Pa, count: u32, completion: Option<&mut Completion>) {
    let Some(completion) = completion else {
        return ram::copy(to, from, count.into());
    };
    let skipped = completion.uncovered().min(count);
    ram::copy(to, from, skipped.into());
    completion.skip(skipped);
    let (to, from) = (Pa(to.0 + u64::from(skipped)), Pa(from.0 + u64::from(skipped)));
    let covered = count - skipped;
    completion.add_summed(ram::copy_and_sum(to, from, covered.into()), covered);
}

/// A frame of `length` bytes at a place of EL2's own.
pub(super) fn frame_at(frame: &mut Frame, at: Pa, length: u32) {
    frame.data.clear();
    frame.data.push(Segment { ipa: at.0, length, direction: Direction::Readable });
    frame.length = length;
}

/// Memory of EL2's own, by its physical addresses.
struct Board;

impl GuestMemory for Board {
    fn read(&self, at: u64, into: &mut [u8]) -> Result<(), GuestMemoryError> {
        ram::read(Pa(at), into);
        Ok(())
    }

    fn write(&self, at: u64, from: &[u8]) -> Result<(), GuestMemoryError> {
        ram::write(Pa(at), from);
        Ok(())
    }
}
