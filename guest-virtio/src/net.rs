//! A virtio network card (virtio 1.2 §5.1) with one queue for what its guest receives and one for what it sends.
//!
//! Owns the transport, the configuration space and what of a frame is the protocol's: the header in front of it, its length,
//! the driver's buffers. It never touches a payload: a [`Frame`] names the buffers of a frame that the guest sends, a
//! [`Room`] those of one that it is given, and the caller copies from these to those, so a frame is copied once.
//!
//! # Use
//! After [`Net::write`] has said that there are frames, the caller takes each by [`Net::next_tx`], decides by a copy of its
//! first bytes, asks each receiver's card by [`Net::accepts`] and [`Net::room`], copies, has it delivered by
//! [`Net::deliver`], and gives the frame back by [`Net::complete_tx`]. [`Net::signal_tx`] and [`Net::signal_rx`] after some
//! of them decide whether a driver is interrupted.
//!
//! A frame and a room are used up before a register of their card is written: a driver that resets the card or stops a queue
//! has its buffers back at once (§2.4.1).
//!
//! # Bounds
//! One call takes one frame. It reads at most [`MAX_SEGMENTS`] descriptors with bytes of the frame, and as many again that
//! lead to them.

pub mod checksum;
mod config;
mod frame;
mod offload;
mod payload;
mod receive;
pub mod segment;
#[cfg(any(test, fuzzing))]
pub(crate) mod tests;

pub use frame::Frame;
pub use offload::{Checksum, ETHERNET, HEADER, Offload, Protocol, Segmentation};
pub use payload::PayloadError;
pub use receive::{MAX_CHAINS, Reception, Room};

use crate::memory::GuestMemory;
use crate::mmio::{CONFIG_BASE, Effect, Profile, Transport};
use crate::queue::{Backlog, Chain, Queue, QueueError};
use receive::{Need, Spread, Used};
use virtio_spec::net::F;
use virtio_spec::{DeviceStatus, FeatureBits, Id};

/// Most entries of each queue.
pub const QUEUE_SIZE_MAX: u16 = 256;
/// Most buffers of a frame. Linux uses at most 19 for one that it sends, and for one that it receives as many as chains.
pub const MAX_SEGMENTS: usize = 64;
/// Most bytes of a frame that is to be cut into segments: what fits the buffers of §5.1.6.3.1 behind the header.
pub const SEGMENTED_MAX: u32 = 65_550;

/// The queue by which the driver receives, and the one by which it sends (§5.1.2).
const RECEIVE: u16 = 0;
const TRANSMIT: u16 = 1;
const QUEUES: usize = 2;

/// Bytes of a VLAN tag (IEEE 802.1Q), which does not count against the MTU.
const VLAN_TAG: u32 = 4;
/// The least MTU that a card may have (§5.1.4.1).
const MTU_MIN: u16 = 68;

/// What a card is to its guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nic {
    /// Its address.
    pub mac: [u8; 6],
    /// Most bytes of a frame behind its Ethernet header; less than 68 count as 68.
    pub mtu: u16,
    /// The link is there.
    pub link_up: bool,
    /// It takes and gives frames that are to be cut into TCP segments.
    pub segmentation: bool,
}

impl Nic {
    /// None: all zero, for a static table.
    pub const NONE: Self = Self { mac: [0; 6], mtu: 0, link_up: false, segmentation: false };
}

/// What a register write asks of the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum NetEffect {
    /// Nothing.
    None,
    /// The driver put frames into its transmit queue.
    Transmit,
    /// The driver put buffers into its receive queue.
    Receive,
    /// The driver is running: both of them.
    Started,
    /// The driver reset the device.
    Reset,
}

/// What [`Net::next_tx`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Next {
    /// A frame, in what the caller gave for it.
    Frame,
    /// Something that no frame is, which was given back at once.
    Dropped,
    /// None; the driver notifies of the next.
    Empty,
}

/// What a receiver makes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Fit {
    /// It takes it as it is.
    AsIs,
    /// It takes it with its checksum computed ([`checksum::Completion`]) and [`Offload::None`].
    NeedsChecksum,
    /// It takes the segments that it is to be cut into ([`segment::Segments`]).
    NeedsSegments,
    /// It is longer than the receiver's MTU allows.
    TooLong,
}

/// The device.
#[derive(Clone, Debug)]
pub struct Net {
    transport: Transport<QUEUES>,
    nic: Nic,
}

impl Default for Net {
    fn default() -> Self {
        Self::NONE
    }
}

impl Net {
    /// No device, until [`Net::restart`]: all zero, for a static table.
    pub const NONE: Self = Self { transport: Transport::new(Profile::NONE), nic: Nic::NONE };

    /// Becomes this card, as after power-on.
    pub fn restart(&mut self, nic: &Nic) {
        let profile = Profile {
            id: Id::Net,
            offered: offered(nic),
            required: 0,
            queues: QUEUES as u16,
            queue_size_max: QUEUE_SIZE_MAX,
        };
        self.transport.restart(profile);
        self.nic = Nic { mtu: nic.mtu.max(MTU_MIN), ..*nic };
    }

    /// Sets whether the link is there, and tells a running driver of a change (§5.1.4.2).
    pub fn set_link(&mut self, up: bool) {
        if up != self.nic.link_up {
            self.nic.link_up = up;
            self.transport.config_changed();
        }
    }

    /// Whether the link is there.
    pub const fn is_link_up(&self) -> bool {
        self.nic.link_up
    }

    /// Answers a read of `size` bytes (1, 2, 4 or 8) at `offset` into the slot.
    pub fn read(&self, offset: u64, size: u8) -> u64 {
        if offset < CONFIG_BASE {
            self.transport.read(offset, size, &[])
        } else {
            self.transport.read(offset, size, &config::encode(&self.nic))
        }
    }

    /// Performs a write of `size` bytes at `offset` into the slot.
    pub fn write(&mut self, offset: u64, size: u8, value: u64) -> NetEffect {
        let refused = self.transport.settles_features(offset, size, value) && !self.features_agree();
        let refused_bits = if refused { DeviceStatus::FEATURES_OK.bits() } else { 0 };
        match self.transport.write(offset, size, value & !u64::from(refused_bits)) {
            Effect::None | Effect::QueueStopped(_) => NetEffect::None,
            Effect::Started => NetEffect::Started,
            Effect::Notify(RECEIVE) => NetEffect::Receive,
            Effect::Notify(_) => NetEffect::Transmit,
            Effect::Reset => NetEffect::Reset,
        }
    }

    /// Whether the slot's SPI must be pulsed now; true once for all causes since the last call.
    pub const fn take_pulse(&mut self) -> bool {
        self.transport.take_pulse()
    }

    /// Becomes what it was after power-on: its driver is gone.
    pub fn power_off(&mut self) {
        let nic = self.nic;
        self.restart(&nic);
    }

    /// Whether a driver runs, and neither side has given up.
    pub const fn is_running(&self) -> bool {
        self.transport.is_live()
    }

    /// Takes the next frame that the driver sends into `frame`.
    ///
    /// What is no frame by its length, its header or its buffers is given back unsent. A chain that is none, or whose header
    /// lies outside of the guest's memory, makes the device ask for a reset (§2.1.2), and there are no more frames.
    pub fn next_tx(&mut self, memory: &dyn GuestMemory, frame: &mut Frame) -> Next {
        let taken = self.take(memory, frame);
        self.check(taken).unwrap_or(Next::Empty)
    }

    /// Gives a frame back to the driver, sent or not.
    pub fn complete_tx(&mut self, frame: &Frame, memory: &dyn GuestMemory) {
        let given = self.give_back(TRANSMIT, &[Used { head: frame.head, written: 0 }], memory);
        let _: Option<()> = self.check(given);
    }

    /// Puts back the frame that was taken last: the next [`Net::next_tx`] reads it again. The driver need not notify of it.
    pub fn postpone_tx(&mut self) {
        if let Some(ring) = self.transport.queue(TRANSMIT) {
            ring.rewind(1);
        }
    }

    /// Interrupts the driver if it wants to hear of the frames that were given back.
    pub fn signal_tx(&mut self, memory: &dyn GuestMemory) {
        self.signal(TRANSMIT, memory);
    }

    /// What becomes of a frame of `length` bytes whose sender has left `offload` undone: a driver is given nothing that it
    /// has not accepted (§5.1.6.4.1), and nothing beyond its MTU (§5.1.4.1).
    pub const fn accepts(&self, offload: &Offload, length: u32) -> Fit {
        let accepted = self.transport.has_accepted(offload.receiver_needs());
        match offload {
            Offload::Segments(..) if !accepted => Fit::NeedsSegments,
            _ if length > self.longest(offload) => Fit::TooLong,
            Offload::Checksum(_) if !accepted => Fit::NeedsChecksum,
            _ => Fit::AsIs,
        }
    }

    /// Takes buffers of the driver for a frame of `length` bytes into `room`, or takes none.
    ///
    /// A chain that is none, is not for receiving, or is too short for the header, makes the device ask for a reset (§2.1.2).
    pub fn room(&mut self, length: u32, memory: &dyn GuestMemory, room: &mut Room) -> Reception {
        room.clear();
        let spread = if self.transport.has_accepted(bits(F::MRG_RXBUF)) { Spread::Merged } else { Spread::Single };
        let Some(ring) = self.transport.queue(RECEIVE) else {
            return Reception::Off;
        };
        let taken = room.take(ring, Need { length, spread }, memory);
        self.check(taken).unwrap_or(Reception::Off)
    }

    /// Gives the driver the frame that was copied to `room`, which is [`Net::accepts`]'s: what else `offload` says it is not
    /// told.
    pub fn deliver(&mut self, room: &Room, offload: &Offload, memory: &dyn GuestMemory) {
        let delivered = self.hand_over(room, offload, memory);
        let _: Option<()> = self.check(delivered);
    }

    /// Puts back the room that was taken last, if no frame came to it.
    pub fn cancel_rx(&mut self, room: &Room) {
        if let Some(ring) = self.transport.queue(RECEIVE) {
            ring.rewind(room.chain_count());
        }
    }

    /// Interrupts the driver if it wants to hear of the frames that it was given.
    pub fn signal_rx(&mut self, memory: &dyn GuestMemory) {
        self.signal(RECEIVE, memory);
    }

    /// Makes the device ask for a reset (§2.1.2): the caller found a buffer that is not the guest's RAM.
    pub fn fail(&mut self) {
        self.transport.fail();
    }

    /// Most bytes of a frame of this kind (§5.1.4.1).
    const fn longest(&self, offload: &Offload) -> u32 {
        if offload.is_segmented() { SEGMENTED_MAX } else { ETHERNET + VLAN_TAG + self.nic.mtu as u32 }
    }

    /// Whether each feature that the driver has accepted has those that it needs (§5.1.3.1).
    fn features_agree(&self) -> bool {
        F::from_bits_retain(u128::from(self.transport.accepted()).into()).requirements_satisfied()
    }

    /// Unpacks a result; a broken queue makes the device ask for a reset.
    fn check<T>(&mut self, result: Result<T, QueueError>) -> Option<T> {
        if result.is_err() {
            self.transport.fail();
        }
        result.ok()
    }

    fn take(&mut self, memory: &dyn GuestMemory, frame: &mut Frame) -> Result<Next, QueueError> {
        let Some(ring) = self.transport.queue(TRANSMIT) else {
            return Ok(Next::Empty);
        };
        let Some(chain) = next_chain(ring, memory)? else {
            return Ok(Next::Empty);
        };
        if frame.parse(chain, memory)? && self.may_send(frame) {
            return Ok(Next::Frame);
        }
        self.give_back(TRANSMIT, &[Used { head: frame.head, written: 0 }], memory)?;
        Ok(Next::Dropped)
    }

    /// Whether the driver may send such a frame, by its length and by the features it has accepted.
    fn may_send(&self, frame: &Frame) -> bool {
        let lengths = ETHERNET..=self.longest(&frame.offload);
        lengths.contains(&frame.length) && self.transport.has_accepted(frame.offload.sender_needs())
    }

    /// The queue, if `count` chains of it can be given back: what was taken before a reset is not the new ring's.
    fn lender(&mut self, queue: u16, count: usize) -> Option<&mut Queue> {
        self.transport.queue(queue).filter(|ring| count > 0 && usize::from(ring.in_flight()) >= count)
    }

    /// Gives chains back so that the driver sees all of them or none: those of one frame belong together (§5.1.6.4.1).
    fn give_back(&mut self, queue: u16, chains: &[Used], memory: &dyn GuestMemory) -> Result<(), QueueError> {
        let Some(ring) = self.lender(queue, chains.len()) else {
            return Ok(());
        };
        for chain in chains {
            ring.stage_used(memory, chain.head, chain.written)?;
        }
        ring.publish_used(memory)
    }

    fn hand_over(&mut self, room: &Room, offload: &Offload, memory: &dyn GuestMemory) -> Result<(), QueueError> {
        if self.lender(RECEIVE, room.chains.len()).is_none() {
            return Ok(());
        }
        // Without GUEST_CSUM no flag stands at all.
        let checked = self.transport.has_accepted(bits(F::GUEST_CSUM) | offload.receiver_needs());
        room.write_header(if checked { offload } else { &Offload::None }, memory)?;
        self.give_back(RECEIVE, &room.chains, memory)
    }

    fn signal(&mut self, queue: u16, memory: &dyn GuestMemory) {
        let wanted = match self.transport.queue(queue) {
            Some(ring) => ring.should_notify(memory),
            None => Ok(false),
        };
        if self.check(wanted) == Some(true) {
            self.transport.signal_used();
        }
    }
}

/// The next chain; where there is none, the driver notifies of the next.
fn next_chain(queue: &mut Queue, memory: &dyn GuestMemory) -> Result<Option<Chain>, QueueError> {
    match queue.pop(memory)? {
        // What came in between is looked for once: a driver that takes its index back again and again keeps nobody here.
        None if queue.arm(memory)? == Backlog::Waiting => queue.pop(memory),
        found => Ok(found),
    }
}

/// The feature bits of a card.
fn offered(nic: &Nic) -> u64 {
    let mut features = F::MAC | F::MTU | F::STATUS | F::CSUM | F::GUEST_CSUM | F::MRG_RXBUF;
    let segments = F::HOST_TSO4 | F::HOST_TSO6 | F::HOST_ECN | F::GUEST_TSO4 | F::GUEST_TSO6 | F::GUEST_ECN;
    features.set(segments, nic.segmentation);
    bits(features)
}

/// The low 64 of the specification's 128 feature bits.
const fn bits(features: F) -> u64 {
    features.bits().to_ne() as u64
}
