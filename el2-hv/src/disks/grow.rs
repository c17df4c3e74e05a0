//! Disks that become larger while their guests use them.

use hv_abi::Status;
use hv_abi::guest_map::DISK_SLOT;

use super::{DISKS, checked, refused};
use crate::drives;
use crate::vm::Vm;

/// Makes a disk of a VM larger: it has so many sectors, or with 0 all up to its drive's end. Its guest is told.
#[inline(never)]
pub fn grow(vm: &Vm, number: u8, sectors: u64) -> Result<(), Status> {
    let index = vm.disks.at(u64::from(DISK_SLOT) + u64::from(number)).ok_or(Status::InvalidArgument)?;
    let before = DISKS[index].lock().extent;
    let drive = drives::drive(before.drive).ok_or(Status::InvalidArgument)?;
    let sectors = match sectors {
        0 => drive.shape.sectors.saturating_sub(before.first),
        sectors => sectors,
    };
    let grown = before.grown(sectors).and_then(|grown| checked(drive, &grown, Some(index)).map(|()| grown));
    let grown = grown.map_err(|error| refused(vm, number, error))?;
    let mut disk = DISKS[index].lock();
    // One that leaves has its sectors for no longer than its drive has requests.
    if !disk.stays_with(vm) {
        return Err(Status::InvalidArgument);
    }
    // First what it may reach, then what its guest is told.
    disk.extent = grown;
    disk.block.resize(grown.sectors);
    disk.pulse();
    Ok(())
}
