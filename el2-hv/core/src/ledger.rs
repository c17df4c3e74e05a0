//! The second account of who owns what, for the checked build: a plain list of runs, in no order, beside the table
//! of bytes that the image decides by. After each change both must say the same.
//!
//! What is compared to it, and when, is [`Ledger::compare`]; what follows a difference is the image's.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::addr::{FRAME_SIZE, Pa, PaRange};
use crate::frames::{FrameTable, Owner};

/// Sees each change of ownership when it is done, and each allocation before it is.
pub trait Witness: Sized {
    /// Bytes that it needs for itself.
    const ROOM: u64;
    /// In `room`, zeroes, which are its own from now on. RAM is in `banks`, all of it free.
    fn new(room: &'static mut [u8], banks: &[PaRange]) -> Self;
    /// Whether a block of `size` bytes for `owner` is not to be had.
    fn refuses(&mut self, size: u64, owner: Owner) -> bool;
    /// `table` has given the frames of `range` from `from` to `to`.
    fn changed(&mut self, table: &FrameTable<'_>, range: &PaRange, from: Owner, to: Owner);
    /// `table` has given what was free in `range` to `to`.
    fn reserved(&mut self, table: &FrameTable<'_>, range: &PaRange, to: Owner);
}

/// No witness: what the image has that is shipped.
#[derive(Clone, Copy, Debug)]
pub struct Unwitnessed;

impl Witness for Unwitnessed {
    const ROOM: u64 = 0;

    #[inline]
    fn new(_: &'static mut [u8], _: &[PaRange]) -> Self {
        Self
    }

    #[inline]
    fn refuses(&mut self, _: u64, _: Owner) -> bool {
        false
    }

    #[inline]
    fn changed(&mut self, _: &FrameTable<'_>, _: &PaRange, _: Owner, _: Owner) {}

    #[inline]
    fn reserved(&mut self, _: &FrameTable<'_>, _: &PaRange, _: Owner) {}
}

/// Frames that follow each other and have one owner; none where `count` is 0.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Run {
    first: u64,
    count: u64,
    /// The table's byte for the owner: only its number, not how the table keeps it.
    owner: u64,
}

impl Run {
    const fn end(&self) -> u64 {
        self.first + self.count
    }

    /// Frames that it shares with those from `first` to `end`.
    fn shared(&self, first: u64, end: u64) -> u64 {
        self.end().min(end).saturating_sub(self.first.max(first))
    }
}

/// What table and ledger do not agree about.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Difference {
    /// The frames that a change takes from an owner are not all its.
    #[error("{range:?} is given away by {from:?}, who has {had} frames of it")]
    NotGiver {
        /// What was given.
        range: PaRange,
        /// By whom.
        from: Owner,
        /// How much of it was.
        had: u64,
    },
    /// A frame with two owners.
    #[error("frame {frame} belongs to {table:?} by the table, to {ledger:?} by the ledger")]
    Owner {
        /// The first of its run.
        frame: Pa,
        /// By the table.
        table: Owner,
        /// By the ledger.
        ledger: Owner,
    },
    /// A frame that only the ledger knows.
    #[error("frame {0} is not in RAM by the table")]
    NotRam(Pa),
    /// Bytes that are counted otherwise.
    #[error("{owner:?} has {table} bytes by the table, {ledger} by the ledger")]
    Bytes {
        /// Whose.
        owner: Owner,
        /// By the table.
        table: u64,
        /// By the ledger.
        ledger: u64,
    },
    /// More runs than there is room for.
    #[error("the ledger is full")]
    Full,
}

/// The account.
#[derive(Debug)]
pub struct Ledger<'m> {
    runs: &'m mut [Run],
    /// Runs behind these were never used.
    used: usize,
}

impl<'m> Ledger<'m> {
    /// An account in `room`, zeroes: whole frames of `banks` are free.
    ///
    /// # Errors
    /// There is no room for as many banks.
    pub fn new(room: &'m mut [u8], banks: &[PaRange]) -> Result<Self, Difference> {
        let whole = room.len() / size_of::<Run>() * size_of::<Run>();
        let runs = <[Run]>::mut_from_bytes(&mut room[..whole]).map_err(|_| Difference::Full)?;
        let mut ledger = Self { runs, used: 0 };
        for bank in banks {
            let first = bank.start.0.div_ceil(FRAME_SIZE);
            ledger.put(first, bank.end().0 / FRAME_SIZE, Owner::Free)?;
        }
        Ok(ledger)
    }

    /// Frames of `owner` from `first` to `end`.
    fn count(&self, first: u64, end: u64, owner: Owner) -> u64 {
        let owner = u64::from(owner.byte());
        self.runs[..self.used].iter().filter(|run| run.owner == owner).map(|run| run.shared(first, end)).sum()
    }

    /// Takes the frames from `first` to `end` out of every run.
    fn cut(&mut self, first: u64, end: u64) -> Result<(), Difference> {
        for index in 0..self.used {
            let run = self.runs[index];
            if run.shared(first, end) > 0 {
                self.runs[index].count = first.saturating_sub(run.first);
                if run.end() > end {
                    self.add(Run { first: end, count: run.end() - end, owner: run.owner })?;
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, run: Run) -> Result<(), Difference> {
        let free = self.runs[..self.used].iter().position(|other| other.count == 0).unwrap_or(self.used);
        *self.runs.get_mut(free).ok_or(Difference::Full)? = run;
        self.used = self.used.max(free + 1);
        Ok(())
    }

    /// Notes that the frames from `first` to `end`, which are in no run, have `owner`.
    fn put(&mut self, first: u64, end: u64, owner: Owner) -> Result<(), Difference> {
        let owner = u64::from(owner.byte());
        let mut new = Run { first, count: end.saturating_sub(first), owner };
        for run in self.runs[..self.used].iter_mut().filter(|run| run.count > 0 && run.owner == owner) {
            if run.end() == new.first || new.end() == run.first {
                new = Run { first: run.first.min(new.first), count: run.count + new.count, owner };
                run.count = 0;
            }
        }
        if new.count > 0 { self.add(new) } else { Ok(()) }
    }

    /// The frames that `range` touches go from `from` to `to`.
    ///
    /// # Errors
    /// `from` does not have all of them, or the ledger is full.
    pub fn transfer(&mut self, range: &PaRange, from: Owner, to: Owner) -> Result<(), Difference> {
        let frames = range.outer_frames();
        let had = self.count(frames.start, frames.end, from);
        if had != frames.end - frames.start {
            return Err(Difference::NotGiver { range: *range, from, had });
        }
        self.cut(frames.start, frames.end)?;
        self.put(frames.start, frames.end, to)
    }

    /// What is free of the frames that `range` touches goes to `to`.
    ///
    /// # Errors
    /// The ledger is full.
    pub fn reserve(&mut self, range: &PaRange, to: Owner) -> Result<(), Difference> {
        for frame in range.outer_frames() {
            if self.count(frame, frame + 1, Owner::Free) == 1 {
                self.cut(frame, frame + 1)?;
                self.put(frame, frame + 1, to)?;
            }
        }
        Ok(())
    }

    /// Compares the owner of every frame, the number of all, and what each of `owners` has.
    ///
    /// # Errors
    /// The first difference.
    pub fn compare(&self, table: &FrameTable<'_>, owners: &[Owner]) -> Result<(), Difference> {
        for run in self.runs[..self.used].iter().filter(|run| run.count > 0) {
            let range = PaRange { start: Pa(run.first * FRAME_SIZE), size: run.count * FRAME_SIZE };
            let ledger = Owner::from_byte(run.owner as u8);
            if !table.is_all(&range, ledger) {
                let mut frames = range.outer_frames().map(|frame| Pa(frame * FRAME_SIZE));
                let frame = frames.find(|&frame| table.owner(frame) != Some(ledger)).unwrap_or(range.start);
                let other = |table| Difference::Owner { frame, table, ledger };
                return Err(table.owner(frame).map_or(Difference::NotRam(frame), other));
            }
        }
        for &owner in owners {
            let (table, ledger) = (table.bytes_of(owner), self.count(0, u64::MAX, owner) * FRAME_SIZE);
            if table != ledger {
                return Err(Difference::Bytes { owner, table, ledger });
            }
        }
        let all: u64 = self.runs[..self.used].iter().map(|run| run.count).sum();
        if all * FRAME_SIZE != table.total() {
            return Err(Difference::Bytes { owner: Owner::Free, table: table.total(), ledger: all * FRAME_SIZE });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
