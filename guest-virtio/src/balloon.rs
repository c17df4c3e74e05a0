//! A virtio memory balloon (virtio 1.2 §5.5): the driver gives pages up and takes them back as the device asks, and reports
//! pages that are free.
//!
//! Owns the transport, the configuration space and what of a request is the protocol's: page numbers and ranges, in the
//! order of their queues. What becomes of a page is the caller's, by [`Pages`]: the device keeps no account of pages, so a
//! driver that names one twice, or one that it does not have, is the caller's to bear.
//!
//! # Features
//! MUST_TELL_HOST is offered: a page that comes back needs memory first. PAGE_REPORTING is offered. DEFLATE_ON_OOM is not: the
//! target says how much memory the guest has, and there may be no more. PAGE_POISON is not: a page comes back as zeroes, and
//! a driver whose free pages hold anything else then does not report them (§5.5.6.7). Statistics and hints are not offered.
//!
//! # Queues
//! §5.5.2 numbers the reporting queue 4. Linux numbers the queues that it has without a gap, and so 2. As there are no
//! queues of statistics and hints, all from 2 on are reporting queues.
//!
//! # Bounds
//! One call looks at most at [`STEPS_MAX`] page numbers, ranges and descriptors of each queue.

mod config;
mod numbers;
#[cfg(test)]
mod tests;

use crate::memory::GuestMemory;
use crate::mmio::{CONFIG_BASE, Effect, Profile, Transport};
use crate::queue::{Backlog, Chain, Direction, Queue, QueueError, Step};
use numbers::Numbers;
use virtio_spec::Id;
use virtio_spec::balloon::F;

/// Bytes of a page that a number names, whatever the guest's pages are (§5.5.6).
pub const PAGE_SIZE: u64 = 4096;
/// Most entries of each queue. Linux reports 32 ranges at once and asks for a queue of as many.
pub const QUEUE_SIZE_MAX: u16 = 128;
/// Page numbers, ranges and descriptors of each queue that one call looks at.
pub const STEPS_MAX: usize = 256;

/// Queues (§5.5.2).
const QUEUES: usize = 5;
const INFLATE: u16 = 0;
const DEFLATE: u16 = 1;
const FIRST_REPORTING: u16 = 2;

const REPORTING: u64 = F::PAGE_REPORTING.bits().to_ne() as u64;
const OFFERED: u64 = F::MUST_TELL_HOST.bits().to_ne() as u64 | REPORTING;

/// What the device is.
const PROFILE: Profile =
    Profile { id: Id::Balloon, offered: OFFERED, required: 0, queues: QUEUES as u16, queue_size_max: QUEUE_SIZE_MAX };

/// What became of a page number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Answer {
    /// It is done with.
    Done,
    /// It is asked for again at the next call, and nothing behind it before that.
    Later,
}

/// What a guest's pages are to the caller. Nothing that comes here was checked but for its form.
pub trait Pages {
    /// The driver gives a page up: it does not use it until it has it back, and then expects nothing of what it held.
    fn inflate(&mut self, page: u32) -> Answer;

    /// The driver wants a page back.
    fn deflate(&mut self, page: u32) -> Answer;

    /// The driver reports a range free: it does not use it until the answer, and afterwards expects zeroes or what was there. It
    /// does not wrap. Returns how many bytes at its front are done with; the rest is asked for again at the next call.
    fn report(&mut self, ipa: u64, bytes: u32) -> u32;
}

/// What a register write asks of the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum BalloonEffect {
    /// Nothing.
    None,
    /// There may be requests.
    Requests,
    /// The driver has said how many pages the balloon has.
    Actual,
    /// The driver reset the device, or stopped a queue of it: what was asked is void. After a reset every page is the guest's.
    Reset,
}

/// The device.
#[derive(Clone, Debug)]
pub struct Balloon {
    transport: Transport<QUEUES>,
    /// Pages that the balloon is to have.
    target: u32,
    /// Pages that it has, by the driver.
    actual: u32,
    /// Of the inflate and the deflate queue: the number that has come in part, or not been done with.
    numbers: [Numbers; 2],
}

impl Default for Balloon {
    fn default() -> Self {
        Self::NONE
    }
}

impl Balloon {
    /// No device, until [`Balloon::restart`]: all zero, for a static table.
    pub const NONE: Self =
        Self { transport: Transport::new(Profile::NONE), target: 0, actual: 0, numbers: [Numbers::NONE; 2] };

    /// Becomes a balloon without a page and without a target, as after power-on.
    pub fn restart(&mut self) {
        self.transport.restart(PROFILE);
        (self.target, self.actual, self.numbers) = (0, 0, [Numbers::NONE; 2]);
    }

    /// Asks the driver for a balloon of so many pages (§5.5.6.1).
    pub fn set_target(&mut self, pages: u32) {
        if self.target != pages {
            self.target = pages;
            self.transport.config_changed();
        }
    }

    /// Pages that the balloon is to have.
    pub const fn target(&self) -> u32 {
        self.target
    }

    /// Pages that the balloon has, if the driver is to be believed.
    pub const fn actual(&self) -> u32 {
        self.actual
    }

    /// Answers a read of `size` bytes (1, 2, 4 or 8) at `offset` into the slot.
    pub fn read(&self, offset: u64, size: u8) -> u64 {
        self.transport.read(offset, size, &config::encode(self.target, self.actual))
    }

    /// Performs a write of `size` bytes at `offset` into the slot.
    pub fn write(&mut self, offset: u64, size: u8, value: u64) -> BalloonEffect {
        // The one field here that a driver writes (§5.5.4), in one access (§4.2.2.2).
        if offset == CONFIG_BASE + config::ACTUAL && size == 4 {
            self.actual = value as u32;
            return BalloonEffect::Actual;
        }
        match self.transport.write(offset, size, value) {
            Effect::None => BalloonEffect::None,
            Effect::Started | Effect::Notify(_) => BalloonEffect::Requests,
            Effect::QueueStopped(queue) => {
                if let Some(numbers) = self.numbers.get_mut(usize::from(queue)) {
                    *numbers = Numbers::NONE;
                }
                BalloonEffect::Reset
            }
            Effect::Reset => {
                (self.actual, self.numbers) = (0, [Numbers::NONE; 2]);
                BalloonEffect::Reset
            }
        }
    }

    /// Whether the slot's SPI must be pulsed now; true once for all causes since the last call.
    pub const fn take_pulse(&mut self) -> bool {
        self.transport.take_pulse()
    }

    /// Whether the driver has all it may ask for: it runs.
    pub const fn is_live(&self) -> bool {
        self.transport.is_live()
    }

    /// Hands what waits to `pages`, what comes back first, and interrupts the driver if it wants to hear of it. Where
    /// something is left, the driver need not notify of it: the caller calls again.
    ///
    /// A chain that is none, of the wrong direction, outside of the guest's memory, or with a part of a page number at its
    /// end, makes the device ask for a reset (§2.1.2), and nothing is left.
    pub fn serve(&mut self, memory: &dyn GuestMemory, pages: &mut dyn Pages) -> Backlog {
        self.serve_all(memory, pages).unwrap_or_else(|_| {
            self.transport.fail();
            Backlog::Empty
        })
    }

    fn serve_all(&mut self, memory: &dyn GuestMemory, pages: &mut dyn Pages) -> Result<Backlog, QueueError> {
        let reports = self.transport.has_accepted(REPORTING);
        let last = if reports { QUEUES as u16 } else { FIRST_REPORTING };
        let mut left = Backlog::Empty;
        for index in [DEFLATE, INFLATE].into_iter().chain(FIRST_REPORTING..last) {
            let Some(queue) = self.transport.queue(index) else { continue };
            let rest = match (index, &mut self.numbers) {
                (INFLATE, [numbers, _]) => serve_queue(queue, memory, &mut |chain| {
                    numbers.take(chain, memory, &mut |page| pages.inflate(page))
                }),
                (DEFLATE, [_, numbers]) => serve_queue(queue, memory, &mut |chain| {
                    numbers.take(chain, memory, &mut |page| pages.deflate(page))
                }),
                _ => serve_queue(queue, memory, &mut |chain| report_next(chain, memory, pages)),
            }?;
            let wanted = queue.should_notify(memory)?;
            if wanted {
                self.transport.signal_used();
            }
            if rest == Backlog::Waiting {
                left = Backlog::Waiting;
            }
        }
        Ok(left)
    }
}

/// What a step along a chain came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Came {
    /// There is more of it.
    Further,
    /// It waits where it is.
    Nowhere,
    /// It is done with.
    ToItsEnd,
}

/// Takes `step` after step along the chains of a queue, as far as the bounds and the caller's pages allow.
fn serve_queue(
    queue: &mut Queue,
    memory: &dyn GuestMemory,
    step: &mut dyn FnMut(&mut Chain) -> Result<Came, QueueError>,
) -> Result<Backlog, QueueError> {
    let mut steps = STEPS_MAX;
    while let Some(mut chain) = queue.pop(memory)? {
        loop {
            if steps == 0 {
                queue.hold(chain);
                return Ok(Backlog::Waiting);
            }
            steps -= 1;
            match step(&mut chain)? {
                Came::Further => {}
                Came::Nowhere => {
                    queue.hold(chain);
                    return Ok(Backlog::Waiting);
                }
                Came::ToItsEnd => break,
            }
        }
        // Nothing was written, whatever the driver lets the device write (§5.5.6.7).
        queue.push_used(memory, chain.head(), 0)?;
    }
    queue.arm(memory)
}

/// A step along a chain whose buffers are the pages themselves (§5.5.6.7).
fn report_next(chain: &mut Chain, memory: &dyn GuestMemory, pages: &mut dyn Pages) -> Result<Came, QueueError> {
    let Some(range) = chain.current() else {
        return Ok(match chain.advance(memory)? {
            Step::End => Came::ToItsEnd,
            Step::Segment(segment) if segment.direction != Direction::Writable => {
                return Err(QueueError::Direction(chain.head()));
            }
            Step::Table | Step::Segment(_) => Came::Further,
        });
    };
    let done = pages.report(range.ipa, range.length).min(range.length);
    chain.consume(done);
    Ok(if done == range.length { Came::Further } else { Came::Nowhere })
}
