//! Disks of guests: what a spec may say of them.

use alloc::string::String;

use hv_abi::call::{DISK_QUEUES_MAX, DiskLimits, DiskPart};
use hv_abi::guest_map::DISKS_MAX;
use hv_abi::handle::Label;
use hv_abi::message::DiskSpec;

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
        disk.first.checked_add(disk.sectors).ok_or_else(|| DiskError::Sectors(name()))?;
    }
    Ok(())
}

/// The limits of those that have some, as `vm_device` takes them.
pub(crate) fn limits(disks: &[DiskSpec]) -> impl Iterator<Item = DiskLimits> {
    let limited = (0..).zip(disks).filter(|(_, disk)| disk.iops != 0 || disk.kbytes_per_s != 0);
    limited.map(|(number, disk)| DiskLimits { disk: number, iops: disk.iops, kbytes_per_s: disk.kbytes_per_s })
}

/// The disks as `vm_device` takes them: with a queue for each vCPU, as far as there may be.
pub(crate) fn parts(disks: &[DiskSpec], vcpus: u8) -> impl Iterator<Item = DiskPart> {
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
