//! A bucket of tokens: so many a second, and so many at once.
//!
//! The bucket keeps what is missing of its burst, in billionths of a token: a nanosecond then pays back a whole number of
//! them, so nothing is ever rounded and no time drifts (the continuous-state leaky bucket of ITU-T I.371, annex A). A
//! full bucket owes nothing, at whatever time, so that one that was never used is all zero.

/// Nanoseconds of a second, and parts of a token.
const PARTS: u128 = 1_000_000_000;

/// The bucket. Times are nanoseconds of any clock; a time before the latest one counts as that.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    /// Tokens of a second; 0 where there is no limit.
    rate: u64,
    /// Tokens of a full bucket.
    burst: u64,
    /// Billionths of a token that are missing.
    owed: u128,
    /// When that was so.
    at: u64,
}

impl Bucket {
    /// No limit: all zero.
    pub const NONE: Self = Self::new(0, 0);

    /// A full bucket of `burst` tokens that gets `rate` tokens in a second; without a limit where `rate` is 0.
    pub const fn new(rate: u64, burst: u64) -> Self {
        Self { rate, burst, owed: 0, at: 0 }
    }

    /// Tokens that it gets in a second; 0 where there is no limit.
    pub const fn rate(&self) -> u64 {
        self.rate
    }

    /// Tokens of a full bucket.
    pub const fn burst(&self) -> u64 {
        self.burst
    }

    /// Until when to wait for `cost` tokens; `None` where they are there. More than a burst are there when the bucket is
    /// full, and those that follow wait the longer for it.
    #[inline]
    pub const fn wait(&self, cost: u64, now: u64) -> Option<u64> {
        if self.rate == 0 {
            return None;
        }
        let most = self.burst.saturating_sub(cost) as u128 * PARTS;
        let excess = self.owed_at(now).saturating_sub(most);
        if excess == 0 { None } else { Some(self.paid_back(excess, now)) }
    }

    /// When `excess` parts are paid back.
    #[cold]
    const fn paid_back(&self, excess: u128, now: u64) -> u64 {
        let time = excess.div_ceil(self.rate as u128);
        if time > u64::MAX as u128 { u64::MAX } else { self.latest(now).saturating_add(time as u64) }
    }

    /// Takes `cost` tokens, for which there is no need to [`Bucket::wait`].
    #[inline]
    pub const fn take(&mut self, cost: u64, now: u64) {
        if self.rate == 0 {
            return;
        }
        self.owed = self.owed_at(now).saturating_add(cost as u128 * PARTS);
        self.at = self.latest(now);
    }

    /// What is still missing now. The product of two numbers of 64 bits fits into 128.
    #[inline]
    const fn owed_at(&self, now: u64) -> u128 {
        self.owed.saturating_sub(now.saturating_sub(self.at) as u128 * self.rate as u128)
    }

    #[inline]
    const fn latest(&self, now: u64) -> u64 {
        if now > self.at { now } else { self.at }
    }
}
