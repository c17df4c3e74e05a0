//! Reading a device tree: the validated blob, and a walk over its nodes with what they inherit.
//!
//! `dtoolkit` is the gate: it checks the whole blob. Behind it the nodes and their raw properties are
//! read through `fdt`; cells are decoded here. A walk visits each node once and never touches the
//! padding that firmware leaves behind the strings.

use arrayvec::ArrayVec;
use fdt::Fdt;
use fdt::helpers::UnalignedFallibleNode;
use fdt::nodes::NodeName;
use fdt::parsing::NoPanic;
use fdt::parsing::unaligned::UnalignedParser;
use hv_core::addr::{Pa, PaRange};

use crate::bus::{Bus, translate};
use crate::cells;
use crate::error::{Fault, NodePath, TreeError};

/// Bytes of the blob that [`total_size`] needs.
pub const HEADER_SIZE: usize = 8;

/// Largest blob: what the arm64 boot protocol allows (booting.rst of Linux, §2).
pub const MAX_BLOB_SIZE: usize = 2 << 20;

/// Deepest node that is read. It is less than what `fdt` can follow, beyond which it would end a walk
/// without a word; the deepest node of QEMU's `virt` lies at 5.
const MAX_DEPTH: usize = 12;

const MAGIC: u32 = 0xd00d_feed;

/// The smallest structure block: a root without a name, opened and closed, and the end token.
const MIN_STRUCT_SIZE: u32 = 16;

/// How each structure block ends: FDT_END_NODE of the root, FDT_END (Devicetree 0.4 §5.4.1).
const STRUCT_END: [u8; 8] = [0, 0, 0, 2, 0, 0, 0, 9];

/// The blob's size in bytes, from its first [`HEADER_SIZE`] bytes.
///
/// # Errors
///
/// The magic is wrong, or the size is none that a tree can have.
pub fn total_size(header: &[u8; HEADER_SIZE]) -> Result<usize, TreeError> {
    let [m0, m1, m2, m3, s0, s1, s2, s3] = *header;
    let magic = u32::from_be_bytes([m0, m1, m2, m3]);
    let size = u32::from_be_bytes([s0, s1, s2, s3]);
    if magic != MAGIC {
        return Err(TreeError::Magic(magic));
    }
    match usize::try_from(size) {
        Ok(bytes) if (HEADER_SIZE..=MAX_BLOB_SIZE).contains(&bytes) => Ok(bytes),
        _ => Err(TreeError::Size(size)),
    }
}

macro_rules! properties {
    ($($field:ident = $name:literal,)*) => {
        /// The properties that EL2 reads, as found on one node.
        #[derive(Clone, Copy, Default)]
        pub(crate) struct Properties<'a> {
            $(pub(crate) $field: Option<&'a [u8]>,)*
        }

        impl<'a> Properties<'a> {
            /// Keeps a property that EL2 reads. The first of two of one name counts.
            fn keep(&mut self, name: &'a str, value: &'a [u8]) {
                $(if cells::is(name.as_bytes(), $name.as_bytes()) {
                    self.$field.get_or_insert(value);
                    return;
                })*
            }
        }
    };
}

properties! {
    address_cells = "#address-cells",
    bus_range = "bus-range",
    compatible = "compatible",
    cpu_release_addr = "cpu-release-addr",
    device_type = "device_type",
    dma_coherent = "dma-coherent",
    enable_method = "enable-method",
    initrd_end = "linux,initrd-end",
    initrd_start = "linux,initrd-start",
    interrupt_cells = "#interrupt-cells",
    interrupt_map = "interrupt-map",
    interrupt_map_mask = "interrupt-map-mask",
    interrupt_names = "interrupt-names",
    interrupt_parent = "interrupt-parent",
    interrupts = "interrupts",
    iommu_map = "iommu-map",
    iommu_map_mask = "iommu-map-mask",
    kaslr_seed = "kaslr-seed",
    method = "method",
    no_map = "no-map",
    phandle = "phandle",
    ranges = "ranges",
    redistributor_regions = "#redistributor-regions",
    redistributor_stride = "redistributor-stride",
    reg = "reg",
    rng_seed = "rng-seed",
    size_cells = "#size-cells",
    status = "status",
    stdout_path = "stdout-path",
    u_boot_version = "u-boot,version",
}

/// What a node hands down to its children.
struct Level<'a> {
    raw: UnalignedFallibleNode<'a>,
    bus: Bus<'a>,
    interrupt_parent: Option<u32>,
    enabled: bool,
}

/// A node on the walk.
pub(crate) struct Node<'w, 'a> {
    pub(crate) properties: &'w Properties<'a>,
    raw: UnalignedFallibleNode<'a>,
    above: &'w [Level<'a>],
}

impl<'a> Node<'_, 'a> {
    /// How far below the root: 1 for the root's children.
    pub(crate) fn depth(&self) -> usize {
        self.above.len()
    }

    /// The node's name.
    pub(crate) fn name(&self) -> NodeName<'a> {
        name(&self.raw)
    }

    /// The parent's name without unit address; the root's is `/`.
    pub(crate) fn parent_name(&self) -> &'a str {
        self.above.last().map_or("", |level| name(&level.raw).name)
    }

    /// The node's path.
    pub(crate) fn path(&self) -> NodePath {
        let above = self.above.iter().skip(1).map(|level| name(&level.raw));
        NodePath::from_names(above.chain([self.name()]))
    }

    /// The error that a property of this node is wrong.
    pub(crate) fn error(&self, property: &'static str, fault: Fault) -> TreeError {
        TreeError::Property { path: self.path(), property, fault }
    }

    /// Whether the node and the buses above it are in use (Devicetree 0.4 §2.3.4).
    pub(crate) fn enabled(&self) -> bool {
        self.above.last().is_none_or(|level| level.enabled) && is_okay(self.properties.status)
    }

    /// The phandle of what the node's interrupts go to (Devicetree 0.4 §2.4).
    pub(crate) fn interrupt_parent(&self) -> Option<u32> {
        let own = self.properties.interrupt_parent.and_then(cells::cell);
        own.or_else(|| self.above.last().and_then(|level| level.interrupt_parent))
    }

    /// A property by its name, for those that have names of the board's own making.
    pub(crate) fn raw(&self) -> UnalignedFallibleNode<'a> {
        self.raw
    }

    /// The entry `index` of `reg`, as CPUs see it. `None`: there is no such entry, or no `ranges` leads
    /// to it.
    pub(crate) fn reg(&self, index: usize) -> Result<Option<PaRange>, TreeError> {
        let Some((address, size)) = self.reg_entry(index)? else {
            return Ok(None);
        };
        let Some(start) = self.upwards(address, size) else {
            return Ok(None);
        };
        self.range(start, size).map(Some)
    }

    /// An address on the bus that the node is on, as CPUs see it. `None`: no `ranges` leads to it.
    pub(crate) fn upwards(&self, address: u64, size: u64) -> Option<u64> {
        translate(self.above.iter().map(|level| &level.bus), address, size)
    }

    /// The cells of an address on the bus that the node is on.
    pub(crate) fn address_cells_above(&self) -> u32 {
        self.above.last().map_or(0, |level| level.bus.address_cells)
    }

    /// The entry `index` of `reg` as it stands, for nodes that are on no bus: `/memory` and
    /// `/reserved-memory`.
    pub(crate) fn own_reg(&self, index: usize) -> Result<Option<PaRange>, TreeError> {
        let Some((start, size)) = self.reg_entry(index)? else {
            return Ok(None);
        };
        self.range(start, size).map(Some)
    }

    /// The cells of addresses and of sizes on the bus below. The defaults are those of Devicetree 0.4 §2.3.5.
    fn cell_counts(&self) -> Result<(u32, u32), TreeError> {
        let count = |value: Option<&[u8]>, property, default| match value {
            None => Ok(default),
            Some(value) => cells::cell(value).ok_or_else(|| self.error(property, Fault::Length(value.len()))),
        };
        Ok((
            count(self.properties.address_cells, "#address-cells", 2)?,
            count(self.properties.size_cells, "#size-cells", 1)?,
        ))
    }

    /// What the children inherit.
    #[inline]
    fn below(&self, (address_cells, size_cells): (u32, u32)) -> Level<'a> {
        Level {
            raw: self.raw,
            bus: Bus { address_cells, size_cells, ranges: self.properties.ranges },
            interrupt_parent: self.interrupt_parent(),
            enabled: self.enabled(),
        }
    }

    fn range(&self, start: u64, size: u64) -> Result<PaRange, TreeError> {
        PaRange::new(Pa(start), size).ok_or_else(|| self.error("reg", Fault::Wraps))
    }

    fn reg_entry(&self, index: usize) -> Result<Option<(u64, u64)>, TreeError> {
        let Some(reg) = self.properties.reg else {
            return Ok(None);
        };
        let Some(Level { bus, .. }) = self.above.last() else {
            return Ok(None);
        };
        for count in [bus.address_cells, bus.size_cells] {
            if count > cells::MAX_CELLS {
                return Err(self.error("reg", Fault::Cells(count)));
            }
        }
        let length = (bus.address_cells + bus.size_cells) as usize * cells::CELL;
        if length == 0 || !reg.len().is_multiple_of(length) {
            return Err(self.error("reg", Fault::Length(reg.len())));
        }
        let Some(mut entry) = reg.chunks_exact(length).nth(index) else {
            return Ok(None);
        };
        let address = cells::take(&mut entry, bus.address_cells);
        let size = cells::take(&mut entry, bus.size_cells);
        Ok(address.zip(size))
    }
}

/// A node's name. The gate has checked that each is one.
fn name<'a>(node: &UnalignedFallibleNode<'a>) -> NodeName<'a> {
    node.name().unwrap_or(NodeName::new("?", None))
}

/// The default of `status` is `okay`.
fn is_okay(status: Option<&[u8]>) -> bool {
    status.is_none_or(|status| matches!(cells::string(status), b"okay" | b"ok"))
}

/// A validated device tree.
pub(crate) struct Tree<'a> {
    blob: &'a [u8],
    gate: dtoolkit::fdt::Fdt<'a>,
    fdt: Fdt<'a, (UnalignedParser<'a>, NoPanic)>,
}

impl<'a> Tree<'a> {
    /// Checks the blob, whose length must be its [`total_size`].
    pub(crate) fn open(blob: &'a [u8]) -> Result<Self, TreeError> {
        let header = blob.first_chunk().ok_or(TreeError::Size(0))?;
        total_size(header)?;
        let gate = dtoolkit::fdt::Fdt::new(blob).map_err(TreeError::Damaged)?;
        let fdt = Fdt::new_unaligned_fallible(blob).map_err(|_| TreeError::Structure)?;
        // The gate finds the structure's end by its tokens, `fdt` by its size in the header: they must
        // agree, or nodes would be lost without a word.
        let exact = fdt.header().structs_size >= MIN_STRUCT_SIZE && fdt.structs_block().ends_with(&STRUCT_END);
        if exact { Ok(Self { blob, gate, fdt }) } else { Err(TreeError::Structure) }
    }

    /// The ranges of `/memreserve/`: address and size.
    pub(crate) fn reservations(&self) -> impl Iterator<Item = (u64, u64)> + 'a {
        self.gate.memory_reservations().map(|range| (range.address(), range.size()))
    }

    /// How far from the blob's start a property's value lies, in bytes.
    pub(crate) fn offset_of(&self, value: &[u8]) -> usize {
        value.as_ptr().addr().wrapping_sub(self.blob.as_ptr().addr())
    }

    /// Visits each node once, parents before children.
    pub(crate) fn visit(
        &self,
        mut visitor: impl FnMut(&Node<'_, 'a>) -> Result<(), TreeError>,
    ) -> Result<(), TreeError> {
        let root = self.fdt.find_node("/").map_err(|_| TreeError::Structure)?;
        let mut levels = ArrayVec::<Level<'a>, { MAX_DEPTH + 1 }>::new();
        let mut properties = Properties::default();
        let raw = root.ok_or(TreeError::Structure)?;
        collect(raw, &mut properties)?;
        let root = Node { raw, properties: &properties, above: &[] };
        let below = root.below(root.cell_counts()?);
        visitor(&root)?;
        levels.push(below);
        for entry in self.fdt.all_nodes().map_err(|_| TreeError::Structure)? {
            let (depth, raw) = entry.map_err(|_| TreeError::Structure)?;
            levels.truncate(depth);
            if levels.len() != depth {
                return Err(TreeError::Structure);
            }
            collect(raw, &mut properties)?;
            let node = Node { raw, properties: &properties, above: &levels };
            if depth > MAX_DEPTH {
                return Err(TreeError::Depth { path: node.path() });
            }
            visitor(&node)?;
            let below = node.below(node.cell_counts()?);
            levels.push(below);
        }
        Ok(())
    }
}

/// Collects a node's properties. The walk through them ends at the first error: `fdt` would repeat it for
/// ever.
fn collect<'a>(raw: UnalignedFallibleNode<'a>, properties: &mut Properties<'a>) -> Result<(), TreeError> {
    *properties = Properties::default();
    for property in raw.properties().map_err(|_| TreeError::Structure)? {
        let property = property.map_err(|_| TreeError::Structure)?;
        properties.keep(property.name, property.value);
    }
    Ok(())
}
