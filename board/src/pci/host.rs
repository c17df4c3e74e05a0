//! A PCI host bridge as the tree describes it (IEEE 1275 PCI binding, Linux' pci-host-ecam-generic).

use arrayvec::ArrayVec;
use hv_core::addr::{Pa, PaRange};
use hv_core::smmu::StreamId;

use super::Bdf;
use crate::model::Irq;

/// Most windows of memory of a host bridge.
pub const MAX_WINDOWS: usize = 4;
/// Most entries of `interrupt-map`.
pub const MAX_ROUTES: usize = 16;
/// Most entries of `iommu-map`.
pub const MAX_STREAM_RANGES: usize = 4;

/// Bytes of configuration space of a function, and of a bus (PCIe §7.2.2).
pub(super) const FUNCTION_SIZE: u64 = 0x1000;
pub(super) const BUS_SIZE: u64 = 0x10_0000;

/// Bytes of each window that EL2 keeps for the devices that it drives itself, and maps: a block of its tables.
const SHARE: u64 = 0x20_0000;

/// Which addresses a window has on the bus.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Space {
    /// Memory that 32 bits address.
    Memory32,
    /// Memory that takes 64 bits.
    Memory64,
}

/// Addresses on the bus that CPUs reach.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Window {
    /// Which.
    pub space: Space,
    /// Reads in it may have no side effects.
    pub prefetchable: bool,
    /// Its first address on the bus.
    pub bus: u64,
    /// Where CPUs find that.
    pub cpu: Pa,
    /// Bytes.
    pub size: u64,
}

impl Window {
    /// The part that EL2 keeps for devices of its own.
    pub fn own(&self) -> Self {
        Self { size: self.size.min(SHARE), ..*self }
    }
}

/// Where an interrupt pin goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Route {
    /// The unit address' first cell and the pin, under the masks.
    pub(super) address: u32,
    pub(super) pin: u32,
    pub(super) irq: Irq,
}

/// Requester IDs that an SMMU sees as streams.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StreamRange {
    /// The first requester ID, under `iommu-map-mask`.
    pub requester: u32,
    /// The first stream.
    pub stream: StreamId,
    /// How many.
    pub count: u32,
}

/// A host bridge.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PciHost {
    /// Configuration space, from that of the root bus on.
    pub ecam: PaRange,
    /// The root bus.
    pub bus: u8,
    /// Windows of memory, in the tree's order.
    pub windows: ArrayVec<Window, MAX_WINDOWS>,
    /// Devices see what CPUs have in their caches.
    pub coherent: bool,
    pub(super) address_mask: u32,
    pub(super) pin_mask: u32,
    pub(super) routes: ArrayVec<Route, MAX_ROUTES>,
    pub(super) requester_mask: u32,
    pub(super) streams: ArrayVec<StreamRange, MAX_STREAM_RANGES>,
}

impl PciHost {
    /// The interrupt that a function's pin goes to, 1 being INTA. `None`: it has no pin, or none that goes to the GIC.
    pub fn irq(&self, bdf: Bdf, pin: u8) -> Option<Irq> {
        let address = u32::from(bdf.0) << 8 & self.address_mask;
        let pin = (1..=4).contains(&pin).then_some(u32::from(pin) & self.pin_mask)?;
        self.routes.iter().find(|route| (route.address, route.pin) == (address, pin)).map(|route| route.irq)
    }

    /// What an SMMU sees a function as. `None`: no SMMU is before it.
    pub fn stream(&self, bdf: Bdf) -> Option<StreamId> {
        let requester = u32::from(bdf.0) & self.requester_mask;
        self.streams.iter().find_map(|range| {
            let offset = requester.checked_sub(range.requester).filter(|offset| *offset < range.count)?;
            range.stream.0.checked_add(offset).map(StreamId)
        })
    }

    /// Configuration space of the root bus.
    pub fn root_config(&self) -> PaRange {
        PaRange { start: self.ecam.start, size: self.ecam.size.min(BUS_SIZE) }
    }

    /// What EL2's own map needs: configuration space of the root bus, and its parts of the windows.
    pub fn mmio(&self) -> impl Iterator<Item = PaRange> {
        let windows = self.windows.iter().map(|window| {
            let own = window.own();
            PaRange { start: own.cpu, size: own.size }
        });
        core::iter::once(self.root_config()).chain(windows)
    }
}
