//! A multiport virtio console (virtio 1.2 §5.3) whose ports carry bytes between a guest's
//! processes and EL2. None of them is a terminal: CONSOLE_PORT is never sent, so Linux makes a
//! character device of each and no hvc console.
//!
//! Owns the transport, the control queue's handshake and whether each port is open. What the
//! bytes mean is the caller's business; they are copied from and to the guest's buffers and
//! nothing of them is kept here.
//!
//! # Use
//! After each [`Console::write`] the caller does what the [`ConsoleEffect`] says, then pulses the
//! SPI if [`Console::take_pulse`] says so. It reads [`Console::poll_port_event`] before it moves
//! a port's bytes: while an event of a port is unread, that port moves none, so the bytes of two
//! processes that open a port after each other never mix.
//!
//! # Bounds
//! One call moves at most [`MAX_BYTES_PER_CALL`] bytes and reads at most
//! [`MAX_DESCRIPTORS_PER_CALL`] descriptors; serving the control queues takes at most one
//! ring's worth of messages. [`Backlog::Waiting`] says that a call left something behind.

mod control;
mod port;
#[cfg(any(test, fuzzing))]
pub(crate) mod tests;
mod transfer;

use crate::memory::GuestMemory;
use crate::mmio::{Effect, Profile, Transport};
use crate::queue::{Backlog, QueueError};
use control::{ControlMessage, Encoded, Outgoing};
use port::Port;
use virtio_spec::Id;
use virtio_spec::console::F;

pub use port::{MAX_PORTS, PortError, PortEvent, PortId};
pub use transfer::{MAX_BYTES_PER_CALL, MAX_DESCRIPTORS_PER_CALL, MAX_PIECE, Sink};

/// Most entries of each queue. Linux fills each receive queue with one page for each entry.
pub const QUEUE_SIZE_MAX: u16 = 16;

/// Two queues for each port and two for control messages (§5.3.2).
const QUEUES: usize = 2 * (MAX_PORTS + 1);
/// Queue of control messages to the driver.
const CONTROL_RECEIVE: u16 = 2;
/// Queue of control messages from the driver.
const CONTROL_TRANSMIT: u16 = 3;

/// Bytes of the configuration space: cols, rows, max_nr_ports, emerg_wr (§5.3.4).
const CONFIG: usize = 12;

const _: () = assert!(QUEUE_SIZE_MAX.is_power_of_two(), "virtio 1.2 §2.7");

/// What a register write asks of the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum ConsoleEffect {
    /// Nothing.
    None,
    /// Call [`Console::serve_control`], then read the port events.
    Control,
    /// The driver put bytes into this port: call [`Console::take_tx`].
    Transmit(PortId),
    /// The driver gave this port buffers: bytes that wait for it can go by [`Console::give_rx`].
    Receive(PortId),
    /// The driver is running: all of the above, for each port.
    Started,
    /// The driver reset the device: read the port events.
    Reset,
}

/// What [`Console::take_tx`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Taken {
    /// Bytes that the sink took.
    pub bytes: usize,
    /// With [`Backlog::Waiting`] the caller calls again when it can take more: the driver will
    /// not notify of what it has put there already.
    pub backlog: Backlog,
}

/// The device: registers, queues and ports.
#[derive(Clone, Debug)]
pub struct Console {
    transport: Transport<QUEUES>,
    ports: [Port; MAX_PORTS],
    port_count: u8,
}

impl Console {
    /// No device, until [`Console::restart`]: all zero, for a static table.
    pub const NONE: Self =
        Self { transport: Transport::new(Profile::NONE), ports: [Port::new(); MAX_PORTS], port_count: 0 };

    /// A console with `port_count` ports, 1 to [`MAX_PORTS`]; other numbers count as the nearest.
    pub fn new(port_count: u8) -> Self {
        let mut console = Self::NONE;
        console.restart(port_count);
        console
    }

    /// Becomes the same as [`Console::new`].
    pub fn restart(&mut self, port_count: u8) {
        let port_count = match port_count {
            0 => 1,
            1..=3 => port_count,
            _ => MAX_PORTS as u8,
        };
        let multiport = F::MULTIPORT.bits().to_ne() as u64;
        let profile = Profile {
            id: Id::Console,
            offered: multiport,
            // Without it port 0 would be the guest's console (§5.3.5), which no port here is.
            required: multiport,
            queues: 2 * (port_count as u16 + 1),
            queue_size_max: QUEUE_SIZE_MAX,
        };
        self.transport.restart(profile);
        self.ports = [Port::new(); MAX_PORTS];
        self.port_count = port_count;
    }

    /// Answers a read of `size` bytes (1, 2, 4 or 8) at `offset` into the slot.
    pub fn read(&self, offset: u64, size: u8) -> u64 {
        self.transport.read(offset, size, &self.config())
    }

    /// Performs a write of `size` bytes at `offset` into the slot.
    pub fn write(&mut self, offset: u64, size: u8, value: u64) -> ConsoleEffect {
        match self.transport.write(offset, size, value) {
            Effect::None => ConsoleEffect::None,
            Effect::Started => ConsoleEffect::Started,
            Effect::Notify(queue) => self.notified(queue),
            Effect::QueueStopped(_) => ConsoleEffect::None,
            Effect::Reset => {
                self.close_all();
                ConsoleEffect::Reset
            }
        }
    }

    /// Whether the slot's SPI must be pulsed now; true once for all causes since the last call.
    pub const fn take_pulse(&mut self) -> bool {
        self.transport.take_pulse()
    }

    /// Handles the driver's control messages and sends those that are due, as far as it has
    /// given buffers for them. Bad messages are dropped.
    ///
    /// Linux waits for its control messages in a loop without sleeping: this is to be called at
    /// the notification, and again while it returns [`Backlog::Waiting`].
    pub fn serve_control(&mut self, memory: &dyn GuestMemory) -> Backlog {
        let served = self.receive_control(memory).and_then(|backlog| {
            self.send_control(memory)?;
            Ok(backlog)
        });
        self.check(served).unwrap_or(Backlog::Empty)
    }

    /// Moves up to `budget` bytes that the driver put into `port` to `sink`, in order.
    ///
    /// The sink returns how many bytes of a piece it took. What it does not take stays, and
    /// ends the call. At most [`MAX_BYTES_PER_CALL`] bytes go by one call, in pieces of at most
    /// [`MAX_PIECE`]. Bytes for a closed port are dropped.
    pub fn take_tx(&mut self, port: PortId, memory: &dyn GuestMemory, budget: usize, sink: Sink<'_>) -> Taken {
        let nothing = Taken { bytes: 0, backlog: Backlog::Empty };
        let Some(&state) = self.port(port) else {
            return nothing;
        };
        let Some(queue) = self.transport.queue(port.transmit_queue()) else {
            return nothing;
        };
        let result = if state.is_connected() {
            transfer::drain(queue, memory, budget, sink)
        } else if state.has_unread_event() {
            return Taken { bytes: 0, backlog: Backlog::Waiting };
        } else {
            queue.discard(memory).map(|backlog| Taken { bytes: 0, backlog })
        };
        let notified = self.signal(port.transmit_queue(), memory);
        let result = result.and_then(|taken| notified.map(|()| taken));
        self.check(result).unwrap_or(nothing)
    }

    /// Copies `bytes` into the buffers that the driver gave `port`, as far as there is room, and
    /// returns how many went. At most [`MAX_BYTES_PER_CALL`] go by one call; each call fills
    /// buffers of its own. After a call by which none went, the driver notifies of its next
    /// buffer ([`ConsoleEffect::Receive`]).
    ///
    /// # Errors
    /// If the port does not exist or nobody has it open.
    pub fn give_rx(&mut self, port: PortId, memory: &dyn GuestMemory, bytes: &[u8]) -> Result<usize, PortError> {
        self.connected(port)?;
        let Some(queue) = self.transport.queue(port.receive_queue()) else {
            return Ok(0);
        };
        let result = transfer::fill(queue, memory, bytes);
        let notified = self.signal(port.receive_queue(), memory);
        Ok(self.check(result.and_then(|count| notified.map(|()| count))).unwrap_or(0))
    }

    /// Whether [`Console::give_rx`] would move at least one byte. If not, and the port is open,
    /// the driver notifies of its next buffer.
    pub fn rx_room(&mut self, port: PortId, memory: &dyn GuestMemory) -> bool {
        if self.connected(port).is_err() {
            return false;
        }
        let Some(queue) = self.transport.queue(port.receive_queue()) else {
            return false;
        };
        let room = match queue.backlog(memory) {
            Ok(Backlog::Empty) => queue.arm(memory),
            found => found,
        };
        self.check(room) == Some(Backlog::Waiting)
    }

    /// The next unread event, a port's `Closed` before its `Opened`.
    pub fn poll_port_event(&mut self) -> Option<PortEvent> {
        let mut ports = (0..).map(PortId).zip(&mut self.ports);
        ports.find_map(|(id, port)| port.take_event(id))
    }

    /// struct virtio_console_config: no SIZE and no EMERG_WRITE, so only max_nr_ports counts.
    fn config(&self) -> [u8; CONFIG] {
        let mut config = [0; CONFIG];
        config[4] = self.port_count;
        config
    }

    fn port(&self, port: PortId) -> Option<&Port> {
        self.ports.iter().take(usize::from(self.port_count)).nth(port.index())
    }

    fn port_mut(&mut self, number: u32) -> Option<(PortId, &mut Port)> {
        let port = PortId::new(number).filter(|port| port.0 < self.port_count)?;
        Some((port, self.ports.get_mut(port.index())?))
    }

    fn connected(&self, port: PortId) -> Result<(), PortError> {
        match self.port(port) {
            None => Err(PortError::NoSuchPort(port.0)),
            Some(state) if state.is_connected() => Ok(()),
            Some(_) => Err(PortError::Closed(port.0)),
        }
    }

    const fn notified(&self, queue: u16) -> ConsoleEffect {
        let port = PortId(match queue {
            CONTROL_RECEIVE | CONTROL_TRANSMIT => return ConsoleEffect::Control,
            0 | 1 => 0,
            // The transport notifies only of queues that the console has.
            _ => ((queue - 2) / 2) as u8,
        });
        if queue & 1 == 0 { ConsoleEffect::Receive(port) } else { ConsoleEffect::Transmit(port) }
    }

    /// Interrupts the driver if it wants to hear of what was given back on `queue`.
    fn signal(&mut self, queue: u16, memory: &dyn GuestMemory) -> Result<(), QueueError> {
        let Some(ring) = self.transport.queue(queue) else {
            return Ok(());
        };
        if ring.should_notify(memory)? {
            self.transport.signal_used();
        }
        Ok(())
    }

    /// Unpacks a result; a broken queue makes the device ask for a reset and closes its ports.
    fn check<T>(&mut self, result: Result<T, QueueError>) -> Option<T> {
        if result.is_err() {
            self.transport.fail();
            self.close_all();
        }
        result.ok()
    }

    fn close_all(&mut self) {
        for port in &mut self.ports {
            port.close();
            port.outgoing = Outgoing::NONE;
        }
    }

    /// Takes at most one ring's worth of control messages.
    fn receive_control(&mut self, memory: &dyn GuestMemory) -> Result<Backlog, QueueError> {
        for _ in 0..QUEUE_SIZE_MAX {
            let Some(queue) = self.transport.queue(CONTROL_TRANSMIT) else {
                return Ok(Backlog::Empty);
            };
            let Some(mut chain) = queue.pop(memory)? else {
                break;
            };
            let message = control::receive(&mut chain, memory)?;
            queue.push_used(memory, chain.head(), 0)?;
            if let Some(message) = message {
                self.handle(message, memory)?;
            }
        }
        self.signal(CONTROL_TRANSMIT, memory)?;
        self.transport.queue(CONTROL_TRANSMIT).map_or(Ok(Backlog::Empty), |queue| queue.arm(memory))
    }

    /// Acts on one message of the driver (§5.3.6.1).
    fn handle(&mut self, message: ControlMessage, memory: &dyn GuestMemory) -> Result<(), QueueError> {
        if message == ControlMessage::DeviceReady {
            for port in self.ports.iter_mut().take(usize::from(self.port_count)) {
                port.outgoing.add = true;
            }
            return Ok(());
        }
        let Some((id, port)) = message.port().and_then(|number| self.port_mut(number)) else {
            return Ok(());
        };
        match message {
            ControlMessage::PortReady(_) => {
                port.outgoing.name = true;
                port.outgoing.open = true;
            }
            ControlMessage::PortOpened(_) => port.open(),
            ControlMessage::PortClosed(_) if port.is_open => {
                port.close();
                // What the process left unsent must not reach the next one's conversation.
                if let Some(queue) = self.transport.queue(id.transmit_queue()) {
                    // What comes meanwhile is dropped by `take_tx`.
                    let _: Backlog = queue.discard(memory)?;
                }
                self.signal(id.transmit_queue(), memory)?;
            }
            ControlMessage::PortClosed(_) | ControlMessage::DeviceReady => {}
        }
        Ok(())
    }

    /// Sends the control messages that are due while the driver has buffers for them.
    fn send_control(&mut self, memory: &dyn GuestMemory) -> Result<(), QueueError> {
        for (number, port) in (0_u8..).zip(&mut self.ports) {
            while let Some(event) = port.outgoing.first() {
                let Some(queue) = self.transport.queue(CONTROL_RECEIVE) else {
                    return Ok(());
                };
                let Some(chain) = control::next_buffer(queue, memory)? else {
                    return self.signal(CONTROL_RECEIVE, memory);
                };
                let message = Encoded::new(PortId(number), event);
                control::send(queue, memory, chain, &message)?;
                port.outgoing.sent(event);
            }
        }
        self.signal(CONTROL_RECEIVE, memory)
    }
}
