//! The register file against virtio 1.2 §4.2.2 and the negotiation against §2.2 and §3.1.

pub(crate) mod hostile;

use super::*;
use crate::testing::Random;

const QUEUES: usize = 4;
const OFFERED: u64 = 0b101;
const INDIRECT: u64 = 1 << 28;
const EVENT: u64 = 1 << 29;
const VERSION_1: u64 = 1 << 32;

const ACKNOWLEDGE: u32 = 1;
const DRIVER: u32 = 2;
const DRIVER_OK: u32 = 4;
const FEATURES_OK: u32 = 8;
const NEEDS_RESET: u32 = 64;
const FAILED: u32 = 128;

/// A device with three of the transport's four queues.
fn device() -> Transport<QUEUES> {
    Transport::new(Profile { id: Id::Net, offered: OFFERED, required: 0b100, queues: 3, queue_size_max: 16 })
}

fn get(device: &Transport<QUEUES>, offset: u64) -> u32 {
    u32::try_from(device.read(offset, 4, &[])).unwrap()
}

fn set(device: &mut Transport<QUEUES>, offset: u64, value: u32) -> Effect {
    device.write(offset, 4, value.into())
}

fn accept(device: &mut Transport<QUEUES>, features: u64) {
    for (selector, half) in [(0, features as u32), (1, (features >> 32) as u32)] {
        assert_eq!(set(device, 0x24, selector), Effect::None);
        assert_eq!(set(device, 0x20, half), Effect::None);
    }
}

/// Sets up a queue as §4.2.3.2 describes it.
fn set_up_queue(device: &mut Transport<QUEUES>, index: u32, size: u32) {
    for (offset, value) in [
        (0x30, index),
        (0x38, size),
        (0x80, 0x4000_0000),
        (0x84, 0),
        (0x90, 0x4000_1000),
        (0x94, 0),
        (0xa0, 0x4000_2000),
        (0xa4, 0),
        (0x44, 1),
    ] {
        assert_eq!(set(device, offset, value), Effect::None);
    }
}

/// A device whose driver runs with queues 0 and 2.
fn running() -> Transport<QUEUES> {
    let mut device = device();
    accept(&mut device, 0b100 | VERSION_1 | EVENT);
    let negotiated = ACKNOWLEDGE | DRIVER | FEATURES_OK;
    assert_eq!(set(&mut device, 0x70, negotiated), Effect::None);
    set_up_queue(&mut device, 0, 8);
    set_up_queue(&mut device, 2, 16);
    assert_eq!(set(&mut device, 0x70, negotiated | DRIVER_OK), Effect::Started);
    device
}

#[test]
fn registers_after_reset() {
    let device = device();
    for (offset, expected) in [
        (0x000, u32::from_le_bytes(*b"virt")),
        (0x004, 2),
        (0x008, 1),
        (0x00c, u32::from_le_bytes(*b"Dorm")),
        (0x010, (OFFERED | INDIRECT | EVENT) as u32),
        (0x014, 0),
        (0x020, 0),
        (0x024, 0),
        (0x030, 0),
        (0x034, 16),
        (0x038, 0),
        (0x044, 0),
        (0x050, 0),
        (0x060, 0),
        (0x064, 0),
        (0x070, 0),
        (0x080, 0),
        (0x0a4, 0),
        (0x0ac, 0),
        (0x0b0, 0xffff_ffff),
        (0x0b4, 0xffff_ffff),
        (0x0b8, 0xffff_ffff),
        (0x0bc, 0xffff_ffff),
        // QueueReset: RING_RESET is not offered.
        (0x0c0, 0),
        (0x0fc, 0),
    ] {
        assert_eq!(get(&device, offset), expected, "{offset:#x}");
    }
}

#[test]
fn empty_slot_is_a_device_of_type_0() {
    for (offset, size, expected) in [
        (0x000, 4, 0x7472_6976),
        (0x004, 4, 2),
        (0x008, 4, 0),
        (0x00c, 4, u64::from(u32::from_le_bytes(*b"Dorm"))),
        (0x010, 4, 0),
        (0x034, 4, 0),
        (0x070, 4, 0),
        (0x100, 4, 0),
        (0x000, 1, 0),
        (0x000, 8, 0),
    ] {
        assert_eq!(read_empty_slot(offset, size), expected, "{offset:#x}/{size}");
    }
}

#[test]
fn registers_take_aligned_32_bit_accesses_only() {
    let mut device = running();
    for size in [1, 2, 8] {
        for offset in 0..0x100 {
            assert_eq!(device.read(offset, size, &[]), 0, "{offset:#x}/{size}");
            assert_eq!(device.write(offset, size, 0), Effect::None);
            assert_eq!(device.write(offset, size, 1), Effect::None);
        }
    }
    for offset in (0..0x100).filter(|offset| offset % 4 != 0) {
        assert_eq!(get(&device, offset), 0, "{offset:#x}");
        assert_eq!(set(&mut device, offset, 0), Effect::None);
    }
    assert!(device.is_live(), "none of it was a reset");
}

#[test]
fn configuration_is_read_at_every_size_and_alignment() {
    let device = device();
    let config = [0x11, 0x22, 0x33, 0x44, 0x55];
    for (offset, size, expected) in [
        (0x100, 1, 0x11),
        (0x101, 1, 0x22),
        (0x101, 2, 0x3322),
        (0x100, 4, 0x4433_2211),
        (0x103, 4, 0x5544),
        (0x100, 8, 0x55_4433_2211),
        (0x104, 8, 0x55),
        (0x105, 4, 0),
        (0x1ff, 8, 0),
        (u64::MAX, 8, 0),
    ] {
        assert_eq!(device.read(offset, size, &config), expected, "{offset:#x}/{size}");
    }
}

#[test]
fn feature_words_follow_their_selector() {
    let mut device = device();
    for (selector, expected) in [(0, 0x3000_0005), (1, 1), (2, 0), (3, 0), (u32::MAX, 0), (0, 0x3000_0005)] {
        assert_eq!(set(&mut device, 0x14, selector), Effect::None);
        assert_eq!(get(&device, 0x10), expected, "{selector}");
    }
}

#[test]
fn features_ok_needs_version_1_what_is_required_and_nothing_unoffered() {
    let good = VERSION_1 | 0b100;
    for (features, expected) in [
        (good, true),
        (good | 1 | INDIRECT | EVENT, true),
        (0b100, false),
        (VERSION_1, false),
        (0, false),
        (good | 0b10, false),
        (good | 1 << 34, false),
        (good | 1 << 40, false),
        (u64::MAX, false),
    ] {
        let mut device = device();
        accept(&mut device, features);
        let status = ACKNOWLEDGE | DRIVER;
        assert_eq!(set(&mut device, 0x70, status | FEATURES_OK), Effect::None);
        let shown = status | if expected { FEATURES_OK } else { 0 };
        assert_eq!(get(&device, 0x70), shown, "{features:#x}");
    }
}

#[test]
fn features_beyond_the_64th_are_not_offered() {
    let mut device = device();
    accept(&mut device, VERSION_1 | 0b100);
    let _ = (set(&mut device, 0x24, 2), set(&mut device, 0x20, 1));
    let _ = set(&mut device, 0x70, FEATURES_OK);
    assert_eq!(get(&device, 0x70), 0);
}

#[test]
fn features_stand_after_features_ok() {
    let mut device = device();
    accept(&mut device, VERSION_1 | 0b100);
    let _ = set(&mut device, 0x70, FEATURES_OK);
    accept(&mut device, VERSION_1 | 0b101);
    assert!(!device.has_accepted(1));
    let _ = set(&mut device, 0x70, 0);
    accept(&mut device, VERSION_1 | 0b101);
    assert!(device.has_accepted(1));
}

#[test]
fn refused_negotiation_can_be_tried_again() {
    let mut device = device();
    let _ = set(&mut device, 0x70, ACKNOWLEDGE | DRIVER | FEATURES_OK);
    accept(&mut device, VERSION_1 | 0b100);
    let _ = set(&mut device, 0x70, ACKNOWLEDGE | DRIVER | FEATURES_OK);
    assert_eq!(get(&device, 0x70), ACKNOWLEDGE | DRIVER | FEATURES_OK);
}

#[test]
fn driver_sets_status_bits_and_clears_none() {
    let mut device = device();
    for (written, shown) in [
        (ACKNOWLEDGE, 1),
        (DRIVER, 3),
        // DRIVER_OK means nothing without FEATURES_OK, and some bits are not the driver's.
        (DRIVER_OK, 3),
        (NEEDS_RESET | 16 | 32, 3),
        (0x100, 3),
        (FAILED, 0x83),
    ] {
        assert_eq!(set(&mut device, 0x70, written), Effect::None);
        assert_eq!(get(&device, 0x70), shown, "{written:#x}");
    }
}

#[test]
fn reset_takes_everything_back() {
    let mut device = running();
    device.signal_used();
    assert_eq!(set(&mut device, 0x70, 0), Effect::Reset);
    assert_eq!((get(&device, 0x70), get(&device, 0x60)), (0, 0));
    assert!(!device.take_pulse() && !device.is_live() && device.queue(0).is_none());
    for index in 0..3 {
        let _ = set(&mut device, 0x30, index);
        assert_eq!((get(&device, 0x44), get(&device, 0x34)), (0, 16));
    }
}

#[test]
fn queues_beyond_the_devices_do_not_exist() {
    let mut device = running();
    for index in [3, 4, 0xffff, 0x1_0000, u32::MAX] {
        let _ = set(&mut device, 0x30, index);
        assert_eq!(get(&device, 0x34), 0, "{index}");
        for (offset, value) in [(0x38, 8), (0x80, 1), (0x44, 1), (0x44, 0)] {
            assert_eq!(set(&mut device, offset, value), Effect::None);
        }
        assert_eq!(get(&device, 0x44), 0, "{index}");
        assert_eq!(set(&mut device, 0x50, index), Effect::None);
    }
}

#[test]
fn notification_names_an_enabled_queue_of_a_running_device() {
    let mut device = running();
    assert_eq!(set(&mut device, 0x50, 0), Effect::Notify(0));
    assert_eq!(set(&mut device, 0x50, 1), Effect::None, "not enabled");
    assert_eq!(set(&mut device, 0x50, 2), Effect::Notify(2));
    assert_eq!(set(&mut device, 0x50, 0x1_0002), Effect::None, "not an index");
    let _ = set(&mut device, 0x70, FAILED);
    assert_eq!(set(&mut device, 0x50, 0), Effect::None, "given up");
}

#[test]
fn notification_before_driver_ok_waits_for_it() {
    let mut device = device();
    accept(&mut device, VERSION_1 | 0b100);
    let _ = set(&mut device, 0x70, FEATURES_OK);
    set_up_queue(&mut device, 0, 8);
    assert_eq!(set(&mut device, 0x50, 0), Effect::None);
    assert!(device.queue(0).is_none());
    assert_eq!(set(&mut device, 0x70, DRIVER_OK), Effect::Started);
    assert_eq!(set(&mut device, 0x70, DRIVER_OK), Effect::None, "only once");
    assert!(device.queue(0).is_some());
}

#[test]
fn queue_is_enabled_only_after_features_ok() {
    let mut device = device();
    set_up_queue(&mut device, 0, 8);
    assert_eq!(get(&device, 0x44), 0);
    accept(&mut device, VERSION_1 | 0b100);
    let _ = set(&mut device, 0x70, FEATURES_OK);
    assert_eq!(set(&mut device, 0x44, 1), Effect::None);
    assert_eq!((get(&device, 0x44), get(&device, 0x70)), (1, FEATURES_OK));
}

#[test]
fn areas_take_64_bits_and_stand_while_enabled() {
    let mut device = running();
    let expected = crate::queue::Areas { descriptor: 0x1_2345_6780, driver: 0x2_0000_0002, device: 0x3_0000_0004 };
    for (offset, value) in
        [(0x30, 1), (0x84, 1), (0x80, 0x2345_6780), (0x90, 2), (0x94, 2), (0xa4, 3), (0xa0, 4), (0x88, 9), (0x98, 9)]
    {
        assert_eq!(set(&mut device, offset, value), Effect::None);
    }
    assert_eq!(device.queues[1].areas_mut(), Some(&mut expected.clone()));
    let _ = (set(&mut device, 0x38, 4), set(&mut device, 0x44, 1));
    for offset in [0x80, 0x84, 0x90, 0x94, 0xa0, 0xa4] {
        let _ = set(&mut device, offset, 0);
    }
    assert_eq!(set(&mut device, 0x44, 0), Effect::QueueStopped(1));
    assert_eq!(device.queues[1].areas_mut(), Some(&mut expected.clone()));
}

#[test]
fn stopped_queue_is_not_notified_and_starts_again() {
    let mut device = running();
    let _ = set(&mut device, 0x30, 2);
    assert_eq!(set(&mut device, 0x44, 0), Effect::QueueStopped(2));
    assert_eq!(set(&mut device, 0x44, 0), Effect::None);
    assert_eq!(set(&mut device, 0x50, 2), Effect::None);
    assert_eq!(set(&mut device, 0x44, 1), Effect::None);
    assert_eq!(set(&mut device, 0x50, 2), Effect::Notify(2));
}

#[test]
fn queue_that_cannot_work_makes_the_device_ask_for_a_reset() {
    for (size, low) in [(0, 0), (3, 0), (32, 0), (0x1_0008, 0), (8, 4)] {
        let mut device = running();
        for (offset, value) in [(0x30, 1), (0x38, size), (0x80, low), (0x44, 1)] {
            let _ = set(&mut device, offset, value);
        }
        assert_eq!(get(&device, 0x44), 0, "{size} {low}");
        assert_eq!(get(&device, 0x70) & NEEDS_RESET, NEEDS_RESET, "{size} {low}");
        assert_eq!(get(&device, 0x60), 2, "a configuration change, as the driver runs");
        assert!(device.take_pulse());
        assert_eq!(set(&mut device, 0x50, 0), Effect::None, "no queue works any more");
        assert_eq!(set(&mut device, 0x70, 0), Effect::Reset);
        assert_eq!(get(&device, 0x70), 0);
    }
}

#[test]
fn failure_before_driver_ok_sends_no_notification() {
    let mut device = device();
    device.fail();
    assert_eq!((get(&device, 0x70), get(&device, 0x60)), (NEEDS_RESET, 0));
    assert!(!device.take_pulse());
}

#[test]
fn each_cause_pulses_once_and_is_acknowledged_by_its_bit() {
    let mut device = running();
    assert!(!device.take_pulse());
    device.signal_used();
    assert_eq!((get(&device, 0x60), device.take_pulse()), (1, true));
    assert!(!device.take_pulse());
    // Not acknowledged yet, but a new edge all the same: the driver may just have read the bit.
    device.signal_used();
    assert_eq!((get(&device, 0x60), device.take_pulse()), (1, true));
    device.fail();
    assert_eq!((get(&device, 0x60), device.take_pulse()), (3, true));
    let _ = set(&mut device, 0x64, 1);
    assert_eq!(get(&device, 0x60), 2);
    let _ = set(&mut device, 0x64, 0xffff_fffe);
    assert_eq!((get(&device, 0x60), device.take_pulse()), (0, false));
}

#[test]
fn a_new_configuration_has_a_new_generation_and_is_told_to_a_running_driver_only() {
    let mut quiet = device();
    let before = get(&quiet, 0xfc);
    quiet.config_changed();
    assert_ne!(get(&quiet, 0xfc), before);
    assert!(!quiet.take_pulse());
    let mut device = running();
    device.config_changed();
    assert!(device.take_pulse());
    assert_eq!(get(&device, 0x60), 2);
    assert!(device.is_live());
}

#[test]
fn only_a_reset_and_the_stop_of_a_queue_take_buffers_back() {
    let mut device = running();
    assert!(device.takes_buffers_back(0x70, 4, 0));
    assert!(device.takes_buffers_back(0x70, 4, 0x1_0000_0000), "a register has 32 bits");
    assert!(!device.takes_buffers_back(0x70, 1, 0), "an access that is ignored");
    assert!(!device.takes_buffers_back(0x70, 4, 15));
    for (queue, expected) in [(0, true), (1, false), (7, false)] {
        let _ = set(&mut device, 0x30, queue);
        assert_eq!(device.takes_buffers_back(0x44, 4, 0), expected, "queue {queue}");
        assert!(!device.takes_buffers_back(0x44, 4, 1));
    }
}
