//! From the device tree to the [`Board`]: which nodes matter, and what they say.
//!
//! One walk collects; what depends on nodes that may stand later in the tree (the interrupt controller,
//! `/chosen`, `/aliases`) is worked out at its end. Nodes of no interest are never an error.

use arrayvec::ArrayVec;
use fdt::helpers::UnalignedFallibleNode;
use hv_core::addr::{FRAME_SIZE, Pa, PaRange};

use crate::cells;
use crate::error::{Fault, NodePath, TreeError};
use crate::model::{
    Board, ColdRam, Cpu, CpuStart, Gic, Irq, MAX_BANKS, MAX_CPUS, MAX_PCI_HOSTS, MAX_RESERVED, MAX_SMMUS, MAX_UARTS,
    MAX_VIRTIO, MPIDR_AFFINITY, Psci, Reserved, ReservedKind, Secret, Secrets, SmmuV3, Uart, VirtioSlot,
};
use crate::nodes::{self, Kind};
use crate::pci::{GicCells, PciDraft};
use crate::tree::{Node, Tree};
use crate::wiring::{self, Wired, stdout_path};

impl Board {
    /// Reads the board from the device tree `blob`, whose length is its [`total_size`].
    ///
    /// # Errors
    ///
    /// The blob is damaged, something that every board has is missing, a property that EL2 needs is
    /// malformed, or there is more of something than EL2 has room for. The error names node and property.
    ///
    /// [`total_size`]: crate::total_size
    pub fn from_tree(blob: &[u8]) -> Result<Self, TreeError> {
        let tree = Tree::open(blob)?;
        let mut draft = Draft::new(&tree);
        draft.take_reservations()?;
        tree.visit(|node| draft.take_node(node))?;
        draft.finish()
    }
}

/// A UART whose path and wiring are not yet compared with the rest of the tree.
struct UartDraft<'a> {
    regs: PaRange,
    path: NodePath,
    wired: Wired<'a>,
}

/// An SMMU whose wiring is not yet compared with the rest of the tree.
struct SmmuDraft<'a> {
    regs: PaRange,
    phandle: Option<u32>,
    wired: Wired<'a>,
}

/// A virtio slot whose wiring is not yet compared with the rest of the tree. There may be many, so its path is not kept.
struct SlotDraft<'a> {
    regs: PaRange,
    interrupts: Option<&'a [u8]>,
    parent: Option<u32>,
}

/// The interrupt controller as found; how its cells read decides how all interrupts read.
struct GicDraft<'a> {
    gic: Gic,
    phandle: Option<u32>,
    address_cells: u32,
    interrupt_cells: u32,
    wired: Wired<'a>,
}

/// What the walk has found so far.
struct Draft<'t, 'a> {
    tree: &'t Tree<'a>,
    memory: ArrayVec<PaRange, MAX_BANKS>,
    reserved: ArrayVec<Reserved, MAX_RESERVED>,
    cpus: ArrayVec<Cpu, MAX_CPUS>,
    psci: Option<Psci>,
    uarts: ArrayVec<UartDraft<'a>, MAX_UARTS>,
    gic: Option<GicDraft<'a>>,
    timer: Option<Wired<'a>>,
    smmus: ArrayVec<SmmuDraft<'a>, MAX_SMMUS>,
    rtc: Option<PaRange>,
    virtio: ArrayVec<SlotDraft<'a>, MAX_VIRTIO>,
    pci: ArrayVec<PciDraft<'a>, MAX_PCI_HOSTS>,
    initrd: Option<PaRange>,
    secrets: Secrets,
    stdout: Option<&'a [u8]>,
    aliases: Option<UnalignedFallibleNode<'a>>,
    /// It is QEMU's `virt`.
    emulated: bool,
    /// A boot loader has edited the tree.
    loader: bool,
}

impl<'t, 'a> Draft<'t, 'a> {
    fn new(tree: &'t Tree<'a>) -> Self {
        Self {
            tree,
            memory: ArrayVec::new(),
            reserved: ArrayVec::new(),
            cpus: ArrayVec::new(),
            psci: None,
            uarts: ArrayVec::new(),
            gic: None,
            timer: None,
            smmus: ArrayVec::new(),
            rtc: None,
            virtio: ArrayVec::new(),
            pci: ArrayVec::new(),
            initrd: None,
            secrets: Secrets::default(),
            stdout: None,
            aliases: None,
            emulated: false,
            loader: false,
        }
    }

    fn take_reservations(&mut self) -> Result<(), TreeError> {
        for (start, size) in self.tree.reservations() {
            let start = Pa(start);
            let range = PaRange::new(start, size).ok_or(TreeError::ReservationWraps(start))?;
            self.reserve(range, ReservedKind::Reservation, NodePath::default)?;
        }
        Ok(())
    }

    fn take_node(&mut self, node: &Node<'_, 'a>) -> Result<(), TreeError> {
        // Names are read only where they matter: to read one costs as much as several properties.
        match node.depth() {
            0 => {
                self.emulated = node.properties.compatible.is_some_and(is_virt);
                return Ok(());
            }
            1 if has_type(node, b"memory") => return self.take_memory(node),
            1 if node.properties.reg.is_none() => match node.name().name {
                "chosen" => return self.take_chosen(node),
                "aliases" => self.aliases = Some(node.raw()),
                _ => {}
            },
            2 => match node.parent_name() {
                "cpus" if has_type(node, b"cpu") => return self.take_cpu(node),
                "reserved-memory" => return self.take_reserved_memory(node),
                _ => {}
            },
            _ => {}
        }
        match Kind::of(node) {
            Some(kind) if node.enabled() => self.take_device(node, kind),
            _ => Ok(()),
        }
    }

    fn take_device(&mut self, node: &Node<'_, 'a>, kind: Kind) -> Result<(), TreeError> {
        let Some(regs) = node.reg(0)? else {
            return match kind {
                Kind::Timer => {
                    self.timer.get_or_insert(Wired::of(node));
                    Ok(())
                }
                Kind::Psci(version) => {
                    let psci = nodes::psci(node, version)?;
                    self.psci.get_or_insert(psci);
                    Ok(())
                }
                // Not on a bus that CPUs reach.
                _ => Ok(()),
            };
        };
        match kind {
            Kind::Uart => {
                let uart = UartDraft { regs, path: node.path(), wired: Wired::of(node) };
                push(&mut self.uarts, uart, || node.path(), "PL011s")
            }
            Kind::Rtc => {
                self.rtc.get_or_insert(regs);
                Ok(())
            }
            Kind::GicV3 => self.take_gic(node, nodes::gic_v3(node, regs)?),
            Kind::GicV2 => self.take_gic(node, nodes::gic_v2(node, regs)?),
            Kind::Smmu => {
                let phandle = node.properties.phandle.and_then(cells::cell);
                let smmu = SmmuDraft { regs, phandle, wired: Wired::of(node) };
                push(&mut self.smmus, smmu, || node.path(), "SMMUs")
            }
            Kind::Virtio => {
                let interrupts = node.properties.interrupts;
                let slot = SlotDraft { regs, interrupts, parent: node.interrupt_parent() };
                push(&mut self.virtio, slot, || node.path(), "virtio-mmio slots")
            }
            Kind::PciHost => push(&mut self.pci, PciDraft::of(node, regs)?, || node.path(), "PCI host bridges"),
            Kind::Timer | Kind::Psci(_) => Ok(()),
        }
    }

    fn take_chosen(&mut self, node: &Node<'_, 'a>) -> Result<(), TreeError> {
        let properties = node.properties;
        let locate = |value: Option<&[u8]>| {
            value.map(|value| Secret { offset: self.tree.offset_of(value), length: value.len() })
        };
        self.secrets = Secrets { rng: locate(properties.rng_seed), kaslr: locate(properties.kaslr_seed) };
        self.stdout = properties.stdout_path;
        self.loader |= properties.u_boot_version.is_some();
        self.initrd = nodes::initrd(node)?;
        Ok(())
    }

    fn take_memory(&mut self, node: &Node) -> Result<(), TreeError> {
        if !node.enabled() {
            return Ok(());
        }
        if node.properties.reg.is_none() {
            return Err(node.error("reg", Fault::Missing));
        }
        for index in 0.. {
            let Some(bank) = node.own_reg(index)? else {
                break;
            };
            if bank.size != 0 {
                push(&mut self.memory, bank, || node.path(), "memory banks")?;
            }
        }
        Ok(())
    }

    fn take_reserved_memory(&mut self, node: &Node) -> Result<(), TreeError> {
        if !node.enabled() {
            return Ok(());
        }
        let kind = match node.properties.no_map {
            Some(_) => ReservedKind::NoMap,
            None => ReservedKind::Node,
        };
        // Without `reg` the node asks the operating system for memory, and nobody else has it yet.
        for index in 0.. {
            let Some(range) = node.own_reg(index)? else {
                break;
            };
            self.reserve(range, kind, || node.path())?;
        }
        Ok(())
    }

    fn reserve(
        &mut self,
        range: PaRange,
        kind: ReservedKind,
        path: impl FnOnce() -> NodePath,
    ) -> Result<(), TreeError> {
        let reserved = Reserved { range, kind };
        if range.size == 0 || self.reserved.contains(&reserved) {
            return Ok(());
        }
        push(&mut self.reserved, reserved, path, "reserved ranges")
    }

    fn take_cpu(&mut self, node: &Node) -> Result<(), TreeError> {
        if !node.enabled() {
            return Ok(());
        }
        let Some(reg) = node.own_reg(0)? else {
            return Err(node.error("reg", Fault::Missing));
        };
        let mpidr = reg.start.0;
        if mpidr & !MPIDR_AFFINITY != 0 {
            return Err(node.error("reg", Fault::Value(mpidr)));
        }
        if self.cpus.iter().any(|cpu| cpu.mpidr == mpidr) {
            return Err(TreeError::CpuTwice(mpidr));
        }
        let start = nodes::cpu_start(node)?;
        if let CpuStart::SpinTable { release } = start {
            let page = PaRange::new(release.frame(), FRAME_SIZE);
            let page = page.ok_or_else(|| node.error("cpu-release-addr", Fault::Value(release.0)))?;
            self.reserve(page, ReservedKind::SpinTable, || node.path())?;
        }
        push(&mut self.cpus, Cpu { mpidr, start }, || node.path(), "CPUs")
    }

    fn take_gic(&mut self, node: &Node<'_, 'a>, gic: Gic) -> Result<(), TreeError> {
        if self.gic.is_some() {
            return Ok(());
        }
        let interrupt_cells = match node.properties.interrupt_cells.and_then(cells::cell) {
            Some(count @ 3..=8) => count,
            _ => return Err(node.error("#interrupt-cells", Fault::Unknown)),
        };
        let phandle = node.properties.phandle.and_then(cells::cell);
        // An interrupt controller without addresses needs none in a map (Devicetree 0.4 §2.4.3).
        let address_cells = node.properties.address_cells.and_then(cells::cell).unwrap_or(0);
        self.gic = Some(GicDraft { gic, phandle, address_cells, interrupt_cells, wired: Wired::of(node) });
        Ok(())
    }

    fn finish(mut self) -> Result<Board, TreeError> {
        sort_memory(&mut self.memory)?;
        let gic = self.gic.ok_or(TreeError::Absent("interrupt controller"))?;
        let timer = self.timer.ok_or(TreeError::Absent("timer"))?;
        for (present, what) in [(!self.memory.is_empty(), "memory"), (!self.cpus.is_empty(), "CPU")] {
            if !present {
                return Err(TreeError::Absent(what));
            }
        }
        let maintenance = match gic.wired.interrupts {
            Some(_) => Some(gic.wired.irq(0, gic.interrupt_cells)?.id),
            None => None,
        };
        let gic_cells = GicCells { phandle: gic.phandle, address: gic.address_cells, interrupt: gic.interrupt_cells };
        let phandles: ArrayVec<_, MAX_SMMUS> = self.smmus.iter().filter_map(|smmu| smmu.phandle).collect();
        let mut pci = ArrayVec::new();
        for draft in &self.pci {
            pci.push(draft.finish(&gic_cells, &phandles)?);
        }
        let stdout = self.stdout.and_then(|value| stdout_path(value, self.aliases));
        Ok(Board {
            uarts: order_uarts(self.uarts, &gic, stdout),
            virtio: order_slots(self.virtio, &gic),
            timer: nodes::timer_ppis(&timer, gic.interrupt_cells)?,
            maintenance,
            memory: self.memory,
            reserved: self.reserved,
            cpus: self.cpus,
            psci: self.psci,
            smmus: self.smmus.iter().map(|smmu| wire_smmu(smmu, &gic)).collect(),
            rtc: self.rtc,
            pci,
            gic: gic.gic,
            initrd: self.initrd,
            secrets: self.secrets,
            cold_ram: if self.emulated && !self.loader { ColdRam::Zero } else { ColdRam::Anything },
        })
    }
}

/// Whether the machine is QEMU's `virt` (hw/arm/virt.c, create_fdt).
fn is_virt(compatible: &[u8]) -> bool {
    cells::strings(compatible).any(|name| cells::is(name, b"linux,dummy-virt"))
}

fn has_type(node: &Node, kind: &[u8]) -> bool {
    node.properties.device_type.is_some_and(|value| cells::is(cells::string(value), kind))
}

fn push<T, const N: usize>(
    list: &mut ArrayVec<T, N>,
    item: T,
    path: impl FnOnce() -> NodePath,
    what: &'static str,
) -> Result<(), TreeError> {
    list.try_push(item).map_err(|_| TreeError::TooMany { path: path(), what, max: N })
}

/// Sorts the banks and makes sure that no byte is in two of them.
fn sort_memory(memory: &mut [PaRange]) -> Result<(), TreeError> {
    memory.sort_unstable_by_key(|bank| bank.start);
    for pair in memory.windows(2) {
        if let [low, high] = pair
            && low.overlaps(high)
        {
            return Err(TreeError::MemoryTwice(high.start));
        }
    }
    Ok(())
}

/// An SMMU's interrupts, which the binding has by name (arm,smmu-v3.yaml).
fn wire_smmu(smmu: &SmmuDraft, gic: &GicDraft) -> SmmuV3 {
    let reaches_gic = smmu.wired.parent.is_none() || smmu.wired.parent == gic.phandle;
    let irq = |name: &[u8]| {
        let index = smmu.wired.position(name).filter(|_| reaches_gic)?;
        smmu.wired.irq(index, gic.interrupt_cells).ok()
    };
    SmmuV3 { regs: smmu.regs, events: irq(b"eventq"), errors: irq(b"gerror") }
}

/// The virtio slots whose interrupts go to the GIC, by address.
fn order_slots(mut found: ArrayVec<SlotDraft, MAX_VIRTIO>, gic: &GicDraft) -> ArrayVec<VirtioSlot, MAX_VIRTIO> {
    found.sort_unstable_by_key(|slot| slot.regs.start);
    let wired = found.iter().filter(|slot| slot.parent.is_none() || slot.parent == gic.phandle);
    let slot = |slot: &SlotDraft| {
        let irq = wiring::irq(slot.interrupts, 0, gic.interrupt_cells).ok()?;
        Some(VirtioSlot { regs: slot.regs, irq })
    };
    wired.filter_map(slot).collect()
}

/// Puts the console first and the others behind it by address. A UART whose interrupt does not go to
/// the GIC has none.
fn order_uarts(
    mut found: ArrayVec<UartDraft, MAX_UARTS>,
    gic: &GicDraft,
    stdout: Option<&[u8]>,
) -> ArrayVec<Uart, MAX_UARTS> {
    found.sort_unstable_by_key(|uart| {
        let is_console = stdout.is_some_and(|path| uart.path.is_meant_by(path));
        (!is_console, uart.regs.start)
    });
    let irq = |wired: &Wired| -> Option<Irq> {
        let reaches_gic = wired.parent.is_none() || wired.parent == gic.phandle;
        wired.irq(0, gic.interrupt_cells).ok().filter(|_| reaches_gic)
    };
    found.iter().map(|uart| Uart { regs: uart.regs, irq: irq(&uart.wired) }).collect()
}
