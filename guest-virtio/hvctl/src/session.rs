//! Requests and replies on a management port.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::ops::Range;

use hv_abi::mailbox::{HEADER_SIZE, Party, Slot};
use hv_mailbox::{Exchange, FrameReader, Frames, Progress};
use zerocopy::IntoBytes;

use crate::error::Error;
use crate::port::{Deadline, Link};

/// Bytes that are read at once: the driver's buffers have this size.
const READ_SIZE: usize = 4096;

/// Whether asking twice does no harm.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Repeat {
    /// It does none: EL2 may deliver the request again after a crash of the service partition.
    Safe,
    /// It may.
    Unsafe,
}

/// An open port, on which one request at a time is asked.
#[derive(Debug)]
pub(crate) struct Session {
    link: Link,
    deadline: Deadline,
    reader: FrameReader,
    /// What was read last.
    input: Box<[u8; READ_SIZE]>,
    /// Which bytes of it were not looked at yet.
    unseen: Range<usize>,
    id: u32,
}

impl Session {
    /// Takes a port that was just opened. Everything on it is to end before the deadline.
    pub(crate) fn new(link: Link, deadline: Deadline) -> Result<Self, Error> {
        link.settle(deadline)?;
        Ok(Self {
            link,
            deadline,
            reader: FrameReader::new(),
            input: Box::new([0; READ_SIZE]),
            unseen: 0..0,
            // A late reply to another program on the same port must not look like one to this one.
            id: RandomState::new().build_hasher().finish() as u32,
        })
    }

    /// Sends a request and waits for its reply.
    pub(crate) fn ask(&mut self, party: Party, message: &[u8], repeat: Repeat) -> Result<Vec<u8>, Error> {
        self.id = self.id.wrapping_add(1);
        let frames = Frames::request(party, self.id, message)?;
        let frames = match repeat {
            Repeat::Safe => frames.repeat_safe(),
            Repeat::Unsafe => frames,
        };
        let timeout = Error::Timeout { from: party, after: self.deadline.after() };
        let mut exchange = Exchange::new(frames, Vec::new());
        while let Some(slot) = exchange.frames().next() {
            if !self.link.write(frame_bytes(&slot), self.deadline)? {
                return Err(timeout);
            }
        }
        while let Some(slot) = self.next_frame()? {
            match exchange.accept(&slot)? {
                Progress::NotMine | Progress::Partial => {}
                Progress::Complete => return Ok(exchange.into_sink()),
                Progress::Failed(kind) => return Err(Error::Ended(kind)),
            }
        }
        Err(timeout)
    }

    /// Sends a question of one frame to EL2 and does not wait: its number.
    pub(crate) fn send(&mut self, body: &[u8], deadline: Deadline) -> Result<u32, Error> {
        self.id = self.id.wrapping_add(1);
        for slot in Frames::request(Party::Hv, self.id, body)? {
            if !self.link.write(frame_bytes(&slot), deadline)? {
                return Err(Error::Timeout { from: Party::Hv, after: deadline.after() });
            }
        }
        Ok(self.id)
    }

    /// The port, to wait for it among others.
    pub(crate) const fn link(&self) -> &Link {
        &self.link
    }

    /// A frame that has come, without waiting for one.
    pub(crate) fn frame_now(&mut self) -> Result<Option<Slot>, Error> {
        loop {
            let mut rest = self.input.get(self.unseen.clone()).unwrap_or_default();
            let found = self.reader.push(&mut rest)?;
            self.unseen.start = self.unseen.end - rest.len();
            if found.is_some() {
                return Ok(found);
            }
            match self.link.read_now(&mut self.input[..])? {
                None => return Ok(None),
                Some(0) => return Err(Error::Closed),
                Some(count) => self.unseen = 0..count,
            }
        }
    }

    /// The next frame from the port; `None` when the deadline came first.
    fn next_frame(&mut self) -> Result<Option<Slot>, Error> {
        loop {
            let mut rest = self.input.get(self.unseen.clone()).unwrap_or_default();
            let found = self.reader.push(&mut rest)?;
            self.unseen.start = self.unseen.end - rest.len();
            if found.is_some() {
                return Ok(found);
            }
            let Some(count) = self.link.read(&mut self.input[..], self.deadline)? else {
                return Ok(None);
            };
            self.unseen = 0..count;
        }
    }
}

/// The bytes of a frame as they go over a port: header and body.
fn frame_bytes(slot: &Slot) -> &[u8] {
    let end = HEADER_SIZE + usize::from(slot.header.length.get());
    slot.as_bytes().get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests;
