//! What each command asks, and how its answer is shown.

mod hv;
mod vm;

use std::io::IsTerminal;

use hv_abi::handle::Label;
use hv_abi::mailbox::Party;
use hv_abi::message::{BoardPower, Reply, Request, decode, encode};
use hv_abi::record::{ConsoleQuery, Query, QueryKind};
use serde::Serialize;
use zerocopy::IntoBytes;

use crate::agent;
use crate::cli::{Cli, Command, DebugCommand, HvCommand, SosCommand, VmCommand};
use crate::console;
use crate::counter::{self, Counter};
use crate::error::Error;
use crate::history;
use crate::port::{Deadline, Devices, acquire};
use crate::records::{Hv, Log, Piece, Sos, Text};
use crate::session::{Repeat, Session};
use crate::top;
use hv::{hv_text, log_text, sos_text};

/// What a command gives.
#[derive(Debug)]
pub(crate) struct Output {
    /// For standard output.
    pub(crate) text: Vec<u8>,
    /// What is wrong with it, if anything.
    pub(crate) doubt: Option<Error>,
}

/// Runs a command to its end.
pub(crate) fn run(arguments: &Cli, devices: &impl Devices) -> Result<Output, Error> {
    if let Command::Debug(DebugCommand::Counter) = arguments.command {
        let counter = counter::read().ok_or(Error::NoCounter)?;
        return show(arguments, &counter, counter_text);
    }
    if let Command::Top(top) = &arguments.command {
        return top::run(arguments, devices, top);
    }
    if let Command::Console(console) = &arguments.command {
        return console::run(arguments, devices, console);
    }
    if let Command::Agent(agent) = &arguments.command {
        return agent::run(arguments, devices, agent);
    }
    let deadline = Deadline::new(arguments.timeout);
    let mut session = Session::new(acquire(devices, deadline)?, deadline)?;
    match &arguments.command {
        Command::Vm(VmCommand::Logs(vm)) => show_console(arguments, &console(&mut session, &vm.name)?),
        Command::Vm(command) => vm::run(arguments, &mut session, command),
        Command::Sos(SosCommand::Status) => {
            let status = query(&mut session, QueryKind::SosStatus, 0)?;
            let sos = Sos::read(&status, &query(&mut session, QueryKind::Packets, 0)?)?;
            show(arguments, &sos, sos_text)
        }
        Command::Sos(SosCommand::History) => show(arguments, &history::read(&mut session)?, history::text),
        Command::Hv(HvCommand::Info) => {
            let hv = Hv::read(&query(&mut session, QueryKind::HvInfo, 0)?)?;
            let output = show(arguments, &hv, hv_text)?;
            let doubt = hv.memory.check().err();
            Ok(Output { doubt, ..output })
        }
        Command::Hv(HvCommand::Log) => show(arguments, &log(&mut session)?, log_text),
        Command::Hv(HvCommand::Poweroff) => board(arguments, &mut session, BoardPower::Off, "powered off"),
        Command::Hv(HvCommand::Reboot) => board(arguments, &mut session, BoardPower::Reset, "rebooted"),
        Command::Debug(DebugCommand::Fault { kind, after_calls }) => {
            done(&mut session, &kind.request(*after_calls))?;
            show(arguments, &Done::new(None, "fault"), done_text)
        }
        Command::Debug(DebugCommand::Counter) | Command::Top(_) | Command::Console(_) | Command::Agent(_) => {
            Err(Error::NoCounter)
        }
    }
}

/// An answer as JSON, or by `text`.
pub(crate) fn show<T: Serialize + ?Sized>(
    arguments: &Cli,
    answer: &T,
    text: fn(&T) -> String,
) -> Result<Output, Error> {
    let text = if arguments.json {
        let json = serde_json::to_string(answer).map_err(|error| Error::Output(error.into()))?;
        json + "\n"
    } else {
        text(answer)
    };
    Ok(Output { text: text.into_bytes(), doubt: None })
}

/// Ends the board. Where it does, nobody is there any more for the answer.
fn board(arguments: &Cli, session: &mut Session, power: BoardPower, what: &'static str) -> Result<Output, Error> {
    done(session, &Request::Board(power))?;
    show(arguments, &Done::new(None, what), done_text)
}

/// A VM's console: its bytes as they are, but on a terminal, which would obey them.
fn show_console(arguments: &Cli, text: &Text) -> Result<Output, Error> {
    if arguments.json {
        return show(arguments, &text.lossy(), log_text);
    }
    if std::io::stdout().is_terminal() {
        let log = Log { text: text.lossy().text.replace("\r\n", "\n"), ..text.lossy() };
        return show(arguments, &log, log_text);
    }
    Ok(Output { text: text.bytes.clone(), doubt: None })
}

/// Asks the service partition.
pub(crate) fn ask(session: &mut Session, request: &Request) -> Result<Reply, Error> {
    let repeat = if request.is_repeat_safe() { Repeat::Safe } else { Repeat::Unsafe };
    match decode(&session.ask(Party::Sos, &encode(request), repeat)?)? {
        Reply::Error(failure) => Err(Error::Refused(failure)),
        reply => Ok(reply),
    }
}

/// Asks the service partition to do something that has no other answer than that it is done.
pub(crate) fn done(session: &mut Session, request: &Request) -> Result<(), Error> {
    match ask(session, request)? {
        Reply::Done => Ok(()),
        _ => Err(Error::Reply("confirmation")),
    }
}

/// Asks EL2.
pub(crate) fn query(session: &mut Session, kind: QueryKind, argument: u64) -> Result<Vec<u8>, Error> {
    let query = Query { kind: (kind as u32).into(), reserved: 0.into(), argument: argument.into() };
    session.ask(Party::Hv, query.as_bytes(), Repeat::Safe)
}

/// EL2's log.
fn log(session: &mut Session) -> Result<Log, Error> {
    let text = pieces(|position| query(session, QueryKind::Log, position))?;
    Ok(text.lossy())
}

/// What a VM has said.
fn console(session: &mut Session, name: &str) -> Result<Text, Error> {
    let label = Label::new(name).ok_or(Error::Reply("name"))?;
    pieces(|position| {
        let query = Query { kind: (QueryKind::Console as u32).into(), reserved: 0.into(), argument: position.into() };
        let query = ConsoleQuery { query, label: *label.bytes() };
        session.ask(Party::Hv, query.as_bytes(), Repeat::Safe)
    })
}

/// A text that EL2 gives in pieces, from its oldest byte to where it ended when it was first asked for: one that grows
/// while it is read still ends.
fn pieces(mut ask: impl FnMut(u64) -> Result<Vec<u8>, Error>) -> Result<Text, Error> {
    let mut next = 0;
    let mut bytes = Vec::new();
    let mut whole: Option<(u64, u64)> = None;
    loop {
        let reply = ask(next)?;
        let piece = Piece::read(&reply, next)?;
        let (position, end) = *whole.get_or_insert((piece.position, piece.end));
        if piece.position > next && !bytes.is_empty() {
            let lost = piece.position - next;
            bytes.extend_from_slice(format!("\n[{lost} bytes were overwritten]\n").as_bytes());
        }
        bytes.extend_from_slice(piece.text);
        next = piece.position + piece.text.len() as u64;
        if next >= end {
            return Ok(Text { position, end: next, bytes });
        }
    }
}

/// What was done.
#[derive(Serialize, Debug)]
struct Done<'n> {
    /// To which VM.
    name: Option<&'n str>,
    /// A participle.
    done: &'static str,
}

impl<'n> Done<'n> {
    const fn new(name: Option<&'n str>, done: &'static str) -> Self {
        Self { name, done }
    }
}

fn done_text(done: &Done<'_>) -> String {
    match done.name {
        Some(name) => format!("{name}: {}\n", done.done),
        None => format!("{}\n", done.done),
    }
}

fn counter_text(counter: &Counter) -> String {
    format!("{} {}\n", counter.cntvct, counter.cntfrq)
}

#[cfg(test)]
mod tests;
