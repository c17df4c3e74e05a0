//! Plays the driver of an entropy device: buffers that are the device's to write, and others.

use crate::code::Attacker;
use crate::virtio::{Device, ENTRIES, TABLE, describe};
use hv_abi::guest_map::ENTROPY_SLOT;

/// The device. What it fills is behind what the network card sends and receives.
const RNG: Device = Device {
    slot: ENTROPY_SLOT,
    // Indirect tables, event index: any of them.
    features: 1 << 28 | 1 << 29,
    rings: 0x3_0000,
    data: 0x28_0000,
    data_size: 0x1_0000,
    ask,
    header,
};

/// Sets it up, and asks.
pub(crate) fn requests(attacker: &mut Attacker<'_>) {
    RNG.requests(attacker);
}

/// One request, or some other thing that a driver does.
pub(crate) fn request(attacker: &mut Attacker<'_>) {
    RNG.request(attacker);
}

/// A request has none.
fn header(_: &mut Attacker<'_>, _: u64) {}

/// Two buffers, most often the device's to write (virtio 1.2 §5.4.6.1); in the queue's table or an indirect one.
fn ask(attacker: &mut Attacker<'_>, queue: u64) {
    let base = RNG.base(attacker, queue);
    let indirect = attacker.random.below(2) == 0;
    let head = attacker.random.below(ENTRIES - 2);
    let (table, first) = if indirect { (base + TABLE, 0) } else { (base, head) };
    let data = attacker.scratch() + RNG.data + attacker.random.below(RNG.data_size);
    let length = attacker.random.pick(&[1, 8, 32, 64, 100]);
    let writable = u64::from(attacker.random.below(8) != 0) << 1;
    describe(table, first, [data, length, 1 | 2, first + 1]);
    describe(table, first + 1, [data + length, length, writable, 0]);
    if indirect {
        describe(base, head, [table, 32, 4, 0]);
    }
    RNG.offer(base, head);
}
