//! What a disk has from its users: each of their requests as one or more of the disk's, and what becomes of them.
//!
//! A user's request is a job. Its buffers may lie in more pieces of RAM than the disk takes at once: it goes to the disk in
//! parts, and is over with the last of them. A disk that breaks the rules, or does not answer, is given up: it is reset,
//! what it has has failed, and so has all that comes later.

use arrayvec::ArrayVec;
use hv_core::addr::Pa;
use thiserror::Error;

use super::VirtioError;
use super::disk::{Command, DEPTH, Disk, Draft, MAX_PIECES, Shape};

/// Requests of a disk that one job becomes at most. Another one may follow, a flush.
pub const PARTS_MAX: u32 = 4;

/// Numbers of a job's parts.
type Parts = ArrayVec<u16, { PARTS_MAX as usize }>;
/// Pieces for the next part, the first one last: what the part before had too many, and the one that did not fit.
type Carried = ArrayVec<(Pa, u32), { MAX_PIECES + 2 }>;

/// Why a disk is given up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum Fault {
    /// What it says cannot be believed any more.
    #[error("gives back a request that it does not have")]
    NotIts,
    /// DEVICE_NEEDS_RESET: it has met an error that it cannot recover from (virtio 1.2 §2.1.2).
    #[error("asks to be reset")]
    NeedsReset,
    /// It has requests, and has given none back for as long as it may.
    #[error("does not answer")]
    Silent,
}

/// A user's request, as its disk has to do with it.
#[derive(Clone, Copy, Debug)]
pub struct Order<T> {
    /// What the user knows it by.
    pub tag: T,
    /// Its effect is on the medium before it is over.
    pub through: bool,
}

/// A user's request that is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Finished<T> {
    /// What the user knows it by.
    pub tag: T,
    /// All of it was done.
    pub went_well: bool,
    /// The disk may use its memory for ever: it did not come out of reset.
    pub lost: bool,
}

/// A piece of RAM of a transfer, or none where the user has no RAM.
pub type UserPiece = Option<(Pa, u32)>;

/// Whether a disk can be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Works,
    /// Given up, and reset: it uses no memory.
    Stopped,
    /// Given up, and not reset: it may use the memory of what it had.
    Stuck,
}

/// A job. Its number is the slot of its first part.
#[derive(Clone, Copy, Debug)]
struct Job<T> {
    tag: T,
    /// Parts that the disk has.
    left: u8,
    failed: bool,
    /// What was written has to be flushed before the job is over.
    flush: bool,
}

/// A disk, and what is in its queue.
#[derive(Debug)]
pub struct Requests<T> {
    disk: Disk,
    state: State,
    /// Since when it has had requests and has given none back, on the user's clock.
    silent_since: Option<u64>,
    /// Of each slot, the job that it is a part of.
    parts: [u8; DEPTH],
    jobs: [Job<T>; DEPTH],
}

impl<T: Copy> Requests<T> {
    /// None yet. `nobody` is a tag that no job has.
    pub const fn new(disk: Disk, nobody: T) -> Self {
        let job = Job { tag: nobody, left: 0, failed: false, flush: false };
        Self { disk, state: State::Works, silent_since: None, parts: [0; DEPTH], jobs: [job; DEPTH] }
    }

    /// What the disk is.
    pub const fn shape(&self) -> &Shape {
        self.disk.shape()
    }

    /// Whether it was not given up.
    pub const fn works(&self) -> bool {
        matches!(self.state, State::Works)
    }

    /// Whether there is room for one more job. One that fails at once needs none.
    pub const fn has_room(&self) -> bool {
        !self.works() || self.disk.free() > PARTS_MAX
    }

    /// Whether a flush has nothing to do: what was written is on the medium.
    pub const fn is_flushed(&self) -> bool {
        self.works() && !self.shape().cached
    }

    const fn is_busy(&self) -> bool {
        self.disk.free() < DEPTH as u32
    }

    /// Begins a job without payload; there is room for it. `false`: it has failed.
    pub fn command(&mut self, order: &Order<T>, command: Command) -> bool {
        let part = self.disk.draft(command).filter(|_| matches!(self.state, State::Works)).map(Draft::submit);
        self.employ(order, part.as_slice(), order.through && command != Command::Flush);
        part.is_some()
    }

    /// Begins to fill or write the pieces from a sector on; there is room for it. `false`: it has failed.
    pub fn transfer(&mut self, order: &Order<T>, command: Command, pieces: impl Iterator<Item = UserPiece>) -> bool {
        if !self.works() {
            return false;
        }
        let mut parts = Parts::new();
        let whole = self.split(command, pieces, &mut parts);
        self.employ(order, &parts, order.through && matches!(command, Command::Write(_)));
        let Some(first) = parts.first() else {
            return false;
        };
        self.jobs[usize::from(*first) % DEPTH].failed = !whole;
        true
    }

    /// Hands the pieces to the disk, in as many parts as it takes; whether that was all of them.
    fn split(&mut self, command: Command, mut pieces: impl Iterator<Item = UserPiece>, parts: &mut Parts) -> bool {
        let block = self.shape().block_size;
        let (mut command, mut carried) = (command, Carried::new());
        while let Some(mut draft) = self.disk.draft(command) {
            let mut bytes = 0_u32;
            let full = loop {
                let (pa, length) = match carried.pop().map(Some).or_else(|| pieces.next()) {
                    None => break None,
                    Some(None) => return false,
                    Some(Some(piece)) => piece,
                };
                if !draft.push(pa, length) {
                    break Some((pa, length));
                }
                bytes = bytes.saturating_add(length);
            };
            let Some(next) = full else {
                parts.push(draft.submit());
                return true;
            };
            // A part ends with a block, and has one.
            let over = bytes % block;
            let is_last = parts.len() + 1 == parts.capacity();
            if is_last || over == bytes || carried.try_push(next).is_err() || !cut(&mut draft, over, &mut carried) {
                return false;
            }
            parts.push(draft.submit());
            command = command.behind((bytes - over) / 512);
        }
        false
    }

    /// The disk has these parts of a job.
    fn employ(&mut self, order: &Order<T>, parts: &[u16], flush: bool) {
        let Some(first) = parts.first().copied() else {
            return;
        };
        for part in parts {
            self.parts[usize::from(*part) % DEPTH] = first as u8;
        }
        let flush = flush && self.shape().cached;
        self.jobs[usize::from(first) % DEPTH] = Job { tag: order.tag, left: parts.len() as u8, failed: false, flush };
    }

    /// Tells the disk of what it was given. Whether its time to answer begins to run: it had nothing before.
    pub fn notify(&mut self, now: u64) -> bool {
        if !self.works() {
            return false;
        }
        self.disk.notify();
        let begins = self.silent_since.is_none() && self.is_busy();
        if begins {
            self.silent_since = Some(now);
        }
        begins
    }

    /// Takes the disk's interrupt back.
    ///
    /// # Errors
    ///
    /// [`Fault::NeedsReset`]: it is to be given up.
    pub fn acknowledge(&mut self) -> Result<(), Fault> {
        let changed = self.disk.acknowledge();
        if changed && self.works() && self.disk.needs_reset() { Err(Fault::NeedsReset) } else { Ok(()) }
    }

    /// A job that is over. `None`: no more for now, and an interrupt says when there is.
    ///
    /// # Errors
    ///
    /// [`Fault::NotIts`]: it is to be given up.
    pub fn finished(&mut self, now: u64) -> Result<Option<Finished<T>>, Fault> {
        if !self.works() {
            return Ok(self.next_failed());
        }
        loop {
            match self.disk.done() {
                Ok(Some((slot, went_well))) => {
                    let finished = self.part_is_over(slot, went_well);
                    self.silent_since = self.is_busy().then_some(now);
                    if finished.is_some() {
                        return Ok(finished);
                    }
                }
                Ok(None) if self.disk.arm() => {}
                Ok(None) => return Ok(None),
                Err(_) => return Err(Fault::NotIts),
            }
        }
    }

    fn part_is_over(&mut self, slot: u16, went_well: bool) -> Option<Finished<T>> {
        let first = self.parts[usize::from(slot) % DEPTH];
        let job = &mut self.jobs[usize::from(first) % DEPTH];
        job.failed |= !went_well;
        job.left = job.left.saturating_sub(1);
        let job = *job;
        // The first part's number is the job's.
        if slot != u16::from(first) {
            self.disk.release(slot);
        }
        if job.left > 0 {
            return None;
        }
        self.disk.release(u16::from(first));
        if job.flush && !job.failed {
            // A slot is free: the one of the part that is over.
            let begun = self.command(&Order { tag: job.tag, through: false }, Command::Flush);
            self.disk.notify();
            if begun {
                return None;
            }
        }
        Some(Finished { tag: job.tag, went_well: !job.failed, lost: false })
    }

    /// When the disk has to have given something back, on the user's clock, if it may take so long.
    pub const fn answers_by(&self, patience: u64) -> Option<u64> {
        match self.silent_since {
            Some(since) => Some(since.saturating_add(patience)),
            None => None,
        }
    }

    /// Gives the disk up: what it has is failed by [`Requests::finished`], which is to be called next.
    ///
    /// # Errors
    ///
    /// It does not come out of reset: the memory of what it had may be its own for ever.
    pub fn give_up(&mut self) -> Result<(), VirtioError> {
        let stopped = self.disk.stop();
        self.fail_all(stopped.is_ok());
        stopped
    }

    /// The disk is given up, and uses no memory if it has `stopped`.
    pub(super) const fn fail_all(&mut self, stopped: bool) {
        self.state = if stopped { State::Stopped } else { State::Stuck };
        self.silent_since = None;
    }

    /// A job that a disk had which is given up.
    fn next_failed(&mut self) -> Option<Finished<T>> {
        let job = self.jobs.iter_mut().find(|job| job.left > 0)?;
        job.left = 0;
        Some(Finished { tag: job.tag, went_well: false, lost: self.state == State::Stuck })
    }
}

/// Takes so many bytes off the end of a draft that has more; whether there was room for their pieces.
fn cut(draft: &mut Draft<'_>, bytes: u32, carried: &mut Carried) -> bool {
    let mut left = bytes;
    while left > 0 {
        let Some((pa, length)) = draft.take_back(left) else {
            return false;
        };
        if carried.try_push((pa, length)).is_err() {
            return false;
        }
        left -= length;
    }
    true
}
