//! Everything that can go wrong, each naming its object, and what an asker is told of it.

use alloc::boxed::Box;
use alloc::string::{String, ToString};

use hv_abi::Status;
use hv_abi::message::{Failure, FailureCode};

use crate::builder::Step;
use crate::description::DescriptionError;
use crate::image::ImageError;
use crate::partitions::PartitionError;
use crate::plan::PlanError;
use crate::spec::SpecError;

/// What went wrong.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Error {
    /// The system description.
    #[error("{0}")]
    Description(#[from] DescriptionError),
    /// A ring of the mailbox whose index is impossible.
    #[error("mailbox: {filled} frames in the {ring} ring")]
    Mailbox {
        /// Which.
        ring: &'static str,
        /// Frames that it claims to hold.
        filled: u32,
    },
    /// Neither a spec nor a VM has the name.
    #[error("vm {0:?}: no such VM")]
    NoSuchVm(String),
    /// Nothing to copy a spec from.
    #[error("vm {name:?}: from {from:?}: no such guest")]
    NoSuchGuest {
        /// The VM that was to be made.
        name: String,
        /// The guest that does not exist.
        from: String,
    },
    /// The name has a spec, or a VM, already.
    #[error("vm {0:?} exists already")]
    Exists(String),
    /// It runs already.
    #[error("vm {0:?} runs already")]
    Runs(String),
    /// It does not run.
    #[error("vm {0:?} does not run")]
    NotRunning(String),
    /// A VM that has no such disk.
    #[error("vm {name:?} has no disk {disk}")]
    NoDisk {
        /// The VM.
        name: String,
        /// The number.
        disk: u8,
    },
    /// A disk that cannot come, or go.
    #[error("vm {name:?}: disk {disk}: {}", plug_text(*status))]
    Plug {
        /// The VM.
        name: String,
        /// The number.
        disk: u8,
        /// EL2's status.
        status: Status,
    },
    /// It is paused.
    #[error("vm {0:?} is paused")]
    Paused(String),
    /// It is not paused.
    #[error("vm {0:?} is not paused")]
    NotPaused(String),
    /// A guest of the description that does not run: there is nothing to destroy.
    #[error("vm {0:?} does not run, and its spec stays: it is part of the system description")]
    Described(String),
    /// A spec that is not allowed.
    #[error("vm {name:?}: {error}")]
    Spec {
        /// The VM.
        name: String,
        /// What is wrong.
        error: SpecError,
    },
    /// A member of the boot archive that is not there.
    #[error("vm {name:?}: {role} {member:?} is not in the boot archive")]
    NoMember {
        /// The VM.
        name: String,
        /// `image` or `initrd`.
        role: &'static str,
        /// The member.
        member: String,
    },
    /// A Linux image with a bad header.
    #[error("vm {name:?}: image {member:?}: {error}")]
    Image {
        /// The VM.
        name: String,
        /// The member.
        member: String,
        /// What is wrong.
        error: ImageError,
    },
    /// Things that do not fit into the VM's RAM.
    #[error("vm {name:?}: {error}")]
    Plan {
        /// The VM.
        name: String,
        /// What does not fit.
        error: PlanError,
    },
    /// A partition that a disk cannot be.
    #[error("vm {name:?}: disk {disk:?}: {partition:?} of drive {drive}: {error}")]
    Partition {
        /// The VM.
        name: String,
        /// Its disk.
        disk: String,
        /// The drive's number.
        drive: u8,
        /// The partition, in the words of the description.
        partition: String,
        /// What is wrong.
        error: Box<PartitionError>,
    },
    /// A privileged call that failed while a VM was built.
    #[error("vm {name:?}: {step}: {status}")]
    Step {
        /// The VM.
        name: String,
        /// What was being done.
        step: Step,
        /// EL2's answer.
        status: Status,
    },
    /// A share of the CPUs that EL2 does not give.
    #[error("vm {name:?}: {property}: {reason}")]
    Share {
        /// The VM.
        name: String,
        /// What of it.
        property: &'static str,
        /// Why.
        reason: &'static str,
        /// EL2's answer.
        status: Status,
    },
    /// A guest of the description that does not run: nothing keeps what is set.
    #[error("vm {0:?} does not run; what it starts with is part of the system description")]
    SetDescribed(String),
    /// A disk that is as large as a partition table says.
    #[error("vm {name:?}: disk {disk:?} is a partition: it is as large as its table says")]
    PartitionSize {
        /// The VM.
        name: String,
        /// The disk.
        disk: String,
    },
    /// A device that a VM does not have.
    #[error("vm {name:?} has no {kind} {device:?}")]
    NoDevice {
        /// The VM.
        name: String,
        /// What kind of device.
        kind: &'static str,
        /// What it was called by.
        device: String,
    },
    /// A change of a device that EL2 does not make.
    #[error("vm {name:?}: {what}: {reason}")]
    Change {
        /// The VM.
        name: String,
        /// What was to be changed.
        what: String,
        /// Why it is not.
        reason: &'static str,
        /// EL2's answer.
        status: Status,
    },
    /// Its memory stays as it is.
    #[error("vm {0:?} has no balloon: the system description gives it no memory-guarantee")]
    NoBalloon(String),
    /// A console that the asker may not watch.
    #[error("vm {0:?}: its console is not for this VM; see the grant `consoles` in the system description")]
    ConsoleDenied(String),
    /// As many watch consoles as may.
    #[error("vm {0:?}: as many consoles are watched as may be")]
    Watched(String),
    /// The asker's own console.
    #[error("vm {0:?} asks for its own console, which would show what it shows of it")]
    OwnConsole(String),
    /// A privileged call that failed elsewhere.
    #[error("{call}: {status}")]
    Call {
        /// The call.
        call: &'static str,
        /// EL2's answer.
        status: Status,
    },
    /// A note that cannot be read.
    #[error("note {0}: not readable")]
    Note(u64),
    /// A note that is full.
    #[error("note {note}: no room for {bytes} bytes, it takes {}", hv_abi::call::NOTE_MAX)]
    NoteFull {
        /// The note.
        note: u64,
        /// What it was to hold.
        bytes: usize,
    },
    /// A request that cannot be read.
    #[error("request: {0}")]
    Request(&'static str),
    /// Something that this build does not do.
    #[error("fault injection is not part of this build")]
    NoFaults,
}

impl Error {
    /// The kind that programs see.
    pub const fn code(&self) -> FailureCode {
        match self {
            Self::NoSuchVm(_)
            | Self::NoDisk { .. }
            | Self::NoSuchGuest { .. }
            | Self::NoDevice { .. }
            | Self::NoMember { .. } => FailureCode::NotFound,
            Self::Exists(_) => FailureCode::Exists,
            Self::Runs(_)
            | Self::NotRunning(_)
            | Self::Paused(_)
            | Self::NotPaused(_)
            | Self::Described(_)
            | Self::SetDescribed(_) => FailureCode::WrongState,
            Self::Share { status: Status::InvalidArgument, .. } => FailureCode::Invalid,
            Self::Change { status: Status::InvalidArgument | Status::Denied, .. }
            | Self::PartitionSize { .. }
            | Self::NoBalloon(_) => FailureCode::Invalid,
            Self::Change { status: Status::WrongState, .. } => FailureCode::WrongState,
            Self::Change { .. } => FailureCode::NoResources,
            Self::Share { .. } | Self::Watched(_) => FailureCode::NoResources,
            Self::Spec { .. } | Self::Image { .. } | Self::Plan { .. } | Self::OwnConsole(_) => FailureCode::Invalid,
            Self::NoteFull { .. } | Self::Partition { .. } => FailureCode::NoResources,
            Self::Plug { status: Status::InvalidArgument, .. } => FailureCode::Invalid,
            Self::Plug { status: Status::Conflict, .. } => FailureCode::Denied,
            Self::Plug { status, .. } | Self::Step { status, .. } | Self::Call { status, .. } => code_of(*status),
            Self::Request(_) => FailureCode::BadRequest,
            Self::NoFaults | Self::ConsoleDenied(_) => FailureCode::Denied,
            Self::Description(_) | Self::Mailbox { .. } | Self::Note(_) => FailureCode::Internal,
        }
    }

    /// What the asker is told.
    pub fn failure(&self) -> Failure {
        Failure { code: self.code(), message: self.to_string() }
    }
}

/// The kind of failure that a status of EL2 is.
const fn code_of(status: Status) -> FailureCode {
    match status {
        Status::NoMemory => FailureCode::NoResources,
        Status::Exists => FailureCode::Exists,
        Status::WrongState => FailureCode::WrongState,
        Status::Denied => FailureCode::Denied,
        _ => FailureCode::Internal,
    }
}

/// What a status of EL2 says of a disk that was to come or go.
const fn plug_text(status: Status) -> &'static str {
    match status {
        Status::InvalidArgument => {
            "there are disks 0 to 3, and the board has no drive with these sectors; see `hvctl hv log`"
        }
        Status::Exists => "the VM has one of that number",
        Status::Conflict => "another disk has some of these sectors to write to; see `hvctl hv log`",
        Status::Denied => "the drive takes no writes",
        Status::NoMemory => "there are too many disks",
        Status::WrongState => "the VM does not run",
        _ => "EL2 has refused it",
    }
}
