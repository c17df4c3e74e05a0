//! `hvctl agent`: has this Linux take up disks that are attached to its VM, and let go of those that are to be detached.
//!
//! Linux looks at a virtio-mmio slot when it binds the driver to it, and never again by itself. The agent asks EL2 what is in
//! the slots, which wakes nobody, and binds and unbinds the driver by sysfs. It holds a port only while it asks.

use std::fs;
use std::io::{Write, stderr};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use hv_abi::guest_map::{DISK_SLOT, DISKS_MAX, VIRTIO_BASE, VIRTIO_STRIDE};
use hv_abi::message::{FailureCode, Reply, Request};
use hv_abi::record::{PlugRecord, QueryKind};
use zerocopy::FromBytes;

use crate::cli::{Agent, Cli};
use crate::command::{Output, ask, query};
use crate::error::Error;
use crate::port::{Deadline, Devices, acquire};
use crate::session::Session;

/// Where Linux has the driver of slots, below the root.
const DRIVER: &str = "sys/bus/platform/drivers/virtio-mmio";
/// Time from one look at a disk that a guest is to let go of to the next.
const PAUSE: Duration = Duration::from_millis(200);

/// Stays until it is ended, or there is no port.
pub(crate) fn run(arguments: &Cli, devices: &impl Devices, agent: &Agent) -> Result<Output, Error> {
    let driver = arguments.root.join(DRIVER);
    let mut slots = Slots::default();
    loop {
        match look(arguments, devices) {
            Ok(record) => slots.follow(&driver, &record),
            // Other programs have the ports, or there was no answer in time: there will be another look.
            Err(Error::Busy { .. } | Error::Timeout { .. } | Error::Closed) => {}
            Err(error) => return Err(error),
        }
        sleep(agent.interval);
    }
}

/// What EL2 says of the slots.
fn look(arguments: &Cli, devices: &impl Devices) -> Result<PlugRecord, Error> {
    let deadline = Deadline::new(arguments.timeout);
    let mut session = Session::new(acquire(devices, deadline)?, deadline)?;
    let bytes = query(&mut session, QueryKind::Plugs, 0)?;
    let (record, _) = PlugRecord::read_from_prefix(&bytes).map_err(|_| Error::Reply("record of slots"))?;
    Ok(record)
}

/// What the agent has done about each slot, a bit each.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Slots {
    /// Whose device it has met: what somebody else unbinds afterwards stays so.
    met: u32,
    /// Whose device it has said it cannot let go of.
    said: u32,
}

/// What is to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Change {
    bind: u32,
    unbind: u32,
}

impl Slots {
    /// What is to be done where the driver is bound to these slots.
    fn change(&mut self, record: &PlugRecord, bound: u32) -> Change {
        let (present, leaving) = (record.present.get(), record.leaving.get());
        let bind = present & !leaving & !bound & !self.met;
        self.met = present;
        self.said &= leaving;
        Change { bind, unbind: leaving & bound }
    }

    fn follow(&mut self, driver: &Path, record: &PlugRecord) {
        let slots = || DISK_SLOT..DISK_SLOT + DISKS_MAX as u32;
        let bound = slots().filter(|slot| driver.join(name(*slot)).exists()).fold(0, |bits, slot| bits | 1 << slot);
        let change = self.change(record, bound);
        for slot in slots().filter(|slot| change.bind & 1 << slot != 0) {
            if let Err(error) = fs::write(driver.join("bind"), name(slot)) {
                complain(driver.join(name(slot)), &error);
            }
        }
        for slot in slots().filter(|slot| change.unbind & 1 << slot != 0) {
            if let Err(error) = fs::write(driver.join("unbind"), name(slot))
                && self.said & 1 << slot == 0
            {
                self.said |= 1 << slot;
                complain(driver.join(name(slot)), &error);
            }
        }
    }
}

/// A slot's name as Linux makes it of its node in the device tree.
fn name(slot: u32) -> String {
    format!("{:x}.virtio_mmio", VIRTIO_BASE + u64::from(slot) * VIRTIO_STRIDE)
}

/// Nothing can be done where nobody reads it.
fn complain(path: PathBuf, error: &std::io::Error) {
    let _ = writeln!(stderr().lock(), "hvctl: {}: {error}", path.display());
}

/// Asks for a disk until the guest has let go of it.
pub(crate) fn await_detach(arguments: &Cli, session: &mut Session, request: &Request) -> Result<(), Error> {
    let deadline = Deadline::new(arguments.timeout);
    let mut was_asked = false;
    while deadline.left().is_some() {
        match ask(session, request) {
            Ok(Reply::Done) => return Ok(()),
            Ok(Reply::Pending) => was_asked = true,
            Ok(_) => return Err(Error::Reply("confirmation")),
            Err(Error::Refused(failure)) if was_asked && failure.code == FailureCode::NotFound => return Ok(()),
            // The time that the session has is that of all questions.
            Err(Error::Timeout { .. }) if was_asked => break,
            Err(error) => return Err(error),
        }
        sleep(PAUSE);
    }
    Err(Error::Kept(deadline.after()))
}

#[cfg(test)]
mod tests;
