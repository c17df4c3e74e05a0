//! The configuration space of a balloon (virtio 1.2 §5.5.4).

/// Offset of `actual`, which the driver writes.
pub(super) const ACTUAL: u64 = 4;

/// Bytes up to the last field that is there: free_page_hint_cmd_id and poison_val belong to features that are not offered.
const SIZE: usize = 8;

/// struct virtio_balloon_config, little-endian.
pub(super) const fn encode(target: u32, actual: u32) -> [u8; SIZE] {
    ((actual as u64) << 32 | target as u64).to_le_bytes()
}
