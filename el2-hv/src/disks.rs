//! Guests' disks: parts of drives, as virtio block devices.
//!
//! A request's payload goes between the drive and the guest's frames by the drive's own DMA. While a disk has requests in
//! flight its VM's frames stay its own: [`in_flight`] holds up the VM's end, and a driver's reset waits.

use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use arrayvec::ArrayVec;
use guest_virtio::blk::{Block, BlockEffect, Disk, MAX_QUEUES, Next, Operation, Outcome, Request, SERIAL};
use hv_abi::Status;
use hv_abi::call::DiskPart;
use hv_abi::guest_map::{DISK_SLOT, DISKS_MAX, MAX_VCPUS, VIRTIO_SPI};
use hv_arch::lock::Mutex;
use hv_board::virtio::disk::Command;
use hv_core::addr::{IntId, VcpuIdx, VmId};
use hv_core::extent::{Extent, ExtentError};

use crate::drives::{self, Drive, Finished, Order, Requests};
use crate::guest_ram::Ram;
use crate::vm::Vm;
use crate::{VCPUS, VMS, cpu, devices, interrupts, ports, vcpu, vm};

const _: () = assert!(MAX_VCPUS <= 8, "a bit of `waits` for each vCPU");

/// Disks of all guests.
const MAX_DISKS: usize = 64;
/// Requests that are taken back from a drive at one go, and goes after which others have their turn.
const BATCH: usize = 8;
const BATCHES: usize = 8;
/// Requests that are taken from a disk at one go, those that are answered at once counted.
const TURN: usize = 16;
/// Every queue of a disk, a bit each.
const ALL: u8 = (1 << MAX_QUEUES) - 1;

/// The disks. Each is a VM's, or nobody's.
pub static DISKS: [Mutex<GuestDisk>; MAX_DISKS] = [const { Mutex::new(GuestDisk::NONE) }; MAX_DISKS];
/// Disks with requests that were not taken yet, a bit each: the drive had no room, or it was others' turn.
static WAITING: AtomicU64 = AtomicU64::new(0);
/// Drives with requests that are over and were not taken back yet, a bit each.
static FINISHED: AtomicU8 = AtomicU8::new(0);

/// Which disks a VM has: an index into [`DISKS`] and one, or 0.
pub struct Slots([AtomicU8; DISKS_MAX]);

impl Slots {
    /// None.
    pub const fn new() -> Self {
        Self([const { AtomicU8::new(0) }; DISKS_MAX])
    }

    /// The disk in a virtio slot.
    #[inline]
    pub fn at(&self, slot: u64) -> Option<usize> {
        let place = self.0.get(slot.checked_sub(u64::from(DISK_SLOT))? as usize)?;
        usize::from(place.load(Ordering::Relaxed)).checked_sub(1)
    }

    fn all(&self) -> impl Iterator<Item = usize> {
        self.0.iter().filter_map(|place| usize::from(place.load(Ordering::Relaxed)).checked_sub(1))
    }
}

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
    };

    /// Interrupts the guest where the disk has something to say.
    fn pulse(&mut self) {
        if self.block.take_pulse() {
            devices::pulse(self.vm, VIRTIO_SPI + DISK_SLOT + u32::from(self.number));
        }
    }

    /// Where a request is on the drive, and what it is there.
    fn command(&self, operation: &Operation) -> Option<Command> {
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

/// Gives a VM that is being built a disk.
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
    let refused = |error: ExtentError, status| {
        log::warn!("vm {}: disk {}: {error}", vm.name(), part.disk);
        status
    };
    let checked = extent.check(drive.shape.sectors, u64::from(drive.shape.block_size) / 512);
    checked.map_err(|error| refused(error, Status::InvalidArgument))?;
    if part.writable && drive.shape.read_only {
        return Err(Status::Denied);
    }
    let place = vm.disks.0.get(usize::from(part.disk)).ok_or(Status::InvalidArgument)?;
    if place.load(Ordering::Relaxed) != 0 {
        return Err(Status::Exists);
    }
    let clash = DISKS.iter().any(|disk| {
        let disk = disk.lock();
        disk.in_use && disk.extent.clashes(&extent)
    });
    if clash {
        return Err(refused(ExtentError::Taken(extent), Status::Conflict));
    }
    let index = DISKS.iter().position(|disk| !disk.lock().in_use).ok_or(Status::NoMemory)?;
    let mut disk = DISKS[index].lock();
    (disk.extent, disk.vm, disk.number, disk.in_use) = (extent, id, part.disk, true);
    disk.block.restart(&shown(drive, &extent, part));
    place.store(index as u8 + 1, Ordering::Relaxed);
    Ok(())
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
        let mut disk = DISKS[index].lock();
        assert!(disk.block.in_flight() == 0, "vm {}: a drive has its memory", disk.vm);
        disk.block.restart(&Disk::NONE);
        (disk.in_use, disk.waits, disk.closers) = (false, 0, 0);
        WAITING.fetch_and(!(1 << index), Ordering::Relaxed);
    }
    vm.disks.0.iter().for_each(|place| place.store(0, Ordering::Relaxed));
}

/// Requests of a VM that drives have: its memory is theirs to read and write until they are over.
pub fn in_flight(vm: &Vm) -> u32 {
    vm.disks.all().map(|index| u32::from(DISKS[index].lock().block.in_flight())).sum()
}

/// A guest's load from a disk's registers.
#[inline]
pub fn read(index: usize, offset: u64, size: u8) -> u64 {
    DISKS[index].lock().block.read(offset, size)
}

/// A guest's store to a disk's registers, by this vCPU of its VM. `false`: it has to be done again, and the vCPU is notified when.
#[inline(never)]
pub fn write(index: usize, vcpu: VcpuIdx, [offset, size, value]: [u64; 3]) -> bool {
    let mut disk = DISKS[index].lock();
    let (own, before) = (1 << vcpu.0, disk.closers);
    let queues = match disk.block.write(offset, size as u8, value) {
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
    serve(index, &mut disk, if is_open_again { ALL } else { queues });
    disk.pulse();
    true
}

/// Hands requests of these queues, a bit each, to the drive, as long as it has room and the disk its turn. A VM that has
/// ended has none: its memory is about to be another's.
fn serve(index: usize, disk: &mut GuestDisk, queues: u8) {
    let drive = drives::drive(disk.extent.drive).filter(|_| queues != 0 && disk.closers == 0);
    let Some(drive) = drive.filter(|_| VMS[disk.vm.index()].phase().is_alive()) else {
        return;
    };
    let ram = Ram::of(&VMS[disk.vm.index()]);
    let mut request = Request::new();
    let mut requests = drive.requests();
    let (mut left, mut answered) = (TURN, 0_u8);
    let first = disk.turn;
    let in_turn = (0..MAX_QUEUES as u16).map(|queue| (first + queue) % MAX_QUEUES as u16);
    'queues: for queue in in_turn.filter(|queue| queues & 1 << queue != 0) {
        loop {
            if !requests.has_room() {
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
    requests.notify();
    drop(requests);
    for queue in (0..MAX_QUEUES as u16).filter(|queue| answered & 1 << queue != 0) {
        disk.block.signal(queue, &ram);
    }
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
    let order = Order { disk: index as u8, ticket: request.ticket, through: request.through };
    let begun = match disk.command(&request.operation) {
        None => false,
        // What has no cache has written everything.
        Some(Command::Flush) if !requests.is_cached() => {
            disk.block.complete(&request.ticket, Outcome::Done, ram);
            return false;
        }
        Some(command @ (Command::Read(_) | Command::Write(_))) => {
            requests.transfer(&order, command, request.data.iter().flat_map(|segment| ram.pieces(segment)))
        }
        Some(command) => {
            requests.command(&order, command);
            true
        }
    };
    if !begun {
        disk.block.complete(&request.ticket, Outcome::Failed, ram);
    }
    begun
}

/// A drive's interrupt; whether it is one.
pub fn interrupt(id: IntId) -> bool {
    let mut found = drives::all().filter(|(_, drive)| drive.irq == id);
    let Some((number, drive)) = found.next() else {
        return false;
    };
    drive.requests().acknowledge();
    finish(number, drive);
    true
}

/// Does what was put off, for the disks of a VM and the drives.
pub fn go_on(vm: &Vm) {
    let finished = FINISHED.swap(0, Ordering::Relaxed);
    for (number, drive) in drives::all().filter(|(number, _)| finished & 1 << number != 0) {
        finish(number, drive);
    }
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

/// Gives guests back what their drive has finished with.
fn finish(number: u8, drive: &Drive) {
    for _ in 0..BATCHES {
        let mut batch: ArrayVec<Finished, BATCH> = ArrayVec::new();
        let mut requests = drive.requests();
        while !batch.is_full()
            && let Some(finished) = requests.finished()
        {
            batch.push(finished);
        }
        drop(requests);
        give_back(&batch);
        let Some(last) = batch.last().filter(|_| batch.is_full()) else {
            return serve_waiting(number);
        };
        if interrupts::look() {
            return finish_later(number, last.disk);
        }
    }
    finish_later(number, 0);
}

/// The rest is taken back after a while; a VM's deadline is what brings it about.
fn finish_later(number: u8, disk: u8) {
    FINISHED.fetch_or(1 << number, Ordering::Relaxed);
    ports::look_again(DISKS[usize::from(disk)].lock().vm);
    cpu::interrupt_self();
}

/// Gives requests back to their guests. Those of one disk that follow each other have one interrupt.
fn give_back(batch: &[Finished]) {
    for same in batch.chunk_by(|one, next| one.disk == next.disk) {
        let index = usize::from(same[0].disk);
        let mut disk = DISKS[index].lock();
        let vm = &VMS[disk.vm.index()];
        let ram = Ram::of(vm);
        let mut queues = 0_u8;
        for finished in same {
            disk.block.complete(&finished.ticket, finished.outcome, &ram);
            queues |= 1 << (finished.ticket.queue % 8);
        }
        for queue in (0..MAX_QUEUES as u16).filter(|queue| queues & 1 << queue != 0) {
            disk.block.signal(queue, &ram);
        }
        disk.pulse();
        if disk.block.in_flight() == 0 {
            nothing_in_flight(&mut disk, vm);
        }
    }
}

/// Whoever waits for that goes on.
fn nothing_in_flight(disk: &mut GuestDisk, vm: &Vm) {
    let waits = core::mem::take(&mut disk.waits);
    for index in (0..vm.vcpu_count()).filter(|index| waits & 1 << index != 0) {
        let id = vm.vcpu(VcpuIdx(index));
        VCPUS[id.index()].notify(id, vcpu::GIC);
    }
    if !vm.phase().is_alive() {
        vm::tell_manager();
    }
}
