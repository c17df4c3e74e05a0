//! Functions on a bus: found, given addresses, switched on and off.

use thiserror::Error;

use super::bars::{Allocator, Bar, Placed};
use super::config::ConfigSpace;
use super::host::Space;
use super::{Bdf, FUNCTIONS};

/// Words of the header (PCIe §7.5.1.1, §7.5.1.2), and of the lists of capabilities.
const COMMAND: u8 = 0x04;
const CLASS: u8 = 0x08;
const HEADER_TYPE: u8 = 0x0c;
const BAR_0: u8 = 0x10;
const EXPANSION_ROM: u8 = 0x30;
const CAPABILITIES: u8 = 0x34;
const INTERRUPT: u8 = 0x3c;

/// In the command register: memory space, bus master, INTx disabled (PCIe §7.5.1.1.3).
const MEMORY: u32 = 1 << 1;
const MASTER: u32 = 1 << 2;
const NO_INTX: u32 = 1 << 10;
/// In the status register above it: there are capabilities.
const HAS_CAPABILITIES: u32 = 1 << 20;

/// Bit of the header's type: the device has more than one function.
const MULTIFUNCTION: u8 = 0x80;
/// Class and subclass of a host bridge.
const HOST_BRIDGE: u32 = 0x0600;

/// Capabilities that may raise interrupts as messages, and the bits that enable them (PCIe §7.7.1, §7.7.2).
const MSI: (u8, u32) = (0x05, 1 << 16);
const MSI_X: (u8, u32) = (0x11, 1 << 31);
/// Capabilities that there is room for behind the header.
const CAPABILITIES_MAX: usize = 48;

/// Base address registers of an endpoint.
const BARS: u8 = 6;

/// Where a function's BARs are; those of 64 bits at the first of their two registers.
pub type Bars = [Option<Placed>; BARS as usize];

/// What a function's header describes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FunctionKind {
    /// A device.
    Endpoint,
    /// The way to another bus.
    Bridge,
    /// The host bridge itself, or something that nobody knows.
    Other,
}

/// A function on a bus.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Function {
    /// Where it is.
    pub bdf: Bdf,
    /// Vendor ID.
    pub vendor: u16,
    /// Device ID.
    pub device: u16,
    /// What it is.
    pub kind: FunctionKind,
    /// Its interrupt pin: 1 is INTA, 0 none.
    pub pin: u8,
}

/// Why a function cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum PciError {
    /// A BAR is of no type that there is.
    #[error("has a BAR {0} of an unknown type")]
    BarType(u8),
    /// A BAR asks for no power of two of bytes.
    #[error("has a BAR {0} that asks for {1:#x} bytes")]
    BarSize(u8, u64),
    /// No window has room for a BAR.
    #[error("has a BAR {0} of {1:#x} bytes, for which EL2's part of the windows has no room")]
    NoRoom(u8, u64),
}

/// The first function from `from` on, on the same bus.
pub fn find(config: &impl ConfigSpace, from: Bdf) -> Option<Function> {
    let mut next = Some(from);
    for _ in 0..FUNCTIONS {
        let bdf = next?;
        if let Some(function) = look(config, bdf) {
            return Some(function);
        }
        next = bdf.next();
    }
    None
}

/// What is at a place. A device without a function 0 is not there, and only one that says so has more (PCIe §7.5.1.1.9).
fn look(config: &impl ConfigSpace, bdf: Bdf) -> Option<Function> {
    let header_type = |bdf| (config.read(bdf, HEADER_TYPE) >> 16) as u8;
    if bdf.function() != 0 {
        let zero = Bdf(bdf.0 & !7);
        if !is_there(config.read(zero, 0)) || header_type(zero) & MULTIFUNCTION == 0 {
            return None;
        }
    }
    let id = config.read(bdf, 0);
    let class = config.read(bdf, CLASS) >> 16;
    let kind = match header_type(bdf) & !MULTIFUNCTION {
        0 if class != HOST_BRIDGE => FunctionKind::Endpoint,
        1 => FunctionKind::Bridge,
        _ => FunctionKind::Other,
    };
    let pin = (config.read(bdf, INTERRUPT) >> 8) as u8;
    is_there(id).then_some(Function { bdf, vendor: id as u16, device: (id >> 16) as u16, kind, pin })
}

/// Vendor 0xffff is nobody's (PCIe §7.5.1.1.1).
const fn is_there(id: u32) -> bool {
    id as u16 != u16::MAX
}

/// Gives an endpoint addresses, and lets it answer to them. It reaches no memory, and its interrupt is its pin.
///
/// # Errors
///
/// It asks for what there is not; then it is left as by [`quiet`].
pub fn prepare(config: &mut impl ConfigSpace, bdf: Bdf, room: &mut Allocator) -> Result<Bars, PciError> {
    // While a BAR holds all ones it must answer to nothing (PCIe §7.5.1.2.1).
    quiet(config, bdf);
    let mut bars = Bars::default();
    let mut index = 0;
    while index < BARS {
        let bar = measure(config, bdf, index)?;
        let width = if bar.is_some_and(|bar| bar.space == Space::Memory64) { 2 } else { 1 };
        if let Some(bar) = bar {
            let placed = room.place(bar).ok_or(PciError::NoRoom(index, bar.size))?;
            config.write(bdf, register(index), placed.bus as u32);
            if width == 2 {
                config.write(bdf, register(index + 1), (placed.bus >> 32) as u32);
            }
            bars[usize::from(index)] = Some(placed);
        }
        index += width;
    }
    // Its enable bit is in the address.
    config.write(bdf, EXPANSION_ROM, 0);
    no_messages(config, bdf);
    config.write(bdf, COMMAND, MEMORY);
    Ok(bars)
}

/// Lets a function that is prepared reach memory.
pub fn start(config: &mut impl ConfigSpace, bdf: Bdf) {
    config.write(bdf, COMMAND, MEMORY | MASTER);
}

/// Lets an endpoint do nothing: it answers to no address, reaches no memory, and raises no interrupt.
pub fn quiet(config: &mut impl ConfigSpace, bdf: Bdf) {
    config.write(bdf, COMMAND, NO_INTX);
}

const fn register(index: u8) -> u8 {
    BAR_0 + 4 * index
}

/// What a BAR asks for: the bits that stay 0 are those within its size (PCIe §7.5.1.2.1). I/O space is not used.
fn measure(config: &mut impl ConfigSpace, bdf: Bdf, index: u8) -> Result<Option<Bar>, PciError> {
    let mut bits = |index| {
        config.write(bdf, register(index), u32::MAX);
        config.read(bdf, register(index))
    };
    let low = bits(index);
    if low == 0 || low & 1 != 0 {
        config.write(bdf, register(index), 0);
        return Ok(None);
    }
    let (space, high) = match low >> 1 & 3 {
        0 => (Space::Memory32, u32::MAX),
        2 if index + 1 < BARS => (Space::Memory64, bits(index + 1)),
        _ => return Err(PciError::BarType(index)),
    };
    let size = (u64::from(high) << 32 | u64::from(low & !0xf)).wrapping_neg();
    if !size.is_power_of_two() {
        return Err(PciError::BarSize(index, size));
    }
    Ok(Some(Bar { space, prefetchable: low & 8 != 0, size }))
}

/// Turns messages off that firmware may have left on: with them, the pin is silent.
fn no_messages(config: &mut impl ConfigSpace, bdf: Bdf) {
    if config.read(bdf, COMMAND) & HAS_CAPABILITIES == 0 {
        return;
    }
    let mut next = config.read(bdf, CAPABILITIES) as u8;
    for _ in 0..CAPABILITIES_MAX {
        let at = next & !3;
        if at < 0x40 {
            return;
        }
        let header = config.read(bdf, at);
        for (id, enable) in [MSI, MSI_X] {
            if header as u8 == id {
                config.write(bdf, at, header & !enable);
            }
        }
        next = (header >> 8) as u8;
    }
}
