//! The generator that all random bytes of the machine come from.
//!
//! A pool is a ChaCha20 key (RFC 8439) and nothing else. Each draw makes a key stream of it, of which the first 32 bytes are
//! the next key and what follows is the output: the key that an output came of is gone when the caller has it, so nobody
//! who reads the pool later can go back (D. J. Bernstein, "Fast-key-erasure random-number generators", 2017).
//!
//! What is absorbed is combined with the key by exclusive or, and the first 32 bytes of the resulting key's stream are the
//! next key. Whoever knows only the key or only the input knows nothing of it, as far as a block of ChaCha20 is a random
//! function of its key.
//!
//! The pool is all zero at first. It gives nothing before it has absorbed [`SEED_BYTES`] of real sources.

pub mod firmware;
#[cfg(test)]
mod tests;

use chacha20::ChaCha20Rng;
use chacha20::rand_core::{Rng, SeedableRng};
use thiserror::Error;

/// Bytes of real sources that make a pool seeded: as many as a key has.
pub const SEED_BYTES: usize = 32;

/// The pool has not absorbed enough of real sources.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("random numbers: no source has given a seed")]
pub struct NotSeeded;

/// Bytes of a key.
const KEY: usize = 32;
/// Bytes of the input that a key takes in at once; the one behind them marks their end, so no two inputs are one.
const PIECE: usize = KEY - 1;
/// What stands behind the last byte of a piece (ISO/IEC 9797-1, padding method 2).
const END: u8 = 0x80;

/// The pool. It is not printed and not copied.
pub struct Pool {
    key: [u8; KEY],
    /// Bytes of real sources, as far as they count.
    seeded: usize,
}

impl Pool {
    /// A pool that knows nothing: all zero, for a static table.
    pub const fn new() -> Self {
        Self { key: [0; KEY], seeded: 0 }
    }

    /// Absorbs what may be known to others, or may have been seen before: it does no harm, and does not count.
    pub fn absorb(&mut self, input: &[u8]) {
        for piece in input.chunks(PIECE) {
            for (key, byte) in self.key.iter_mut().zip(piece.iter().chain([&END])) {
                *key ^= byte;
            }
            // Nothing is left to be given out: it all becomes the key.
            self.stir(&mut []);
        }
    }

    /// Absorbs bytes of a real source, each with 8 bits that nobody knows.
    pub fn seed(&mut self, input: &[u8]) {
        self.absorb(input);
        self.seeded = self.seeded.saturating_add(input.len()).min(SEED_BYTES);
    }

    /// Whether at least [`SEED_BYTES`] of real sources were absorbed.
    pub const fn is_seeded(&self) -> bool {
        self.seeded >= SEED_BYTES
    }

    /// Fills `into` with bytes that were never given before and cannot be told afterwards.
    ///
    /// # Errors
    /// [`NotSeeded`]: there are none; `into` is as it was.
    pub fn draw(&mut self, into: &mut [u8]) -> Result<(), NotSeeded> {
        if !self.is_seeded() {
            return Err(NotSeeded);
        }
        self.stir(into);
        Ok(())
    }

    /// The key stream: the next key first, then the output.
    fn stir(&mut self, output: &mut [u8]) {
        let mut stream = ChaCha20Rng::from_seed(self.key);
        stream.fill_bytes(&mut self.key);
        stream.fill_bytes(output);
    }
}

impl Default for Pool {
    fn default() -> Self {
        Self::new()
    }
}
