//! The GUID partition table (UEFI 2.10 §5.3): a header and an array of entries, once behind the drive's first block and once
//! at its end, each with a CRC.

use alloc::vec::Vec;

use gpt_disk_types::{GptHeader, GptPartitionEntry};
use hv_abi::Status;
use hv_abi::sos_image::crc32;

use super::{Blocks, Drive, NUMBER_MAX, PartitionError, Range, Wanted};
use crate::hypervisor::DriveBlock;

/// Bytes of a header at least, and where its own CRC stands in it (§5.3.2, table 5.5).
const HEADER: usize = size_of::<GptHeader>();
const HEADER_CRC: usize = 16;
/// Bytes of an entry at least, and at most of those that are read.
const ENTRY: usize = size_of::<GptPartitionEntry>();
const ENTRY_MAX: usize = 1024;
/// Bytes of an array at most: 1024 entries of the usual size.
const ARRAY_MAX: usize = NUMBER_MAX as usize * ENTRY;

/// What is wrong with a table, or with a partition of it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum GptError {
    /// The first bytes of a header.
    #[error("no header in block {0}")]
    NoHeader(u64),
    /// A header's CRC, revision, size or own place.
    #[error("the header in block {0} is damaged")]
    Header(u64),
    /// Sizes that are not read.
    #[error("{0} entries of {1} bytes are none that are read")]
    Entries(u32, u32),
    /// An array outside of the drive.
    #[error("its entries are not on the drive")]
    Outside,
    /// The array's CRC.
    #[error("its entries are damaged")]
    Array,
    /// A read.
    #[error("it cannot be read: {0}")]
    Read(alloc::boxed::Box<PartitionError>),
    /// No such partition.
    #[error("the drive's GPT has no such partition")]
    Missing,
    /// Several, and nobody can say which is meant.
    #[error("partitions {0} and {1} of the drive's GPT are both named so")]
    Ambiguous(u32, u32),
    /// A partition whose blocks the table does not give to partitions.
    #[error("partition {number} of the drive's GPT, blocks {first} to {last}, is not among its usable blocks")]
    Range {
        /// Its number.
        number: u32,
        /// Its first block.
        first: u64,
        /// Its last block.
        last: u64,
    },
}

/// A table that is what its CRCs say.
struct Table {
    entries: Vec<u8>,
    entry_size: usize,
    /// Blocks that partitions may have.
    usable: core::ops::RangeInclusive<u64>,
}

/// Finds a partition by the first table, or by its backup where that is damaged.
pub(super) fn find<R>(drive: &mut Drive<R>, wanted: &Wanted) -> Result<Range, PartitionError>
where
    R: FnMut(u64) -> Result<DriveBlock, Status>,
{
    let table = match Table::read(drive, 1) {
        Ok(table) => table,
        // Who does not answer is not asked again.
        Err(GptError::Read(error)) if *error == PartitionError::Silent => return Err(*error),
        Err(primary) => {
            let table = Table::read(drive, drive.blocks() - 1);
            log::warn!("a drive's GPT is damaged, its backup is used: {primary}");
            table.map_err(|backup| PartitionError::Damaged { primary, backup })?
        }
    };
    let found = table.find(wanted).map_err(PartitionError::Gpt)?;
    Ok(found.sectors(drive.block_sectors))
}

impl Table {
    /// Reads the table whose header is in that block.
    fn read<R>(drive: &mut Drive<R>, block: u64) -> Result<Self, GptError>
    where
        R: FnMut(u64) -> Result<DriveBlock, Status>,
    {
        let unreadable = |error| GptError::Read(alloc::boxed::Box::new(error));
        let blocks = drive.blocks();
        let block_size = usize::try_from(drive.block_sectors * super::SECTOR).unwrap_or(0);
        let header = check_header(&drive.bytes(block, block_size).map_err(unreadable)?, block)?;
        let (count, size) = (header.number_of_partition_entries.to_u32(), header.size_of_partition_entry.to_u32());
        let entry_size = usize::try_from(size).unwrap_or(usize::MAX);
        let length = usize::try_from(count).unwrap_or(usize::MAX).saturating_mul(entry_size);
        let sizes = entry_size.is_power_of_two() && (ENTRY..=ENTRY_MAX).contains(&entry_size);
        if !sizes || !(1..=ARRAY_MAX).contains(&length) {
            return Err(GptError::Entries(count, size));
        }
        let start = header.partition_entry_lba.to_u64();
        let end = start.checked_add(length.div_ceil(block_size) as u64);
        if start == 0 || end.is_none_or(|end| end > blocks) {
            return Err(GptError::Outside);
        }
        let entries = drive.bytes(start, length).map_err(unreadable)?;
        if crc32(&entries) != header.partition_entry_array_crc32.0.to_u32() {
            return Err(GptError::Array);
        }
        let last = header.last_usable_lba.to_u64().min(blocks - 1);
        Ok(Self { entries, entry_size, usable: header.first_usable_lba.to_u64().max(1)..=last })
    }

    /// Its partitions by their numbers.
    fn partitions(&self) -> impl Iterator<Item = (u32, GptPartitionEntry)> {
        let entries = self.entries.chunks_exact(self.entry_size);
        let entries = entries.filter_map(|entry| entry.get(..ENTRY)).map(bytemuck::pod_read_unaligned);
        (1..).zip(entries).filter(|(_, entry): &(u32, GptPartitionEntry)| entry.is_used())
    }

    fn find(&self, wanted: &Wanted) -> Result<Blocks, GptError> {
        let is_wanted = |number: u32, entry: &GptPartitionEntry| match wanted {
            Wanted::Label(label) => entry.name.chars().eq(label.chars()),
            Wanted::Guid(guid) => entry.unique_partition_guid.to_bytes() == guid.to_bytes(),
            Wanted::Number(wanted) => number == *wanted,
            Wanted::Signature(..) => false,
        };
        let mut found = self.partitions().filter(|(number, entry)| is_wanted(*number, entry));
        let (number, entry) = found.next().ok_or(GptError::Missing)?;
        if let Some((other, _)) = found.next() {
            return Err(GptError::Ambiguous(number, other));
        }
        let (first, last) = (entry.starting_lba.to_u64(), entry.ending_lba.to_u64());
        if first > last || !self.usable.contains(&first) || !self.usable.contains(&last) {
            return Err(GptError::Range { number, first, last });
        }
        Ok(Blocks { first, count: last - first + 1 })
    }
}

/// The header in a block, if it is one of that block.
fn check_header(bytes: &[u8], block: u64) -> Result<GptHeader, GptError> {
    let start = bytes.get(..HEADER).ok_or(GptError::NoHeader(block))?;
    let header: GptHeader = bytemuck::pod_read_unaligned(start);
    if !header.is_signature_valid() {
        return Err(GptError::NoHeader(block));
    }
    let size = usize::try_from(header.header_size.to_u32()).unwrap_or(usize::MAX);
    let whole = bytes.get(..size).filter(|whole| whole.len() >= HEADER).ok_or(GptError::Header(block))?;
    // Its CRC is made with zeroes in its own place.
    let mut whole = whole.to_vec();
    whole[HEADER_CRC..HEADER_CRC + 4].fill(0);
    let good = crc32(&whole) == header.header_crc32.0.to_u32();
    if good && header.revision.major() == 1 && header.my_lba.to_u64() == block {
        Ok(header)
    } else {
        Err(GptError::Header(block))
    }
}
