//! What a hostile driver does with any virtio device: sets it up, offers chains without order, and resets it.

use crate::code::Attacker;
use crate::{devices, shapes};
use hv_abi::guest_map::{VIRTIO_BASE, VIRTIO_STRIDE};

/// Registers (virtio 1.2 §4.2.2).
const STATUS: u64 = 0x70;
const NOTIFY: u64 = 0x50;
/// Entries of each queue, and queues that are used.
pub(crate) const ENTRIES: u64 = 16;
pub(crate) const QUEUES: u64 = 2;

/// From a device's place on: queues, an indirect table for each, headers.
const QUEUE_STRIDE: u64 = 0x1000;
const AVAILABLE: u64 = 0x400;
const USED: u64 = 0x800;
pub(crate) const TABLE: u64 = 0xc00;
const HEADERS: u64 = 0x4000;

/// A device, and memory for playing with it.
pub(crate) struct Device {
    /// Its virtio-mmio slot.
    pub(crate) slot: u32,
    /// Features that are taken or not.
    pub(crate) features: u64,
    /// Rings and headers, and what requests read and write; from the scratch page on.
    pub(crate) rings: u64,
    pub(crate) data: u64,
    pub(crate) data_size: u64,
    /// A request as the specification has it.
    pub(crate) ask: fn(&mut Attacker<'_>, u64),
    /// Fills a header.
    pub(crate) header: fn(&mut Attacker<'_>, u64),
}

impl Device {
    /// Sets it up, and asks.
    pub(crate) fn requests(&self, attacker: &mut Attacker<'_>) {
        self.set_up(attacker);
        for _ in 0..attacker.rounds() / 4 {
            self.request(attacker);
        }
    }

    /// One request, or some other thing that a driver does.
    pub(crate) fn request(&self, attacker: &mut Attacker<'_>) {
        // What no driver may do is the last that a device listens to, until it is set up again.
        match attacker.random.below(48) {
            0..8 => self.set_up(attacker),
            8 => self.set(attacker, STATUS, 0),
            9 => {
                let (register, value) = (attacker.random.below(0x40) * 4, attacker.random.interesting());
                self.set(attacker, register, value);
            }
            _ => {}
        }
        let queue = attacker.random.below(QUEUES);
        if attacker.random.below(4) == 0 {
            self.scatter(attacker, queue)
        } else {
            (self.ask)(attacker, queue)
        }
        let available = self.base(attacker, queue) + AVAILABLE;
        let index = peek(available + 2);
        let step = if attacker.random.below(40) == 0 { attacker.random.next() as u16 } else { 1 };
        poke(available + 2, &index.wrapping_add(step).to_le_bytes());
        self.set(attacker, NOTIFY, queue);
        self.set(attacker, 0x64, 3);
    }

    fn set(&self, attacker: &mut Attacker<'_>, register: u64, value: u64) {
        let base = VIRTIO_BASE + u64::from(self.slot) * VIRTIO_STRIDE;
        attacker.run(shapes::store_word(), [value, base + register, 0]);
    }

    /// Where a queue is.
    pub(crate) fn base(&self, attacker: &Attacker<'_>, queue: u64) -> u64 {
        attacker.scratch() + self.rings + queue * QUEUE_STRIDE
    }

    fn set_up(&self, attacker: &mut Attacker<'_>) {
        let features = attacker.random.next() & self.features;
        for (register, value) in
            [(STATUS, 0), (STATUS, 1), (STATUS, 3), (0x24, 1), (0x20, 1), (0x24, 0), (0x20, features), (STATUS, 11)]
        {
            self.set(attacker, register, value);
        }
        for queue in 0..QUEUES {
            let base = self.base(attacker, queue);
            (0..QUEUE_STRIDE).step_by(8).for_each(|offset| poke(base + offset, &[0; 8]));
            for (register, value) in [(0x30, queue), (0x38, ENTRIES)] {
                self.set(attacker, register, value);
            }
            for (register, area) in [(0x80, base), (0x90, base + AVAILABLE), (0xa0, base + USED)] {
                self.set(attacker, register, area);
                self.set(attacker, register + 4, area >> 32);
            }
            self.set(attacker, 0x44, 1);
        }
        self.set(attacker, STATUS, 15);
    }

    /// A place for small things of a request.
    pub(crate) fn small(&self, attacker: &mut Attacker<'_>) -> u64 {
        attacker.scratch() + self.rings + HEADERS + attacker.random.below(64) * 16
    }

    fn some_header(&self, attacker: &mut Attacker<'_>) -> u64 {
        let at = self.small(attacker);
        (self.header)(attacker, at);
        at
    }

    /// Descriptors without order.
    fn scatter(&self, attacker: &mut Attacker<'_>, queue: u64) {
        let base = self.base(attacker, queue);
        for table in [base, base + TABLE] {
            for index in 0..ENTRIES {
                let short = attacker.random.pick(&[0, 1, 16, 48, 512, 4096]);
                let (address, length) = match attacker.random.below(4) {
                    0 => (devices::queue_address(attacker), short),
                    1 => (self.some_header(attacker), short),
                    2 => (base + attacker.random.below(QUEUE_STRIDE), short),
                    // A length that nobody has, and one that is the longest allowed.
                    _ => {
                        let length = attacker.random.pick(&[512, 1 << 20, (1 << 20) + 512, u64::from(u32::MAX)]);
                        (attacker.scratch() + self.data + attacker.random.below(self.data_size), length)
                    }
                };
                describe(table, index, [address, length, attacker.random.below(8), attacker.random.below(ENTRIES + 4)]);
            }
        }
        let head = attacker.random.below(ENTRIES + 2);
        self.offer(base, head);
    }

    /// Puts a head where the device looks next.
    pub(crate) fn offer(&self, base: u64, head: u64) {
        let index = u64::from(peek(base + AVAILABLE + 2));
        poke(base + AVAILABLE + 4 + 2 * (index % ENTRIES), &(head as u16).to_le_bytes());
    }
}

pub(crate) fn describe(table: u64, index: u64, [address, length, flags, next]: [u64; 4]) {
    poke(table + index * 16, &address.to_le_bytes());
    poke(table + index * 16 + 8, &(length | flags << 32 | next << 48).to_le_bytes());
}

pub(crate) fn poke(at: u64, bytes: &[u8]) {
    for (offset, byte) in bytes.iter().enumerate() {
        // SAFETY: the upper half of RAM belongs to the attacks.
        unsafe { ((at + offset as u64) as *mut u8).write_volatile(*byte) }
    }
}

pub(crate) fn peek(at: u64) -> u16 {
    // SAFETY: the upper half of RAM belongs to the attacks.
    let byte = |offset: u64| unsafe { ((at + offset) as *const u8).read_volatile() };
    u16::from_le_bytes([byte(0), byte(1)])
}
