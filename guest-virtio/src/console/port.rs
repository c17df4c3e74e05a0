//! One port of the console: its name to both sides, and whether a process of the guest has it
//! open.

use super::control::Outgoing;
use thiserror::Error;

/// Most ports that a console has.
pub const MAX_PORTS: usize = 4;

/// A port of a console, below [`MAX_PORTS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PortId(pub(super) u8);

impl PortId {
    /// The port numbered `number`, if a console can have it.
    pub const fn new(number: u32) -> Option<Self> {
        if number < MAX_PORTS as u32 { Some(Self(number as u8)) } else { None }
    }

    /// The port's number: N of `org.dormouse.mgmt.N`.
    pub const fn number(self) -> u8 {
        self.0
    }

    /// Its place in a table of ports.
    pub(super) const fn index(self) -> usize {
        self.0 as usize
    }

    /// Queue that the port's bytes to the driver go through: 0, 4, 6, 8 (§5.3.2).
    pub(super) const fn receive_queue(self) -> u16 {
        if self.0 == 0 { 0 } else { 2 * self.0 as u16 + 2 }
    }

    /// Queue that the port's bytes from the driver go through: 1, 5, 7, 9.
    pub(super) const fn transmit_queue(self) -> u16 {
        self.receive_queue() + 1
    }
}

/// Why a port takes no bytes for the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PortError {
    /// The console does not have this port.
    #[error("console: no port {0}")]
    NoSuchPort(u8),
    /// No process of the guest has the port open, or an event of it is unread. The bytes have no
    /// reader and are to be dropped.
    #[error("console: port {0} is closed")]
    Closed(u8),
}

/// What a guest's process did with a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortEvent {
    /// The port was opened; its bytes belong to a new conversation.
    Opened(PortId),
    /// The port was closed, or the device was reset. A partial message and outstanding answers
    /// are void.
    Closed(PortId),
}

/// A port's state.
#[derive(Clone, Copy, Debug)]
pub(super) struct Port {
    pub(super) is_open: bool,
    closed_unread: bool,
    opened_unread: bool,
    /// Control messages due for the port.
    pub(super) outgoing: Outgoing,
}

impl Port {
    pub(super) const fn new() -> Self {
        Self { is_open: false, closed_unread: false, opened_unread: false, outgoing: Outgoing::NONE }
    }

    /// A process opened the port.
    pub(super) const fn open(&mut self) {
        self.opened_unread |= !self.is_open;
        self.is_open = true;
    }

    /// The process closed the port, or the driver is gone.
    pub(super) const fn close(&mut self) {
        // An opening that was never read carried no byte and needs no end.
        self.closed_unread |= self.is_open && !self.opened_unread;
        self.opened_unread = false;
        self.is_open = false;
    }

    /// Whether bytes may move: open, and the caller knows.
    pub(super) const fn is_connected(&self) -> bool {
        self.is_open && !self.opened_unread && !self.closed_unread
    }

    /// Whether the caller has yet to read an event of the port.
    pub(super) const fn has_unread_event(&self) -> bool {
        self.closed_unread || self.opened_unread
    }

    /// Takes the port's next event, `Closed` before `Opened`.
    pub(super) fn take_event(&mut self, id: PortId) -> Option<PortEvent> {
        if core::mem::take(&mut self.closed_unread) {
            return Some(PortEvent::Closed(id));
        }
        core::mem::take(&mut self.opened_unread).then_some(PortEvent::Opened(id))
    }
}
