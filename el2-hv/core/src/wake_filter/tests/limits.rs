//! How much of it there may be, and what is counted.

use super::*;
use crate::switch::PortId;

const ANN: PortId = PortId(1);
const BOB: PortId = PortId(2);

#[test]
fn three_wakes_at_once_and_then_one_in_a_second() {
    let mut limits = WakeLimits::new();
    assert_eq!((0..10).filter(|_| limits.may_wake(ANN, 5)).count(), 3);
    assert!(!limits.may_wake(ANN, SECOND + 4));
    assert!(limits.may_wake(ANN, SECOND + 5) && !limits.may_wake(ANN, SECOND + 5));
    assert_eq!((0..10).filter(|_| limits.may_wake(ANN, 1000 * SECOND)).count(), 3, "no more than a burst is saved up");
    assert_eq!(limits.seen(), Seen { woken: 7, limited: 7 + 1 + 1 + 7, ..Seen::NONE });
}

#[test]
fn a_flood_for_ten_seconds_gets_its_rate_of_answers_and_takes_no_wake() {
    let mut limits = WakeLimits::new();
    let flood = 10 * 100_000;
    let answered = (0..flood).filter(|frame| limits.may_answer(frame * SECOND / 100_000)).count() as u64;
    // The burst, and a thousand in each second; the last one would be there at its end.
    assert_eq!(answered, 100 + 10 * 1000 - 1);
    assert_eq!(limits.seen(), Seen { answered, limited: flood - answered, ..Seen::NONE });
    assert!(limits.may_wake(ANN, 10 * SECOND));
}

#[test]
fn what_was_judged_is_counted_whatever_comes_of_it() {
    let mut limits = WakeLimits::new();
    let filter = filter(&[Draft::wake().at(0, &[1]), Draft::drop().at(0, &[2]), Draft::answer(&[0; 14]).at(0, &[3])]);
    for kind in [1, 1, 2, 2, 2, 3, 4, 4, 4, 4] {
        limits.judged(&filter.judge(&[kind]));
    }
    assert_eq!(limits.seen(), Seen { matched: 6, dropped: 7, ..Seen::NONE });
}

#[test]
fn no_limits_are_none_and_a_time_that_goes_back_gives_nothing() {
    let mut none = WakeLimits::NONE;
    assert!((0..10_000).all(|_| none.may_wake(ANN, 0) && none.may_answer(0)));
    let mut limits = WakeLimits::new();
    assert!((0..3).all(|_| limits.may_wake(ANN, 9 * SECOND)));
    assert!(!limits.may_wake(ANN, 0) && !limits.may_wake(ANN, 9 * SECOND) && limits.may_wake(ANN, 10 * SECOND));
}

#[test]
fn a_wake_that_came_to_nothing_counts_as_ten_for_its_port_only() {
    let mut limits = WakeLimits::new();
    assert!(limits.may_wake(ANN, 0));
    limits.life_over(false, 2 * SECOND);
    // One of three was used and is there again; nine more are missing, two of which the burst bears.
    assert!(!limits.may_wake(ANN, 9 * SECOND - 1) && limits.may_wake(BOB, 9 * SECOND - 1));
    assert!(limits.may_wake(ANN, 9 * SECOND));
}

#[test]
fn a_wake_that_led_to_a_connection_costs_one_and_a_life_that_no_frame_woke_costs_nobody() {
    let mut limits = WakeLimits::new();
    assert!(limits.may_wake(ANN, 0));
    limits.life_over(true, 0);
    limits.life_over(false, 0);
    assert_eq!((0..10).filter(|_| limits.may_wake(ANN, 0)).count(), 2);
}

#[test]
fn a_flood_of_frames_that_come_to_nothing_has_the_partition_off_for_most_of_the_time() {
    let mut limits = WakeLimits::new();
    // A minute, a frame in each millisecond; a life is three seconds.
    let (mut on_until, mut lives) = (0, 0);
    for now in (0..60_000).map(|ms| ms * SECOND / 1000) {
        if now == on_until {
            limits.life_over(false, now);
        }
        if now >= on_until && limits.may_wake(ANN, now) {
            (on_until, lives) = (now + 3 * SECOND, lives + 1);
        }
    }
    assert!((6..=7).contains(&lives), "{lives}");
}

#[test]
fn a_hundred_frames_at_once_and_then_five_hundred_a_second_of_each_port_reach_it() {
    let mut limits = WakeLimits::new();
    let flood = 20_000;
    let reached = (0..flood).filter(|frame| limits.may_reach(ANN, 1, frame * SECOND / 10_000)).count() as u64;
    // The last one would be there at the end.
    assert_eq!(reached, 100 + 2 * 500 - 1);
    assert_eq!(limits.seen(), Seen { limited: flood - reached, ..Seen::NONE });
    assert!(limits.may_reach(BOB, 100, 2 * SECOND) && !limits.may_reach(BOB, 1, 2 * SECOND));
    assert!(!limits.may_reach(PortId(255), 1, 0) && !limits.may_wake(PortId(255), 0));
}
