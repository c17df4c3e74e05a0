//! Registers and signals against the Generic Watchdog of Arm BSA (DEN0094).

use super::Frame::{Control, Refresh};
use super::*;
use crate::testing::Random;

const WRR: u64 = 0x000;
const WCS: u64 = 0x000;
const WOR: u64 = 0x008;
const WOR_UPPER: u64 = 0x00c;
const WCV: u64 = 0x010;
const WCV_UPPER: u64 = 0x014;
const W_IIDR: u64 = 0xfcc;

const ENABLED: u64 = 1;
const WS0: u64 = 1 << 1;
const WS1: u64 = 1 << 2;

/// A watchdog with that offset, enabled at `now`.
fn armed(offset: u64, now: u64) -> Watchdog {
    let mut watchdog = Watchdog::RESET;
    watchdog.write(Control, WOR, 4, offset & 0xffff_ffff, now);
    watchdog.write(Control, WOR_UPPER, 4, offset >> 32, now);
    watchdog.write(Control, WCS, 4, 1, now);
    watchdog
}

/// A register of 64 bits, by its halves.
fn wide(watchdog: &mut Watchdog, offset: u64, now: u64) -> u64 {
    watchdog.read(Control, offset, 4, now) | watchdog.read(Control, offset + 4, 4, now) << 32
}

#[test]
fn after_reset_it_is_off_and_nothing_comes() {
    let mut watchdog = Watchdog::RESET;
    assert_eq!(watchdog.deadline(), None);
    watchdog.tick(u64::MAX);
    assert_eq!(watchdog.read(Control, WCS, 4, u64::MAX), 0);
    assert!(!watchdog.line() && !watchdog.has_expired());
}

#[test]
fn the_first_period_raises_ws0_and_the_second_ws1() {
    let mut watchdog = armed(100, 1000);
    assert_eq!(wide(&mut watchdog, WCV, 1000), 1100);
    assert_eq!(watchdog.deadline(), Some(1101), "above the compare value, not at it");
    assert_eq!(watchdog.read(Control, WCS, 4, 1100), ENABLED);
    watchdog.tick(1101);
    assert!(watchdog.line() && !watchdog.has_expired());
    assert_eq!(wide(&mut watchdog, WCV, 1101), 1201);
    assert_eq!(watchdog.read(Control, WCS, 4, 1201), ENABLED | WS0);
    assert_eq!(watchdog.deadline(), Some(1202));
    watchdog.tick(1202);
    assert!(watchdog.line() && watchdog.has_expired());
    assert_eq!(watchdog.read(Control, WCS, 4, 9999), ENABLED | WS0 | WS1);
    assert_eq!(watchdog.deadline(), None);
}

#[test]
fn a_call_that_comes_late_finds_both_signals() {
    let mut watchdog = armed(100, 1000);
    watchdog.tick(1202);
    assert_eq!(watchdog.read(Control, WCS, 4, 1202), ENABLED | WS0 | WS1);
}

#[test]
fn each_explicit_refresh_takes_ws0_back_and_begins_anew() {
    for (frame, offset, value) in [(Refresh, WRR, 0), (Control, WCS, 1), (Control, WOR, 100), (Control, WOR_UPPER, 0)] {
        let mut watchdog = armed(100, 1000);
        watchdog.tick(1150);
        assert!(watchdog.line());
        watchdog.write(frame, offset, 4, value, 1150);
        assert!(!watchdog.line(), "{frame:?} {offset:#x}");
        assert_eq!(watchdog.deadline(), Some(1251), "{frame:?} {offset:#x}");
    }
}

#[test]
fn disabling_takes_ws0_back_and_nothing_comes_any_more() {
    let mut watchdog = armed(100, 1000);
    watchdog.tick(1150);
    watchdog.write(Control, WCS, 4, 0, 1150);
    assert_eq!((watchdog.line(), watchdog.deadline()), (false, None));
    assert_eq!(watchdog.read(Control, WCS, 4, 1_000_000), 0);
}

#[test]
fn the_offset_has_48_bits() {
    let mut watchdog = armed(u64::MAX, 7);
    assert_eq!(wide(&mut watchdog, WOR, 7), 0xffff_ffff_ffff);
    assert_eq!(wide(&mut watchdog, WCV, 7), 0x1_0000_0000_0006);
    assert_eq!(watchdog.deadline(), Some(0x1_0000_0000_0007));
}

#[test]
fn a_compare_value_that_is_written_counts_and_refreshes_nothing() {
    let mut watchdog = armed(100, 1000);
    watchdog.write(Control, WCV_UPPER, 4, 1, 1010);
    watchdog.write(Control, WCV, 4, 5, 1010);
    // With the upper half first it is never below the counter in between.
    assert_eq!(watchdog.deadline(), Some((1 << 32) + 6));
    watchdog.tick((1 << 32) + 6);
    assert!(watchdog.line());
    watchdog.write(Control, WCV, 4, 0, (1 << 32) + 7);
    assert!(watchdog.has_expired(), "a value in the past ends the second period, too");
}

#[test]
fn a_compare_value_in_the_past_raises_ws0_now() {
    let mut watchdog = armed(100, 1000);
    watchdog.write(Control, WCV, 4, 3, 1010);
    assert_eq!((watchdog.line(), watchdog.has_expired()), (true, false));
    assert_eq!(watchdog.deadline(), Some(1111));
}

#[test]
fn an_offset_of_zero_ends_at_once() {
    let mut watchdog = armed(0, 1000);
    assert_eq!(watchdog.read(Control, WCS, 4, 1001), ENABLED | WS0);
    assert_eq!(watchdog.read(Control, WCS, 4, 1002), ENABLED | WS0 | WS1);
}

#[test]
fn the_end_of_the_counter_does_no_harm() {
    let mut watchdog = armed(100, u64::MAX - 50);
    assert_eq!(watchdog.deadline(), None);
    watchdog.tick(u64::MAX);
    assert_eq!(watchdog.read(Control, WCS, 4, u64::MAX), ENABLED);
}

#[test]
fn both_frames_identify_themselves_and_the_refresh_frame_has_nothing_else() {
    let mut watchdog = armed(100, 0);
    for frame in [Refresh, Control] {
        assert_eq!(watchdog.read(frame, W_IIDR, 4, 0), 0x0441_0000, "product D, architecture version 1");
        watchdog.write(frame, W_IIDR, 4, 0, 0);
        assert_eq!(watchdog.read(frame, W_IIDR, 4, 0), 0x0441_0000);
    }
    for offset in [WRR, WOR, WCV, 0x20, 0xfd0] {
        assert_eq!(watchdog.read(Refresh, offset, 4, 10), 0, "{offset:#x}");
    }
    for offset in [WOR, WCV, 0x20, 0xfd0] {
        watchdog.write(Refresh, offset, 4, 1, 10);
    }
    for offset in [0x004, 0x018, 0x020, 0xfc8, 0xfd0] {
        watchdog.write(Control, offset, 4, 1, 10);
        assert_eq!(watchdog.read(Control, offset, 4, 10), 0, "{offset:#x}");
    }
    assert_eq!(watchdog.deadline(), Some(101), "nothing of that was a refresh");
}

#[test]
fn other_sizes_read_zero_and_write_nothing() {
    let mut watchdog = armed(100, 0);
    for size in [1, 2, 8] {
        watchdog.write(Control, WCS, size, 0, 10);
        watchdog.write(Refresh, WRR, size, 0, 10);
        assert_eq!(watchdog.read(Control, WCS, size, 10), 0);
    }
    assert_eq!((watchdog.read(Control, WCS, 4, 10), watchdog.deadline()), (ENABLED, Some(101)));
}

/// The watchdog as a circuit that looks at its comparator after each count and each write.
#[derive(Clone, Debug)]
struct Circuit {
    counter: u64,
    /// WCS, WOR and WCV.
    status: u64,
    offset: u64,
    compare: u64,
}

impl Circuit {
    fn look(&mut self) {
        if self.status & ENABLED != 0 && self.counter > self.compare {
            if self.status & WS0 == 0 {
                self.status |= WS0;
                self.compare = self.counter + self.offset;
            } else {
                self.status |= WS1;
            }
        }
    }

    fn count_to(&mut self, now: u64) {
        while self.counter < now {
            self.counter += 1;
            self.look();
        }
    }

    fn refresh(&mut self, enabled: u64) {
        self.status = enabled;
        self.compare = self.counter + self.offset;
    }

    fn write(&mut self, frame: Frame, offset: u64, value: u64) {
        match (frame, offset) {
            (Control, 0x000) => self.refresh(value & ENABLED),
            (Control, 0x008 | 0x00c) => {
                put(&mut self.offset, offset == 0x00c, value);
                self.offset %= 1 << 48;
                self.refresh(self.status & ENABLED);
            }
            (Control, 0x010 | 0x014) => put(&mut self.compare, offset == 0x014, value),
            (Refresh, 0x000) => self.refresh(self.status & ENABLED),
            _ => {}
        }
        self.look();
    }

    /// When its signals change next, if that is within `reach` counts.
    fn next_change(&self, reach: u64) -> Option<u64> {
        let mut ahead = self.clone();
        (0..reach).find_map(|_| {
            ahead.count_to(ahead.counter + 1);
            (ahead.status != self.status).then_some(ahead.counter)
        })
    }
}

fn put(register: &mut u64, upper: bool, value: u64) {
    let mut bytes = register.to_le_bytes();
    let from = if upper { 4 } else { 0 };
    bytes[from..from + 4].copy_from_slice(&(value as u32).to_le_bytes());
    *register = u64::from_le_bytes(bytes);
}

#[test]
fn random_use_matches_a_circuit_that_compares_at_each_count() {
    let random = Random::new(0x0029);
    for _ in 0..2000 {
        // The halves of the counter change now and then.
        let mut now = random.pick(&[0, (1 << 32) - 40, random.next() >> 8]);
        let mut watchdog = Watchdog::RESET;
        let mut circuit = Circuit { counter: now, status: 0, offset: 0, compare: 0 };
        for _ in 0..60 {
            now += random.below(12);
            circuit.count_to(now);
            let near = now.wrapping_add(random.below(30)).wrapping_sub(5);
            let value = random.pick(&[near, near >> 32, random.below(20), 0, random.next()]);
            let (frame, offset) = match random.below(16) {
                0 | 1 => (Control, WCS),
                2 => (Control, WOR),
                3 => (Control, WOR_UPPER),
                4 => (Control, WCV),
                5 => (Control, WCV_UPPER),
                6 | 7 => (Refresh, WRR),
                8 => (random.pick(&[Control, Refresh]), random.below(0x1000)),
                _ => (Refresh, WOR),
            };
            // What is used keeps to small values now and then, or nothing would ever time out.
            let value = match offset {
                WOR => random.below(20),
                WOR_UPPER if !random.chance(8) => 0,
                WCS if frame == Control => u64::from(!random.chance(4)),
                _ => value,
            };
            if random.chance(3) {
                watchdog.tick(now);
            } else {
                watchdog.write(frame, offset, 4, value, now);
                circuit.write(frame, offset, value);
            }
            let signals = (watchdog.line(), watchdog.has_expired());
            assert_eq!(signals, (circuit.status & WS0 != 0, circuit.status & WS1 != 0));
            let soon = watchdog.deadline().filter(|at| *at <= now + 50);
            assert_eq!(soon, circuit.next_change(50), "{watchdog:?} {circuit:?}");
            if random.chance(2) {
                assert_eq!(watchdog.read(Control, WCS, 4, now), circuit.status);
                assert_eq!(wide(&mut watchdog, WOR, now), circuit.offset);
                assert_eq!(wide(&mut watchdog, WCV, now), circuit.compare);
            }
        }
    }
}
