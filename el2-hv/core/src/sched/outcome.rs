//! What the scheduler answers.

use super::{CpuMask, State};
use crate::addr::{CpuId, VcpuId};

/// Whom to kick after a change: those CPUs look at the scheduler again.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kick(CpuMask);

impl Kick {
    /// Nobody.
    pub const NONE: Self = Self(CpuMask::NONE);

    pub(super) const fn cpu(cpu: CpuId) -> Self {
        Self(CpuMask::one(cpu))
    }

    pub(super) const fn union(self, other: Self) -> Self {
        Self(CpuMask(self.0.0 | other.0.0))
    }

    /// Whether nobody is to be kicked.
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// All but this one.
    pub const fn but(self, cpu: CpuId) -> Self {
        Self(self.0.without(CpuMask::one(cpu)))
    }

    /// The CPUs.
    pub const fn cpus(self) -> CpuMask {
        self.0
    }
}

/// What a CPU does next.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pick {
    /// Nothing: it waits for an interrupt.
    Idle,
    /// It runs this vCPU.
    Run(VcpuId),
    /// It is to [release](Scheduler::release) this vCPU, whose registers it has: that one runs elsewhere.
    Evict(VcpuId),
}

/// What a CPU does next, and until when.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Turn {
    /// What it does.
    pub pick: Pick,
    /// When it must ask again.
    pub until: Option<u64>,
    /// Who could help.
    pub kick: Kick,
}

/// What becomes of the vCPU that runs.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Review {
    /// It goes on, until then.
    Stays(Option<u64>),
    /// It is to be [released](Scheduler::release), and another picked.
    Leaves,
}

/// What became of a vCPU that wanted to sleep.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Block {
    /// It sleeps.
    Blocked,
    /// It was woken meanwhile: it goes on.
    Woken,
}

/// What a vCPU does, and has had so far, in ticks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Account {
    /// What it does.
    pub state: State,
    /// The CPU that has it, or had it last.
    pub cpu: CpuId,
    /// It ran.
    pub ran: u64,
    /// It could have run.
    pub waited: u64,
}
