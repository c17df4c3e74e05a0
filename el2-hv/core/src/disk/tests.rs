//! Limits of disks against a list of all that was begun.

use super::*;
use proptest::prelude::*;
use std::vec::Vec;

const SECOND: u64 = 1_000_000_000;

fn throttle(iops: u32, bytes_per_s: u64) -> Throttle {
    Throttle::new(DiskRate { iops, bytes_per_s })
}

/// Begins requests as soon as each may be, for some seconds; when each was begun.
fn begin(throttle: &mut Throttle, work: Work, seconds: u64) -> Vec<u64> {
    let mut begun = Vec::new();
    let mut now = 0;
    while now < seconds * SECOND {
        if let Some(until) = throttle.wait(now) {
            assert!(until > now);
            now = until;
            continue;
        }
        throttle.take(work, now);
        begun.push(now);
    }
    begun
}

#[test]
fn a_disk_above_its_requests_gets_as_many_in_a_second_and_a_burst() {
    // 1000 in a second; 10 ms of them at once, and the time of one of them later the next.
    let begun = begin(&mut throttle(1000, 0), Work::Read(1 << 20), 3);
    // The first is begun at 0, and none of the fourth second any more.
    assert_eq!(begun.len(), 10 + 2999);
    assert_eq!((begun[9], begun[10], begun[11]), (0, SECOND / 1000, SECOND / 500));
}

#[test]
fn a_flush_is_a_request_without_bytes() {
    assert_eq!(begin(&mut throttle(100, 1), Work::Flush, 2).len(), 1 + 199);
    let mut bytes_only = throttle(0, 1000);
    for _ in 0..100 {
        assert_eq!(bytes_only.wait(0), None);
        bytes_only.take(Work::Flush, 0);
        bytes_only.take(Work::Discard, 0);
    }
    // But it does not overtake what waits.
    bytes_only.take(Work::Write(1000), 0);
    assert!(bytes_only.wait(0).is_some());
}

#[test]
fn a_request_of_more_than_a_burst_is_begun_and_those_behind_it_wait_for_it() {
    for work in [Work::Read(4 << 20), Work::Write(4 << 20), Work::Zeroes(4 << 20)] {
        let mut disk = throttle(0, 1 << 20);
        assert_eq!(disk.wait(0), None);
        disk.take(work, 0);
        // 4 s, but for the burst of 10 ms.
        let until = disk.wait(0).expect("it has to wait");
        assert!((3_980_000_000..4_000_000_000).contains(&until), "{until}");
        assert_eq!(disk.wait(until), None);
    }
}

#[test]
fn both_limits_hold_and_none_is_none() {
    let begun = begin(&mut throttle(1000, 40_960), Work::Write(4096), 10);
    assert!((100..=101).contains(&begun.len()), "{}", begun.len());
    let begun = begin(&mut throttle(5, 1 << 30), Work::Write(4096), 10);
    assert_eq!(begun.len(), 50);
    let mut free = Throttle::NONE;
    free.take(Work::Zeroes(u64::MAX), 0);
    assert!(free.wait(0).is_none() && !free.is_limited());
    assert!(throttle(1, 0).is_limited() && throttle(0, 1).is_limited());
}

#[test]
fn what_has_ended_is_counted_by_what_it_was_and_failures_as_such_only() {
    let mut counters = DiskCounters { reads: u64::MAX, ..DiskCounters::NONE };
    for work in [Work::Read(512), Work::Write(1024), Work::Flush, Work::Discard, Work::Zeroes(4096)] {
        counters.ended(work, true);
        counters.ended(work, false);
    }
    counters.waits();
    let expected = DiskCounters {
        reads: 0,
        read_bytes: 512,
        writes: 1,
        written_bytes: 1024,
        flushes: 1,
        others: 2,
        failed: 5,
        waits: 1,
    };
    assert_eq!(counters, expected);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn in_no_time_more_is_done_than_the_limits_and_a_burst_and_the_last_request(
        iops in 1..5000u32,
        bytes_per_s in 1000..1_000_000_000u64,
        asked in proptest::collection::vec((0..5u8, 0..1_000_000u32, 0..20_000_000u64), 1..200),
    ) {
        let mut disk = throttle(iops, bytes_per_s);
        let (mut now, mut begun) = (0, Vec::new());
        for (kind, bytes, step) in asked {
            now = disk.wait(now).unwrap_or(now);
            prop_assert_eq!(disk.wait(now), None, "it was said to be enough");
            let work = match kind {
                0 => Work::Flush,
                1 => Work::Write(bytes),
                2 => Work::Zeroes(bytes.into()),
                _ => Work::Read(bytes),
            };
            disk.take(work, now);
            begun.push((now, if kind == 0 { 0 } else { u128::from(bytes) }));
            now += step;
        }
        for first in 0..begun.len() {
            let mut sum = 0;
            for (count, &(time, bytes)) in (1u128..).zip(&begun[first..]) {
                // The last one is begun when those before it are paid for.
                let span = u128::from(time - begun[first].0);
                let due = |rate: u64| span * u128::from(rate) + u128::from((rate / 100).max(1)) * u128::from(SECOND);
                prop_assert!(count * u128::from(SECOND) <= due(iops.into()));
                prop_assert!(sum * u128::from(SECOND) <= due(bytes_per_s));
                sum += bytes;
            }
        }
    }
}
