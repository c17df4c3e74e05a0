//! How much of it there may be, and what is counted.

use super::*;

#[test]
fn three_wakes_at_once_and_then_one_in_a_second() {
    let mut limits = WakeLimits::new();
    assert_eq!((0..10).filter(|_| limits.may_wake(5)).count(), 3);
    assert!(!limits.may_wake(SECOND + 4));
    assert!(limits.may_wake(SECOND + 5) && !limits.may_wake(SECOND + 5));
    assert_eq!((0..10).filter(|_| limits.may_wake(1000 * SECOND)).count(), 3, "no more than a burst is saved up");
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
    assert!(limits.may_wake(10 * SECOND));
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
    assert!((0..10_000).all(|_| none.may_wake(0) && none.may_answer(0)));
    let mut limits = WakeLimits::new();
    assert!((0..3).all(|_| limits.may_wake(9 * SECOND)));
    assert!(!limits.may_wake(0) && !limits.may_wake(9 * SECOND) && limits.may_wake(10 * SECOND));
}
