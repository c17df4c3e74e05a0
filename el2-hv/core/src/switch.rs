//! A virtual Ethernet switch: who gets a frame, and when.
//!
//! Pure: no memory is touched and no clock is read. The caller copies a frame's first bytes out of the sender's buffer,
//! asks [`Switch::forward`], and carries the frame where the verdict says. One switch is one network; nothing passes from
//! one to another.
//!
//! ```text
//!   source may be the sender's?   no: Spoofed
//!   for bridges only?             yes: Reserved
//!   who has the destination?      nobody: Nobody     nobody that the sender may talk to: Isolated
//!   for a group: too many?        yes: Storm
//!   within the sender's rate?     no: Later, or Rate where the sender is the uplink
//!   To: learnt, counted, paid for
//! ```
//!
//! Until the last step nothing has changed, so a frame that is to wait is asked about again as if for the first time.

mod address;
mod bucket;
mod ports;
mod table;
#[cfg(test)]
mod tests;

pub use address::{HEADER, Header, Mac};
pub use bucket::Bucket;
pub use ports::{Counters, FRAME_MAX, MAX_PORTS, PortId, PortRules, Ports, Rate, STORM_BURST, STORM_RATE};
pub use table::{AGE_NS, LEARNT_MAX, LEARNT_PER_PORT};

use ports::Port;
use table::Table;

/// Why a frame goes nowhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// Its source is not the sender's to use: another port's own address, a group's, all zero, or any but its own.
    Spoofed,
    /// Too many group frames.
    Storm,
    /// The sender is not connected. Nothing counts this.
    NoSuchPort,
    /// The destination is at no other port, and nobody else might know it.
    Nobody,
    /// Those that would get it are isolated, as the sender is.
    Isolated,
    /// The uplink is above its rate: what comes from outside cannot wait.
    Rate,
    /// Its destination is one that bridges keep to themselves.
    Reserved,
    /// It is no frame: too short, or with a header that contradicts it. [`Switch::malformed`] counts it.
    Malformed,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Spoofed,
        Self::Storm,
        Self::NoSuchPort,
        Self::Nobody,
        Self::Isolated,
        Self::Rate,
        Self::Reserved,
        Self::Malformed,
    ];
}

/// What becomes of a frame.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It goes to these ports: at least one, and never the sender.
    To(Ports),
    /// The sender has used up its rate: the same frame is to be asked about again. Nothing was counted.
    Later {
        /// Not before then, in nanoseconds.
        until_ns: u64,
    },
    /// It goes nowhere.
    Drop(Reason),
}

/// What a port cannot be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SwitchError {
    /// The switch has no port of this number.
    #[error("a switch has {MAX_PORTS} ports: there is no port {0}")]
    NoSuchPort(PortId),
    /// It is connected already.
    #[error("port {0} is in use")]
    InUse(PortId),
    /// It is not connected.
    #[error("port {0} is not connected")]
    NotConnected(PortId),
    /// A group's address, or all zero.
    #[error("{0} is not the address of a station")]
    NotStation(Mac),
    /// Another port has the address.
    #[error("{0} is the address of port {1}")]
    Taken(Mac, PortId),
}

/// The switch. Times are nanoseconds of any clock; a time that is earlier than one before does no harm.
#[derive(Debug)]
pub struct Switch {
    connected: Ports,
    /// Ports that may send from others' addresses.
    any_source: Ports,
    isolated: Ports,
    uplinks: Ports,
    table: Table,
    ports: [Port; MAX_PORTS],
}

impl Switch {
    /// A switch to which nobody is connected: all zero.
    pub const NONE: Self = Self {
        connected: Ports::NONE,
        any_source: Ports::NONE,
        isolated: Ports::NONE,
        uplinks: Ports::NONE,
        table: Table::NONE,
        ports: [Port::NONE; MAX_PORTS],
    };

    /// Connects a port. Whoever had its address by learning has it no longer.
    ///
    /// # Errors
    /// [`SwitchError::NoSuchPort`], [`SwitchError::InUse`], [`SwitchError::NotStation`], [`SwitchError::Taken`].
    pub fn connect(&mut self, port: PortId, rules: PortRules) -> Result<(), SwitchError> {
        let entry = self.ports.get_mut(port.index()).ok_or(SwitchError::NoSuchPort(port))?;
        if self.connected.contains(port) {
            return Err(SwitchError::InUse(port));
        }
        if !rules.mac.is_station() {
            return Err(SwitchError::NotStation(rules.mac));
        }
        if let Some(other) = self.table.owner_of(rules.mac) {
            return Err(SwitchError::Taken(rules.mac, other));
        }
        *entry = Port::new(rules.rate);
        self.table.own(port, rules.mac);
        let set = |is_in: bool| if is_in { Ports::one(port) } else { Ports::NONE };
        self.connected = self.connected.union(set(true));
        self.any_source = self.any_source.union(set(rules.any_source));
        self.isolated = self.isolated.union(set(rules.isolated));
        self.uplinks = self.uplinks.union(set(rules.uplink));
        Ok(())
    }

    /// Disconnects a port: its address, what was learnt there and its counters are forgotten. Nothing happens to one that
    /// is not connected.
    pub fn disconnect(&mut self, port: PortId) {
        if !self.connected.contains(port) {
            return;
        }
        let one = Ports::one(port);
        self.connected = self.connected.without(one);
        self.any_source = self.any_source.without(one);
        self.isolated = self.isolated.without(one);
        self.uplinks = self.uplinks.without(one);
        self.table.forget(port);
        self.ports[port.index()] = Port::NONE;
    }

    /// Changes what a port may send, beginning with a whole burst.
    ///
    /// # Errors
    /// [`SwitchError::NotConnected`].
    pub fn set_rate(&mut self, port: PortId, rate: Rate) -> Result<(), SwitchError> {
        if !self.connected.contains(port) {
            return Err(SwitchError::NotConnected(port));
        }
        self.ports[port.index()].set_rate(rate);
        Ok(())
    }

    /// What a port may send; `None` where it is not connected.
    pub fn rate(&self, port: PortId) -> Option<Rate> {
        self.connected.contains(port).then(|| self.ports[port.index()].rate())
    }

    /// Decides about a frame that a port sends.
    #[inline]
    pub fn forward(&mut self, from: PortId, frame: &Header, now_ns: u64) -> Verdict {
        if !self.connected.contains(from) {
            return Verdict::Drop(Reason::NoSuchPort);
        }
        let ports = match self.receivers(from, frame, now_ns) {
            Ok(ports) => ports,
            Err(reason) => return self.refuse(from, reason),
        };
        let port = &mut self.ports[from.index()];
        if frame.destination.is_group() && port.is_storm(frame, now_ns) {
            return self.refuse(from, Reason::Storm);
        }
        if let Some(until_ns) = port.wait(frame, now_ns) {
            let is_uplink = self.uplinks.contains(from);
            return if is_uplink { self.refuse(from, Reason::Rate) } else { Verdict::Later { until_ns } };
        }
        port.accept(frame, now_ns);
        if self.learns(from) {
            self.table.learn(from, frame.source, now_ns);
        }
        Verdict::To(ports)
    }

    /// Counts a frame of a connected port that goes nowhere.
    #[cold]
    fn refuse(&mut self, from: PortId, reason: Reason) -> Verdict {
        self.ports[from.index()].refuse(reason);
        Verdict::Drop(reason)
    }

    /// Whether addresses are learnt at a port.
    #[inline]
    const fn learns(&self, port: PortId) -> bool {
        self.any_source.union(self.uplinks).contains(port)
    }

    /// Whether a port may send from this address.
    #[inline]
    fn may_be(&self, from: PortId, source: Mac) -> bool {
        let own = self.table.is_own(from, source);
        own || self.learns(from) && source.is_station() && self.table.owner_of(source).is_none()
    }

    /// Who is to get a frame, whatever the limits.
    #[inline]
    fn receivers(&self, from: PortId, frame: &Header, now: u64) -> Result<Ports, Reason> {
        if !self.may_be(from, frame.source) {
            return Err(Reason::Spoofed);
        }
        let wanted = if frame.destination.is_group() {
            if frame.destination.is_reserved() {
                return Err(Reason::Reserved);
            }
            self.connected
        } else {
            // Every guest's address is known: one that is not can be behind a bridge or outside only.
            let known = self.table.port_of(frame.destination, now);
            known.map_or(self.any_source.union(self.uplinks), Ports::one)
        };
        let others = wanted.without(Ports::one(from));
        let reached = if self.isolated.contains(from) { others.without(self.isolated) } else { others };
        match (reached.is_empty(), others.is_empty()) {
            (false, _) => Ok(reached),
            (true, false) => Err(Reason::Isolated),
            (true, true) => Err(Reason::Nobody),
        }
    }

    /// Whose own address it is.
    #[inline]
    pub fn owner_of(&self, mac: Mac) -> Option<PortId> {
        self.table.owner_of(mac)
    }

    /// A frame of `length` bytes was delivered to a port.
    #[inline]
    pub fn delivered(&mut self, port: PortId, length: u32) {
        if self.connected.contains(port) {
            self.ports[port.index()].delivered(length);
        }
    }

    /// A port sent what is no frame; how many of those it has sent since it was connected.
    pub fn malformed(&mut self, port: PortId) -> u64 {
        if !self.connected.contains(port) {
            return 0;
        }
        self.ports[port.index()].refuse(Reason::Malformed);
        self.ports[port.index()].counters.dropped(Reason::Malformed)
    }

    /// A port had no room for a frame.
    pub fn missed(&mut self, port: PortId) {
        if self.connected.contains(port) {
            self.ports[port.index()].missed();
        }
    }

    /// What went by a port since it was connected; `None` where it is not.
    pub fn counters(&self, port: PortId) -> Option<Counters> {
        self.connected.contains(port).then(|| self.ports[port.index()].counters)
    }
}
