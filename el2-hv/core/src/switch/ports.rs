//! Ports: their numbers, their rules, and what is counted of them.

use core::fmt;

use super::Reason;
use super::address::{Header, Mac};
use super::bucket::Bucket;

/// Ports of a switch.
pub const MAX_PORTS: usize = 16;
/// Bytes of the longest frame: the longest IP packet and an Ethernet header (virtio 1.2 §5.1.6.3).
pub const FRAME_MAX: u32 = 65_550;
/// Frames on a wire that the longest one becomes, at 1 KiB each or more.
const PACKETS_MAX: u64 = (FRAME_MAX as u64).div_ceil(1024);
/// Group frames of a port in each second, in the long run.
pub const STORM_RATE: u64 = 1000;
/// Group frames of a port at once.
pub const STORM_BURST: u64 = 100;

/// A port's number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct PortId(pub u8);

impl PortId {
    /// The number as an index into a table.
    #[inline]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for PortId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A set of ports, bit n for port n.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Ports(pub u16);

const _: () = assert!(MAX_PORTS == u16::BITS as usize);

impl Ports {
    /// No port.
    pub const NONE: Self = Self(0);

    /// This port; none where there can be no such port.
    #[inline]
    pub const fn one(port: PortId) -> Self {
        Self(if port.index() < MAX_PORTS { 1 << port.0 } else { 0 })
    }

    /// Whether `port` is in the set.
    #[inline]
    pub const fn contains(self, port: PortId) -> bool {
        self.0 & Self::one(port).0 != 0
    }

    /// Those in either.
    #[inline]
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those that are not in `other`.
    #[inline]
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// How many they are.
    pub const fn count(self) -> u32 {
        self.0.count_ones()
    }

    /// Whether the set is empty.
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Its ports, lowest first.
    #[inline]
    pub fn iter(self) -> impl Iterator<Item = PortId> {
        let rest = |left: &Self| Some(Self(left.0 & left.0.wrapping_sub(1)));
        core::iter::successors(Some(self), rest)
            .take_while(|left| !left.is_empty())
            .map(|left| PortId(left.0.trailing_zeros() as u8))
    }
}

/// How much a port may send; what is 0 is not limited.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rate {
    /// Bits of frames in each second, as they are in memory: no preamble, no checksum, no gap.
    pub bits_per_s: u64,
    /// Frames on a wire in each second.
    pub packets_per_s: u32,
}

impl Rate {
    /// No limit.
    pub const NONE: Self = Self { bits_per_s: 0, packets_per_s: 0 };
}

/// What a port is, and may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PortRules {
    /// Its own address.
    pub mac: Mac,
    /// It may send from others than its own, which are learnt: there is a bridge behind it.
    pub any_source: bool,
    /// It has to do only with ports that are not isolated: a private VLAN.
    pub isolated: bool,
    /// The board's NIC: the rest of the world is behind it. It may send from any address but a guest's, is not made to
    /// wait, and gets what is for nobody here.
    pub uplink: bool,
    /// What it may send.
    pub rate: Rate,
}

/// What went by a port. A frame that stands for several counts once. The numbers wrap.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Counters {
    /// Frames that were accepted from it.
    pub sent_frames: u64,
    /// Bytes of these.
    pub sent_bytes: u64,
    /// Frames that were delivered to it.
    pub received_frames: u64,
    /// Bytes of these.
    pub received_bytes: u64,
    /// Frames for it that it had no room for.
    pub missed: u64,
    dropped: [u64; Reason::ALL.len()],
}

impl Counters {
    /// Nothing went by: all zero.
    pub const NONE: Self = Self {
        sent_frames: 0,
        sent_bytes: 0,
        received_frames: 0,
        received_bytes: 0,
        missed: 0,
        dropped: [0; Reason::ALL.len()],
    };

    /// Frames from it that were dropped for this reason.
    pub const fn dropped(&self, reason: Reason) -> u64 {
        self.dropped[reason as usize]
    }
}

/// What changes of a port with each frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Port {
    pub(super) counters: Counters,
    bits: Bucket,
    packets: Bucket,
    /// Group frames.
    groups: Bucket,
}

impl Port {
    /// No port: all zero.
    pub(super) const NONE: Self =
        Self { counters: Counters::NONE, bits: Bucket::NONE, packets: Bucket::NONE, groups: Bucket::NONE };

    pub(super) const fn new(rate: Rate) -> Self {
        let mut port = Self { groups: Bucket::new(STORM_RATE, STORM_BURST), ..Self::NONE };
        port.set_rate(rate);
        port
    }

    /// A burst is what 10 ms bring, and never less than the longest frame.
    pub(super) const fn set_rate(&mut self, rate: Rate) {
        let bits = rate.bits_per_s / 100;
        let packets = rate.packets_per_s as u64 / 100;
        let longest = FRAME_MAX as u64 * 8;
        self.bits = Bucket::new(rate.bits_per_s, if bits > longest { bits } else { longest });
        self.packets =
            Bucket::new(rate.packets_per_s as u64, if packets > PACKETS_MAX { packets } else { PACKETS_MAX });
    }

    /// What it may send.
    pub(super) const fn rate(&self) -> Rate {
        Rate { bits_per_s: self.bits.rate(), packets_per_s: self.packets.rate() as u32 }
    }

    /// Until when its rate has `frame` wait.
    #[inline]
    pub(super) fn wait(&self, frame: &Header, now: u64) -> Option<u64> {
        self.bits.wait(frame.bits(), now).max(self.packets.wait(frame.packets(), now))
    }

    /// Whether a group frame is one too many. One that becomes more on a wire than a burst is so always.
    pub(super) const fn is_storm(&self, frame: &Header, now: u64) -> bool {
        frame.packets() > STORM_BURST || self.groups.wait(frame.packets(), now).is_some()
    }

    /// `frame` is accepted.
    #[inline]
    pub(super) const fn accept(&mut self, frame: &Header, now: u64) {
        self.bits.take(frame.bits(), now);
        self.packets.take(frame.packets(), now);
        if frame.destination.is_group() {
            self.groups.take(frame.packets(), now);
        }
        self.counters.sent_frames = self.counters.sent_frames.wrapping_add(1);
        self.counters.sent_bytes = self.counters.sent_bytes.wrapping_add(frame.length as u64);
    }

    /// A frame of it is dropped.
    pub(super) const fn refuse(&mut self, reason: Reason) {
        let count = &mut self.counters.dropped[reason as usize];
        *count = count.wrapping_add(1);
    }

    /// It had no room for a frame.
    pub(super) const fn missed(&mut self) {
        self.counters.missed = self.counters.missed.wrapping_add(1);
    }

    /// It got a frame of `length` bytes.
    #[inline]
    pub(super) const fn delivered(&mut self, length: u32) {
        self.counters.received_frames = self.counters.received_frames.wrapping_add(1);
        self.counters.received_bytes = self.counters.received_bytes.wrapping_add(length as u64);
    }
}
