//! Disks that come and go while their VM runs ([ADR 0032](../../../docs/adr/0032-disks-come-and-go.md)).
//!
//! A disk that leaves stays in its slot until its driver lets go of it by a reset, so that the driver never meets another one
//! in the place of the one that it set up.

use guest_virtio::blk::Disk;
use hv_abi::Status;
use hv_abi::call::DiskPart;
use hv_abi::guest_map::DISK_SLOT;
use hv_abi::record::PlugRecord;
use hv_core::addr::VmId;
use hv_core::disk::Throttle;
use zerocopy::little_endian::U32;

use core::sync::atomic::Ordering;

use super::{DISKS, DUE, GuestDisk, WAITING, add, serve_all};
use crate::VMS;
use crate::vm::Vm;

/// Whether a disk leaves its VM.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Leaves {
    No,
    /// When its driver lets go.
    Asked,
    /// It has no sectors any more; its driver has not let go yet.
    Gone,
}

impl GuestDisk {
    /// Whether it is a VM's, in this slot.
    #[inline]
    pub(super) fn is_in(&self, vm: VmId, slot: u64) -> bool {
        self.in_use && self.vm == vm && u64::from(DISK_SLOT) + u64::from(self.number) == slot
    }

    /// Whether it is this VM's, and nobody has asked for it back.
    pub(super) fn stays_with(&self, vm: &Vm) -> bool {
        self.in_use && self.leaves == Leaves::No && core::ptr::eq(&VMS[self.vm.index()], vm)
    }

    /// Whether it reaches its sectors, or a drive has requests of it that do.
    pub(super) const fn has_sectors(&self) -> bool {
        self.in_use && (!matches!(self.leaves, Leaves::Gone) || self.block.in_flight() > 0)
    }
}

/// Gives a VM that runs a disk. Nobody but the service partition gives and takes disks, one after the other.
pub fn attach(id: VmId, vm: &Vm, part: &DiskPart) -> Result<(), Status> {
    if !vm.phase().is_alive() {
        return Err(Status::WrongState);
    }
    add(id, vm, part)
}

/// Takes a disk away from a VM that runs: `AGAIN` where that waits for its driver.
#[inline(never)]
pub fn detach(vm: &Vm, number: u64, at_once: bool) -> Result<(), Status> {
    if !vm.phase().is_alive() {
        return Err(Status::WrongState);
    }
    let slot = number.checked_add(u64::from(DISK_SLOT)).ok_or(Status::InvalidArgument)?;
    let index = vm.disks.at(slot).ok_or(Status::InvalidArgument)?;
    {
        let mut disk = DISKS[index].lock();
        // Its driver may have let go of it since it was looked up.
        if !disk.in_use || !core::ptr::eq(&VMS[disk.vm.index()], vm) {
            return Ok(());
        }
        if !disk.block.is_driven() {
            leave(index, &mut disk);
            return Ok(());
        }
        if !at_once {
            if disk.leaves == Leaves::No {
                disk.leaves = Leaves::Asked;
            }
            return Err(Status::Again);
        }
        disk.leaves = Leaves::Gone;
        disk.throttle = Throttle::NONE;
        // What is asked of a disk without sectors fails (virtio 1.2 §5.2.6.2). DEVICE_NEEDS_RESET would say as much, but what
        // a driver has asked for would then never be answered.
        disk.block.resize(0);
        disk.pulse();
    }
    serve_all(index);
    Ok(())
}

/// A disk that nobody drives leaves its VM's slot.
pub(super) fn leave(index: usize, disk: &mut GuestDisk) {
    VMS[disk.vm.index()].disks.take(disk.number);
    remove(index, disk);
}

/// A disk is nobody's any more. Nothing of it is in flight.
pub(super) fn remove(index: usize, disk: &mut GuestDisk) {
    assert!(disk.block.in_flight() == 0, "vm {}: a drive has its memory", disk.vm);
    disk.block.restart(&Disk::NONE);
    (disk.in_use, disk.waits, disk.closers, disk.leaves) = (false, 0, 0, Leaves::No);
    WAITING.fetch_and(!(1 << index), Ordering::Relaxed);
    DUE[index].clear();
}

/// What a VM is told of its slots for disks.
pub fn plugs(vm: &Vm) -> PlugRecord {
    let (mut present, mut leaving) = (0, 0);
    for index in vm.disks.all() {
        let disk = DISKS[index].lock();
        if disk.in_use && core::ptr::eq(&VMS[disk.vm.index()], vm) {
            let bit = 1 << (DISK_SLOT + u32::from(disk.number));
            present |= bit;
            leaving |= if disk.leaves == Leaves::No { 0 } else { bit };
        }
    }
    PlugRecord { present: U32::new(present), leaving: U32::new(leaving) }
}
