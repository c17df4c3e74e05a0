//! Addresses of stations, and what of a frame the switch reads.

use core::fmt;

/// Bytes of an Ethernet header: destination, source, type (IEEE 802.3 §3.1.1).
pub const HEADER: usize = 14;

/// The address of a station, or of a group of them, in the order of transmission.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// Every station (IEEE 802.3 §3.2.3).
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// Whether it is a group's, broadcast among them: the first bit that is transmitted says so, the least significant
    /// of the first byte (IEEE 802.3 §3.2.3).
    #[inline]
    pub const fn is_group(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// Whether it is for the bridge itself, which never passes it on: 01-80-C2-00-00-00 to -0F (IEEE 802.1Q §8.6.3,
    /// table 8-1; IEEE 802.1D-2004 §7.12.6).
    #[inline]
    pub const fn is_reserved(self) -> bool {
        self.packed() >> 4 == 0x0180_c200_0000 >> 4
    }

    /// Whether a station can have it: it is no group's, and not all zero.
    #[inline]
    pub const fn is_station(self) -> bool {
        !self.is_group() && self.packed() != 0
    }

    /// The address as a number below 2^48, so that one comparison is enough.
    #[inline]
    pub(super) const fn packed(self) -> u64 {
        let [a, b, c, d, e, f] = self.0;
        u64::from_be_bytes([0, 0, a, b, c, d, e, f])
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// What the switch decides by. It is a copy: the sender may change the frame meanwhile.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// For whom.
    pub destination: Mac,
    /// By whom, as the sender says.
    pub source: Mac,
    /// Bytes of the frame, this header among them.
    pub length: u32,
    /// Frames that it becomes on a wire, where it is to be segmented; 0 counts as 1.
    pub frames: u16,
    /// Bytes of headers that each of those has, which the frame has once.
    pub repeated: u16,
}

impl Header {
    /// Reads the first bytes of a frame of `length` bytes.
    #[inline]
    pub const fn parse(bytes: &[u8; HEADER], length: u32) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, _, _] = *bytes;
        let (destination, source) = (Mac([a, b, c, d, e, f]), Mac([g, h, i, j, k, l]));
        Self { destination, source, length, frames: 1, repeated: 0 }
    }

    /// The same of a frame that becomes `frames` on a wire, each with headers of `repeated` bytes.
    #[inline]
    #[must_use]
    pub const fn cut(self, frames: u16, repeated: u16) -> Self {
        Self { frames, repeated, ..self }
    }

    /// Its bits on a wire: what it is cut into has headers each.
    #[inline]
    pub(super) const fn bits(&self) -> u64 {
        8 * (self.length as u64 + (self.packets() - 1) * self.repeated as u64)
    }

    /// Frames on a wire.
    #[inline]
    pub(super) const fn packets(&self) -> u64 {
        if self.frames == 0 { 1 } else { self.frames as u64 }
    }
}
