//! Every way of the partition's CPU: off and on, late, refused, lent.

use super::*;

const CPU: CpuId = CpuId(3);
const MS: u64 = 1_000_000;

/// A CPU that went off with the partition.
fn off() -> Seat {
    let mut seat = Seat::core(CPU, false);
    assert_eq!(seat.wake(0), Place::Core(CPU), "it was turned on by boot");
    assert!(!seat.goes_off(CpuId(2)), "another CPU");
    assert!(seat.goes_off(CPU));
    assert!(!seat.goes_off(CPU), "once");
    seat
}

#[test]
fn a_cpu_goes_off_and_is_turned_on_for_the_next_life() {
    let mut seat = off();
    for now in [10 * MS, 5000 * MS] {
        assert_eq!((seat.deadline(), seat.time_passed(now)), (None, Place::Same));
        assert_eq!(seat.wake(now), Place::TurnOn(CPU));
        assert_eq!(seat.answered(CpuOn::Accepted, now), Place::Same);
        assert_eq!(seat.deadline(), Some(now + PATIENCE));
        seat.arrived(CpuId(1));
        assert!(seat.deadline().is_some(), "another CPU");
        seat.arrived(CPU);
        assert_eq!((seat.deadline(), seat.wake(now)), (None, Place::Core(CPU)));
        assert!(seat.goes_off(CPU));
    }
}

#[test]
fn a_cpu_that_is_still_on_its_way_off_is_asked_for_again() {
    let mut seat = off();
    assert_eq!(seat.wake(MS), Place::TurnOn(CPU));
    let mut now = MS;
    for _ in 0..5 {
        assert_eq!(seat.answered(CpuOn::NotYet, now), Place::Same);
        assert_eq!(seat.deadline(), Some(now + AGAIN));
        assert_eq!(seat.time_passed(now + AGAIN - 1), Place::Same);
        now += AGAIN;
        assert_eq!(seat.time_passed(now), Place::TurnOn(CPU));
    }
    assert_eq!(seat.answered(CpuOn::Accepted, now), Place::Same);
    assert_eq!(seat.time_passed(now + AGAIN), Place::Same, "it was accepted: it is waited for");
}

#[test]
fn a_cpu_that_is_refused_or_does_not_come_is_lost_and_the_partition_shares() {
    let mut refused = off();
    assert_eq!(refused.wake(0), Place::TurnOn(CPU));
    assert_eq!(refused.answered(CpuOn::Refused, 0), Place::Shared);
    let mut late = off();
    assert_eq!(late.wake(0), Place::TurnOn(CPU));
    assert_eq!(late.answered(CpuOn::Accepted, 0), Place::Same);
    assert_eq!(late.time_passed(PATIENCE), Place::Shared);
    let mut never = off();
    assert_eq!(never.wake(0), Place::TurnOn(CPU));
    assert_eq!(never.answered(CpuOn::NotYet, PATIENCE - 1), Place::Same);
    assert_eq!(never.deadline(), Some(PATIENCE));
    assert_eq!(never.time_passed(PATIENCE), Place::Shared);
    for mut seat in [refused, late, never] {
        assert_eq!((seat.deadline(), seat.wake(9000 * MS)), (None, Place::Shared));
        assert_eq!(seat.answered(CpuOn::Accepted, 0), Place::Same, "an answer to nothing");
        assert!(!seat.goes_off(CPU));
        seat.arrived(CPU);
        assert_eq!(seat.wake(0), Place::Core(CPU), "it came after all");
    }
}

#[test]
fn a_lent_cpu_never_goes_off_and_is_taken_for_each_life() {
    let mut seat = Seat::core(CPU, true);
    assert_eq!((seat.lent(), seat.wake(0)), (Some(CPU), Place::Core(CPU)));
    assert!(!seat.goes_off(CPU));
    assert_eq!(seat.wake(0), Place::Core(CPU));
    assert_eq!(Seat::core(CPU, false).lent(), None);
}

#[test]
fn a_cpu_that_firmware_does_not_turn_off_stays_on_for_good() {
    let mut seat = off();
    seat.stays(true);
    assert!(!seat.goes_off(CPU));
    assert_eq!(seat.wake(0), Place::Core(CPU));
    let mut busy = off();
    busy.stays(false);
    assert!(busy.goes_off(CPU), "the next time");
}

#[test]
fn a_partition_without_a_cpu_of_its_own_shares() {
    let mut seat = Seat::SHARED;
    assert_eq!((seat.wake(0), seat.lent(), seat.deadline()), (Place::Shared, None, None));
    assert!(!seat.goes_off(CpuId(0)));
    seat.arrived(CpuId(0));
    assert_eq!(seat.wake(0), Place::Shared);
}
