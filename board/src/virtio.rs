//! virtio devices that EL2 drives: virtio 1.2 from the driver's side.
//!
//! The transports are those of `virtio-drivers`. Its queues are not used: they take payload as references, and payload
//! here is guests' memory, which only a device touches ([ADR 0019](../../docs/adr/0019-own-driver-queues.md)).

pub mod disk;
mod link;
pub mod nic;
mod pci;
pub mod requests;
mod ring;
#[cfg(test)]
mod tests;

use core::ptr::NonNull;

use hv_core::addr::PaRange;
use thiserror::Error;
use virtio_drivers::transport::mmio::{MmioError, MmioTransport, MmioVersion};
use virtio_drivers::transport::{DeviceStatus, DeviceType, SomeTransport, Transport};

pub use crate::dma::DmaMemory;
pub use pci::look_pci;

use crate::wait;
use link::Link;
use ring::{NotIts, Ring, SLOTS};

/// VIRTIO_F_INDIRECT_DESC, VIRTIO_F_EVENT_IDX, VIRTIO_F_VERSION_1, VIRTIO_F_ACCESS_PLATFORM (virtio 1.2 §6).
const INDIRECT_DESC: u64 = 1 << 28;
const EVENT_IDX: u64 = 1 << 29;
const VERSION_1: u64 = 1 << 32;
const ACCESS_PLATFORM: u64 = 1 << 33;

/// What a virtio device is to EL2.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A disk.
    Disk,
    /// A network card.
    Nic,
    /// Something that EL2 does not drive.
    Other,
}

/// Why a device cannot be used, or not any longer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum VirtioError {
    /// Only the registers of before virtio 1.0.
    #[error("has the legacy interface only (QEMU: -global virtio-mmio.force-legacy=false)")]
    Legacy,
    /// A number of the register layout, or of the device's type, that nobody knows.
    #[error("answers as no known virtio device")]
    Unknown,
    /// It does not have what EL2 needs.
    #[error("lacks feature bits {0:#x}")]
    Lacks(u64),
    /// It does not take the features that EL2 chose.
    #[error("refuses feature bits {0:#x}")]
    Refuses(u64),
    /// A queue of it is shorter than EL2's.
    #[error("has a queue of {0} entries")]
    ShortQueue(u32),
    /// Its blocks have a size that EL2 does not take.
    #[error("has blocks of {0} bytes")]
    BlockSize(u32),
    /// It says so.
    #[error("needs a reset")]
    NeedsReset,
    /// Its status does not become 0.
    #[error("does not come out of reset")]
    StuckInReset,
    /// Its PCI capabilities do not say where its registers are (§4.1.4).
    #[error("has no usable {0} registers")]
    Structure(&'static str),
    /// Its configuration space is too small, or always changes.
    #[error("its configuration cannot be read")]
    Configuration,
    /// It gives back what it was not given.
    #[error("gives back {0:#x}, which it does not have")]
    NotIts(u32),
    /// It says to have written more than a buffer has room for, or less than what is always written.
    #[error("gives back a buffer with {0} bytes written")]
    Written(u32),
}

impl From<NotIts> for VirtioError {
    fn from(NotIts(id): NotIts) -> Self {
        Self::NotIts(id)
    }
}

/// A device on its transport.
pub struct Found {
    /// What it is.
    pub kind: Kind,
    /// Its DMA goes the way of the platform's, through an SMMU where one is (VIRTIO_F_ACCESS_PLATFORM).
    pub translated: bool,
    link: Link,
}

impl Found {
    fn new(kind: Kind, mut link: Link) -> Self {
        let translated = link.read_device_features() & ACCESS_PLATFORM != 0;
        Self { kind, translated, link }
    }
}

/// Looks at a virtio-mmio slot. `None` where it is empty.
///
/// # Errors
///
/// There is a device that EL2 cannot use.
///
/// # Safety
///
/// `regs` are the registers of a virtio-mmio slot, mapped there as device memory, and nobody else uses them as long as
/// what is returned lives.
pub unsafe fn look(regs: PaRange) -> Option<Result<Found, VirtioError>> {
    let header = NonNull::new(core::ptr::with_exposed_provenance_mut(regs.start.0 as usize))?;
    // SAFETY: the caller's.
    match unsafe { MmioTransport::new(header, regs.size as usize) } {
        Ok(transport) if transport.version() == MmioVersion::Legacy => Some(Err(VirtioError::Legacy)),
        Ok(transport) => {
            let kind = Kind::of(transport.device_type());
            Some(Ok(Found::new(kind, Link::new(transport.into(), None))))
        }
        // An empty slot has type 0.
        Err(MmioError::InvalidDeviceID(_) | MmioError::MmioRegionTooSmall | MmioError::BadMagic(_)) => None,
        Err(MmioError::UnsupportedVersion(_)) => Some(Err(VirtioError::Unknown)),
    }
}

impl Kind {
    const fn of(kind: DeviceType) -> Self {
        match kind {
            DeviceType::Block => Self::Disk,
            DeviceType::Network => Self::Nic,
            _ => Self::Other,
        }
    }
}

/// Begins to use a device: resets it and agrees with it on features. All of `needed`, and what it has of `wanted`.
fn negotiate(transport: &mut impl Transport, needed: u64, wanted: u64) -> Result<u64, VirtioError> {
    reset(transport)?;
    transport.set_status(DeviceStatus::ACKNOWLEDGE | DeviceStatus::DRIVER);
    let offered = transport.read_device_features();
    // Where a device is behind an SMMU, it says so, and has to be taken at its word (§6.1).
    let needed = needed | VERSION_1 | offered & ACCESS_PLATFORM;
    if offered & needed != needed {
        return Err(VirtioError::Lacks(needed & !offered));
    }
    let chosen = needed | offered & wanted;
    transport.write_driver_features(chosen);
    let status = DeviceStatus::ACKNOWLEDGE | DeviceStatus::DRIVER | DeviceStatus::FEATURES_OK;
    transport.set_status(status);
    if transport.get_status().contains(DeviceStatus::FEATURES_OK) {
        Ok(chosen)
    } else {
        Err(VirtioError::Refuses(chosen))
    }
}

/// Says where a queue lies. It has to have as many entries as the ring has slots, at least.
fn install<const PIECES: usize, const OWN: usize>(
    transport: &mut impl Transport,
    queue: u16,
    ring: &Ring<PIECES, OWN>,
) -> Result<(), VirtioError> {
    let longest = transport.max_queue_size(queue);
    if longest < u32::from(SLOTS) {
        return Err(VirtioError::ShortQueue(longest));
    }
    let [descriptors, driver, device] = ring.areas();
    transport.queue_set(queue, SLOTS.into(), descriptors.0, driver.0, device.0);
    Ok(())
}

/// Lets a device begin, whose features and queues are agreed on (§3.1.1).
fn begin(transport: &mut impl Transport) {
    let ready = DeviceStatus::ACKNOWLEDGE | DeviceStatus::DRIVER | DeviceStatus::FEATURES_OK;
    transport.set_status(ready | DeviceStatus::DRIVER_OK);
}

/// Whether a device says that it does not go on without a reset (§2.1.2).
fn needs_reset(transport: &impl Transport) -> bool {
    transport.get_status().contains(DeviceStatus::DEVICE_NEEDS_RESET)
}

/// Resets a device. Afterwards it uses no memory (§2.4.1).
fn reset(transport: &mut impl Transport) -> Result<(), VirtioError> {
    transport.set_status(DeviceStatus::empty());
    let is_reset = || transport.get_status() == DeviceStatus::empty();
    if wait::until(is_reset) { Ok(()) } else { Err(VirtioError::StuckInReset) }
}

/// Reads the configuration space, all at one time of its life (§2.5.1).
fn configuration<T>(
    transport: &SomeTransport<'_>,
    read: impl Fn(&SomeTransport<'_>) -> virtio_drivers::Result<T>,
) -> Result<T, VirtioError> {
    for _ in 0..8 {
        let before = transport.read_config_generation();
        let value = read(transport).map_err(|_| VirtioError::Configuration)?;
        if transport.read_config_generation() == before {
            return Ok(value);
        }
    }
    Err(VirtioError::Configuration)
}
