//! A driver that writes any register at any time.

use super::*;
use crate::testing::hostile::{self, MANY, OPERATIONS, access};

/// One write of whatever it likes, and what must hold behind it.
fn any_write(device: &mut Transport<QUEUES>, random: &Random) {
    let value = match random.below(3) {
        0 => random.below(20) as u32,
        1 => random.next() as u32,
        _ => 1 << random.below(32),
    };
    let was_live = device.is_live();
    let effect = set(device, random.below(0x42) * 4, value);
    let status = get(device, 0x70);
    match effect {
        Effect::Notify(index) => assert!(device.queue(index).is_some()),
        Effect::Started => assert!(device.is_live() && !was_live),
        Effect::Reset => assert_eq!(status, 0),
        Effect::QueueStopped(index) => assert!(!device.queues[usize::from(index)].is_ready()),
        Effect::None => {}
    }
    assert!(status & DRIVER_OK == 0 || status & FEATURES_OK != 0);
    if status & FEATURES_OK != 0 {
        assert!(device.has_accepted(VERSION_1 | 0b100));
        assert!(!device.has_accepted(0b10));
    }
}

/// Else most of the game would pass in the state after a failure.
fn start_again(device: &mut Transport<QUEUES>, random: &Random) {
    let _ = set(device, 0x70, 0);
    accept(device, VERSION_1 | 0b100 | random.next() & (INDIRECT | EVENT));
    let _ = set(device, 0x70, FEATURES_OK);
}

/// One device's life under such a driver; how many operations it had.
pub(crate) fn game(random: &Random) -> u64 {
    let mut device = device();
    let mut operations = 0;
    while random.goes_on() {
        match random.below(40) {
            0 => start_again(&mut device, random),
            1..=4 => {
                let (offset, size, value) = access(random);
                let _ = (device.write(offset, size, value), device.read(offset, size, &[1, 2, 3]));
                let _ = device.take_pulse();
            }
            _ => any_write(&mut device, random),
        }
        operations += 1;
    }
    operations
}

#[test]
fn any_writes_keep_the_device_lawful() {
    hostile::play(0x117, OPERATIONS, game);
}

#[test]
#[ignore = "long; make soak runs it"]
fn ten_million_writes_keep_the_device_lawful() {
    hostile::play(0x117, MANY, game);
}
