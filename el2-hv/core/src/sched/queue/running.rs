//! The vCPU that runs: its turn, and how it ends.

use super::{Arrival, DEBT_MAX, Doing, Entities, Entity, Place, Queue, State, Totals, Verdict};
use crate::addr::VcpuId;
use crate::counter::earlier;

impl Queue {
    /// `vcpu`, which [`Queue::first`] has named, runs from now on.
    #[inline]
    pub(in crate::sched) fn start(&mut self, all: &Entities, vcpu: VcpuId, now: u64) {
        let entity = &all[vcpu];
        let place = entity.place();
        match place {
            Place::Even | Place::Odd => self.current().remove(all, vcpu),
            Place::Urgent => self.urgent.remove(all, vcpu),
            _ => self.reserved.remove(all, vcpu),
        }
        self.waiting -= 1;
        let urgent = place == Place::Urgent;
        entity.set_state(State::Running);
        if let Some(before) = self.resident.replace(vcpu)
            && before != vcpu
        {
            all[before].set_resident(false);
        }
        entity.set_resident(true);
        entity.set_woken(false);
        entity.set_waited(entity.waited() + now.saturating_sub(entity.since()));
        entity.set_since(now);
        self.contended = self.waiting > 0;
        if self.contended {
            self.enter_round(entity);
        }
        self.doing = Doing::Running { vcpu, urgent };
    }

    /// When the first of those that are held competes again.
    fn release(&self, all: &Entities) -> Option<u64> {
        self.held.head().map(|vcpu| all[vcpu].deadline())
    }

    /// When the scheduler has to look again, if nothing else happens.
    pub(in crate::sched) fn until(&self, all: &Entities, now: u64) -> Option<u64> {
        let Doing::Running { vcpu, .. } = self.doing else { return self.release(all) };
        let entity = &all[vcpu];
        let after = |ticks: i64| now.saturating_add(ticks.max(0) as u64);
        let mut until = None;
        if self.contended && entity.bound().is_none() {
            until = Some(after(entity.left()));
        }
        if entity.bandwidth().is_some() {
            until = earlier(until, Some(after(entity.quota())));
        }
        if self.held.is_empty() { until } else { earlier(until, self.release(all)) }
    }

    /// What holds for the vCPU that runs.
    pub(in crate::sched) fn judge(&mut self, all: &Entities, now: u64) -> Verdict {
        let Doing::Running { vcpu, urgent } = self.doing else { return Verdict::Stays };
        let entity = &all[vcpu];
        self.charge(entity, now);
        if !self.held.is_empty() {
            self.let_go(all, now);
        }
        if !self.is_allowed(entity) || entity.bandwidth().is_some() && entity.quota() <= 0 {
            return Verdict::Leaves;
        }
        if let Some(first) = self.reserved.head()
            && (!entity.is_reserved() || all[first].deadline() < entity.deadline())
        {
            return Verdict::Leaves;
        }
        if entity.bound().is_some() || !self.contended {
            return Verdict::Stays;
        }
        let somebody = !self.urgent.is_empty() || !self.current().is_empty();
        match (entity.left() > 0, somebody) {
            (true, _) if !urgent && !self.urgent.is_empty() => Verdict::Leaves,
            (true, _) => Verdict::Stays,
            (false, true) => Verdict::Leaves,
            (false, false) => Verdict::RoundOver,
        }
    }

    /// Somebody waits at another CPU, in its round: this CPU's vCPU, which has had it for itself, has no more
    /// than its share from now on.
    pub(in crate::sched) fn share_with(&mut self, all: &Entities, round: u32, now: u64) {
        self.join(round);
        self.contend(all, now);
    }

    /// The vCPU that runs goes on in the next round, which nobody else waits for here; `others`: somebody does at
    /// another CPU. Returns whether it has to sit that round out as well, for what it ran too long.
    pub(in crate::sched) fn go_on(&mut self, all: &Entities, others: bool, totals: Totals) -> bool {
        self.advance(totals);
        self.contended = self.waiting > 0 || others;
        let Doing::Running { vcpu, .. } = self.doing else { return false };
        let entity = &all[vcpu];
        entity.set_left(self.left_of_next(entity));
        entity.set_round(self.round);
        self.contended && entity.left() <= 0
    }

    /// What is left to `entity` of a share of the next round when it has used up this one's, and maybe more. That is paid
    /// back in as many rounds as it takes: a CPU may take its interrupts late, and a timer of EL2 with them.
    pub(super) fn left_of_next(&self, entity: &Entity) -> i64 {
        let share = self.share(entity);
        let owed = entity.left().min(0).saturating_neg().min(share.saturating_mul(DEBT_MAX));
        let left = share.saturating_sub(owed);
        if left > 0 { left.max(self.lengths.turn as i64) } else { left }
    }

    /// Whether the CPU runs a vCPU that is to make room for `entity`, which has just been queued.
    pub(in crate::sched) fn is_preempted_by(&self, all: &Entities, entity: &Entity) -> bool {
        let Doing::Running { vcpu, urgent } = self.doing else { return false };
        let running = &all[vcpu];
        match entity.place() {
            Place::Reserved => !running.is_reserved() || entity.deadline() < running.deadline(),
            Place::Urgent => !urgent && running.bound().is_none(),
            _ => false,
        }
    }

    /// The vCPU that runs goes to sleep.
    #[inline]
    pub(in crate::sched) fn stop(&mut self, entity: &Entity, now: u64) {
        self.charge(entity, now);
        self.count_out(entity);
        entity.set_state(State::Blocked);
        self.doing = Doing::Choosing;
    }

    /// The vCPU that runs lets the CPU go: how it comes back into the queue.
    pub(in crate::sched) fn let_run_go(&mut self, entity: &Entity, now: u64) -> Arrival {
        self.charge(entity, now);
        self.doing = Doing::Choosing;
        if core::mem::take(&mut self.yields) { Arrival::Moved } else { Arrival::Preempted }
    }

    /// The one that sleeps here goes on, where nobody waits.
    #[inline]
    pub(in crate::sched) fn resume(&mut self, all: &Entities, vcpu: VcpuId, now: u64) -> bool {
        let entity = &all[vcpu];
        let asleep_here = entity.state() == State::Blocked && entity.is_resident() && entity.home() == self.cpu;
        if !asleep_here || self.waiting > 0 || entity.bandwidth().is_some() || !self.is_allowed(entity) {
            return false;
        }
        self.count_in(entity);
        entity.set_state(State::Running);
        entity.set_woken(false);
        entity.set_since(now);
        self.contended = false;
        self.doing = Doing::Running { vcpu, urgent: false };
        true
    }
}
