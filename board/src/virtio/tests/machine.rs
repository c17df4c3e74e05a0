//! What the tests' devices are made of: RAM, and registers.

use std::cell::RefCell;

use guest_virtio::memory::{GuestMemory, GuestMemoryError};
use hv_core::addr::{Pa, PaRange};

use crate::virtio::{DmaMemory, Found, VirtioError, look};

/// Memory of a driver, which the test's device reaches by its addresses, and nothing else.
pub(super) struct Memory {
    pub(super) start: u64,
    size: usize,
    bytes: RefCell<Vec<u128>>,
}

impl Memory {
    pub(super) fn new(size: usize) -> Self {
        let mut bytes = vec![u128::MAX; size / 16];
        Self { start: bytes.as_mut_ptr().expose_provenance() as u64, size, bytes: RefCell::new(bytes) }
    }

    /// It, for a driver.
    pub(super) fn dma(&self) -> DmaMemory {
        // SAFETY: each test's memory outlives its driver; the device is the same thread.
        unsafe { DmaMemory::new(PaRange { start: Pa(self.start), size: self.size as u64 }) }.unwrap()
    }

    fn pointer(&self, at: u64, length: usize) -> Result<*mut u8, GuestMemoryError> {
        let inside = at >= self.start && at + length as u64 <= self.start + self.size as u64;
        let error = GuestMemoryError { ipa: at, length };
        let base = self.bytes.borrow_mut().as_mut_ptr().cast::<u8>();
        if inside { Ok(base.wrapping_add((at - self.start) as usize)) } else { Err(error) }
    }
}

impl GuestMemory for Memory {
    fn read(&self, ipa: u64, into: &mut [u8]) -> Result<(), GuestMemoryError> {
        let from = self.pointer(ipa, into.len())?;
        // SAFETY: the pointer is into the vector, which outlives this, and driver and device are one thread.
        into.iter_mut().enumerate().for_each(|(index, byte)| *byte = unsafe { from.add(index).read_volatile() });
        Ok(())
    }

    fn write(&self, ipa: u64, from: &[u8]) -> Result<(), GuestMemoryError> {
        let to = self.pointer(ipa, from.len())?;
        // SAFETY: as above.
        from.iter().enumerate().for_each(|(index, byte)| unsafe { to.add(index).write_volatile(*byte) });
        Ok(())
    }
}

/// The registers of a virtio-mmio slot, as memory: what is written stays.
pub(super) struct Registers(Vec<u32>);

impl Registers {
    /// A device of that type (virtio 1.2 §5) with these words in its configuration. Both halves of the features read the
    /// same: VERSION_1 is bit 0 of the upper one.
    pub(super) fn new(kind: u32, features: u32, configuration: &[(usize, u32)]) -> Self {
        let mut registers = Self(vec![0; 0x200 / 4]);
        let magic = u32::from_le_bytes(*b"virt");
        for (offset, value) in [(0, magic), (4, 2), (8, kind), (0x10, features), (0x34, 64)] {
            registers.write(offset, value);
        }
        for (offset, value) in configuration {
            registers.write(0x100 + offset, *value);
        }
        registers
    }

    /// What a driver finds there.
    pub(super) fn look(&mut self) -> Option<Result<Found, VirtioError>> {
        let start = Pa(self.0.as_mut_ptr().expose_provenance() as u64);
        // SAFETY: the registers are words of a vector; each test's outlives its driver.
        unsafe { look(PaRange { start, size: 0x200 }) }
    }

    pub(super) fn read(&self, offset: usize) -> u32 {
        assert!(offset < 0x200);
        // SAFETY: inside of the vector; driver and device are one thread.
        unsafe { self.0.as_ptr().byte_add(offset).read_volatile() }
    }

    pub(super) fn write(&mut self, offset: usize, value: u32) {
        assert!(offset < 0x200);
        // SAFETY: as above.
        unsafe { self.0.as_mut_ptr().byte_add(offset).write_volatile(value) }
    }
}
