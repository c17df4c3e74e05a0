//! `hvctl console`: another VM's console on this terminal, or on pipes.
//!
//! The service partition is asked once whether that may be. Then EL2 is asked for what comes next, again and again, and
//! given what is typed; each question is answered once.

use std::io::{Write, stderr, stdout};
use std::time::{Duration, Instant};

use hv_abi::console::{ConsolePiece, ConsoleTyped, TYPE_MAX};
use hv_abi::mailbox::{Flags, Frame, HvError, HvErrorKind, Party, Slot};
use hv_abi::message::{ConsoleAttach, Request};
use hv_abi::record::{EndReason, Query, QueryKind};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use zerocopy::{FromBytes, IntoBytes};

use crate::cli::{Cli, Console};
use crate::command::{Output, done};
use crate::error::Error;
use crate::port::{Deadline, Devices, acquire};
use crate::session::Session;
use crate::terminal::Terminal;

/// The key that leaves: Ctrl-\. The board's console has Ctrl-] for itself, and programs use others.
const LEAVE: u8 = 0x1c;
/// How long to wait before what found no room is typed again.
const PAUSE: Duration = Duration::from_millis(20);

/// Shows the console until it is left.
pub(crate) fn run(arguments: &Cli, devices: &impl Devices, console: &Console) -> Result<Output, Error> {
    if arguments.json {
        return Err(Error::NoJson);
    }
    let deadline = Deadline::new(arguments.timeout);
    let mut session = Session::new(acquire(devices, deadline)?, deadline)?;
    let input = !console.no_input;
    done(&mut session, &Request::Console(ConsoleAttach { name: console.name.clone(), input }))?;
    let terminal = Terminal::take(input).map_err(Error::Input)?;
    if terminal.is_raw() {
        notice(&format!("{}: press Ctrl-\\ to leave", console.name));
    }
    let mut view = View::new(console, deadline);
    let why = view.run(&mut session, &terminal);
    drop(terminal);
    match (why?, &console.until) {
        (Why::Ended(end), Some(until)) => {
            Err(Error::ConsoleEnded { name: console.name.clone(), end, until: until.clone() })
        }
        (Why::Ended(end), None) => {
            notice(&format!("\r\n{}: {end}", console.name));
            Ok(Output { text: Vec::new(), doubt: None })
        }
        (Why::Left | Why::Said, _) => Ok(Output { text: Vec::new(), doubt: None }),
    }
}

/// For the person at the terminal, not for who reads the output.
fn notice(text: &str) {
    let _ = write!(stderr().lock(), "{text}\r\n");
}

/// Why the console is not shown any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Why {
    /// The key was pressed, or a signal came.
    Left,
    /// The text has come.
    Said,
    /// The VM has ended.
    Ended(EndReason),
}

/// What is asked, and what was typed and not taken yet.
#[derive(Debug)]
pub(crate) struct View {
    until: Option<Until>,
    deadline: Deadline,
    /// Position of the next byte.
    position: u64,
    /// Numbers of the questions without an answer.
    next: Option<u32>,
    typing: Option<u32>,
    /// Typed and not taken.
    typed: Vec<u8>,
    again_at: Option<Instant>,
    input_open: bool,
}

impl View {
    /// From the beginning of what is kept.
    pub(crate) fn new(console: &Console, deadline: Deadline) -> Self {
        let until = console.until.as_ref().map(|text| Until { text: text.clone().into(), seen: Vec::new() });
        Self {
            until,
            deadline,
            position: 0,
            next: None,
            typing: None,
            typed: Vec::new(),
            again_at: None,
            input_open: !console.no_input,
        }
    }

    fn run(&mut self, session: &mut Session, terminal: &Terminal) -> Result<Why, Error> {
        loop {
            self.ask(session)?;
            let ready = self.wait(session, terminal)?;
            if ready.signal {
                return Ok(Why::Left);
            }
            while let Some(slot) = session.frame_now()? {
                if let Some(why) = self.take(&slot)? {
                    return Ok(why);
                }
            }
            if ready.input && self.read(terminal)? {
                return Ok(Why::Left);
            }
            if let Some(until) = &self.until
                && self.deadline.left().is_none()
            {
                let until = String::from_utf8_lossy(&until.text).into_owned();
                return Err(Error::NotSaid { until, after: self.deadline.after() });
            }
        }
    }

    /// Asks what is to be asked.
    pub(crate) fn ask(&mut self, session: &mut Session) -> Result<(), Error> {
        // A port that takes nothing for so long is broken; how long the console is shown has no bound.
        let patience = Deadline::new(self.deadline.after());
        if self.next.is_none() {
            let query = query(QueryKind::ConsoleNext, self.position);
            self.next = Some(session.send(query.as_bytes(), patience)?);
        }
        let due = self.again_at.is_none_or(|at| at <= Instant::now());
        if self.typing.is_none() && !self.typed.is_empty() && due {
            let mut body = query(QueryKind::ConsoleType, 0).as_bytes().to_vec();
            body.extend(self.typed.iter().take(TYPE_MAX));
            self.typing = Some(session.send(&body, patience)?);
            self.again_at = None;
        }
        Ok(())
    }

    /// Takes a frame; why it is the last, if it is.
    pub(crate) fn take(&mut self, slot: &Slot) -> Result<Option<Why>, Error> {
        let frame = Frame::parse(&slot.header).map_err(|_| Error::Reply("frame"))?;
        let body = slot.body.get(..frame.length).unwrap_or_default();
        let is_next = self.next == Some(frame.id);
        if frame.party != Party::Hv || !(is_next || self.typing == Some(frame.id)) {
            return Ok(None);
        }
        if frame.flags.contains(Flags::ERROR) {
            let (error, _) = HvError::read_from_prefix(body).map_err(|_| Error::Reply("error"))?;
            return Err(HvErrorKind::from_number(error.kind.get()).map_or(Error::Reply("error"), Error::Ended));
        }
        if is_next {
            self.next = None;
            return self.show(body);
        }
        self.typing = None;
        let (answer, _) = ConsoleTyped::read_from_prefix(body).map_err(|_| Error::Reply("answer to what was typed"))?;
        let taken = (answer.taken.get() as usize).min(self.typed.len());
        self.typed.drain(..taken);
        if taken == 0 {
            self.again_at = Some(Instant::now() + PAUSE);
        }
        Ok(None)
    }

    /// Shows a piece of the console.
    fn show(&mut self, body: &[u8]) -> Result<Option<Why>, Error> {
        let (piece, text) = ConsolePiece::read_from_prefix(body).map_err(|_| Error::Reply("piece of a console"))?;
        if text.is_empty() {
            let end = EndReason::from_number(piece.ended.get()).unwrap_or(EndReason::None);
            return Ok(Some(Why::Ended(end)));
        }
        let mut out = stdout().lock();
        let lost = piece.position.get().saturating_sub(self.position);
        if lost > 0 {
            write!(out, "\r\n[{lost} bytes were overwritten]\r\n").map_err(Error::Output)?;
        }
        out.write_all(text).and_then(|()| out.flush()).map_err(Error::Output)?;
        self.position = piece.position.get().saturating_add(text.len() as u64);
        let said = self.until.as_mut().is_some_and(|until| until.comes(text));
        Ok(said.then_some(Why::Said))
    }

    /// Reads what was typed; whether that was the key that leaves.
    fn read(&mut self, terminal: &Terminal) -> Result<bool, Error> {
        let mut bytes = [0; 1024];
        let count = terminal.read(&mut bytes).map_err(Error::Input)?;
        self.input_open = count > 0;
        let typed = bytes.get(..count).unwrap_or_default();
        let leave = typed.iter().position(|byte| *byte == LEAVE).filter(|_| terminal.is_raw());
        self.typed.extend_from_slice(typed.get(..leave.unwrap_or(count)).unwrap_or_default());
        Ok(leave.is_some())
    }

    /// Waits for whatever comes first.
    fn wait(&self, session: &Session, terminal: &Terminal) -> Result<Ready, Error> {
        let until = self.until.is_some().then(|| self.deadline.left().unwrap_or_default());
        let again = self.again_at.map(|at| at.saturating_duration_since(Instant::now()));
        let wait = [until, again].into_iter().flatten().min();
        // Both parts of a Duration below a day fit.
        let wait = wait.map(|wait| Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: wait.subsec_nanos().into() });
        let input = std::io::stdin();
        let mut polled = vec![
            PollFd::from_borrowed_fd(terminal.signals(), PollFlags::IN),
            PollFd::from_borrowed_fd(session.link().descriptor(), PollFlags::IN),
        ];
        // What was typed before is to go first.
        if self.input_open && self.typed.is_empty() {
            polled.push(PollFd::new(&input, PollFlags::IN));
        }
        match poll(&mut polled, wait.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(Error::Input(error.into())),
        }
        let come = |at: usize| polled.get(at).is_some_and(|polled| !polled.revents().is_empty());
        Ok(Ready { signal: come(0), input: come(2) })
    }
}

/// What has come, besides frames.
struct Ready {
    signal: bool,
    input: bool,
}

/// A text that is waited for.
#[derive(Debug)]
struct Until {
    text: Vec<u8>,
    /// The end of what came, shorter than the text.
    seen: Vec<u8>,
}

impl Until {
    /// Whether the text is complete with `piece`.
    fn comes(&mut self, piece: &[u8]) -> bool {
        self.seen.extend_from_slice(piece);
        let found = self.seen.windows(self.text.len()).any(|window| window == self.text);
        let kept = self.seen.len().min(self.text.len() - 1);
        self.seen.drain(..self.seen.len() - kept);
        found
    }
}

fn query(kind: QueryKind, argument: u64) -> Query {
    Query { kind: (kind as u32).into(), reserved: 0.into(), argument: argument.into() }
}

#[cfg(test)]
mod tests;
