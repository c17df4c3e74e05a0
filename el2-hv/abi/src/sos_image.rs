//! The service partition's image file, and the record that each of its lives begins with.
//!
//! The file is mapped from [`crate::guest_map::RAM_BASE`] on, its header page first:
//!
//! ```text
//! file 0x0000       header page            \  mapped read-only in place, from the boot archive
//!      0x1000       text, rodata           /  (copied where the archive is not page aligned)
//!      read_only    data                      copied into fresh frames in each life
//!      + writable   bss, heap, stack ...      scrubbed frames up to the partition's memory
//! ```

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::ABI_VERSION;

/// First bytes of the file: "DormSOS1".
pub const MAGIC: u64 = u64::from_le_bytes(*b"DormSOS1");
/// Bytes of the header page.
pub const HEADER_PAGE: usize = 4096;

/// The file's header.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SosHeader {
    /// [`MAGIC`].
    pub magic: U64,
    /// [`ABI_VERSION`] of the build.
    pub abi: U32,
    /// CRC-32/ISO-HDLC of the file behind the header page.
    pub crc32: U32,
    /// IPA of the first instruction.
    pub entry: U64,
    /// Bytes of the read-only part, header page included; a multiple of 4096.
    pub read_only: U64,
    /// Bytes of the writable part that are in the file; a multiple of 4096.
    pub writable: U64,
    /// Bytes that must be zero behind the writable part.
    pub bss: U64,
}

/// What is wrong with an image.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SosImageError {
    /// The file ends too early.
    #[error("{0} bytes, shorter than its header says")]
    Short(usize),
    /// Not such a file.
    #[error("no service partition image: magic {0:#x}")]
    Magic(u64),
    /// Built for another contract.
    #[error("built for ABI version {0}, this is version {ABI_VERSION}")]
    Abi(u32),
    /// Sizes that do not fit together.
    #[error("header: sizes or entry do not fit together")]
    Layout,
    /// Damaged.
    #[error("damaged: CRC-32 is {found:#010x}, its header says {expected:#010x}")]
    Crc {
        /// Of the file.
        found: u32,
        /// In its header.
        expected: u32,
    },
}

const CRC: crc::Crc<u32, crc::Table<16>> = crc::Crc::<u32, crc::Table<16>>::new(&crc::CRC_32_ISO_HDLC);

/// CRC-32/ISO-HDLC of `bytes`.
pub fn crc32(bytes: &[u8]) -> u32 {
    CRC.checksum(bytes)
}

/// A checked header, in plain numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SosLayout {
    /// IPA of the first instruction.
    pub entry: u64,
    /// Bytes mapped read-only, from the file's start.
    pub read_only: u64,
    /// Bytes copied, behind them.
    pub writable: u64,
    /// Zeroes behind those.
    pub bss: u64,
}

impl SosLayout {
    /// Checks an image file.
    ///
    /// # Errors
    /// What is wrong with it, first finding.
    pub fn check(file: &[u8]) -> Result<Self, SosImageError> {
        Self::check_with(file, crc32)
    }

    /// [`SosLayout::check`] with another way to compute what [`crc32`] does.
    ///
    /// # Errors
    /// What is wrong with it, first finding.
    pub fn check_with(file: &[u8], crc32: impl Fn(&[u8]) -> u32) -> Result<Self, SosImageError> {
        let (header, _) = SosHeader::read_from_prefix(file).map_err(|_| SosImageError::Short(file.len()))?;
        if header.magic.get() != MAGIC {
            return Err(SosImageError::Magic(header.magic.get()));
        }
        if header.abi.get() != ABI_VERSION {
            return Err(SosImageError::Abi(header.abi.get()));
        }
        let layout = Self {
            entry: header.entry.get(),
            read_only: header.read_only.get(),
            writable: header.writable.get(),
            bss: header.bss.get(),
        };
        let stored = layout.stored().ok_or(SosImageError::Layout)?;
        if stored > file.len() as u64 {
            return Err(SosImageError::Short(file.len()));
        }
        let payload = file.get(HEADER_PAGE..stored as usize).ok_or(SosImageError::Layout)?;
        let (found, expected) = (crc32(payload), header.crc32.get());
        if found != expected {
            return Err(SosImageError::Crc { found, expected });
        }
        Ok(layout)
    }

    /// Bytes in the file, or `None` where the numbers do not fit together.
    fn stored(&self) -> Option<u64> {
        let page = HEADER_PAGE as u64;
        let aligned = self.read_only.is_multiple_of(page) && self.writable.is_multiple_of(page);
        let stored = self.read_only.checked_add(self.writable)?;
        stored.checked_add(self.bss)?.checked_add(crate::guest_map::RAM_BASE)?;
        let text = crate::guest_map::RAM_BASE + page..crate::guest_map::RAM_BASE.checked_add(self.read_only)?;
        (aligned && text.contains(&self.entry) && self.entry.is_multiple_of(4)).then_some(stored)
    }
}

/// What x0 points at when a life begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct LifeRecord {
    /// [`LIFE_MAGIC`].
    pub magic: U64,
    /// [`ABI_VERSION`] of EL2.
    pub abi: U32,
    /// Number of this life, from 1.
    pub life: U32,
    /// Bytes of RAM from [`crate::guest_map::RAM_BASE`] on.
    pub memory: U64,
    /// Bytes of the boot archive at [`crate::guest_map::ARCHIVE_BASE`].
    pub archive: U64,
    /// Frequency of the counter in Hz.
    pub counter_hz: U64,
    /// Random bytes for guests' seeds, fresh in each life; zero where the board gave no seed.
    pub seed: [u8; 32],
}

/// First bytes of the life record: "DormLife".
pub const LIFE_MAGIC: u64 = u64::from_le_bytes(*b"DormLife");

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;
    use std::vec::Vec;

    fn image() -> Vec<u8> {
        let mut file = vec![0x5a; 3 * HEADER_PAGE];
        let header = SosHeader {
            magic: U64::new(MAGIC),
            abi: U32::new(ABI_VERSION),
            crc32: U32::new(crc32(&file[HEADER_PAGE..])),
            entry: U64::new(0x4000_1000),
            read_only: U64::new(0x2000),
            writable: U64::new(0x1000),
            bss: U64::new(0x800),
        };
        file[..size_of::<SosHeader>()].copy_from_slice(header.as_bytes());
        file
    }

    #[test]
    fn crc32_has_the_check_value_of_its_catalogue_entry() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn a_good_image_is_taken_and_each_damage_is_named() {
        let good = image();
        let layout = SosLayout::check(&good).unwrap();
        assert_eq!((layout.entry, layout.read_only, layout.writable, layout.bss), (0x4000_1000, 0x2000, 0x1000, 0x800));
        let mut bad = good.clone();
        bad[2 * HEADER_PAGE] ^= 1;
        assert!(matches!(SosLayout::check(&bad), Err(SosImageError::Crc { .. })));
        assert_eq!(SosLayout::check(&good[..HEADER_PAGE]), Err(SosImageError::Short(HEADER_PAGE)));
        assert_eq!(SosLayout::check(&good[..10]), Err(SosImageError::Short(10)));
        let mut bad = good.clone();
        bad[0] = 0;
        assert!(matches!(SosLayout::check(&bad), Err(SosImageError::Magic(_))));
        let mut bad = good.clone();
        bad[8] = 77;
        assert_eq!(SosLayout::check(&bad), Err(SosImageError::Abi(77)));
        let mut bad = good;
        bad[16..24].copy_from_slice(&0x4000_2000u64.to_le_bytes());
        assert_eq!(SosLayout::check(&bad), Err(SosImageError::Layout), "entry outside the read-only part");
    }

    #[test]
    fn mutated_headers_never_pass_with_ranges_outside_the_file() {
        let good = image();
        let mut random = 0x9e37_79b9_7f4a_7c15u64;
        for _ in 0..100_000 {
            let mut file = good.clone();
            for _ in 0..3 {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                file[(random % 56) as usize] = (random >> 32) as u8;
            }
            if let Ok(layout) = SosLayout::check(&file) {
                assert!(layout.read_only + layout.writable <= file.len() as u64);
            }
        }
    }
}
