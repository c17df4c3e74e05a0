//! `hvctl sos history`: the last lives of the service partition, and who they were for.

use hv_abi::handle::label_text;
use hv_abi::record::{AskerRecord, HistoryHeader, LIFE_ENDS, PastLife, QueryKind};
use serde::Serialize;
use zerocopy::{FromBytes, Immutable, KnownLayout};

use crate::command::query;
use crate::error::Error;
use crate::session::Session;
use crate::text::{Align, micros, printable, span, table};

/// What EL2 knows of the lives.
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
pub(crate) struct History {
    /// Time since EL2 started.
    pub(crate) up_ns: u64,
    /// The last lives, the oldest first.
    pub(crate) lives: Vec<Life>,
    /// Sums of all lives.
    pub(crate) askers: Vec<Asker>,
}

/// A life.
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
pub(crate) struct Life {
    /// Its number, from 1.
    pub(crate) life: u32,
    /// Who woke it: a VM, or `hv`.
    pub(crate) woken_by: String,
    /// When it began, since EL2 started.
    pub(crate) began_ns: u64,
    /// How long it was on, so far.
    pub(crate) on_ns: u64,
    /// CPU time of it.
    pub(crate) cpu_ns: u64,
    /// Requests that it has answered.
    pub(crate) requests: u32,
    /// One of [`LIFE_ENDS`].
    pub(crate) end: String,
}

/// Who asked.
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
pub(crate) struct Asker {
    /// A VM, or `hv`.
    pub(crate) name: String,
    /// Lives that it woke.
    pub(crate) wakes: u32,
    /// Requests of it that were answered.
    pub(crate) requests: u32,
    /// CPU time of the service partition.
    pub(crate) cpu_ns: u64,
}

const WHAT: &str = "history of the service partition";

/// Asks for all of it.
pub(crate) fn read(session: &mut Session) -> Result<History, Error> {
    let (lives, _) = records(|from| query(session, QueryKind::Lives, from), Life::of)?;
    let (askers, up_ns) = records(|from| query(session, QueryKind::Askers, from), Asker::of)?;
    Ok(History { up_ns, lives, askers })
}

/// Records of all answers, and the time of the last of these.
fn records<R, T>(mut ask: impl FnMut(u64) -> Result<Vec<u8>, Error>, of: fn(&R) -> T) -> Result<(Vec<T>, u64), Error>
where
    R: FromBytes + Immutable + KnownLayout,
{
    let mut all = Vec::new();
    let mut from = 0;
    loop {
        let reply = ask(from)?;
        let (header, mut rest) = HistoryHeader::read_from_prefix(&reply).map_err(|_| Error::Reply(WHAT))?;
        while !rest.is_empty() {
            let (record, behind) = R::read_from_prefix(rest).map_err(|_| Error::Reply(WHAT))?;
            all.push(of(&record));
            rest = behind;
        }
        match header.next.get() {
            u64::MAX => return Ok((all, header.up_ns.get())),
            // The same question again would have no end.
            next if next <= from => return Err(Error::Reply(WHAT)),
            next => from = next,
        }
    }
}

impl Life {
    fn of(record: &PastLife) -> Self {
        let end = record.end.get();
        let name = LIFE_ENDS.get(end as usize);
        Self {
            life: record.life.get(),
            woken_by: label_text(&record.woken_by).to_owned(),
            began_ns: record.began_ns.get(),
            on_ns: record.on_ns.get(),
            cpu_ns: record.cpu_ns.get(),
            requests: record.requests.get(),
            end: name.map_or_else(|| format!("unknown ({end})"), |&name| name.to_owned()),
        }
    }
}

impl Asker {
    fn of(record: &AskerRecord) -> Self {
        Self {
            name: label_text(&record.label).to_owned(),
            wakes: record.wakes.get(),
            requests: record.requests.get(),
            cpu_ns: record.cpu_ns.get(),
        }
    }
}

/// For people.
pub(crate) fn text(history: &History) -> String {
    let heads = [
        ("LIFE", Align::Right),
        ("WOKEN BY", Align::Left),
        ("AT", Align::Right),
        ("ON", Align::Right),
        ("CPU TIME", Align::Right),
        ("REQUESTS", Align::Right),
        ("END", Align::Left),
    ];
    let row = |life: &Life| {
        [
            life.life.to_string(),
            printable(&life.woken_by),
            span(life.began_ns),
            span(life.on_ns),
            micros(life.cpu_ns),
            life.requests.to_string(),
            printable(&life.end),
        ]
    };
    let lives = table(&heads, &history.lives.iter().map(row).collect::<Vec<_>>());
    let heads =
        [("ASKER", Align::Left), ("WAKES", Align::Right), ("REQUESTS", Align::Right), ("CPU TIME", Align::Right)];
    let row = |asker: &Asker| {
        [printable(&asker.name), asker.wakes.to_string(), asker.requests.to_string(), micros(asker.cpu_ns)]
    };
    format!("{lives}\n{}", table(&heads, &history.askers.iter().map(row).collect::<Vec<_>>()))
}

#[cfg(test)]
mod tests;
