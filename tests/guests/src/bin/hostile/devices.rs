//! Every offset and size of every device, and instructions whose syndrome tells EL2 nothing.

use crate::code::Attacker;
use crate::shapes;
use hv_abi::guest_map::{
    GICD_BASE, GICD_SIZE, GICR_BASE, GICR_STRIDE, MAILBOX_BASE, RTC_BASE, UART_BASE, VIRTIO_BASE, VIRTIO_SLOTS,
    VIRTIO_STRIDE,
};
use test_guests::mmu;

const PAGE: u64 = 0x1000;

/// All of the distributor's frame.
pub(crate) fn distributor(attacker: &mut Attacker<'_>) {
    sweep(attacker, GICD_BASE, GICD_SIZE);
}

/// All redistributors, and one more than there are.
pub(crate) fn redistributors(attacker: &mut Attacker<'_>) {
    let frames = attacker.machine.vcpus as u64 + 1;
    sweep(attacker, GICR_BASE, frames * GICR_STRIDE);
}

/// The console's page, but for its data register, which has a phase of its own.
pub(crate) fn uart(attacker: &mut Attacker<'_>) {
    sweep(attacker, UART_BASE + 4, PAGE - 4);
}

/// The clock's page.
pub(crate) fn clock(attacker: &mut Attacker<'_>) {
    sweep(attacker, RTC_BASE, PAGE);
}

/// Every virtio slot.
pub(crate) fn virtio(attacker: &mut Attacker<'_>) {
    sweep(attacker, VIRTIO_BASE, u64::from(VIRTIO_SLOTS) * VIRTIO_STRIDE);
}

/// Reads and writes every offset in every size. Mapped as normal memory, so that an unaligned
/// access is not stopped by stage 1 (Arm ARM B2.5.2).
fn sweep(attacker: &mut Attacker<'_>, base: u64, size: u64) {
    mmu::enable_normal();
    for (load, store) in shapes::plain() {
        for offset in 0..size {
            attacker.run(load, [0, base + offset, 0]);
        }
        for offset in 0..size {
            let value = attacker.random.interesting();
            attacker.run(store, [value, base + offset, 0]);
        }
    }
    mmu::disable();
}

/// Sets up virtio queues anywhere and notifies them.
pub(crate) fn queues(attacker: &mut Attacker<'_>) {
    for _ in 0..attacker.rounds() / 10 {
        queue(attacker);
    }
}

/// Sets up one queue and notifies it.
pub(crate) fn queue(attacker: &mut Attacker<'_>) {
    const STATUS: u64 = 0x70;
    let code = shapes::store_word();
    let slot = VIRTIO_BASE + attacker.random.below(2) * VIRTIO_STRIDE;
    fill_rings(attacker);
    let queue = attacker.random.below(10);
    // virtio 1.2 §4.2.2: status, features, then one queue's number, size and three addresses.
    for (register, value) in [
        (STATUS, 0),
        (STATUS, 1),
        (STATUS, 3),
        (0x24, 1),
        (0x20, 1),
        (0x24, 0),
        (0x20, 2),
        (STATUS, 11),
        (0x30, queue),
        (0x38, 1 << attacker.random.below(12)),
    ] {
        attacker.run(code, [value, slot + register, 0]);
    }
    for register in [0x80, 0x90, 0xa0] {
        let address = queue_address(attacker);
        attacker.run(code, [address, slot + register, 0]);
        attacker.run(code, [address >> 32, slot + register + 4, 0]);
    }
    for (register, value) in [(0x44, 1), (STATUS, 15), (0x50, queue), (0x50, attacker.random.next()), (0x64, 3)] {
        attacker.run(code, [value, slot + register, 0]);
    }
}

/// Descriptors and available entries that point everywhere, in loops, and over the end.
fn fill_rings(attacker: &mut Attacker<'_>) {
    for i in 0..64 {
        let place = attacker.scratch() + i * 8;
        let value = match attacker.random.below(4) {
            0 => queue_address(attacker),
            1 => attacker.random.below(0x1_0000) << 32 | attacker.random.below(0x1_0000),
            2 => 0,
            _ => attacker.random.next(),
        };
        // SAFETY: the upper half of RAM belongs to the attacks.
        unsafe { (place as *mut u64).write_volatile(value) }
    }
}

/// An address for a queue or buffer; never the program's own half of RAM.
pub(crate) fn queue_address(attacker: &mut Attacker<'_>) -> u64 {
    match attacker.random.below(4) {
        0 => attacker.wild_address(),
        1 => u64::MAX - attacker.random.below(64),
        _ => attacker.scratch() + attacker.random.below(0x200),
    }
}

/// A place of each kind that is not the guest's memory.
fn places(attacker: &Attacker<'_>) -> [u64; 11] {
    [
        GICD_BASE,
        GICR_BASE + 0x1_0000,
        UART_BASE + 0x18,
        RTC_BASE,
        VIRTIO_BASE,
        MAILBOX_BASE,
        0,
        0x0a80_0000,
        0x3f00_0000,
        attacker.machine.ram_base + attacker.machine.memory,
        1 << 39,
    ]
}

/// One access of any shape, anywhere.
pub(crate) fn shape(attacker: &mut Attacker<'_>) {
    let code = shapes::pick(&mut attacker.random);
    let places = places(attacker);
    let address = match attacker.random.below(4) {
        0 => attacker.wild_address(),
        1 => device_register(attacker),
        _ => attacker.random.pick(&places) + attacker.random.below(0x1008),
    };
    let values = [attacker.random.interesting(), attacker.random.interesting()];
    attacker.run(code, [values[0], address, values[1]]);
}

/// One load or store at any offset of any device.
pub(crate) fn access(attacker: &mut Attacker<'_>) {
    let (load, store) = attacker.random.pick(&shapes::plain());
    let code = if attacker.random.below(3) == 0 { load } else { store };
    let (address, value) = (device_register(attacker), attacker.random.interesting());
    attacker.run(code, [value, address, 0]);
}

/// An address in a device, on a word more often than not.
fn device_register(attacker: &mut Attacker<'_>) -> u64 {
    let redistributors = (attacker.machine.vcpus as u64 + 1) * GICR_STRIDE;
    let devices = [
        (GICD_BASE, GICD_SIZE),
        (GICR_BASE, redistributors),
        (UART_BASE, PAGE),
        (RTC_BASE, PAGE),
        (VIRTIO_BASE, u64::from(VIRTIO_SLOTS) * VIRTIO_STRIDE),
        (MAILBOX_BASE, PAGE),
        // Where most of the registers are: these are met more often.
        (GICD_BASE, PAGE),
        (GICR_BASE + GICR_STRIDE / 2, PAGE),
        (UART_BASE, 0x50),
        (VIRTIO_BASE, 0x110),
    ];
    let (base, size) = attacker.random.pick(&devices);
    let offset = attacker.random.below(size);
    base + if attacker.random.below(4) == 0 { offset } else { offset & !3 }
}

/// Every shape of access, aligned and not, to every kind of address.
pub(crate) fn shapes(attacker: &mut Attacker<'_>) {
    let bases = places(attacker);
    mmu::enable_normal();
    for code in shapes::all() {
        for base in bases {
            for offset in [0, 1, 2, 3, 4, 7, 8, 0x7c, 0xffc, 0xffd] {
                attacker.run(code, [0, base + offset, 0]);
            }
        }
    }
    mmu::disable();
}
