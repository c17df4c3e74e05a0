//! The distributor's own registers (IHI0069 §12.8, §12.9), with one security state.

use super::bank::Groups;
use super::registers::{ROWS_END, shared_cell};
use super::{Kicks, SPI_WORDS, Vgic};
use crate::addr::VcpuIdx;
use crate::mmio::AccessSize;

const CTLR: u32 = 0x0000;
const TYPER: u32 = 0x0004;
const IIDR: u32 = 0x0008;
/// `IROUTER32` and the end of the last implemented one.
const IROUTER: u32 = 0x6100;
const IROUTER_END: u32 = IROUTER + 8 * 32 * SPI_WORDS as u32;

/// `GICD_CTLR.EnableGrp0`.
const ENABLE_GROUP0: u64 = 1 << 0;
/// `GICD_CTLR.EnableGrp1`.
const ENABLE_GROUP1: u64 = 1 << 1;
/// `GICD_CTLR.ARE` and `DS`, both read-as-one: affinity routing and a single security state are
/// all there is. `E1NWF` is RAZ/WI.
const CTLR_FIXED: u64 = 1 << 4 | 1 << 6;
/// `GICD_CTLR.RWP`.
const WRITE_PENDING: u64 = 1 << 31;

/// `GICD_TYPER`: `A3V` (the virtual CPU interface takes Aff3), `IDbits` for 10-bit INTIDs,
/// `ITLinesNumber` for 288. No LPIs, no messages, no extended SPIs, no range selector; 1-of-N is
/// supported.
const TYPER_VALUE: u64 = 1 << 24 | 9 << 19 | 8;

/// `GICD_IIDR` and `GICR_IIDR`: product `D`, variant and revision 0. The implementer is 0, as no
/// JEP106 code is assigned to us; no driver's list of errata has such an entry.
pub(super) const IIDR_VALUE: u64 = (b'D' as u64) << 24;

/// `PIDR2`, whose only architected field says GICv3 (IHI0069 §12.1, identification registers).
const PIDR2: u32 = 0xffe8;
const PIDR2_VALUE: u64 = 0x3b;
/// `CIDR0` to `CIDR3`: the preamble of a CoreSight component, class 0xf.
const CIDR: [(u32, u64); 4] = [(0xfff0, 0x0d), (0xfff4, 0xf0), (0xfff8, 0x05), (0xfffc, 0xb1)];

/// An identification register of either frame.
#[inline]
pub(super) const fn identification(offset: u32) -> Option<u64> {
    match offset {
        PIDR2 => Some(PIDR2_VALUE),
        _ if offset == CIDR[0].0 => Some(CIDR[0].1),
        _ if offset == CIDR[1].0 => Some(CIDR[1].1),
        _ if offset == CIDR[2].0 => Some(CIDR[2].1),
        _ if offset == CIDR[3].0 => Some(CIDR[3].1),
        _ => None,
    }
}

/// Registers that are the same in every VM at all times.
#[inline]
pub(super) const fn constant(offset: u32) -> Option<u64> {
    match offset {
        TYPER => Some(TYPER_VALUE),
        IIDR => Some(IIDR_VALUE),
        _ => identification(offset),
    }
}

impl Vgic {
    /// `offset` is aligned to `size`.
    pub(super) fn read_distributor(&self, offset: u32, size: AccessSize) -> u64 {
        if offset < ROWS_END {
            return match (shared_cell(offset, size), offset, size) {
                (Some((place, cell)), ..) => self.read_cell(place, cell),
                (None, CTLR, AccessSize::Word) => self.read_ctlr(),
                _ => 0,
            };
        }
        if !(IROUTER..IROUTER_END).contains(&offset) {
            return 0;
        }
        let route = self.read_route((offset - IROUTER) >> 3);
        match size {
            AccessSize::Double => route,
            AccessSize::Word => route >> half_shift(offset) & size.mask(),
            AccessSize::Byte | AccessSize::Half => 0,
        }
    }

    /// `offset` is aligned to `size`.
    pub(super) fn write_distributor(&mut self, offset: u32, size: AccessSize, value: u64) -> Kicks {
        if offset < ROWS_END {
            return match (shared_cell(offset, size), offset, size) {
                (Some((place, cell)), ..) => self.write_cell(place, cell, value as u32),
                (None, CTLR, AccessSize::Word) => self.write_ctlr(value),
                _ => Kicks::NONE,
            };
        }
        if !(IROUTER..IROUTER_END).contains(&offset) {
            return Kicks::NONE;
        }
        let spi = (offset - IROUTER) >> 3;
        match size {
            AccessSize::Double => self.write_route(spi, value),
            AccessSize::Word => {
                let shift = half_shift(offset);
                let other_half = self.read_route(spi) & !(size.mask() << shift);
                self.write_route(spi, other_half | (value & size.mask()) << shift)
            }
            AccessSize::Byte | AccessSize::Half => Kicks::NONE,
        }
    }

    fn read_ctlr(&self) -> u64 {
        let group0 = u64::from(self.groups.group0) & ENABLE_GROUP0;
        let group1 = u64::from(self.groups.group1) & ENABLE_GROUP1;
        let pending = if self.withdrawing != 0 { WRITE_PENDING } else { 0 };
        CTLR_FIXED | group0 | group1 | pending
    }

    /// A group that is switched off or on changes what every vCPU may get, its timer included.
    fn write_ctlr(&mut self, value: u64) -> Kicks {
        let all_if = |enabled: u64| if enabled != 0 { u32::MAX } else { 0 };
        let groups = Groups { group0: all_if(value & ENABLE_GROUP0), group1: all_if(value & ENABLE_GROUP1) };
        if groups == self.groups {
            return Kicks::NONE;
        }
        self.groups = groups;
        let mut kicks = Kicks::NONE;
        for v in Kicks::from_bits(self.everybody()).iter() {
            kicks = kicks.union(self.private_changed(v, u32::MAX));
        }
        for word in 0..SPI_WORDS {
            kicks = kicks.union(self.shared_changed(word, u32::MAX));
        }
        kicks
    }

    /// `GICR_CTLR.RWP`: the part of `GICD_CTLR.RWP` that is one vCPU's.
    pub(super) const fn is_withdrawing(&self, vcpu: VcpuIdx) -> bool {
        self.withdrawing & Kicks::of(vcpu).bits() != 0
    }
}

/// Where the word at `offset` is in its 64-bit register.
const fn half_shift(offset: u32) -> u32 {
    (offset & 4) << 3
}
