//! The Internet checksum (RFC 1071) that a frame's sender has left to the card, for a receiver that does not compute it.
//!
//! A [`Completion`] computes it from what is copied, while that is copied: no byte is read twice, and what a sender changes
//! meanwhile is in both or in neither.

use super::offload::Checksum;

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
        self.add_word(fold(sum), bytes.len() % 2 == 1);
    }

    /// Adds `count` bytes that follow those before, by their sum in ones' complement: of 16-bit words as this machine has them,
    /// or of longer ones, which come to the same (RFC 1071 §2 (C)).
    pub fn add_summed(&mut self, sum: u64, count: u32) {
        self.add_word(fold(sum), count % 2 == 1);
    }

    fn add_word(&mut self, word: u16, is_odd: bool) {
        // Behind an odd number of bytes each is the other half of its word.
        self.total += u64::from(if self.odd { word.swap_bytes() } else { word });
        self.odd ^= is_odd;
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

/// A checksum that is computed while its frame is copied, from the first byte on.
#[derive(Clone, Copy, Debug)]
pub struct Completion {
    checksum: Checksum,
    sum: Sum,
    /// Bytes that have come.
    has: u32,
}

impl Completion {
    /// Of a frame of which nothing has come.
    pub const fn new(checksum: Checksum) -> Self {
        Self { checksum, sum: Sum::new(), has: 0 }
    }

    /// Of the bytes that come next, how many it does not cover.
    pub fn uncovered(&self) -> u32 {
        u32::from(self.checksum.start).saturating_sub(self.has)
    }

    /// Bytes that it does not cover come next.
    pub fn skip(&mut self, count: u32) {
        self.has = self.has.saturating_add(count);
    }

    /// These come next.
    pub fn add(&mut self, bytes: &[u8]) {
        let covered = bytes.get(self.uncovered() as usize..).unwrap_or_default();
        self.skip(bytes.len() as u32);
        self.sum.add(covered);
    }

    /// Bytes that it covers come next, whose sum in ones' complement whoever copies them has.
    pub fn add_summed(&mut self, sum: u64, count: u32) {
        self.skip(count);
        self.sum.add_summed(sum, count);
    }

    /// The checksum of all that has come.
    pub fn finish(self) -> Patch {
        Patch { at: self.checksum.at(), bytes: self.sum.finish() }
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
