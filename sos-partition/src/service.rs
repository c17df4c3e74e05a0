//! One turn of the main loop: a frame in, a frame out, or sleep.

use hv_abi::Status;
use hv_abi::VmHandle;
use hv_abi::call::DrainAnswer;
use hv_abi::mailbox::{Event, EventKind, Flags, Frame, Party, Slot};
use hv_abi::message::{Reply, Request, decode, encode};
use zerocopy::FromBytes;

use crate::assembly::{Asker, Assemblies, Part, Taken};
use crate::description::NetworkSpec;
use crate::error::Error;
use crate::hypervisor::Hypervisor;
use crate::manager::Manager;
use crate::outbox::Outbox;
use crate::ring::{Page, Rings};
use crate::web::http::{Content, Refusal, Resource};
use crate::web::page;

/// Bytes of a request at most: a command line, names and numbers. What is decoded and echoed takes a multiple of it.
const REQUEST_MAX: usize = 8 * 1024;

/// What a life begins with.
#[derive(Clone, Copy, Debug)]
pub struct Life<'a> {
    /// The boot archive.
    pub archive: &'a [u8],
    /// Random bytes; all zero where there are none.
    pub seed: [u8; 32],
    /// Frequency of the counter that times are in, in Hz.
    pub ticks_per_second: u64,
}

/// What to do after a turn.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// Take another turn at once.
    Turn,
    /// Sleep until an interrupt of the mailbox, or this time.
    Sleep(Option<u64>),
}

impl Next {
    /// What is to be done first of both.
    pub fn earlier(self, other: Self) -> Self {
        match (self, other) {
            (Self::Sleep(one), Self::Sleep(another)) => Self::Sleep(one.into_iter().chain(another).min()),
            _ => Self::Turn,
        }
    }
}

/// The service partition.
pub struct Service<'a, H, P> {
    hypervisor: H,
    rings: Rings<P>,
    manager: Manager<'a>,
    assemblies: Assemblies,
    outbox: Outbox,
    /// Frames were taken and EL2 does not know yet that the ring has room again.
    owes_doorbell: bool,
    /// Something outside of the mailbox is in progress.
    held: bool,
    /// Packets have come, and nobody has connected.
    unvisited: bool,
    ticks_per_second: u64,
}

impl<'a, H: Hypervisor, P: Page> Service<'a, H, P> {
    /// Begins a life and tells EL2 so.
    ///
    /// # Errors
    /// EL2's.
    pub fn begin(mut hypervisor: H, page: P, life: Life<'a>) -> Result<Self, Error> {
        hypervisor.sos_ready().map_err(|status| Error::Call { call: "sos_ready", status })?;
        Ok(Self {
            hypervisor,
            rings: Rings::new(page),
            manager: Manager::new(&life),
            assemblies: Assemblies::new(life.ticks_per_second),
            outbox: Outbox::new(life.ticks_per_second),
            owes_doorbell: false,
            held: false,
            unvisited: false,
            ticks_per_second: life.ticks_per_second,
        })
    }

    /// The mailbox's interrupt came: a receiver may have room again.
    pub fn interrupt(&mut self) {
        self.outbox.unpark();
    }

    /// Whether something outside of the mailbox is in progress, so that this life does not agree to end.
    pub const fn hold(&mut self, held: bool) {
        self.held = held;
    }

    /// Whether packets have come, and nobody has connected: what woke this life came to nothing.
    pub const fn set_unvisited(&mut self, unvisited: bool) {
        self.unvisited = unvisited;
    }

    /// Frequency of the counter, in Hz.
    pub const fn ticks_per_second(&self) -> u64 {
        self.ticks_per_second
    }

    /// This partition's place in a network, where the description gives it one. What is wrong with the description is said
    /// where it is first read.
    pub fn network(&mut self) -> Option<NetworkSpec> {
        self.manager.network().ok().flatten()
    }

    /// A number that nobody can guess; `None` where the board gave no seed.
    pub fn random(&mut self) -> Option<u64> {
        self.manager.random()
    }

    /// What the network asks for.
    ///
    /// # Errors
    /// [`Refusal::Internal`].
    pub fn page(&mut self, resource: Resource, now: u64) -> Result<Content, Refusal> {
        page::make(&mut self.manager, &mut self.hypervisor, resource, now)
    }

    /// Does one piece of work at time `now`.
    ///
    /// # Errors
    /// [`Error::Mailbox`]: nothing can be served any more.
    pub fn turn(&mut self, now: u64) -> Result<Next, Error> {
        self.outbox.expire(now);
        if let Some(slot) = self.outbox.frame() {
            self.send(&slot, now)?;
            return Ok(Next::Turn);
        }
        if let Some(slot) = self.rings.take()? {
            self.owes_doorbell = true;
            self.receive(&slot, now)?;
            return Ok(Next::Turn);
        }
        if self.owes_doorbell {
            self.ring_doorbell().ok();
            return Ok(Next::Turn);
        }
        // After the ring: what a request waits for may be in it.
        self.expire(now);
        if self.outbox.frame().is_some() {
            return Ok(Next::Turn);
        }
        let deadlines = [self.assemblies.deadline(), self.outbox.deadline()];
        Ok(Next::Sleep(deadlines.into_iter().flatten().min()))
    }

    fn expire(&mut self, now: u64) {
        while let Some((asker, reason)) = self.assemblies.expire(now) {
            self.refuse(asker, reason);
        }
    }

    fn ring_doorbell(&mut self) -> Result<(), Status> {
        self.owes_doorbell = false;
        self.hypervisor.doorbell()
    }

    fn send(&mut self, slot: &Slot, now: u64) -> Result<(), Error> {
        self.rings.put(slot)?;
        match self.ring_doorbell() {
            Ok(()) => self.outbox.sent(),
            Err(Status::NoRoom) => self.outbox.park(now),
            Err(_) => self.outbox.drop_reply(),
        }
        Ok(())
    }

    fn receive(&mut self, slot: &Slot, now: u64) -> Result<(), Error> {
        let frame = match Frame::parse(&slot.header) {
            Ok(frame) => frame,
            Err(error) => {
                log::error!("from EL2: {error}");
                return Ok(());
            }
        };
        let body = slot.body.get(..frame.length).unwrap_or_default();
        match frame.party {
            Party::Sos => self.request(&frame, body, now),
            Party::Hv if frame.flags.contains(Flags::EVENT) => self.event(&frame, body, now)?,
            Party::Hv => log::error!("from EL2: neither a request nor an event"),
        }
        Ok(())
    }

    fn request(&mut self, frame: &Frame, body: &[u8], now: u64) {
        let part = if frame.flags.contains(Flags::MORE) { Part::More } else { Part::Last };
        let asker = Asker::of(frame);
        match self.assemblies.take(asker, part, body, now) {
            Taken::Waiting => {}
            Taken::Refused(reason) => self.refuse(asker, reason),
            Taken::Complete(bytes) if bytes.len() > REQUEST_MAX => self.refuse(asker, "longer than any request is"),
            Taken::Complete(bytes) => match decode::<Request>(&bytes) {
                Ok(request) => {
                    let reply = match request {
                        Request::Console(console) => {
                            self.manager.attach_console(&mut self.hypervisor, &console, (asker.vm, asker.port))
                        }
                        request => self.manager.answer(&mut self.hypervisor, request, now),
                    };
                    self.outbox.push(asker, encode(&reply));
                }
                Err(_) => self.refuse(asker, "not readable"),
            },
        }
    }

    fn refuse(&mut self, asker: Asker, reason: &'static str) {
        let failure = Error::Request(reason).failure();
        self.outbox.push(asker, encode(&Reply::Error(failure)));
    }

    fn event(&mut self, frame: &Frame, body: &[u8], now: u64) -> Result<(), Error> {
        let kind = Event::read_from_prefix(body).map(|(event, _)| event.kind.get());
        match kind.ok().and_then(EventKind::from_number) {
            Some(EventKind::PowerOn) => self.manager.power_on(&mut self.hypervisor),
            Some(EventKind::VmEnded) => self.ended(frame.vm, now),
            Some(EventKind::Alarm) => self.manager.alarm(&mut self.hypervisor, now),
            Some(EventKind::Drain) => self.drain()?,
            None => log::error!("from EL2: unknown event"),
        }
        Ok(())
    }

    fn ended(&mut self, vm: VmHandle, now: u64) {
        self.assemblies.forget(vm);
        self.outbox.forget(vm);
        if let Err(error) = self.manager.reap(&mut self.hypervisor, now) {
            log::error!("{error}");
        }
    }

    /// Agrees to end this life where nothing is in progress, not even a frame that has just come.
    fn drain(&mut self) -> Result<(), Error> {
        let idle = !self.held && self.outbox.is_empty() && self.assemblies.is_empty() && !self.rings.has_frame()?;
        let answer = match (idle, self.unvisited) {
            (false, _) => DrainAnswer::Busy,
            (true, true) => DrainAnswer::AgreedUnvisited,
            (true, false) => DrainAnswer::Agreed,
        };
        if let Err(status) = self.hypervisor.sos_idle(answer) {
            log::error!("sos_idle: {status}");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
