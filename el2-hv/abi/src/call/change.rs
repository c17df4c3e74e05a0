//! What `vm_device_set` changes of a device that a VM has.

use super::DiskLimits;
use crate::guest_map::{DISKS_MAX, NICS_MAX};

/// A change of a device: its number in x2, what it says in x3 to x5.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeviceChange {
    /// 1: the most that a disk does, in the place of what it did, beginning with a whole burst.
    DiskLimits(DiskLimits),
    /// 2: how large a disk is. It begins where it did, and is not made smaller.
    DiskSectors {
        /// Which of the VM's disks it is, below [`DISKS_MAX`].
        disk: u8,
        /// Sectors of 512 bytes; 0 is all up to the drive's end.
        sectors: u64,
    },
    /// 3: the most that a network card sends, in the place of what it sent, beginning with a whole burst.
    NicLimits {
        /// Which of the VM's network cards it is, below [`NICS_MAX`].
        nic: u8,
        /// Most thousands of bits in a second; 0 is no limit.
        kbit_per_s: u32,
        /// Most packets in a second; 0 is no limit.
        packets_per_s: u32,
    },
    /// 4: whether a network card's link is there. While it is not, nothing goes by the card.
    NicLink {
        /// Which of the VM's network cards it is, below [`NICS_MAX`].
        nic: u8,
        /// It is.
        up: bool,
    },
    /// 5: how much memory the VM is to have. Its balloon asks for the rest.
    Memory {
        /// Bytes: a multiple of 4 KiB.
        bytes: u64,
    },
}

impl DeviceChange {
    /// The change, and the last three registers.
    pub fn to_registers(self) -> [u64; 4] {
        match self {
            Self::DiskLimits(limits) => {
                let [disk, rates, rest] = limits.to_registers();
                [1, disk, rates, rest]
            }
            Self::DiskSectors { disk, sectors } => [2, disk.into(), sectors, 0],
            Self::NicLimits { nic, kbit_per_s, packets_per_s } => {
                [3, nic.into(), u64::from(kbit_per_s) | u64::from(packets_per_s) << 32, 0]
            }
            Self::NicLink { nic, up } => [4, nic.into(), up.into(), 0],
            Self::Memory { bytes } => [5, bytes, 0, 0],
        }
    }

    /// The change in registers, or `None` where there is none of that number, or a value is out of its range.
    pub fn from_registers([kind, first, second, third]: [u64; 4]) -> Option<Self> {
        let below = |most: usize| u8::try_from(first).ok().filter(|number| usize::from(*number) < most);
        Some(match (kind, second, third) {
            (1, ..) => Self::DiskLimits(DiskLimits::from_registers([first, second, third])?),
            (2, sectors, 0) => Self::DiskSectors { disk: below(DISKS_MAX)?, sectors },
            (3, limits, 0) => {
                let nic = below(NICS_MAX)?;
                Self::NicLimits { nic, kbit_per_s: limits as u32, packets_per_s: (limits >> 32) as u32 }
            }
            (4, up @ (0 | 1), 0) => Self::NicLink { nic: below(NICS_MAX)?, up: up == 1 },
            (5, 0, 0) if first.is_multiple_of(PAGE_SIZE) => Self::Memory { bytes: first },
            _ => return None,
        })
    }
}

/// What a balloon is counted in (virtio 1.2 §5.5.6).
const PAGE_SIZE: u64 = 4096;
