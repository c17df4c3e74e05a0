//! How often frames wake the partition, how often they are answered, and what is counted of them.

use super::Judgement;
use crate::switch::Bucket;

/// Wakes in each second, in the long run: a client that is refused tries again after a second (RFC 6298 §2.1), and that
/// try is let through.
pub const WAKE_RATE: u64 = 1;
/// Wakes at once: a few clients that begin together, before it is on.
pub const WAKE_BURST: u64 = 3;
/// Answers in each second, in the long run: as many group frames as a port may send, which is what ARP and neighbor
/// solicitations are. Above it EL2's time would be whoever's that sends.
pub const ANSWER_RATE: u64 = 1000;
/// Answers at once: a tenth of a second of them, as with group frames.
pub const ANSWER_BURST: u64 = 100;

/// What was seen of frames while the partition was off. The numbers wrap.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Seen {
    /// Frames that a rule matched.
    pub matched: u64,
    /// Frames that went nowhere, because a rule said so or none did.
    pub dropped: u64,
    /// Frames that were answered.
    pub answered: u64,
    /// Frames that woke the partition.
    pub woken: u64,
    /// Frames that would have been answered, or have woken it, had there been fewer before.
    pub limited: u64,
}

impl Seen {
    /// Nothing was seen: all zero.
    pub const NONE: Self = Self { matched: 0, dropped: 0, answered: 0, woken: 0, limited: 0 };
}

/// The limits. Times are nanoseconds of any clock; a time before the latest one counts as that.
#[derive(Debug)]
pub struct WakeLimits {
    wakes: Bucket,
    answers: Bucket,
    seen: Seen,
}

impl WakeLimits {
    /// No limits, for where there is no network card: all zero.
    pub const NONE: Self = Self { wakes: Bucket::NONE, answers: Bucket::NONE, seen: Seen::NONE };

    /// Limits with a whole burst of each. They are the card's and not a life's: nobody gains by another life.
    pub const fn new() -> Self {
        let (wakes, answers) = (Bucket::new(WAKE_RATE, WAKE_BURST), Bucket::new(ANSWER_RATE, ANSWER_BURST));
        Self { wakes, answers, seen: Seen::NONE }
    }

    /// Counts a frame that was judged.
    #[inline]
    pub const fn judged(&mut self, judgement: &Judgement<'_>) {
        let (matched, dropped) = match judgement {
            Judgement::Wake | Judgement::Answer(_) => (1, 0),
            Judgement::Drop => (1, 1),
            Judgement::Unmatched => (0, 1),
        };
        self.seen.matched = self.seen.matched.wrapping_add(matched);
        self.seen.dropped = self.seen.dropped.wrapping_add(dropped);
    }

    /// Whether a frame may wake the partition now; it does then, and is counted.
    #[must_use]
    pub const fn may_wake(&mut self, now_ns: u64) -> bool {
        let may = pass(&mut self.wakes, &mut self.seen.limited, now_ns);
        self.seen.woken = self.seen.woken.wrapping_add(may as u64);
        may
    }

    /// Whether a frame may be answered now; it is then, and is counted.
    #[must_use]
    pub const fn may_answer(&mut self, now_ns: u64) -> bool {
        let may = pass(&mut self.answers, &mut self.seen.limited, now_ns);
        self.seen.answered = self.seen.answered.wrapping_add(may as u64);
        may
    }

    /// What was seen.
    pub const fn seen(&self) -> Seen {
        self.seen
    }
}

impl Default for WakeLimits {
    fn default() -> Self {
        Self::new()
    }
}

/// Takes a token, or counts that there is none.
const fn pass(bucket: &mut Bucket, limited: &mut u64, now_ns: u64) -> bool {
    let may = bucket.wait(1, now_ns).is_none();
    if may {
        bucket.take(1, now_ns);
    } else {
        *limited = limited.wrapping_add(1);
    }
    may
}
