//! Requests and their replies over the ring, one or several open at a time.

use crate::{Answer, print};
use alloc::format;
use alloc::string::ToString as _;
use alloc::vec::Vec;
use hv_abi::mailbox::{HvErrorKind, Party};
use hv_abi::message::{Fault, FaultKind, Request, encode};
use hv_abi::record::{Query, QueryKind, SosStatus};
use hv_mailbox::{Client, Exchange, Frames, MailboxError, Progress, Sent, Step};
use test_guests::ring::{self, MailboxPage};
use test_guests::{cpu, gic, timer};
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes as _, IntoBytes as _};

/// Between two looks at a service partition that is to go away.
const POLL_NS: u64 = 10_000_000;

/// The owner's side of this VM's mailbox.
pub(crate) struct Session {
    client: Client<MailboxPage>,
    id: u32,
}

/// How a request ended: its reply, or EL2's reason.
type Outcome = Result<Vec<u8>, HvErrorKind>;

impl Session {
    pub(crate) fn open() -> Self {
        Self { client: Client::new(MailboxPage), id: 0 }
    }

    /// Asks the service partition, and prints what it answers.
    pub(crate) fn request(&mut self, request: &Request) -> Answer {
        let outcome = self.ask(request)?;
        print::reply(outcome)
    }

    /// Asks EL2, and prints what it answers.
    pub(crate) fn query(&mut self, kind: QueryKind) -> Answer {
        let record = self.hv(kind, 0)?;
        print::record(kind, &record)
    }

    /// Asks EL2 for every vCPU, and prints them.
    pub(crate) fn vcpus(&mut self) -> Answer {
        let mut position = 0;
        while position != u64::MAX {
            let answer = self.hv(QueryKind::Vcpus, position)?;
            position = print::vcpus(&answer)?;
        }
        Ok(())
    }

    /// Waits until EL2 says that the service partition is off.
    pub(crate) fn await_off(&mut self) -> Answer {
        loop {
            let record = self.hv(QueryKind::SosStatus, 0)?;
            let (status, _) = SosStatus::read_from_prefix(&record).map_err(|_| "short record")?;
            if status.state.get() == 0 {
                return Ok(());
            }
            sleep(POLL_NS);
        }
    }

    /// Opens `count` requests at once and awaits all replies.
    pub(crate) fn burst(&mut self, count: u64) -> Answer {
        let requests = (0..count).map(|_| Request::VmList).collect::<Vec<_>>();
        for outcome in self.ask_all(&requests)? {
            print::reply(outcome)?;
        }
        Ok(())
    }

    /// A request that makes the partition fail, and one behind it in the ring.
    pub(crate) fn fault_with_request_behind(&mut self, kind: FaultKind) -> Answer {
        let requests = [Request::Fault(Fault { kind, after_calls: 0 }), Request::VmList];
        for outcome in self.ask_all(&requests)? {
            match print::reply(outcome) {
                Ok(()) => test_guests::println!("CLIENT answered: ok"),
                Err(reason) => test_guests::println!("CLIENT answered: {reason}"),
            }
        }
        Ok(())
    }

    fn hv(&mut self, kind: QueryKind, argument: u64) -> Result<Vec<u8>, alloc::string::String> {
        let query = Query { kind: U32::new(kind as u32), reserved: U32::ZERO, argument: U64::new(argument) };
        self.id += 1;
        let frames = Frames::request(Party::Hv, self.id, query.as_bytes()).map_err(text)?;
        self.exchange(frames)?.map_err(|kind| format!("hv: {kind}"))
    }

    fn ask(&mut self, request: &Request) -> Result<Outcome, alloc::string::String> {
        let message = encode(request);
        self.id += 1;
        let frames = Frames::request(Party::Sos, self.id, &message).map_err(text)?;
        self.exchange(if request.is_repeat_safe() { frames.repeat_safe() } else { frames })
    }

    fn exchange(&mut self, frames: Frames<'_>) -> Result<Outcome, alloc::string::String> {
        let mut exchange = Exchange::new(frames, Vec::new());
        loop {
            match self.client.step(&mut exchange).map_err(text)? {
                Step::RingDoorbell => bell()?,
                Step::Wait => {
                    await_interrupt();
                    bell()?;
                }
                Step::Ended(Progress::Failed(kind)) => return Ok(Err(kind)),
                Step::Ended(_) => return Ok(Ok(exchange.into_sink())),
            }
        }
    }

    /// Several requests of one frame each, all in the ring before the doorbell rings; their outcomes in order.
    fn ask_all(&mut self, requests: &[Request]) -> Result<Vec<Outcome>, alloc::string::String> {
        let messages = requests.iter().map(encode).collect::<Vec<_>>();
        let mut open = Vec::new();
        for (request, message) in requests.iter().zip(&messages) {
            self.id += 1;
            let mut frames = Frames::request(Party::Sos, self.id, message).map_err(text)?;
            if request.is_repeat_safe() {
                frames = frames.repeat_safe();
            }
            if self.client.send_message(&mut frames).map_err(text)? != Sent::All {
                return Err("the ring has no room for all requests".into());
            }
            open.push((Exchange::new(frames, Vec::new()), None::<Outcome>));
        }
        bell()?;
        while open.iter().any(|(_, outcome)| outcome.is_none()) {
            let Some(slot) = self.client.receive().map_err(text)? else {
                await_interrupt();
                bell()?;
                continue;
            };
            for (exchange, outcome) in open.iter_mut().filter(|(_, outcome)| outcome.is_none()) {
                match exchange.accept(&slot).map_err(text)? {
                    Progress::Complete => *outcome = Some(Ok(exchange.reply().to_vec())),
                    Progress::Failed(kind) => *outcome = Some(Err(kind)),
                    Progress::NotMine | Progress::Partial => {}
                }
            }
        }
        Ok(open.into_iter().filter_map(|(_, outcome)| outcome).collect())
    }
}

/// Sleeps. Another interrupt, the mailbox's, may end a WFI before its time.
pub(crate) fn sleep(ns: u64) {
    let end = timer::now() + timer::ticks(ns);
    while timer::now() < end {
        timer::sleep_until(end);
    }
}

fn text(error: MailboxError) -> alloc::string::String {
    error.to_string()
}

fn bell() -> Answer {
    match ring::doorbell() as i64 {
        0 => Ok(()),
        status => Err(format!("doorbell {status}")),
    }
}

/// Sleeps until an interrupt, the mailbox's usually, and takes it.
fn await_interrupt() {
    cpu::wait();
    let interrupt = gic::acknowledge();
    if interrupt < gic::SPECIAL {
        gic::end(interrupt);
    }
}
