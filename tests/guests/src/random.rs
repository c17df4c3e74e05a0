//! A seeded generator (xorshift64*), so that every run can be repeated.

/// The generator.
pub struct Random(u64);

impl Random {
    /// The generator of `seed`.
    pub const fn new(seed: u64) -> Self {
        // Zero is the one state that never changes.
        Self(seed.wrapping_mul(2).wrapping_add(1))
    }

    /// 64 random bits.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// One of `items`.
    pub fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len() as u64) as usize]
    }

    /// Bits that look like something: small, a power of two, all ones, an address, or noise.
    pub fn interesting(&mut self) -> u64 {
        match self.below(6) {
            0 => self.below(64),
            1 => 1 << self.below(64),
            2 => u64::MAX >> self.below(64),
            3 => 0x4000_0000 + self.below(0x1000_0000),
            4 => 0x0800_0000 + self.below(0x0400_0000),
            _ => self.next(),
        }
    }
}
