//! What vCPUs get of the CPUs, in specs and requests.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::call::Scheduling;

/// What each vCPU of a VM gets of the CPUs.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CpuShare {
    /// Its share among those that compete.
    pub weight: u16,
    /// The most that it gets, in thousandths of a CPU.
    pub cap: Option<u16>,
    /// Numbers of the CPUs that it may run on; empty is every one.
    pub affinity: Vec<u8>,
    /// What it gets in each period, and no more.
    pub reservation: Option<Reservation>,
    /// It has a CPU for itself.
    pub pinned: bool,
}

/// So much of a CPU in each period.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Reservation {
    /// Microseconds that it runs.
    pub budget_us: u32,
    /// Microseconds of a period.
    pub period_us: u32,
}

/// A change of what a VM's vCPUs get; what is `None` stays.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct VmSet {
    /// The VM.
    pub name: String,
    /// Weight.
    pub weight: Option<u16>,
    /// Cap; 0 takes it away.
    pub cap: Option<u16>,
    /// CPUs; none is every one.
    pub affinity: Option<Vec<u8>>,
    /// Reservation; a budget of 0 takes it away.
    pub reservation: Option<Reservation>,
    /// Whether it has a CPU for itself.
    pub pinned: Option<bool>,
}

impl Default for CpuShare {
    fn default() -> Self {
        Self::of(&Scheduling::DEFAULT)
    }
}

impl CpuShare {
    /// What EL2's words say.
    pub fn of(words: &Scheduling) -> Self {
        let listed = |cpu: &u8| words.cpus != Scheduling::EVERY_CPU && words.cpus >> cpu & 1 != 0;
        let reserved = words.period_us != 0;
        Self {
            weight: u16::try_from(words.weight).unwrap_or(u16::MAX),
            cap: u16::try_from(words.cap).ok().filter(|cap| *cap != 0),
            affinity: (0..64).filter(listed).collect(),
            reservation: reserved.then_some(Reservation { budget_us: words.budget_us, period_us: words.period_us }),
            pinned: words.pinned,
        }
    }

    /// The same in EL2's words. CPUs from 64 on do not exist.
    pub fn words(&self) -> Scheduling {
        let bit = |mask: u64, cpu: &u8| mask | 1u64.checked_shl(u32::from(*cpu)).unwrap_or(0);
        let reserved = self.reservation.unwrap_or(Reservation { budget_us: 0, period_us: 0 });
        Scheduling {
            cpus: if self.affinity.is_empty() { Scheduling::EVERY_CPU } else { self.affinity.iter().fold(0, bit) },
            weight: u32::from(self.weight),
            cap: u32::from(self.cap.unwrap_or(0)),
            budget_us: reserved.budget_us,
            period_us: reserved.period_us,
            pinned: self.pinned,
        }
    }

    /// The same after a change.
    #[must_use]
    pub fn changed(self, change: VmSet) -> Self {
        Self {
            weight: change.weight.unwrap_or(self.weight),
            cap: change.cap.map_or(self.cap, |cap| Some(cap).filter(|cap| *cap != 0)),
            affinity: change.affinity.unwrap_or(self.affinity),
            reservation: change.reservation.map_or(self.reservation, |new| Some(new).filter(|new| new.budget_us != 0)),
            pinned: change.pinned.unwrap_or(self.pinned),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn a_share_goes_round_through_the_words_of_el2_and_through_registers() {
        let full = CpuShare {
            weight: 10_000,
            cap: Some(1000),
            affinity: vec![0, 7, 63],
            reservation: Some(Reservation { budget_us: 100, period_us: 1_000_000 }),
            pinned: true,
        };
        for share in [CpuShare::default(), full] {
            let words = share.words();
            assert_eq!(Scheduling::from_registers(words.to_registers()), Some(words));
            assert_eq!(CpuShare::of(&words), share);
        }
        assert_eq!(CpuShare::default().words(), Scheduling::DEFAULT);
        assert_eq!(Scheduling::from_registers([1, 100 | 2 << 48, 0]), None);
    }

    #[test]
    fn a_change_leaves_what_it_does_not_name_and_takes_away_what_it_says_is_none() {
        let reservation = Reservation { budget_us: 2000, period_us: 10_000 };
        let before = CpuShare { cap: Some(10), affinity: vec![1], ..CpuShare::default() };
        assert_eq!(before.clone().changed(VmSet::default()), before);
        let none = Reservation { budget_us: 0, period_us: 0 };
        let after =
            before.changed(VmSet { weight: Some(7), cap: Some(0), reservation: Some(reservation), ..VmSet::default() });
        assert_eq!((after.weight, after.cap, &*after.affinity), (7, None, &[1][..]));
        assert_eq!(after.reservation, Some(reservation));
        let last = after.changed(VmSet {
            affinity: Some(vec![]),
            reservation: Some(none),
            pinned: Some(true),
            ..VmSet::default()
        });
        assert!(last.affinity.is_empty() && last.reservation.is_none() && last.pinned);
    }
}
