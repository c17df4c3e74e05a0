//! Partitions of drives, by the table that stands on them: GPT (UEFI 2.10 §5.3) or MBR (§5.2.1).
//!
//! What is on a drive was written by anybody: nothing of it is used unchecked, and a table is read in bounded steps. It is read
//! anew for each start of a VM, because a guest may have changed it.

mod gpt;
mod mbr;

use alloc::string::String;
use alloc::vec::Vec;

use gpt_disk_types::{Guid, MasterBootRecord};
use hv_abi::Status;

pub use gpt::GptError;
pub use mbr::MbrError;

use crate::hypervisor::DriveBlock;

/// Bytes of a sector, whatever blocks a drive has.
const SECTOR: u64 = 512;
/// Sectors that one read has.
const READ: u64 = 8;
/// Longest name of a partition in a GPT, in characters (§5.3.3).
const LABEL_MAX: usize = 36;
/// Most entries of a table.
const NUMBER_MAX: u32 = 1024;

/// Which partition is meant, in the words that Linux has for `root=`, or by its number.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Wanted {
    /// `PARTLABEL=`: the name in a GPT.
    Label(String),
    /// `PARTUUID=` of a GPT: its unique GUID.
    Guid(Guid),
    /// `PARTUUID=` of an MBR: the disk's signature and the number.
    Signature(u32, u8),
    /// Its number in the table, from 1 on.
    Number(u32),
}

impl Wanted {
    /// The partition that `text` names; `None` where it names none.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(label) = text.strip_prefix("PARTLABEL=") {
            return (1..=LABEL_MAX).contains(&label.chars().count()).then(|| Self::Label(label.into()));
        }
        if let Some(id) = text.strip_prefix("PARTUUID=") {
            return Guid::try_parse(id).ok().map(Self::Guid).or_else(|| signature(id));
        }
        number(text, 10).filter(|number| (1..=NUMBER_MAX).contains(number)).map(Self::Number)
    }
}

/// `ssssssss-nn`: eight hexadecimal digits of the signature, two of the number.
fn signature(id: &str) -> Option<Wanted> {
    let (signature, part) = id.split_once('-').filter(|(signature, part)| signature.len() == 8 && part.len() == 2)?;
    let part = u8::try_from(number(part, 16)?).ok().filter(|part| *part != 0)?;
    Some(Wanted::Signature(number(signature, 16)?, part))
}

/// A number of digits alone: no sign, as the standard library takes one.
fn number(text: &str, radix: u32) -> Option<u32> {
    let digits = text.chars().all(|c| c.is_digit(radix));
    u32::from_str_radix(text, radix).ok().filter(|_| digits)
}

/// Sectors of a drive, of 512 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Range {
    /// The first.
    pub first: u64,
    /// How many; at least one.
    pub sectors: u64,
}

/// Why a partition is not found.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PartitionError {
    /// EL2 knows of no such drive, or it has less than a read.
    #[error("the board has no such drive, or one of less than 4 KiB")]
    NoDrive,
    /// It takes longer than anybody waits.
    #[error("the drive does not answer in time")]
    Silent,
    /// It says that it cannot.
    #[error("the drive cannot read sector {0}")]
    Unreadable(u64),
    /// EL2 refuses.
    #[error("drive_read: {0}")]
    Refused(Status),
    /// Neither a GPT nor an MBR.
    #[error("the drive has no partition table")]
    NoTable,
    /// Both copies of a GPT are damaged.
    #[error("the GPT is damaged: {primary}; its backup as well: {backup}")]
    Damaged {
        /// What is wrong with the one at the drive's start.
        primary: GptError,
        /// What is wrong with the one at its end.
        backup: GptError,
    },
    /// A partition of a GPT.
    #[error("{0}")]
    Gpt(GptError),
    /// A partition of an MBR.
    #[error("{0}")]
    Mbr(#[from] MbrError),
}

/// A drive that is read.
struct Drive<R> {
    read: R,
    /// Sectors in whole blocks.
    sectors: u64,
    block_sectors: u64,
}

/// Finds a partition. `read` reads 4 KiB of the drive, from a sector on.
///
/// # Errors
/// Why there is none, or none that can be used.
pub fn find(read: impl FnMut(u64) -> Result<DriveBlock, Status>, wanted: &Wanted) -> Result<Range, PartitionError> {
    let (mut drive, start) = Drive::open(read)?;
    let record: MasterBootRecord =
        start.get(..size_of::<MasterBootRecord>()).map(bytemuck::pod_read_unaligned).ok_or(PartitionError::NoTable)?;
    if !mbr::is_table(&record) {
        return Err(PartitionError::NoTable);
    }
    if mbr::is_protective(&record) {
        return gpt::find(&mut drive, wanted);
    }
    Ok(mbr::find(&record, drive.blocks(), wanted)?.sectors(drive.block_sectors))
}

/// Blocks of a drive.
struct Blocks {
    first: u64,
    count: u64,
}

impl Blocks {
    /// The same in sectors. They are on the drive, so nothing overflows.
    const fn sectors(&self, each: u64) -> Range {
        Range { first: self.first.saturating_mul(each), sectors: self.count.saturating_mul(each) }
    }
}

impl<R: FnMut(u64) -> Result<DriveBlock, Status>> Drive<R> {
    /// Reads its start, which says what it is.
    fn open(mut read: R) -> Result<(Self, Vec<u8>), PartitionError> {
        let start = read(0).map_err(|status| failed(status, 0))?;
        let block_sectors = u64::from(start.block_size) / SECTOR;
        if block_sectors == 0 {
            return Err(PartitionError::NoDrive);
        }
        let sectors = start.sectors - start.sectors % block_sectors;
        Ok((Self { read, sectors, block_sectors }, start.bytes))
    }

    /// How many blocks it has.
    const fn blocks(&self) -> u64 {
        self.sectors / self.block_sectors
    }

    /// So many bytes from a block on, all of which it has.
    fn bytes(&mut self, block: u64, length: usize) -> Result<Vec<u8>, PartitionError> {
        let mut bytes = Vec::with_capacity(length);
        let mut sector = block.saturating_mul(self.block_sectors);
        while bytes.len() < length {
            // A read does not reach over its end.
            let at = sector.min(self.sectors.saturating_sub(READ));
            let read = (self.read)(at).map_err(|status| failed(status, at))?;
            let skipped = usize::try_from((sector - at) * SECTOR).unwrap_or(usize::MAX);
            let new = read.bytes.get(skipped..).filter(|new| !new.is_empty()).ok_or(PartitionError::Unreadable(at))?;
            bytes.extend_from_slice(&new[..new.len().min(length - bytes.len())]);
            sector = at + READ;
        }
        Ok(bytes)
    }
}

const fn failed(status: Status, sector: u64) -> PartitionError {
    match status {
        Status::InvalidArgument => PartitionError::NoDrive,
        Status::Again => PartitionError::Silent,
        Status::Denied => PartitionError::Unreadable(sector),
        status => PartitionError::Refused(status),
    }
}

#[cfg(test)]
mod tests;
