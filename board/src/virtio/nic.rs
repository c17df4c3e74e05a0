//! A network card (virtio 1.2 §5.1): frames in buffers of the driver's own, which only EL2 and the card touch.
//!
//! A queue for each direction. Who uses the driver copies frames out of and into its buffers, by their addresses. A frame has
//! one buffer: the card neither merges buffers nor segments frames. It may leave checksums to others, and have them left to it.

use hv_core::addr::Pa;
use virtio_drivers::transport::{InterruptStatus, SomeTransport, Transport};

use super::link::Link;
use super::ring::{Piece, Ring, SLOTS};
use super::{DmaMemory, EVENT_IDX, Found, VirtioError, begin, configuration, install, needs_reset, negotiate, reset};
use crate::barrier;

/// Frames of a direction that the card has at most.
pub const DEPTH: usize = SLOTS as usize;
/// Bytes of struct virtio_net_hdr, before each frame (§5.1.6).
pub const HEADER: usize = 12;
/// Bytes of the longest frame that can be received.
pub const FRAME_MAX: u32 = (BUFFER - HEADER) as u32;
/// Bytes of memory that a card needs for its frames.
pub const MEMORY: u64 = (2 * Frames::SIZE).next_multiple_of(4096) as u64;
/// Bytes of a buffer: a header and a frame. Frames of 1,514 bytes have to fit (§5.1.6.3.1).
const BUFFER: usize = 1536;

/// A queue: a slot's own bytes are its buffer.
type Frames = Ring<1, BUFFER>;

/// Feature bits (§5.1.3).
pub(super) const CSUM: u64 = 1 << 0;
const GUEST_CSUM: u64 = 1 << 1;
pub(super) const MTU: u64 = 1 << 3;
pub(super) const MAC: u64 = 1 << 5;
const STATUS: u64 = 1 << 16;
const WANTED: u64 = CSUM | GUEST_CSUM | MTU | MAC | STATUS | EVENT_IDX;

/// receiveq1 and transmitq1 (§5.1.2).
const RECEIVE: u16 = 0;
const TRANSMIT: u16 = 1;

/// In struct virtio_net_config (§5.1.4): the status, of which bit 0 is VIRTIO_NET_S_LINK_UP, and the MTU.
const STATUS_FIELD: usize = 6;
const LINK_UP: u16 = 1;
const MTU_FIELD: usize = 10;
/// The least MTU that a card may name (§5.1.4.1), and the greatest that is used.
const MTU_MIN: u16 = 68;
const MTU_MAX: u16 = 1500;

/// Bytes before a frame's payload: two addresses and a type, and a VLAN's tag between them.
const ETHERNET: u32 = 14;
const TAG: u32 = 4;

/// What a card is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shape {
    /// Its address, where it has one.
    pub mac: Option<[u8; 6]>,
    /// Bytes of a frame's payload at most, from 68 to 1,500.
    pub mtu: u16,
    /// It completes the checksum of a frame whose header asks for that (VIRTIO_NET_HDR_F_NEEDS_CSUM).
    pub checksum: bool,
}

impl Shape {
    /// Bytes of the longest frame that can be sent.
    pub const fn longest(&self) -> u32 {
        ETHERNET + TAG + self.mtu as u32
    }
}

/// A frame that has come. Its buffer stays its own until [`Nic::give_back`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Received {
    /// The buffer.
    pub slot: u16,
    /// Bytes of the frame, up to [`FRAME_MAX`].
    pub length: u32,
    /// What the card says of it: struct virtio_net_hdr, a copy.
    pub header: [u8; HEADER],
}

/// A card that is in use.
#[derive(Debug)]
pub struct Nic {
    transport: Link,
    receive: Frames,
    transmit: Frames,
    shape: Shape,
    /// Its status says whether there is a link.
    tells_link: bool,
}

impl Nic {
    /// Brings a card up, with all receive buffers in its hands. Its memory is of [`MEMORY`] bytes.
    ///
    /// # Errors
    ///
    /// It is not what EL2 can use; then it is reset, or fails to be.
    pub fn start(found: Found, memory: DmaMemory) -> Result<Self, VirtioError> {
        let mut transport = found.link;
        let (features, shape, [receive, transmit]) = match prepare(&mut transport, memory) {
            Ok(prepared) => prepared,
            Err(error) => return Err(reset(&mut *transport).err().unwrap_or(error)),
        };
        begin(&mut *transport);
        let mut nic = Self { transport, receive, transmit, shape, tells_link: features & STATUS != 0 };
        // It is told of its buffers only when it has begun (§3.1.1).
        nic.refill_notify();
        Ok(nic)
    }

    /// What it is.
    pub const fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Whether there is a link; a card that does not tell always has one.
    pub fn link_is_up(&self) -> bool {
        let up = |status: u16| status & LINK_UP != 0;
        !self.tells_link || self.transport.read_config_space(STATUS_FIELD).is_ok_and(up)
    }

    /// A frame that has come, and is its taker's until it is given back.
    ///
    /// # Errors
    ///
    /// The card gives back what it was not given, or has written what cannot be: nothing that it says can be believed any
    /// more, and it is to be stopped.
    pub fn received(&mut self) -> Result<Option<Received>, VirtioError> {
        let Some((slot, written)) = self.receive.done()? else {
            return Ok(None);
        };
        // A header is always written (§5.1.6.4.1). What is shorter is a frame of no bytes, and no reason to do without the card.
        let length = written.saturating_sub(HEADER as u32);
        if length > FRAME_MAX {
            return Err(VirtioError::Written(written));
        }
        let mut header = [0; HEADER];
        for (index, word) in header.as_chunks_mut().0.iter_mut().enumerate() {
            *word = self.receive.read_own::<u32>(slot, 4 * index).to_ne_bytes();
        }
        Ok(Some(Received { slot, length, header }))
    }

    /// Where the first byte of a frame that has come is.
    pub fn frame(&self, slot: u16) -> Pa {
        self.receive.own(slot, HEADER)
    }

    /// The card can have the buffer of a frame for another one. Nothing happens where the card has it already.
    pub fn give_back(&mut self, slot: u16) {
        if self.receive.holds(slot) {
            self.receive.submit(slot, 1);
        }
    }

    /// Tells the card of buffers that were given back, if it wants to hear of them.
    pub fn refill_notify(&mut self) {
        if self.receive.must_notify() {
            self.tell(RECEIVE);
        }
    }

    /// Frames that can be sent before [`Nic::reclaim`] is needed.
    pub const fn free(&self) -> u32 {
        self.transmit.free()
    }

    /// A place for a frame of up to [`Shape::longest`] bytes, and where its first byte goes; `None` where the card has
    /// [`DEPTH`] of them. It is sent or cancelled.
    pub fn place(&mut self) -> Option<(u16, Pa)> {
        let slot = self.transmit.take()?;
        Some((slot, self.transmit.own(slot, HEADER)))
    }

    /// Sends the `length` bytes that were put at a place, with a struct virtio_net_hdr that asks for nothing that
    /// [`Shape`] does not have (§5.1.6.2.1). `false` where that is no frame, or no place: it is cancelled.
    pub fn send(&mut self, slot: u16, header: [u8; HEADER], length: u32) -> bool {
        if !self.transmit.holds(slot) || !(ETHERNET..=self.shape.longest()).contains(&length) {
            self.cancel(slot);
            return false;
        }
        for (index, word) in header.as_chunks().0.iter().enumerate() {
            self.transmit.write_own(slot, 4 * index, u32::from_ne_bytes(*word));
        }
        let address = self.transmit.own(slot, 0);
        self.transmit.describe(slot, 0, &Piece { address, length: HEADER as u32 + length, writable: false });
        self.transmit.submit(slot, 1);
        true
    }

    /// Gives a place back from which nothing is sent. Nothing happens where the card has it.
    pub const fn cancel(&mut self, slot: u16) {
        if self.transmit.holds(slot) {
            self.transmit.release(slot);
        }
    }

    /// Tells the card of what was sent, if it wants to hear of it.
    pub fn notify(&mut self) {
        if self.transmit.must_notify() {
            self.tell(TRANSMIT);
        }
    }

    fn tell(&mut self, queue: u16) {
        barrier::before_device();
        self.transport.notify(queue);
    }

    /// Takes the places back of what has been sent: how many. An interrupt that [`Nic::want_room`] asked for is not
    /// wanted any more where it was some.
    ///
    /// # Errors
    ///
    /// As of [`Nic::received`].
    pub fn reclaim(&mut self) -> Result<u32, VirtioError> {
        let mut count = 0;
        // It writes nothing into a frame to be sent, so what it says to have written has no meaning. There are no more of
        // them than slots.
        while let Some((slot, _)) = self.transmit.done()? {
            self.transmit.release(slot);
            count += 1;
        }
        if count > 0 {
            self.transmit.quiet();
        }
        Ok(count)
    }

    /// Asks for an interrupt when there is room for `count` frames, of which there is none for the last, or sooner: as soon as
    /// one has been sent. Whether there is meanwhile.
    pub fn want_room(&mut self, count: u32) -> bool {
        let missing = count.min(DEPTH as u32).saturating_sub(self.free()).max(1);
        self.transmit.arm_behind(missing as u16 - 1)
    }

    /// Takes its interrupt back. Whether its configuration has changed, which is how it tells of its link (§5.1.4), and
    /// that it needs a reset.
    pub fn acknowledge(&mut self) -> bool {
        self.transport.ack_interrupt().contains(InterruptStatus::DEVICE_CONFIGURATION_INTERRUPT)
    }

    /// Asks for an interrupt when the next frame comes. Whether one came meanwhile.
    pub fn arm(&mut self) -> bool {
        self.receive.arm()
    }

    /// Asks for no interrupts of frames that come, until [`Nic::arm`]; one may come all the same.
    pub fn quiet(&mut self) {
        self.receive.quiet();
    }

    /// Whether it says that it does not go on without a reset.
    pub fn needs_reset(&self) -> bool {
        needs_reset(&*self.transport)
    }

    /// Resets it for good. Afterwards it uses no memory, nothing is received, and there is no place for what is to be sent.
    ///
    /// # Errors
    ///
    /// It does not come out of reset: it may still use its memory.
    pub fn stop(&mut self) -> Result<(), VirtioError> {
        reset(&mut *self.transport)?;
        self.receive.close();
        self.transmit.close();
        Ok(())
    }
}

/// Agrees with a card on everything: features, what it is, and its queues.
fn prepare(
    transport: &mut SomeTransport<'static>,
    memory: DmaMemory,
) -> Result<(u64, Shape, [Frames; 2]), VirtioError> {
    let features = agree(transport)?;
    let shape = configuration(transport, |transport| read_shape(transport, features))?;
    let [mut receive, mut transmit] =
        memory.split(Frames::SIZE).map(|part| Frames::new(part, features & EVENT_IDX != 0));
    install(transport, RECEIVE, &receive)?;
    install(transport, TRANSMIT, &transmit)?;
    while let Some(slot) = receive.take() {
        let address = receive.own(slot, 0);
        receive.describe(slot, 0, &Piece { address, length: BUFFER as u32, writable: true });
        receive.submit(slot, 1);
    }
    // What was sent is asked for when places are few.
    transmit.quiet();
    Ok((features, shape, [receive, transmit]))
}

/// Features. Who takes the card's MTU has buffers for frames of that size (§5.1.4.2): a greater one is not taken.
fn agree(transport: &mut SomeTransport<'static>) -> Result<u64, VirtioError> {
    let features = negotiate(transport, 0, WANTED)?;
    let mtu = |transport: &SomeTransport<'_>| transport.read_config_space::<u16>(MTU_FIELD);
    if features & MTU != 0 && configuration(transport, mtu)? > MTU_MAX {
        return negotiate(transport, 0, WANTED & !MTU);
    }
    Ok(features)
}

/// struct virtio_net_config (§5.1.4), as far as features say that it is there.
pub(super) fn read_shape(transport: &SomeTransport<'_>, features: u64) -> virtio_drivers::Result<Shape> {
    let mut mac = None;
    if features & MAC != 0 {
        let bytes = mac.insert([0; 6]);
        for (offset, byte) in bytes.iter_mut().enumerate() {
            *byte = transport.read_config_space(offset)?;
        }
    }
    let mtu = if features & MTU != 0 { transport.read_config_space(MTU_FIELD)? } else { MTU_MAX };
    Ok(Shape { mac, mtu: mtu.clamp(MTU_MIN, MTU_MAX), checksum: features & CSUM != 0 })
}
