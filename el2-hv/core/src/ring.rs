//! A ring of bytes with positions that never go back: what a console has shown, what the log says.

/// What happens to a byte for which there is no room.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WhenFull {
    /// It is refused.
    Refuse,
    /// The oldest byte makes room.
    Overwrite,
}

/// A ring of `N` bytes, a power of two. Positions count all bytes that were ever put: 64 bits do not wrap in
/// the life of a board, so arithmetic on them is not checked.
#[derive(Debug)]
pub struct ByteRing<const N: usize> {
    bytes: [u8; N],
    /// Position of the oldest byte that is kept.
    oldest: u64,
    /// Position of the next byte to be taken out.
    taken: u64,
    /// Position of the next byte to be put in.
    end: u64,
}

impl<const N: usize> ByteRing<N> {
    const SIZE_IS_POWER_OF_TWO: () = assert!(N.is_power_of_two());

    /// An empty ring.
    pub const fn new() -> Self {
        let () = Self::SIZE_IS_POWER_OF_TWO;
        Self { bytes: [0; N], oldest: 0, taken: 0, end: 0 }
    }

    /// Empties the ring.
    pub const fn clear(&mut self) {
        self.oldest = self.end;
        self.taken = self.end;
    }

    /// Bytes that were not taken yet.
    #[inline]
    pub const fn len(&self) -> usize {
        self.end.wrapping_sub(self.taken) as usize
    }

    /// Whether everything was taken.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.end == self.taken
    }

    /// Whether a byte would find no room without loss.
    #[inline]
    pub const fn is_full(&self) -> bool {
        self.len() == N
    }

    /// Position behind the newest byte.
    pub const fn end(&self) -> u64 {
        self.end
    }

    /// Puts a byte in. Returns whether it was taken.
    #[inline]
    pub const fn put(&mut self, byte: u8, when_full: WhenFull) -> bool {
        if self.is_full() {
            if matches!(when_full, WhenFull::Refuse) {
                return false;
            }
            self.taken = self.taken.wrapping_add(1);
        }
        self.bytes[self.end as usize & (N - 1)] = byte;
        self.end = self.end.wrapping_add(1);
        if self.end.wrapping_sub(self.oldest) > N as u64 {
            self.oldest = self.end.wrapping_sub(N as u64);
        }
        true
    }

    /// Keeps a byte that has been shown already, in an empty ring.
    #[inline]
    pub const fn note(&mut self, byte: u8) {
        self.put(byte, WhenFull::Overwrite);
        self.taken = self.end;
    }

    /// The next byte to be taken, left in its place.
    #[inline]
    pub const fn peek(&self) -> Option<u8> {
        if self.is_empty() { None } else { Some(self.bytes[self.taken as usize & (N - 1)]) }
    }

    /// Takes the next byte out. It is still there for [`ByteRing::read_at`] until it is overwritten.
    #[inline]
    pub const fn take(&mut self) -> Option<u8> {
        let byte = self.peek();
        if byte.is_some() {
            self.taken = self.taken.wrapping_add(1);
        }
        byte
    }

    /// Copies kept bytes from `position` on, or from the oldest that is kept. Returns the position
    /// of the first and the number copied.
    pub fn read_at(&self, position: u64, into: &mut [u8]) -> (u64, usize) {
        let start = position.clamp(self.oldest, self.end);
        let count = into.len().min((self.end - start) as usize);
        let (before, first) = self.bytes.split_at(start as usize & (N - 1));
        let wrap = count.min(first.len());
        into[..wrap].copy_from_slice(&first[..wrap]);
        into[wrap..count].copy_from_slice(&before[..count - wrap]);
        (start, count)
    }
}

impl<const N: usize> Default for ByteRing<N> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_ring_refuses_or_overwrites_its_oldest_byte() {
        let mut ring = ByteRing::<4>::new();
        b"abcd".iter().for_each(|&byte| assert!(ring.put(byte, WhenFull::Refuse)));
        assert!(!ring.put(b'e', WhenFull::Refuse));
        assert!(ring.put(b'e', WhenFull::Overwrite));
        let taken: std::vec::Vec<u8> = core::iter::from_fn(|| ring.take()).collect();
        assert_eq!(taken, b"bcde");
    }

    #[test]
    fn what_was_taken_can_be_read_again_until_it_is_overwritten() {
        let mut ring = ByteRing::<4>::new();
        for &byte in b"abcdef" {
            ring.put(byte, WhenFull::Overwrite);
            ring.take();
        }
        let mut bytes = [0; 8];
        assert_eq!(ring.read_at(0, &mut bytes), (2, 4));
        assert_eq!(&bytes[..4], b"cdef");
        assert_eq!(ring.read_at(5, &mut bytes), (5, 1));
        assert_eq!(ring.read_at(99, &mut bytes), (6, 0));
        ring.clear();
        assert_eq!(ring.read_at(0, &mut bytes), (6, 0));
    }

    #[test]
    fn against_a_queue_as_the_model_nothing_is_lost_or_reordered() {
        let mut ring = ByteRing::<16>::new();
        let mut model = std::collections::VecDeque::new();
        let mut random = 0x1357_9bdf_0246_8aceu64;
        for _ in 0..100_000 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let byte = (random >> 32) as u8;
            match random % 3 {
                0 => {
                    let fits = model.len() < 16;
                    assert_eq!(ring.put(byte, WhenFull::Refuse), fits);
                    if fits {
                        model.push_back(byte);
                    }
                }
                1 => {
                    if model.len() == 16 {
                        model.pop_front();
                    }
                    model.push_back(byte);
                    assert!(ring.put(byte, WhenFull::Overwrite));
                }
                _ => assert_eq!(ring.take(), model.pop_front()),
            }
            assert_eq!((ring.len(), ring.peek()), (model.len(), model.front().copied()));
        }
    }
}
