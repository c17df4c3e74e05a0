//! Registers that hold a field for each interrupt: the same in the distributor for SPIs and in a
//! redistributor's SGI frame for SGIs and PPIs.
//!
//! One row of [`ROWS`] is 0x80 bytes of either frame. Accesses that IHI0069 §12.1.3 does not
//! provide for (a wrong width, an unaligned offset) read as zero and are ignored.

use super::bank::PRIORITY_MASK;
use super::{Kicks, Place, TIMER_BIT, Vgic};
use crate::addr::{Ipa, VcpuIdx};
use crate::mmio::AccessSize;
use hv_abi::guest_map::{GICD_BASE, GICD_SIZE, GICR_BASE, GICR_STRIDE, MAX_VCPUS};

/// A register, by its frame and its byte offset in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GicRegister {
    /// `GICD_*`.
    Distributor(u32),
    /// `GICR_*`: offsets below 0x1_0000 are RD_base, those above SGI_base.
    Redistributor {
        /// Whose redistributor it is, whoever accesses it.
        vcpu: VcpuIdx,
        /// Byte offset in its two frames.
        offset: u32,
    },
}

impl GicRegister {
    /// The register at `address` in a VM of `vcpus` vCPUs, or `None` where no GIC is.
    #[inline]
    pub const fn at(address: Ipa, vcpus: u8) -> Option<Self> {
        let distributor = address.0.wrapping_sub(GICD_BASE);
        if distributor < GICD_SIZE {
            return Some(Self::Distributor(distributor as u32));
        }
        let redistributor = address.0.wrapping_sub(GICR_BASE);
        let vcpu = redistributor / GICR_STRIDE;
        if vcpu >= vcpus as u64 || vcpu >= MAX_VCPUS as u64 {
            return None;
        }
        let offset = (redistributor % GICR_STRIDE) as u32;
        Some(Self::Redistributor { vcpu: VcpuIdx(vcpu as u8), offset })
    }
}

/// Where a redistributor's second frame begins.
pub(super) const SGI_FRAME: u32 = 0x1_0000;
/// Where the rows end in either frame.
pub(super) const ROWS_END: u32 = 0x1000;

/// What a row says of its interrupts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Row {
    Zero,
    Group,
    SetEnable,
    ClearEnable,
    SetPending,
    ClearPending,
    SetActive,
    ClearActive,
    Priority,
    Trigger,
}

/// IHI0069 §12.8 and §12.11, from offset 0, 0x80 bytes each. `Zero` are: control registers (they
/// have a place of their own), `ITARGETSR` (0x800), which affinity routing makes RES0,
/// `IGRPMODR` (0xd00) and `NSACR` (0xe00), which a single security state does, `SGIR` and
/// `[CS]PENDSGIR` (0xf00), which affinity routing makes RES0, and what is reserved.
const ROWS: [Row; 32] = {
    let mut rows = [Row::Zero; 32];
    rows[1] = Row::Group;
    rows[2] = Row::SetEnable;
    rows[3] = Row::ClearEnable;
    rows[4] = Row::SetPending;
    rows[5] = Row::ClearPending;
    rows[6] = Row::SetActive;
    rows[7] = Row::ClearActive;
    let mut priority = 8;
    while priority < 16 {
        rows[priority] = Row::Priority;
        priority += 1;
    }
    rows[0x18] = Row::Trigger;
    rows[0x19] = Row::Trigger;
    rows
};

/// A register of a row: what it says, and of which interrupt first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Cell {
    pub(super) row: Row,
    pub(super) first: u32,
    size: AccessSize,
}

impl Cell {
    /// The register at `offset`, which is aligned to `size`, unless it is to be read as zero.
    #[inline]
    pub(super) const fn at(offset: u32, size: AccessSize) -> Option<Self> {
        if offset >= ROWS_END {
            return None;
        }
        let row = ROWS[(offset >> 7) as usize & 31];
        let (first, narrow) = match row {
            Row::Zero => return None,
            Row::Priority => (offset & 0x3ff, true),
            Row::Trigger => ((offset & 0xff) << 2, false),
            _ => ((offset & 0x7f) << 3, false),
        };
        match size {
            AccessSize::Word => {}
            AccessSize::Byte if narrow => {}
            _ => return None,
        }
        Some(Self { row, first, size })
    }
}

impl Vgic {
    /// Whether the answer depends on what list registers hold: pending and active states.
    #[inline]
    pub const fn read_needs_fold(register: GicRegister) -> bool {
        let offset = match register {
            GicRegister::Distributor(offset) => offset,
            GicRegister::Redistributor { offset, .. } => offset.wrapping_sub(SGI_FRAME),
        };
        // The four rows from ISPENDR to ICACTIVER.
        offset >= 0x200 && offset < 0x400
    }

    /// The vCPUs whose list registers may hold an interrupt that this register tells of. If the
    /// reader is one of them it is to be folded before the read. The others are to be kicked: the
    /// read tells of them what was true when they were last folded, and a guest that polls (Linux,
    /// for the active bit, before it frees an interrupt) sees the truth soon.
    pub fn residents(&self, register: GicRegister, size: AccessSize) -> Kicks {
        match (register, self.locate(register, size)) {
            (GicRegister::Redistributor { vcpu, .. }, Some(_)) => Kicks::of(vcpu),
            (_, Some((Place::Shared(word), _))) => {
                let listed = self.shared[word].listed;
                let homes = self.routes.home.iter().enumerate();
                homes
                    .filter(|(_, home)| home[word] & listed != 0)
                    .fold(Kicks::NONE, |kicks, (v, _)| kicks.union(Kicks::from_bits(1 << v)))
            }
            _ => Kicks::NONE,
        }
    }

    /// The bank and register of a row, if there is one.
    #[inline]
    fn locate(&self, register: GicRegister, size: AccessSize) -> Option<(Place, Cell)> {
        match register {
            GicRegister::Distributor(offset) => shared_cell(offset, size),
            GicRegister::Redistributor { vcpu, offset } => private_cell(vcpu, offset.wrapping_sub(SGI_FRAME), size),
        }
    }

    pub(super) fn read_cell(&self, place: Place, cell: Cell) -> u64 {
        let bank = self.bank(place);
        let n = cell.first & 31;
        let word = match cell.row {
            Row::Group => bank.group1,
            Row::SetEnable | Row::ClearEnable => bank.enabled,
            Row::SetPending | Row::ClearPending => bank.shown_pending(),
            Row::SetActive | Row::ClearActive => bank.shown_active(),
            Row::Trigger => to_trigger(!bank.level >> n),
            Row::Priority if cell.size == AccessSize::Byte => u32::from(bank.priority[n as usize]),
            Row::Priority => priorities(&bank.priority, n),
            Row::Zero => 0,
        };
        u64::from(word)
    }

    pub(super) fn write_cell(&mut self, place: Place, cell: Cell, value: u32) -> Kicks {
        let bank = self.bank_mut(place);
        let changed = match cell.row {
            Row::Group => bank.set_groups(value),
            Row::SetEnable => bank.enable(value),
            Row::ClearEnable => bank.disable(value),
            Row::SetPending => bank.set_pending(value),
            Row::ClearPending => {
                if let Place::Private(_) = place {
                    // Its line is the physical interrupt's, which is given back and sampled again.
                    bank.line &= !(value & TIMER_BIT);
                }
                bank.clear_pending(value)
            }
            Row::SetActive => bank.set_active(value),
            Row::ClearActive => bank.clear_active(value),
            Row::Priority => write_priorities(&mut bank.priority, cell, value),
            Row::Trigger => write_trigger(&mut bank.level, place, cell.first & 31, value),
            Row::Zero => 0,
        };
        if let (Place::Shared(word), Row::SetActive | Row::ClearActive) = (place, cell.row) {
            self.settle_homes(word);
        }
        self.changed(place, changed)
    }
}

/// The distributor's registers are of SPIs; those of SGIs and PPIs are RES0 with affinity routing.
#[inline]
pub(super) const fn shared_cell(offset: u32, size: AccessSize) -> Option<(Place, Cell)> {
    let Some(cell) = Cell::at(offset, size) else {
        return None;
    };
    match Place::shared(cell.first) {
        Some(place) => Some((place, cell)),
        None => None,
    }
}

/// A redistributor's are of SGIs and PPIs; `offset` is that in its SGI frame.
#[inline]
pub(super) const fn private_cell(vcpu: VcpuIdx, offset: u32, size: AccessSize) -> Option<(Place, Cell)> {
    match Cell::at(offset, size) {
        Some(cell) if cell.first < 32 => Some((Place::Private(vcpu), cell)),
        _ => None,
    }
}

/// `IPRIORITYR<n>`: four interrupts from `first`, a multiple of 4.
const fn priorities(of: &[u8; 32], first: u32) -> u32 {
    let n = first as usize & 28;
    u32::from_le_bytes([of[n], of[n + 1], of[n + 2], of[n + 3]])
}

/// One or four priorities; unimplemented bits are RAZ/WI. The bits of those that changed.
fn write_priorities(of: &mut [u8; 32], cell: Cell, value: u32) -> u32 {
    let count = cell.size.bytes();
    let mut changed = 0;
    for (n, byte) in (cell.first & 31..32).zip(value.to_le_bytes()).take(count as usize) {
        let priority = &mut of[n as usize];
        if *priority != byte & PRIORITY_MASK {
            *priority = byte & PRIORITY_MASK;
            changed |= 1 << n;
        }
    }
    changed
}

/// `ICFGR<n>`: 16 interrupts from `first`. SGIs are edge-triggered and PPIs level-sensitive for
/// good, the latter as IHI0069 §12.11 (`GICR_ICFGR1`) allows: all of ours are lines of devices.
fn write_trigger(level: &mut u32, place: Place, first: u32, value: u32) -> u32 {
    if let Place::Private(_) = place {
        return 0;
    }
    let half = 0xffff << (first & 16);
    let before = *level;
    *level = (before & !half) | (!from_trigger(value) << (first & 16) & half);
    before ^ *level
}

/// Bit n of the lower half to bit 2n + 1: `ICFGR` has two bits for each interrupt, of which the
/// upper says that it is edge-triggered.
const fn to_trigger(edges: u32) -> u32 {
    let mut bits = edges & 0xffff;
    bits = (bits | bits << 8) & 0x00ff_00ff;
    bits = (bits | bits << 4) & 0x0f0f_0f0f;
    bits = (bits | bits << 2) & 0x3333_3333;
    bits = (bits | bits << 1) & 0x5555_5555;
    bits << 1
}

/// Bit 2n + 1 to bit n.
const fn from_trigger(value: u32) -> u32 {
    let mut bits = value >> 1 & 0x5555_5555;
    bits = (bits | bits >> 1) & 0x3333_3333;
    bits = (bits | bits >> 2) & 0x0f0f_0f0f;
    bits = (bits | bits >> 4) & 0x00ff_00ff;
    (bits | bits >> 8) & 0xffff
}
