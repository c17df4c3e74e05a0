//! A redistributor's own registers (IHI0069 §12.10, §12.11): RD_base, and the way to SGI_base.

use super::distributor::{IIDR_VALUE, identification};
use super::registers::{SGI_FRAME, private_cell};
use super::{Kicks, Vgic};
use crate::addr::VcpuIdx;
use crate::mmio::AccessSize;

const CTLR: u32 = 0x0000;
const IIDR: u32 = 0x0004;
const TYPER: u32 = 0x0008;
const TYPER_HIGH: u32 = 0x000c;
const WAKER: u32 = 0x0014;

/// `GICR_CTLR.RWP`. All else in it is RES0: no LPIs to enable, no group to exclude from 1 of N.
const WRITE_PENDING: u64 = 1 << 3;
/// `GICR_TYPER.Last`.
const LAST: u64 = 1 << 4;
const PROCESSOR_NUMBER_SHIFT: u32 = 8;
const AFFINITY_SHIFT: u32 = 32;
/// `GICR_WAKER.ProcessorSleep`.
const PROCESSOR_SLEEP: u64 = 1 << 1;
/// `GICR_WAKER.ChildrenAsleep`, which follows at once.
const CHILDREN_ASLEEP: u64 = 1 << 2;

/// Registers that are the same in every redistributor at all times.
#[inline]
pub(super) const fn constant(offset: u32) -> Option<u64> {
    match offset {
        IIDR => Some(IIDR_VALUE),
        _ => identification(offset),
    }
}

impl Vgic {
    /// `offset` is aligned to `size`.
    pub(super) fn read_redistributor(&self, vcpu: VcpuIdx, offset: u32, size: AccessSize) -> u64 {
        if offset >= SGI_FRAME {
            return match private_cell(vcpu, offset - SGI_FRAME, size) {
                Some((place, cell)) => self.read_cell(place, cell),
                None => 0,
            };
        }
        match (offset, size) {
            (CTLR, AccessSize::Word) if self.is_withdrawing(vcpu) => WRITE_PENDING,
            (TYPER, AccessSize::Double) => self.redistributor_type(vcpu),
            (TYPER, AccessSize::Word) => self.redistributor_type(vcpu) & size.mask(),
            (TYPER_HIGH, AccessSize::Word) => self.redistributor_type(vcpu) >> 32,
            (WAKER, AccessSize::Word) if !self.is_awake(vcpu) => PROCESSOR_SLEEP | CHILDREN_ASLEEP,
            _ => 0,
        }
    }

    /// `offset` is aligned to `size`.
    pub(super) fn write_redistributor(&mut self, register: (VcpuIdx, u32), size: AccessSize, value: u64) -> Kicks {
        let (vcpu, offset) = register;
        if offset >= SGI_FRAME {
            return match private_cell(vcpu, offset - SGI_FRAME, size) {
                Some((place, cell)) => self.write_cell(place, cell, value as u32),
                None => Kicks::NONE,
            };
        }
        match (offset, size) {
            (WAKER, AccessSize::Word) => self.set_awake(vcpu, value & PROCESSOR_SLEEP == 0),
            _ => Kicks::NONE,
        }
    }

    /// `GICR_TYPER`: no LPIs, direct or virtual; affinity 0.0.0.n.
    const fn redistributor_type(&self, vcpu: VcpuIdx) -> u64 {
        let number = vcpu.0 as u64;
        let last = if vcpu.0 + 1 == self.vcpus { LAST } else { 0 };
        number << AFFINITY_SHIFT | number << PROCESSOR_NUMBER_SHIFT | last
    }

    const fn is_awake(&self, vcpu: VcpuIdx) -> bool {
        self.awake & Kicks::of(vcpu).bits() != 0
    }

    /// Wakes a redistributor or puts it to sleep. As on QEMU's `virt` a sleeping one still gets
    /// what is its own; what changes is where 1-of-N interrupts go.
    pub(super) fn set_awake(&mut self, vcpu: VcpuIdx, awake: bool) -> Kicks {
        if awake == self.is_awake(vcpu) {
            return Kicks::NONE;
        }
        self.awake ^= Kicks::of(vcpu).bits();
        self.route_any()
    }
}
