//! The vCPUs of one CPU: rounds of fair shares, and reservations before them.
//!
//! In each round a vCPU may run for as long as its weight says. Who has used that up waits for the next round,
//! which begins when nobody is left in this one. Every step costs the same however many wait.

mod running;

use super::Entities;
use super::entity::{Entity, Place, State};
use super::list::List;
use super::params::{CpuMask, WEIGHT_DEFAULT};
use crate::addr::{CpuId, VcpuId};

/// Lengths in ticks of the counter.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lengths {
    /// A round of few vCPUs.
    round: u64,
    /// What a round gives to each vCPU on average, at least.
    share: u64,
    /// The shortest turn.
    turn: u64,
}

impl Lengths {
    /// For a counter of `hz`: 8 ms, 500 us, 50 us.
    pub(super) const fn of(hz: u64) -> Self {
        Self { round: hz / 125, share: hz / 2000, turn: hz / 20_000 }
    }

    const NONE: Self = Self { round: 0, share: 0, turn: 0 };
}

/// Shares that an overrun costs at most.
const DEBT_MAX: i64 = 64;

/// Fractions of a tick in [`Queue::unit`].
const UNIT_BITS: u32 = 10;

/// How a vCPU comes into the queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Arrival {
    /// It slept, or was held.
    Woken,
    /// It ran, and another takes the CPU.
    Preempted,
    /// It comes from another CPU's queue.
    Moved,
}

/// What the CPU is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Doing {
    /// It is between two vCPUs, and looks at the queue before it does anything else.
    Choosing,
    /// It waits for a kick.
    Idle,
    /// It runs a vCPU; `urgent`: one that was woken and is not to be preempted by the next that is.
    Running { vcpu: VcpuId, urgent: bool },
}

/// What holds for the vCPU that runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// It goes on.
    Stays,
    /// Another is to run.
    Leaves,
    /// Its share is used up, and nobody else is here in this round.
    RoundOver,
}

/// All that could run, on all CPUs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Totals {
    pub(super) weight: u64,
    pub(super) vcpus: u64,
    pub(super) cpus: u64,
}

/// One CPU's queue.
#[derive(Debug)]
pub struct Queue {
    cpu: CpuId,
    pub(super) doing: Doing,
    /// Whose registers the CPU has, or is about to have: nobody else's are wanted any more.
    resident: Option<VcpuId>,
    reserved: List,
    urgent: List,
    rounds: [List; 2],
    held: List,
    /// vCPUs in lists, those that are held excepted.
    pub(super) waiting: u16,
    /// vCPUs that wait or run, and their weights.
    pub(super) runnable: u16,
    pub(super) weight: u32,
    pub(super) round: u32,
    /// Ticks for each unit of weight in a round, in fractions.
    unit: u64,
    /// The weight of this queue for which that holds.
    basis: u32,
    /// Somebody waits whom this CPU could run: shares are counted.
    contended: bool,
    /// The vCPU that runs lets the others of this round go first.
    yields: bool,
    /// CPUs that nobody owns.
    open: CpuMask,
    lengths: Lengths,
}

impl Queue {
    /// Nobody, on a CPU that does not run yet: all zero.
    pub const fn new() -> Self {
        Self {
            cpu: CpuId(0),
            doing: Doing::Choosing,
            resident: None,
            reserved: List::new(),
            urgent: List::new(),
            rounds: [List::new(), List::new()],
            held: List::new(),
            waiting: 0,
            runnable: 0,
            weight: 0,
            round: 0,
            unit: 0,
            basis: 0,
            contended: false,
            yields: false,
            open: CpuMask::NONE,
            lengths: Lengths::NONE,
        }
    }

    /// The CPU runs from now on.
    pub(super) const fn begin(&mut self, cpu: CpuId, lengths: Lengths) {
        self.cpu = cpu;
        self.lengths = lengths;
        self.basis = WEIGHT_DEFAULT as u32;
        self.unit = (lengths.round << UNIT_BITS) / WEIGHT_DEFAULT as u64;
    }

    /// The CPU is about to be turned off; whether it has nobody. Who is sent here meanwhile waits until it runs again.
    pub(super) const fn end(&mut self) -> bool {
        let empty = self.runnable == 0 && self.resident.is_none();
        if empty {
            self.doing = Doing::Choosing;
        }
        empty
    }

    pub(super) const fn set_open(&mut self, open: CpuMask) {
        self.open = open;
    }

    /// CPUs that `entity` may run on.
    #[inline]
    pub(super) fn allowed(&self, entity: &Entity) -> CpuMask {
        entity.allowed(self.open)
    }

    #[inline]
    fn is_allowed(&self, entity: &Entity) -> bool {
        self.allowed(entity).contains(self.cpu)
    }

    /// It could run from now on.
    #[inline]
    pub(super) fn count_in(&mut self, entity: &Entity) {
        self.runnable += 1;
        self.weight += entity.weight();
    }

    /// Where many wake at once, this round is not to be so much longer.
    fn keep_round_short(&mut self) {
        if self.weight > 2 * self.basis {
            self.unit = self.unit * u64::from(self.basis) / u64::from(self.weight);
            self.basis = self.weight;
        }
    }

    #[inline]
    pub(super) fn count_out(&mut self, entity: &Entity) {
        self.runnable -= 1;
        self.weight -= entity.weight();
    }

    const fn current(&mut self) -> &mut List {
        &mut self.rounds[(self.round & 1) as usize]
    }

    const fn following(&mut self) -> &mut List {
        &mut self.rounds[(!self.round & 1) as usize]
    }

    /// Whether somebody waits for the next round.
    pub(super) const fn has_following(&self) -> bool {
        !self.rounds[(!self.round & 1) as usize].is_empty()
    }

    /// What a round gives to `entity`.
    fn share(&self, entity: &Entity) -> i64 {
        ((u64::from(entity.weight()) * self.unit) >> UNIT_BITS).max(self.lengths.turn) as i64
    }

    /// Its share of this round, if it has not had that yet.
    #[inline]
    fn enter_round(&self, entity: &Entity) {
        if entity.round() != self.round {
            entity.set_round(self.round);
            entity.set_left(self.share(entity));
        }
    }

    /// Books what the vCPU that runs has used since it was looked at last.
    #[inline]
    pub(super) fn charge(&self, entity: &Entity, now: u64) {
        let ran = now.saturating_sub(entity.since());
        entity.set_since(now);
        entity.set_ran(entity.ran() + ran);
        if self.contended {
            entity.set_left(entity.left().saturating_sub(ran as i64));
        }
        if entity.bandwidth().is_some() {
            entity.set_quota(entity.quota().saturating_sub(ran as i64));
        }
    }

    /// From now on somebody waits: what the running vCPU had for itself does not count.
    fn contend(&mut self, all: &Entities, now: u64) {
        if let Doing::Running { vcpu, .. } = self.doing
            && !self.contended
        {
            self.charge(&all[vcpu], now);
            self.enter_round(&all[vcpu]);
        }
        self.contended = true;
    }

    /// Puts a vCPU that could run into a list. It counts as waiting since it says so itself.
    pub(super) fn enqueue(&mut self, all: &Entities, vcpu: VcpuId, arrival: Arrival, now: u64) {
        let entity = &all[vcpu];
        entity.set_state(State::Queued);
        if !has_bandwidth(entity, arrival, now) {
            return self.held.insert_by_deadline(all, vcpu, Place::Held);
        }
        if self.waiting == 0 {
            self.contend(all, now);
        }
        self.waiting += 1;
        if entity.is_reserved() {
            return self.reserved.insert_by_deadline(all, vcpu, Place::Reserved);
        }
        match arrival {
            Arrival::Woken => {
                self.keep_round_short();
                self.enter_round(entity);
            }
            Arrival::Moved => entity.set_round(self.round),
            Arrival::Preempted => {}
        }
        if entity.left() <= 0 {
            return self.postpone(all, vcpu);
        }
        let this = place(self.round);
        match arrival {
            Arrival::Woken => self.urgent.push_back(all, vcpu, Place::Urgent),
            Arrival::Preempted => self.current().push_front(all, vcpu, this),
            Arrival::Moved => self.current().push_back(all, vcpu, this),
        }
    }

    /// A vCPU that has had its share waits for the next round.
    fn postpone(&mut self, all: &Entities, vcpu: VcpuId) {
        let (entity, next) = (&all[vcpu], self.round.wrapping_add(1));
        entity.set_left(self.left_of_next(entity));
        entity.set_round(next);
        self.following().push_back(all, vcpu, place(next));
    }

    /// Takes a vCPU out of the list that it is in.
    pub(super) fn unlink(&mut self, all: &Entities, vcpu: VcpuId) {
        let list = match all[vcpu].place() {
            Place::None => return,
            Place::Held => return self.held.remove(all, vcpu),
            Place::Reserved => &mut self.reserved,
            Place::Urgent => &mut self.urgent,
            Place::Even => &mut self.rounds[0],
            Place::Odd => &mut self.rounds[1],
        };
        list.remove(all, vcpu);
        self.waiting -= 1;
    }

    /// Those whose new period has begun compete again.
    fn let_go(&mut self, all: &Entities, now: u64) {
        while let Some(vcpu) = self.held.head()
            && all[vcpu].deadline() <= now
        {
            self.held.remove(all, vcpu);
            self.enqueue(all, vcpu, Arrival::Woken, now);
        }
    }

    /// Who is to run next in this round.
    pub(super) fn first(&mut self, all: &Entities, now: u64) -> Option<VcpuId> {
        if !self.held.is_empty() {
            self.let_go(all, now);
        }
        self.reserved.head().or(self.urgent.head()).or_else(|| self.first_of_round(all))
    }

    fn first_of_round(&mut self, all: &Entities) -> Option<VcpuId> {
        while let Some(vcpu) = self.current().head() {
            if all[vcpu].left() > 0 {
                return Some(vcpu);
            }
            self.current().remove(all, vcpu);
            self.postpone(all, vcpu);
        }
        None
    }

    /// The next round begins.
    pub(super) fn advance(&mut self, totals: Totals) {
        self.round = self.round.wrapping_add(1);
        let Totals { weight, vcpus, cpus } = totals;
        let length = (self.lengths.round * cpus).max(self.lengths.share * vcpus);
        if let Some(unit) = (length << UNIT_BITS).checked_div(weight) {
            self.unit = unit;
            self.basis = self.weight;
        }
    }

    /// Joins a round that is further on. Nobody is left in this queue's own.
    pub(super) fn join(&mut self, round: u32) {
        if self.current().is_empty() && !self.has_following() && is_before(self.round, round) {
            self.round = round;
        }
    }

    /// Whether shares are counted, so that the CPU looks at the queue again before long.
    #[inline]
    pub(super) const fn is_contended(&self) -> bool {
        self.contended
    }

    /// One that `thief` may take: of this round, or of the next `as_well`.
    pub(super) fn spare(&mut self, all: &Entities, thief: CpuId, as_well: bool) -> Option<VcpuId> {
        // A CPU that runs nobody is about to look at its queue. Two of them could take the only one that waits from each
        // other for ever.
        if self.waiting == 1 && !matches!(self.doing, Doing::Running { .. }) {
            return None;
        }
        let open = self.open;
        let fits = |vcpu: &VcpuId| {
            let entity = &all[*vcpu];
            !entity.is_resident() && entity.bound().is_none() && entity.allowed(open).contains(thief)
        };
        let found = self.urgent.iter(all).find(fits).or_else(|| self.current().iter(all).find(fits));
        found.or_else(|| if as_well { self.following().iter(all).find(fits) } else { None })
    }

    /// One that waits here and must not.
    pub(super) fn stray(&self, all: &Entities) -> Option<VcpuId> {
        let lists = [&self.reserved, &self.urgent, &self.rounds[0], &self.rounds[1], &self.held];
        let must_go = |vcpu: &VcpuId| !self.is_allowed(&all[*vcpu]) && !all[*vcpu].is_resident();
        lists.into_iter().find_map(|list| list.iter(all).find(must_go))
    }

    /// One that waits and could run on one of `cpus` as well.
    pub(super) fn any_for(&self, all: &Entities, cpus: CpuMask) -> Option<CpuId> {
        let first = self.rounds[(self.round & 1) as usize].head().or(self.rounds[(!self.round & 1) as usize].head());
        first.and_then(|vcpu| self.allowed(&all[vcpu]).and(cpus).first())
    }

    /// The CPU, which has nobody's registers, takes this vCPU's in.
    pub(super) const fn hold(&mut self, vcpu: VcpuId) {
        self.resident = Some(vcpu);
    }

    /// The registers of this vCPU are to be had by any CPU.
    #[inline]
    pub(super) fn let_go_of(&mut self, vcpu: VcpuId, entity: &Entity) {
        entity.set_resident(false);
        if self.resident == Some(vcpu) {
            self.resident = None;
        }
    }

    /// The vCPU that runs has nothing urgent to do: whether somebody else of this round is to run.
    pub(super) const fn give_way(&mut self) -> bool {
        self.yields = !self.urgent.is_empty() || !self.current().is_empty();
        self.yields
    }
}

/// The list of a round.
const fn place(round: u32) -> Place {
    if round & 1 == 0 { Place::Even } else { Place::Odd }
}

impl Default for Queue {
    fn default() -> Self {
        Self::new()
    }
}

/// Whether round `a` comes before `b`, on a counter that wraps.
pub(super) const fn is_before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

/// Whether it may run before its deadline: a constant bandwidth server (Abeni and Buttazzo 1998) that is held when its
/// budget is used up. One that wakes with more budget than it could use by its deadline at its rate begins a new period.
fn has_bandwidth(entity: &Entity, arrival: Arrival, now: u64) -> bool {
    let Some(bandwidth) = entity.bandwidth() else { return true };
    let (quota, deadline) = (entity.quota(), entity.deadline());
    let budget = bandwidth.budget as i64;
    if deadline <= now {
        // Periods follow one another; they begin anew where one was slept through.
        let next = deadline + bandwidth.period;
        entity.set_deadline(if next > now { next } else { now + bandwidth.period });
        entity.set_quota(quota.min(0).max(-budget) + budget);
    } else if arrival == Arrival::Woken
        && quota > 0
        && (quota as u64).saturating_mul(bandwidth.period) > (deadline - now).saturating_mul(bandwidth.budget)
    {
        entity.set_deadline(now + bandwidth.period);
        entity.set_quota(budget);
    }
    entity.quota() > 0
}
