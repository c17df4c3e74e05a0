//! Changing what a vCPU gets, while everything runs: what is promised to one is not taken from another.

use core::sync::atomic::Ordering;

use hv_abi::guest_map::MAX_VCPUS;

use super::entity::{Entity, Place, State};
use super::queue::Arrival;
use super::{Class, CpuMask, Kick, MAX_VCPUS_TOTAL, Params, Queue, QueueLock, Refused, Scheduler};
use crate::addr::{CpuId, VcpuId};

/// Of each CPU, what may be reserved, in millionths: the rest is for those that reserve nothing.
const RESERVABLE: u64 = 900_000;

impl<L: QueueLock> Scheduler<L> {
    /// CPUs that run and that nobody owns.
    pub fn open(&self) -> CpuMask {
        let owned = CpuMask(self.owned.load(Ordering::SeqCst));
        CpuMask(self.online.load(Ordering::SeqCst)).without(owned)
    }

    /// Tells every queue which CPUs are open.
    pub(super) fn open_changed(&self) {
        loop {
            let open = self.open();
            for cpu in CpuMask(self.online.load(Ordering::SeqCst)).iter() {
                self.cpu(cpu).change(|queue| queue.set_open(open));
            }
            // Who has changed it meanwhile may have told them before this one did.
            if open == self.open() {
                return;
            }
        }
    }

    /// Takes new parameters of a vCPU in any state. Calls of this follow one another.
    ///
    /// # Errors
    /// See [`Refused`]; nothing has changed.
    pub fn set(&self, vcpu: VcpuId, params: &Params, now: u64) -> Result<Kick, Refused> {
        let bound = self.place(vcpu, params)?;
        Ok(self.put(vcpu, params, bound, now))
    }

    /// The same for several vCPUs: for all of them, or for none where one is refused. CPUs are to be kicked in both cases.
    pub fn set_all(&self, vcpus: &[VcpuId], params: &Params, now: u64) -> (Kick, Result<(), Refused>) {
        let (mut kick, mut before) = (Kick::NONE, [(Params::default(), None); MAX_VCPUS]);
        for (done, (vcpu, was)) in vcpus.iter().zip(&mut before).enumerate() {
            let entity = &self.entities[*vcpu];
            *was = (entity.params(), entity.bound());
            match self.set(*vcpu, params, now) {
                Ok(more) => kick = kick.union(more),
                Err(refused) => {
                    // Backwards, so that what one gives up is free before another has it again.
                    for at in (0..done).rev() {
                        let (params, bound) = &before[at];
                        kick = kick.union(self.put(vcpus[at], params, *bound, now));
                    }
                    return (kick, Err(refused));
                }
            }
        }
        (kick, Ok(()))
    }

    /// The parameters of a vCPU that is off go back to what they are by default, its times to zero.
    pub fn reset(&self, vcpu: VcpuId, now: u64) -> Kick {
        let kick = self.put(vcpu, &Params::default(), None, now);
        self.at_home(vcpu, |_, entity| {
            entity.set_ran(0);
            entity.set_waited(0);
        });
        kick
    }

    /// Takes parameters whose place is known.
    fn put(&self, vcpu: VcpuId, params: &Params, bound: Option<CpuId>, now: u64) -> Kick {
        let before = self.entities[vcpu].owns();
        let kick = self.apply(vcpu, params, bound, now);
        kick.union(self.own(before, self.entities[vcpu].owns(), now))
    }

    fn own(&self, before: Option<CpuId>, after: Option<CpuId>, now: u64) -> Kick {
        if before == after {
            return Kick::NONE;
        }
        if let Some(cpu) = before {
            self.owned.fetch_and(!CpuMask::one(cpu).0, Ordering::SeqCst);
        }
        if let Some(cpu) = after {
            self.owned.fetch_or(CpuMask::one(cpu).0, Ordering::SeqCst);
        }
        self.open_changed();
        // Who runs on a CPU that is owned from now on leaves it; a CPU that is given back may be idle.
        let looks = before.map_or(Kick::NONE, Kick::cpu).union(after.map_or(Kick::NONE, Kick::cpu));
        after.map_or(looks, |cpu| looks.union(self.clear(cpu, now)))
    }

    /// Gives `cpu` to whoever competes, or takes it away from them: who runs there leaves when it is kicked.
    pub fn lend(&self, cpu: CpuId, lent: bool, now: u64) -> Kick {
        let (before, after) = if lent { (Some(cpu), None) } else { (None, Some(cpu)) };
        self.own(before, after, now)
    }

    /// `vcpu` runs on `cpu` from now on, of whomever that is: for one that [`Scheduler::lend`] gives to nobody.
    pub fn seat(&self, vcpu: VcpuId, cpu: CpuId, params: &Params, now: u64) -> Kick {
        self.put(vcpu, params, Some(cpu), now)
    }

    /// `cpu`, which is given to nobody and runs nothing, is about to be turned off; whether nobody is to run there.
    /// [`Scheduler::bring_up`] takes it back in.
    pub fn take_down(&self, cpu: CpuId) -> bool {
        let here = self.cpu(cpu);
        let empty = here.change(Queue::end);
        if empty {
            here.idle.store(false, Ordering::SeqCst);
            here.unwatched.store(false, Ordering::Relaxed);
            self.online.fetch_and(!CpuMask::one(cpu).0, Ordering::SeqCst);
            self.open_changed();
        }
        empty
    }

    /// CPUs that run.
    pub fn online(&self) -> CpuMask {
        CpuMask(self.online.load(Ordering::SeqCst))
    }

    /// Sends away who waits at `cpu` and must not.
    fn clear(&self, cpu: CpuId, now: u64) -> Kick {
        let mut kick = Kick::NONE;
        for _ in 0..MAX_VCPUS_TOTAL {
            let stray = self.cpu(cpu).change(|queue| {
                let vcpu = queue.stray(&self.entities)?;
                queue.unlink(&self.entities, vcpu);
                queue.count_out(&self.entities[vcpu]);
                Some(vcpu)
            });
            let Some(vcpu) = stray else { break };
            kick = kick.union(self.send(vcpu, now));
        }
        kick
    }

    fn apply(&self, vcpu: VcpuId, params: &Params, bound: Option<CpuId>, now: u64) -> Kick {
        let sent = self.at_home(vcpu, |queue, entity| {
            let listed = entity.place() != Place::None;
            // One that could run and is in no list is on its way to another queue, and counts in none.
            let counted = listed || entity.state() == State::Running;
            if entity.state() == State::Running {
                // What it ran before is not charged to the new budget.
                queue.charge(entity, now);
            }
            if counted {
                queue.count_out(entity);
            }
            queue.unlink(&self.entities, vcpu);
            entity.set_params(params, bound, now);
            let here = queue.allowed(entity).contains(entity.home()) || entity.is_resident();
            match (entity.state(), here) {
                (State::Queued, false) if listed => return None,
                (State::Blocked | State::Off, false) => {
                    if let Some(home) = queue.allowed(entity).first() {
                        entity.set_home(home);
                    }
                    return Some(Kick::NONE);
                }
                _ => {}
            }
            if counted {
                queue.count_in(entity);
            }
            if listed {
                queue.enqueue(&self.entities, vcpu, Arrival::Woken, now);
            }
            Some(if counted { Kick::cpu(entity.home()) } else { Kick::NONE })
        });
        sent.unwrap_or_else(|| self.send(vcpu, now))
    }

    /// Whether there is a CPU for such parameters; which one, for those that have one only.
    fn place(&self, vcpu: VcpuId, params: &Params) -> Result<Option<CpuId>, Refused> {
        let open = self.entities[vcpu].owns().map_or(self.open(), |own| self.open().with(own));
        let candidates = params.affinity.and(open);
        if candidates.is_empty() {
            return Err(Refused::NoCpu);
        }
        if let Class::Fair { .. } = params.class {
            return Ok(None);
        }
        // A reserved one goes where most is free, a pinned one to the last CPU: interrupts of devices come to the first that nobody owns.
        let (mut best, mut least, mut why) = (None, u64::MAX, Refused::Overcommitted);
        for cpu in candidates.iter() {
            let others = self.reserved_at(cpu, vcpu);
            let fits = match params.class {
                Class::Reserved(bandwidth) => others < least && others + bandwidth.millionths() <= RESERVABLE,
                _ if others != 0 => false,
                _ if self.nobody_needs(cpu, vcpu, open) => true,
                _ => {
                    why = Refused::Strands;
                    false
                }
            };
            if fits {
                (best, least) = (Some(cpu), others);
            }
        }
        best.map(Some).ok_or(why)
    }

    /// What others than `but` have reserved at `cpu`.
    fn reserved_at(&self, cpu: CpuId, but: VcpuId) -> u64 {
        let reserved = |entity: &&Entity| entity.is_reserved() && entity.bound() == Some(cpu);
        let mut sum = 0;
        for (_, entity) in self.others(but).filter(|(_, entity)| reserved(entity)) {
            sum += entity.bandwidth().map_or(0, |bandwidth| bandwidth.millionths());
        }
        sum
    }

    /// Whether everybody else has another CPU of `open`.
    fn nobody_needs(&self, cpu: CpuId, but: VcpuId, open: CpuMask) -> bool {
        let left = open.without(CpuMask::one(cpu));
        !left.is_empty()
            && self.others(but).all(|(_, entity)| entity.bound().is_some() || !entity.affinity().and(left).is_empty())
    }

    fn others(&self, but: VcpuId) -> impl Iterator<Item = (usize, &Entity)> {
        self.entities.0.iter().enumerate().filter(move |(at, _)| *at != but.index())
    }
}
