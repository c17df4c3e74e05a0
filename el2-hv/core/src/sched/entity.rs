//! What the scheduler knows of a vCPU.

use core::sync::atomic::{
    AtomicU8, AtomicU16, AtomicU32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

use super::params::{Bandwidth, Class, CpuMask, Params, Weight};
use crate::addr::{CpuId, VcpuId};

/// Where a vCPU is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum State {
    /// It does not exist, or is off.
    Off,
    /// It sleeps.
    Blocked,
    /// It could run: in a list of its home's queue, or on its way from one to another.
    Queued,
    /// It runs.
    Running,
}

/// Which list of its home's queue it is in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Place {
    None,
    /// Has a reservation: by deadline.
    Reserved,
    /// Was woken, and has not used up its share of this round.
    Urgent,
    /// Waits for its turn in an even round.
    Even,
    /// Waits for its turn in an odd round.
    Odd,
    /// Has used up its bandwidth: until its deadline.
    Held,
}

macro_rules! encoded {
    ($type:ident: $($variant:ident),*) => {
        impl $type {
            const fn decode(value: u8) -> Self {
                match value { $(v if v == Self::$variant as u8 => Self::$variant,)* _ => Self::FIRST }
            }
        }
    };
}

impl State {
    const FIRST: Self = Self::Off;
}
impl Place {
    const FIRST: Self = Self::None;
}
encoded!(State: Off, Blocked, Queued, Running);
encoded!(Place: None, Reserved, Urgent, Even, Odd, Held);

const FAIR: u8 = 0;
const RESERVED: u8 = 1;
const PINNED: u8 = 2;
/// No CPU, and no vCPU: others count from 1.
const NONE: u8 = 0;

/// A vCPU, for the scheduler. All but `home` is guarded by the lock of the queue that `home` names: the
/// atomics carry no order of their own. One that was never used is all zero, so that the image's file need not hold it.
#[derive(Debug)]
pub(super) struct Entity {
    home: AtomicU8,
    state: AtomicU8,
    place: AtomicU8,
    /// Its registers are in its home's CPU.
    resident: AtomicU8,
    /// Woken while it was running: its next block does not sleep.
    woken: AtomicU8,
    class: AtomicU8,
    /// CPUs that it may not run on.
    barred: AtomicU8,
    /// The one CPU that it runs on: reserved and pinned ones.
    bound: AtomicU8,
    next: AtomicU16,
    previous: AtomicU16,
    weight: AtomicU32,
    round: AtomicU32,
    /// Ticks that it may still run in `round`; an overrun is below zero.
    left: AtomicU64,
    bandwidth: (AtomicU64, AtomicU64),
    /// Ticks of its bandwidth until `deadline`; an overrun is below zero.
    quota: AtomicU64,
    deadline: AtomicU64,
    /// Since when it runs, or waits.
    since: AtomicU64,
    ran: AtomicU64,
    waited: AtomicU64,
}

macro_rules! fields {
    ($($get:ident $set:ident $type:ty),* $(,)?) => {
        $(#[inline] pub(super) fn $get(&self) -> $type { self.$get.load(Relaxed) as $type }
          #[inline] pub(super) fn $set(&self, value: $type) { self.$get.store(value as _, Relaxed); })*
    };
}

impl Entity {
    pub(super) const fn new() -> Self {
        Self {
            home: AtomicU8::new(0),
            state: AtomicU8::new(State::Off as u8),
            place: AtomicU8::new(Place::None as u8),
            resident: AtomicU8::new(0),
            woken: AtomicU8::new(0),
            class: AtomicU8::new(FAIR),
            barred: AtomicU8::new(CpuMask::NONE.0),
            bound: AtomicU8::new(NONE),
            next: AtomicU16::new(0),
            previous: AtomicU16::new(0),
            weight: AtomicU32::new(0),
            round: AtomicU32::new(0),
            left: AtomicU64::new(0),
            bandwidth: (AtomicU64::new(0), AtomicU64::new(0)),
            quota: AtomicU64::new(0),
            deadline: AtomicU64::new(0),
            since: AtomicU64::new(0),
            ran: AtomicU64::new(0),
            waited: AtomicU64::new(0),
        }
    }

    fields! {
        weight set_weight u32,
        round set_round u32,
        left set_left i64,
        quota set_quota i64,
        deadline set_deadline u64,
        since set_since u64,
        ran set_ran u64,
        waited set_waited u64,
    }

    #[inline]
    pub(super) fn home(&self) -> CpuId {
        CpuId(self.home.load(Acquire))
    }

    /// From here on another lock guards it: what was changed under the one before is visible to whoever finds it there.
    #[inline]
    pub(super) fn set_home(&self, cpu: CpuId) {
        self.home.store(cpu.0, Release);
    }

    #[inline]
    pub(super) fn state(&self) -> State {
        State::decode(self.state.load(Relaxed))
    }

    #[inline]
    pub(super) fn set_state(&self, state: State) {
        self.state.store(state as u8, Relaxed);
    }

    #[inline]
    pub(super) fn place(&self) -> Place {
        Place::decode(self.place.load(Relaxed))
    }

    #[inline]
    pub(super) fn set_place(&self, place: Place) {
        self.place.store(place as u8, Relaxed);
    }

    #[inline]
    pub(super) fn is_resident(&self) -> bool {
        self.resident.load(Relaxed) != 0
    }

    #[inline]
    pub(super) fn set_resident(&self, resident: bool) {
        self.resident.store(u8::from(resident), Relaxed);
    }

    #[inline]
    pub(super) fn is_woken(&self) -> bool {
        self.woken.load(Relaxed) != 0
    }

    #[inline]
    pub(super) fn set_woken(&self, woken: bool) {
        self.woken.store(u8::from(woken), Relaxed);
    }

    #[inline]
    pub(super) fn next(&self) -> Option<VcpuId> {
        link(&self.next)
    }

    #[inline]
    pub(super) fn previous(&self) -> Option<VcpuId> {
        link(&self.previous)
    }

    #[inline]
    pub(super) fn set_next(&self, vcpu: Option<VcpuId>) {
        self.next.store(vcpu.map_or(0, |vcpu| vcpu.0 + 1), Relaxed);
    }

    #[inline]
    pub(super) fn set_previous(&self, vcpu: Option<VcpuId>) {
        self.previous.store(vcpu.map_or(0, |vcpu| vcpu.0 + 1), Relaxed);
    }

    /// The one CPU that it runs on, where it is reserved or pinned.
    pub(super) fn bound(&self) -> Option<CpuId> {
        self.bound.load(Relaxed).checked_sub(1).map(CpuId)
    }

    pub(super) fn is_reserved(&self) -> bool {
        self.class.load(Relaxed) == RESERVED
    }

    /// The CPU that it has for itself.
    pub(super) fn owns(&self) -> Option<CpuId> {
        self.bound().filter(|_| self.class.load(Relaxed) == PINNED)
    }

    /// Budget and period, where it has a cap or a reservation.
    #[inline]
    pub(super) fn bandwidth(&self) -> Option<Bandwidth> {
        let period = self.bandwidth.1.load(Relaxed);
        (period != 0).then(|| Bandwidth { budget: self.bandwidth.0.load(Relaxed), period })
    }

    /// CPUs that it may run on, of those that nobody owns: where these are none, any of them, so that it runs at all.
    #[inline]
    pub(super) fn allowed(&self, open: CpuMask) -> CpuMask {
        if let Some(cpu) = self.bound() {
            return CpuMask::one(cpu);
        }
        let asked = self.affinity().and(open);
        if asked.is_empty() { open } else { asked }
    }

    /// Takes new parameters. What it has used up of the old ones is forgotten.
    pub(super) fn set_params(&self, params: &Params, bound: Option<CpuId>, now: u64) {
        let (class, bandwidth) = match params.class {
            Class::Fair { cap } => (FAIR, cap),
            Class::Reserved(bandwidth) => (RESERVED, Some(bandwidth)),
            Class::Pinned => (PINNED, None),
        };
        let Bandwidth { budget, period } = bandwidth.unwrap_or(Bandwidth { budget: 0, period: 0 });
        self.class.store(class, Relaxed);
        self.barred.store(!params.affinity.0, Relaxed);
        self.bound.store(bound.map_or(NONE, |cpu| cpu.0 + 1), Relaxed);
        self.set_weight(u32::from(params.weight.get()));
        self.bandwidth.0.store(budget, Relaxed);
        self.bandwidth.1.store(period, Relaxed);
        self.set_quota(budget as i64);
        self.set_deadline(now + period);
    }

    /// The parameters that it has.
    pub(super) fn params(&self) -> Params {
        let class = match (self.class.load(Relaxed), self.bandwidth()) {
            (RESERVED, Some(bandwidth)) => Class::Reserved(bandwidth),
            (PINNED, _) => Class::Pinned,
            (_, cap) => Class::Fair { cap },
        };
        let weight = u16::try_from(self.weight()).ok().and_then(Weight::new).unwrap_or_default();
        Params { weight, affinity: self.affinity(), class }
    }

    /// Its affinity as it was asked for.
    pub(super) fn affinity(&self) -> CpuMask {
        CpuMask(!self.barred.load(Relaxed))
    }
}

#[inline]
fn link(place: &AtomicU16) -> Option<VcpuId> {
    place.load(Relaxed).checked_sub(1).map(VcpuId)
}
