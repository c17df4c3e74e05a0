//! The timer against Arm ARM D11.2.4, the queue against a sorted map.

use super::*;
use crate::addr::{VcpuId, VmId};
use TimerRegister::{CompareValue, Control, TimerValue};

fn timer(control: u64, compare_value: u64) -> PhysicalTimer {
    let mut timer = PhysicalTimer::default();
    timer.write(CompareValue, compare_value, 0);
    timer.write(Control, control, 0);
    timer
}

#[test]
fn a_reset_timer_is_silent() {
    let timer = PhysicalTimer::default();
    assert_eq!(timer.read(Control, u64::MAX), 0);
    assert_eq!(timer.line(u64::MAX), Level::Low);
    assert_eq!(timer.deadline(), None);
}

#[test]
fn control_keeps_two_bits_and_shows_istatus() {
    let cases = [
        // (written, count, read): the compare value is 100.
        (0b000, 200, 0b000),
        (0b001, 99, 0b001),
        (0b001, 100, 0b101),
        (0b011, 100, 0b111),
        (0b010, 200, 0b010),
        (u64::MAX, 99, 0b011),
        (0b100, 200, 0b000),
    ];
    for (written, now, read) in cases {
        assert_eq!(timer(written, 100).read(Control, now), read, "{written:#b} at {now}");
    }
}

#[test]
fn the_line_needs_enable_no_mask_and_the_count() {
    assert_eq!(timer(1, 100).line(99), Level::Low);
    assert_eq!(timer(1, 100).line(100), Level::High);
    assert_eq!(timer(1, 100).line(u64::MAX), Level::High);
    assert_eq!(timer(3, 100).line(100), Level::Low);
    assert_eq!(timer(0, 100).line(100), Level::Low);
    // Unsigned: the highest compare value is the far future, not the past.
    assert_eq!(timer(1, u64::MAX).line(1 << 63), Level::Low);
}

#[test]
fn the_deadline_is_the_compare_value_of_an_open_timer() {
    assert_eq!(timer(1, 77).deadline(), Some(77));
    assert_eq!(timer(3, 77).deadline(), None);
    assert_eq!(timer(2, 77).deadline(), None);
}

#[test]
fn tval_is_signed_when_written() {
    let cases: [(u64, u64, u64); 6] = [
        (1000, 5, 1005),
        (1000, 0xffff_fff6, 990), // -10
        (1000, 0x7fff_ffff, 1000 + 0x7fff_ffff),
        (1 << 40, 0x8000_0000, (1 << 40) - (1 << 31)), // the most negative value
        (1000, 0x1234_5678_0000_0005, 1005),           // the upper half does not count
        (u64::MAX, 2, 1),                              // the count wraps
    ];
    for (now, written, compare_value) in cases {
        let mut timer = PhysicalTimer::default();
        timer.write(TimerValue, written, now);
        assert_eq!(timer.read(CompareValue, now), compare_value, "{written:#x} at {now:#x}");
    }
}

#[test]
fn tval_reads_as_the_low_half_of_the_distance() {
    assert_eq!(timer(1, 1005).read(TimerValue, 1000), 5);
    assert_eq!(timer(1, 1000).read(TimerValue, 1001), 0xffff_ffff);
    assert_eq!(timer(1, 1 << 32).read(TimerValue, 0), 0);
    assert_eq!(timer(1, (1 << 32) + 7).read(TimerValue, 0), 7);
    assert_eq!(timer(1, 1).read(TimerValue, u64::MAX), 2);
}

#[test]
fn deadlines_come_out_in_order_and_not_early() {
    let mut queue = TimerQueue::<4>::new();
    queue.insert(TimerKey::Virtual(VcpuId(1)), 30).unwrap();
    queue.insert(TimerKey::Virtual(VcpuId(2)), 10).unwrap();
    queue.insert(TimerKey::Physical(VcpuId(1)), 20).unwrap();
    assert_eq!(queue.earliest(), Some(10));
    assert_eq!(queue.pop_expired(9), None);
    assert_eq!(queue.pop_expired(20), Some(TimerKey::Virtual(VcpuId(2))));
    assert_eq!(queue.pop_expired(20), Some(TimerKey::Physical(VcpuId(1))));
    assert_eq!(queue.pop_expired(20), None);
    assert_eq!(queue.earliest(), Some(30));
}

#[test]
fn a_second_insert_replaces_even_when_full() {
    let mut queue = TimerQueue::<2>::new();
    queue.insert(TimerKey::Virtual(VcpuId(1)), 30).unwrap();
    queue.insert(TimerKey::Virtual(VcpuId(2)), 10).unwrap();
    queue.insert(TimerKey::Virtual(VcpuId(2)), 40).unwrap();
    assert_eq!((queue.len(), queue.earliest()), (2, Some(30)));
    let third = TimerKey::Virtual(VcpuId(3));
    assert_eq!(queue.insert(third, 1), Err(QueueFull(third)));
    assert_eq!((queue.len(), queue.earliest()), (2, Some(30)));
    assert_eq!(queue.remove(TimerKey::Virtual(VcpuId(1))), Some(30));
    assert_eq!(queue.remove(TimerKey::Virtual(VcpuId(1))), None);
    assert_eq!(queue.insert(third, 1), Ok(()));
}

#[test]
fn a_random_life_matches_a_list_in_order_of_insertion() {
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let mut next = |bound: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % bound
    };
    let mut queue = TimerQueue::<8>::new();
    let mut model: Vec<(TimerKey, u64)> = Vec::new();
    for _ in 0..100_000 {
        let number = next(6) as u8;
        let key = match next(3) {
            0 => TimerKey::Virtual(VcpuId(number.into())),
            1 => TimerKey::Physical(VcpuId(number.into())),
            _ => TimerKey::Devices(VmId(number)),
        };
        match next(4) {
            0 | 1 => {
                let deadline = next(20);
                let known = model.iter().any(|(other, _)| *other == key);
                if !known && model.len() == 8 {
                    assert!(queue.insert(key, deadline).is_err());
                } else {
                    queue.insert(key, deadline).unwrap();
                    model.retain(|(other, _)| *other != key);
                    model.push((key, deadline));
                }
            }
            2 => {
                let known = model.iter().find(|(other, _)| *other == key).map(|(_, deadline)| *deadline);
                assert_eq!(queue.remove(key), known);
                model.retain(|(other, _)| *other != key);
            }
            _ => {
                let now = next(20);
                let first = model.iter().filter(|(_, deadline)| *deadline <= now).min_by_key(|(_, deadline)| *deadline);
                let first = first.map(|(key, _)| *key);
                assert_eq!(queue.pop_expired(now), first);
                model.retain(|(other, _)| Some(*other) != first);
            }
        }
        assert_eq!(queue.len(), model.len());
        assert_eq!(queue.is_empty(), model.is_empty());
        assert_eq!(queue.earliest(), model.iter().map(|(_, deadline)| *deadline).min());
    }
}
