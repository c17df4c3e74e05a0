//! Registers and alarm against DDI0224.

use super::*;
use crate::testing::Random;

const DR: u64 = 0x00;
const MR: u64 = 0x04;
const LR: u64 = 0x08;
const CR: u64 = 0x0c;
const IMSC: u64 = 0x10;
const RIS: u64 = 0x14;
const MIS: u64 = 0x18;
const ICR: u64 = 0x1c;

#[test]
fn counter_shows_base_and_what_passed_since() {
    let mut rtc = Pl031::new(1_700_000_000, 40);
    assert_eq!(rtc.read(DR, 4, 40), 1_700_000_000);
    assert_eq!(rtc.read(DR, 4, 41), 1_700_000_001);
    assert_eq!(rtc.read(DR, 4, 40 + 86_400), 1_700_086_400);
}

#[test]
fn counter_wraps_at_32_bits() {
    let mut rtc = Pl031::new(u32::MAX, 0);
    assert_eq!(rtc.read(DR, 4, 0), u64::from(u32::MAX));
    assert_eq!(rtc.read(DR, 4, 1), 0);
    assert_eq!(rtc.read(DR, 4, 5 << 32 | 3), 2);
}

#[test]
fn load_register_sets_this_guests_time_only() {
    let (mut rtc, mut other) = (Pl031::new(1000, 0), Pl031::new(1000, 0));
    rtc.write(LR, 4, 77, 10);
    assert_eq!((rtc.read(DR, 4, 10), rtc.read(LR, 4, 10)), (77, 77));
    assert_eq!((rtc.read(DR, 4, 15), rtc.read(LR, 4, 15)), (82, 77));
    assert_eq!(other.read(DR, 4, 15), 1015);
}

#[test]
fn alarm_comes_at_its_second_and_stays_until_cleared() {
    let mut rtc = Pl031::new(1000, 0);
    assert_eq!(rtc.deadline(), None);
    rtc.write(IMSC, 4, 1, 0);
    rtc.write(MR, 4, 1005, 0);
    assert_eq!(rtc.deadline(), Some(5));
    rtc.tick(4);
    assert!(!rtc.line());
    rtc.tick(5);
    assert!(rtc.line());
    assert_eq!((rtc.read(RIS, 4, 6), rtc.read(MIS, 4, 6), rtc.deadline()), (1, 1, None));
    rtc.write(IMSC, 4, 0, 6);
    assert_eq!((rtc.line(), rtc.read(RIS, 4, 6), rtc.read(MIS, 4, 6)), (false, 1, 0));
    rtc.write(IMSC, 4, 1, 6);
    rtc.write(ICR, 4, 0, 6);
    assert!(rtc.line(), "writing 0 clears nothing");
    rtc.write(ICR, 4, 1, 6);
    assert_eq!((rtc.line(), rtc.read(RIS, 4, 6)), (false, 0));
}

#[test]
fn alarm_equal_to_now_comes_at_once_and_a_past_one_after_the_wrap() {
    let mut rtc = Pl031::new(1000, 0);
    rtc.write(MR, 4, 1003, 3);
    assert_eq!((rtc.read(RIS, 4, 3), rtc.deadline()), (1, None));
    rtc.write(ICR, 4, 1, 3);
    rtc.write(MR, 4, 1002, 3);
    assert_eq!((rtc.read(RIS, 4, 3), rtc.deadline()), (0, Some((1 << 32) + 2)));
}

#[test]
fn setting_the_time_moves_the_alarm() {
    let mut rtc = Pl031::new(1000, 0);
    rtc.write(MR, 4, 2000, 0);
    rtc.write(LR, 4, 1990, 100);
    assert_eq!(rtc.deadline(), Some(110));
    assert_eq!(rtc.read(RIS, 4, 109), 0);
    assert_eq!(rtc.read(RIS, 4, 110), 1);
}

#[test]
fn setting_the_time_without_an_alarm_raises_nothing() {
    let mut rtc = Pl031::new(1000, 0);
    rtc.write(LR, 4, 0, 1);
    assert_eq!((rtc.read(RIS, 4, 1), rtc.deadline()), (0, None));
}

#[test]
fn identification_and_fixed_registers() {
    let mut rtc = Pl031::new(0, 0);
    let ids: Vec<u64> = (0..8).map(|n| rtc.read(0xfe0 + 4 * n, 4, 0)).collect();
    assert_eq!(ids, [0x31, 0x10, 0x04, 0x00, 0x0d, 0xf0, 0x05, 0xb1]);
    rtc.write(CR, 4, 0, 0);
    assert_eq!(rtc.read(CR, 4, 0), 1, "the clock cannot be stopped");
    for offset in [ICR, 0x20, 0x100, 0xfe1] {
        assert_eq!(rtc.read(offset, 4, 0), 0, "{offset:#x}");
    }
}

#[test]
fn other_sizes_read_zero_and_write_nothing() {
    let mut rtc = Pl031::new(1000, 0);
    for size in [1, 2, 8] {
        rtc.write(LR, size, 5, 0);
        assert_eq!(rtc.read(DR, size, 0), 0);
    }
    assert_eq!(rtc.read(DR, 4, 0), 1000);
}

/// The counter as a number that grows by one each second and is compared each second.
#[test]
fn random_use_matches_a_clock_that_is_compared_each_second() {
    let random = Random::new(0x031);
    for _ in 0..200 {
        let base = random.pick(&[0, u32::MAX - 20, random.next() as u32]);
        let mut rtc = Pl031::new(base, 0);
        let (mut counter, mut matched, mut raised) = (base, None, false);
        for now in 1..300_u64 {
            counter = counter.wrapping_add(1);
            raised |= matched == Some(counter);
            match random.below(12) {
                0 => {
                    let alarm = counter.wrapping_add(random.below(9) as u32).wrapping_sub(2);
                    rtc.write(MR, 4, alarm.into(), now);
                    matched = Some(alarm);
                    raised |= alarm == counter;
                }
                1 => {
                    counter = counter.wrapping_add(random.below(9) as u32).wrapping_sub(4);
                    rtc.write(LR, 4, counter.into(), now);
                    raised |= matched == Some(counter);
                }
                2 => {
                    rtc.write(ICR, 4, 1, now);
                    raised = false;
                }
                _ => rtc.tick(now),
            }
            assert_eq!(rtc.read(DR, 4, now), u64::from(counter));
            assert_eq!(rtc.read(RIS, 4, now), u64::from(raised));
        }
    }
}
