//! How often a VM may wake the partition: a bucket of tokens for each.
//!
//! A wake takes a token; a VM without one waits for the next, or until somebody else has woken the partition. So
//! nobody can keep it going up and down, and whoever asks now and then is never held up.
//!
//! A bucket is one number: the time up to which its tokens are used up (the virtual scheduling algorithm of ITU-T
//! I.371, annex A). It belongs to the VM's slot, not to its life: a guest gains nothing by beginning another.

use crate::addr::VmId;
use crate::frames::MAX_VMS;

/// Nanoseconds of a minute.
const MINUTE: u64 = 60_000_000_000;

/// What the description says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WakeRate {
    /// Wakes of a VM in each minute, in the long run.
    pub per_minute: u32,
    /// Wakes at once.
    pub burst: u32,
}

impl WakeRate {
    /// Above what a partition that idles for two seconds before it goes off can be woken at all.
    pub const DEFAULT: Self = Self { per_minute: 60, burst: 60 };
}

/// The buckets. Times are nanoseconds of any clock that does not go back.
#[derive(Debug)]
pub struct WakeBuckets {
    /// Time for a token.
    token: u64,
    /// Time for all tokens but one.
    rest: u64,
    used_until: [u64; MAX_VMS],
}

impl WakeBuckets {
    /// Buckets without an end: all zero.
    pub const NONE: Self = Self { token: 0, rest: 0, used_until: [0; MAX_VMS] };

    /// These tokens for each VM from now on; all buckets are full.
    pub fn set(&mut self, rate: WakeRate) {
        self.token = MINUTE / u64::from(rate.per_minute.max(1));
        self.rest = self.token * u64::from(rate.burst.max(1) - 1);
    }

    /// When `vm` has a token: from then on.
    pub fn ready_at(&self, vm: VmId) -> u64 {
        self.used_until.get(vm.index()).map_or(0, |used| used.saturating_sub(self.rest))
    }

    /// `vm` wakes the partition, and has a token for it.
    pub fn take(&mut self, vm: VmId, now: u64) {
        if let Some(used) = self.used_until.get_mut(vm.index()) {
            *used = now.max(*used) + self.token;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANN: VmId = VmId(1);
    const BOB: VmId = VmId(2);
    const SECOND: u64 = 1_000_000_000;

    fn buckets(per_minute: u32, burst: u32) -> WakeBuckets {
        let mut buckets = WakeBuckets::NONE;
        buckets.set(WakeRate { per_minute, burst });
        buckets
    }

    /// Takes a token if there is one.
    fn wakes(buckets: &mut WakeBuckets, vm: VmId, now: u64) -> bool {
        let ready = buckets.ready_at(vm) <= now;
        if ready {
            buckets.take(vm, now);
        }
        ready
    }

    #[test]
    fn a_burst_is_let_through_and_then_one_token_after_the_other() {
        let mut buckets = buckets(60, 30);
        assert_eq!((0..100).filter(|_| wakes(&mut buckets, ANN, 5)).count(), 30);
        assert_eq!(buckets.ready_at(ANN), 5 + SECOND);
        assert!(!wakes(&mut buckets, ANN, SECOND + 4));
        assert!(wakes(&mut buckets, ANN, SECOND + 5) && !wakes(&mut buckets, ANN, SECOND + 5));
        // Unused ones are kept, up to a burst.
        assert_eq!((0..100).filter(|_| wakes(&mut buckets, ANN, 1000 * SECOND)).count(), 30);
    }

    #[test]
    fn one_who_always_asks_wakes_no_more_often_than_its_rate_and_holds_up_nobody() {
        let mut buckets = buckets(30, 10);
        let mut hostile = 0;
        for ms in 0..10 * 60_000 {
            let now = ms * SECOND / 1000;
            hostile += u32::from(wakes(&mut buckets, ANN, now));
            if ms % 2000 == 1999 {
                assert!(wakes(&mut buckets, BOB, now), "every two seconds is what it may");
            }
        }
        assert!((300..=310).contains(&hostile), "{hostile}");
    }

    #[test]
    fn by_default_a_wake_each_second_never_waits_nor_do_fifty_at_once() {
        let mut buckets = WakeBuckets::NONE;
        buckets.set(WakeRate::DEFAULT);
        assert!((0..50).all(|_| wakes(&mut buckets, ANN, 0)));
        assert!((0..10_000).all(|second| wakes(&mut buckets, ANN, second * SECOND)));
    }

    #[test]
    fn a_slot_that_does_not_exist_is_never_held_up() {
        let mut buckets = buckets(1, 1);
        assert!((0..5).all(|_| wakes(&mut buckets, VmId(255), 0)));
    }
}
