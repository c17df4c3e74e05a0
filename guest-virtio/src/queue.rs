//! The device's side of a split virtqueue (virtio 1.2 §2.7).
//!
//! Owns where the three areas lie and how far the device has come. The driver is not trusted:
//! an index that runs ahead of the ring, a head or link outside it, a loop, or a table that the
//! features do not allow is an error, after which the transport asks the driver for a reset.
//! One call never looks at more than one ring entry and one descriptor.

mod chain;
#[cfg(any(test, fuzzing))]
pub(crate) mod tests;

pub use chain::{Chain, Direction, MAX_INDIRECT, Segment, Step};

use crate::memory::{GuestMemory, GuestMemoryError};
use thiserror::Error;
use virtio_spec::virtq::{AvailF, UsedElem};

/// What a driver did wrong on a queue. The device cannot go on with the queue after any of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum QueueError {
    /// The queue is not enabled.
    #[error("queue: not enabled")]
    NotReady,
    /// The size is not a power of two or is larger than the device offers (virtio 1.2 §2.7).
    #[error("queue: size {0} is not a power of two within the device's maximum")]
    Size(u16),
    /// An area is misaligned (virtio 1.2 §2.7, table of alignments) or wraps the address space.
    #[error("queue: area at {0:#x} is misaligned or wraps")]
    Area(u64),
    /// The available index promises more chains than the queue has entries, those that the device has not given back
    /// counted (§2.7.13.1).
    #[error("queue: available index {index} with {in_flight} chains in flight and {expected} next")]
    AvailableIndex {
        /// The index read.
        index: u16,
        /// The next entry the device was going to take.
        expected: u16,
        /// Chains that were taken and not given back.
        in_flight: u16,
    },
    /// A head or a link names a descriptor outside its table.
    #[error("queue: descriptor {0} is outside its table")]
    DescriptorIndex(u16),
    /// More descriptors than the table has: a loop, or a chain longer than §2.7.5.3.1 allows.
    #[error("queue: chain from descriptor {0} does not end")]
    Endless(u16),
    /// A chain with less than every request of the device's has.
    #[error("queue: chain from descriptor {0} is too short for a request")]
    Short(u16),
    /// A descriptor of no bytes, or one that wraps the address space.
    #[error("queue: descriptor for {length} bytes at {ipa:#x}")]
    Range {
        /// First address, an IPA.
        ipa: u64,
        /// Bytes.
        length: u32,
    },
    /// A readable descriptor after a writable one (§2.7.4.2), or one in the direction that the
    /// device's queue does not have.
    #[error("queue: chain from descriptor {0} has a buffer of the wrong direction")]
    Direction(u16),
    /// An indirect descriptor without the feature, inside an indirect table, with a link, or of
    /// a size that is not a whole number of descriptors (§2.7.5.3.1).
    #[error("queue: chain from descriptor {0} has a bad indirect table")]
    Indirect(u16),
    /// A ring, a table or a buffer is not in the guest's RAM.
    #[error("queue: {0}")]
    Memory(#[from] GuestMemoryError),
}

/// Where the driver put the queue's three areas, IPAs (virtio 1.2 §2.7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Areas {
    /// Descriptor table, 16 bytes an entry.
    pub descriptor: u64,
    /// Available ring, written by the driver.
    pub driver: u64,
    /// Used ring, written by the device.
    pub device: u64,
}

/// The negotiated features that change a queue's rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RingFeatures {
    /// VIRTIO_F_INDIRECT_DESC (§2.7.5.3).
    pub indirect: bool,
    /// VIRTIO_F_EVENT_IDX (§2.7.7, §2.7.10).
    pub event_index: bool,
}

/// Whether the driver has made more buffers available.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Backlog {
    /// Nothing is waiting; the driver notifies the device of its next buffer.
    Empty,
    /// At least one buffer is waiting, of which the driver may not notify.
    Waiting,
}

/// Offset of `idx` in both rings; `flags` is before it (§2.7.6, §2.7.8).
const INDEX: u64 = 2;
/// Offset of `ring` in both rings.
const RING: u64 = 4;
/// Bytes of an entry of the used ring.
const USED_ENTRY: u64 = size_of::<UsedElem>() as u64;

/// One queue.
#[derive(Clone, Debug)]
pub struct Queue {
    areas: Areas,
    size: u16,
    ready: bool,
    features: RingFeatures,
    /// Next entry of the available ring to take, free-running.
    next_available: u16,
    /// Next entry of the used ring to fill, free-running.
    next_used: u16,
    /// `next_used` when the device last decided whether to notify the driver.
    decided_at: u16,
    /// A chain that was taken and put back, where there is one.
    held: Chain,
    is_held: bool,
}

impl Default for Queue {
    fn default() -> Self {
        Self::new()
    }
}

impl Queue {
    /// A queue as after a reset: not enabled, no size, no areas.
    pub const fn new() -> Self {
        let areas = Areas { descriptor: 0, driver: 0, device: 0 };
        let features = RingFeatures { indirect: false, event_index: false };
        let (ready, is_held) = (false, false);
        Self {
            areas,
            size: 0,
            ready,
            features,
            next_available: 0,
            next_used: 0,
            decided_at: 0,
            held: Chain::NONE,
            is_held,
        }
    }

    /// As after a reset.
    pub const fn reset(&mut self) {
        self.areas = Areas { descriptor: 0, driver: 0, device: 0 };
        self.features = RingFeatures { indirect: false, event_index: false };
        (self.size, self.ready, self.is_held) = (0, false, false);
        (self.next_available, self.next_used, self.decided_at) = (0, 0, 0);
    }

    /// The chain that was put back.
    fn take_held(&mut self) -> Option<Chain> {
        core::mem::take(&mut self.is_held).then(|| self.held.clone())
    }

    /// Whether the driver has enabled the queue.
    pub const fn is_ready(&self) -> bool {
        self.ready
    }

    /// Number of entries; 0 before the driver has set it.
    pub const fn size(&self) -> u16 {
        self.size
    }

    /// Sets the number of entries. Ignored while enabled (§4.2.2.2).
    pub const fn set_size(&mut self, size: u16) {
        if !self.ready {
            self.size = size;
        }
    }

    /// Where the areas lie; `None` while enabled, when the driver must not move them (§4.2.2.2).
    pub const fn areas_mut(&mut self) -> Option<&mut Areas> {
        if self.ready { None } else { Some(&mut self.areas) }
    }

    /// Checks size and areas and starts the queue at index 0.
    ///
    /// # Errors
    /// [`QueueError::Size`] or [`QueueError::Area`]; the queue then stays off.
    pub fn enable(&mut self, maximum: u16, features: RingFeatures) -> Result<(), QueueError> {
        if !self.size.is_power_of_two() || self.size > maximum {
            return Err(QueueError::Size(self.size));
        }
        let entries = u64::from(self.size);
        // Each ring ends with the 16-bit event field, present or not (§2.7.6, §2.7.8).
        let layout = [
            (self.areas.descriptor, 16, 16 * entries),
            (self.areas.driver, 2, RING + 2 * entries + 2),
            (self.areas.device, 4, RING + USED_ENTRY * entries + 2),
        ];
        for (ipa, alignment, length) in layout {
            if !ipa.is_multiple_of(alignment) || ipa.checked_add(length).is_none() {
                return Err(QueueError::Area(ipa));
            }
        }
        *self = Self { areas: self.areas, size: self.size, ready: true, features, ..Self::new() };
        Ok(())
    }

    /// Stops the queue and forgets how far it had come; size and areas stay.
    pub const fn disable(&mut self) {
        *self = Self { areas: self.areas, size: self.size, ..Self::new() };
    }

    /// Takes the next available chain, or the one put back by [`Queue::hold`].
    ///
    /// The chain's descriptors are not read yet; each [`Chain::advance`] reads one.
    ///
    /// # Errors
    /// If the queue is off, or the available ring lies or is not in RAM.
    pub fn pop(&mut self, memory: &dyn GuestMemory) -> Result<Option<Chain>, QueueError> {
        if let Some(chain) = self.take_held() {
            return Ok(Some(chain));
        }
        if self.available(memory)? == 0 {
            return Ok(None);
        }
        let head = memory.read_u16(self.driver_entry(self.next_available))?;
        if head >= self.size {
            return Err(QueueError::DescriptorIndex(head));
        }
        self.next_available = self.next_available.wrapping_add(1);
        Ok(Some(Chain::new(head, self.areas.descriptor, self.size, self.features.indirect)))
    }

    /// Puts a chain back: the next [`Queue::pop`] returns it, as far consumed as it is.
    pub const fn hold(&mut self, chain: Chain) {
        (self.held, self.is_held) = (chain, true);
    }

    /// Untakes the last `count` chains that [`Queue::pop`] took, none of which was given back or put back by
    /// [`Queue::hold`]: the ring is as if they had not been taken, and the next pops read their entries again.
    pub fn rewind(&mut self, count: u16) {
        self.next_available = self.next_available.wrapping_sub(count.min(self.in_flight()));
    }

    /// Chains that were taken and not given back, one put back among them: at most the queue's size.
    pub const fn in_flight(&self) -> u16 {
        self.next_available.wrapping_sub(self.next_used)
    }

    /// Number of chains that the driver has made available and the device has not taken, not
    /// counting a chain put back.
    ///
    /// # Errors
    /// If the queue is off, or the index promises more than the queue has entries or is not in RAM.
    pub fn available(&self, memory: &dyn GuestMemory) -> Result<u16, QueueError> {
        if !self.ready {
            return Err(QueueError::NotReady);
        }
        let index = memory.read_u16(self.areas.driver.wrapping_add(INDEX))?;
        let (count, in_flight) = (index.wrapping_sub(self.next_available), self.in_flight());
        if count > self.size.saturating_sub(in_flight) {
            return Err(QueueError::AvailableIndex { index, expected: self.next_available, in_flight });
        }
        memory.fence_acquire();
        Ok(count)
    }

    /// Whether a chain is waiting: put back, or made available.
    ///
    /// # Errors
    /// As [`Queue::available`].
    pub fn backlog(&self, memory: &dyn GuestMemory) -> Result<Backlog, QueueError> {
        let waiting = self.available(memory)? > 0 || self.is_held;
        Ok(if waiting { Backlog::Waiting } else { Backlog::Empty })
    }

    /// Asks the driver for a notification of its next buffer and then looks once more, so that
    /// a buffer added in between is not missed (§2.7.10.2).
    ///
    /// # Errors
    /// As [`Queue::available`], or if the used ring is not in RAM.
    pub fn arm(&self, memory: &dyn GuestMemory) -> Result<Backlog, QueueError> {
        if self.ready && self.features.event_index {
            memory.write_u16(self.avail_event(), self.next_available)?;
            memory.fence_full();
        }
        self.backlog(memory)
    }

    /// Gives the chain from `head` back to the driver, `written` bytes of it filled by the device. Only a chain that was
    /// taken is given back, and only once.
    ///
    /// # Errors
    /// If the queue is off or the used ring is not in RAM.
    pub fn push_used(&mut self, memory: &dyn GuestMemory, head: u16, written: u32) -> Result<(), QueueError> {
        self.stage_used(memory, head, written)?;
        self.publish_used(memory)
    }

    /// As [`Queue::push_used`], but the driver does not see it before [`Queue::publish_used`].
    ///
    /// # Errors
    /// As [`Queue::push_used`].
    pub fn stage_used(&mut self, memory: &dyn GuestMemory, head: u16, written: u32) -> Result<(), QueueError> {
        if !self.ready {
            return Err(QueueError::NotReady);
        }
        // struct virtq_used_elem: id, then len, 32 bits each (§2.7.8).
        let element = u64::from(written) << 32 | u64::from(head);
        memory.write_u64(self.device_entry(self.next_used), element)?;
        self.next_used = self.next_used.wrapping_add(1);
        Ok(())
    }

    /// Shows the driver all that was staged, at once.
    ///
    /// # Errors
    /// As [`Queue::push_used`].
    pub fn publish_used(&self, memory: &dyn GuestMemory) -> Result<(), QueueError> {
        if !self.ready {
            return Err(QueueError::NotReady);
        }
        memory.fence_release();
        memory.write_u16(self.areas.device.wrapping_add(INDEX), self.next_used)?;
        Ok(())
    }

    /// Gives back unread every chain that is waiting now, at most the queue's size of them, and
    /// asks for a notification of the next.
    ///
    /// # Errors
    /// As [`Queue::pop`], [`Queue::push_used`] and [`Queue::arm`].
    pub fn discard(&mut self, memory: &dyn GuestMemory) -> Result<Backlog, QueueError> {
        let waiting = self.available(memory)?;
        if let Some(chain) = self.take_held() {
            self.push_used(memory, chain.head(), 0)?;
        }
        for _ in 0..waiting {
            let Some(chain) = self.pop(memory)? else {
                break;
            };
            self.push_used(memory, chain.head(), 0)?;
        }
        self.arm(memory)
    }

    /// Whether the driver wants to hear of the chains given back since the last call (§2.7.7).
    ///
    /// # Errors
    /// If the queue is off or the available ring is not in RAM.
    pub fn should_notify(&mut self, memory: &dyn GuestMemory) -> Result<bool, QueueError> {
        if !self.ready {
            return Err(QueueError::NotReady);
        }
        if self.next_used == self.decided_at {
            return Ok(false);
        }
        let before = core::mem::replace(&mut self.decided_at, self.next_used);
        memory.fence_full();
        if self.features.event_index {
            let event = memory.read_u16(self.used_event())?;
            return Ok(passes(event, before, self.next_used));
        }
        let flags = memory.read_u16(self.areas.driver)?;
        Ok(flags & AvailF::NO_INTERRUPT.bits().to_ne() == 0)
    }

    /// Address of an available entry. The areas were checked not to wrap when enabled.
    const fn driver_entry(&self, index: u16) -> u64 {
        let slot = (index & self.size.wrapping_sub(1)) as u64;
        self.areas.driver.wrapping_add(RING + 2 * slot)
    }

    /// Address of a used entry.
    const fn device_entry(&self, index: u16) -> u64 {
        let slot = (index & self.size.wrapping_sub(1)) as u64;
        self.areas.device.wrapping_add(RING + USED_ENTRY * slot)
    }

    /// The driver's `used_event`, after the available ring (§2.7.6).
    const fn used_event(&self) -> u64 {
        self.areas.driver.wrapping_add(RING + 2 * self.size as u64)
    }

    /// The device's `avail_event`, after the used ring (§2.7.8).
    const fn avail_event(&self) -> u64 {
        self.areas.device.wrapping_add(RING + USED_ENTRY * self.size as u64)
    }
}

/// Whether a free-running index going from `before` to `now` passes `event`, that is whether the
/// entry numbered `event` is among those filled (§2.7.7.2).
const fn passes(event: u16, before: u16, now: u16) -> bool {
    event.wrapping_sub(before) < now.wrapping_sub(before)
}
