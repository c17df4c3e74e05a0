//! The configuration space of a disk (virtio 1.2 §5.2.4).

use super::{Disk, MAX_QUEUES, request};

/// Bytes up to the last field that is used.
const SIZE: usize = 60;

/// struct virtio_blk_config, little-endian, as far as a disk has fields.
pub(super) fn encode(disk: &Disk) -> [u8; SIZE] {
    let mut config = [0; SIZE];
    let mut put = |offset: usize, bytes: &[u8]| {
        for (to, from) in config.iter_mut().skip(offset).zip(bytes) {
            *to = *from;
        }
    };
    put(0, &disk.sectors.to_le_bytes()); // capacity
    put(8, &request::SEGMENT_MAX.to_le_bytes()); // size_max
    put(12, &u32::from(disk.segments).to_le_bytes()); // seg_max
    put(20, &disk.block_size.to_le_bytes()); // blk_size
    put(24, &[disk.physical_exponent, 0]); // topology: physical_block_exp, alignment_offset
    put(26, &1_u16.checked_shl(disk.physical_exponent.into()).unwrap_or(1).to_le_bytes()); // min_io_size, in blocks
    put(34, &u16::from(disk.queues).clamp(1, MAX_QUEUES as u16).to_le_bytes()); // num_queues
    if disk.discard > 0 && !disk.read_only {
        let alignment = disk.block_sectors() as u32;
        put(36, &disk.discard.to_le_bytes()); // max_discard_sectors
        put(40, &1_u32.to_le_bytes()); // max_discard_seg
        put(44, &alignment.to_le_bytes()); // discard_sector_alignment
        put(48, &disk.discard.to_le_bytes()); // max_write_zeroes_sectors
        put(52, &1_u32.to_le_bytes()); // max_write_zeroes_seg
        put(56, &[1]); // write_zeroes_may_unmap
    }
    config
}
