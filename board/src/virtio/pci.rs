//! A virtio device on PCI (virtio 1.2 §4.1): where its registers are, as its capabilities say.
//!
//! `virtio-drivers` believes a configuration space. It is shown one that is made of nothing but what was checked, and
//! whose addresses are those of CPUs.

mod shown;
#[cfg(test)]
mod tests;

use core::ptr::NonNull;

use virtio_drivers::transport::pci::PciTransport;
use virtio_drivers::transport::pci::bus::{DeviceFunction, PciRoot};

use super::link::{Doorbells, Link, QUEUES};
use super::{Found, Kind, VirtioError};
use crate::pci::{Bars, Bdf, ConfigSpace, Function};
use shown::{NoMemory, Shown};

/// The vendor of all virtio devices (§4.1.2).
const VENDOR: u16 = 0x1af4;
/// Device IDs: 0x1040 and the device's type (§4.1.2), and those of transitional devices (§4.1.2.1).
const NIC: u16 = 0x1041;
const DISK: u16 = 0x1042;
const TRANSITIONAL_NIC: u16 = 0x1000;
const TRANSITIONAL_DISK: u16 = 0x1001;

/// Words of the header, and of a capability (§4.1.4): ID, next, length, structure; BAR; offset; length; multiplier.
const STATUS: u8 = 0x04;
const HAS_CAPABILITIES: u32 = 1 << 20;
const FIRST: u8 = 0x34;
const VENDOR_SPECIFIC: u32 = 0x09;
/// Capabilities that there is room for.
const CAPABILITIES_MAX: usize = 48;

/// The structures, by their number (§4.1.4): what they are called, and their least length and alignment in bytes.
const STRUCTURES: [(&str, u32, u32); 4] =
    [("common", COMMON_SIZE, 4), ("notification", 2, 2), ("interrupt", 1, 1), ("device", 4, 4)];
const COMMON: usize = 0;
const NOTIFY: usize = 1;
const COMMON_SIZE: u32 = 56;
/// In the common structure (§4.1.4.3).
const QUEUE_SELECT: usize = 0x16;
const QUEUE_NOTIFY_OFF: usize = 0x1e;

/// Where a structure is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Structure {
    bar: u8,
    offset: u32,
    length: u32,
}

/// Where all of them are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Layout {
    structures: [Structure; STRUCTURES.len()],
    /// Bytes between the doorbells of two queues, as those say which they are (§4.1.4.4).
    multiplier: u32,
}

impl Kind {
    /// What a PCI function is, by its IDs.
    pub const fn of_function(function: &Function) -> Self {
        match (function.vendor, function.device) {
            (VENDOR, TRANSITIONAL_NIC | NIC) => Self::Nic,
            (VENDOR, TRANSITIONAL_DISK | DISK) => Self::Disk,
            _ => Self::Other,
        }
    }
}

/// Looks at a disk or a network card that is prepared, with its BARs at `bars`.
///
/// # Errors
///
/// EL2 cannot use it.
///
/// # Safety
///
/// The BARs are mapped, where CPUs find them, as device memory, and nobody else uses the function as long as what is
/// returned lives.
pub unsafe fn look_pci(config: &impl ConfigSpace, function: &Function, bars: &Bars) -> Result<Found, VirtioError> {
    let kind = Kind::of_function(function);
    if kind == Kind::Other {
        return Err(VirtioError::Unknown);
    }
    let layout = layout(config, function.bdf, bars)?;
    // SAFETY: the structures are within their BARs, which the caller promises.
    let doorbells = unsafe { doorbells(&layout, bars, kind) }?;
    let mut root = PciRoot::new(Shown::new(function, bars, &layout));
    let place = DeviceFunction { bus: 0, device: 0, function: 0 };
    match PciTransport::new::<NoMemory, _>(&mut root, place) {
        Ok(transport) => Ok(Found::new(kind, Link::new(transport.into(), Some(doorbells)))),
        Err(_) => Err(VirtioError::Configuration),
    }
}

/// Finds the structures: of each, the first capability that can be used (§4.1.4.1).
fn layout(config: &impl ConfigSpace, bdf: Bdf, bars: &Bars) -> Result<Layout, VirtioError> {
    let mut found = [None; STRUCTURES.len()];
    let mut multiplier = 0;
    let has_any = config.read(bdf, STATUS) & HAS_CAPABILITIES != 0;
    let mut next = if has_any { config.read(bdf, FIRST) as u8 } else { 0 };
    for _ in 0..CAPABILITIES_MAX {
        let at = next & !3;
        if !(0x40..=0xf0).contains(&at) {
            break;
        }
        let header = config.read(bdf, at);
        next = (header >> 8) as u8;
        let number = (header >> 24).wrapping_sub(1) as usize;
        let (Some(slot), Some(kind)) = (found.get_mut(number), STRUCTURES.get(number)) else { continue };
        if header & 0xff != VENDOR_SPECIFIC || slot.is_some() {
            continue;
        }
        let [bar, offset, length] = [4, 8, 12].map(|word| config.read(bdf, at + word));
        let structure = Structure { bar: bar as u8, offset, length };
        if !is_usable(&structure, bars, kind) {
            continue;
        }
        if number == NOTIFY {
            let Some(place) = at.checked_add(16) else { continue };
            multiplier = config.read(bdf, place);
        }
        *slot = Some(structure);
    }
    let mut structures = [Structure { bar: 0, offset: 0, length: 0 }; STRUCTURES.len()];
    for ((structure, found), (name, ..)) in structures.iter_mut().zip(found).zip(STRUCTURES) {
        *structure = found.ok_or(VirtioError::Structure(name))?;
    }
    Ok(Layout { structures, multiplier })
}

/// Whether a structure is within a BAR that has a place.
fn is_usable(structure: &Structure, bars: &Bars, (_, least, alignment): &(&str, u32, u32)) -> bool {
    let Some(Some(placed)) = bars.get(usize::from(structure.bar)) else {
        return false;
    };
    let end = structure.offset.checked_add(structure.length);
    structure.length >= *least
        && structure.offset.is_multiple_of(*alignment)
        && end.is_some_and(|end| u64::from(end) <= placed.bar.size)
}

/// Where CPUs find a structure.
fn address(structure: &Structure, bars: &Bars) -> Option<NonNull<u8>> {
    let placed = bars.get(usize::from(structure.bar))?.as_ref()?;
    let address = placed.cpu.checked_add(structure.offset.into())?;
    NonNull::new(core::ptr::with_exposed_provenance_mut(address.0 as usize))
}

/// Where the device is told of each queue that its kind has.
///
/// # Safety
///
/// The structures are registers of the device, which nobody else uses.
unsafe fn doorbells(layout: &Layout, bars: &Bars, kind: Kind) -> Result<Doorbells, VirtioError> {
    const LOST: VirtioError = VirtioError::Structure(STRUCTURES[NOTIFY].0);
    let common = address(&layout.structures[COMMON], bars).ok_or(VirtioError::Structure(STRUCTURES[COMMON].0))?;
    let notify = layout.structures[NOTIFY];
    let base = address(&notify, bars).ok_or(LOST)?;
    let mut places = [base.cast(); QUEUES];
    let queues = if kind == Kind::Nic { 2 } else { 1 };
    for (queue, place) in (0_u16..queues).zip(&mut places) {
        // SAFETY: the structure is of COMMON_SIZE bytes, and begins at a multiple of 4.
        let number = unsafe {
            common.byte_add(QUEUE_SELECT).cast::<u16>().write_volatile(queue);
            common.byte_add(QUEUE_NOTIFY_OFF).cast::<u16>().read_volatile()
        };
        let offset = doorbell(number, layout.multiplier, notify.length).ok_or(LOST)?;
        // SAFETY: the offset is within the structure.
        *place = unsafe { base.byte_add(offset as usize) }.cast();
    }
    Ok(places)
}

/// How far into the notification structure a doorbell is (§4.1.4.4).
fn doorbell(number: u16, multiplier: u32, length: u32) -> Option<u32> {
    let offset = u32::from(number).checked_mul(multiplier)?;
    let end = offset.checked_add(size_of::<u16>() as u32)?;
    (multiplier.is_multiple_of(2) && end <= length).then_some(offset)
}
