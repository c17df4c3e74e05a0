//! The board's drives: found at boot, and each with the requests that it has from guests' disks.

use arrayvec::ArrayVec;
use guest_virtio::blk::{Outcome, Ticket};
use hv_arch::lock::{Mutex, MutexGuard};
use hv_board::virtio::disk::{self, Command, DEPTH, Draft, Shape};
use hv_board::virtio::{DmaMemory, Found};
use hv_board::{Irq, VirtioSlot};
use hv_core::addr::{IntId, Pa, PaRange};
use hv_core::frames::Owner;
use spin::Once;

use crate::memory::frames;

/// Drives that EL2 uses.
const MAX_DRIVES: usize = 4;
/// Requests of a drive that one request of a guest becomes at most: its buffers may lie in more pieces of RAM than a drive
/// takes at once. Another one may follow, a flush.
pub const PARTS_MAX: u32 = 4;

/// The drives.
static DRIVES: [Once<Drive>; MAX_DRIVES] = [const { Once::new() }; MAX_DRIVES];

/// A drive.
pub struct Drive {
    /// What it is.
    pub shape: Shape,
    /// Its interrupt.
    pub irq: IntId,
    queue: Mutex<Requests>,
}

/// A drive's queue, and what is in it.
pub struct Requests {
    drive: disk::Disk,
    /// Of each slot, the job that it is a part of.
    parts: [u8; DEPTH],
    jobs: [Job; DEPTH],
}

/// A request of a guest. Its number is the slot of its first part.
#[derive(Clone, Copy)]
struct Job {
    /// The guest's disk.
    disk: u8,
    ticket: Ticket,
    /// Parts that the drive has.
    left: u8,
    failed: bool,
    /// What was written has to be flushed before the request is over.
    flush: bool,
}

/// A guest's request that is over.
pub struct Finished {
    /// The guest's disk.
    pub disk: u8,
    /// What gives it back.
    pub ticket: Ticket,
    /// How it went.
    pub outcome: Outcome,
}

/// Brings a disk up as the next drive; its interrupt, to be routed, if it can be used.
pub fn open(found: Found, slot: &VirtioSlot) -> Option<Irq> {
    let number = all().count();
    let Some(place) = DRIVES.get(number) else {
        log::warn!("drive:   disk at {} is one too many, at most {MAX_DRIVES}", slot.regs.start);
        return None;
    };
    let Ok(start) = frames().allocate(disk::MEMORY.next_power_of_two(), Owner::Rings) else {
        log::warn!("drive:   no memory for the disk at {}", slot.regs.start);
        return None;
    };
    let range = PaRange { start, size: disk::MEMORY };
    // SAFETY: the frames were allocated for this and nothing else, are RAM that EL2 maps, and stay the drive's for ever.
    let memory = unsafe { DmaMemory::new(range) }?;
    let drive = match disk::Disk::start(found, memory) {
        Ok(drive) => drive,
        Err(error) => {
            log::warn!("drive:   disk at {} {error}", slot.regs.start);
            return None;
        }
    };
    let shape = *drive.shape();
    let access = if shape.read_only { ", read-only" } else { "" };
    log::info!("drive:   {number} is the disk at {}, {} MiB{access}", slot.regs.start, shape.sectors >> 11);
    let job = Job { disk: 0, ticket: Ticket::NONE, left: 0, failed: false, flush: false };
    let requests = Requests { drive, parts: [0; DEPTH], jobs: [job; DEPTH] };
    place.call_once(|| Drive { shape, irq: slot.irq.id, queue: Mutex::new(requests) });
    Some(slot.irq)
}

/// The drive of that number.
pub fn drive(number: u8) -> Option<&'static Drive> {
    DRIVES.get(usize::from(number))?.get()
}

/// All drives, with their numbers.
pub fn all() -> impl Iterator<Item = (u8, &'static Drive)> {
    (0..).zip(&DRIVES).filter_map(|(number, drive)| Some((number, drive.get()?)))
}

impl Drive {
    /// Its queue, locked.
    pub fn requests(&self) -> MutexGuard<'_, Requests> {
        self.queue.lock()
    }
}

/// A guest's request, as its drive has to do with it.
#[derive(Clone, Copy)]
pub struct Order {
    /// The guest's disk.
    pub disk: u8,
    /// What gives the request back.
    pub ticket: Ticket,
    /// Its effect is on the medium before it is over.
    pub through: bool,
}

/// A piece of RAM of a transfer, or none where the guest has no RAM.
pub type Piece = Option<(Pa, u32)>;

impl Requests {
    /// Whether there is room for one more request of a guest.
    pub const fn has_room(&self) -> bool {
        self.drive.free() > PARTS_MAX
    }

    /// Whether what was written may be in a cache.
    pub const fn is_cached(&self) -> bool {
        self.drive.shape().cached
    }

    /// Begins a request without payload; there is room for it.
    pub fn command(&mut self, order: &Order, command: Command) {
        let part = self.drive.draft(command).map(Draft::submit);
        self.employ(order, part.as_slice(), order.through && command != Command::Flush, false);
    }

    /// Begins to fill or write the pieces from a sector on; there is room for it. `false` where that cannot be done at
    /// all, and the request is over.
    pub fn transfer(&mut self, order: &Order, command: Command, pieces: impl Iterator<Item = Piece>) -> bool {
        let mut parts: ArrayVec<u16, { PARTS_MAX as usize }> = ArrayVec::new();
        let whole = self.split(command, pieces, &mut parts);
        if parts.is_empty() {
            return false;
        }
        self.employ(order, &parts, order.through && matches!(command, Command::Write(_)), !whole);
        true
    }

    /// Hands the pieces to the drive, in as many parts as it takes; whether that was all of them.
    fn split(
        &mut self,
        command: Command,
        mut pieces: impl Iterator<Item = Piece>,
        parts: &mut ArrayVec<u16, { PARTS_MAX as usize }>,
    ) -> bool {
        let block = self.drive.shape().block_size;
        let mut command = command;
        // What the part before had too much, and the piece that did not fit.
        let mut carried: ArrayVec<(Pa, u32), 2> = ArrayVec::new();
        while let Some(mut draft) = self.drive.draft(command) {
            let mut bytes = 0;
            let full = loop {
                let (pa, length) = match carried.pop_at(0).map(Some).or_else(|| pieces.next()) {
                    None => break None,
                    Some(None) => return false,
                    Some(Some(piece)) => piece,
                };
                if !draft.push(pa, length) {
                    break Some((pa, length));
                }
                bytes += length;
            };
            let Some(next) = full else {
                parts.push(draft.submit());
                return true;
            };
            // A part ends with a block.
            let over = bytes % block;
            if parts.len() + 1 == parts.capacity() || !draft.cut(over) {
                return false;
            }
            carried.extend((over > 0).then_some((draft.end(), over)));
            carried.push(next);
            parts.push(draft.submit());
            command = command.behind((bytes - over) / 512);
        }
        false
    }

    /// The drive has these parts of a request.
    fn employ(&mut self, order: &Order, parts: &[u16], flush: bool, failed: bool) {
        let Some(first) = parts.first().copied() else {
            return;
        };
        for part in parts {
            self.parts[usize::from(*part)] = first as u8;
        }
        let (Order { disk, ticket, .. }, flush) = (*order, flush && self.drive.shape().cached);
        self.jobs[usize::from(first)] = Job { disk, ticket, left: parts.len() as u8, failed, flush };
    }

    /// Tells the drive of what it was given.
    pub fn notify(&mut self) {
        self.drive.notify();
    }

    /// Takes the drive's interrupt back.
    pub fn acknowledge(&mut self) {
        self.drive.acknowledge();
    }

    /// A request of a guest that is over. `None`: no more for now, and an interrupt says when there is.
    pub fn finished(&mut self) -> Option<Finished> {
        loop {
            match self.drive.done() {
                Ok(Some((slot, went_well))) => {
                    if let Some(finished) = self.part_is_over(slot, went_well) {
                        return Some(finished);
                    }
                }
                Ok(None) if self.drive.arm() => {}
                Ok(None) => return None,
                Err(error) => {
                    log::error!("drive:   {error}");
                    return None;
                }
            }
        }
    }

    fn part_is_over(&mut self, slot: u16, went_well: bool) -> Option<Finished> {
        let first = self.parts[usize::from(slot) % DEPTH];
        let job = &mut self.jobs[usize::from(first) % DEPTH];
        job.failed |= !went_well;
        job.left = job.left.saturating_sub(1);
        let job = *job;
        // The first part's number is the job's.
        if slot != u16::from(first) {
            self.drive.release(slot);
        }
        if job.left > 0 {
            return None;
        }
        self.drive.release(u16::from(first));
        if job.flush && !job.failed {
            // A slot is free: the one of the part that is over.
            let order = Order { disk: job.disk, ticket: job.ticket, through: false };
            self.command(&order, Command::Flush);
            self.drive.notify();
            return None;
        }
        let outcome = if job.failed { Outcome::Failed } else { Outcome::Done };
        Some(Finished { disk: job.disk, ticket: job.ticket, outcome })
    }
}
