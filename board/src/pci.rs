//! PCI Express as far as EL2 drives what is on a root bus (PCIe: PCI Express Base 5.0).
//!
//! [`PciHost`] is what the tree says of a host bridge. Functions are found through [`ConfigSpace`], given addresses by
//! [`Allocator`], and switched on one by one. What is behind bridges is not looked at. A device may say anything in its
//! configuration space: every walk through it has an end, and what is used is checked on one copy
//! ([ADR 0024](../../docs/adr/0024-pci-root-bus.md)).

mod bars;
mod config;
mod functions;
mod host;
#[cfg(test)]
mod tests;
mod tree;

use core::fmt;

pub use bars::{Allocator, Bar, Placed};
pub use config::{ConfigSpace, Ecam};
pub use functions::{Bars, Function, FunctionKind, PciError, find, prepare, quiet, start};
pub use host::{MAX_ROUTES, MAX_STREAM_RANGES, MAX_WINDOWS, PciHost, Space, StreamRange, Window};
pub(crate) use tree::{GicCells, PciDraft};

/// Functions of a bus.
const FUNCTIONS: u16 = 0x100;

/// A function's bus, device and function number: its requester ID (PCIe §2.2.6.2).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Bdf(pub u16);

impl Bdf {
    /// The first function of a bus.
    pub const fn first(bus: u8) -> Self {
        Self((bus as u16) << 8)
    }

    /// The bus.
    pub const fn bus(self) -> u8 {
        (self.0 >> 8) as u8
    }

    /// The device on its bus, from 0 to 31.
    pub const fn device(self) -> u8 {
        (self.0 >> 3) as u8 & 0x1f
    }

    /// The function of its device, from 0 to 7.
    pub const fn function(self) -> u8 {
        self.0 as u8 & 7
    }

    /// The next function on the same bus.
    pub const fn next(self) -> Option<Self> {
        if self.0 % FUNCTIONS == FUNCTIONS - 1 { None } else { Some(Self(self.0 + 1)) }
    }
}

impl fmt::Display for Bdf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}:{:02x}.{}", self.bus(), self.device(), self.function())
    }
}
