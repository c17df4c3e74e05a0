//! The page and the list of VMs, by HTTP over the partition's own network card.
//!
//! The card is started when a packet comes, not before: a life that serves only the mailbox spends nothing on it. There are
//! [`CONNECTIONS`] at a time, each with buffers of a fixed size; a client that does not get on with its request, or does
//! not take its answer, is reset after [`IDLE_S`], and one that says nothing after [`SILENT_S`]. TIME-WAIT is not kept (RFC 9293 §3.6.1): the partition is off most of that time, and
//! its rules answer what comes late.

mod card;
mod connection;
pub mod http;
pub(crate) mod page;
mod patience;

use alloc::vec::Vec;

use smoltcp::iface::{Config, Interface, PollIngressSingleResult, SocketHandle, SocketSet};
use smoltcp::socket::tcp::Socket;
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpCidr};

use crate::description::NetworkSpec;
use crate::hypervisor::Hypervisor;
use crate::ring::Page;
use crate::service::{Next, Service};

pub use card::Card;
use card::Port;
use connection::Connection;
use patience::{Clients, Patience};

/// Connections at a time.
pub const CONNECTIONS: usize = 4;
/// Seconds without progress after which one is reset.
pub const IDLE_S: u64 = 5;
/// Seconds after which one is reset that has not said a byte, half open or not: a client whose handshake takes longer would
/// send its SYN again (RFC 6298 §2.1).
pub const SILENT_S: u64 = 1;
/// Frames that are taken before others have their turn.
const FRAMES_MAX: usize = 32;
/// Turns of a second after which something is tried again that could not be done at once.
const RETRIES_PER_S: u64 = 1000;

const MICROSECONDS: u64 = 1_000_000;

/// A moment, in ticks of the counter.
#[derive(Clone, Copy)]
struct Turn {
    now: u64,
    ticks_per_second: u64,
}

impl Turn {
    fn instant(self) -> Instant {
        let (seconds, rest) = (self.now / self.ticks_per_second, self.now % self.ticks_per_second);
        let micros = rest.saturating_mul(MICROSECONDS) / self.ticks_per_second;
        Instant::from_micros(seconds.saturating_mul(MICROSECONDS).saturating_add(micros).cast_signed())
    }

    /// The count at a time, not before it.
    fn count(self, at: Instant) -> u64 {
        let micros = at.total_micros().max(0).cast_unsigned();
        let rest = (micros % MICROSECONDS).saturating_mul(self.ticks_per_second).div_ceil(MICROSECONDS);
        (micros / MICROSECONDS).saturating_mul(self.ticks_per_second).saturating_add(rest)
    }
}

/// The server over its card.
pub struct Server<C> {
    port: Port<C>,
    interface: Interface,
    sockets: SocketSet<'static>,
    connections: [(SocketHandle, Connection); CONNECTIONS],
    http: u16,
    ticks_per_second: u64,
    /// How long it may hold the partition.
    patience: Patience,
    /// Whether somebody has connected in this life.
    visited: bool,
}

impl<C: Card> Server<C> {
    /// A server at the partition's address; `now` is a count of its counter. Sequence numbers begin at random (RFC 9293
    /// §3.4.1).
    pub fn new<H: Hypervisor, P: Page>(
        card: C,
        network: &NetworkSpec,
        service: &mut Service<'_, H, P>,
        now: u64,
    ) -> Self {
        let ticks_per_second = service.ticks_per_second().max(1);
        let mut port = Port(card);
        let mut config = Config::new(HardwareAddress::Ethernet(EthernetAddress(network.mac)));
        // Without a seed from the board, lives differ by when they began.
        config.random_seed = service.random().unwrap_or(now);
        let mut interface = Interface::new(config, &mut port, Turn { now, ticks_per_second }.instant());
        interface.update_ip_addrs(|addresses| {
            // One of as many as there may be: it fits.
            let _ = addresses.push(IpCidr::new(network.address.into(), network.prefix));
        });
        if let Some(gateway) = network.gateway {
            // The table is empty.
            let _ = interface.routes_mut().add_default_ipv4_route(gateway);
        }
        let mut sockets = SocketSet::new(Vec::with_capacity(CONNECTIONS));
        let connections = [(); CONNECTIONS].map(|()| (sockets.add(connection::socket()), Connection::FREE));
        let http = network.port;
        let patience = Patience::new(ticks_per_second);
        let mut server =
            Self { port, interface, sockets, connections, http, ticks_per_second, patience, visited: false };
        server.listen();
        server
    }

    /// The card, to acknowledge its interrupt.
    pub fn card(&mut self) -> &mut C {
        &mut self.port.0
    }

    /// Takes what has come by `now` and sends what is to go, then tells the service whether it may agree to leave.
    pub fn turn<H: Hypervisor, P: Page>(&mut self, service: &mut Service<'_, H, P>, now: u64) -> Next {
        let turn = Turn { now, ticks_per_second: self.ticks_per_second };
        let drained = self.receive(turn);
        for (handle, connection) in &mut self.connections {
            let socket = self.sockets.get_mut(*handle);
            connection.step(socket, turn, &mut |resource| service.page(resource, now));
        }
        self.interface.poll_egress(turn.instant(), &mut self.port, &mut self.sockets);
        self.listen();
        self.visited |= self.connections.iter().any(|(_, connection)| connection.is_established());
        service.set_unvisited(!self.visited);
        let held = self.patience.holds(&self.clients(), now);
        service.hold(!drained || held);
        if drained { Next::Sleep(self.deadline(turn)) } else { Next::Turn }
    }

    /// Takes frames, at most [`FRAMES_MAX`]; whether there are no more.
    fn receive(&mut self, turn: Turn) -> bool {
        let instant = turn.instant();
        self.interface.poll_maintenance(instant);
        (0..FRAMES_MAX).any(|_| {
            let result = self.interface.poll_ingress_single(instant, &mut self.port, &mut self.sockets);
            matches!(result, PollIngressSingleResult::None)
        })
    }

    /// Sockets whose connection is over take the next one. What its end had still to send has gone.
    fn listen(&mut self) {
        for (handle, _) in &self.connections {
            let socket = self.sockets.get_mut::<Socket<'_>>(*handle);
            if !socket.is_open() {
                // Only an open socket and port 0 are refused.
                let _ = socket.listen(self.http);
            }
        }
    }

    fn clients(&self) -> Clients {
        let connections = || self.connections.iter().map(|(_, connection)| connection);
        Clients {
            silent: connections().any(Connection::is_silent),
            progress: connections().filter_map(Connection::progress).max(),
        }
    }

    /// When there is something to do by itself.
    fn deadline(&mut self, turn: Turn) -> Option<u64> {
        // What was not done in this turn could not be done.
        let soonest = turn.now.saturating_add(self.ticks_per_second / RETRIES_PER_S + 1);
        let polled = self.interface.poll_at(turn.instant(), &self.sockets).map(|at| turn.count(at).max(soonest));
        let connections = self.connections.iter();
        let timeouts = connections.filter_map(|(_, connection)| connection.deadline(self.ticks_per_second));
        timeouts.chain(polled).min()
    }
}

#[cfg(test)]
mod tests;
