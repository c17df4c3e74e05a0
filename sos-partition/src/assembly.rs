//! Requests of many frames, put together again.
//!
//! Frames of different requests may come in any mix; a request is known by who asks: VM, port and
//! number. Memory is bounded for each request and for all of them, and a request that does not go on
//! for [`PATIENCE_SECONDS`] is given up, so that nobody holds the partition awake with half of one.

use alloc::vec::Vec;

use hv_abi::VmHandle;
use hv_abi::mailbox::{Frame, MESSAGE_MAX};

/// Requests that may be incomplete at one time.
pub const OPEN_MAX: usize = 16;
/// Bytes of incomplete requests, all together.
pub const BYTES_MAX: usize = MESSAGE_MAX + 256 * 1024;
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
    /// Kept, or thrown away with the rest of a refused request.
    Waiting,
    /// The request is complete.
    Complete(Vec<u8>),
    /// The request is refused, for this reason; the asker is to be told once.
    Refused(&'static str),
}

#[derive(Debug)]
enum Body {
    Growing(Vec<u8>),
    /// Refused already: frames are thrown away up to the last.
    Refused,
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
                self.open.push(Open { asker, body: Body::Growing(Vec::new()), deadline: 0 });
                self.open.len() - 1
            }
        };
        let open = &mut self.open[index];
        open.deadline = now.saturating_add(self.patience);
        let refusal = open.grow(body, room).err();
        match (part, refusal) {
            (Part::More, None) => Taken::Waiting,
            (Part::More, Some(reason)) => {
                open.body = Body::Refused;
                Taken::Refused(reason)
            }
            (Part::Last, refusal) => self.close(index, refusal),
        }
    }

    fn close(&mut self, index: usize, refusal: Option<&'static str>) -> Taken {
        match (self.open.swap_remove(index).body, refusal) {
            (_, Some(reason)) => Taken::Refused(reason),
            (Body::Growing(bytes), None) => Taken::Complete(bytes),
            (Body::Refused, None) => Taken::Waiting,
        }
    }

    /// Gives up the first request whose time has passed; its asker, unless told already.
    pub fn expire(&mut self, now: u64) -> Option<Asker> {
        while let Some(index) = self.open.iter().position(|open| open.deadline <= now) {
            let open = self.open.swap_remove(index);
            if matches!(open.body, Body::Growing(_)) {
                return Some(open.asker);
            }
        }
        None
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
                Body::Refused => 0,
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
        if more.len() > room || bytes.try_reserve(more.len()).is_err() {
            return Err("no memory for it now");
        }
        bytes.extend_from_slice(more);
        Ok(())
    }
}
