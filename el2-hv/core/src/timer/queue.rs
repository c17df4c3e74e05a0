//! The deadlines that a CPU waits for.

use arrayvec::ArrayVec;

use crate::addr::{VcpuId, VmId};

/// Whose deadline it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum TimerKey {
    /// The virtual timer of a vCPU that is not in the hardware's.
    Virtual(VcpuId),
    /// The emulated physical timer of a vCPU.
    Physical(VcpuId),
    /// The emulated devices of a VM.
    Devices(VmId),
    /// The life of the service partition.
    ServicePartition,
}

/// All places of a timer queue are taken. It must have one for each key that exists.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the timer queue has no place left for {0:?}")]
pub struct QueueFull(pub TimerKey);

#[derive(Clone, Copy, Debug)]
struct Entry {
    deadline: u64,
    key: TimerKey,
}

/// The deadlines of a CPU's vCPUs, in ticks of CNTPCT_EL0, one a key.
///
/// Sorted, the earliest last: looking at it and taking it cost the same whatever the queue holds. Deadlines are
/// unsigned, as the timers are. Those that are equal come out in the order in which they went in.
#[derive(Clone, Debug, Default)]
pub struct TimerQueue<const N: usize> {
    entries: ArrayVec<Entry, N>,
}

impl<const N: usize> TimerQueue<N> {
    /// An empty queue.
    pub const fn new() -> Self {
        Self { entries: ArrayVec::new_const() }
    }

    /// Sets the deadline of `key`, in place of the one it had.
    ///
    /// # Errors
    /// [`QueueFull`] if `key` had none and all `N` places are taken; nothing changes.
    pub fn insert(&mut self, key: TimerKey, deadline: u64) -> Result<(), QueueFull> {
        self.remove(key);
        let place = self.entries.iter().rposition(|entry| entry.deadline > deadline).map_or(0, |at| at + 1);
        self.entries.try_insert(place, Entry { deadline, key }).map_err(|_| QueueFull(key))
    }

    /// Takes the deadline of `key` out, and returns it.
    pub fn remove(&mut self, key: TimerKey) -> Option<u64> {
        let place = self.entries.iter().rposition(|entry| entry.key == key)?;
        Some(self.entries.remove(place).deadline)
    }

    /// The earliest deadline: what the hardware timer must be set to.
    #[inline]
    pub fn earliest(&self) -> Option<u64> {
        self.entries.last().map(|entry| entry.deadline)
    }

    /// Whose the earliest deadline is.
    pub fn first(&self) -> Option<(TimerKey, u64)> {
        self.entries.last().map(|entry| (entry.key, entry.deadline))
    }

    /// Takes out the earliest deadline that is not after `now`. Called until it gives `None`.
    #[inline]
    pub fn pop_expired(&mut self, now: u64) -> Option<TimerKey> {
        if self.earliest()? > now {
            return None;
        }
        self.entries.pop().map(|entry| entry.key)
    }

    /// How many deadlines there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}
