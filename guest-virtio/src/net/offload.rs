//! What a frame's sender has left undone, as the header in front of the frame says (virtio 1.2 §5.1.6): its checksum, and its
//! cutting into segments.
//!
//! A header is checked against the frame's length once. What comes of it has no contradiction left, and none of it points at
//! the Ethernet header: by that a switch has decided, and a checksum put there would change it afterwards.

use super::bits;
use core::num::NonZeroU16;
use virtio_spec::net::{F, Hdr, HdrF, HdrGso};
use zerocopy::{FromBytes, IntoBytes};

/// Bytes of struct virtio_net_hdr, which precedes each frame (§5.1.6).
pub const HEADER: usize = size_of::<Hdr>();
/// Bytes of an Ethernet header, without a tag: the shortest frame.
pub const ETHERNET: u32 = 14;

/// Bytes of a TCP header, without and with all options it can have (RFC 9293 §3.1).
const TCP: u32 = 20;
const TCP_MAX: u32 = 60;
/// Where its checksum is.
pub(super) const TCP_CHECKSUM: u16 = 16;
/// Bytes of a checksum.
const CHECKSUM: u32 = 2;

/// A checksum to be computed from `start` to the frame's end and put `offset` bytes behind `start`, where the sum of the
/// pseudo header is. It is within the frame and behind its Ethernet header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checksum {
    /// First byte of the frame that is summed.
    pub start: u16,
    /// Bytes from there to the checksum.
    pub offset: u16,
}

impl Checksum {
    /// Where in the frame the checksum is.
    pub const fn at(&self) -> u32 {
        self.start as u32 + self.offset as u32
    }

    fn parse(header: &Hdr, length: u32) -> Option<Self> {
        let found = Self { start: header.csum_start.to_ne(), offset: header.csum_offset.to_ne() };
        (u32::from(found.start) >= ETHERNET && found.at() + CHECKSUM <= length).then_some(found)
    }
}

/// What a frame is to be cut into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// TCP over IPv4.
    Tcp4,
    /// TCP over IPv6.
    Tcp6,
}

/// How a frame is to be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segmentation {
    /// Into what.
    pub protocol: Protocol,
    /// Most bytes of a segment's payload (gso_size).
    pub size: NonZeroU16,
    /// Bytes of all headers, about: a hint, as §5.1.6.2.2 has it. At least those before TCP and the shortest of TCP.
    pub header: u16,
    /// It has a congestion notification, which only the first segment keeps.
    pub ecn: bool,
}

impl Segmentation {
    fn parse(header: &Hdr, checksum: Checksum, length: u32) -> Option<Self> {
        let protocol = match kind(header) {
            Some(HdrGso::Tcpv4) => Protocol::Tcp4,
            Some(HdrGso::Tcpv6) => Protocol::Tcp6,
            _ => return None,
        };
        let size = NonZeroU16::new(header.gso_size.to_ne())?;
        let tcp = u32::from(checksum.start);
        let least = tcp + TCP;
        if checksum.offset != TCP_CHECKSUM || least > length {
            return None;
        }
        let hint = u32::from(header.hdr_len.to_ne());
        // A hint that cannot be right gives way to the most that the headers can be (§5.1.6.4.1: not less than they are).
        let headers = if (least..=length).contains(&hint) { hint } else { length.min(tcp + TCP_MAX) };
        let header_bytes = u16::try_from(headers).unwrap_or(u16::MAX);
        Some(Self { protocol, size, header: header_bytes, ecn: header.gso_type & ECN != 0 })
    }
}

/// What a frame's sender has left undone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Offload {
    /// Nothing is; whether its checksums are right, nobody has looked.
    #[default]
    None,
    /// Nothing is, and whoever had it has found its checksum right (DATA_VALID).
    Valid,
    /// Its checksum.
    Checksum(Checksum),
    /// Its checksum, and its cutting into segments.
    Segments(Checksum, Segmentation),
}

/// The flag beside the kinds of segments.
const ECN: u8 = HdrGso::Ecn as u8;

/// The kind of segments, the flag for ECN aside.
fn kind(header: &Hdr) -> Option<HdrGso> {
    HdrGso::try_from(header.gso_type & !ECN).ok()
}

impl Offload {
    /// What the header before a frame of `length` bytes says; `None` if it contradicts itself or the frame. Flags that mean
    /// nothing here are ignored (§5.1.6.2.2).
    pub fn from_bytes(bytes: &[u8; HEADER], length: u32) -> Option<Self> {
        Hdr::read_from_bytes(bytes).ok().and_then(|header| Self::from_header(&header, length))
    }

    /// As [`Offload::from_bytes`].
    pub(super) fn from_header(header: &Hdr, length: u32) -> Option<Self> {
        // With ECN alone a frame is one that is not to be cut (§5.1.4.1).
        let whole = kind(header) == Some(HdrGso::None);
        if !header.flags.contains(HdrF::NEEDS_CSUM) {
            let state = if header.flags.contains(HdrF::DATA_VALID) { Self::Valid } else { Self::None };
            return whole.then_some(state);
        }
        let checksum = Checksum::parse(header, length)?;
        if whole {
            return Some(Self::Checksum(checksum));
        }
        Segmentation::parse(header, checksum, length).map(|how| Self::Segments(checksum, how))
    }

    /// The header that says so, for a driver that gets the frame in `buffers` buffers; for a device that is to send it,
    /// `buffers` is 0, and it is not told that a checksum is right (§5.1.6.2.1).
    pub fn to_bytes(&self, buffers: u16) -> [u8; HEADER] {
        let mut header = Hdr { num_buffers: buffers.into(), ..Hdr::default() };
        match self {
            Self::Valid if buffers > 0 => header.flags = HdrF::DATA_VALID,
            Self::None | Self::Valid => {}
            Self::Checksum(checksum) | Self::Segments(checksum, _) => {
                header.flags = HdrF::NEEDS_CSUM;
                header.csum_start = checksum.start.into();
                header.csum_offset = checksum.offset.into();
            }
        }
        if let Self::Segments(_, how) = self {
            let kind = match how.protocol {
                Protocol::Tcp4 => HdrGso::Tcpv4,
                Protocol::Tcp6 => HdrGso::Tcpv6,
            };
            header.gso_type = u8::from(kind) | if how.ecn { ECN } else { 0 };
            header.gso_size = how.size.get().into();
            header.hdr_len = how.header.into();
        }
        let mut bytes = [0; HEADER];
        bytes.copy_from_slice(header.as_bytes());
        bytes
    }

    /// Frames on a wire that a frame of `length` bytes stands for, at least 1 and rather too many than too few.
    pub fn frames(&self, length: u32) -> u16 {
        let Self::Segments(checksum, how) = self else {
            return 1;
        };
        // The hint for the headers' length is not to be relied on: the least that they can be counts.
        let payload = length.saturating_sub(u32::from(checksum.start) + TCP);
        let frames = payload.div_ceil(how.size.get().into()).max(1);
        u16::try_from(frames).unwrap_or(u16::MAX)
    }

    /// Bytes of headers of each of these frames, at most: rather too many than too few, as their sender's hint is not to be
    /// relied on. None where it is not to be cut.
    pub fn repeated(&self) -> u16 {
        match self {
            Self::Segments(checksum, _) => checksum.start.saturating_add(TCP_MAX as u16),
            _ => 0,
        }
    }

    /// Whether it is to be cut.
    pub const fn is_segmented(&self) -> bool {
        matches!(self, Self::Segments(..))
    }

    /// The feature bits without which a driver may not send it (§5.1.6.2.1).
    pub(super) const fn sender_needs(&self) -> u64 {
        match self {
            Self::None | Self::Valid => 0,
            Self::Checksum(_) => bits(F::CSUM),
            Self::Segments(_, how) => bits(F::CSUM) | how.needs([F::HOST_TSO4, F::HOST_TSO6, F::HOST_ECN]),
        }
    }

    /// The feature bits without which a driver may not be given it (§5.1.6.4.1).
    pub(super) const fn receiver_needs(&self) -> u64 {
        match self {
            Self::None | Self::Valid => 0,
            Self::Checksum(_) => bits(F::GUEST_CSUM),
            Self::Segments(_, how) => bits(F::GUEST_CSUM) | how.needs([F::GUEST_TSO4, F::GUEST_TSO6, F::GUEST_ECN]),
        }
    }
}

impl Segmentation {
    /// The bits of those that it needs, of a direction's three.
    const fn needs(&self, [tcp4, tcp6, ecn]: [F; 3]) -> u64 {
        let protocol = match self.protocol {
            Protocol::Tcp4 => bits(tcp4),
            Protocol::Tcp6 => bits(tcp6),
        };
        if self.ecn { protocol | bits(ecn) } else { protocol }
    }
}
