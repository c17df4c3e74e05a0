//! Which vCPU runs where, and for how long.
//!
//! Each CPU has a queue of its own ([`Queue`]) behind a lock of its own. vCPUs that compete share by weight, in
//! rounds; a CPU that has nobody left in its round takes over somebody of another's before it begins the next, so
//! that rounds go on together and shares hold across CPUs (distributed weighted round robin: Li, Baumberger and
//! Hahn 2009). Reservations go first, earliest deadline first. A pinned vCPU owns its CPU.
//!
//! ```text
//!            wake                pick                 block
//!  Blocked --------> Queued ------------> Running ------------> Blocked
//!     ^                 ^      release       |
//!     | add             +--------------------+
//!    Off <------------------ remove (from any state: the CPU where it was has let go)
//! ```
//!
//! A vCPU that blocks stays *resident*: its registers remain in the CPU until another vCPU needs it, so that one
//! that sleeps and wakes alone costs no switch. A resident vCPU runs at its home only.
//!
//! Nothing ticks: the scheduler names a time to look again only while somebody waits, or a bandwidth is counted.

mod admission;
mod balance;
mod entity;
mod list;
mod outcome;
mod params;
mod queue;

use core::ops::Index;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU32, Ordering};

use crate::addr::{CpuId, VcpuId};
use balance::Whom;
pub use entity::State;
use entity::{Entity, Place};
pub use outcome::{Account, Block, Kick, Pick, Review, Turn};
pub use params::{Bandwidth, Class, CpuMask, Params, Refused, WEIGHT_DEFAULT, WEIGHT_MAX, Weight};
pub use queue::Queue;
use queue::{Arrival, Doing, Lengths, Verdict};

/// Physical CPUs that EL2 runs on at most.
pub const MAX_CPUS: usize = 8;
/// vCPUs of all VMs together.
pub const MAX_VCPUS_TOTAL: usize = 264;

/// A lock around a CPU's queue.
pub trait QueueLock {
    /// Around [`Queue::new`].
    const NEW: Self;

    /// Runs `work` with the queue, while nobody else has it.
    fn with<R>(&self, work: impl FnOnce(&mut Queue) -> R) -> R;
}

/// Every vCPU.
#[derive(Debug)]
struct Entities([Entity; MAX_VCPUS_TOTAL]);

impl Index<VcpuId> for Entities {
    type Output = Entity;

    #[inline]
    fn index(&self, vcpu: VcpuId) -> &Entity {
        &self.0[vcpu.index()]
    }
}

/// A queue, and what others read of it without its lock.
#[derive(Debug)]
struct Cpu<L> {
    queue: L,
    waiting: AtomicU16,
    runnable: AtomicU16,
    weight: AtomicU32,
    round: AtomicU32,
    /// It waits for a kick.
    idle: AtomicBool,
    /// It runs a vCPU and does not look at the scheduler by itself.
    unwatched: AtomicBool,
}

impl<L: QueueLock> Cpu<L> {
    #[expect(clippy::declare_interior_mutable_const, reason = "each use of it is a CPU of its own")]
    const NEW: Self = Self {
        queue: L::NEW,
        waiting: AtomicU16::new(0),
        runnable: AtomicU16::new(0),
        weight: AtomicU32::new(0),
        round: AtomicU32::new(0),
        idle: AtomicBool::new(false),
        unwatched: AtomicBool::new(false),
    };

    /// Runs `work` and shows others what has changed.
    fn change<R>(&self, work: impl FnOnce(&mut Queue) -> R) -> R {
        self.queue.with(|queue| {
            let result = work(queue);
            self.show(queue);
            result
        })
    }

    /// Shows others what is in the queue.
    fn show(&self, queue: &Queue) {
        self.runnable.store(queue.runnable, Ordering::Relaxed);
        self.weight.store(queue.weight, Ordering::Relaxed);
        self.round.store(queue.round, Ordering::Relaxed);
        self.waiting.store(queue.waiting, Ordering::SeqCst);
    }
}

/// What a CPU finds in its own queue.
enum Look {
    Turn(Turn),
    /// Somebody waits, for the next round.
    RoundOver,
    /// Nobody: it is idle from now on.
    Idle(Option<u64>),
}

/// All queues and vCPUs.
#[derive(Debug)]
pub struct Scheduler<L> {
    entities: Entities,
    cpus: [Cpu<L>; MAX_CPUS],
    online: AtomicU8,
    /// CPUs of pinned vCPUs, and those that are given to nobody.
    owned: AtomicU8,
}

impl<L: QueueLock> Scheduler<L> {
    /// No vCPU, and no CPU that runs.
    pub const fn new() -> Self {
        Self {
            entities: Entities([const { Entity::new() }; MAX_VCPUS_TOTAL]),
            cpus: [const { Cpu::NEW }; MAX_CPUS],
            online: AtomicU8::new(0),
            owned: AtomicU8::new(0),
        }
    }

    /// `cpu` runs vCPUs from now on; the counter goes at `hz`.
    pub fn bring_up(&self, cpu: CpuId, hz: u64) {
        self.cpu(cpu).change(|queue| queue.begin(cpu, Lengths::of(hz)));
        self.online.fetch_or(CpuMask::one(cpu).0, Ordering::SeqCst);
        self.open_changed();
    }

    #[inline]
    fn cpu(&self, cpu: CpuId) -> &Cpu<L> {
        &self.cpus[cpu.index()]
    }

    /// Works with the queue that guards `vcpu`.
    fn at_home<R>(&self, vcpu: VcpuId, mut work: impl FnMut(&mut Queue, &Entity) -> R) -> R {
        let entity = &self.entities[vcpu];
        loop {
            let home = entity.home();
            let done = self.cpu(home).change(|queue| (entity.home() == home).then(|| work(queue, entity)));
            if let Some(result) = done {
                return result;
            }
        }
    }

    /// A vCPU that is off comes to life, asleep. Nothing happens to one that is not off.
    pub fn add(&self, vcpu: VcpuId) {
        self.at_home(vcpu, |queue, entity| {
            if entity.state() == State::Off {
                entity.set_state(State::Blocked);
                entity.set_resident(false);
                entity.set_woken(false);
                if let Some(home) = self.lightest(queue.allowed(entity)) {
                    entity.set_home(home);
                }
            }
        });
    }

    /// Something arrived for a vCPU.
    pub fn wake(&self, vcpu: VcpuId, now: u64) -> Kick {
        let sent = self.at_home(vcpu, |queue, entity| match entity.state() {
            State::Off | State::Queued => Some(Kick::NONE),
            State::Running => {
                entity.set_woken(true);
                Some(Kick::NONE)
            }
            State::Blocked => {
                entity.set_since(now);
                let here = queue.allowed(entity).contains(entity.home()) || entity.is_resident();
                if !here {
                    entity.set_state(State::Queued);
                    return None;
                }
                queue.count_in(entity);
                queue.enqueue(&self.entities, vcpu, Arrival::Woken, now);
                Some(self.who_runs(queue, entity))
            }
        });
        sent.unwrap_or_else(|| self.send(vcpu, now))
    }

    /// Who is to notice that `entity` was queued here.
    fn who_runs(&self, queue: &mut Queue, entity: &Entity) -> Kick {
        let home = entity.home();
        match queue.doing {
            Doing::Choosing => Kick::NONE,
            Doing::Idle => {
                self.cpu(home).idle.store(false, Ordering::Relaxed);
                Kick::cpu(home)
            }
            Doing::Running { .. } => {
                if !entity.is_resident() && entity.bound().is_none() {
                    self.cpu(home).show(queue);
                    if let Some(idle) = self.take_idle(queue.allowed(entity)) {
                        return Kick::cpu(idle);
                    }
                }
                let unwatched = &self.cpu(home).unwatched;
                if unwatched.load(Ordering::Relaxed)
                    || queue.is_preempted_by(&self.entities, entity)
                    || entity.place() == Place::Held
                {
                    unwatched.store(false, Ordering::Relaxed);
                    return Kick::cpu(home);
                }
                Kick::NONE
            }
        }
    }

    /// What `cpu` does next. It runs nothing now: what it ran has blocked, was released or removed. Where it runs another
    /// vCPU than the one whose registers it has, it has let go of that one with this.
    pub fn pick(&self, cpu: CpuId, now: u64) -> Turn {
        let mut kick = Kick::NONE;
        loop {
            match self.look(cpu, now) {
                Look::Turn(Turn { pick: Pick::Evict(vcpu), .. }) if !self.entities[vcpu].is_resident() => {
                    kick = kick.union(self.send(vcpu, now));
                }
                Look::Turn(turn) => return Turn { kick: kick.union(turn.kick), ..turn },
                Look::RoundOver => {
                    if !self.take_over(cpu, Whom::OfThisRound, now) {
                        let totals = self.totals();
                        self.cpu(cpu).change(|queue| queue.advance(totals));
                    }
                }
                // Who came elsewhere before this CPU was seen idle is seen here.
                Look::Idle(until) => {
                    if !self.take_over(cpu, Whom::Anybody, now) {
                        return Turn { pick: Pick::Idle, until, kick };
                    }
                }
            }
        }
    }

    fn look(&self, cpu: CpuId, now: u64) -> Look {
        let here = self.cpu(cpu);
        here.change(|queue| {
            if let Some(vcpu) = queue.first(&self.entities, now) {
                return Look::Turn(self.begin(queue, cpu, vcpu, now));
            }
            if queue.has_following() {
                return Look::RoundOver;
            }
            queue.doing = Doing::Idle;
            here.idle.store(true, Ordering::SeqCst);
            Look::Idle(queue.until(&self.entities, now))
        })
    }

    fn begin(&self, queue: &mut Queue, cpu: CpuId, vcpu: VcpuId, now: u64) -> Turn {
        let entity = &self.entities[vcpu];
        if !queue.allowed(entity).contains(cpu) {
            queue.unlink(&self.entities, vcpu);
            queue.count_out(entity);
            return Turn { pick: Pick::Evict(vcpu), until: None, kick: Kick::NONE };
        }
        self.cpu(cpu).idle.store(false, Ordering::Relaxed);
        queue.start(&self.entities, vcpu, now);
        let until = queue.until(&self.entities, now);
        Turn { pick: Pick::Run(vcpu), until, kick: self.watched(queue, cpu, until) }
    }

    /// `cpu` was kicked, or its time has come, while it runs a vCPU.
    pub fn review(&self, cpu: CpuId, now: u64) -> (Review, Kick) {
        let here = self.cpu(cpu);
        if let Some(round) = self.waits_elsewhere(cpu) {
            here.queue.with(|queue| {
                if !queue.is_contended() {
                    queue.share_with(&self.entities, round, now);
                }
            });
        }
        loop {
            let verdict = here.change(|queue| match queue.judge(&self.entities, now) {
                Verdict::RoundOver if queue.has_following() => Verdict::Leaves,
                verdict => verdict,
            });
            let over = verdict == Verdict::RoundOver;
            if verdict == Verdict::Leaves || over && self.take_over(cpu, Whom::OfThisRound, now) {
                return (Review::Leaves, Kick::NONE);
            }
            let others = over && self.could_help(cpu);
            let totals = self.totals();
            let stays = here.change(|queue| {
                if over && queue.go_on(&self.entities, others, totals) {
                    return None;
                }
                let until = queue.until(&self.entities, now);
                Some((Review::Stays(until), self.watched(queue, cpu, until)))
            });
            if let Some(stays) = stays {
                return stays;
            }
        }
    }

    /// The vCPU that runs on `cpu` waits for something that EL2 does not see: whether others go first.
    pub fn give_way(&self, cpu: CpuId) -> Review {
        let leaves = self.cpu(cpu).queue.with(Queue::give_way);
        if leaves { Review::Leaves } else { Review::Stays(None) }
    }

    /// Wakes the vCPU that sleeps with its registers in `cpu`, which is idle; whether it may go on there at once. It is
    /// the same as a wake and a pick while nobody else waits.
    #[inline]
    pub fn resume(&self, cpu: CpuId, vcpu: VcpuId, now: u64) -> bool {
        let here = self.cpu(cpu);
        here.queue.with(|queue| {
            let resumed = queue.resume(&self.entities, vcpu, now);
            if resumed {
                here.idle.store(false, Ordering::Relaxed);
                here.unwatched.store(true, Ordering::Relaxed);
            }
            resumed
        })
    }

    /// `cpu`, where nobody is resident, takes a sleeping vCPU's registers in before it wakes. Whether it may: no other
    /// CPU has them.
    pub fn adopt(&self, cpu: CpuId, vcpu: VcpuId) -> bool {
        self.at_home(vcpu, |queue, entity| {
            let homeless = entity.state() == State::Blocked && !entity.is_resident();
            let adopted = homeless && queue.allowed(entity).contains(cpu);
            if adopted {
                entity.set_resident(true);
                entity.set_home(cpu);
            }
            adopted
        }) && {
            self.cpu(cpu).queue.with(|queue| queue.hold(vcpu));
            true
        }
    }

    /// A running vCPU wants to sleep. It stays resident.
    #[inline]
    pub fn block(&self, cpu: CpuId, vcpu: VcpuId, now: u64) -> Block {
        let entity = &self.entities[vcpu];
        self.cpu(cpu).queue.with(|queue| {
            if entity.is_woken() {
                entity.set_woken(false);
                return Block::Woken;
            }
            queue.stop(entity, now);
            Block::Blocked
        })
    }

    /// `cpu` lets go of a vCPU that was running there, or resident. One that could run may do so anywhere from now on: a
    /// CPU that picks it waits for its registers, so these are to be saved next, unless it is picked here again.
    pub fn release(&self, cpu: CpuId, vcpu: VcpuId, now: u64) -> Kick {
        let entity = &self.entities[vcpu];
        // Its home is this CPU for as long as its registers are here.
        let (state, listed) = self.cpu(cpu).queue.with(|queue| {
            queue.let_go_of(vcpu, entity);
            (entity.state(), entity.place() != Place::None)
        });
        match state {
            State::Off | State::Blocked => Kick::NONE,
            // It was taken out of its list to be evicted, and is nobody else's to send.
            State::Queued if !listed => self.send(vcpu, now),
            State::Queued | State::Running => self.requeue(cpu, vcpu, now),
        }
    }

    /// One that could run is nowhere resident any more.
    fn requeue(&self, cpu: CpuId, vcpu: VcpuId, now: u64) -> Kick {
        let entity = &self.entities[vcpu];
        let here = self.cpu(cpu).change(|queue| {
            let allowed = queue.allowed(entity);
            let here = allowed.contains(cpu);
            let running = entity.state() == State::Running;
            if entity.home() != cpu || !running && entity.place() == Place::None {
                // It was queued, and has been taken over, or out of its list to be sent elsewhere, already.
                return Some(CpuMask::NONE);
            }
            if running {
                let arrival = queue.let_run_go(entity, now);
                entity.set_state(State::Queued);
                if here {
                    queue.enqueue(&self.entities, vcpu, arrival, now);
                } else {
                    queue.count_out(entity);
                }
            } else if !here {
                queue.unlink(&self.entities, vcpu);
                queue.count_out(entity);
            }
            here.then_some(allowed)
        });
        match here {
            // What is in the list has been shown.
            Some(allowed) => self.take_idle(allowed).map_or(Kick::NONE, Kick::cpu),
            None => self.send(vcpu, now),
        }
    }

    /// A vCPU is gone. The CPU where it was running or resident has let go of it.
    pub fn remove(&self, vcpu: VcpuId, now: u64) {
        self.at_home(vcpu, |queue, entity| {
            match entity.state() {
                State::Queued => {
                    queue.unlink(&self.entities, vcpu);
                    queue.count_out(entity);
                }
                State::Running => queue.stop(entity, now),
                State::Off | State::Blocked => {}
            }
            entity.set_state(State::Off);
            queue.let_go_of(vcpu, entity);
        });
    }

    /// What it does, and how long it has run and waited up to now.
    pub fn account(&self, vcpu: VcpuId, now: u64) -> Account {
        self.at_home(vcpu, |_, entity| {
            let since = now.saturating_sub(entity.since());
            let (state, cpu) = (entity.state(), entity.home());
            let (ran, waited) = (entity.ran(), entity.waited());
            match state {
                State::Running => Account { state, cpu, ran: ran + since, waited },
                State::Queued => Account { state, cpu, ran, waited: waited + since },
                State::Off | State::Blocked => Account { state, cpu, ran, waited },
            }
        })
    }

    /// How long a vCPU that runs has waited so far.
    #[inline]
    pub fn waited(&self, vcpu: VcpuId) -> u64 {
        self.entities[vcpu].waited()
    }
}

impl<L: QueueLock> Default for Scheduler<L> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests;
