//! How many pages of each block of a VM are in its balloon. The counts lie in frames of their own: how many there are depends
//! on the VM.

use hv_abi::guest_map::RAM_BASE;
use hv_arch::ram;
use hv_core::addr::{Ipa, Pa, PaRange};
use hv_core::frames::Owner;
use hv_core::inflated::{self, COUNT, Counted, PAGES};

use crate::memory::frames;

/// The counts of a VM's blocks.
pub struct Counts {
    counted: Counted,
    frames: PaRange,
}

impl Counts {
    /// None: all zero.
    pub const NONE: Self = Self { counted: Counted::NONE, frames: PaRange { start: Pa(0), size: 0 } };

    /// Counts for a VM with so much memory, all 0; `None` where there is no memory for them.
    pub fn new(memory: u64) -> Option<Self> {
        let counted = Counted::new(RAM_BASE, memory);
        let size = counted.bytes();
        let start = frames().allocate(size, Owner::Tables).ok()?;
        Some(Self { counted, frames: PaRange { start, size } })
    }

    /// Returns the frames.
    pub fn give_back(&mut self) {
        let own = core::mem::replace(self, Self::NONE).frames;
        if own.size > 0 {
            ram::zero(own);
            frames().free(own, Owner::Tables);
        }
    }

    /// Nothing is in the balloon.
    pub fn forget(&self) {
        ram::zero(self.frames);
    }

    /// A page is in the balloon; its block, where all of that is.
    pub fn put(&self, page: u32) -> Option<Ipa> {
        let place = self.counted.place(page)?;
        (self.change(place.offset, inflated::put) == PAGES).then_some(place.block)
    }

    /// A page is in the balloon no more.
    pub fn take(&self, page: u32) {
        if let Some(place) = self.counted.place(page) {
            self.change(place.offset, inflated::take);
        }
    }

    fn change(&self, offset: u64, change: fn(u16) -> u16) -> u16 {
        // A count is never beyond its frames: hv-core's tests say so.
        let at = Pa(self.frames.start.0 + offset);
        let mut bytes = [0; COUNT as usize];
        ram::read(at, &mut bytes);
        let count = change(u16::from_le_bytes(bytes));
        ram::write(at, &count.to_le_bytes());
        count
    }
}
