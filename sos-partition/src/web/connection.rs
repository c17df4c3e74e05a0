//! One connection: a head comes, an answer goes, and it is closed.

use alloc::vec;
use alloc::vec::Vec;

use smoltcp::socket::tcp::{Socket, SocketBuffer, State};

use super::http::{self, Content, HEAD_MAX, Refusal, Resource};
use super::{IDLE_S, SILENT_S, Turn};

/// Any connection is reset after so long: who takes a byte now and then does not keep the partition on.
const WHOLE_S: u64 = 30;
/// Bytes of a socket's buffer for what is to be sent.
const SEND_BUFFER: usize = 4096;

/// Where a connection is.
enum Stage {
    /// Nobody is there.
    Free,
    /// So much of a head has come.
    Head(Vec<u8>),
    /// So much of the answer has gone into the socket's buffer.
    Answer { bytes: Vec<u8>, sent: usize },
    /// All has; what still comes is not looked at.
    Closing,
}

/// What a socket carries, and since when.
pub(super) struct Connection {
    stage: Stage,
    began: u64,
    /// When the client last acknowledged some of the answer, or when it began.
    progress: u64,
    /// Bytes of the answer that the client has not acknowledged.
    left: usize,
    /// The client has not acknowledged the SYN.
    half_open: bool,
    /// It has not said a byte.
    silent: bool,
}

impl Connection {
    pub(super) const FREE: Self =
        Self { stage: Stage::Free, began: 0, progress: 0, left: 0, half_open: true, silent: true };

    /// Whether nobody is there.
    pub(super) const fn is_free(&self) -> bool {
        matches!(self.stage, Stage::Free)
    }

    /// Whether somebody is there who is more than a SYN.
    pub(super) const fn is_established(&self) -> bool {
        !self.is_free() && !self.half_open
    }

    /// Whether somebody is there who has not said a byte.
    pub(super) const fn is_silent(&self) -> bool {
        !self.is_free() && self.silent
    }

    /// When it last got on; who has said nothing has not yet.
    pub(super) fn progress(&self) -> Option<u64> {
        (!self.is_free() && !self.silent).then_some(self.progress)
    }

    /// When it is reset unless it gets on.
    pub(super) fn deadline(&self, ticks_per_second: u64) -> Option<u64> {
        let after = |from: u64, seconds: u64| from.saturating_add(seconds.saturating_mul(ticks_per_second));
        let idle = if self.silent { SILENT_S } else { IDLE_S };
        (!self.is_free()).then(|| after(self.progress, idle).min(after(self.began, WHOLE_S)))
    }

    /// Takes what has come and gives what is to go.
    pub(super) fn step(
        &mut self,
        socket: &mut Socket<'_>,
        turn: Turn,
        make: &mut dyn FnMut(Resource) -> Result<Content, Refusal>,
    ) {
        if !socket.is_active() {
            *self = Self::FREE;
            return;
        }
        if self.is_free() {
            *self = Self { stage: Stage::Head(Vec::new()), began: turn.now, progress: turn.now, ..Self::FREE };
        }
        self.half_open &= socket.state() == State::SynReceived;
        self.silent &= !socket.can_recv();
        if self.deadline(turn.ticks_per_second).is_some_and(|deadline| deadline <= turn.now) {
            // The client is told that nobody is there any more.
            socket.abort();
            *self = Self::FREE;
            return;
        }
        self.take(socket, make);
        self.give(socket, turn.now);
    }

    fn take(&mut self, socket: &mut Socket<'_>, make: &mut dyn FnMut(Resource) -> Result<Content, Refusal>) {
        while socket.can_recv() {
            let taken = socket.recv(|bytes| {
                if let Stage::Head(head) = &mut self.stage {
                    let room = HEAD_MAX.saturating_sub(head.len());
                    head.extend_from_slice(&bytes[..bytes.len().min(room)]);
                }
                (bytes.len(), bytes.len())
            });
            if !matches!(taken, Ok(1..)) {
                break;
            }
        }
        let Stage::Head(head) = &self.stage else {
            return;
        };
        if let Some(asked) = http::parse(head) {
            let bytes = http::answer(asked.and_then(make));
            self.left = bytes.len();
            self.stage = Stage::Answer { bytes, sent: 0 };
        } else if !socket.may_recv() && socket.state() != State::SynReceived {
            // It has closed its side, and will never have asked for anything.
            socket.close();
            self.stage = Stage::Closing;
        }
    }

    fn give(&mut self, socket: &mut Socket<'_>, now: u64) {
        let mut unsent = 0;
        if let Stage::Answer { bytes, sent } = &mut self.stage {
            *sent += socket.send_slice(&bytes[*sent..]).unwrap_or(0);
            unsent = bytes.len() - *sent;
            if unsent == 0 {
                socket.close();
                self.stage = Stage::Closing;
            }
        }
        let left = unsent + socket.send_queue();
        if left < self.left {
            (self.left, self.progress) = (left, now);
        }
    }
}

/// A socket for one connection at a time.
pub(super) fn socket() -> Socket<'static> {
    let buffer = |bytes| SocketBuffer::new(vec![0; bytes]);
    let mut socket = Socket::new(buffer(HEAD_MAX), buffer(SEND_BUFFER));
    // Few segments go either way, and each is waited for.
    socket.set_ack_delay(None);
    socket.set_nagle_enabled(false);
    socket
}
