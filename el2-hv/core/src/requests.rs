//! Requests on their way to the service partition: kept here, unread, from the asker's ring to the reply.
//!
//! Nothing is lost: a request that waits survives a crash of the partition; one that was in progress
//! is answered with an error, or handed to the next life where its header says that repeating is
//! safe, but only once. Nobody can fill the store: each VM has a share, one place of it for sure, and what exceeds
//! it stays in the asker's own ring. What waits is handed over in turns, a frame of each VM: who asks all the time holds
//! nobody up.
//!
//! A request is answered when its last frame was handed over. The partition may give one up before, because the
//! rest of it does not come: then what waits of it is dropped, and what is still to come is thrown away here.

mod queue;

use hv_abi::VmHandle;
use hv_abi::mailbox::{Flags, Frame, HvErrorKind, OPEN_MAX, Slot};

use crate::frames::MAX_VMS;

/// Open requests of one VM at most.
pub const OPEN_PER_VM: usize = 6;
/// Places for more than one request of a VM, shared by all; a first one has a place always.
const EXTRA_MAX: usize = OPEN_MAX - MAX_VMS;
const _: () = assert!(OPEN_MAX <= u128::BITS as usize);
/// Frames that may wait: a first one of each VM has a place always.
const FRAMES_MAX: usize = 128;
/// Places for more than one frame of a VM, shared by all.
const EXTRA_FRAMES: u32 = (FRAMES_MAX - MAX_VMS) as u32;
const _: () = assert!(FRAMES_MAX <= u128::BITS as usize);
/// Of these, from one VM.
const FRAMES_PER_VM: usize = 8;

/// Who asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Asker {
    /// The VM.
    pub vm: VmHandle,
    /// 0 is the ring, n the n-th management port.
    pub port: u16,
}

/// What became of a frame.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Offer {
    /// It is kept.
    Taken,
    /// The asker's share is used up: leave it where it is.
    Full,
    /// It is answered with an error, and not kept.
    Refused(HvErrorKind),
}

/// How a life came to its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LifeOver {
    /// It agreed.
    Agreed,
    /// It crashed or hung.
    Failed,
}

/// How far a request is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Progress {
    /// None of its frames was handed over.
    Waiting,
    /// Frames were handed over.
    Started,
    /// It ends with an error, which was not sent yet.
    Failed(HvErrorKind),
    /// The error was sent; what is still to come of it is thrown away.
    Discarded,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    asker: Asker,
    id: u32,
    progress: Progress,
    /// Its last frame has arrived.
    complete: bool,
    /// It is safe to repeat, has one frame, and that frame is kept.
    repeatable: bool,
    /// It was in progress when a life failed.
    crashed: bool,
    /// A part of its reply was sent: asking again would mix two replies.
    replied: bool,
    /// Its asker has no room for the reply: that keeps nobody busy.
    stalled: bool,
    slot: Slot,
}

impl Open {
    fn is_worked_on(&self) -> bool {
        self.progress == Progress::Started && self.complete && !self.stalled
    }
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    open: usize,
    /// It came before those with a greater one.
    number: u64,
    slot: Slot,
}

/// The store.
#[derive(Debug)]
pub struct Requests {
    open: [Option<Open>; OPEN_MAX],
    /// Bit n: place n of `open` is taken.
    taken: u128,
    frames: [Option<Waiting>; FRAMES_MAX],
    /// Bit n: place n of `frames` is taken.
    waiting: u128,
    /// Frames so far.
    numbers: u64,
    /// The slot of the VM that was served last.
    served: u8,
}

/// Where a reply goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Route {
    /// To whom.
    pub asker: Asker,
    /// Whether it is the last frame of the reply.
    pub last: bool,
}

impl Requests {
    /// An empty store.
    pub const fn new() -> Self {
        Self { open: [None; OPEN_MAX], taken: 0, frames: [None; FRAMES_MAX], waiting: 0, numbers: 0, served: 0 }
    }

    /// Takes a frame for the service partition from `asker`, whose header is `frame`.
    pub fn offer(&mut self, asker: Asker, frame: &Frame, slot: &Slot) -> Offer {
        let more = frame.flags.contains(Flags::MORE);
        let repeat_safe = frame.flags.contains(Flags::REPEAT_SAFE);
        if frame.flags.contains(Flags::ERROR) || frame.flags.contains(Flags::EVENT) || (more && repeat_safe) {
            return Offer::Refused(HvErrorKind::BadFrame);
        }
        let known = self.find(asker, frame.id);
        if let Some(index) = known {
            return self.continue_message(index, more, asker, frame, slot);
        }
        let opens = self.opens_of(asker.vm);
        if opens >= OPEN_PER_VM || (opens > 0 && self.extra() >= EXTRA_MAX) || !self.has_room_for(asker.vm) {
            return Offer::Full;
        }
        let index = self.taken.trailing_ones() as usize;
        if index >= OPEN_MAX {
            return Offer::Full;
        }
        self.taken |= 1 << index;
        self.open[index] = Some(Open {
            asker,
            id: frame.id,
            progress: Progress::Waiting,
            complete: !more,
            repeatable: repeat_safe,
            crashed: false,
            replied: false,
            stalled: false,
            slot: if repeat_safe { *slot } else { Slot::EMPTY },
        });
        self.push(index, asker, frame, slot);
        Offer::Taken
    }

    /// A further frame of a message, or an id that is in use.
    fn continue_message(&mut self, index: usize, more: bool, asker: Asker, frame: &Frame, slot: &Slot) -> Offer {
        let full = !self.has_room_for(asker.vm);
        let Some(open) = self.open[index].as_mut() else {
            return Offer::Full;
        };
        if open.complete {
            return Offer::Refused(HvErrorKind::BadFrame);
        }
        match open.progress {
            Progress::Failed(_) => open.complete = !more,
            Progress::Discarded if more => {}
            Progress::Discarded => self.free(index),
            Progress::Waiting | Progress::Started if full => return Offer::Full,
            Progress::Waiting | Progress::Started => {
                open.complete = !more;
                self.push(index, asker, frame, slot);
            }
        }
        Offer::Taken
    }

    fn free(&mut self, index: usize) {
        self.open[index] = None;
        self.taken &= !(1 << index);
    }

    /// The requests and their places, the lowest first.
    fn opens(&self) -> impl Iterator<Item = (usize, &Open)> {
        let mut left = self.taken;
        core::iter::from_fn(move || {
            let index = left.trailing_zeros() as usize;
            left &= left.wrapping_sub(1);
            Some((index, self.open.get(index)?.as_ref()?))
        })
    }

    fn find(&self, asker: Asker, id: u32) -> Option<usize> {
        self.opens().find(|(_, open)| open.asker == asker && open.id == id).map(|(index, _)| index)
    }

    fn opens_of(&self, vm: VmHandle) -> usize {
        self.opens().filter(|(_, open)| open.asker.vm == vm).count()
    }

    /// Requests that are not the first of their VM.
    fn extra(&self) -> usize {
        // Handles of VMs that exist have different indices.
        let vms = self.opens().fold(0u128, |vms, (_, open)| vms | 1 << (open.asker.vm.index().unwrap_or(0) & 127));
        (self.taken.count_ones() - vms.count_ones()) as usize
    }

    /// Where a reply frame of the service partition goes; `None` where nobody waits for it.
    pub fn route(&self, frame: &Frame) -> Option<Route> {
        let asker = Asker { vm: frame.vm, port: frame.port };
        let open = self.open[self.find(asker, frame.id)?].as_ref()?;
        let last = !frame.flags.contains(Flags::MORE);
        (open.progress == Progress::Started).then_some(Route { asker, last })
    }

    /// A frame of the reply to request `id` was sent; after the last one the request is closed. What waits of it
    /// is dropped, and what is still to come is thrown away.
    pub fn replied(&mut self, route: &Route, id: u32) {
        let Some(index) = self.find(route.asker, id) else { return };
        let Some(open) = self.open[index].as_mut() else { return };
        open.replied = true;
        open.stalled = false;
        if !route.last {
            return;
        }
        self.discard(index);
    }

    /// Ends a request: its frames go, and its place where nothing more of it comes.
    fn discard(&mut self, index: usize) {
        let Some(open) = self.open[index].as_mut() else { return };
        open.progress = Progress::Discarded;
        let complete = open.complete;
        self.drop_frames(|other, _| other == index);
        if complete {
            self.free(index);
        }
    }

    /// The asker of request `id` has no room for its reply.
    pub fn stalled(&mut self, asker: Asker, id: u32) {
        if let Some(open) = self.find(asker, id).and_then(|index| self.open[index].as_mut()) {
            open.stalled = true;
        }
    }

    /// A life is over. What was in progress goes to the next life if that is safe, or fails; after a failure
    /// it does so once.
    pub fn life_over(&mut self, how: LifeOver) {
        for index in 0..OPEN_MAX {
            let Some(open) = self.open[index].as_mut() else {
                continue;
            };
            if open.progress != Progress::Started {
                continue;
            }
            let (asker, slot) = (open.asker, open.slot);
            let again = open.repeatable && !open.crashed && !open.replied;
            open.crashed = how == LifeOver::Failed;
            open.progress = Progress::Failed(HvErrorKind::SosFailed);
            // Within its share: a first frame of every other VM has a place always.
            if again
                && self.has_room_for(asker.vm)
                && let Ok(frame) = Frame::parse(&slot.header)
                && let Some(open) = self.open[index].as_mut()
            {
                open.progress = Progress::Waiting;
                self.push(index, asker, &frame, &slot);
            }
        }
        self.drop_frames(|_, open| matches!(open.progress, Progress::Failed(_)));
    }

    /// The partition is held off: whatever waits fails.
    pub fn refuse_waiting(&mut self) {
        for open in self.open.iter_mut().flatten() {
            if open.progress == Progress::Waiting {
                open.progress = Progress::Failed(HvErrorKind::SosDown);
            }
        }
        self.drop_frames(|_, open| matches!(open.progress, Progress::Failed(_)));
    }

    /// All errors that are to be sent.
    pub fn failures(&self) -> impl Iterator<Item = (Asker, u32, HvErrorKind)> {
        self.opens().filter_map(|(_, open)| match open.progress {
            Progress::Failed(kind) => Some((open.asker, open.id, kind)),
            _ => None,
        })
    }

    /// The error of request `id` was sent.
    pub fn error_sent(&mut self, asker: Asker, id: u32) {
        if let Some(index) = self.find(asker, id) {
            self.discard(index);
        }
    }

    /// A port was closed: its requests are nobody's any more.
    pub fn forget_port(&mut self, asker: Asker) {
        self.forget(|other| other == asker);
    }

    /// A VM is gone.
    pub fn forget_vm(&mut self, vm: VmHandle) {
        self.forget(|other| other.vm == vm);
    }

    fn forget(&mut self, whose: impl Fn(Asker) -> bool) {
        self.drop_frames(|_, open| whose(open.asker));
        for index in 0..OPEN_MAX {
            if self.open[index].as_ref().is_some_and(|open| whose(open.asker)) {
                self.free(index);
            }
        }
    }

    /// Requests that the partition works on: handed over whole, and their askers take the reply.
    pub fn in_progress(&self) -> u32 {
        self.opens().filter(|(_, open)| open.is_worked_on()).count() as u32
    }

    /// An asker for whom the partition works.
    pub fn worked_for(&self) -> Option<VmHandle> {
        self.opens().find(|(_, open)| open.is_worked_on()).map(|(_, open)| open.asker.vm)
    }

    /// Requests that wait or are in progress.
    pub fn open(&self) -> u32 {
        let open = |open: &Open| matches!(open.progress, Progress::Waiting | Progress::Started);
        self.opens().filter(|(_, other)| open(other)).count() as u32
    }
}

impl Default for Requests {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests;
