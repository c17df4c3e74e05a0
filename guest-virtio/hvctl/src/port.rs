//! Finding, opening and waiting on a management port.
//!
//! How Linux's `virtio_console` treats such a port, which the rules here follow:
//! - A port's name stands in sysfs once the device has told it, a moment after the module is loaded.
//! - One process may have a port open; the next gets EBUSY, also until a close is through.
//! - Until the device side has opened the port too, `poll` gives POLLHUP at once (with POLLIN, not
//!   POLLOUT), `read` gives 0 and a non-blocking `write` EAGAIN. A full queue makes `write` give 0.
//! - One `write` is one buffer of the queue: a program that is killed leaves whole writes or none.
//!   Closing tells the device side, and drops what was not read.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;

use crate::error::Error;

/// How the name of every management port begins; its number follows.
const PORT_PREFIX: &str = "org.dormouse.mgmt.";
/// Where the kernel lists ports, below the root.
const SYSFS_PORTS: &str = "sys/class/virtio-ports";
/// How long a port may take to appear after its driver.
const GRACE: Duration = Duration::from_secs(1);
/// First pause between two looks at something that was not ready.
const PAUSE_MIN: Duration = Duration::from_millis(1);
/// Longest such pause.
const PAUSE_MAX: Duration = Duration::from_millis(32);

/// Until when a command may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    at: Instant,
    after: Duration,
}

impl Deadline {
    /// The deadline `after` from now.
    pub(crate) fn new(after: Duration) -> Self {
        Self { at: Instant::now() + after, after }
    }

    /// The whole time that there was.
    pub(crate) const fn after(&self) -> Duration {
        self.after
    }

    /// The time that is left; `None` when it is over.
    pub(crate) fn left(&self) -> Option<Duration> {
        let left = self.at.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    /// Sleeps for `pause`, doubled for the next time; `false` when time is over.
    fn pause(&self, pause: &mut Duration) -> bool {
        let Some(left) = self.left() else {
            return false;
        };
        sleep(left.min(*pause));
        *pause = (*pause * 2).min(PAUSE_MAX);
        true
    }
}

/// Where ports are found and opened.
pub(crate) trait Devices {
    /// The devices of the management ports, in the order of their numbers.
    fn ports(&self) -> Result<Vec<PathBuf>, Error>;
    /// Opens one.
    fn open(&self, path: &Path) -> io::Result<Link>;
}

/// The machine that the program runs on.
#[derive(Debug)]
pub(crate) struct System {
    sysfs: PathBuf,
    dev: PathBuf,
}

impl System {
    /// The machine whose file system begins at `root`.
    pub(crate) fn new(root: &Path) -> Self {
        Self { sysfs: root.join(SYSFS_PORTS), dev: root.join("dev") }
    }
}

impl Devices for System {
    fn ports(&self) -> Result<Vec<PathBuf>, Error> {
        let entries = fs::read_dir(&self.sysfs).map_err(|_| Error::NoDriver(self.sysfs.clone()))?;
        let mut ports: Vec<(u32, PathBuf)> = entries
            .filter_map(Result::ok)
            .filter_map(|entry| {
                let name = fs::read_to_string(entry.path().join("name")).ok()?;
                let number = name.trim_end().strip_prefix(PORT_PREFIX)?.parse().ok()?;
                Some((number, self.dev.join(entry.file_name())))
            })
            .collect();
        if ports.is_empty() {
            return Err(Error::NoPort(self.sysfs.clone()));
        }
        ports.sort();
        Ok(ports.into_iter().map(|(_, path)| path).collect())
    }

    fn open(&self, path: &Path) -> io::Result<Link> {
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        Ok(Link::new(open(path, flags, Mode::empty())?))
    }
}

/// Opens a port that nobody else has open, waiting for one until the deadline.
pub(crate) fn acquire(devices: &impl Devices, deadline: Deadline) -> Result<Link, Error> {
    let grace = Deadline::new(GRACE.min(deadline.after()));
    let mut pause = PAUSE_MIN;
    loop {
        let ports = match devices.ports() {
            Err(Error::NoPort(_)) if grace.pause(&mut pause) => continue,
            ports => ports?,
        };
        if let Some(link) = first_free(devices, &ports)? {
            return Ok(link);
        }
        if !deadline.pause(&mut pause) {
            return Err(Error::Busy { ports: ports.len(), after: deadline.after() });
        }
    }
}

/// Opens the first of the ports that is not in use. Another failure counts only where none is in use.
fn first_free(devices: &impl Devices, ports: &[PathBuf]) -> Result<Option<Link>, Error> {
    let mut failure = None;
    let mut busy = false;
    for path in ports {
        match devices.open(path) {
            Ok(link) => return Ok(Some(link)),
            Err(error) if error.kind() == ErrorKind::ResourceBusy => busy = true,
            Err(source) => {
                let path = path.clone();
                failure = failure.or(Some(Error::Open { path, source }));
            }
        }
    }
    match failure {
        Some(error) if !busy => Err(error),
        _ => Ok(None),
    }
}

/// An open port, or what a test has in its place. Never blocks but in `poll`.
#[derive(Debug)]
pub(crate) struct Link {
    file: File,
}

impl Link {
    /// The port behind a descriptor that is non-blocking.
    pub(crate) fn new(descriptor: OwnedFd) -> Self {
        Self { file: File::from(descriptor) }
    }

    /// Waits until the other side has opened the port as well, and drops what lies in it.
    pub(crate) fn settle(&self, deadline: Deadline) -> Result<(), Error> {
        if !self.wait(PollFlags::OUT, deadline)? {
            return Err(Error::NotConnected(deadline.after()));
        }
        let mut stale = [0; 4096];
        while self.read_now(&mut stale)?.is_some_and(|count| count > 0) {}
        Ok(())
    }

    /// Writes a frame in one piece; `false` when the deadline came first.
    pub(crate) fn write(&self, frame: &[u8], deadline: Deadline) -> Result<bool, Error> {
        let mut pause = PAUSE_MIN;
        while self.wait(PollFlags::OUT, deadline)? {
            match (&self.file).write(frame) {
                Ok(count) if count == frame.len() => return Ok(true),
                Ok(0) => {
                    deadline.pause(&mut pause);
                }
                Ok(_) => return Err(Error::Port(io::Error::from(ErrorKind::WriteZero))),
                Err(error) if is_transient(&error) => {}
                Err(error) if error.kind() == ErrorKind::BrokenPipe => return Err(Error::Closed),
                Err(error) => return Err(Error::Port(error)),
            }
        }
        Ok(false)
    }

    /// Reads what has come, waiting for the first byte; `None` when the deadline came first.
    pub(crate) fn read(&self, into: &mut [u8], deadline: Deadline) -> Result<Option<usize>, Error> {
        while self.wait(PollFlags::IN, deadline)? {
            match self.read_now(into)? {
                Some(0) => return Err(Error::Closed),
                Some(count) => return Ok(Some(count)),
                None => {}
            }
        }
        Ok(None)
    }

    /// The port, to wait for it among others.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Reads what there is; `None` if there is nothing, 0 at the end of the stream.
    pub(crate) fn read_now(&self, into: &mut [u8]) -> Result<Option<usize>, Error> {
        match (&self.file).read(into) {
            Ok(count) => Ok(Some(count)),
            Err(error) if is_transient(&error) => Ok(None),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(Some(0)),
            Err(error) => Err(Error::Port(error)),
        }
    }

    /// Waits until the port is ready for `wanted`; `false` when the deadline came first.
    fn wait(&self, wanted: PollFlags, deadline: Deadline) -> Result<bool, Error> {
        let mut pause = PAUSE_MIN;
        while let Some(left) = deadline.left() {
            // Both parts of a Duration below a day fit.
            let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
            let descriptor = self.file.as_fd();
            let mut polled = [PollFd::from_borrowed_fd(descriptor, wanted)];
            match poll(&mut polled, Some(&timeout)) {
                Err(Errno::INTR) | Ok(0) => continue,
                Err(error) => return Err(Error::Port(error.into())),
                Ok(_) => {}
            }
            let [polled] = polled;
            if polled.revents().intersects(wanted | PollFlags::ERR) {
                return Ok(true);
            }
            // Hung up: the other side has not opened the port yet, and poll does not wait for it.
            deadline.pause(&mut pause);
        }
        Ok(false)
    }
}

/// Whether the same call may succeed later.
fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests;
