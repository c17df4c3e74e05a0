//! Reading a host bridge's node. What depends on the GIC or on SMMUs, which may stand later, is worked out at the walk's end.

use arrayvec::ArrayVec;
use hv_core::addr::{Pa, PaRange};
use hv_core::smmu::StreamId;

use super::host::{BUS_SIZE, MAX_WINDOWS, PciHost, Route, Space, StreamRange, Window};
use crate::cells;
use crate::error::{Fault, NodePath, TreeError};
use crate::model::Irq;
use crate::tree::Node;
use crate::wiring;

/// Cells of an address on the bus, and of a size there (IEEE 1275 PCI binding §2.1.3).
const ADDRESS_CELLS: u32 = 3;
const SIZE_CELLS: u32 = 2;
/// Cells of an entry of `iommu-map`: requester, SMMU, stream, count.
const STREAM_CELLS: usize = 4;

/// A host bridge whose interrupts and streams are not yet worked out.
pub(crate) struct PciDraft<'a> {
    path: NodePath,
    ecam: PaRange,
    bus: u8,
    windows: ArrayVec<Window, MAX_WINDOWS>,
    coherent: bool,
    interrupt_map: Option<&'a [u8]>,
    interrupt_mask: Option<&'a [u8]>,
    iommu_map: Option<&'a [u8]>,
    iommu_mask: Option<&'a [u8]>,
}

/// How the GIC is named, and how entries that lead to it read.
pub(crate) struct GicCells {
    pub(crate) phandle: Option<u32>,
    pub(crate) address: u32,
    pub(crate) interrupt: u32,
}

impl<'a> PciDraft<'a> {
    /// What the node says by itself; `ecam` is its `reg`.
    pub(crate) fn of(node: &Node<'_, 'a>, ecam: PaRange) -> Result<Self, TreeError> {
        let properties = node.properties;
        for (value, name, wanted) in [
            (properties.address_cells, "#address-cells", ADDRESS_CELLS),
            (properties.size_cells, "#size-cells", SIZE_CELLS),
        ] {
            match value.and_then(cells::cell) {
                Some(count) if count == wanted => {}
                Some(count) => return Err(node.error(name, Fault::Value(count.into()))),
                None => return Err(node.error(name, Fault::Missing)),
            }
        }
        Ok(Self {
            path: node.path(),
            ecam,
            bus: root_bus(node, ecam)?,
            windows: windows(node)?,
            coherent: properties.dma_coherent.is_some(),
            interrupt_map: properties.interrupt_map,
            interrupt_mask: properties.interrupt_map_mask,
            iommu_map: properties.iommu_map,
            iommu_mask: properties.iommu_map_mask,
        })
    }

    /// The whole, by the GIC and the phandles of the SMMUs.
    pub(crate) fn finish(&self, gic: &GicCells, smmus: &[u32]) -> Result<PciHost, TreeError> {
        let [address_mask, pin_mask] = self.interrupt_masks()?;
        let requester_mask = match self.iommu_mask {
            None => u32::MAX,
            Some(mask) => cells::cell(mask).ok_or_else(|| self.error("iommu-map-mask", Fault::Length(mask.len())))?,
        };
        let mut host = PciHost {
            ecam: self.ecam,
            bus: self.bus,
            windows: self.windows.clone(),
            coherent: self.coherent,
            address_mask,
            pin_mask,
            routes: ArrayVec::new(),
            requester_mask,
            streams: ArrayVec::new(),
        };
        self.routes(&mut host, gic)?;
        self.streams(&mut host, smmus)?;
        Ok(host)
    }

    fn error(&self, property: &'static str, fault: Fault) -> TreeError {
        TreeError::Property { path: self.path, property, fault }
    }

    /// Of the unit address' first cell, and of the pin. Without a mask all counts (Devicetree 0.4 §2.4.3).
    fn interrupt_masks(&self) -> Result<[u32; 2], TreeError> {
        let Some(mut mask) = self.interrupt_mask else {
            return Ok([u32::MAX; 2]);
        };
        let wrong = self.error("interrupt-map-mask", Fault::Length(mask.len()));
        let mut next = || cells::take(&mut mask, 1);
        match (next(), next(), next(), next(), next()) {
            (Some(address), Some(_), Some(_), Some(pin), None) => Ok([address as u32, pin as u32]),
            _ => Err(wrong),
        }
    }

    /// `interrupt-map`. How long an entry is depends on what it leads to: behind one that does not lead to the GIC
    /// nothing can be read.
    fn routes(&self, host: &mut PciHost, gic: &GicCells) -> Result<(), TreeError> {
        const NAME: &str = "interrupt-map";
        let mut map = self.interrupt_map.unwrap_or_default();
        let wrong = Fault::Length(map.len());
        while !map.is_empty() {
            let mut next = || cells::take(&mut map, 1).ok_or_else(|| self.error(NAME, wrong));
            let (address, _, _, pin, parent) = (next()?, next()?, next()?, next()?, next()?);
            if gic.phandle.map(u64::from) != Some(parent) {
                return Ok(());
            }
            for _ in 0..gic.address {
                next()?;
            }
            let irq = self.irq(&mut map, gic.interrupt).map_err(|fault| self.error(NAME, fault))?;
            let route = Route { address: address as u32 & host.address_mask, pin: pin as u32 & host.pin_mask, irq };
            if host.routes.try_push(route).is_err() {
                let (path, max) = (self.path, host.routes.capacity());
                return Err(TreeError::TooMany { path, what: "entries of interrupt-map", max });
            }
        }
        Ok(())
    }

    /// The interrupt that the map names next, and what follows it.
    fn irq(&self, map: &mut &'a [u8], interrupt_cells: u32) -> Result<Irq, Fault> {
        let length = interrupt_cells as usize * cells::CELL;
        let (specifier, rest) = map.split_at_checked(length).ok_or(Fault::Length(map.len()))?;
        *map = rest;
        wiring::irq(Some(specifier), 0, interrupt_cells)
    }

    /// `iommu-map`, as far as it leads to SMMUs that EL2 knows, whose streams have one cell.
    fn streams(&self, host: &mut PciHost, smmus: &[u32]) -> Result<(), TreeError> {
        let map = self.iommu_map.unwrap_or_default();
        let entries = map.chunks_exact(STREAM_CELLS * cells::CELL);
        if !entries.remainder().is_empty() {
            return Err(self.error("iommu-map", Fault::Length(map.len())));
        }
        for entry in entries {
            let (words, _) = entry.as_chunks::<{ cells::CELL }>();
            let [requester, parent, stream, count] = words else { continue };
            let [requester, parent, stream, count] =
                [requester, parent, stream, count].map(|cell| u32::from_be_bytes(*cell));
            if !smmus.contains(&parent) {
                continue;
            }
            if host.streams.try_push(StreamRange { requester, stream: StreamId(stream), count }).is_err() {
                let (path, max) = (self.path, host.streams.capacity());
                return Err(TreeError::TooMany { path, what: "entries of iommu-map", max });
            }
        }
        Ok(())
    }
}

/// The first bus of `bus-range`, whose configuration space is at the start of the ECAM.
fn root_bus(node: &Node, ecam: PaRange) -> Result<u8, TreeError> {
    if ecam.size < BUS_SIZE {
        return Err(node.error("reg", Fault::Value(ecam.size)));
    }
    let Some(mut range) = node.properties.bus_range else {
        return Ok(0);
    };
    let wrong = node.error("bus-range", Fault::Length(range.len()));
    let mut next = || cells::take(&mut range, 1);
    let (Some(first), Some(last), None) = (next(), next(), next()) else {
        return Err(wrong);
    };
    let ordered = u8::try_from(last).is_ok_and(|last| first <= u64::from(last));
    if ordered { Ok(first as u8) } else { Err(node.error("bus-range", Fault::Value(last))) }
}

/// The windows of memory in `ranges`; those of I/O and of configuration are not used.
fn windows(node: &Node) -> Result<ArrayVec<Window, MAX_WINDOWS>, TreeError> {
    let mut windows = ArrayVec::new();
    let mut ranges = node.properties.ranges.unwrap_or_default();
    let wrong = Fault::Length(ranges.len());
    while !ranges.is_empty() {
        let mut next = |count| cells::take(&mut ranges, count).ok_or_else(|| node.error("ranges", wrong));
        let (kind, bus) = (next(1)? as u32, next(2)?);
        let (up, size) = (next(node.address_cells_above())?, next(SIZE_CELLS)?);
        // The space code and the prefetchable bit of phys.hi (IEEE 1275 PCI binding §2.2.1.1).
        let (space, limit) = match kind >> 24 & 3 {
            2 => (Space::Memory32, 1 << 32),
            3 => (Space::Memory64, u64::MAX),
            _ => continue,
        };
        if size == 0 {
            continue;
        }
        if bus.checked_add(size).is_none_or(|end| end > limit) {
            return Err(node.error("ranges", Fault::Wraps));
        }
        let cpu = node.upwards(up, size).ok_or_else(|| node.error("ranges", Fault::Unreachable))?;
        let range = PaRange::new(Pa(cpu), size).ok_or_else(|| node.error("ranges", Fault::Wraps))?;
        let window = Window { space, prefetchable: kind & 1 << 30 != 0, bus, cpu: range.start, size };
        if windows.try_push(window).is_err() {
            return Err(TreeError::TooMany { path: node.path(), what: "windows of memory", max: MAX_WINDOWS });
        }
    }
    Ok(windows)
}
