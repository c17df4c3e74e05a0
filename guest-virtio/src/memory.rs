//! The only door to a guest's memory: copies in and out, and the fences between them.
//!
//! Owns no memory and no policy. It must never hand out a reference: the guest's other vCPUs
//! write the same bytes at any time.

use core::sync::atomic::{Ordering, fence};
use thiserror::Error;

/// A range of guest memory that the guest does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("guest memory {ipa:#x}, {length} bytes: not the guest's RAM")]
pub struct GuestMemoryError {
    /// First address of the range, an IPA.
    pub ipa: u64,
    /// Bytes asked for.
    pub length: usize,
}

/// A guest's memory as a device reaches it.
///
/// The implementor translates each page, copies with volatile or atomic accesses, and makes one
/// single-copy-atomic access of an aligned 2, 4 or 8 byte transfer: ring indices are such fields
/// and are written by the driver at the same time (virtio 1.2 §2.7.13.2).
pub trait GuestMemory {
    /// Copies `into.len()` bytes from guest memory at `ipa`.
    ///
    /// # Errors
    /// If any byte of the range is not the guest's RAM; `into` may then be partly overwritten.
    fn read(&self, ipa: u64, into: &mut [u8]) -> Result<(), GuestMemoryError>;

    /// Copies `from` to guest memory at `ipa`.
    ///
    /// # Errors
    /// If any byte of the range is not RAM the guest can write; part may then be written.
    fn write(&self, ipa: u64, from: &[u8]) -> Result<(), GuestMemoryError>;

    /// Orders reads before this point with all accesses after it: between a ring index and what
    /// it publishes.
    fn fence_acquire(&self) {
        fence(Ordering::Acquire);
    }

    /// Orders all accesses before this point with writes after it: between what is published
    /// and the ring index.
    fn fence_release(&self) {
        fence(Ordering::Release);
    }

    /// Orders a write before this point with a read after it: event suppression asks for that
    /// on both sides (virtio 1.2 §2.7.7 and §2.7.10).
    fn fence_full(&self) {
        fence(Ordering::SeqCst);
    }

    /// Reads a little-endian 16-bit field.
    ///
    /// # Errors
    /// As [`GuestMemory::read`].
    fn read_u16(&self, ipa: u64) -> Result<u16, GuestMemoryError> {
        let mut bytes = [0; 2];
        self.read(ipa, &mut bytes)?;
        Ok(u16::from_le_bytes(bytes))
    }

    /// Reads a little-endian 32-bit field.
    ///
    /// # Errors
    /// As [`GuestMemory::read`].
    fn read_u32(&self, ipa: u64) -> Result<u32, GuestMemoryError> {
        let mut bytes = [0; 4];
        self.read(ipa, &mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    /// Reads a little-endian 64-bit field.
    ///
    /// # Errors
    /// As [`GuestMemory::read`].
    fn read_u64(&self, ipa: u64) -> Result<u64, GuestMemoryError> {
        let mut bytes = [0; 8];
        self.read(ipa, &mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// Writes a little-endian 16-bit field.
    ///
    /// # Errors
    /// As [`GuestMemory::write`].
    fn write_u16(&self, ipa: u64, value: u16) -> Result<(), GuestMemoryError> {
        self.write(ipa, &value.to_le_bytes())
    }

    /// Writes a little-endian 32-bit field.
    ///
    /// # Errors
    /// As [`GuestMemory::write`].
    fn write_u32(&self, ipa: u64, value: u32) -> Result<(), GuestMemoryError> {
        self.write(ipa, &value.to_le_bytes())
    }

    /// Writes a little-endian 64-bit field.
    ///
    /// # Errors
    /// As [`GuestMemory::write`].
    fn write_u64(&self, ipa: u64, value: u64) -> Result<(), GuestMemoryError> {
        self.write(ipa, &value.to_le_bytes())
    }
}
