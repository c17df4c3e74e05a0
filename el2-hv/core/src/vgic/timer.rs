//! The virtual timer's interrupt, PPI 27: a hardware interrupt in list register 0.
//!
//! The physical PPI 27 arrives at EL2, which drops its priority and leaves it active; the guest's
//! deactivation of the virtual one deactivates the physical one by the HW bit, and the level of the
//! timer is sampled again (IHI0069 §12.4, `ICH_LR<n>_EL2.HW`). No lock is taken on the way: the caller keeps the list
//! register's content ready. The model steps in where the guest configures the interrupt, and at
//! a switch of vCPUs.
//!
//! Rule: while a vCPU is loaded the physical interrupt is active exactly while the virtual one is
//! pending or active. `PhysicalTimer` is how the model asks for that.

use super::list_register::{Entry, ListRegisters, TIMER_REGISTER};
use super::selection::LeftOut;
use super::{Kicks, TIMER_BIT, Vgic, slot};
use crate::addr::VcpuIdx;
use hv_abi::guest_map::PPI_VIRTUAL_TIMER;

/// What has to happen to the active state of the physical PPI 27 of the CPU that runs the vCPU.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum PhysicalTimer {
    /// Nothing.
    #[default]
    Unchanged,
    /// Write its bit to `GICR_ISACTIVER0`.
    Activate,
    /// Write its bit to `GICR_ICACTIVER0`.
    Deactivate,
}

impl Vgic {
    /// What `ICH_LR0_EL2` has to hold when the physical PPI 27 arrives, or 0 while the guest has
    /// the interrupt or its group disabled, or more is pending than there are list registers; then
    /// [`timer_asserted`](Self::timer_asserted) is to be called. Good until the next
    /// [`refill`](Self::refill), which gives it anew.
    #[inline]
    pub fn timer_template(&self, vcpu: VcpuIdx) -> u64 {
        if self.crowded & Kicks::of(vcpu).bits() != 0 {
            return 0;
        }
        self.templates[slot(vcpu)]
    }

    /// The guest changed the interrupt's configuration, or that of a group: makes the template anew.
    #[inline(never)]
    pub(super) fn make_template(&mut self, v: usize) {
        self.templates[v] = 0;
        if self.private[v].forwarded(self.groups) & TIMER_BIT != 0 {
            self.templates[v] = self.timer_entry(v).with_state(true, false).with_hardware().0;
        }
    }

    /// Whether a refill has nothing to do for the timer.
    #[inline]
    pub(super) const fn is_timer_idle(&self, vcpu: VcpuIdx) -> bool {
        let bank = &self.private[slot(vcpu)];
        let flags = (self.timer_held | self.crowded) & Kicks::of(vcpu).bits();
        (bank.latch | bank.line | bank.active) & TIMER_BIT == 0 && flags == 0
    }

    /// The physical PPI 27 arrived, and is active, while the template was 0: it is delivered by
    /// the refill if the result names the vCPU, else as soon as the guest enables it.
    pub fn timer_asserted(&mut self, vcpu: VcpuIdx, lrs: &mut ListRegisters) -> Kicks {
        let bank = &mut self.private[slot(vcpu)];
        bank.line |= TIMER_BIT;
        // It could not arrive unless the guest had deactivated the one before, so that what the
        // list register holds is over; a later fold must not take it for the new one.
        lrs.take(0);
        bank.active &= !TIMER_BIT;
        self.timer_held |= Kicks::of(vcpu).bits();
        if self.timer_deliverable(slot(vcpu)) { Kicks::of(vcpu) } else { Kicks::NONE }
    }

    /// The timer of a vCPU that has been folded does not ask for its interrupt any more: what was pending by its
    /// level is not.
    pub const fn timer_fell(&mut self, vcpu: VcpuIdx) {
        self.private[slot(vcpu)].line &= !TIMER_BIT;
    }

    /// Whether the timer's interrupt waits and may be taken.
    #[inline]
    pub(super) const fn timer_deliverable(&self, v: usize) -> bool {
        let bank = &self.private[v];
        let waiting = (bank.latch | bank.line) & !bank.active & TIMER_BIT;
        waiting & bank.forwarded(self.groups) != 0
    }

    /// Takes list register 0 back, if it was used, and does what was asked for meanwhile.
    #[inline]
    pub(super) fn fold_timer(&mut self, vcpu: VcpuIdx, lrs: &mut ListRegisters) {
        let me = Kicks::of(vcpu).bits();
        let bank = &mut self.private[slot(vcpu)];
        let mut was_active = bank.active & TIMER_BIT != 0;
        if lrs.used & TIMER_REGISTER != 0 {
            let entry = lrs.take(0);
            was_active = entry.is_active();
            if entry.is_pending() && bank.drop_pending & TIMER_BIT == 0 {
                let latch = bank.listed_latch & TIMER_BIT;
                bank.latch |= latch;
                bank.line |= TIMER_BIT & !latch;
            }
            if entry.is_hardware() {
                self.timer_held &= !me;
                if entry.is_pending() || entry.is_active() {
                    self.timer_held |= me;
                }
            }
        }
        bank.settle_active(TIMER_BIT, was_active);
        bank.forget_listing(TIMER_BIT);
        self.timer_edited &= !me;
    }

    /// Fills list register 0, and says what the physical interrupt needs. `left_out` is what the
    /// other list registers had no room for.
    #[inline]
    pub(super) fn refill_timer(&mut self, vcpu: VcpuIdx, lrs: &mut ListRegisters, left_out: LeftOut) -> PhysicalTimer {
        let (v, me) = (slot(vcpu), Kicks::of(vcpu).bits());
        let bank = &self.private[v];
        let active = bank.active & TIMER_BIT != 0;
        let pending = (bank.latch | bank.line) & TIMER_BIT != 0;
        let held = self.timer_held & me != 0;
        if lrs.used & TIMER_REGISTER != 0 || !(active | pending | held) {
            return PhysicalTimer::Unchanged;
        }
        self.list_timer(v, lrs, left_out);
        match (pending || active, held) {
            (true, false) => {
                self.timer_held |= me;
                PhysicalTimer::Activate
            }
            (false, true) => {
                self.timer_held &= !me;
                PhysicalTimer::Deactivate
            }
            _ => PhysicalTimer::Unchanged,
        }
    }

    /// Puts the timer's interrupt into list register 0 if there is reason to.
    ///
    /// Where something pending was left out, the maintenance interrupt that brings it in comes when
    /// nothing in a list register is pending. So a timer that is pending must not outlast the
    /// others there: with a lower priority than all of them it waits in the model.
    #[inline(never)]
    fn list_timer(&mut self, v: usize, lrs: &mut ListRegisters, left_out: LeftOut) {
        let bank = &self.private[v];
        let active = bank.active & TIMER_BIT != 0;
        let pending = (bank.latch | bank.line) & bank.forwarded(self.groups) & TIMER_BIT != 0;
        let outlasts = left_out.pending.is_some_and(|last| self.timer_entry(v).priority() > last);
        if !active && (!pending || outlasts) {
            return;
        }
        let by_hand = pending && (active || bank.latch & TIMER_BIT != 0);
        let entry = self.timer_entry(v).with_state(pending, active);
        // A hardware interrupt cannot be pending and active at once (IHI0069 §12.4,
        // `ICH_LR<n>_EL2.State`), nor tell its latch from its line. A guest gets there by writing to
        // ISPENDR or ISACTIVER; then the list register is a software one, at whose end the model
        // has the physical interrupt deactivated.
        let entry = if by_hand { entry.with_eoi_maintenance(true) } else { entry.with_hardware() };
        lrs.set_timer(entry.0);
        let bank = &mut self.private[v];
        bank.line &= !TIMER_BIT;
        if pending {
            bank.listed_pending |= TIMER_BIT;
            bank.listed_latch |= bank.latch & TIMER_BIT;
            bank.latch &= !TIMER_BIT;
        }
    }

    /// Gives up the physical interrupt of a vCPU that leaves its CPU. Merely pending, it is
    /// forgotten: the timer's level raises it again when the vCPU is back.
    pub(super) fn release_timer(&mut self, vcpu: VcpuIdx) -> PhysicalTimer {
        let me = Kicks::of(vcpu).bits();
        self.private[slot(vcpu)].line &= !TIMER_BIT;
        let held = self.timer_held & me != 0;
        self.timer_held &= !me;
        if held { PhysicalTimer::Deactivate } else { PhysicalTimer::Unchanged }
    }

    #[inline]
    const fn timer_entry(&self, v: usize) -> Entry {
        let bank = &self.private[v];
        let priority = bank.priority[PPI_VIRTUAL_TIMER as usize];
        Entry::new(PPI_VIRTUAL_TIMER, priority, bank.group1 & TIMER_BIT != 0)
    }
}
