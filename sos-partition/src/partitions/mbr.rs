//! The table in a drive's first sector (UEFI 2.10 §5.2.1). Partitions inside of an extended one are not read.

use gpt_disk_types::{MasterBootRecord, MbrPartitionRecord};

use super::{Blocks, Wanted};

/// The last bytes of the sector.
const SIGNATURE: [u8; 2] = [0x55, 0xaa];
/// The type of an entry that is not in use, and of the one before a GPT (§5.2.2, §5.2.3).
const UNUSED: u8 = 0;
const PROTECTIVE: u8 = 0xee;
/// Types whose partition holds others, as Linux has them.
const EXTENDED: [u8; 3] = [0x05, 0x0f, 0x85];

/// What is wrong with a partition of an MBR.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MbrError {
    /// A GPT's word.
    #[error("the drive has an MBR, which knows neither labels nor GUIDs")]
    NotHere,
    /// Another disk's PARTUUID.
    #[error("the drive's MBR has the signature {0:08x}")]
    Signature(u32),
    /// No entry.
    #[error("the drive's MBR has no partition {0}; it has 1 to 4, and what is in an extended one is not read")]
    Missing(u32),
    /// It has a table of its own in front.
    #[error("partition {0} of the drive's MBR is an extended one")]
    Extended(u32),
    /// It reaches over the end, or begins with the table.
    #[error("partition {number} of the drive's MBR, {count} blocks from {first} on, is not on the drive")]
    Outside {
        /// Its number.
        number: u32,
        /// Its first block.
        first: u32,
        /// Its blocks.
        count: u32,
    },
}

/// Whether it is one, and not the boot sector of a file system with the same signature: an entry is active or it is not.
pub(super) fn is_table(record: &MasterBootRecord) -> bool {
    record.signature == SIGNATURE && record.partitions.iter().all(|entry| entry.boot_indicator & 0x7f == 0)
}

/// Whether a GPT is behind it.
pub(super) fn is_protective(record: &MasterBootRecord) -> bool {
    record.partitions.iter().any(|entry| entry.os_indicator == PROTECTIVE)
}

/// Finds a partition on a drive of so many blocks.
pub(super) fn find(record: &MasterBootRecord, blocks: u64, wanted: &Wanted) -> Result<Blocks, MbrError> {
    let own = u32::from_le_bytes(record.unique_mbr_disk_signature);
    let number = match wanted {
        Wanted::Number(number) => *number,
        Wanted::Signature(signature, number) if *signature == own => u32::from(*number),
        Wanted::Signature(..) => return Err(MbrError::Signature(own)),
        Wanted::Label(_) | Wanted::Guid(_) => return Err(MbrError::NotHere),
    };
    let index = usize::try_from(number).ok().and_then(|number| number.checked_sub(1));
    let entry = index.and_then(|index| record.partitions.get(index)).filter(|entry| entry.os_indicator != UNUSED);
    let entry: &MbrPartitionRecord = entry.ok_or(MbrError::Missing(number))?;
    if EXTENDED.contains(&entry.os_indicator) {
        return Err(MbrError::Extended(number));
    }
    let (first, count) = (entry.starting_lba.to_u32(), entry.size_in_lba.to_u32());
    if first == 0 || count == 0 || u64::from(first) + u64::from(count) > blocks {
        return Err(MbrError::Outside { number, first, count });
    }
    Ok(Blocks { first: first.into(), count: count.into() })
}
