//! A balloon against virtio 1.2 §5.5, with a driver that lays its arrays out at will, and with a hostile one.

mod guest;
mod hostile;

use super::*;
use crate::testing::{Buffer, Layout, RAM_BASE, RAM_SIZE};
use guest::{Asked, EVENT_IDX, Guest, PAGE_REPORTING, STATUS};
use proptest::prelude::*;

/// The queues of §5.5.2, and the one that Linux takes for reporting where there are no queues of statistics and hints.
const INFLATEQ: usize = 0;
const DEFLATEQ: usize = 1;
const REPORTING_VQ: usize = 4;
const REPORTING_OF_LINUX: usize = 2;

#[test]
fn device_is_that_of_5_5() {
    let mut guest = Guest::new(0);
    assert_eq!(guest.get(0x008), 5, "DeviceID");
    let rings = 1 << 32 | 1 << 28 | 1 << 29;
    assert_eq!(guest.features(), rings | 1 << 0 | 1 << 5, "MUST_TELL_HOST, PAGE_REPORTING");
    for queue in 0..5 {
        let _ = guest.set(0x30, queue);
        assert!(guest.get(0x34) >= 32, "room for what Linux reports at once");
    }
    let _ = guest.set(0x30, 5);
    assert_eq!(guest.get(0x34), 0, "no sixth queue");
}

#[test]
fn the_target_is_shown_and_announced_once_and_the_driver_says_what_it_has() {
    let mut guest = Guest::new(0);
    let (_, before) = (guest.device.take_pulse(), guest.get(0x0fc));
    guest.device.set_target(0x1234);
    guest.device.set_target(0x1234);
    assert_eq!(guest.get(0x0fc), before + 1, "ConfigGeneration");
    assert_eq!((guest.get(0x060), guest.device.take_pulse()), (2, true), "configuration change notification");
    assert_eq!((guest.get(0x100), guest.get(0x104)), (0x1234, 0), "num_pages, actual");
    assert_eq!(guest.set(0x104, 77), BalloonEffect::Actual);
    assert_eq!((guest.get(0x104), guest.device.actual()), (77, 77));
    for (offset, size) in [(0x100, 4), (0x104, 2), (0x106, 4), (0x108, 4), (0x10c, 4)] {
        assert_eq!(guest.device.write(offset, size, 5), BalloonEffect::None, "{offset:#x}");
    }
    assert_eq!((guest.get(0x100), guest.get(0x104), guest.get(0x108), guest.get(0x10c)), (0x1234, 77, 0, 0));
}

#[test]
fn a_reset_leaves_the_target_and_a_new_life_nothing() {
    let mut guest = Guest::new(0);
    guest.device.set_target(9);
    let _ = guest.set(0x104, 4);
    assert_eq!(guest.set(STATUS, 0), BalloonEffect::Reset);
    assert_eq!((guest.device.target(), guest.device.actual()), (9, 0));
    guest.device.restart();
    assert_eq!((guest.device.target(), guest.device.actual()), (0, 0));
}

#[test]
fn numbers_come_in_their_order_and_what_comes_back_comes_first() {
    let mut guest = Guest::new(0);
    let first = guest.offer(INFLATEQ, &[5, 5, u32::MAX], (12, Layout::Direct)).unwrap();
    guest.offer(INFLATEQ, &[6], (4, Layout::Indirect)).unwrap();
    guest.offer(DEFLATEQ, &[7], (4, Layout::Direct)).unwrap();
    assert_eq!(guest.set(0x50, 0), BalloonEffect::Requests);
    assert_eq!(guest.serve(), Backlog::Empty);
    use Asked::{Deflate, Inflate};
    assert_eq!(guest.book.asked, [Deflate(7), Inflate(5), Inflate(5), Inflate(u32::MAX), Inflate(6)]);
    assert_eq!(guest.take(INFLATEQ), Some((first, 0)));
    assert!(guest.take(INFLATEQ).is_some() && guest.take(DEFLATEQ).is_some());
}

#[test]
fn ranges_are_reported_as_they_are_and_given_back_unwritten() {
    for queue in [REPORTING_VQ, REPORTING_OF_LINUX] {
        let mut guest = Guest::new(0);
        let ranges = [(RAM_BASE, 2 << 20), (0x7000_0000_0000, 4 << 20), (RAM_BASE, 0x1000)];
        let head = guest.report(queue, &ranges, Layout::Indirect).unwrap();
        assert_eq!(guest.serve(), Backlog::Empty);
        assert_eq!(guest.book.asked, ranges.map(|(ipa, bytes)| Asked::Report(ipa, bytes)));
        assert_eq!(guest.take(queue), Some((head, 0)));
    }
}

#[test]
fn a_driver_without_the_feature_reports_nothing() {
    let mut guest = Guest::new(PAGE_REPORTING);
    guest.report(REPORTING_VQ, &[(RAM_BASE, 2 << 20)], Layout::Direct).unwrap();
    assert_eq!((guest.serve(), guest.book.asked.len()), (Backlog::Empty, 0));
    assert!(guest.take(REPORTING_VQ).is_none());
}

#[test]
fn what_is_put_off_is_asked_for_again_and_comes_back_when_it_is_done() {
    let mut guest = Guest::new(0);
    (guest.book.lazy, guest.book.piece) = (2, 1 << 21);
    guest.report(REPORTING_VQ, &[(RAM_BASE, 5 << 20)], Layout::Direct).unwrap();
    guest.offer(DEFLATEQ, &[1, 2], (8, Layout::Direct)).unwrap();
    let calls = guest.serve_all();
    assert!(guest.take(REPORTING_VQ).is_some() && guest.take(DEFLATEQ).is_some() && calls > 5, "{calls}");
    let of = |wanted: fn(&Asked) -> bool| guest.book.asked.iter().copied().filter(wanted).collect::<Vec<_>>();
    let pieces = [(0, 2 << 20), (2 << 20, 2 << 20), (4 << 20, 1 << 20)];
    let expected = pieces.map(|(at, bytes)| Asked::Report(RAM_BASE + at, bytes));
    assert_eq!(of(|asked| matches!(asked, Asked::Report(..))), expected);
    assert_eq!(of(|asked| matches!(asked, Asked::Deflate(_))), [Asked::Deflate(1), Asked::Deflate(2)]);
}

#[test]
fn a_page_that_does_not_come_back_holds_up_no_other_queue() {
    let mut guest = Guest::new(0);
    guest.book.lazy = 1;
    guest.offer(DEFLATEQ, &[1], (4, Layout::Direct)).unwrap();
    guest.offer(INFLATEQ, &[2], (4, Layout::Direct)).unwrap();
    assert_eq!(guest.serve(), Backlog::Waiting);
    assert_eq!(guest.book.asked, [Asked::Inflate(2)], "the second question is answered");
    assert!(guest.take(DEFLATEQ).is_none(), "the driver must not use the page yet");
}

#[test]
fn a_call_takes_a_bounded_number_of_steps() {
    let mut guest = Guest::new(0);
    let pages: Vec<u32> = (0..500).collect();
    guest.offer(INFLATEQ, &pages, (2000, Layout::Direct)).unwrap();
    assert_eq!(guest.serve(), Backlog::Waiting);
    assert!(guest.book.asked.len() <= STEPS_MAX && guest.take(INFLATEQ).is_none());
    guest.serve_all();
    assert_eq!(guest.book.asked, pages.into_iter().map(Asked::Inflate).collect::<Vec<_>>());
}

#[test]
fn what_a_driver_has_stopped_is_void() {
    let mut guest = Guest::new(0);
    guest.book.lazy = 1;
    guest.offer(INFLATEQ, &[1, 2], (8, Layout::Direct)).unwrap();
    assert_eq!(guest.serve(), Backlog::Waiting);
    let _ = guest.set(0x30, INFLATEQ as u32);
    assert_eq!(guest.set(0x44, 0), BalloonEffect::Reset);
    assert_eq!((guest.serve_all(), guest.book.asked.len()), (1, 0));
    guest.queues[INFLATEQ] = crate::testing::DriverQueue::new(RAM_BASE, 16, true, 0);
    guest.probe(0);
    guest.offer(INFLATEQ, &[3], (4, Layout::Direct)).unwrap();
    guest.serve_all();
    assert_eq!(guest.book.asked, [Asked::Inflate(3)], "nothing is left of the number that was put off");
}

#[test]
fn the_driver_is_interrupted_as_it_asks() {
    for (without, flags, expected) in [(EVENT_IDX, 0, true), (EVENT_IDX, 1, false), (0, 0, true)] {
        let mut guest = Guest::new(without);
        let _ = guest.device.take_pulse();
        guest.memory.write_u16(guest.queues[INFLATEQ].driver, flags).unwrap();
        guest.offer(INFLATEQ, &[8], (4, Layout::Direct)).unwrap();
        let _ = guest.serve();
        assert_eq!(guest.device.take_pulse(), expected, "{without:#x} {flags}");
        let _ = guest.serve();
        assert!(!guest.device.take_pulse(), "nothing was given back");
    }
}

#[test]
fn what_is_no_array_and_no_range_makes_the_device_ask_for_a_reset() {
    let outside = RAM_BASE + RAM_SIZE as u64 - 4;
    let data = RAM_BASE + 0x1_0000;
    for (name, queue, buffer) in [
        ("numbers that the device could write", INFLATEQ, Buffer::writable(data, 8)),
        ("out of RAM", DEFLATEQ, Buffer::readable(outside, 8)),
        ("a part of a number", INFLATEQ, Buffer::readable(data, 6)),
        ("empty", DEFLATEQ, Buffer::readable(data, 0)),
        ("a range that is not the device's", REPORTING_VQ, Buffer::readable(data, 0x1000)),
        ("a range that wraps", REPORTING_OF_LINUX, Buffer::writable(u64::MAX - 3, 8)),
    ] {
        let mut guest = Guest::new(0);
        guest.queues[queue].add(&guest.memory, &[buffer], Layout::Direct).unwrap();
        assert_eq!(guest.serve(), Backlog::Empty, "{name}");
        assert!(guest.is_broken() && guest.take(queue).is_none(), "{name}");
        let asked = guest.book.asked.len();
        assert_eq!((guest.serve(), guest.book.asked.len()), (Backlog::Empty, asked), "{name}: it is over");
        assert_eq!(guest.set(STATUS, 0), BalloonEffect::Reset);
    }
}

proptest! {
    #[test]
    fn numbers_are_those_of_the_array_however_it_is_cut(
        chains in prop::collection::vec((prop::collection::vec(any::<u32>(), 1..6), 1u32..9, any::<bool>()), 1..20),
        without in prop::sample::select(vec![0, EVENT_IDX]),
        lazy in 0u32..3,
    ) {
        let mut guest = Guest::new(without);
        guest.book.lazy = lazy;
        let (mut model, mut offered) = (vec![], 0);
        for (pages, cut, direct) in &chains {
            let layout = if *direct { Layout::Direct } else { Layout::Indirect };
            // An indirect table of the driver's has 16 entries.
            let cut = (*cut).max(4 * pages.len() as u32 / 16 + 1);
            if guest.offer(INFLATEQ, pages, (cut, layout)).is_some() {
                offered += 1;
                model.extend(pages.iter().copied().map(Asked::Inflate));
            }
        }
        guest.serve_all();
        prop_assert_eq!(&guest.book.asked, &model);
        let returned = std::iter::from_fn(|| guest.take(INFLATEQ)).count();
        prop_assert_eq!(returned, offered);
    }
}

#[test]
fn devices_can_stand_in_a_static_table() {
    static TABLE: [Balloon; 2] = [const { Balloon::NONE }; 2];
    assert!(TABLE.iter().all(|device| device.read(8, 4) == 0), "DeviceID 0 is no device (§4.2.2)");
    assert!(size_of::<Balloon>() <= 640, "{}", size_of::<Balloon>());
}
