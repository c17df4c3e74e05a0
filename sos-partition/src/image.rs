//! The header of an arm64 Linux `Image` (Linux, Documentation/arch/arm64/booting.rst, "Call the kernel image").
//!
//! ```text
//! 0x00 code0, code1    0x08 text_offset    0x10 image_size    0x18 flags
//! 0x20 reserved x 3    0x38 magic "ARM\x64"                   0x3c reserved
//! ```

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout};

/// The bytes "ARM\x64".
const MAGIC: [u8; 4] = *b"ARM\x64";
/// Where a kernel's base must be aligned to.
pub const BASE_ALIGNMENT: u64 = 2 * 1024 * 1024;

/// What is wrong with an image's header.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ImageError {
    /// Shorter than a header.
    #[error("{0} bytes, too short for an arm64 Linux Image")]
    Short(usize),
    /// No magic.
    #[error("no arm64 Linux Image: no magic at 0x38")]
    Magic,
    /// Compressed: a PE/COFF wrapper of its own, or gzip.
    #[error("compressed: an arm64 guest starts from the plain Image")]
    Compressed,
    /// From before Linux 3.17, which says nothing of its size.
    #[error("image_size is 0: made by Linux before 3.17")]
    NoSize,
    /// Big-endian.
    #[error("big-endian kernel")]
    BigEndian,
    /// Longer in the file than in memory.
    #[error("image_size is {size:#x}, but the file has {file:#x} bytes")]
    Size {
        /// By its header.
        size: u64,
        /// Of the file.
        file: u64,
    },
    /// A text offset that no kernel has.
    #[error("text_offset {0:#x} is not a multiple of 4 KiB below 2 MiB")]
    TextOffset(u64),
}

#[derive(FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Header {
    code: [U32; 2],
    text_offset: U64,
    image_size: U64,
    flags: U64,
    reserved: [U64; 3],
    magic: [u8; 4],
    reserved5: U32,
}

/// Where a kernel may lie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Placement {
    /// As near as possible to the start of RAM; what is below may be lost to it (flags bit 3 clear).
    NearStart,
    /// Anywhere (flags bit 3 set).
    Anywhere,
}

/// What a kernel asks of its loader.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LinuxImage {
    /// From a 2 MiB aligned base to the image.
    pub text_offset: u64,
    /// Bytes from the image's start that it needs, .bss included.
    pub memory_size: u64,
    /// Where its base may be.
    pub placement: Placement,
}

impl LinuxImage {
    /// Reads and checks the header at the start of `file`.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn parse(file: &[u8]) -> Result<Self, ImageError> {
        if file.starts_with(&[0x1f, 0x8b]) || file.get(4..8) == Some(b"zimg") {
            return Err(ImageError::Compressed);
        }
        let (header, _) = Header::ref_from_prefix(file).map_err(|_| ImageError::Short(file.len()))?;
        if header.magic != MAGIC {
            return Err(ImageError::Magic);
        }
        let (size, length) = (header.image_size.get(), file.len() as u64);
        if size == 0 {
            return Err(ImageError::NoSize);
        }
        if size < length {
            return Err(ImageError::Size { size, file: length });
        }
        let text_offset = header.text_offset.get();
        if text_offset >= BASE_ALIGNMENT || !text_offset.is_multiple_of(4096) {
            return Err(ImageError::TextOffset(text_offset));
        }
        let flags = header.flags.get();
        if flags & 1 != 0 {
            return Err(ImageError::BigEndian);
        }
        let placement = match flags >> 3 & 1 {
            0 => Placement::NearStart,
            _ => Placement::Anywhere,
        };
        Ok(Self { text_offset, memory_size: size, placement })
    }
}

#[cfg(test)]
mod tests;
