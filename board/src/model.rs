//! The board as plain data: what EL2 keeps of the device tree once the tree is read.

use arrayvec::ArrayVec;
use hv_core::addr::{CpuId, IntId, Pa, PaRange};

use crate::pci::{MAX_WINDOWS, PciHost};

/// Most CPUs that EL2 drives.
pub const MAX_CPUS: usize = 16;
/// Most memory banks.
pub const MAX_BANKS: usize = 8;
/// Most reserved ranges.
pub const MAX_RESERVED: usize = 32;
/// Most PL011s.
pub const MAX_UARTS: usize = 8;
/// Most redistributor regions.
pub const MAX_GICR_REGIONS: usize = 8;
/// Most SMMUs.
pub const MAX_SMMUS: usize = 4;
/// Most PCI host bridges.
pub const MAX_PCI_HOSTS: usize = 2;
/// Most virtio-mmio slots.
pub const MAX_VIRTIO: usize = 32;
/// Most ranges that [`Board::mmio`] returns: UARTs, distributor and redistributors, SMMUs, RTC, PCI
/// host bridges, virtio slots.
pub const MAX_MMIO: usize =
    MAX_UARTS + 1 + MAX_GICR_REGIONS + MAX_SMMUS + 1 + MAX_PCI_HOSTS * (1 + MAX_WINDOWS) + MAX_VIRTIO;

/// How an interrupt line signals.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trigger {
    /// By an edge.
    Edge,
    /// By a level.
    Level,
}

/// An interrupt as the tree wires it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Irq {
    /// Its number at the GIC.
    pub id: IntId,
    /// How it signals.
    pub trigger: Trigger,
}

/// A PL011.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Uart {
    /// Its registers.
    pub regs: PaRange,
    /// Its interrupt; `None` if the tree wires it to something else than the GIC.
    pub irq: Option<Irq>,
}

/// A virtio-mmio slot, with a device in it or without.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VirtioSlot {
    /// Its registers.
    pub regs: PaRange,
    /// Its interrupt.
    pub irq: Irq,
}

/// An SMMUv3.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SmmuV3 {
    /// Its registers.
    pub regs: PaRange,
    /// The interrupt of its event queue; `None` if the tree wires it to something else than the GIC, or does not name it.
    pub events: Option<Irq>,
    /// The interrupt of its own errors, in the same way.
    pub errors: Option<Irq>,
}

/// How a CPU is started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CpuStart {
    /// By PSCI CPU_ON.
    Psci,
    /// By writing the entry's address to `release` and sending an event (Devicetree 0.4 §3.8.1).
    SpinTable {
        /// Where the CPU looks for its entry.
        release: Pa,
    },
    /// The tree does not say, as with the only CPU of a board, or says something unknown.
    Unspecified,
}

/// A CPU. Its [`CpuId`] is its place in [`Board::cpus`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cpu {
    /// The affinity fields of its MPIDR_EL1, at their places there.
    pub mpidr: u64,
    /// How it is started.
    pub start: CpuStart,
}

/// By which instruction PSCI is called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Conduit {
    /// By SMC.
    Smc,
    /// By HVC: the firmware takes EL2 for its own, so this program runs at EL1.
    Hvc,
}

/// Which PSCI the firmware has. Before 0.2 the function numbers were the firmware's own (DEN0022 §5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PsciVersion {
    /// 0.2.
    V0_2,
    /// 1.0 or later.
    V1,
}

/// The firmware's PSCI.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Psci {
    /// How it is called.
    pub conduit: Conduit,
    /// What it is at least.
    pub version: PsciVersion,
}

/// The frames of a GICv3.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GicV3 {
    /// The distributor.
    pub gicd: PaRange,
    /// The regions of redistributors.
    pub gicr: ArrayVec<PaRange, MAX_GICR_REGIONS>,
    /// Bytes from one redistributor to the next, where the tree says so; else GICR_TYPER tells.
    pub stride: Option<u64>,
}

/// The frames of a GICv2.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GicV2 {
    /// The distributor.
    pub gicd: PaRange,
    /// The CPU interface.
    pub gicc: PaRange,
    /// The hypervisor's interface; absent on a machine without virtualization.
    pub gich: Option<PaRange>,
    /// The virtual CPU interface, which guests get as their GICC.
    pub gicv: Option<PaRange>,
}

/// The interrupt controller.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Gic {
    /// A GICv3, or a GICv4 used as one.
    V3(GicV3),
    /// A GICv2.
    V2(GicV2),
}

/// The timer's private interrupts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TimerPpis {
    /// EL1's physical timer (CNTP).
    pub physical: IntId,
    /// The virtual timer (CNTV).
    pub virt: IntId,
    /// EL2's physical timer (CNTHP).
    pub hypervisor: IntId,
}

/// Why a range is reserved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReservedKind {
    /// By `/memreserve/`.
    Reservation,
    /// By a node in `/reserved-memory`.
    Node,
    /// By a node in `/reserved-memory` with `no-map`: not even EL2 may map it.
    NoMap,
    /// The page of a spin table.
    SpinTable,
}

/// Memory that is never given to anybody.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reserved {
    /// Which.
    pub range: PaRange,
    /// Why.
    pub kind: ReservedKind,
}

/// Where in the blob a seed lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Secret {
    /// Bytes from the blob's start.
    pub offset: usize,
    /// Length in bytes.
    pub length: usize,
}

/// The seeds that firmware left in `/chosen`. They are used once and then wiped.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Secrets {
    /// `rng-seed`.
    pub rng: Option<Secret>,
    /// `kaslr-seed`.
    pub kaslr: Option<Secret>,
}

/// All that EL2 knows of the machine it runs on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Board {
    /// Memory, by rising address; no two banks overlap and none is empty.
    pub memory: ArrayVec<PaRange, MAX_BANKS>,
    /// Memory that is never given out. It may lie outside of the banks, and ranges may overlap.
    pub reserved: ArrayVec<Reserved, MAX_RESERVED>,
    /// The CPUs in the tree's order, at least one.
    pub cpus: ArrayVec<Cpu, MAX_CPUS>,
    /// The firmware's PSCI. Without it no SMC may be tried: it may hang or be undefined.
    pub psci: Option<Psci>,
    /// The PL011s: first the one that `stdout-path` names, then by rising address.
    pub uarts: ArrayVec<Uart, MAX_UARTS>,
    /// The interrupt controller.
    pub gic: Gic,
    /// Its maintenance interrupt; absent on a machine without virtualization.
    pub maintenance: Option<IntId>,
    /// The timer.
    pub timer: TimerPpis,
    /// The SMMUv3s.
    pub smmus: ArrayVec<SmmuV3, MAX_SMMUS>,
    /// The PL031.
    pub rtc: Option<PaRange>,
    /// The virtio-mmio slots, by rising address.
    pub virtio: ArrayVec<VirtioSlot, MAX_VIRTIO>,
    /// The PCI host bridges, in the tree's order.
    pub pci: ArrayVec<PciHost, MAX_PCI_HOSTS>,
    /// The boot archive.
    pub initrd: Option<PaRange>,
    /// Where the seeds lie in the blob.
    pub secrets: Secrets,
    /// What RAM holds after a cold boot, outside of what the tree names.
    pub cold_ram: ColdRam,
}

/// What RAM holds after a cold boot, before EL2 writes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ColdRam {
    /// Zeroes: QEMU's `virt`, which puts image, archive and tree there by itself.
    Zero,
    /// Anything: DRAM is not zero at power-on, and a boot loader leaves its own code, heap and tables.
    Anything,
}

impl Board {
    /// The console.
    pub fn console(&self) -> Option<&Uart> {
        self.uarts.first()
    }

    /// The UART for EL2's own log, on a board with more than the console.
    pub fn log_uart(&self) -> Option<&Uart> {
        self.uarts.get(1)
    }

    /// The CPU with the affinity fields of `mpidr`; other bits of it do not count.
    pub fn cpu_by_mpidr(&self, mpidr: u64) -> Option<CpuId> {
        let affinity = mpidr & MPIDR_AFFINITY;
        let index = self.cpus.iter().position(|cpu| cpu.mpidr == affinity)?;
        u8::try_from(index).ok().map(CpuId)
    }

    /// Every range of registers that EL2's own map needs. Ranges may share a page. GICV, which is the
    /// guests', and what of PCI is not for EL2's own devices are not among them.
    pub fn mmio(&self) -> ArrayVec<PaRange, MAX_MMIO> {
        let (gic, regions): ([Option<PaRange>; 3], &[PaRange]) = match &self.gic {
            Gic::V3(gic) => ([Some(gic.gicd), None, None], &gic.gicr),
            Gic::V2(gic) => ([Some(gic.gicd), Some(gic.gicc), gic.gich], &[]),
        };
        let uarts = self.uarts.iter().map(|uart| uart.regs);
        let single = uarts
            .chain(gic.into_iter().flatten())
            .chain(regions.iter().copied())
            .chain(self.smmus.iter().map(|smmu| smmu.regs))
            .chain(self.rtc)
            .chain(self.pci.iter().flat_map(PciHost::mmio));
        let mut ranges: ArrayVec<PaRange, MAX_MMIO> = single.take(MAX_MMIO - MAX_VIRTIO).collect();
        // Slots follow each other, several to a page.
        let mut run: Option<PaRange> = None;
        for slot in &self.virtio {
            match &mut run {
                Some(run) if run.end() == slot.regs.start => run.size += slot.regs.size,
                _ => ranges.extend(run.replace(slot.regs)),
            }
        }
        ranges.extend(run);
        ranges
    }
}

/// The affinity fields of MPIDR_EL1: Aff3 in bits 39:32, Aff2, Aff1 and Aff0 in bits 23:0
/// (Arm ARM D24.2.127).
pub(crate) const MPIDR_AFFINITY: u64 = 0xff_00ff_ffff;
