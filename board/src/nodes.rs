//! What single nodes say, each by its binding. Nothing here looks beyond the node.

use arrayvec::ArrayVec;
use hv_core::addr::{IntId, Pa, PaRange};

use crate::cells;
use crate::error::{Fault, TreeError};
use crate::model::{Conduit, CpuStart, Gic, GicV2, GicV3, MAX_GICR_REGIONS, Psci, PsciVersion, TimerPpis};
use crate::tree::Node;
use crate::wiring::Wired;

/// What a node is to EL2, by the first string of `compatible` that EL2 knows.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Uart,
    Rtc,
    GicV3,
    GicV2,
    Smmu,
    Timer,
    Psci(PsciVersion),
    PciHost,
    Virtio,
}

/// The strings that EL2 knows.
const KINDS: [(&[u8], Kind); 11] = [
    (b"arm,pl011", Kind::Uart),
    (b"arm,pl031", Kind::Rtc),
    (b"arm,gic-v3", Kind::GicV3),
    (b"arm,gic-400", Kind::GicV2),
    (b"arm,cortex-a15-gic", Kind::GicV2),
    (b"arm,smmu-v3", Kind::Smmu),
    (b"arm,armv8-timer", Kind::Timer),
    (b"arm,psci-1.0", Kind::Psci(PsciVersion::V1)),
    (b"arm,psci-0.2", Kind::Psci(PsciVersion::V0_2)),
    (b"pci-host-ecam-generic", Kind::PciHost),
    (b"virtio,mmio", Kind::Virtio),
];

impl Kind {
    pub(crate) fn of(node: &Node) -> Option<Self> {
        cells::strings(node.properties.compatible?)
            .find_map(|name| KINDS.iter().find(|(known, _)| cells::is(name, known)).map(|(_, kind)| *kind))
    }
}

/// How the firmware's PSCI is called.
pub(crate) fn psci(node: &Node, version: PsciVersion) -> Result<Psci, TreeError> {
    let Some(method) = node.properties.method else {
        return Err(node.error("method", Fault::Missing));
    };
    let conduit = match cells::string(method) {
        b"smc" => Conduit::Smc,
        b"hvc" => Conduit::Hvc,
        _ => return Err(node.error("method", Fault::Unknown)),
    };
    Ok(Psci { conduit, version })
}

/// How the CPU is started.
pub(crate) fn cpu_start(node: &Node) -> Result<CpuStart, TreeError> {
    const RELEASE: &str = "cpu-release-addr";
    match node.properties.enable_method.map(cells::string) {
        Some(b"psci") => Ok(CpuStart::Psci),
        Some(b"spin-table") => {
            let value = node.properties.cpu_release_addr;
            let value = value.ok_or_else(|| node.error(RELEASE, Fault::Missing))?;
            let release = cells::number(value).ok_or_else(|| node.error(RELEASE, Fault::Length(value.len())))?;
            // The CPU reads a doubleword there, and the page is reserved.
            if release % 8 != 0 {
                return Err(node.error(RELEASE, Fault::Value(release)));
            }
            Ok(CpuStart::SpinTable { release: Pa(release) })
        }
        _ => Ok(CpuStart::Unspecified),
    }
}

/// GICD, then the redistributor regions; the GICv2 frames that may follow are of no interest.
pub(crate) fn gic_v3(node: &Node, gicd: PaRange) -> Result<Gic, TreeError> {
    let read = |value: Option<&[u8]>, property| match value {
        None => Ok(None),
        Some(value) => cells::number(value).map(Some).ok_or_else(|| node.error(property, Fault::Length(value.len()))),
    };
    let count = read(node.properties.redistributor_regions, "#redistributor-regions")?.unwrap_or(1);
    let stride = read(node.properties.redistributor_stride, "redistributor-stride")?;
    if let Some(stride) = stride
        && (stride == 0 || stride % 0x1_0000 != 0)
    {
        return Err(node.error("redistributor-stride", Fault::Value(stride)));
    }
    if !(1..=MAX_GICR_REGIONS as u64).contains(&count) {
        return Err(node.error("#redistributor-regions", Fault::Value(count)));
    }
    let mut gicr = ArrayVec::new();
    for index in 1..=count as usize {
        let region = node.reg(index)?.ok_or_else(|| node.error("reg", Fault::Unreachable))?;
        gicr.push(region);
    }
    Ok(Gic::V3(GicV3 { gicd, gicr, stride }))
}

/// GICD, GICC, GICH, GICV.
pub(crate) fn gic_v2(node: &Node, gicd: PaRange) -> Result<Gic, TreeError> {
    let gicc = node.reg(1)?.ok_or_else(|| node.error("reg", Fault::Unreachable))?;
    Ok(Gic::V2(GicV2 { gicd, gicc, gich: node.reg(2)?, gicv: node.reg(3)? }))
}

/// The boot archive: `[start, end)`, each of one or two cells. Equal ends mean that there is none.
pub(crate) fn initrd(node: &Node) -> Result<Option<PaRange>, TreeError> {
    const NAMES: [&str; 2] = ["linux,initrd-start", "linux,initrd-end"];
    let values = [node.properties.initrd_start, node.properties.initrd_end];
    let (start, end) = match values {
        [None, None] => return Ok(None),
        [None, Some(_)] => return Err(node.error(NAMES[0], Fault::Missing)),
        [Some(_), None] => return Err(node.error(NAMES[1], Fault::Missing)),
        [Some(start), Some(end)] => (start, end),
    };
    let read = |value: &[u8], name| cells::number(value).ok_or_else(|| node.error(name, Fault::Length(value.len())));
    let (start, end) = (read(start, NAMES[0])?, read(end, NAMES[1])?);
    match end.checked_sub(start) {
        None => Err(node.error(NAMES[1], Fault::Value(end))),
        Some(0) => Ok(None),
        Some(size) => Ok(PaRange::new(Pa(start), size)),
    }
}

/// The timer's interrupts: by name where the tree gives names, else in the order of the binding, which
/// is secure physical, physical, virtual, hypervisor.
pub(crate) fn timer_ppis(timer: &Wired, interrupt_cells: u32) -> Result<TimerPpis, TreeError> {
    let ppi = |name: &[u8], default| -> Result<IntId, TreeError> {
        let index = timer.position(name).unwrap_or(default);
        Ok(timer.irq(index, interrupt_cells)?.id)
    };
    Ok(TimerPpis { physical: ppi(b"phys", 1)?, virt: ppi(b"virt", 2)?, hypervisor: ppi(b"hyp-phys", 3)? })
}
