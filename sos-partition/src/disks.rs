//! Disks of guests: what a spec may say of them, and what of drives they are.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use hv_abi::call::{DISK_QUEUES_MAX, DiskLimits, DiskPart};
use hv_abi::guest_map::DISKS_MAX;
use hv_abi::handle::Label;
use hv_abi::message::{DiskSpec, VmSpec};

use crate::error::Error;
use crate::hypervisor::Hypervisor;
use crate::partitions::{self, PartitionError, Range, Wanted};

/// What is wrong with them.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DiskError {
    /// A name that is none.
    #[error("disk {0:?}: a name is 1 to 31 of a-z, 0-9 and '-'")]
    Name(String),
    /// A name twice.
    #[error("disk {0:?} is there twice")]
    Twice(String),
    /// More than a VM may have.
    #[error("{0} disks, at most 4")]
    TooMany(usize),
    /// Sectors that wrap.
    #[error("disk {0:?}: no drive has its sectors")]
    Sectors(String),
    /// A partition that is none, by its words.
    #[error("disk {0:?}: {1:?} is no partition: \"PARTLABEL=NAME\", \"PARTUUID=ID\", or its number")]
    Partition(String, String),
    /// A partition and sectors.
    #[error("disk {0:?}: a partition has its own sectors")]
    Both(String),
    /// The number of a drive.
    #[error("disk {0:?}: drive {1} is not in 0..=255")]
    Drive(String, u32),
}

/// Checks what a spec says; what there is of drives only EL2 knows.
///
/// # Errors
/// The first thing that is wrong.
pub(crate) fn check(disks: &[DiskSpec]) -> Result<(), DiskError> {
    if disks.len() > DISKS_MAX {
        return Err(DiskError::TooMany(disks.len()));
    }
    for (index, disk) in disks.iter().enumerate() {
        let name = || disk.name.clone();
        Label::new(&disk.name).ok_or_else(|| DiskError::Name(name()))?;
        if disks[..index].iter().any(|other| other.name == disk.name) {
            return Err(DiskError::Twice(name()));
        }
        if let Some(partition) = &disk.partition {
            Wanted::parse(partition).ok_or_else(|| DiskError::Partition(name(), partition.clone()))?;
            if (disk.first, disk.sectors) != (0, 0) {
                return Err(DiskError::Both(name()));
            }
        }
        disk.first.checked_add(disk.sectors).ok_or_else(|| DiskError::Sectors(name()))?;
    }
    Ok(())
}

/// The disks as `vm_device` takes them, after the drives' tables were read where partitions are named.
///
/// # Errors
/// The first partition that is not found.
pub(crate) fn resolve<H: Hypervisor>(hypervisor: &mut H, spec: &VmSpec) -> Result<Vec<DiskPart>, Error> {
    let resolved = parts(&spec.disks, spec.vcpus).zip(&spec.disks).map(|(part, disk)| match &disk.partition {
        None => Ok(part),
        Some(named) => {
            let error = |error| Error::Partition {
                name: spec.name.clone(),
                disk: disk.name.clone(),
                drive: disk.drive,
                partition: named.clone(),
                error: Box::new(error),
            };
            // The spec was checked.
            let wanted = Wanted::parse(named).ok_or_else(|| error(PartitionError::NoTable))?;
            let Range { first, sectors } =
                partitions::find(|sector| hypervisor.drive_read(disk.drive, sector), &wanted).map_err(error)?;
            log::info!(
                "vm {:?}: disk {:?}: {named:?} of drive {}: {sectors} sectors from {first} on",
                spec.name,
                disk.name,
                disk.drive
            );
            Ok(DiskPart { first, sectors, ..part })
        }
    });
    resolved.collect()
}

/// Whether it has to be looked up on a drive what a VM gets.
pub(crate) fn has_partitions(spec: &VmSpec) -> bool {
    spec.disks.iter().any(|disk| disk.partition.is_some())
}

/// The limits of those that have some, as `vm_device` takes them.
pub(crate) fn limits(disks: &[DiskSpec]) -> impl Iterator<Item = DiskLimits> {
    let limited = (0..).zip(disks).filter(|(_, disk)| disk.iops != 0 || disk.kbytes_per_s != 0);
    limited.map(|(number, disk)| DiskLimits { disk: number, iops: disk.iops, kbytes_per_s: disk.kbytes_per_s })
}

/// The disks as `vm_device` takes them, but for partitions: with a queue for each vCPU, as far as there may be.
fn parts(disks: &[DiskSpec], vcpus: u8) -> impl Iterator<Item = DiskPart> {
    let queues = vcpus.clamp(1, DISK_QUEUES_MAX);
    (0..).zip(disks).map(move |(number, disk)| DiskPart {
        drive: disk.drive,
        disk: number,
        queues,
        writable: disk.writable,
        first: disk.first,
        sectors: disk.sectors,
    })
}
