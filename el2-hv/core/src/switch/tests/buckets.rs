//! What a bucket lets through, by a list of all that it did.

use super::super::Bucket;
use super::SECOND;
use proptest::prelude::*;
use std::vec::Vec;

const PARTS: u128 = 1_000_000_000;

/// Rates of every magnitude up to 10 Tbit/s.
fn rate() -> impl Strategy<Value = u64> {
    (0..13u32, 1_000..10_000u64).prop_map(|(exponent, digits)| digits * 10u64.pow(exponent) / 1_000)
}

/// A bucket as a switch has it for the bits of a frame.
fn bucket(rate: u64) -> Bucket {
    Bucket::new(rate, (rate / 100).max(524_400))
}

/// All that passed: when, and how many tokens.
type Passed = Vec<(u64, u64)>;

/// Whether more passed within some time than its tokens and `burst`.
fn exceeds(passed: &Passed, rate: u64, burst: u64) -> bool {
    (0..passed.len()).any(|first| {
        let mut sum = 0;
        passed[first..].iter().any(|&(time, cost)| {
            sum += u128::from(cost) * PARTS;
            sum > u128::from(time - passed[first].0) * u128::from(rate) + u128::from(burst) * PARTS
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn no_window_holds_more_than_its_tokens_and_a_burst(
        rate in rate(),
        asked in proptest::collection::vec((0..4u64, 0..2 * SECOND, 1..1_000u64), 1..200),
    ) {
        let mut bucket = bucket(rate);
        let (mut now, mut passed) = (0, Passed::new());
        for (kind, step, share) in asked {
            // At once, a little later, much later.
            now += [0, step % 1000, step % 1_000_000, step][kind as usize];
            let cost = bucket.burst() / share;
            if bucket.wait(cost, now).is_none() {
                bucket.take(cost, now);
                passed.push((now, cost));
            }
        }
        prop_assert!(!exceeds(&passed, rate, bucket.burst()));
    }

    #[test]
    fn one_who_sends_whenever_it_may_gets_its_rate(rate in rate(), share in 1..500u64) {
        let mut bucket = bucket(rate);
        // From a five-hundredth to twice a burst.
        let cost = bucket.burst() * 2 / share;
        let (mut now, mut sum) = (0, 0u128);
        for _ in 0..2000 {
            now = bucket.wait(cost, now).unwrap_or(now);
            prop_assert_eq!(bucket.wait(cost, now), None, "it was said to be enough");
            bucket.take(cost, now);
            sum += u128::from(cost);
        }
        let due = u128::from(rate) * u128::from(now) / PARTS;
        prop_assert!(sum * 100 >= due * 99, "{} of {}", sum, due);
        prop_assert!(sum <= due + u128::from(bucket.burst().max(cost)));
    }

    #[test]
    fn one_who_looks_every_five_milliseconds_gets_its_rate_too(rate in rate(), share in 2..500u64) {
        let mut bucket = bucket(rate);
        let cost = bucket.burst() / 2 / share;
        let (mut sum, end) = (0u128, 2000);
        for tick in 0..=end {
            let now = tick * SECOND / 200;
            while bucket.wait(cost, now).is_none() {
                bucket.take(cost, now);
                sum += u128::from(cost);
            }
        }
        prop_assert!(sum * 100 >= u128::from(rate) * u128::from(end / 200) * 99);
    }

    #[test]
    fn the_time_to_wait_until_is_the_first_at_which_it_may_send(rate in rate(), costs in proptest::collection::vec(1..600_000u64, 1..50)) {
        let mut bucket = bucket(rate);
        let mut now = SECOND;
        for cost in costs {
            if let Some(until) = bucket.wait(cost, now) {
                prop_assert!(until > now && bucket.wait(cost, until - 1).is_some());
                now = until;
            }
            prop_assert_eq!(bucket.wait(cost, now), None);
            bucket.take(cost, now);
        }
    }

    #[test]
    fn any_rate_burst_cost_and_time_is_borne(
        rate: u64,
        burst: u64,
        asked in proptest::collection::vec((any::<u64>(), any::<u64>()), 1..20),
    ) {
        let mut bucket = Bucket::new(rate, burst);
        for (cost, now) in asked {
            prop_assert!(bucket.wait(cost, now).is_none_or(|until| until > now || until == u64::MAX));
            bucket.take(cost, now);
        }
    }
}

#[test]
fn a_time_that_goes_back_gives_nothing_and_takes_nothing() {
    let mut bucket = Bucket::new(1000, 1);
    bucket.take(1, SECOND);
    let until = SECOND + SECOND / 1000;
    for now in [0, SECOND - 1, SECOND, until - 1] {
        assert_eq!(bucket.wait(1, now), Some(until));
    }
    assert_eq!(bucket.wait(1, until), None);
    bucket.take(1, 0);
    assert_eq!(bucket.wait(1, until), Some(SECOND + 2 * SECOND / 1000));
}

#[test]
fn a_rate_that_divides_nothing_is_exact_after_a_day() {
    // A third of a token in each millisecond, asked for at odd times.
    let (rate, day) = (333, 86_400 * SECOND);
    let mut bucket = Bucket::new(rate, 1000);
    let (mut now, mut sum) = (0, 0);
    while now < day {
        while bucket.wait(77, now).is_none() {
            bucket.take(77, now);
            sum += 77;
        }
        now = (now + 1_234_567_891).max(bucket.wait(77, now).unwrap_or(0));
    }
    let due = rate * 86_400 + 1000;
    assert!((due - 1000..=due).contains(&sum), "{sum} of {due}");
}

#[test]
fn without_a_rate_nobody_waits() {
    let mut bucket = Bucket::NONE;
    bucket.take(u64::MAX, 0);
    assert_eq!(bucket.wait(u64::MAX, 0), None);
}
