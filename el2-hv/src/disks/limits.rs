//! What a disk may do in a second, and what it has done.

use guest_virtio::blk::{Operation, Outcome, Request, SECTOR};
use hv_abi::Status;
use hv_abi::call::DiskLimits;
use hv_abi::guest_map::DISK_SLOT;
use hv_core::disk::{DiskCounters, DiskRate, Throttle, Work};

use super::{DISKS, GuestDisk, MAX_DISKS, serve_all};
use crate::drives::Asker;
use crate::due::{Due, Waits};
use crate::guest_ram::Ram;
use crate::machine::machine;
use crate::vm::Vm;
use crate::{cpu, ports};

/// When disks may go on that wait for their limits.
pub(super) static DUE: [Due; MAX_DISKS] = [const { Due::new() }; MAX_DISKS];

impl GuestDisk {
    /// Until when its limits have the next request wait.
    #[inline]
    pub(super) fn waits_until(&self) -> Option<u64> {
        if self.throttle.is_limited() { self.throttle.wait(machine().up_ns()) } else { None }
    }

    /// Gives a request back.
    pub(super) fn end(&mut self, asker: &Asker, went_well: bool, ram: &Ram) {
        self.counters.ended(asker.work, went_well);
        let outcome = if went_well { Outcome::Done } else { Outcome::Failed };
        self.block.complete(&asker.ticket, outcome, ram);
    }
}

/// Limits a disk of a VM.
pub fn limit(vm: &Vm, limits: &DiskLimits) -> Result<(), Status> {
    set(vm, limits).map(drop)
}

/// Limits a disk of a VM that runs. What waited for other limits is looked at at once.
pub fn limit_anew(vm: &Vm, limits: &DiskLimits) -> Result<(), Status> {
    set(vm, limits).map(serve_all)
}

/// Sets limits; the disk that has them.
fn set(vm: &Vm, limits: &DiskLimits) -> Result<usize, Status> {
    let index = vm.disks.at(u64::from(DISK_SLOT) + u64::from(limits.disk)).ok_or(Status::InvalidArgument)?;
    let rate = DiskRate { iops: limits.iops, bytes_per_s: u64::from(limits.kbytes_per_s) * 1000 };
    let mut disk = DISKS[index].lock();
    if !disk.stays_with(vm) {
        return Err(Status::InvalidArgument);
    }
    disk.throttle = Throttle::new(rate);
    Ok(index)
}

/// What a disk has done, and what it may do.
pub fn account(index: usize) -> (DiskCounters, DiskRate) {
    let disk = DISKS[index].lock();
    (disk.counters, disk.throttle.rate())
}

/// What a request is in the disk's account.
#[inline]
pub(super) fn work(request: &Request) -> Work {
    // The queue has bounded it: at most blk::REQUEST_MAX bytes.
    let bytes = || request.bytes() as u32;
    match request.operation {
        Operation::Read { .. } => Work::Read(bytes()),
        Operation::Write { .. } => Work::Write(bytes()),
        Operation::Flush => Work::Flush,
        Operation::Discard { .. } => Work::Discard,
        Operation::WriteZeroes { sectors, .. } => Work::Zeroes(sectors.saturating_mul(SECTOR)),
    }
}

/// The rest is done when the limits allow it, if there is any. No time is spent on it until then.
pub(super) fn wait(index: usize, disk: &mut GuestDisk, until_ns: Option<u64>) {
    match DUE[index].set(until_ns) {
        Waits::Not | Waits::AsBefore => {}
        Waits::Longer => disk.counters.waits(),
        Waits::Now => {
            disk.counters.waits();
            ports::look_again(disk.vm);
            cpu::interrupt_self();
        }
    }
}

/// When the first of a VM's disks goes on that waits for its limits, on the counter.
pub fn due(vm: &Vm) -> Option<u64> {
    vm.disks.all().filter_map(|index| DUE[index].at()).min()
}
