//! What a guest finds at which IPA: QEMU's `virt` machine, so that an image built for it runs
//! unmodified, and the few places that are Dormouse's own.
//!
//! ```text
//! 0x0800_0000  GIC distributor        0x0a00_0000  virtio-mmio slots
//! 0x080a_0000  GIC redistributors     0x0b00_0000  mailbox page
//! 0x0900_0000  PL011                  0x0b10_0000  watchdog: control frame, refresh frame at 0x0b11_0000
//! 0x0901_0000  PL031                  0x4000_0000  RAM
//! 0x090a_0000  stolen time, read-only 0x0b20_0000  doorbells of shared regions, these from 0x0c00_0000
//!                                     0x8000_0000  boot archive (service partition only, read-only)
//! ```

/// Width of a guest's IPA space on every board, in bits.
pub const IPA_BITS: u32 = 40;

/// GICv3 distributor, 64 KiB.
pub const GICD_BASE: u64 = 0x0800_0000;
/// Size of the distributor's frame.
pub const GICD_SIZE: u64 = 0x1_0000;
/// GICv3 redistributors, [`GICR_STRIDE`] bytes for each vCPU.
pub const GICR_BASE: u64 = 0x080a_0000;
/// Bytes of a redistributor: RD_base and SGI_base, 64 KiB each (IHI0069 §12.10).
pub const GICR_STRIDE: u64 = 0x2_0000;

/// The console: a PL011, one page.
pub const UART_BASE: u64 = 0x0900_0000;
/// The console's interrupt, an SPI number (INTID - 32), level.
pub const UART_SPI: u32 = 1;
/// The clock: a PL031, one page.
pub const RTC_BASE: u64 = 0x0901_0000;
/// The clock's interrupt, an SPI number, level.
pub const RTC_SPI: u32 = 2;

/// The page of stolen time, where `virt` has it, too: ordinary memory that EL2 writes and the guest reads. The structure of vCPU
/// n is [`STOLEN_TIME_SIZE`] * n bytes in (DEN0057A): revision 0, attributes 0, and at 8 the nanoseconds that it could
/// have run and did not. No node of the device tree names it; PV_TIME_ST does.
pub const STOLEN_TIME_BASE: u64 = 0x090a_0000;
/// Bytes of a vCPU's structure of stolen time.
pub const STOLEN_TIME_SIZE: u64 = 64;

/// First virtio-mmio slot.
pub const VIRTIO_BASE: u64 = 0x0a00_0000;
/// Bytes between virtio-mmio slots.
pub const VIRTIO_STRIDE: u64 = 0x200;
/// Number of virtio-mmio slots.
pub const VIRTIO_SLOTS: u32 = 32;
/// SPI of the first slot, edge; the others follow.
pub const VIRTIO_SPI: u32 = 16;

/// The virtio-mmio slot of a VM's first disk; the others follow. Slot 0 has the management ports.
pub const DISK_SLOT: u32 = 1;
/// Disks that a VM may have.
pub const DISKS_MAX: usize = 4;
/// The virtio-mmio slot of a VM's first network card; the others follow, behind the disks'.
pub const NIC_SLOT: u32 = 5;
/// Network cards that a VM may have.
pub const NICS_MAX: usize = 2;

/// The virtio-mmio slot of a VM's entropy device, behind the network cards'.
pub const ENTROPY_SLOT: u32 = 7;
const _: () = assert!(NIC_SLOT + NICS_MAX as u32 == ENTROPY_SLOT);

/// The virtio-mmio slot of a VM's balloon.
pub const BALLOON_SLOT: u32 = 8;

/// The mailbox page, which belongs to EL2.
pub const MAILBOX_BASE: u64 = 0x0b00_0000;
/// The mailbox's interrupt, an SPI number, edge.
pub const MAILBOX_SPI: u32 = 10;
/// `compatible` of the mailbox's node.
pub const MAILBOX_COMPATIBLE: &str = "dormouse,mailbox-v1";

/// The watchdog's control frame, one page. `virt` has nothing between its virtio slots and 0x0c00_0000.
pub const WATCHDOG_CONTROL_BASE: u64 = 0x0b10_0000;
/// The watchdog's refresh frame, one page, which a guest with pages of 64 KiB can map by itself.
pub const WATCHDOG_REFRESH_BASE: u64 = 0x0b11_0000;
/// The watchdog's first signal, WS0, an SPI number, level: of those that `virt` leaves free, 10 to 15, the last.
pub const WATCHDOG_SPI: u32 = 15;

/// Doorbells of regions that VMs share, a page each, [`DOORBELL_STRIDE`] bytes apart, so that a guest with pages of 64 KiB
/// can map one by itself. Registers of 32 bits: [`DOORBELL_NUMBER`], [`DOORBELL_PRESENT`], [`DOORBELL_RING`].
pub const DOORBELL_BASE: u64 = 0x0b20_0000;
/// Bytes between doorbells.
pub const DOORBELL_STRIDE: u64 = 0x1_0000;
/// Read: under which number this VM has the region.
pub const DOORBELL_NUMBER: u64 = 0;
/// Read: the numbers under which VMs have it, a bit each.
pub const DOORBELL_PRESENT: u64 = 4;
/// Write a number: the VM that has the region under it gets the doorbell's interrupt. Nobody there: nothing.
pub const DOORBELL_RING: u64 = 8;
/// The first doorbell's interrupt, an SPI number, edge; the others follow. `virt` leaves them free.
pub const DOORBELL_SPI: u32 = 11;
/// Where the regions themselves are, [`SHARED_MAX`] bytes apart: where `virt` has its platform bus.
pub const SHARED_BASE: u64 = 0x0c00_0000;
/// Bytes of a region: a power of two from [`SHARED_MIN`] to this.
pub const SHARED_MAX: u64 = 8 << 20;
/// Bytes of a region at least: a page of a guest whose pages are the largest.
pub const SHARED_MIN: u64 = 64 << 10;
/// Regions that a VM may have.
pub const SHARED_SLOTS: usize = 4;
/// VMs that may have a region.
pub const SHARED_USERS: usize = 4;
/// `compatible` of a doorbell's node.
pub const DOORBELL_COMPATIBLE: &str = "dormouse,doorbell-v1";
/// `compatible` of a region's node in `/reserved-memory`.
pub const SHARED_COMPATIBLE: &str = "dormouse,shared-memory-v1";

/// First byte of a guest's RAM.
pub const RAM_BASE: u64 = 0x4000_0000;
/// Where the service partition finds the boot archive, read-only.
pub const ARCHIVE_BASE: u64 = 0x8000_0000;

/// Virtual timer of EL1 (Arm BSA, §3.8).
pub const PPI_VIRTUAL_TIMER: u32 = 27;
/// Physical timer of EL1, emulated.
pub const PPI_PHYSICAL_TIMER: u32 = 30;

/// vCPUs that one VM may have: the affinity levels 0 of one cluster that a GICv3 SGI reaches
/// with one target list of 16 would allow 16; eight is what the virtual redistributor region is tested with.
pub const MAX_VCPUS: usize = 8;
