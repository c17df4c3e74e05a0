//! Indices of an SMMU's queues (IHI0070 §3.5.1).
//!
//! A queue has 2^n entries. An index has n bits, and above them one that changes with each round: a queue whose two indices
//! are the same is empty, and full where they differ by that bit only. What lies above belongs to others, as the flags of an
//! overflow in bit 31.

/// Size of a queue, as binary logarithm: 0 to 19 (§6.3.26, LOG2SIZE).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QueueSize(u8);

/// A place in a queue, and its round.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QueueIndex(u32);

impl QueueIndex {
    /// Where a queue begins.
    pub const START: Self = Self(0);

    /// Its bits of a register.
    pub const fn bits(self) -> u32 {
        self.0
    }
}

impl QueueSize {
    /// Largest LOG2SIZE.
    pub const MAX: u8 = 19;

    /// 2^`bits` entries, at most 2^19.
    pub const fn new(bits: u8) -> Self {
        Self(if bits > Self::MAX { Self::MAX } else { bits })
    }

    /// Its binary logarithm.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Entries.
    pub const fn entries(self) -> u32 {
        1 << self.0
    }

    /// The index in a register, whatever the bits above it are.
    pub const fn index(self, register: u32) -> QueueIndex {
        QueueIndex(register & (2 * self.entries() - 1))
    }

    /// The entry at an index, from 0.
    pub const fn entry(self, index: QueueIndex) -> usize {
        (index.0 & (self.entries() - 1)) as usize
    }

    /// The index behind another.
    pub const fn after(self, index: QueueIndex) -> QueueIndex {
        self.index(index.0 + 1)
    }

    /// Entries between the consumer's index and the producer's. A pair of indices that no queue can have says more than
    /// there are.
    pub const fn count(self, producer: QueueIndex, consumer: QueueIndex) -> u32 {
        self.index(producer.0.wrapping_sub(consumer.0)).0
    }

    /// Whether there is no place for one more.
    pub const fn is_full(self, producer: QueueIndex, consumer: QueueIndex) -> bool {
        self.count(producer, consumer) >= self.entries()
    }
}
