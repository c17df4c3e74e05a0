//! Replies on their way: cut into frames, sent one at a time, parked while a receiver has no room.
//!
//! A parked reply holds up no other. Its frame is tried again after the next interrupt of the
//! mailbox; a receiver that takes nothing for [`PATIENCE_SECONDS`] loses the reply.

use alloc::vec::Vec;

use hv_abi::VmHandle;
use hv_abi::mailbox::{BODY_MAX, Flags, Frame, Party, Slot};

use crate::assembly::Asker;

/// How long a receiver may leave a frame waiting.
pub const PATIENCE_SECONDS: u64 = 1;
/// Replies that may be parked for one VM; the oldest gives way.
const PARKED_MAX: usize = 8;

#[derive(Debug)]
struct Reply {
    asker: Asker,
    bytes: Vec<u8>,
    sent: usize,
    state: State,
    /// When it is dropped, from the first refusal of the frame at `sent` on.
    deadline: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Ready,
    Parked,
}

/// The replies that are not yet delivered.
#[derive(Debug)]
pub struct Outbox {
    replies: Vec<Reply>,
    patience: u64,
}

impl Outbox {
    /// None yet. Times are in ticks of the counter.
    pub const fn new(ticks_per_second: u64) -> Self {
        Self { replies: Vec::new(), patience: ticks_per_second.saturating_mul(PATIENCE_SECONDS) }
    }

    /// Whether every reply is delivered or dropped.
    pub const fn is_empty(&self) -> bool {
        self.replies.is_empty()
    }

    /// Takes a reply.
    pub fn push(&mut self, asker: Asker, bytes: Vec<u8>) {
        let parked = |reply: &Reply| reply.asker.vm == asker.vm && reply.state == State::Parked;
        if self.replies.iter().filter(|reply| parked(reply)).count() >= PARKED_MAX
            && let Some(oldest) = self.replies.iter().position(parked)
        {
            self.replies.remove(oldest);
        }
        self.replies.push(Reply { asker, bytes, sent: 0, state: State::Ready, deadline: None });
    }

    /// The next frame to send. [`Outbox::sent`], [`Outbox::park`] or [`Outbox::drop_reply`] must follow.
    pub fn frame(&self) -> Option<Slot> {
        let reply = self.ready().map(|index| &self.replies[index])?;
        let left = reply.bytes.get(reply.sent..).unwrap_or_default();
        let flags = if left.len() > BODY_MAX { Flags::MORE } else { Flags::default() };
        let frame = Frame {
            party: Party::Sos,
            flags,
            id: reply.asker.id,
            port: reply.asker.port,
            vm: reply.asker.vm,
            length: 0,
        };
        Some(Slot::new(frame, left))
    }

    /// The frame was delivered.
    pub fn sent(&mut self) {
        let Some(index) = self.ready() else { return };
        let reply = &mut self.replies[index];
        reply.sent += BODY_MAX;
        reply.deadline = None;
        if reply.sent >= reply.bytes.len() {
            self.replies.remove(index);
        }
    }

    /// The receiver had no room for the frame.
    pub fn park(&mut self, now: u64) {
        let Some(index) = self.ready() else { return };
        let patience = self.patience;
        let reply = &mut self.replies[index];
        reply.state = State::Parked;
        reply.deadline.get_or_insert_with(|| now.saturating_add(patience));
    }

    /// The frame can never be delivered.
    pub fn drop_reply(&mut self) {
        if let Some(index) = self.ready() {
            self.replies.remove(index);
        }
    }

    /// Room may have come: every parked frame may be tried again.
    pub fn unpark(&mut self) {
        self.replies.iter_mut().for_each(|reply| reply.state = State::Ready);
    }

    /// Drops the replies whose receivers had their time.
    pub fn expire(&mut self, now: u64) {
        self.replies.retain(|reply| reply.deadline.is_none_or(|deadline| now < deadline));
    }

    /// Forgets a VM that is gone.
    pub fn forget(&mut self, vm: VmHandle) {
        self.replies.retain(|reply| reply.asker.vm != vm);
    }

    /// When [`Outbox::expire`] has something to do next.
    pub fn deadline(&self) -> Option<u64> {
        self.replies.iter().filter_map(|reply| reply.deadline).min()
    }

    /// The reply whose frame is next: the first that is not parked.
    fn ready(&self) -> Option<usize> {
        self.replies.iter().position(|reply| reply.state == State::Ready)
    }
}
