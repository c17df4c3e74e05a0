//! What lives of the partition were for, and who paid: the last of them, and a sum for each asker.
//!
//! The partition does one thing after the other, so its CPU time is cut where a request is handed over or answered:
//! what ran before an answer was for who gets it; what ran while nothing was in progress (its boot, its drain, the scrub
//! of its memory) was for who woke it. Times are in nanoseconds.

use hv_abi::handle::Label;

use super::LifeEnd;
use crate::addr::VmId;
use crate::frames::MAX_VMS;

/// Lives that are kept.
pub const LIVES_MAX: usize = 16;

/// Who pays: a VM, or EL2 itself in slot 0.
pub type Payer = (VmId, Option<Label>);

/// A life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Life {
    /// Its number, from 1.
    pub number: u32,
    /// Requests that it has answered.
    pub requests: u32,
    /// Who woke it; nobody is EL2.
    pub woken_by: Option<Label>,
    /// When it began.
    pub began: u64,
    /// How long it was on; 0 while it is.
    pub on: u64,
    /// CPU time of it.
    pub cpu: u64,
    /// How it ended.
    pub end: Ended,
}

/// How a life ended, by the numbers of `hv_abi::record::LIFE_ENDS`. The first is 0: a static of it is all zero.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Ended {
    /// It is on.
    NotYet,
    /// By agreement.
    Drained,
    /// See [`LifeEnd::Crashed`].
    Crashed,
    /// See [`LifeEnd::Hung`].
    Hung,
}

/// What was done for an asker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sum {
    /// Its name; nobody is EL2.
    pub who: Option<Label>,
    /// Lives that began for it.
    pub wakes: u32,
    /// Requests of it that were answered.
    pub requests: u32,
    /// CPU time.
    pub cpu: u64,
}

impl Life {
    const NONE: Self = Self { number: 0, requests: 0, woken_by: None, began: 0, on: 0, cpu: 0, end: Ended::NotYet };
}

impl Sum {
    const NONE: Self = Self { who: None, wakes: 0, requests: 0, cpu: 0 };
}

/// All of that.
#[derive(Debug)]
pub struct Ledger {
    /// Life n is at n modulo their number.
    lives: [Life; LIVES_MAX],
    present: u32,
    waker: VmId,
    sums: [Sum; MAX_VMS],
}

impl Ledger {
    /// Nothing yet.
    pub const NONE: Self =
        Self { lives: [Life::NONE; LIVES_MAX], present: 0, waker: VmId(0), sums: [Sum::NONE; MAX_VMS] };

    /// Life `number` begins, for `payer`.
    pub fn begin(&mut self, number: u32, payer: Payer, now: u64) {
        self.present = number;
        self.waker = payer.0;
        *self.life() = Life { number, woken_by: payer.1, began: now, ..Life::NONE };
        if let Some(sum) = self.sum(payer) {
            sum.wakes = sum.wakes.saturating_add(1);
        }
    }

    /// Of the present life's CPU time, which is `cpu` up to now, what was not charged yet is charged to `payer`.
    pub fn charge(&mut self, payer: Payer, cpu: u64) {
        let life = self.life();
        let more = cpu.saturating_sub(life.cpu);
        life.cpu += more;
        if let Some(sum) = self.sum(payer) {
            sum.cpu += more;
        }
    }

    /// The same to who woke the partition.
    pub fn charge_waker(&mut self, cpu: u64) {
        let payer = (self.waker, self.life().woken_by);
        self.charge(payer, cpu);
    }

    /// A request of `payer` is answered.
    pub fn answered(&mut self, payer: Payer, cpu: u64) {
        self.charge(payer, cpu);
        let life = self.life();
        // A life may last for years.
        life.requests = life.requests.saturating_add(1);
        if let Some(sum) = self.sum(payer) {
            sum.requests = sum.requests.saturating_add(1);
        }
    }

    /// The present life ends so. What was decided first holds.
    pub fn ends(&mut self, end: LifeEnd) {
        let life = self.life();
        life.end = match (life.end, end) {
            (Ended::NotYet, LifeEnd::Drained) => Ended::Drained,
            (Ended::NotYet, LifeEnd::Crashed) => Ended::Crashed,
            (Ended::NotYet, LifeEnd::Hung) => Ended::Hung,
            (first, _) => first,
        };
    }

    /// Nothing is left of the present life.
    pub fn off(&mut self, cpu: u64, now: u64) {
        self.charge_waker(cpu);
        let life = self.life();
        life.on = now.saturating_sub(life.began).max(1);
    }

    /// The lives from number `first` on that are kept, the oldest first.
    pub fn lives(&self, first: u32) -> impl Iterator<Item = &Life> {
        let oldest = (self.present + 1).saturating_sub(LIVES_MAX as u32).max(1);
        (first.max(oldest)..=self.present).map(|number| &self.lives[number as usize % LIVES_MAX])
    }

    /// Askers from slot `first` on that have asked, and their slots. Slot 0 is EL2.
    pub fn sums(&self, first: usize) -> impl Iterator<Item = (usize, &Sum)> {
        let asked = |sum: &Sum| sum.wakes != 0 || sum.requests != 0;
        self.sums.iter().enumerate().skip(first).filter(move |(_, sum)| asked(sum))
    }

    fn life(&mut self) -> &mut Life {
        &mut self.lives[self.present as usize % LIVES_MAX]
    }

    /// The sum of `payer`: another VM's of the same slot ends here.
    fn sum(&mut self, (slot, who): Payer) -> Option<&mut Sum> {
        let sum = self.sums.get_mut(slot.index())?;
        if sum.who != who {
            *sum = Sum { who, ..Sum::NONE };
        }
        Some(sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    const HV: Payer = (VmId(0), None);

    fn ann() -> Payer {
        (VmId(1), Label::new("ann"))
    }

    fn bob() -> Payer {
        (VmId(2), Label::new("bob"))
    }

    #[test]
    fn each_asker_pays_for_its_answer_and_who_woke_it_for_the_rest() {
        let mut ledger = Ledger::NONE;
        ledger.begin(1, ann(), 1000);
        ledger.charge_waker(50);
        ledger.answered(ann(), 80);
        ledger.answered(bob(), 100);
        ledger.ends(LifeEnd::Drained);
        ledger.off(130, 3000);
        let sums: Vec<_> = ledger.sums(0).map(|(slot, sum)| (slot, sum.wakes, sum.requests, sum.cpu)).collect();
        assert_eq!(sums, [(1, 1, 1, 110), (2, 0, 1, 20)]);
        let lives: Vec<_> = ledger.lives(0).copied().collect();
        let woken_by = Label::new("ann");
        let end = Ended::Drained;
        assert_eq!(lives, [Life { number: 1, requests: 2, woken_by, began: 1000, on: 2000, cpu: 130, end }]);
    }

    #[test]
    fn of_many_lives_the_last_sixteen_are_kept_and_the_sums_of_all() {
        let mut ledger = Ledger::NONE;
        assert_eq!(ledger.lives(0).count() + ledger.sums(0).count(), 0);
        for number in 1..=40 {
            ledger.begin(number, if number % 4 == 0 { HV } else { ann() }, u64::from(number) * 100);
            ledger.answered(bob(), 7);
            ledger.off(10, u64::from(number) * 100 + 60);
        }
        let numbers: Vec<_> = ledger.lives(0).map(|life| life.number).collect();
        assert_eq!(numbers, (25..=40).collect::<Vec<_>>());
        assert_eq!(ledger.lives(39).map(|life| life.number).collect::<Vec<_>>(), [39, 40]);
        assert!(ledger.lives(0).all(|life| (life.cpu, life.on, life.requests) == (10, 60, 1)));
        let sums: Vec<_> = ledger.sums(0).map(|(slot, sum)| (slot, sum.wakes, sum.requests, sum.cpu)).collect();
        assert_eq!(sums, [(0, 10, 0, 30), (1, 30, 0, 90), (2, 0, 40, 280)]);
        assert_eq!(ledger.sums(2).count(), 1);
    }

    #[test]
    fn a_life_that_fails_says_how_it_did_first_and_the_present_one_is_on() {
        let mut ledger = Ledger::NONE;
        ledger.begin(1, HV, 5);
        ledger.ends(LifeEnd::Hung);
        ledger.ends(LifeEnd::Crashed);
        ledger.off(1, 9);
        ledger.begin(2, HV, 9);
        let ends: Vec<_> = ledger.lives(0).map(|life| (life.end, life.on)).collect();
        assert_eq!(ends, [(Ended::Hung, 4), (Ended::NotYet, 0)]);
    }

    #[test]
    fn another_vm_of_the_same_slot_begins_with_nothing_and_the_same_one_goes_on() {
        let mut ledger = Ledger::NONE;
        ledger.begin(1, ann(), 0);
        ledger.answered(ann(), 5);
        ledger.answered(ann(), 9);
        ledger.answered((VmId(1), Label::new("eve")), 20);
        let sums: Vec<_> = ledger.sums(0).map(|(_, sum)| (sum.who, sum.requests, sum.cpu)).collect();
        assert_eq!(sums, [(Label::new("eve"), 1, 11)]);
        ledger.answered((VmId(255), None), 30);
        assert_eq!(ledger.sums(0).count(), 1, "no such slot");
    }
}
