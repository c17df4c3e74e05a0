//! EL2's fixed records: read from replies, checked, and in the shape that `--json` prints.
//!
//! Names of fields and units here are what scripts rely on: bytes and nanoseconds as numbers.

use hv_abi::handle::label_text;
use hv_abi::record::{HvInfo, LogHeader, SOS_STATES, SosStatus, WakeRecord};
use serde::Serialize;
use zerocopy::FromBytes;

use crate::error::Error;
use crate::text::percent;

/// The service partition's account.
#[derive(Clone, PartialEq, Serialize, Debug)]
pub(crate) struct Sos {
    /// One of [`SOS_STATES`].
    pub(crate) state: String,
    /// Times that it was woken.
    pub(crate) lives: u32,
    /// Lives that ended by a crash or a hang.
    pub(crate) failures: u32,
    /// Who woke it last.
    pub(crate) woken_by: Option<String>,
    /// From the request that woke it last to its first reply.
    pub(crate) wake_to_answer_ns: u64,
    /// Time that it was not off.
    pub(crate) on_ns: u64,
    /// Time since EL2 started.
    pub(crate) up_ns: u64,
    /// The former in the latter.
    pub(crate) on_percent: f64,
    /// Frames of 4 KiB that it owns.
    pub(crate) frames: u64,
    /// Requests that wait or are in progress.
    pub(crate) requests: u32,
    /// What became of packets for it while it was off.
    pub(crate) packets: Packets,
}

/// What became of packets for the service partition while it was off, since it has a network card.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Debug)]
pub(crate) struct Packets {
    /// Matched by a rule.
    pub(crate) matched: u64,
    /// Answered.
    pub(crate) answered: u64,
    /// Woke it.
    pub(crate) woken: u64,
    /// Went nowhere.
    pub(crate) dropped: u64,
    /// Would have been answered, or have woken it, had there been fewer before.
    pub(crate) limited: u64,
}

impl Packets {
    /// Reads the record.
    fn read(bytes: &[u8]) -> Result<Self, Error> {
        let record = WakeRecord::read_from_bytes(bytes).map_err(|_| Error::Reply("counts of packets"))?;
        Ok(Self {
            matched: record.matched.get(),
            answered: record.answered.get(),
            woken: record.woken.get(),
            dropped: record.dropped.get(),
            limited: record.limited.get(),
        })
    }
}

impl Sos {
    /// Reads the records of its account and of packets.
    pub(crate) fn read(bytes: &[u8], packets: &[u8]) -> Result<Self, Error> {
        let record = SosStatus::read_from_bytes(bytes).map_err(|_| Error::Reply("status of the service partition"))?;
        let state = record.state.get();
        let name = SOS_STATES.get(state as usize);
        let (on_ns, up_ns) = (record.on_ns.get(), record.up_ns.get());
        let woken_by = label_text(&record.woken_by);
        Ok(Self {
            state: name.map_or_else(|| format!("unknown ({state})"), |&name| name.to_owned()),
            lives: record.lives.get(),
            failures: record.failures.get(),
            woken_by: (!woken_by.is_empty()).then(|| woken_by.to_owned()),
            wake_to_answer_ns: record.wake_to_answer_ns.get(),
            on_ns,
            up_ns,
            on_percent: (percent(on_ns, up_ns) * 1000.0).round() / 1000.0,
            frames: record.frames.get(),
            requests: record.requests.get(),
            packets: Packets::read(packets)?,
        })
    }
}

/// What EL2 runs on.
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
pub(crate) struct Hv {
    /// CPUs that run.
    pub(crate) cpus: u32,
    /// CPUs that are off.
    pub(crate) cpus_off: u32,
    /// Frequency of the counter.
    pub(crate) counter_hz: u32,
    /// Time since EL2 started.
    pub(crate) up_ns: u64,
    /// Counter at the first entry of the first guest, 0 before.
    pub(crate) first_guest_count: u64,
    /// CRC-32 of the image's file, eight hexadecimal digits.
    pub(crate) image_crc: String,
    /// Where RAM is.
    pub(crate) memory: Memory,
}

/// Where all of RAM is, in bytes.
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
pub(crate) struct Memory {
    /// RAM of guests.
    pub(crate) guests: u64,
    /// The service partition's.
    pub(crate) sos: u64,
    /// EL2's image.
    pub(crate) el2_image: u64,
    /// EL2's stacks.
    pub(crate) el2_stacks: u64,
    /// EL2's tables.
    pub(crate) el2_tables: u64,
    /// EL2's rings.
    pub(crate) el2_rings: u64,
    /// Guests' mailboxes.
    pub(crate) el2_mailboxes: u64,
    /// The boot archive.
    pub(crate) archive: u64,
    /// Notes.
    pub(crate) notes: u64,
    /// What firmware keeps.
    pub(crate) firmware: u64,
    /// Free.
    pub(crate) free: u64,
    /// Of the free: held for the service partition.
    pub(crate) held: u64,
    /// All of RAM.
    pub(crate) total: u64,
    /// Whether the rows add up to it.
    pub(crate) adds_up: bool,
}

impl Hv {
    /// Reads the record.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, Error> {
        let record = HvInfo::read_from_bytes(bytes).map_err(|_| Error::Reply("information about the hypervisor"))?;
        Ok(Self {
            cpus: record.cpus.get(),
            cpus_off: record.cpus_off.get(),
            counter_hz: record.counter_hz.get(),
            up_ns: record.up_ns.get(),
            first_guest_count: record.first_guest_count.get(),
            image_crc: format!("{:08x}", record.image_crc.get()),
            memory: Memory::new(&record),
        })
    }
}

impl Memory {
    fn new(record: &HvInfo) -> Self {
        let mut memory = Self {
            guests: record.guests.get(),
            sos: record.sos.get(),
            el2_image: record.el2_image.get(),
            el2_stacks: record.el2_stacks.get(),
            el2_tables: record.el2_tables.get(),
            el2_rings: record.el2_rings.get(),
            el2_mailboxes: record.el2_mailboxes.get(),
            archive: record.archive.get(),
            notes: record.notes.get(),
            firmware: record.firmware.get(),
            free: record.free.get(),
            held: record.held.get(),
            total: record.ram.get(),
            adds_up: false,
        };
        memory.adds_up = memory.check().is_ok();
        memory
    }

    /// The rows, with their names for people, that add up to the total.
    pub(crate) const fn rows(&self) -> [(&'static str, u64); 11] {
        [
            ("guests' RAM", self.guests),
            ("service partition", self.sos),
            ("EL2 image", self.el2_image),
            ("EL2 stacks", self.el2_stacks),
            ("EL2 tables", self.el2_tables),
            ("EL2 rings", self.el2_rings),
            ("EL2 mailboxes", self.el2_mailboxes),
            ("boot archive", self.archive),
            ("notes", self.notes),
            ("reserved by firmware", self.firmware),
            ("free", self.free),
        ]
    }

    /// Whether the rows add up to the total, and what is held is a part of what is free.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let add = |sum: u64, (_, bytes): (&str, u64)| sum.saturating_add(bytes);
        let sum = self.rows().into_iter().fold(0, add);
        if sum != self.total {
            return Err(Error::Memory { sum, ram: self.total });
        }
        if self.held > self.free {
            return Err(Error::Held { held: self.held, free: self.free });
        }
        Ok(())
    }
}

/// EL2's log from one position to another.
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
pub(crate) struct Log {
    /// Position of the text's first byte since EL2 started: so many bytes were overwritten.
    pub(crate) position: u64,
    /// Position behind its last byte.
    pub(crate) end: u64,
    /// The text.
    pub(crate) text: String,
}

/// Bytes from one position to another.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Text {
    /// Position of the first byte since its beginning: so many bytes were overwritten.
    pub(crate) position: u64,
    /// Position behind the last byte.
    pub(crate) end: u64,
    /// The bytes.
    pub(crate) bytes: Vec<u8>,
}

impl Text {
    /// As text: what is none is replaced.
    pub(crate) fn lossy(&self) -> Log {
        let text = String::from_utf8_lossy(&self.bytes).into_owned();
        Log { position: self.position, end: self.end, text }
    }
}

/// A piece of the log.
pub(crate) struct Piece<'b> {
    /// Position of the text's first byte.
    pub(crate) position: u64,
    /// Position behind the log's last byte.
    pub(crate) end: u64,
    /// The text.
    pub(crate) text: &'b [u8],
}

impl<'b> Piece<'b> {
    /// Reads the answer to a query for the log from `asked` on.
    pub(crate) fn read(bytes: &'b [u8], asked: u64) -> Result<Self, Error> {
        let bad = Error::Reply("piece of the log");
        let Ok((header, text)) = LogHeader::read_from_prefix(bytes) else {
            return Err(bad);
        };
        let (position, end) = (header.position.get(), header.end.get());
        let behind = position.checked_add(text.len() as u64);
        let fits = behind.is_some_and(|behind| behind <= end);
        // An empty piece before the end would be asked for for ever.
        let moves_on = !text.is_empty() || position >= end;
        if position < asked || !fits || !moves_on {
            return Err(bad);
        }
        Ok(Self { position, end, text })
    }
}

#[cfg(test)]
pub(crate) mod tests;
