//! What `vm_device` gives a VM.

use crate::guest_map::{DISKS_MAX, NICS_MAX};

/// Devices of `vm_device`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u64)]
pub enum DeviceKind {
    /// The mailbox page at [`crate::guest_map::MAILBOX_BASE`]. Parameter: 0.
    Mailbox = 1,
    /// A virtio console in slot 0 with management ports. Parameter: how many, 1 to [`PORTS_MAX`].
    ManagementPorts = 2,
    /// The watchdog at [`crate::guest_map::WATCHDOG_CONTROL_BASE`]. Parameter: 0.
    Watchdog = 3,
    /// The page of stolen time at [`crate::guest_map::STOLEN_TIME_BASE`]. Parameter: 0.
    StolenTime = 4,
    /// A disk. Parameters: [`DiskPart`].
    Disk = 5,
    /// A network card. Parameters: [`NicPort`].
    Nic = 6,
    /// A virtio entropy device in slot [`crate::guest_map::ENTROPY_SLOT`]. Parameter: 0.
    Entropy = 7,
    /// No device: what a disk that the VM has been given may do. Parameters: [`DiskLimits`].
    DiskLimits = 8,
    /// A balloon in slot [`crate::guest_map::BALLOON_SLOT`]. Parameter: bytes of memory that stay the VM's, whatever it reports
    /// free: a multiple of [`super::MEMORY_ALIGNMENT`], at most what it has.
    Balloon = 9,
}

impl DeviceKind {
    /// The kind with that number.
    pub const fn from_register(register: u64) -> Option<Self> {
        match register {
            1 => Some(Self::Mailbox),
            2 => Some(Self::ManagementPorts),
            3 => Some(Self::Watchdog),
            4 => Some(Self::StolenTime),
            5 => Some(Self::Disk),
            6 => Some(Self::Nic),
            7 => Some(Self::Entropy),
            8 => Some(Self::DiskLimits),
            9 => Some(Self::Balloon),
            _ => None,
        }
    }
}

/// A part of a drive that a VM gets as a disk: the last three registers of `vm_device`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DiskPart {
    /// Number of the drive, as EL2 found them.
    pub drive: u8,
    /// Which of the VM's disks it is, below [`DISKS_MAX`].
    pub disk: u8,
    /// Number of its queues, 1 to [`DISK_QUEUES_MAX`].
    pub queues: u8,
    /// Whether the VM may write there.
    pub writable: bool,
    /// First sector of 512 bytes.
    pub first: u64,
    /// Sectors; 0 is all up to the drive's end.
    pub sectors: u64,
}

/// Queues that a disk may have.
pub const DISK_QUEUES_MAX: u8 = 4;

impl DiskPart {
    /// `drive | disk << 8 | queues << 16 | writable << 24`, the first sector, the sectors.
    pub fn to_registers(self) -> [u64; 3] {
        let bytes = [self.drive, self.disk, self.queues, self.writable.into()];
        [u32::from_le_bytes(bytes).into(), self.first, self.sectors]
    }

    /// The part in registers, or `None` where a value is out of its range.
    pub fn from_registers([which, first, sectors]: [u64; 3]) -> Option<Self> {
        let [drive, disk, queues, flags] = u32::try_from(which).ok()?.to_le_bytes();
        let known = usize::from(disk) < DISKS_MAX && (1..=DISK_QUEUES_MAX).contains(&queues) && flags <= 1;
        known.then_some(Self { drive, disk, queues, writable: flags == 1, first, sectors })
    }
}

/// The most that a disk does: the last three registers of `vm_device`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DiskLimits {
    /// Which of the VM's disks it is, below [`DISKS_MAX`].
    pub disk: u8,
    /// Most requests in a second; 0 is no limit.
    pub iops: u32,
    /// Most thousands of bytes that it reads and writes in a second, together; 0 is no limit.
    pub kbytes_per_s: u32,
}

impl DiskLimits {
    /// The disk, `requests/s | kbytes/s << 32`, zero.
    pub fn to_registers(self) -> [u64; 3] {
        [self.disk.into(), u64::from(self.iops) | u64::from(self.kbytes_per_s) << 32, 0]
    }

    /// The limits in registers, or `None` where a value is out of its range.
    pub fn from_registers([disk, limits, rest]: [u64; 3]) -> Option<Self> {
        let disk = u8::try_from(disk).ok().filter(|disk| usize::from(*disk) < DISKS_MAX)?;
        (rest == 0).then_some(Self { disk, iops: limits as u32, kbytes_per_s: (limits >> 32) as u32 })
    }
}

/// Networks that there may be.
pub const NETWORKS_MAX: usize = 8;
/// Bytes of a packet that a network card takes: the least that IPv6 works with (RFC 8200 §5), and what Ethernet has.
pub const MTU_MIN: u16 = 1280;
/// See [`MTU_MIN`].
pub const MTU_MAX: u16 = 1500;

/// A port of a network that a VM gets as a network card: the last three registers of `vm_device`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NicPort {
    /// Number of the network, below [`NETWORKS_MAX`]. The board's own network card is in the first one.
    pub network: u8,
    /// Which of the VM's network cards it is, below [`NICS_MAX`].
    pub nic: u8,
    /// It reaches the board's network card and ports without this, and no other.
    pub isolated: bool,
    /// It may send from other addresses than its own, as a bridge does, and gets what is for them.
    pub any_source: bool,
    /// Its address, as it stands in a frame.
    pub mac: [u8; 6],
    /// Bytes of a packet, [`MTU_MIN`] to [`MTU_MAX`].
    pub mtu: u16,
    /// Most thousands of bits that it sends in a second; 0 is no limit.
    pub kbit_per_s: u32,
    /// Most packets that it sends in a second; 0 is no limit.
    pub packets_per_s: u32,
}

impl NicPort {
    /// `network | card << 8 | isolated << 16 | any source << 17`, `address | mtu << 48`, `kbit/s | packets/s << 32`.
    pub fn to_registers(self) -> [u64; 3] {
        let bytes = [self.network, self.nic, u8::from(self.isolated) | u8::from(self.any_source) << 1, 0];
        let [a, b, c, d, e, f] = self.mac;
        let address = u64::from_le_bytes([a, b, c, d, e, f, 0, 0]) | u64::from(self.mtu) << 48;
        let limits = u64::from(self.kbit_per_s) | u64::from(self.packets_per_s) << 32;
        [u32::from_le_bytes(bytes).into(), address, limits]
    }

    /// The port in registers, or `None` where a value is out of its range.
    pub fn from_registers([which, address, limits]: [u64; 3]) -> Option<Self> {
        let [network, nic, flags, rest] = u32::try_from(which).ok()?.to_le_bytes();
        let [a, b, c, d, e, f, low, high] = address.to_le_bytes();
        let (mac, mtu) = ([a, b, c, d, e, f], u16::from_le_bytes([low, high]));
        let exists = usize::from(network) < NETWORKS_MAX && usize::from(nic) < NICS_MAX;
        let known = flags <= 3 && rest == 0 && (MTU_MIN..=MTU_MAX).contains(&mtu);
        (exists && known).then_some(Self {
            network,
            nic,
            isolated: flags & 1 != 0,
            any_source: flags & 2 != 0,
            mac,
            mtu,
            kbit_per_s: limits as u32,
            packets_per_s: (limits >> 32) as u32,
        })
    }
}
