//! Control messages of the multiport console (virtio 1.2 §5.3.6.1): what the driver says, what
//! is due to it, and their bytes.

use super::PortId;
use crate::memory::GuestMemory;
use crate::queue::{Backlog, Chain, Direction, Queue, QueueError, Step};
use virtio_spec::console::{Control, Device as Event};
use zerocopy::{FromZeros, IntoBytes};

/// Bytes of struct virtio_console_control.
const HEADER: usize = size_of::<Control>();

/// Name of a port without its number, as `/sys/class/virtio-ports/*/name` shows it.
const PORT_NAME: &[u8] = b"org.dormouse.mgmt.";

/// A message of the driver that the device acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ControlMessage {
    /// The driver takes control messages; the device has told it of no port yet.
    DeviceReady,
    /// The driver has set up this port.
    PortReady(u32),
    /// A process opened this port.
    PortOpened(u32),
    /// The process closed this port, or ended.
    PortClosed(u32),
}

impl ControlMessage {
    /// The message in `control`; `None` for what a driver does not send and for its failures,
    /// after which there is nothing to do.
    fn decode(control: &Control) -> Option<Self> {
        let port = control.id.to_ne();
        match (Event::try_from(control.event.to_ne()).ok()?, control.value.to_ne()) {
            (Event::DeviceReady, 1) => Some(Self::DeviceReady),
            (Event::PortReady, 1) => Some(Self::PortReady(port)),
            (Event::PortOpen, 1) => Some(Self::PortOpened(port)),
            (Event::PortOpen, 0) => Some(Self::PortClosed(port)),
            _ => None,
        }
    }

    /// The port it names, not checked to exist.
    pub(super) const fn port(self) -> Option<u32> {
        match self {
            Self::DeviceReady => None,
            Self::PortReady(port) | Self::PortOpened(port) | Self::PortClosed(port) => Some(port),
        }
    }
}

/// The messages due to the driver for one port. A set, not a list: however often a driver asks,
/// it does not grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outgoing {
    /// PORT_ADD (1, "DEVICE_ADD" in the specification's text).
    pub(super) add: bool,
    /// PORT_NAME.
    pub(super) name: bool,
    /// PORT_OPEN with value 1: the host's side is always open.
    pub(super) open: bool,
}

impl Outgoing {
    /// Nothing due.
    pub(super) const NONE: Self = Self { add: false, name: false, open: false };

    /// The message to send first. The name goes before the open, so that who waits for the port
    /// finds it by name.
    pub(super) const fn first(self) -> Option<Event> {
        match self {
            Self { add: true, .. } => Some(Event::DeviceAdd),
            Self { name: true, .. } => Some(Event::PortName),
            Self { open: true, .. } => Some(Event::PortOpen),
            _ => None,
        }
    }

    /// Takes a sent message off.
    pub(super) const fn sent(&mut self, event: Event) {
        match event {
            Event::DeviceAdd => self.add = false,
            Event::PortName => self.name = false,
            Event::PortOpen => self.open = false,
            _ => {}
        }
    }
}

/// Gathers the driver's message from a chain. A message longer than the header is taken by its
/// header; a shorter one is none.
///
/// # Errors
/// If the chain is bad. Every buffer has at least one byte, so at most [`HEADER`] descriptors
/// and one indirect table are read.
pub(super) fn receive(chain: &mut Chain, memory: &dyn GuestMemory) -> Result<Option<ControlMessage>, QueueError> {
    let mut control = Control::new_zeroed();
    let mut left = control.as_mut_bytes();
    while !left.is_empty() {
        let segment = match chain.advance(memory)? {
            Step::Segment(segment) => segment,
            Step::Table => continue,
            Step::End => return Ok(None),
        };
        if segment.direction != Direction::Readable {
            return Err(QueueError::Direction(chain.head()));
        }
        let count = left.len().min(segment.length as usize);
        let (piece, rest) = left.split_at_mut(count);
        memory.read(segment.ipa, piece)?;
        left = rest;
    }
    Ok(ControlMessage::decode(&control))
}

/// A message to the driver, in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Encoded {
    bytes: [u8; HEADER + PORT_NAME.len() + 1],
    length: usize,
}

impl Encoded {
    /// The message `event` for `port`, value 1.
    pub(super) fn new(port: PortId, event: Event) -> Self {
        let control = Control { id: u32::from(port.number()).into(), event: u16::from(event).into(), value: 1.into() };
        let number = [b'0' + port.number()];
        // The name ends with the message, without a NUL (§5.3.6.1).
        let name: &[&[u8]] = if event == Event::PortName { &[PORT_NAME, &number] } else { &[] };
        let mut message = Self { bytes: [0; HEADER + PORT_NAME.len() + 1], length: 0 };
        let parts = control.as_bytes().iter().chain(name.iter().copied().flatten());
        for (byte, &source) in message.bytes.iter_mut().zip(parts) {
            *byte = source;
            message.length += 1;
        }
        message
    }

    fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or(&[])
    }
}

/// Takes the next buffer for a message; when there is none, the driver notifies of the next.
///
/// # Errors
/// If the ring is bad.
pub(super) fn next_buffer(queue: &mut Queue, memory: &dyn GuestMemory) -> Result<Option<Chain>, QueueError> {
    match queue.pop(memory)? {
        Some(chain) => Ok(Some(chain)),
        None if queue.arm(memory)? == Backlog::Waiting => queue.pop(memory),
        None => Ok(None),
    }
}

/// Writes `message` into a chain and gives it back. What does not fit is cut off: a driver that
/// gives less than a page has itself to blame.
///
/// # Errors
/// If the chain or the used ring is bad. Every buffer has at least one byte, so the message's
/// length bounds the descriptors read.
pub(super) fn send(
    queue: &mut Queue,
    memory: &dyn GuestMemory,
    mut chain: Chain,
    message: &Encoded,
) -> Result<(), QueueError> {
    let mut left = message.as_slice();
    while !left.is_empty() {
        let segment = match chain.advance(memory)? {
            Step::Segment(segment) => segment,
            Step::Table => continue,
            Step::End => break,
        };
        if segment.direction != Direction::Writable {
            return Err(QueueError::Direction(chain.head()));
        }
        let (piece, rest) = left.split_at(left.len().min(segment.length as usize));
        memory.write(segment.ipa, piece)?;
        left = rest;
    }
    let written = message.length - left.len();
    queue.push_used(memory, chain.head(), written as u32)
}
