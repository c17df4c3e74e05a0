//! Plays the driver of a disk: requests that are right, nearly right, and nothing like it.

use crate::code::Attacker;
use crate::virtio::{Device, ENTRIES, TABLE, describe, peek, poke};
use hv_abi::guest_map::DISK_SLOT;

/// The first disk. What requests read and write is behind what the attacks' own code is in.
const DISK: Device = Device {
    slot: DISK_SLOT,
    // Indirect tables, event index, flush: any of them.
    features: 1 << 28 | 1 << 29 | 1 << 9,
    rings: 0x2_0000,
    data: 0x20_0000,
    data_size: 0x4_0000,
    ask,
    header,
};

/// Sets the disk up, and asks.
pub(crate) fn requests(attacker: &mut Attacker<'_>) {
    DISK.requests(attacker);
}

/// One request, or some other thing that a driver does.
pub(crate) fn request(attacker: &mut Attacker<'_>) {
    DISK.request(attacker);
}

/// Any type, a sector that is on the disk or is not.
fn header(attacker: &mut Attacker<'_>, at: u64) {
    let kind = match attacker.random.below(16) {
        0 => attacker.random.next() as u32,
        _ => attacker.random.pick(&[0, 0, 0, 1, 1, 1, 4, 8, 11, 13]),
    };
    let sector = match attacker.random.below(8) {
        0 => attacker.random.interesting(),
        _ => attacker.random.below(5000),
    };
    poke(at, &u64::from(kind).to_le_bytes());
    poke(at + 8, &sector.to_le_bytes());
}

/// A chain as the specification has it: header, data, status; in the queue's table or an indirect one.
fn ask(attacker: &mut Attacker<'_>, queue: u64) {
    let base = DISK.base(attacker, queue);
    let top = DISK.small(attacker);
    header(attacker, top);
    let indirect = attacker.random.below(2) == 0;
    let head = attacker.random.below(ENTRIES - 4);
    let (table, first) = if indirect { (base + TABLE, 0) } else { (base, head) };
    let data = attacker.scratch() + DISK.data + attacker.random.below(DISK.data_size / 512) * 512;
    let sectors = attacker.random.below(9);
    // Writable for a read, most often (virtio 1.2 §5.2.6.1).
    let reads = peek(top) == 0;
    let flags = 1 | u64::from(reads != (attacker.random.below(8) == 0)) << 1;
    let status = DISK.small(attacker) + 0x400;
    describe(table, first, [top, 16, 1, first + 1]);
    describe(table, first + 1, [data, sectors * 512, flags, first + 2]);
    describe(table, first + 2, [status, 1, 2, 0]);
    if indirect {
        describe(base, head, [table, 48, 4, 0]);
    }
    DISK.offer(base, head);
}
