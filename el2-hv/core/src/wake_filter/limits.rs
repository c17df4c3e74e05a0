//! How often frames wake the partition, how often they are answered, how many reach it while it is on, and what is counted
//! of them.
//!
//! Wakes and frames are each port's own: who floods has its own refused, and nobody else's.

use super::Judgement;
use crate::switch::{Bucket, MAX_PORTS, PortId};

/// Wakes in each second by a port, in the long run: a client that is refused tries again after a second (RFC 6298 §2.1), and that
/// try is let through.
pub const WAKE_RATE: u64 = 1;
/// Wakes at once: a few clients that begin together, before it is on.
pub const WAKE_BURST: u64 = 3;
/// Wakes that one counts as that came to nothing. A life lasts a few seconds at least, by the idle time: a flood of such
/// frames has the partition off for most of the time.
pub const VAIN_COST: u64 = 10;
/// Frames in each second that reach it from a port while it is on, in the long run: some ten pages, each of which takes
/// a client's handshake, its request, and an acknowledgment for each segment.
pub const REACH_RATE: u64 = 500;
/// Frames that reach it at once: its four connections, each with all that they may have sent before an answer.
pub const REACH_BURST: u64 = 100;
/// Answers in each second, in the long run: as many group frames as a port may send, which is what ARP and neighbor
/// solicitations are. Above it EL2's time would be whoever's that sends.
pub const ANSWER_RATE: u64 = 1000;
/// Answers at once: a tenth of a second of them, as with group frames.
pub const ANSWER_BURST: u64 = 100;

/// What was seen of frames for the partition. The numbers wrap.
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
    /// Frames that would have been answered, or have woken it or reached it, had there been fewer before.
    pub limited: u64,
}

impl Seen {
    /// Nothing was seen: all zero.
    pub const NONE: Self = Self { matched: 0, dropped: 0, answered: 0, woken: 0, limited: 0 };
}

/// The limits. Times are nanoseconds of any clock; a time before the latest one counts as that.
#[derive(Debug)]
pub struct WakeLimits {
    wakes: [Bucket; MAX_PORTS],
    frames: [Bucket; MAX_PORTS],
    answers: Bucket,
    /// Whose frame has woken it last, until that life is over.
    waker: Option<PortId>,
    seen: Seen,
}

impl WakeLimits {
    /// No limits, for where there is no network card: all zero.
    pub const NONE: Self = Self {
        wakes: [Bucket::NONE; MAX_PORTS],
        frames: [Bucket::NONE; MAX_PORTS],
        answers: Bucket::NONE,
        waker: None,
        seen: Seen::NONE,
    };

    /// Limits with a whole burst of each. They are the card's and not a life's: nobody gains by another life.
    pub const fn new() -> Self {
        Self {
            wakes: [Bucket::new(WAKE_RATE, WAKE_BURST); MAX_PORTS],
            frames: [Bucket::new(REACH_RATE, REACH_BURST); MAX_PORTS],
            answers: Bucket::new(ANSWER_RATE, ANSWER_BURST),
            waker: None,
            seen: Seen::NONE,
        }
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

    /// Whether a frame of `from` may wake the partition now; it does then, and is counted.
    #[must_use]
    pub fn may_wake(&mut self, from: PortId, now_ns: u64) -> bool {
        let may = self.wakes.get_mut(from.index()).is_some_and(|wakes| pass(wakes, 1, &mut self.seen.limited, now_ns));
        if may {
            self.waker = Some(from);
        }
        self.seen.woken = self.seen.woken.wrapping_add(u64::from(may));
        may
    }

    /// A life has agreed to end. Where nobody has `connected` whose frame woke it, that wake costs more.
    pub fn life_over(&mut self, connected: bool, now_ns: u64) {
        let wakes = self.waker.take().and_then(|waker| self.wakes.get_mut(waker.index()));
        if let Some(wakes) = wakes.filter(|_| !connected) {
            wakes.take(VAIN_COST - 1, now_ns);
        }
    }

    /// Whether a frame of `from`, which is so many on a wire, may reach the partition while it is on; else it is counted.
    #[inline]
    #[must_use]
    pub fn may_reach(&mut self, from: PortId, count: u64, now_ns: u64) -> bool {
        self.frames.get_mut(from.index()).is_some_and(|frames| pass(frames, count, &mut self.seen.limited, now_ns))
    }

    /// Whether a frame may be answered now; it is then, and is counted.
    #[must_use]
    pub const fn may_answer(&mut self, now_ns: u64) -> bool {
        let may = pass(&mut self.answers, 1, &mut self.seen.limited, now_ns);
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

/// Takes `cost` tokens, or counts that there are none.
const fn pass(bucket: &mut Bucket, cost: u64, limited: &mut u64, now_ns: u64) -> bool {
    let may = bucket.wait(cost, now_ns).is_none();
    if may {
        bucket.take(cost, now_ns);
    } else {
        *limited = limited.wrapping_add(1);
    }
    may
}
