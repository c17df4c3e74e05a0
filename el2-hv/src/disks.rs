//! Guests' disks: parts of drives, as virtio block devices.
//!
//! A request's payload goes between the drive and the guest's frames by the drive's own DMA. While a disk has requests in
//! flight its VM's frames stay its own: [`in_flight`] holds up the VM's end, and a driver's reset waits.

mod finish;
mod grow;
mod limits;
mod plug;

use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use guest_virtio::blk::{Block, BlockEffect, Disk, MAX_QUEUES, Next, Operation, Request, SERIAL};
use guest_virtio::mmio::read_empty_slot;
use hv_abi::Status;
use hv_abi::call::DiskPart;
use hv_abi::guest_map::{DISK_SLOT, DISKS_MAX, MAX_VCPUS, VIRTIO_SPI};
use hv_arch::counter;
use hv_arch::lock::Mutex;
use hv_board::virtio::disk::Command;
use hv_core::addr::{VcpuIdx, VmId};
use hv_core::disk::{DiskCounters, Throttle};
use hv_core::extent::{Extent, ExtentError};

use crate::drives::{self, Asker, Drive, Order, Requests};
use crate::guest_ram::Ram;
use crate::machine::machine;
use crate::places::Places;
use crate::vm::{Phase, Vm};
use crate::{VMS, cpu, devices, interrupts, ports};

pub use finish::{deadline_passed, interrupt, watch};
pub use grow::grow;
use limits::{DUE, work};
pub use limits::{account, due, limit, limit_anew};
use plug::Leaves;
pub use plug::{attach, detach, plugs};

const _: () = assert!(MAX_VCPUS <= 8, "a bit of `waits` for each vCPU");

/// Disks of all guests.
const MAX_DISKS: usize = 64;
/// Requests that are taken from a disk at one go, those that are answered at once counted.
const TURN: usize = 16;
/// Every queue of a disk, a bit each.
const ALL: u8 = (1 << MAX_QUEUES) - 1;

/// The disks. Each is a VM's, or nobody's.
pub static DISKS: [Mutex<GuestDisk>; MAX_DISKS] = [const { Mutex::new(GuestDisk::NONE) }; MAX_DISKS];
/// Disks with requests that were not taken yet, a bit each: the drive had no room, it was others' turn, or their limits.
static WAITING: AtomicU64 = AtomicU64::new(0);
/// The VM whose requests the service partition waits for, or its own slot.
static AWAITED: AtomicU8 = AtomicU8::new(0);

/// The disks that a VM has, as indices into [`DISKS`].
pub type Slots = Places<DISK_SLOT, DISKS_MAX>;

/// A guest's disk.
pub struct GuestDisk {
    block: Block,
    extent: Extent,
    vm: VmId,
    /// Which of the VM's disks it is.
    number: u8,
    in_use: bool,
    /// The VM's vCPUs that wait until nothing is in flight, a bit each.
    waits: u8,
    /// The queue that is looked at first.
    turn: u16,
    /// Those of them that have not come back yet: no request is taken meanwhile, so that they do not wait for ever.
    closers: u8,
    leaves: Leaves,
    throttle: Throttle,
    counters: DiskCounters,
}

impl GuestDisk {
    const NONE: Self = Self {
        block: Block::NONE,
        extent: Extent { drive: 0, first: 0, sectors: 0, writable: false },
        vm: VmId(0),
        number: 0,
        in_use: false,
        waits: 0,
        turn: 0,
        closers: 0,
        leaves: Leaves::No,
        throttle: Throttle::NONE,
        counters: DiskCounters::NONE,
    };

    /// Interrupts the guest where the disk has something to say.
    fn pulse(&mut self) {
        if self.block.take_pulse() {
            devices::pulse(self.vm, VIRTIO_SPI + DISK_SLOT + u32::from(self.number));
        }
    }

    /// Its drive, where requests are taken. A VM that has ended has none: its memory is about to be another's.
    fn drive(&self) -> Option<&'static Drive> {
        let drive = drives::drive(self.extent.drive).filter(|_| self.closers == 0);
        drive.filter(|_| VMS[self.vm.index()].phase().is_alive())
    }

    /// Interrupts the guest, where it wants to hear of it, for what was given back on these queues, a bit each.
    fn signal(&mut self, queues: u8, ram: &Ram) {
        for queue in (0..MAX_QUEUES as u16).filter(|queue| queues & 1 << queue != 0) {
            self.block.signal(queue, ram);
        }
    }

    /// Where a request is on the drive, and what it is there.
    fn command(&self, operation: &Operation) -> Option<Command> {
        if self.leaves == Leaves::Gone {
            return None;
        }
        Some(match *operation {
            Operation::Read { sector } => Command::Read(self.extent.place(sector, 1)?),
            Operation::Write { sector } => Command::Write(self.extent.place(sector, 1)?),
            Operation::Flush => Command::Flush,
            Operation::Discard { sector, sectors } => {
                Command::Discard(self.extent.place(sector, sectors)?, u32::try_from(sectors).ok()?)
            }
            Operation::WriteZeroes { sector, sectors, unmap } => {
                Command::WriteZeroes(self.extent.place(sector, sectors)?, u32::try_from(sectors).ok()?, unmap)
            }
        })
    }
}

/// Gives a VM a disk.
#[inline(never)]
pub fn add(id: VmId, vm: &Vm, part: &DiskPart) -> Result<(), Status> {
    let Some(drive) = drives::drive(part.drive) else {
        log::warn!("vm {}: disk {}: the board has no drive {}", vm.name(), part.disk, part.drive);
        return Err(Status::InvalidArgument);
    };
    let sectors = match part.sectors {
        0 => drive.shape.sectors.saturating_sub(part.first),
        sectors => sectors,
    };
    let extent = Extent { drive: part.drive, first: part.first, sectors, writable: part.writable };
    checked(drive, &extent, None).map_err(|error| refused(vm, part.disk, error))?;
    if part.writable && drive.shape.read_only {
        return Err(Status::Denied);
    }
    if !vm.disks.is_free(part.disk) {
        return Err(Status::Exists);
    }
    let index = DISKS.iter().position(|disk| !disk.lock().in_use).ok_or(Status::NoMemory)?;
    let mut disk = DISKS[index].lock();
    (disk.extent, disk.vm, disk.number, disk.in_use) = (extent, id, part.disk, true);
    (disk.throttle, disk.counters) = (Throttle::NONE, DiskCounters::NONE);
    disk.block.restart(&shown(drive, &extent, part));
    vm.disks.put(part.disk, index);
    Ok(())
}

/// Whether a drive has such a part, and nobody writes to it but perhaps the disk at `own`. The service partition is the only
/// one who gives and changes disks, one after the other: what is found here holds until its call ends.
fn checked(drive: &Drive, extent: &Extent, own: Option<usize>) -> Result<(), ExtentError> {
    extent.check(drive.shape.sectors, u64::from(drive.shape.block_size) / 512)?;
    let clash = (0..MAX_DISKS).filter(|index| Some(*index) != own).any(|index| {
        let disk = DISKS[index].lock();
        disk.has_sectors() && disk.extent.clashes(extent)
    });
    if clash { Err(ExtentError::Taken(*extent)) } else { Ok(()) }
}

/// Says what a VM cannot have.
fn refused(vm: &Vm, disk: u8, error: ExtentError) -> Status {
    log::warn!("vm {}: disk {disk}: {error}", vm.name());
    match error {
        ExtentError::Outside(..) | ExtentError::Unaligned(..) => Status::InvalidArgument,
        ExtentError::Taken(_) => Status::Conflict,
        ExtentError::Smaller(..) => Status::Denied,
    }
}

/// What a part of a drive is to its guest.
fn shown(drive: &Drive, extent: &Extent, part: &DiskPart) -> Disk {
    let mut serial = [0; SERIAL];
    let name = [b'd', b'i', b's', b'k', b'0' + part.disk];
    serial[..name.len()].copy_from_slice(&name);
    Disk {
        sectors: extent.sectors,
        read_only: !extent.writable,
        discard: drive.shape.discard,
        block_size: drive.shape.block_size,
        physical_exponent: drive.shape.physical_exponent,
        segments: drive.shape.pieces,
        queues: part.queues,
        serial,
    }
}

/// Takes a VM's disks away. Nothing of them is in flight.
pub fn remove_all(vm: &Vm) {
    for index in vm.disks.all() {
        plug::remove(index, &mut DISKS[index].lock());
    }
    vm.disks.clear();
}

/// Requests of a VM that drives have: its memory is theirs to read and write until they are over.
pub fn in_flight(vm: &Vm) -> u32 {
    vm.disks.all().map(|index| u32::from(DISKS[index].lock().block.in_flight())).sum()
}

/// Whether requests in flight hold up a VM's destruction. The service partition is told when they do no longer.
pub fn hold_up(id: VmId) -> bool {
    AWAITED.store(id.0, Ordering::Relaxed);
    is_awaited()
}

/// Whether the service partition waits for drives. They have a time of their own to answer, during which it does not hang.
pub fn is_awaited() -> bool {
    let vm = &VMS[usize::from(AWAITED.load(Ordering::Relaxed))];
    vm.phase() == Phase::Stopped && in_flight(vm) > 0
}

/// A guest's load from the registers of its disk in a slot. The disk may have left since it was looked up.
#[inline]
pub fn read(index: usize, (vm, slot): (VmId, u64), [offset, size]: [u64; 2]) -> u64 {
    let disk = DISKS[index].lock();
    if disk.is_in(vm, slot) { disk.block.read(offset, size as u8) } else { read_empty_slot(offset, size as u8) }
}

/// A guest's store to the registers of its disk in a slot, by this vCPU. `false`: it has to be done again, and the vCPU is
/// notified when.
#[inline(never)]
pub fn write(index: usize, (vm, slot, vcpu): (VmId, u64, VcpuIdx), [offset, size, value]: [u64; 3]) -> bool {
    let mut disk = DISKS[index].lock();
    if !disk.is_in(vm, slot) {
        return true;
    }
    let (own, before) = (1 << vcpu.0, disk.closers);
    let queues = match disk.block.write(offset, size as u8, value) {
        BlockEffect::Reset if disk.leaves != Leaves::No => {
            plug::leave(index, &mut disk);
            return true;
        }
        BlockEffect::None | BlockEffect::Reset | BlockEffect::Stopped => 0,
        BlockEffect::Requests(queue) => 1 << queue,
        BlockEffect::Started => ALL,
        BlockEffect::Wait => {
            disk.waits |= own;
            disk.closers |= own;
            return false;
        }
    };
    disk.closers &= !own;
    // The last one that waited is back: what others have asked for meanwhile was left.
    let is_open_again = before != 0 && disk.closers == 0;
    let queues = if is_open_again { ALL } else { queues };
    if queues != 0 {
        serve(index, &mut disk, queues);
    }
    disk.pulse();
    true
}

/// Hands requests of these queues, a bit each, to the drive, as long as it has room and the disk its turn, within its limits.
fn serve(index: usize, disk: &mut GuestDisk, queues: u8) {
    let Some(drive) = disk.drive() else {
        return DUE[index].clear();
    };
    // What waits for the limits may be in any of them.
    let queues = if DUE[index].is_set() { ALL } else { queues };
    let ram = Ram::of(&VMS[disk.vm.index()]);
    let mut request = Request::new();
    let mut requests = drive.requests();
    let (mut left, mut answered, mut waits_until) = (TURN, 0_u8, None);
    let first = disk.turn;
    let in_turn = (0..MAX_QUEUES as u16).map(|queue| (first + queue) % MAX_QUEUES as u16);
    'queues: for queue in in_turn.filter(|queue| queues & 1 << queue != 0) {
        loop {
            waits_until = disk.waits_until();
            if waits_until.is_some() || !requests.has_room() {
                WAITING.fetch_or(1 << index, Ordering::Relaxed);
                break 'queues;
            }
            if left == 0 || left < TURN && interrupts::look() {
                go_on_later(index, disk.vm);
                break 'queues;
            }
            left -= 1;
            match disk.block.next(queue, &ram, &mut request) {
                Next::Empty => break,
                Next::Answered => answered |= 1 << queue,
                Next::Request if !begin(index, disk, &mut requests, &request, &ram) => answered |= 1 << queue,
                Next::Request => {}
            }
        }
    }
    disk.turn = (first + 1) % MAX_QUEUES as u16;
    limits::wait(index, disk, waits_until);
    if requests.notify(counter::now_relaxed()) {
        finish::watch();
    }
    drop(requests);
    disk.signal(answered, &ram);
}

/// The rest is done after a while, when others had their turn, or when requests of the drive are over.
fn go_on_later(index: usize, vm: VmId) {
    WAITING.fetch_or(1 << index, Ordering::Relaxed);
    ports::look_again(vm);
    cpu::interrupt_self();
}

/// Begins a request. `false`: it is over at once.
#[inline]
fn begin(index: usize, disk: &mut GuestDisk, requests: &mut Requests, request: &Request, ram: &Ram) -> bool {
    let work = work(request);
    if disk.throttle.is_limited() {
        disk.throttle.take(work, machine().up_ns());
    }
    let tag = Asker { disk: index as u8, ticket: request.ticket, work };
    let order = Order { tag, through: request.through };
    let begun = match disk.command(&request.operation) {
        None => false,
        // What has no cache has written everything.
        Some(Command::Flush) if requests.is_flushed() => {
            disk.end(&tag, true, ram);
            return false;
        }
        Some(command @ (Command::Read(_) | Command::Write(_))) => {
            requests.transfer(&order, command, request.data.iter().flat_map(|segment| ram.pieces(segment)))
        }
        Some(command) => requests.command(&order, command),
    };
    if !begun {
        disk.end(&tag, false, ram);
    }
    begun
}

/// Does what was put off, for the disks of a VM and the drives.
pub fn go_on(vm: &Vm) {
    finish::go_on();
    for index in vm.disks.all() {
        if WAITING.fetch_and(!(1 << index), Ordering::Relaxed) & 1 << index != 0 {
            serve_all(index);
        }
    }
}

fn serve_all(index: usize) {
    let mut disk = DISKS[index].lock();
    serve(index, &mut disk, ALL);
    disk.pulse();
}

/// Hands on requests of disks that wait for this drive, one after the other, each time another one first.
fn serve_waiting(number: u8) {
    static FIRST: AtomicU8 = AtomicU8::new(0);
    let first = u32::from(FIRST.fetch_add(1, Ordering::Relaxed)) % MAX_DISKS as u32;
    let mut waiting = WAITING.load(Ordering::Relaxed).rotate_right(first);
    while waiting != 0 {
        let index = (waiting.trailing_zeros() + first) as usize % MAX_DISKS;
        waiting &= waiting - 1;
        let (drive, vm) = {
            let disk = DISKS[index].lock();
            (disk.extent.drive, disk.vm)
        };
        if drive != number {
            continue;
        }
        if interrupts::look() {
            return go_on_later(index, vm);
        }
        WAITING.fetch_and(!(1 << index), Ordering::Relaxed);
        serve_all(index);
    }
}
