//! Between CPUs: who sends work, who takes it over, and who is asked to help.

use core::sync::atomic::Ordering;

use super::queue::{Arrival, Totals, is_before};
use super::{CpuMask, Kick, Queue, QueueLock, Scheduler, State};
use crate::addr::{CpuId, VcpuId};

/// Whom a CPU takes over from others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Whom {
    /// Those that wait in its round or an earlier one.
    OfThisRound,
    /// All that wait: the CPU has nobody.
    Anybody,
}

impl<L: QueueLock> Scheduler<L> {
    /// The CPU of `among` with the least to do.
    pub(super) fn lightest(&self, among: CpuMask) -> Option<CpuId> {
        among.iter().min_by_key(|cpu| self.cpu(*cpu).weight.load(Ordering::Relaxed))
    }

    /// An idle CPU of `among` for somebody whose waiting has been [shown](Cpu::show). It is to be kicked.
    ///
    /// A CPU that goes idle says so, and looks at who waits anywhere after that; here it is the other way round. So
    /// one of both sees the other.
    pub(super) fn take_idle(&self, among: CpuMask) -> Option<CpuId> {
        let idle = |cpu: &CpuId| {
            let flag = &self.cpu(*cpu).idle;
            flag.load(Ordering::SeqCst) && flag.swap(false, Ordering::SeqCst)
        };
        among.iter().find(idle)
    }

    /// Sends a vCPU that could run, and is in no list and no CPU, to a CPU that may run it.
    pub(super) fn send(&self, vcpu: VcpuId, now: u64) -> Kick {
        let entity = &self.entities[vcpu];
        let allowed = entity.allowed(self.open());
        let target = self.lightest(allowed).unwrap_or(entity.home());
        // Under the lock of the queue that it leaves: whoever looks at it there has done so before, or looks at the target.
        self.at_home(vcpu, |_, entity| entity.set_home(target));
        self.cpu(target).change(|queue| {
            if entity.state() != State::Queued {
                return Kick::NONE;
            }
            queue.count_in(entity);
            queue.enqueue(&self.entities, vcpu, Arrival::Moved, now);
            self.who_runs(queue, entity)
        })
    }

    /// Notes whether `cpu` comes back by itself; a CPU that does not could help where somebody waits.
    pub(super) fn watched(&self, queue: &Queue, cpu: CpuId, until: Option<u64>) -> Kick {
        self.cpu(cpu).unwatched.store(until.is_none(), Ordering::Relaxed);
        if until.is_none() || queue.waiting == 0 {
            return Kick::NONE;
        }
        let alone = |cpu: &CpuId| self.cpu(*cpu).unwatched.load(Ordering::Relaxed);
        let alone = self.open().iter().filter(alone).fold(CpuMask::NONE, CpuMask::with);
        match queue.any_for(&self.entities, alone) {
            Some(helper) => {
                self.cpu(helper).unwatched.store(false, Ordering::Relaxed);
                Kick::cpu(helper)
            }
            None => Kick::NONE,
        }
    }

    pub(super) fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for cpu in self.open().iter() {
            let cpu = self.cpu(cpu);
            totals.weight += u64::from(cpu.weight.load(Ordering::Relaxed));
            totals.vcpus += u64::from(cpu.runnable.load(Ordering::Relaxed));
            totals.cpus += 1;
        }
        totals
    }

    /// Takes somebody who waits at another CPU into `cpu`'s queue.
    pub(super) fn take_over(&self, cpu: CpuId, whom: Whom, now: u64) -> bool {
        let others = self.open().without(CpuMask::one(cpu));
        if !self.open().contains(cpu) || others.is_empty() {
            return false;
        }
        let round = self.cpu(cpu).round.load(Ordering::Relaxed);
        let hungry = whom == Whom::Anybody;
        for other in others.iter() {
            let there = self.cpu(other);
            let its = there.round.load(Ordering::Relaxed);
            if there.waiting.load(Ordering::SeqCst) == 0 || !hungry && is_before(round, its) {
                continue;
            }
            let found = there.change(|queue| {
                // The next round of a CPU that is late is one that this CPU has begun.
                let vcpu = queue.spare(&self.entities, cpu, hungry || is_before(queue.round, round))?;
                queue.unlink(&self.entities, vcpu);
                queue.count_out(&self.entities[vcpu]);
                self.entities[vcpu].set_home(cpu);
                Some((vcpu, queue.round))
            });
            if let Some((vcpu, round)) = found {
                self.receive(cpu, vcpu, round, now);
                return true;
            }
        }
        false
    }

    /// A vCPU that was taken over comes into `cpu`'s queue.
    fn receive(&self, cpu: CpuId, vcpu: VcpuId, round: u32, now: u64) {
        self.cpu(cpu).change(|queue| {
            queue.join(round);
            let entity = &self.entities[vcpu];
            if entity.state() == State::Queued {
                queue.count_in(entity);
                queue.enqueue(&self.entities, vcpu, Arrival::Moved, now);
            }
        });
    }

    /// Whether somebody waits at another CPU who could run on `cpu` as well, if not in this round.
    pub(super) fn could_help(&self, cpu: CpuId) -> bool {
        let one = CpuMask::one(cpu);
        let waits = |other: &CpuId| {
            let there = self.cpu(*other);
            there.waiting.load(Ordering::Relaxed) > 0
                && there.queue.with(|queue| queue.any_for(&self.entities, one).is_some())
        };
        self.open().contains(cpu) && self.open().without(one).iter().any(|other| waits(&other))
    }

    /// The round of a CPU where somebody waits, if `cpu` is one of those that could help.
    pub(super) fn waits_elsewhere(&self, cpu: CpuId) -> Option<u32> {
        let open = self.open();
        let waits = |other: &CpuId| self.cpu(*other).waiting.load(Ordering::Relaxed) > 0;
        let other = open.without(CpuMask::one(cpu)).iter().find(waits)?;
        open.contains(cpu).then(|| self.cpu(other).round.load(Ordering::Relaxed))
    }
}
