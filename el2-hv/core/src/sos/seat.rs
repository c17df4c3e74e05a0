//! Where the partition's vCPU runs: among all others, or on a CPU for itself (`power = "core"`).
//!
//! ```text
//!           wake, CPU_ON              arrived                   goes_off
//!   Off -----------> Asking, Coming ---------> On <---- boot   On ------> Off, where it is not lent
//!                             | refused, or it does not come
//!                             +-----------> Lost: the partition shares the guests' CPUs
//! ```
//!
//! A CPU that is lent to guests while the partition is off stays `On`. Times are in nanoseconds.

use crate::addr::CpuId;

/// So long a CPU may take to its first instruction, firmware's way to turn it off before included.
const PATIENCE: u64 = 5_000_000_000;
/// Between two CPU_ONs of a CPU that firmware has not turned off yet.
const AGAIN: u64 = 200_000;

/// What the description says of its CPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Power {
    /// It has a CPU for itself.
    pub core: bool,
    /// Which, where that is said.
    pub cpu: Option<CpuId>,
    /// Guests have that CPU while it is off.
    pub lend: bool,
}

/// What firmware says to CPU_ON (DEN0022, 5.6).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CpuOn {
    /// The CPU comes.
    Accepted,
    /// ALREADY_ON, ON_PENDING: it is still on its way.
    NotYet,
    /// It does not come.
    Refused,
}

/// Where the vCPU is to run from now on.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// Where it was told to.
    Same,
    /// Among all others.
    Shared,
    /// On this CPU.
    Core(CpuId),
    /// The same, which is to be turned on.
    TurnOn(CpuId),
}

/// The first is 0: a static of it is all zero.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// There is no such CPU.
    None,
    /// It did not come.
    Lost,
    On,
    Off,
    /// It is to be turned on, and firmware has not accepted that yet.
    Asking,
    /// Firmware turns it on.
    Coming,
}

/// The CPU of the partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seat {
    cpu: CpuId,
    lent: bool,
    state: State,
    /// Firmware has refused to turn it off.
    stays: bool,
    /// When a CPU that starts counts as lost, and when it is asked for again.
    until: u64,
    again: u64,
}

impl Seat {
    /// None of its own.
    pub const SHARED: Self = Self { cpu: CpuId(0), lent: false, state: State::None, stays: false, until: 0, again: 0 };

    /// This CPU, which runs; `lend`: guests have it while the partition is off.
    pub const fn core(cpu: CpuId, lend: bool) -> Self {
        Self { cpu, lent: lend, state: State::On, ..Self::SHARED }
    }

    /// Its CPU, where there is one.
    pub const fn cpu(&self) -> CpuId {
        self.cpu
    }

    /// The CPU that guests have while the partition is off.
    pub fn lent(&self) -> Option<CpuId> {
        (self.lent && self.state == State::On).then_some(self.cpu)
    }

    /// The partition is woken.
    pub const fn wake(&mut self, now: u64) -> Place {
        match self.state {
            State::None | State::Lost => Place::Shared,
            State::On | State::Asking | State::Coming => Place::Core(self.cpu),
            State::Off => {
                self.state = State::Asking;
                (self.until, self.again) = (now + PATIENCE, now + AGAIN);
                Place::TurnOn(self.cpu)
            }
        }
    }

    /// What firmware has answered to the CPU_ON.
    pub const fn answered(&mut self, answer: CpuOn, now: u64) -> Place {
        match (self.state, answer) {
            (State::Asking, CpuOn::Accepted) => self.state = State::Coming,
            (State::Asking, CpuOn::NotYet) => self.again = now + AGAIN,
            (State::Asking, CpuOn::Refused) => {
                self.state = State::Lost;
                return Place::Shared;
            }
            _ => {}
        }
        Place::Same
    }

    /// When [`Seat::time_passed`] has something to do.
    pub fn deadline(&self) -> Option<u64> {
        match self.state {
            State::Coming => Some(self.until),
            State::Asking => Some(self.again.min(self.until)),
            _ => None,
        }
    }

    /// Lets time pass.
    pub fn time_passed(&mut self, now: u64) -> Place {
        match self.state {
            State::Asking | State::Coming if now >= self.until => {
                self.state = State::Lost;
                Place::Shared
            }
            State::Asking if now >= self.again => Place::TurnOn(self.cpu),
            _ => Place::Same,
        }
    }

    /// `cpu` runs. One that was lost, and comes after all, is there for the next life.
    pub fn arrived(&mut self, cpu: CpuId) {
        if cpu == self.cpu && self.state != State::None {
            self.state = State::On;
        }
    }

    /// The partition is off: whether `cpu` is to go off, too. It is off from then on.
    pub fn goes_off(&mut self, cpu: CpuId) -> bool {
        let goes = self.state == State::On && self.cpu == cpu && !self.lent && !self.stays;
        if goes {
            self.state = State::Off;
        }
        goes
    }

    /// Firmware has refused to turn it off, or somebody is there: it is on, for good where firmware has said so.
    pub const fn stays(&mut self, for_good: bool) {
        self.state = State::On;
        self.stays |= for_good;
    }
}

#[cfg(test)]
mod tests;
