//! The board's drives: found at boot, and each with the requests that it has from guests' disks.

use guest_virtio::blk::Ticket;
use hv_arch::lock::{Mutex, MutexGuard};
use hv_board::virtio::disk::{self, Command, Shape};
use hv_board::virtio::requests::{self, Fault};
use hv_board::virtio::{DmaMemory, Found};
use hv_core::addr::{IntId, Pa, PaRange};
use hv_core::disk::Work;
use hv_core::drive_read::{Answer, DriveRead, READ_SIZE};
use hv_core::frames::Owner;
use spin::Once;

use crate::disks;
use crate::memory::frames;
use crate::slots::Place;

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
    /// Where it is.
    place: Place,
    queue: Mutex<Requests>,
    /// What the service partition reads of it, and the page for that, which is the drive's while it reads. Locked after the
    /// queue.
    read: Mutex<DriveRead>,
    page: Pa,
}

/// Whose a request is.
#[derive(Clone, Copy)]
pub struct Asker {
    /// The guest's disk.
    pub disk: u8,
    /// What gives the request back.
    pub ticket: Ticket,
    /// What it is in the disk's account.
    pub work: Work,
}

impl Asker {
    /// Nobody.
    const NONE: Self = Self { disk: 0, ticket: Ticket::NONE, work: Work::Read(0) };
    /// The service partition, which has no disk.
    const PARTITION: Self = Self { disk: u8::MAX, ..Self::NONE };

    /// Whether it is the service partition's.
    #[inline]
    pub const fn is_partition(&self) -> bool {
        self.disk == Self::PARTITION.disk
    }
}

/// A drive's queue, and what is in it.
pub type Requests = requests::Requests<Asker>;
/// A guest's request, as its drive has to do with it.
pub type Order = requests::Order<Asker>;
/// A guest's request that is over.
pub type Finished = requests::Finished<Asker>;

/// Brings a disk up as the next drive; whether it can be used.
pub fn open(found: Found, place: &Place) -> bool {
    begin(found, place).is_some()
}

fn begin(found: Found, place: &Place) -> Option<()> {
    let (number, at) = (all().count(), place.at);
    let Some(free) = DRIVES.get(number) else {
        log::warn!("drive:   disk at {at} is one too many, at most {MAX_DRIVES}");
        return None;
    };
    let Ok(start) = frames().allocate(disk::MEMORY.next_power_of_two(), Owner::Rings) else {
        log::warn!("drive:   no memory for the disk at {at}");
        return None;
    };
    let range = PaRange { start, size: disk::MEMORY };
    let Ok(page) = frames().allocate(READ_SIZE, Owner::Rings) else {
        log::warn!("drive:   no memory for what is read of the disk at {at}");
        return None;
    };
    // SAFETY: the frames were allocated for this and nothing else, are RAM that EL2 maps, and stay the drive's for ever.
    let memory = unsafe { DmaMemory::new(range) }?;
    place.admit(&[range, PaRange { start: page, size: READ_SIZE }])?;
    let drive = match disk::Disk::start(found, memory) {
        Ok(drive) => drive,
        Err(error) => {
            log::warn!("drive:   disk at {at} {error}");
            place.dismiss();
            return None;
        }
    };
    let shape = *drive.shape();
    let access = if shape.read_only { ", read-only" } else { "" };
    log::info!("drive:   {number} is the disk at {at}, {} MiB{access}", shape.sectors >> 11);
    let queue = Mutex::new(Requests::new(drive, Asker::NONE));
    let read = Mutex::new(DriveRead::None);
    free.call_once(|| Drive { number: number as u8, shape, irq: place.irq.id, place: *place, queue, read, page });
    Some(())
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

    /// Asks for the service partition's read of that number. What it has read is in a page that is the caller's until the next.
    pub fn ask(&self, number: u64, sector: u64, now: u64) -> (Answer, Pa) {
        let mut requests = self.requests();
        let answer = self.read.lock().ask(number, requests.has_room());
        if answer == Answer::Begin {
            let order = Order { tag: Asker::PARTITION, through: false };
            let page = [Some((self.page, READ_SIZE as u32))];
            if !requests.transfer(&order, Command::Read(sector), page.into_iter()) {
                self.read.lock().ended(false);
            }
            if requests.notify(now) {
                disks::watch();
            }
        }
        (answer, self.page)
    }

    /// The service partition's read is over.
    pub fn has_read(&self, finished: &Finished) {
        self.read.lock().ended(finished.went_well);
    }

    /// Whether it has a read of the service partition's.
    pub fn reads(&self) -> bool {
        self.read.lock().is_going()
    }

    /// Gives it up, for good. `requests` are its own; those that it had are over.
    pub fn give_up(&self, requests: &mut Requests, fault: Fault) {
        let (number, at) = (self.number, self.place.at);
        match requests.give_up() {
            Ok(()) => log::error!("drive:   {number}, the disk at {at}, {fault}: given up"),
            Err(error) => {
                log::error!("drive:   {number}, the disk at {at}, {fault}: given up; it {error}");
                if self.place.dismiss() {
                    return;
                }
                log::error!(
                    "drive:   {number} may use the memory of guests whose requests it had: it is not used again"
                );
            }
        }
    }
}
