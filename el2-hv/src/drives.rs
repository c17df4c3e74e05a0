//! The board's drives: found at boot, and each with the requests that it has from guests' disks.

use guest_virtio::blk::Ticket;
use hv_arch::lock::{Mutex, MutexGuard};
use hv_board::virtio::disk::{self, Shape};
use hv_board::virtio::requests::{self, Fault};
use hv_board::virtio::{DmaMemory, Found};
use hv_board::{Irq, VirtioSlot};
use hv_core::addr::{IntId, Pa, PaRange};
use hv_core::frames::Owner;
use spin::Once;

use crate::memory::frames;

/// Drives that EL2 uses.
pub const MAX_DRIVES: usize = 4;

/// The drives.
static DRIVES: [Once<Drive>; MAX_DRIVES] = [const { Once::new() }; MAX_DRIVES];

/// A drive.
pub struct Drive {
    /// Which it is.
    pub number: u8,
    /// What it is.
    pub shape: Shape,
    /// Its interrupt.
    pub irq: IntId,
    /// Where its registers are.
    registers: Pa,
    queue: Mutex<Requests>,
}

/// Whose a request is.
#[derive(Clone, Copy)]
pub struct Asker {
    /// The guest's disk.
    pub disk: u8,
    /// What gives the request back.
    pub ticket: Ticket,
}

impl Asker {
    /// Nobody.
    const NONE: Self = Self { disk: 0, ticket: Ticket::NONE };
}

/// A drive's queue, and what is in it.
pub type Requests = requests::Requests<Asker>;
/// A guest's request, as its drive has to do with it.
pub type Order = requests::Order<Asker>;
/// A guest's request that is over.
pub type Finished = requests::Finished<Asker>;

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
    let queue = Mutex::new(Requests::new(drive, Asker::NONE));
    place.call_once(|| Drive { number: number as u8, shape, irq: slot.irq.id, registers: slot.regs.start, queue });
    Some(slot.irq)
}

/// The drive of that number.
pub fn drive(number: u8) -> Option<&'static Drive> {
    DRIVES.get(usize::from(number))?.get()
}

/// All drives.
pub fn all() -> impl Iterator<Item = &'static Drive> {
    DRIVES.iter().filter_map(Once::get)
}

impl Drive {
    /// Its queue, locked.
    pub fn requests(&self) -> MutexGuard<'_, Requests> {
        self.queue.lock()
    }

    /// Gives it up, for good. `requests` are its own; those that it had are over.
    pub fn give_up(&self, requests: &mut Requests, fault: Fault) {
        let (number, at) = (self.number, self.registers);
        match requests.give_up() {
            Ok(()) => log::error!("drive:   {number}, the disk at {at}, {fault}: given up"),
            Err(error) => {
                log::error!("drive:   {number}, the disk at {at}, {fault}: given up; it {error}");
                log::error!(
                    "drive:   {number} may use the memory of guests whose requests it had: it is not used again"
                );
            }
        }
    }
}
