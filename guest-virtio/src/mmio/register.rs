//! The registers of a virtio-mmio slot: where they lie, and those that answer alike whatever the
//! slot's device does.

use hv_abi::guest_map::VIRTIO_STRIDE;
use virtio_spec::mmio::MAGIC_VALUE as MAGIC;

/// "Dorm", the VendorID of every slot.
pub const DORMOUSE_VENDOR: u32 = u32::from_le_bytes(*b"Dorm");

/// Version of the register layout (§4.2.2).
const LAYOUT_VERSION: u32 = 2;

// Offsets (§4.2.2, table of MMIO device registers).
pub(super) const MAGIC_VALUE: u64 = 0x000;
pub(super) const VERSION: u64 = 0x004;
pub(super) const DEVICE_ID: u64 = 0x008;
pub(super) const VENDOR_ID: u64 = 0x00c;
pub(super) const DEVICE_FEATURES: u64 = 0x010;
pub(super) const DEVICE_FEATURES_SEL: u64 = 0x014;
pub(super) const DRIVER_FEATURES: u64 = 0x020;
pub(super) const DRIVER_FEATURES_SEL: u64 = 0x024;
pub(super) const QUEUE_SEL: u64 = 0x030;
pub(super) const QUEUE_SIZE_MAX: u64 = 0x034;
pub(super) const QUEUE_SIZE: u64 = 0x038;
pub(super) const QUEUE_READY: u64 = 0x044;
pub(super) const QUEUE_NOTIFY: u64 = 0x050;
pub(super) const INTERRUPT_STATUS: u64 = 0x060;
pub(super) const INTERRUPT_ACK: u64 = 0x064;
pub(super) const STATUS: u64 = 0x070;
pub(super) const QUEUE_DESC_LOW: u64 = 0x080;
pub(super) const QUEUE_DESC_HIGH: u64 = 0x084;
pub(super) const QUEUE_DRIVER_LOW: u64 = 0x090;
pub(super) const QUEUE_DRIVER_HIGH: u64 = 0x094;
pub(super) const QUEUE_DEVICE_LOW: u64 = 0x0a0;
pub(super) const QUEUE_DEVICE_HIGH: u64 = 0x0a4;
pub(super) const SHM_LEN_LOW: u64 = 0x0b0;
pub(super) const SHM_BASE_HIGH: u64 = 0x0bc;
pub(super) const CONFIG_GENERATION: u64 = 0x0fc;
/// Where the configuration space begins.
pub const CONFIG: u64 = 0x100;

/// Bytes of the configuration space that a slot has room for.
pub const CONFIG_SIZE: u64 = VIRTIO_STRIDE - CONFIG;

/// Answers a read of an empty slot: a device of type 0, which a driver ignores (§4.2.3.1).
/// Writes to an empty slot do nothing.
pub const fn read_empty_slot(offset: u64, size: u8) -> u64 {
    match (offset, size) {
        (MAGIC_VALUE | VERSION | VENDOR_ID, 4) => read_fixed(offset) as u64,
        _ => 0,
    }
}

/// The registers that every slot answers alike, and zero for what no slot has.
pub(super) const fn read_fixed(offset: u64) -> u32 {
    match offset {
        MAGIC_VALUE => MAGIC.to_ne(),
        VERSION => LAYOUT_VERSION,
        VENDOR_ID => DORMOUSE_VENDOR,
        // No shared memory region exists, whichever is selected: length and base are all ones
        // (§4.2.2, SHMLenLow and SHMBaseLow).
        SHM_LEN_LOW..=SHM_BASE_HIGH if offset & 3 == 0 => u32::MAX,
        _ => 0,
    }
}

/// The 32 feature bits that a selector names.
pub(super) const fn word(features: u64, selector: u32) -> u32 {
    match selector {
        0 => features as u32,
        1 => (features >> 32) as u32,
        _ => 0,
    }
}

/// Little-endian bytes of the configuration space, zero behind its end (§4.2.2.2).
pub(super) fn read_config(config: &[u8], offset: u64, size: u8) -> u64 {
    let start = usize::try_from(offset).unwrap_or(usize::MAX);
    let mut bytes = [0; 8];
    let wanted = bytes.iter_mut().take(usize::from(size));
    for (byte, source) in wanted.zip(config.iter().skip(start)) {
        *byte = *source;
    }
    u64::from_le_bytes(bytes)
}
