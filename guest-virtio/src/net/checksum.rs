//! The Internet checksum (RFC 1071) that a frame's sender has left to the card, for a receiver that does not compute it.

use super::frame::Frame;
use super::offload::Offload;
use super::payload::PayloadError;
use crate::memory::GuestMemory;
use core::ops::Range;

/// Bytes of a frame that are copied at once, on the stack.
const PIECE: usize = 256;

/// A checksum, and where in the frame it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patch {
    /// From the frame's first byte.
    pub at: u32,
    /// As they stand there.
    pub bytes: [u8; 2],
}

/// A sum in the making, of bytes that come in pieces.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum {
    /// Of 16-bit words as this machine has them: the sum does not depend on the order of bytes (RFC 1071 §2 (B)).
    total: u64,
    /// An odd number of bytes has come.
    odd: bool,
}

impl Sum {
    /// Of nothing.
    pub const fn new() -> Self {
        Self { total: 0, odd: false }
    }

    /// Adds the bytes that follow those before.
    pub fn add(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<4>();
        let mut sum: u64 = words.iter().map(|&word| u64::from(u32::from_ne_bytes(word))).sum();
        for pair in rest.chunks(2) {
            let word = [pair.first().copied().unwrap_or(0), pair.get(1).copied().unwrap_or(0)];
            sum += u64::from(u16::from_ne_bytes(word));
        }
        let word = fold(sum);
        // Behind an odd number of bytes each is the other half of its word.
        self.total += u64::from(if self.odd { word.swap_bytes() } else { word });
        self.odd ^= bytes.len() % 2 == 1;
    }

    /// Adds bytes of a frame, in pieces: those in `range`, from its first byte.
    ///
    /// # Errors
    /// If the frame does not have them, or lies outside of its guest's RAM; a part may then be added.
    pub(super) fn add_frame(
        &mut self,
        frame: &Frame,
        range: Range<u32>,
        memory: &dyn GuestMemory,
    ) -> Result<(), PayloadError> {
        let mut piece = [0; PIECE];
        let mut offset = range.start;
        while offset < range.end {
            let count = PIECE.min((range.end - offset) as usize);
            let (piece, _) = piece.split_at_mut(count);
            frame.read(offset, piece, memory)?;
            self.add(piece);
            offset += count as u32;
        }
        Ok(())
    }

    /// The sum itself, as its bytes stand in a frame: what a checksum's field has of the pseudo header before the rest is
    /// computed (virtio 1.2 §5.1.6.2).
    pub fn partial(self) -> [u8; 2] {
        fold(self.total).to_ne_bytes()
    }

    /// The checksum, as its bytes stand in a frame. It is never zero, which is none for UDP and the same number otherwise
    /// (RFC 768).
    pub fn finish(self) -> [u8; 2] {
        match !fold(self.total) {
            0 => [0xff; 2],
            sum => sum.to_ne_bytes(),
        }
    }
}

/// The sum of the 16-bit words of a number, in ones' complement.
const fn fold(sum: u64) -> u16 {
    let mut sum = (sum & 0xffff_ffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    sum as u16
}

/// Computes the checksum that a frame's sender has left undone. `None` if it has not, if the frame is to be cut into segments
/// that have one each, or if it lies outside of its guest's RAM.
pub fn complete(frame: &Frame, memory: &dyn GuestMemory) -> Option<Patch> {
    let Offload::Checksum(checksum) = frame.offload else {
        return None;
    };
    let mut sum = Sum::new();
    sum.add_frame(frame, checksum.start.into()..frame.length, memory).ok()?;
    Some(Patch { at: checksum.at(), bytes: sum.finish() })
}
