//! Disks that come and go while their VM runs.

use alloc::string::String;

use serde::{Deserialize, Serialize};

/// A disk for a VM that runs, for this life of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DiskAttach {
    /// The VM's name.
    pub name: String,
    /// Which of its disks it becomes.
    pub disk: u8,
    /// Number of the drive.
    pub drive: u8,
    /// First sector of 512 bytes.
    pub first: u64,
    /// Sectors; 0 is all up to the drive's end.
    pub sectors: u64,
    /// Whether the VM may write there.
    pub writable: bool,
}

/// A disk that a VM is to lose.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DiskDetach {
    /// The VM's name.
    pub name: String,
    /// Which of its disks.
    pub disk: u8,
    /// At once, though its driver has it.
    pub force: bool,
}
