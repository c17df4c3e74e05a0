//! Bytes of a frame that lies in several of a guest's buffers.

use crate::memory::{GuestMemory, GuestMemoryError};
use crate::queue::Segment;
use thiserror::Error;

/// Why bytes of a frame could not be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PayloadError {
    /// The frame does not have them.
    #[error("frame: {length} bytes at {offset} are not within it")]
    Range {
        /// The first, from the frame's first byte.
        offset: u32,
        /// How many.
        length: usize,
    },
    /// The buffer that its driver has named is not RAM.
    #[error("frame: {0}")]
    Memory(#[from] GuestMemoryError),
}

/// Copies the bytes from `offset` on out of `segments`.
///
/// # Errors
/// If they are not all there; `into` may then be partly overwritten.
pub(super) fn read(
    segments: &[Segment],
    offset: u32,
    into: &mut [u8],
    memory: &dyn GuestMemory,
) -> Result<(), PayloadError> {
    let length = into.len();
    let mut rest = into;
    for (ipa, room) in pieces(segments, offset) {
        let (piece, behind) = rest.split_at_mut(rest.len().min(room));
        memory.read(ipa, piece)?;
        rest = behind;
        if rest.is_empty() {
            return Ok(());
        }
    }
    if rest.is_empty() { Ok(()) } else { Err(PayloadError::Range { offset, length }) }
}

/// Copies `from` into `segments`, from `offset` on.
///
/// # Errors
/// If they have no such bytes; a part may then be written.
pub(super) fn write(
    segments: &[Segment],
    offset: u32,
    from: &[u8],
    memory: &dyn GuestMemory,
) -> Result<(), PayloadError> {
    let mut rest = from;
    for (ipa, room) in pieces(segments, offset) {
        let (piece, behind) = rest.split_at(rest.len().min(room));
        memory.write(ipa, piece)?;
        rest = behind;
        if rest.is_empty() {
            return Ok(());
        }
    }
    if rest.is_empty() { Ok(()) } else { Err(PayloadError::Range { offset, length: from.len() }) }
}

/// What of `segments` lies behind the first `offset` bytes: addresses and lengths, none of them empty.
fn pieces(segments: &[Segment], offset: u32) -> impl Iterator<Item = (u64, usize)> {
    let mut skipped = offset;
    segments.iter().filter_map(move |segment| {
        let skip = skipped.min(segment.length);
        skipped -= skip;
        let length = segment.length - skip;
        (length > 0).then(|| (segment.ipa.wrapping_add(u64::from(skip)), length as usize))
    })
}
