//! What went through the disks and network cards of all VMs: EL2's counts, and the rates between two readings of them.
//!
//! Names of fields and units are what scripts rely on.

use hv_abi::record::{DevicesHeader, DiskRecord, NicRecord, QueryKind};
use serde::Serialize;
use zerocopy::{FromBytes, Immutable, KnownLayout};

use crate::command::query;
use crate::error::Error;
use crate::session::Session;
use crate::text::{bits, bytes, percent};

const WHAT: &str = "list of disks and network cards";

/// EL2's counts at one moment.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct Traffic {
    up_ns: u64,
    /// By VM, of each of its devices.
    counts: Vec<(u64, Counts)>,
}

/// What went through devices.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Counts {
    requests: u64,
    read_bytes: u64,
    written_bytes: u64,
    sent_bytes: u64,
    received_bytes: u64,
}

/// What goes through a VM's disks and network cards in a second.
#[derive(Clone, Copy, PartialEq, Serialize, Default, Debug)]
pub(crate) struct Flow {
    /// Requests of every kind that its disks have ended.
    requests_per_s: f64,
    /// Bytes from its disks.
    read_bytes_per_s: f64,
    /// Bytes to its disks.
    written_bytes_per_s: f64,
    /// Bits of frames from its network cards.
    sent_bits_per_s: f64,
    /// Bits of frames to its network cards.
    received_bits_per_s: f64,
}

impl Traffic {
    /// Asks EL2.
    pub(crate) fn read(session: &mut Session) -> Result<Self, Error> {
        let mut traffic = Self::default();
        traffic.take(session, QueryKind::Disks, |disk: &DiskRecord| Counts {
            requests: [disk.reads, disk.writes, disk.flushes, disk.others, disk.failed]
                .into_iter()
                .fold(0, |sum, count| sum.wrapping_add(count.get())),
            read_bytes: disk.read_bytes.get(),
            written_bytes: disk.written_bytes.get(),
            ..Counts::default()
        })?;
        traffic.take(session, QueryKind::Nics, |nic: &NicRecord| Counts {
            sent_bytes: nic.sent_bytes.get(),
            received_bytes: nic.received_bytes.get(),
            ..Counts::default()
        })?;
        Ok(traffic)
    }

    /// Takes the records of all answers to one kind of query.
    fn take<R>(&mut self, session: &mut Session, kind: QueryKind, of: fn(&R) -> Counts) -> Result<(), Error>
    where
        R: FromBytes + Immutable + KnownLayout,
    {
        let mut position = 0;
        loop {
            let reply = query(session, kind, position)?;
            let (header, mut rest) = DevicesHeader::read_from_prefix(&reply).map_err(|_| Error::Reply(WHAT))?;
            while !rest.is_empty() {
                let (record, behind) = R::read_from_prefix(rest).map_err(|_| Error::Reply(WHAT))?;
                self.counts.push((header.handle.get(), of(&record)));
                rest = behind;
            }
            self.up_ns = header.up_ns.get();
            match header.next.get() {
                u64::MAX => return Ok(()),
                // One that goes back would be asked for for ever.
                next if next <= position => return Err(Error::Reply(WHAT)),
                next => position = next,
            }
        }
    }

    /// The sums of a VM.
    fn of(&self, handle: u64) -> Counts {
        let own = self.counts.iter().filter(|(vm, _)| *vm == handle);
        own.fold(Counts::default(), |sum, (_, more)| Counts {
            requests: sum.requests.wrapping_add(more.requests),
            read_bytes: sum.read_bytes.wrapping_add(more.read_bytes),
            written_bytes: sum.written_bytes.wrapping_add(more.written_bytes),
            sent_bytes: sum.sent_bytes.wrapping_add(more.sent_bytes),
            received_bytes: sum.received_bytes.wrapping_add(more.received_bytes),
        })
    }
}

impl Flow {
    /// Of a VM between two readings. One that was not there before began with nothing.
    pub(crate) fn between(before: &Traffic, after: &Traffic, handle: u64) -> Self {
        let (first, last) = (before.of(handle), after.of(handle));
        let span = after.up_ns.saturating_sub(before.up_ns);
        // Nanoseconds to seconds, and a per cent to a whole.
        let rate = |of: fn(&Counts) -> u64| percent(of(&last).wrapping_sub(of(&first)), span) * 1e7;
        let rounded = |value: f64| (value * 1000.0).round() / 1000.0;
        Self {
            requests_per_s: rounded(rate(|counts| counts.requests)),
            read_bytes_per_s: rounded(rate(|counts| counts.read_bytes)),
            written_bytes_per_s: rounded(rate(|counts| counts.written_bytes)),
            sent_bits_per_s: rounded(rate(|counts| counts.sent_bytes) * 8.0),
            received_bits_per_s: rounded(rate(|counts| counts.received_bytes) * 8.0),
        }
    }

    /// Heads of the columns for people.
    pub(crate) const HEADS: [&str; 5] = ["IO/S", "READ/S", "WRITTEN/S", "SENT/S", "RECEIVED/S"];

    /// The columns for people.
    pub(crate) fn cells(&self) -> [String; 5] {
        let whole = |value: f64| bytes(value.round() as u64);
        [
            format!("{:.0}", self.requests_per_s),
            whole(self.read_bytes_per_s),
            whole(self.written_bytes_per_s),
            bits(self.sent_bits_per_s),
            bits(self.received_bits_per_s),
        ]
    }
}
