//! Memory that EL2 shares with a device: it is never referred to, only copied from and to.

use core::ptr::NonNull;

use hv_core::addr::{Pa, PaRange};

/// A number, for which all bytes are a value.
pub(crate) trait Word: Copy {}

impl Word for u8 {}
impl Word for u16 {}
impl Word for u32 {}
impl Word for u64 {}

/// A range of RAM that EL2 and one device use, and nobody else.
#[derive(Debug)]
pub struct DmaMemory {
    base: NonNull<u8>,
    size: usize,
}

// SAFETY: it is the only way to its memory besides the device's, and each access is a volatile one of a whole word.
unsafe impl Send for DmaMemory {}

impl DmaMemory {
    /// The memory at `range`. `None` at address 0.
    ///
    /// # Safety
    ///
    /// The range is mapped there as normal memory, aligned to 16 bytes, and nobody but one device uses it as long as this lives.
    pub unsafe fn new(range: PaRange) -> Option<Self> {
        let base = NonNull::new(core::ptr::with_exposed_provenance_mut(range.start.0 as usize))?;
        Some(Self { base, size: range.size as usize })
    }

    /// The first `size` bytes of it, a multiple of 16, and the rest.
    ///
    /// # Panics
    ///
    /// If it has not that many: sizes are this driver's own.
    pub(crate) fn split(self, size: usize) -> [Self; 2] {
        assert!(size.is_multiple_of(16) && size <= self.size, "{size:#x} bytes are no part of the device's memory");
        // SAFETY: the size was checked to be inside; neither part reaches into the other.
        let rest = unsafe { self.base.byte_add(size) };
        [Self { base: self.base, size }, Self { base: rest, size: self.size - size }]
    }

    /// Where a device finds a place in it.
    pub(crate) fn address(&self, offset: usize) -> Pa {
        Pa(self.base.as_ptr().expose_provenance() as u64 + offset as u64)
    }

    /// Where a word is.
    ///
    /// # Panics
    ///
    /// If it is outside, or not aligned: offsets are this driver's own.
    fn place<T: Word>(&self, offset: usize) -> NonNull<T> {
        let size = size_of::<T>();
        assert!(offset.is_multiple_of(size) && offset <= self.size - size, "{offset:#x} is not in the device's memory");
        // SAFETY: the offset was checked to be inside.
        unsafe { self.base.byte_add(offset) }.cast()
    }

    /// Copies a word out.
    pub(crate) fn read<T: Word>(&self, offset: usize) -> T {
        // SAFETY: inside, aligned, and each value of the bytes is one of the type.
        unsafe { self.place::<T>(offset).read_volatile() }
    }

    /// Copies a word in.
    pub(crate) fn write<T: Word>(&mut self, offset: usize, value: T) {
        // SAFETY: inside and aligned.
        unsafe { self.place::<T>(offset).write_volatile(value) }
    }
}
