//! Devices that come and go while their VM runs.

use std::time::Duration;

use clap::{Args, ValueEnum};
use hv_abi::guest_map::DISKS_MAX;
use hv_abi::message::{DiskAttach, DiskDetach, Request};

use super::value::{name, timeout};

/// Kinds of devices.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Debug)]
enum Kind {
    /// A part of a drive.
    Disk,
}

/// A device for a VM.
#[derive(Args, Debug)]
pub(crate) struct Attach {
    /// Name of the VM
    #[arg(value_name = "NAME", value_parser = name)]
    pub(crate) name: String,
    /// What it gets
    #[arg(value_name = "KIND")]
    kind: Kind,
    /// Which of its disks that becomes
    #[arg(value_name = "N", value_parser = clap::value_parser!(u8).range(0..DISKS_MAX as i64))]
    disk: u8,
    /// Number of the drive
    #[arg(long, value_name = "N", default_value_t = 0)]
    drive: u8,
    /// First sector of 512 bytes
    #[arg(long, value_name = "N", default_value_t = 0)]
    first_sector: u64,
    /// Sectors; 0 is all up to the drive's end
    #[arg(long, value_name = "N", default_value_t = 0)]
    sectors: u64,
    /// The VM may not write there
    #[arg(long)]
    read_only: bool,
}

/// A device that a VM is to lose.
#[derive(Args, Debug)]
pub(crate) struct Detach {
    /// Name of the VM
    #[arg(value_name = "NAME", value_parser = name)]
    pub(crate) name: String,
    /// What it loses
    #[arg(value_name = "KIND")]
    kind: Kind,
    /// Which of its disks
    #[arg(value_name = "N", value_parser = clap::value_parser!(u8).range(0..DISKS_MAX as i64))]
    disk: u8,
    /// At once, though the guest has it in use: what it reads and writes there fails
    #[arg(long)]
    force: bool,
}

/// How long to stay.
#[derive(Args, Debug)]
pub(crate) struct Agent {
    /// Time from one look to the next; the hypervisor answers each by itself
    #[arg(short, long, value_name = "SECONDS", default_value = "0.5", value_parser = timeout)]
    pub(crate) interval: Duration,
}

impl Attach {
    pub(super) fn request(&self) -> Request {
        let Kind::Disk = self.kind;
        Request::VmAttach(DiskAttach {
            name: self.name.clone(),
            disk: self.disk,
            drive: self.drive,
            first: self.first_sector,
            sectors: self.sectors,
            writable: !self.read_only,
        })
    }
}

impl Detach {
    pub(crate) fn request(&self) -> Request {
        let Kind::Disk = self.kind;
        Request::VmDetach(DiskDetach { name: self.name.clone(), disk: self.disk, force: self.force })
    }
}
