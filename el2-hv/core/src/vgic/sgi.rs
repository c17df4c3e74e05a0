//! Software generated interrupts: what a guest's write to `ICC_SGI*R_EL1` does.

use super::{Kicks, TIMER_BIT, Vgic, slot};
use crate::addr::VcpuIdx;

/// Which of the three registers was written (IHI0069 §12.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SgiRegister {
    /// `ICC_SGI0R_EL1`.
    Sgi0,
    /// `ICC_SGI1R_EL1`.
    Sgi1,
    /// `ICC_ASGI1R_EL1`.
    AlternateSgi1,
}

/// To all PEs but the sender.
const TO_ALL_OTHERS: u64 = 1 << 40;
/// Aff3, RS, Aff2 and Aff1: must be zero to name a vCPU of ours, for all are in the cluster 0.0.0,
/// and Range Selector 0 covers its first 16 (`GICD_TYPER.RSS` is 0).
const CLUSTER: u64 = 0xff << 48 | 0xf << 44 | 0xff << 32 | 0xff << 16;
const INTID_SHIFT: u32 = 24;

impl Vgic {
    /// vCPU `from` writes `value` to `register`. An affinity that names nobody is no error
    /// (IHI0069 §12.2, `ICC_SGI1R_EL1`); a range selector other than 0 names nobody.
    #[inline]
    pub fn send_sgi(&mut self, from: VcpuIdx, register: SgiRegister, value: u64) -> Kicks {
        let everybody = self.everybody();
        let targets = if value & TO_ALL_OTHERS != 0 {
            everybody & !Kicks::of(from).bits()
        } else if value & CLUSTER == 0 {
            value as u8 & everybody
        } else {
            0
        };
        let bit = 1 << (value >> INTID_SHIFT & 0xf);
        let mut kicks = Kicks::NONE;
        for target in Kicks::from_bits(targets).iter() {
            kicks = kicks.union(self.receive_sgi(target, register, bit));
        }
        kicks
    }

    /// With a single security state `ICC_SGI1R_EL1` reaches an SGI of either group, the other two
    /// only one of Group 0 (IHI0069 §12.1, "Forwarding an SGI to a target PE").
    #[inline]
    fn receive_sgi(&mut self, target: VcpuIdx, register: SgiRegister, bit: u32) -> Kicks {
        let bank = &mut self.private[slot(target)];
        if register != SgiRegister::Sgi1 && bank.group1 & bit != 0 {
            return Kicks::NONE;
        }
        bank.latch |= bit;
        let concerned = bank.listed | bank.deliverable(self.groups);
        if bit & concerned == 0 { Kicks::NONE } else { Kicks::of(target) }
    }

    /// Interrupts of `bits` of a vCPU's own have a new state: names it if it has one of them in a
    /// list register, or wants to. The virtual timer always counts as being in one, because the
    /// caller puts it there without the model.
    #[inline]
    pub(super) fn private_changed(&mut self, vcpu: VcpuIdx, bits: u32) -> Kicks {
        if bits & TIMER_BIT != 0 {
            self.make_template(slot(vcpu));
        }
        let bank = &self.private[slot(vcpu)];
        let concerned = bank.listed | bank.deliverable(self.groups) | bank.unlisted_active();
        if bits & concerned == 0 {
            return Kicks::NONE;
        }
        let me = Kicks::of(vcpu);
        if bits & bank.outdated(self.groups) & !TIMER_BIT != 0 {
            self.withdrawing |= me.bits();
        }
        if bits & bank.edited() & TIMER_BIT != 0 {
            self.timer_edited |= me.bits();
        }
        me
    }
}
