//! Requests of many frames, put together again.
//!
//! Frames of different requests may come in any mix; a request is known by who asks: VM, port and
//! number. Memory is bounded for each request and for all of them, and a request that does not go on
//! for [`PATIENCE_SECONDS`] is given up, so that nobody holds the partition awake with half of one.
//!
//! A request that cannot be taken is refused at its last frame, as any other is answered then: EL2 may
//! give its number to a new one once that frame is through.

use alloc::vec::Vec;

use hv_abi::VmHandle;
use hv_abi::mailbox::{Frame, MESSAGE_MAX, OPEN_MAX};

/// Bytes of incomplete requests, all together.
const BYTES_MAX: usize = MESSAGE_MAX + 256 * 1024;
/// How long a request may stand still.
pub const PATIENCE_SECONDS: u64 = 5;

/// Who asks: what a reply must carry to reach them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Asker {
    /// The VM.
    pub vm: VmHandle,
    /// Its port.
    pub port: u16,
    /// Its number for the request.
    pub id: u32,
}

impl Asker {
    /// The sender of a frame.
    pub const fn of(frame: &Frame) -> Self {
        Self { vm: frame.vm, port: frame.port, id: frame.id }
    }
}

/// Whether a frame is the last of its message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// More follow.
    More,
    /// The last.
    Last,
}

/// What became of a frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Taken {
    /// Kept, or thrown away with the rest of a request that will be refused.
    Waiting,
    /// The request is complete.
    Complete(Vec<u8>),
    /// The request is refused, for this reason.
    Refused(&'static str),
}

#[derive(Debug)]
enum Body {
    Growing(Vec<u8>),
    /// Frames are thrown away up to the last, at which it is refused.
    Hopeless(&'static str),
}

#[derive(Debug)]
struct Open {
    asker: Asker,
    body: Body,
    deadline: u64,
}

/// The incomplete requests.
#[derive(Debug)]
pub struct Assemblies {
    open: Vec<Open>,
    patience: u64,
}

impl Assemblies {
    /// None yet. Times are in ticks of the counter.
    pub const fn new(ticks_per_second: u64) -> Self {
        Self { open: Vec::new(), patience: ticks_per_second.saturating_mul(PATIENCE_SECONDS) }
    }

    /// Whether no request is incomplete.
    pub const fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Takes the body of one frame.
    pub fn take(&mut self, asker: Asker, part: Part, body: &[u8], now: u64) -> Taken {
        let room = BYTES_MAX.saturating_sub(self.bytes());
        let index = match (self.position(asker), part) {
            (Some(index), _) => index,
            (None, Part::Last) => return Taken::Complete(body.to_vec()),
            (None, Part::More) if self.open.len() >= OPEN_MAX => {
                return Taken::Refused("too many requests of many frames are open");
            }
            (None, Part::More) => {
                let deadline = now.saturating_add(self.patience);
                self.open.push(Open { asker, body: Body::Growing(Vec::new()), deadline });
                self.open.len() - 1
            }
        };
        let open = &mut self.open[index];
        match open.grow(body, room) {
            // One that is thrown away keeps nobody awake by going on.
            Ok(()) if matches!(open.body, Body::Growing(_)) => open.deadline = now.saturating_add(self.patience),
            Ok(()) => {}
            Err(reason) => open.body = Body::Hopeless(reason),
        }
        match part {
            Part::More => Taken::Waiting,
            Part::Last => match self.open.swap_remove(index).body {
                Body::Growing(bytes) => Taken::Complete(bytes),
                Body::Hopeless(reason) => Taken::Refused(reason),
            },
        }
    }

    /// Gives up the first request whose time has passed; its asker and the reason.
    pub fn expire(&mut self, now: u64) -> Option<(Asker, &'static str)> {
        let index = self.open.iter().position(|open| open.deadline <= now)?;
        let open = self.open.swap_remove(index);
        let reason = match open.body {
            Body::Growing(_) => "the rest of it did not come",
            Body::Hopeless(reason) => reason,
        };
        Some((open.asker, reason))
    }

    /// Forgets a VM that is gone.
    pub fn forget(&mut self, vm: VmHandle) {
        self.open.retain(|open| open.asker.vm != vm);
    }

    /// When [`Assemblies::expire`] has something to do next.
    pub fn deadline(&self) -> Option<u64> {
        self.open.iter().map(|open| open.deadline).min()
    }

    fn position(&self, asker: Asker) -> Option<usize> {
        self.open.iter().position(|open| open.asker == asker)
    }

    fn bytes(&self) -> usize {
        self.open
            .iter()
            .map(|open| match &open.body {
                Body::Growing(bytes) => bytes.len(),
                Body::Hopeless(_) => 0,
            })
            .sum()
    }
}

impl Open {
    /// Appends, unless that breaks a bound. `room` is what is left for all requests.
    fn grow(&mut self, more: &[u8], room: usize) -> Result<(), &'static str> {
        let Body::Growing(bytes) = &mut self.body else {
            return Ok(());
        };
        if bytes.len() + more.len() > MESSAGE_MAX {
            return Err("longer than 1 MiB");
        }
        let length = bytes.len() + more.len();
        // The heap's blocks are powers of two: no other size would hold more. A copy to a larger one needs both.
        let size = length.next_power_of_two();
        let grows = length > bytes.capacity();
        if more.len() > room || (grows && bytes.try_reserve_exact(size - bytes.len()).is_err()) {
            return Err("no memory for it now");
        }
        bytes.extend_from_slice(more);
        Ok(())
    }
}
