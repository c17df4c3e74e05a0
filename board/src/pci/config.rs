//! Configuration space: the first 256 bytes of each function on a bus, by words (PCIe §7.5.1).

use core::ptr::NonNull;

use hv_core::addr::PaRange;

use super::Bdf;
use super::host::{BUS_SIZE, FUNCTION_SIZE};

/// Words of a function's configuration space. Where no function is, all bits of a word are 1, and writes do nothing.
pub trait ConfigSpace {
    /// The word at `offset`, a multiple of 4.
    fn read(&self, bdf: Bdf, offset: u8) -> u32;

    /// Writes the word at `offset`, a multiple of 4.
    fn write(&mut self, bdf: Bdf, offset: u8, value: u32);
}

/// Configuration space of one bus as memory (PCIe §7.2.2).
#[derive(Debug)]
pub struct Ecam {
    base: NonNull<u32>,
    bus: u8,
}

impl Ecam {
    /// That of `bus`. `None` where it is less than a bus has, or at address 0.
    ///
    /// # Safety
    ///
    /// `range` is the ECAM of that bus, mapped there as device memory, and nobody else uses it as long as this lives.
    pub unsafe fn new(range: PaRange, bus: u8) -> Option<Self> {
        let base = NonNull::new(core::ptr::with_exposed_provenance_mut(range.start.0 as usize))?;
        (range.size >= BUS_SIZE && base.is_aligned()).then_some(Self { base, bus })
    }

    fn place(&self, bdf: Bdf, offset: u8) -> Option<NonNull<u32>> {
        let function = usize::from(bdf.0 & 0xff) * FUNCTION_SIZE as usize;
        // SAFETY: less than BUS_SIZE, which the range has; the low bits are those of a word.
        (bdf.bus() == self.bus).then(|| unsafe { self.base.byte_add(function + usize::from(offset & !3)) })
    }
}

impl ConfigSpace for Ecam {
    fn read(&self, bdf: Bdf, offset: u8) -> u32 {
        // SAFETY: the place is a register of the bus, which is mapped as `Ecam::new` was promised.
        self.place(bdf, offset).map_or(u32::MAX, |place| unsafe { place.read_volatile() })
    }

    fn write(&mut self, bdf: Bdf, offset: u8, value: u32) {
        if let Some(place) = self.place(bdf, offset) {
            // SAFETY: as for a read.
            unsafe { place.write_volatile(value) }
        }
    }
}
