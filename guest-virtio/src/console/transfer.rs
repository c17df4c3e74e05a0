//! Bytes between a port's queues and the caller, bounded by a budget of each call.

use super::Taken;
use crate::memory::GuestMemory;
use crate::queue::{Backlog, Chain, Direction, Queue, QueueError, Segment, Step};

/// Most bytes that one call moves.
pub const MAX_BYTES_PER_CALL: usize = 4096;

/// Most descriptors that one call reads, those of empty chains counted too.
pub const MAX_DESCRIPTORS_PER_CALL: usize = 64;

/// Most bytes handed to a sink at once: what is copied on the stack.
pub const MAX_PIECE: usize = 256;

/// Takes a piece of a port's bytes and returns how many of them, from the front, it keeps.
pub type Sink<'a> = &'a mut dyn FnMut(&[u8]) -> usize;

/// What a call may still do.
struct Budget {
    bytes: usize,
    descriptors: usize,
}

impl Budget {
    fn new(bytes: usize) -> Self {
        Self { bytes: bytes.min(MAX_BYTES_PER_CALL), descriptors: MAX_DESCRIPTORS_PER_CALL }
    }

    const fn is_spent(&self) -> bool {
        self.bytes == 0 || self.descriptors == 0
    }
}

/// How far a chain was worked off.
#[derive(PartialEq, Eq)]
enum Progress {
    /// To its end.
    Finished,
    /// Until the budget was spent or the other side had enough.
    Stopped,
}

/// Moves bytes from the driver's chains to `sink`.
///
/// # Errors
/// If the queue or a chain is bad.
pub(super) fn drain(
    queue: &mut Queue,
    memory: &dyn GuestMemory,
    budget: usize,
    sink: Sink<'_>,
) -> Result<Taken, QueueError> {
    let mut left = Budget::new(budget);
    let allowed = left.bytes;
    let backlog = loop {
        if left.is_spent() {
            // Armed where nothing waits: the driver notifies of the next.
            break queue.arm(memory)?;
        }
        let Some(mut chain) = queue.pop(memory)? else {
            match queue.arm(memory)? {
                Backlog::Empty => break Backlog::Empty,
                // Another vCPU keeps adding: each round counts.
                Backlog::Waiting => left.descriptors -= 1,
            }
            continue;
        };
        match drain_chain(&mut chain, memory, &mut left, sink)? {
            Progress::Finished => queue.push_used(memory, chain.head(), 0)?,
            Progress::Stopped => {
                queue.hold(chain);
                break Backlog::Waiting;
            }
        }
    };
    Ok(Taken { bytes: allowed - left.bytes, backlog })
}

/// Moves the bytes of one chain.
fn drain_chain(
    chain: &mut Chain,
    memory: &dyn GuestMemory,
    left: &mut Budget,
    sink: Sink<'_>,
) -> Result<Progress, QueueError> {
    while let Some(segment) = next_segment(chain, memory, left)? {
        if segment.direction != Direction::Readable {
            return Err(QueueError::Direction(chain.head()));
        }
        if left.bytes == 0 {
            return Ok(Progress::Stopped);
        }
        let mut piece = [0; MAX_PIECE];
        let count = MAX_PIECE.min(segment.length as usize).min(left.bytes);
        let (piece, _) = piece.split_at_mut(count);
        memory.read(segment.ipa, piece)?;
        let taken = sink(piece).min(count);
        chain.consume(taken as u32);
        left.bytes -= taken;
        if taken < count {
            return Ok(Progress::Stopped);
        }
    }
    Ok(if chain.is_finished() { Progress::Finished } else { Progress::Stopped })
}

/// Moves `bytes` into the driver's chains, a chain given back as soon as `bytes` end.
///
/// # Errors
/// If the queue or a chain is bad.
pub(super) fn fill(queue: &mut Queue, memory: &dyn GuestMemory, bytes: &[u8]) -> Result<usize, QueueError> {
    let mut left = Budget::new(bytes.len());
    let allowed = left.bytes;
    let mut source = bytes.iter().as_slice();
    while !left.is_spent() {
        let Some(mut chain) = queue.pop(memory)? else {
            match queue.arm(memory)? {
                Backlog::Empty => break,
                Backlog::Waiting => left.descriptors -= 1,
            }
            continue;
        };
        let written = fill_chain(&mut chain, memory, &mut left, source)?;
        source = source.get(written..).unwrap_or(&[]);
        if written == 0 && !chain.is_finished() {
            queue.hold(chain);
            break;
        }
        queue.push_used(memory, chain.head(), written as u32)?;
    }
    Ok(allowed - left.bytes)
}

/// Copies the front of `source` into one chain and returns how many bytes went.
fn fill_chain(
    chain: &mut Chain,
    memory: &dyn GuestMemory,
    left: &mut Budget,
    source: &[u8],
) -> Result<usize, QueueError> {
    let mut written = 0;
    while left.bytes > 0
        && let Some(segment) = next_segment(chain, memory, left)?
    {
        if segment.direction != Direction::Writable {
            return Err(QueueError::Direction(chain.head()));
        }
        let rest = source.get(written..).unwrap_or(&[]);
        let count = rest.len().min(segment.length as usize).min(left.bytes);
        let (piece, _) = rest.split_at(count);
        memory.write(segment.ipa, piece)?;
        chain.consume(count as u32);
        left.bytes -= count;
        written += count;
    }
    Ok(written)
}

/// What is left of the chain's current buffer, or its next one; `None` at the end of the chain
/// or of the budget.
fn next_segment(chain: &mut Chain, memory: &dyn GuestMemory, left: &mut Budget) -> Result<Option<Segment>, QueueError> {
    if let Some(segment) = chain.current() {
        return Ok(Some(segment));
    }
    while left.descriptors > 0 {
        left.descriptors -= 1;
        match chain.advance(memory)? {
            Step::Segment(segment) => return Ok(Some(segment)),
            Step::Table => {}
            Step::End => return Ok(None),
        }
    }
    Ok(None)
}
