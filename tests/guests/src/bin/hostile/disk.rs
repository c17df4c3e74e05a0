//! Plays the driver of a disk: requests that are right, nearly right, and nothing like it.

use crate::code::Attacker;
use crate::{devices, shapes};
use hv_abi::guest_map::{DISK_SLOT, VIRTIO_BASE, VIRTIO_STRIDE};

/// The first disk's registers.
const SLOT: u64 = VIRTIO_BASE + DISK_SLOT as u64 * VIRTIO_STRIDE;
/// Registers (virtio 1.2 §4.2.2).
const STATUS: u64 = 0x70;
const NOTIFY: u64 = 0x50;
/// Entries of each queue, and queues that are used.
const ENTRIES: u64 = 16;
const QUEUES: u64 = 2;

/// From the scratch page on: queues, an indirect table for each, headers, and what requests read and write.
const RINGS: u64 = 0x2_0000;
const QUEUE_STRIDE: u64 = 0x1000;
const AVAILABLE: u64 = 0x400;
const USED: u64 = 0x800;
const TABLE: u64 = 0xc00;
const HEADERS: u64 = 0x3_0000;
/// Behind what the attacks' own code is in.
const DATA: u64 = 0x20_0000;
const DATA_SIZE: u64 = 0x4_0000;

/// Sets the device up, and asks.
pub(crate) fn requests(attacker: &mut Attacker<'_>) {
    set_up(attacker);
    for _ in 0..attacker.rounds() / 4 {
        request(attacker);
    }
}

/// One request, or some other thing that a driver does.
pub(crate) fn request(attacker: &mut Attacker<'_>) {
    // What no driver may do is the last that a device listens to, until it is set up again.
    match attacker.random.below(48) {
        0..8 => set_up(attacker),
        8 => set(attacker, STATUS, 0),
        9 => {
            let (register, value) = (attacker.random.below(0x40) * 4, attacker.random.interesting());
            set(attacker, register, value);
        }
        _ => {}
    }
    let queue = attacker.random.below(QUEUES);
    if attacker.random.below(4) == 0 {
        scatter(attacker, queue)
    } else {
        ask(attacker, queue)
    }
    let available = base(attacker, queue) + AVAILABLE;
    let index = peek(available + 2);
    let step = if attacker.random.below(40) == 0 { attacker.random.next() as u16 } else { 1 };
    poke(available + 2, &index.wrapping_add(step).to_le_bytes());
    set(attacker, NOTIFY, queue);
    set(attacker, 0x64, 3);
}

fn set(attacker: &mut Attacker<'_>, register: u64, value: u64) {
    attacker.run(shapes::store_word(), [value, SLOT + register, 0]);
}

fn base(attacker: &Attacker<'_>, queue: u64) -> u64 {
    attacker.scratch() + RINGS + queue * QUEUE_STRIDE
}

fn set_up(attacker: &mut Attacker<'_>) {
    // Indirect tables, event index, flush: any of them.
    let features = attacker.random.next() & (1 << 28 | 1 << 29 | 1 << 9);
    for (register, value) in
        [(STATUS, 0), (STATUS, 1), (STATUS, 3), (0x24, 1), (0x20, 1), (0x24, 0), (0x20, features), (STATUS, 11)]
    {
        set(attacker, register, value);
    }
    for queue in 0..QUEUES {
        let base = base(attacker, queue);
        (0..QUEUE_STRIDE).step_by(8).for_each(|offset| poke(base + offset, &[0; 8]));
        for (register, value) in [(0x30, queue), (0x38, ENTRIES)] {
            set(attacker, register, value);
        }
        for (register, area) in [(0x80, base), (0x90, base + AVAILABLE), (0xa0, base + USED)] {
            set(attacker, register, area);
            set(attacker, register + 4, area >> 32);
        }
        set(attacker, 0x44, 1);
    }
    set(attacker, STATUS, 15);
}

/// A header: any type, a sector that is on the disk or is not.
fn header(attacker: &mut Attacker<'_>) -> u64 {
    let at = attacker.scratch() + HEADERS + attacker.random.below(64) * 16;
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
    at
}

/// A chain as the specification has it: header, data, status; in the queue's table or an indirect one.
fn ask(attacker: &mut Attacker<'_>, queue: u64) {
    let base = base(attacker, queue);
    let header = header(attacker);
    let indirect = attacker.random.below(2) == 0;
    let head = attacker.random.below(ENTRIES - 4);
    let (table, first) = if indirect { (base + TABLE, 0) } else { (base, head) };
    let data = attacker.scratch() + DATA + attacker.random.below(DATA_SIZE / 512) * 512;
    let sectors = attacker.random.below(9);
    // Writable for a read, most often (virtio 1.2 §5.2.6.1).
    let reads = peek(header) == 0;
    let flags = 1 | u64::from(reads != (attacker.random.below(8) == 0)) << 1;
    let status = attacker.scratch() + HEADERS + 0x800 + attacker.random.below(64);
    describe(table, first, [header, 16, 1, first + 1]);
    describe(table, first + 1, [data, sectors * 512, flags, first + 2]);
    describe(table, first + 2, [status, 1, 2, 0]);
    if indirect {
        describe(base, head, [table, 48, 4, 0]);
    }
    offer(base, head);
}

/// Descriptors without order.
fn scatter(attacker: &mut Attacker<'_>, queue: u64) {
    let base = base(attacker, queue);
    for table in [base, base + TABLE] {
        for index in 0..ENTRIES {
            let short = attacker.random.pick(&[0, 1, 16, 48, 512, 4096]);
            let (address, length) = match attacker.random.below(4) {
                0 => (devices::queue_address(attacker), short),
                1 => (header(attacker), short),
                2 => (base + attacker.random.below(QUEUE_STRIDE), short),
                // A length that nobody has, and one that is the longest allowed.
                _ => {
                    let length = attacker.random.pick(&[512, 1 << 20, (1 << 20) + 512, u64::from(u32::MAX)]);
                    (attacker.scratch() + DATA + attacker.random.below(DATA_SIZE), length)
                }
            };
            describe(table, index, [address, length, attacker.random.below(8), attacker.random.below(ENTRIES + 4)]);
        }
    }
    offer(base, attacker.random.below(ENTRIES + 2));
}

fn describe(table: u64, index: u64, [address, length, flags, next]: [u64; 4]) {
    poke(table + index * 16, &address.to_le_bytes());
    poke(table + index * 16 + 8, &(length | flags << 32 | next << 48).to_le_bytes());
}

/// Puts a head where the device looks next.
fn offer(base: u64, head: u64) {
    let index = u64::from(peek(base + AVAILABLE + 2));
    poke(base + AVAILABLE + 4 + 2 * (index % ENTRIES), &(head as u16).to_le_bytes());
}

fn poke(at: u64, bytes: &[u8]) {
    for (offset, byte) in bytes.iter().enumerate() {
        // SAFETY: the upper half of RAM belongs to the attacks.
        unsafe { ((at + offset as u64) as *mut u8).write_volatile(*byte) }
    }
}

fn peek(at: u64) -> u16 {
    // SAFETY: the upper half of RAM belongs to the attacks.
    let byte = |offset: u64| unsafe { ((at + offset) as *const u8).read_volatile() };
    u16::from_le_bytes([byte(0), byte(1)])
}
