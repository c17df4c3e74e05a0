//! Every offset and size of every device, and instructions whose syndrome tells EL2 nothing.

use crate::code::Attacker;
use core::arch::global_asm;
use hv_abi::guest_map::{
    GICD_BASE, GICD_SIZE, GICR_BASE, GICR_STRIDE, MAILBOX_BASE, RTC_BASE, UART_BASE, VIRTIO_BASE, VIRTIO_SLOTS,
    VIRTIO_STRIDE,
};
use test_guests::mmu;

/// `LDR x0, [x1]` and `STR x0, [x1]` in four sizes.
const LOADS: [u32; 4] = [0x3940_0020, 0x7940_0020, 0xb940_0020, 0xf940_0020];
const STORES: [u32; 4] = [0x3900_0020, 0x7900_0020, 0xb900_0020, 0xf900_0020];
const PAGE: u64 = 0x1000;

global_asm!(
    r#"
    .section .rodata.shapes, "a"
    .balign 4
    .arch armv8-a+lse
hostile_shapes:                 // one instruction each; x0 and x2 data, x1 the address
    ldp     w0, w2, [x1]
    stp     w0, w2, [x1]
    ldp     x0, x2, [x1]
    stp     x0, x2, [x1]
    ldp     x0, x2, [x1, #16]!
    stp     x0, x2, [x1], #-16
    ldpsw   x0, x2, [x1]
    ldr     w0, [x1], #4
    ldr     w0, [x1, #4]!
    str     w0, [x1], #4
    str     w0, [x1, #4]!
    str     w1, [x1]
    ldr     w1, [x1]
    ldr     wzr, [x1]
    str     xzr, [x1]
    ldrsb   w0, [x1]
    ldrsb   x0, [x1]
    ldrsh   w0, [x1]
    ldrsh   x0, [x1]
    ldrsw   x0, [x1]
    ldur    x0, [x1, #1]
    stur    x0, [x1, #3]
    ldtr    w0, [x1]
    sttr    w0, [x1]
    ldr     b0, [x1]
    ldr     h0, [x1]
    ldr     s0, [x1]
    ldr     d0, [x1]
    ldr     q0, [x1]
    str     b0, [x1]
    str     d0, [x1]
    str     q0, [x1]
    ldp     q0, q1, [x1]
    stp     q0, q1, [x1]
    ldnp    x0, x2, [x1]
    ld1     {{v0.16b}}, [x1]
    st1     {{v0.16b}}, [x1]
    ld4     {{v0.16b, v1.16b, v2.16b, v3.16b}}, [x1]
    st4     {{v0.16b, v1.16b, v2.16b, v3.16b}}, [x1]
    ld1     {{v0.b}}[1], [x1], #1
    ldxr    w0, [x1]
    ldaxr   x0, [x1]
    stxr    w3, w0, [x1]
    stlxr   w3, x0, [x1]
    ldxp    x0, x2, [x1]
    stxp    w3, x0, x2, [x1]
    ldar    w0, [x1]
    stlr    w0, [x1]
    ldadd   w0, w2, [x1]
    swpal   x0, x2, [x1]
    cas     w0, w2, [x1]
    casp    x2, x3, x4, x5, [x1]
    prfm    pldl1keep, [x1]
    prfm    pstl1keep, [x1]
    dc      zva, x1
    dc      ivac, x1
    dc      cvac, x1
    dc      cvau, x1
    dc      civac, x1
    ic      ivau, x1
    at      s1e1r, x1
    at      s1e1w, x1
    at      s1e0r, x1
    br      x1
hostile_shapes_end:
    "#
);

unsafe extern "C" {
    static hostile_shapes: u32;
    static hostile_shapes_end: u32;
}

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
    for (load, store) in LOADS.into_iter().zip(STORES) {
        let code = attacker.assemble(&[load]);
        for offset in 0..size {
            attacker.run(code, [0, base + offset, 0]);
        }
        let code = attacker.assemble(&[store]);
        for offset in 0..size {
            let value = attacker.random.interesting();
            attacker.run(code, [value, base + offset, 0]);
        }
    }
    mmu::disable();
}

/// Sets up virtio queues anywhere and notifies them.
pub(crate) fn queues(attacker: &mut Attacker<'_>) {
    const STATUS: u64 = 0x70;
    let code = attacker.assemble(&[STORES[2]]);
    for _ in 0..attacker.rounds() / 10 {
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
fn queue_address(attacker: &mut Attacker<'_>) -> u64 {
    match attacker.random.below(4) {
        0 => attacker.wild_address(),
        1 => u64::MAX - attacker.random.below(64),
        _ => attacker.scratch() + attacker.random.below(0x200),
    }
}

/// Every shape of access, aligned and not, to every kind of address.
pub(crate) fn shapes(attacker: &mut Attacker<'_>) {
    let bases = [
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
    ];
    mmu::enable_normal();
    for shape in shapes_table() {
        let code = attacker.assemble(&[0xaa1e_03e9, shape, 0xaa09_03fe]); // keeps the link register in x9
        for base in bases {
            for offset in [0, 1, 2, 3, 4, 7, 8, 0x7c, 0xffc, 0xffd] {
                attacker.run(code, [0, base + offset, 0]);
            }
        }
    }
    mmu::disable();
}

fn shapes_table() -> impl Iterator<Item = u32> {
    let (start, end) = (&raw const hostile_shapes, &raw const hostile_shapes_end);
    let count = (end as usize - start as usize) / 4;
    // SAFETY: both symbols bound one table of words in .rodata.
    (0..count).map(move |i| unsafe { *start.add(i) })
}
