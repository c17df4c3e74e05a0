//! What `virtio-drivers` is shown of a function's configuration space: an ID, BARs and four capabilities.

use core::ptr::NonNull;

use virtio_drivers::transport::pci::bus::{ConfigurationAccess, DeviceFunction};
use virtio_drivers::{BufferDirection, Hal, PhysAddr};

use super::{Layout, NOTIFY, STRUCTURES, VENDOR_SPECIFIC};
use crate::pci::{Bars, Function};

const BARS_START: u8 = 0x10;
const BARS_END: u8 = 0x28;
/// Where the capabilities are, and bytes of each.
const FIRST: u8 = 0x40;
const STEP: u8 = 0x14;
const HAS_CAPABILITIES: u32 = 1 << 20;
/// Bits of a BAR: it takes 64 bits.
const WIDE: u32 = 4;

/// A BAR's register as shown: what it holds, and what it answers when it was written with ones.
#[derive(Clone, Copy, Default)]
struct Register {
    value: u32,
    size: u32,
    ones: bool,
}

/// A configuration space that is only shown.
#[derive(Clone, Copy)]
pub(super) struct Shown {
    id: u32,
    bars: [Register; 6],
    /// The words of each capability.
    capabilities: [[u32; 5]; STRUCTURES.len()],
}

impl Shown {
    /// That of a function whose structures were found. A BAR is shown where CPUs find it, and its neighbor, which has no
    /// structure that lies elsewhere, as its upper half.
    pub(super) fn new(function: &Function, bars: &Bars, layout: &Layout) -> Self {
        let mut shown = Self {
            id: u32::from(function.device) << 16 | u32::from(function.vendor),
            bars: [Register::default(); 6],
            capabilities: [[0; 5]; STRUCTURES.len()],
        };
        for (index, placed) in bars.iter().enumerate() {
            let Some(placed) = placed else { continue };
            let wide = placed.bar.space == crate::pci::Space::Memory64;
            let (address, size) = (placed.cpu.0, placed.bar.size.wrapping_neg());
            let flag = if wide { WIDE } else { 0 };
            shown.bars[index] = Register { value: address as u32 | flag, size: size as u32 | flag, ones: false };
            if let Some(high) = shown.bars.get_mut(index + 1).filter(|_| wide) {
                *high = Register { value: (address >> 32) as u32, size: (size >> 32) as u32, ones: false };
            }
        }
        let mut at = FIRST;
        for (number, (words, structure)) in shown.capabilities.iter_mut().zip(layout.structures).enumerate() {
            at += STEP;
            let next = if number + 1 < STRUCTURES.len() { at } else { 0 };
            let multiplier = if number == NOTIFY { layout.multiplier } else { 0 };
            let header = (number as u32 + 1) << 24 | u32::from(STEP) << 16 | u32::from(next) << 8 | VENDOR_SPECIFIC;
            *words = [header, structure.bar.into(), structure.offset, structure.length, multiplier];
        }
        shown
    }
}

impl ConfigurationAccess for Shown {
    fn read_word(&self, _: DeviceFunction, offset: u8) -> u32 {
        match offset {
            0x00 => self.id,
            0x04 => HAS_CAPABILITIES,
            0x34 => FIRST.into(),
            BARS_START..BARS_END => {
                let register = self.bars[usize::from((offset - BARS_START) / 4)];
                if register.ones { register.size } else { register.value }
            }
            FIRST.. => {
                let (number, word) = ((offset - FIRST) / STEP, (offset - FIRST) % STEP / 4);
                self.capabilities.get(usize::from(number)).map_or(0, |words| words[usize::from(word)])
            }
            _ => 0,
        }
    }

    fn write_word(&mut self, _: DeviceFunction, offset: u8, value: u32) {
        if let BARS_START..BARS_END = offset {
            self.bars[usize::from((offset - BARS_START) / 4)].ones = value == u32::MAX;
        }
    }

    unsafe fn unsafe_clone(&self) -> Self {
        *self
    }
}

/// What a transport needs of its surroundings: that registers are where the BARs say. The memory is [`super::super::DmaMemory`].
pub(super) struct NoMemory;

// SAFETY: no memory is given out, and registers are mapped one to one, as `look_pci` was promised.
unsafe impl Hal for NoMemory {
    fn dma_alloc(_: usize, _: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        // The address 0 is that of none.
        (0, NonNull::dangling())
    }

    unsafe fn dma_dealloc(_: PhysAddr, _: NonNull<u8>, _: usize) -> i32 {
        0
    }

    unsafe fn mmio_phys_to_virt(paddr: PhysAddr, _: usize) -> NonNull<u8> {
        // `layout` refuses what has no address.
        NonNull::new(core::ptr::with_exposed_provenance_mut(paddr as usize)).unwrap_or(NonNull::dangling())
    }

    unsafe fn share(buffer: NonNull<[u8]>, _: BufferDirection) -> PhysAddr {
        buffer.cast::<u8>().as_ptr().expose_provenance() as PhysAddr
    }

    unsafe fn unshare(_: PhysAddr, _: NonNull<[u8]>, _: BufferDirection) {}
}
