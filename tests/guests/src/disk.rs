//! A guest's first disk, driven by the driver that EL2 has for the board's disks: memory for its requests, and blocks of 4 KiB
//! that say which they are, and in which version.

use core::cell::UnsafeCell;

use crate::{cpu, gic};
use hv_abi::guest_map::{DISK_SLOT, VIRTIO_BASE, VIRTIO_SPI, VIRTIO_STRIDE};
use hv_board::virtio::disk::{DEPTH, Disk, MEMORY};
use hv_board::virtio::{self, DmaMemory};
use hv_core::addr::{Pa, PaRange};

/// Bytes of a block.
pub const BLOCK: usize = 4096;
/// Sectors of a block.
pub const SECTORS: u64 = BLOCK as u64 / 512;
/// The disk's interrupt.
pub const SPI: u32 = VIRTIO_SPI + DISK_SLOT;

/// Memory that the disk reads and writes.
#[repr(C, align(4096))]
struct Shared<const SIZE: usize>(UnsafeCell<[u64; SIZE]>);

// SAFETY: one vCPU uses it, and the disk what it was given.
unsafe impl<const SIZE: usize> Sync for Shared<SIZE> {}

static RINGS: Shared<{ MEMORY as usize / 8 }> = Shared(UnsafeCell::new([0; MEMORY as usize / 8]));
static BUFFERS: Shared<{ DEPTH * BLOCK / 8 }> = Shared(UnsafeCell::new([0; DEPTH * BLOCK / 8]));

/// The disk's rings.
pub fn rings() -> *mut u64 {
    RINGS.0.get().cast()
}

/// Where a slot's buffer is.
fn buffer(slot: usize) -> *mut u64 {
    assert!(slot < DEPTH);
    BUFFERS.0.get().cast::<u64>().wrapping_add(slot * BLOCK / 8)
}

/// The same as an address.
pub fn buffer_address(slot: usize) -> u64 {
    buffer(slot).expose_provenance() as u64
}

/// What a block holds that was written in `version`, word by word: 0 is of zeroes.
pub const fn word(block: u64, version: u32, index: usize) -> u64 {
    if version == 0 { 0 } else { block << 40 | (version as u64) << 16 | index as u64 }
}

/// The version that a block's word says it is of.
pub const fn version_of(word: u64) -> u32 {
    (word >> 16) as u32 & 0xff_ffff
}

/// The disk, started.
pub fn open() -> Disk {
    let regs = PaRange { start: Pa(VIRTIO_BASE + u64::from(DISK_SLOT) * VIRTIO_STRIDE), size: VIRTIO_STRIDE };
    // SAFETY: the machine has its first disk there, and nobody else drives it.
    let found = unsafe { virtio::look(regs) }.expect("a disk").expect("a disk of virtio 1.0");
    let range = PaRange { start: Pa(rings().expose_provenance() as u64), size: MEMORY };
    // SAFETY: a static that nothing else uses, page-aligned.
    let memory = unsafe { DmaMemory::new(range) }.expect("memory for its rings");
    Disk::start(found, memory).expect("the disk starts")
}

/// Makes a slot's buffer a version of a block.
pub fn fill(slot: usize, block: u64, version: u32) {
    for index in 0..BLOCK / 8 {
        // SAFETY: the buffer is free: no request is about it.
        unsafe { buffer(slot).add(index).write_volatile(word(block, version, index)) };
    }
}

/// One word of a slot's buffer.
pub fn word_at(slot: usize, index: usize) -> u64 {
    assert!(index < BLOCK / 8);
    // SAFETY: the disk has finished with the buffer.
    unsafe { buffer(slot).add(index).read_volatile() }
}

/// Whether a slot's buffer is that version of a block.
pub fn holds(slot: usize, block: u64, version: u32) -> bool {
    (0..BLOCK / 8).all(|index| word_at(slot, index) == word(block, version, index))
}

/// Waits until the disk has finished with a request; with `spins` it looks without pause and takes no interrupt.
pub fn wait(disk: &mut Disk, spins: bool) {
    while !disk.arm() {
        if spins {
            continue;
        }
        cpu::wait();
        if gic::acknowledge() == SPI + 32 {
            disk.acknowledge();
            gic::end(SPI + 32);
        }
    }
}
