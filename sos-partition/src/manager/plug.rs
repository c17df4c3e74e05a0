//! Disks that come and go while their VM runs. They are of this life of it: its next one has those of its spec.

use hv_abi::call::{DISK_QUEUES_MAX, DiskPart};
use hv_abi::guest_map::DISKS_MAX;
use hv_abi::message::{DiskAttach, DiskDetach, Reply};
use hv_abi::{Status, VmHandle};

use crate::error::Error;
use crate::hypervisor::Hypervisor;
use crate::vm::{Vm, find_vm};

/// Gives a VM that lives a disk.
pub(super) fn attach<H: Hypervisor>(hypervisor: &mut H, disk: &DiskAttach) -> Result<Reply, Error> {
    let (handle, vcpus) = living(hypervisor, &disk.name)?;
    let refused = |status| Error::Plug { name: disk.name.clone(), disk: disk.disk, status };
    if usize::from(disk.disk) >= DISKS_MAX || disk.first.checked_add(disk.sectors).is_none() {
        return Err(refused(Status::InvalidArgument));
    }
    let part = DiskPart {
        drive: disk.drive,
        disk: disk.disk,
        queues: vcpus.clamp(1, DISK_QUEUES_MAX),
        writable: disk.writable,
        first: disk.first,
        sectors: disk.sectors,
    };
    hypervisor.vm_attach(handle, part).map_err(refused)?;
    Ok(Reply::Done)
}

/// Takes a disk from a VM that lives.
pub(super) fn detach<H: Hypervisor>(hypervisor: &mut H, disk: &DiskDetach) -> Result<Reply, Error> {
    let (handle, _) = living(hypervisor, &disk.name)?;
    match hypervisor.vm_detach(handle, disk.disk, disk.force) {
        Ok(()) => Ok(Reply::Done),
        Err(Status::Again) => Ok(Reply::Pending),
        Err(Status::InvalidArgument) => Err(Error::NoDisk { name: disk.name.clone(), disk: disk.disk }),
        Err(status) => Err(Error::Plug { name: disk.name.clone(), disk: disk.disk, status }),
    }
}

/// A VM that lives, and its vCPUs.
fn living<H: Hypervisor>(hypervisor: &mut H, name: &str) -> Result<(VmHandle, u8), Error> {
    let vm = find_vm(hypervisor, name)?.ok_or_else(|| Error::NotRunning(name.into()))?;
    if !vm.is_alive() {
        return Err(Error::NotRunning(name.into()));
    }
    Ok((vm.handle(), Vm::summary(&vm).vcpus))
}
