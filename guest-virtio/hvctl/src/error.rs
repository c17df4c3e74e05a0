//! What can go wrong, in one line that says what and what to do, and the exit code it gives.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use hv_abi::mailbox::{HvErrorKind, Party};
use hv_abi::message::{Failure, MessageError};
use hv_mailbox::MailboxError;

use crate::text::{bytes, printable, seconds};

/// Exit codes; `--help` lists them.
pub(crate) mod exit {
    /// Refused or failed.
    pub(crate) const FAILED: u8 = 1;
    /// The command line cannot be understood.
    pub(crate) const USAGE: u8 = 2;
    /// No management port that can be used.
    pub(crate) const NO_PORT: u8 = 3;
    /// No answer in time.
    pub(crate) const TIMEOUT: u8 = 4;
    /// Every port was in use all the time.
    pub(crate) const BUSY: u8 = 5;
}

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The service partition says no.
    #[error("{}", printable(&.0.message))]
    Refused(Failure),
    /// EL2 ended the request.
    #[error("{}; {}", .0, advice(*.0))]
    Ended(HvErrorKind),
    /// The kernel has no driver for ports.
    #[error("no management port: there is no {}; load the modules virtio_mmio and virtio_console", .0.display())]
    NoDriver(PathBuf),
    /// The driver is there, a port is not.
    #[error("no management port: no {}/*/name is org.dormouse.mgmt.N; the system description gives this guest no grant, or the module virtio_mmio is not loaded", .0.display())]
    NoPort(PathBuf),
    /// A port that cannot be opened, for another reason than that it is in use.
    #[error("cannot open the management port {}: {source}; {}", .path.display(), open_advice(.source))]
    Open {
        /// Its device.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// All ports in use.
    #[error("all {ports} management ports were in use for {}; try again, or give more ports to this guest", seconds(*.after))]
    Busy {
        /// How many.
        ports: usize,
        /// How long it was tried.
        after: Duration,
    },
    /// No answer.
    #[error("no answer from {} within {}; {}", party(*.from), seconds(*.after), timeout_advice(*.from))]
    Timeout {
        /// Who was asked.
        from: Party,
        /// How long was waited.
        after: Duration,
    },
    /// The hypervisor does not serve the port.
    #[error("the hypervisor did not take up the port within {}; see its log", seconds(*.0))]
    NotConnected(Duration),
    /// The hypervisor closed the port.
    #[error("the hypervisor closed the port before it answered; try again")]
    Closed,
    /// The port failed.
    #[error("the management port failed: {0}; try again")]
    Port(io::Error),
    /// Frames that cannot be read.
    #[error("{0}; {VERSIONS}")]
    Mailbox(#[from] MailboxError),
    /// A reply that cannot be read.
    #[error("{0}; {VERSIONS}")]
    Message(#[from] MessageError),
    /// A reply that does not belong to the request.
    #[error("the reply is no {0}; {VERSIONS}")]
    Reply(&'static str),
    /// The memory table is wrong.
    #[error("the rows of the memory table add up to {} ({sum} bytes), but RAM is {} ({ram} bytes); this is a bug of the hypervisor, please report it", bytes(*.sum), bytes(*.ram))]
    Memory {
        /// What the rows add up to.
        sum: u64,
        /// What they should.
        ram: u64,
    },
    /// More is held for the service partition than is free.
    #[error(
        "{held} bytes are held for the service partition, but only {free} are free; this is a bug of the hypervisor, please report it"
    )]
    Held {
        /// Held.
        held: u64,
        /// Free.
        free: u64,
    },
    /// A stream is no document.
    #[error("a console has no JSON form; `hvctl --json vm logs` has what was said")]
    NoJson,
    /// The VM whose console is shown has ended.
    #[error("{name}: {end}, before {until:?} came")]
    ConsoleEnded {
        /// Its name.
        name: String,
        /// How.
        end: hv_abi::record::EndReason,
        /// What was waited for.
        until: String,
    },
    /// A text did not come.
    #[error("{until:?} did not come within {}; raise --timeout", seconds(*.after))]
    NotSaid {
        /// What was waited for.
        until: String,
        /// How long.
        after: Duration,
    },
    /// The guest keeps a disk.
    #[error("the guest has not let go of it within {}; see that `hvctl agent` runs there and nothing uses the disk, or take it with --force", seconds(*.0))]
    Kept(Duration),
    /// The terminal, or the input.
    #[error("cannot read the input: {0}")]
    Input(io::Error),
    /// No such counter on this CPU.
    #[error("the counter CNTVCT_EL0 is read on aarch64 only; run this in the guest")]
    NoCounter,
    /// The output cannot be written.
    #[error("cannot write the output: {0}")]
    Output(io::Error),
}

/// What to do about replies that cannot be read.
const VERSIONS: &str = "hvctl and the hypervisor may be of different versions";

impl Error {
    /// The exit code.
    pub(crate) const fn exit_code(&self) -> u8 {
        match self {
            Self::NoDriver(_) | Self::NoPort(_) | Self::Open { .. } => exit::NO_PORT,
            Self::Timeout { .. } | Self::NotConnected(_) | Self::NotSaid { .. } => exit::TIMEOUT,
            Self::NoJson => exit::USAGE,
            Self::Busy { .. } => exit::BUSY,
            _ => exit::FAILED,
        }
    }
}

/// What to do when EL2 ended a request.
const fn advice(kind: HvErrorKind) -> &'static str {
    match kind {
        HvErrorKind::NotGranted => "see this guest's grants in the system description",
        HvErrorKind::BadFrame | HvErrorKind::NoSuchQuery => VERSIONS,
        HvErrorKind::NotAttached => "the console was attached and is not any more; try again",
        HvErrorKind::NoSuchVm => "see `hvctl vm list`; what ended long ago has made way for others",
        HvErrorKind::SosFailed => "look with `hvctl vm list`, then ask again if it is not done",
        HvErrorKind::SosDown => "try again in a while; `hvctl hv log` says why",
    }
}

/// What to do when a port cannot be opened.
fn open_advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "run hvctl as root",
        io::ErrorKind::NotFound => "mount devtmpfs on /dev",
        _ => "try again",
    }
}

/// What to do when nobody answered.
const fn timeout_advice(from: Party) -> &'static str {
    match from {
        Party::Hv => "raise --timeout",
        Party::Sos => "see `hvctl sos status`, or raise --timeout",
    }
}

/// A party's name for people.
const fn party(party: Party) -> &'static str {
    match party {
        Party::Hv => "the hypervisor",
        Party::Sos => "the service partition",
    }
}
