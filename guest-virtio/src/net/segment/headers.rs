//! The headers of a frame that is to be cut: Ethernet with VLAN tags, IPv4 with options or IPv6 with extension headers, TCP
//! with options.
//!
//! What cannot be repeated in each segment is refused: fragments, source routes, by whose last address the checksum goes, and
//! a SYN, which takes a sequence number. The lengths in the headers are not looked at: they are those of no segment, and for
//! more than 65,535 bytes there are none.

use super::Part;
use crate::memory::GuestMemory;
use crate::net::checksum::Sum;
use crate::net::frame::Frame;
use crate::net::offload::{Checksum, Protocol, TCP_CHECKSUM};
use zerocopy::big_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Most bytes of all headers of a frame that is to be cut: 142 with two tags, all options of IPv4 and of TCP.
pub const HEADERS_MAX: usize = 256;

/// Bytes of an Ethernet header's two addresses (IEEE 802.3 §3.1.1), and of a tag's control information (IEEE 802.1Q §9.6).
const ADDRESSES: usize = 12;
const TAG: usize = 2;
/// Most VLAN tags: a customer's and a provider's.
const TAGS_MAX: usize = 2;
/// EtherTypes: of IP (RFC 894, RFC 2464 §3), and of the two tags (IEEE 802.1Q §9.5).
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const CUSTOMER_TAG: u16 = 0x8100;
const SERVICE_TAG: u16 = 0x88a8;

/// TCP among the protocols and next headers (RFC 9293 §3.1).
const TCP: u8 = 6;
/// More fragments, and this one's offset (RFC 791 §3.1).
const FRAGMENT: u16 = 0x3fff;
/// Options that are looked at (RFC 791 §3.1): the end, no operation, and the two source routes.
const OPTIONS_END: u8 = 0;
const NO_OPERATION: u8 = 1;
const LOOSE_ROUTE: u8 = 131;
const STRICT_ROUTE: u8 = 137;
/// Most bytes of all options: what a header of 15 words has behind the first 5.
const OPTIONS_MAX: u8 = 40;
/// Extension headers that each segment can repeat (RFC 8200 §4.3, §4.4, §4.6), and the most of them that a sender has (§4.1).
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const DESTINATION: u8 = 60;
const EXTENSIONS_MAX: usize = 4;
/// What an extension header's length counts, beyond the first of them (RFC 8200 §4.3).
const EXTENSION_UNIT: usize = 8;

/// Control bits of TCP (RFC 9293 §3.1).
const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const PSH: u8 = 0x08;
const URG: u8 = 0x20;
const CWR: u8 = 0x80;

/// RFC 791 §3.1.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Ipv4 {
    /// The version above the length of the header in words of 32 bits.
    version_ihl: u8,
    service: u8,
    length: U16,
    identification: U16,
    fragment: U16,
    time_to_live: u8,
    protocol: u8,
    checksum: [u8; 2],
    addresses: [u8; 8],
}

/// RFC 8200 §3.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Ipv6 {
    /// The version above the half of the traffic class.
    version: u8,
    flow: [u8; 3],
    payload_length: U16,
    next_header: u8,
    hop_limit: u8,
    addresses: [u8; 32],
}

/// What begins the extension headers here. The last two are the routing header's (RFC 8200 §4.4).
#[derive(Clone, Copy, Debug, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Extension {
    next_header: u8,
    length: u8,
    _routing_type: u8,
    segments_left: u8,
}

/// RFC 9293 §3.1.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Tcp {
    ports: [u8; 4],
    sequence: U32,
    acknowledgment: U32,
    /// Words of 32 bits of the header, above what is reserved.
    offset: u8,
    control: u8,
    window: U16,
    checksum: [u8; 2],
    urgent: U16,
}

impl Tcp {
    const NONE: Self = Self {
        ports: [0; 4],
        sequence: U32::ZERO,
        acknowledgment: U32::ZERO,
        offset: 0,
        control: 0,
        window: U16::ZERO,
        checksum: [0; 2],
        urgent: U16::ZERO,
    };

    /// The header at the front of `bytes`, and its length with options.
    fn parse(bytes: &[u8]) -> Option<(Self, usize)> {
        let (header, _) = Self::read_from_prefix(bytes).ok()?;
        let length = usize::from(header.offset >> 4) * 4;
        let lengths = size_of::<Self>()..=bytes.len();
        (lengths.contains(&length) && header.control & SYN == 0).then_some((header, length))
    }

    /// The header of a part of what this one's segment carries.
    fn of(&self, part: &Part) -> Self {
        let mut header = *self;
        header.sequence.set(self.sequence.get().wrapping_add(part.offset));
        if !part.last {
            header.control &= !(FIN | PSH);
        }
        if part.index > 0 {
            // The receiver's answer is asked for once (RFC 3168 §6.1.2).
            header.control &= !CWR;
            // It counts from the segment's own sequence number (RFC 9293 §3.1).
            let urgent = u32::from(self.urgent.get()).saturating_sub(part.offset) as u16;
            header.urgent.set(urgent);
            if urgent == 0 {
                header.control &= !URG;
            }
        }
        header
    }
}

/// The IP header that a frame came with.
#[derive(Clone, Copy, Debug)]
enum Ip {
    V4(Ipv4),
    V6(Ipv6),
}

impl Ip {
    const NONE: Self = Self::V4(Ipv4 {
        version_ihl: 0,
        service: 0,
        length: U16::ZERO,
        identification: U16::ZERO,
        fragment: U16::ZERO,
        time_to_live: 0,
        protocol: 0,
        checksum: [0; 2],
        addresses: [0; 8],
    });

    /// The header at the front of `bytes`, and its length with all before TCP.
    fn parse(kind: u16, bytes: &[u8]) -> Option<(Self, usize)> {
        match kind {
            IPV4 => parse_ipv4(bytes).map(|(header, length)| (Self::V4(header), length)),
            IPV6 => parse_ipv6(bytes).map(|(header, length)| (Self::V6(header), length)),
            _ => None,
        }
    }

    /// The sum of the pseudo header (RFC 9293 §3.1, RFC 8200 §8.1) before `length` bytes of TCP: its words are the same in
    /// both, and zeroes.
    fn pseudo_header(&self, length: u16) -> Sum {
        let mut sum = Sum::new();
        match self {
            Self::V4(header) => sum.add(&header.addresses),
            Self::V6(header) => sum.add(&header.addresses),
        }
        sum.add(&[0, TCP]);
        sum.add(&length.to_be_bytes());
        sum
    }
}

/// All headers of one segment.
#[derive(Clone, Debug)]
pub(super) struct Headers {
    /// As they stand in front of the segment's payload.
    bytes: [u8; HEADERS_MAX],
    length: u16,
    ip: Ip,
    ip_at: u16,
    tcp: Tcp,
    tcp_at: u16,
}

impl Headers {
    /// All zero.
    pub(super) const NONE: Self =
        Self { bytes: [0; HEADERS_MAX], length: 0, ip: Ip::NONE, ip_at: 0, tcp: Tcp::NONE, tcp_at: 0 };

    /// Copies and checks the headers of `frame`; `None` if they are not those of a TCP segment.
    pub(super) fn read(frame: &Frame, memory: &dyn GuestMemory) -> Option<Self> {
        let mut bytes = [0; HEADERS_MAX];
        let (copied, _) = bytes.split_at_mut(HEADERS_MAX.min(frame.length as usize));
        frame.read(0, copied, memory).ok()?;
        let (kind, ip_at) = parse_ethernet(copied)?;
        let (ip, ip_length) = Ip::parse(kind, copied.get(ip_at..)?)?;
        let tcp_at = ip_at + ip_length;
        let (tcp, tcp_length) = Tcp::parse(copied.get(tcp_at..)?)?;
        let length = (tcp_at + tcp_length) as u16;
        Some(Self { bytes, length, ip, ip_at: ip_at as u16, tcp, tcp_at: tcp_at as u16 })
    }

    /// The headers, as they were fitted last.
    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length.into()).unwrap_or_default()
    }

    /// Bytes of all of them.
    pub(super) const fn length(&self) -> u16 {
        self.length
    }

    /// What a receiver has to compute.
    pub(super) const fn checksum(&self) -> Checksum {
        Checksum { start: self.tcp_at, offset: TCP_CHECKSUM }
    }

    pub(super) const fn protocol(&self) -> Protocol {
        match self.ip {
            Ip::V4(_) => Protocol::Tcp4,
            Ip::V6(_) => Protocol::Tcp6,
        }
    }

    /// Whether a packet may have so much payload: an MTU, too, is at most 65,535.
    pub(super) fn can_carry(&self, payload: u32) -> bool {
        u32::from(self.length - self.ip_at) + payload <= u32::from(u16::MAX)
    }

    /// Becomes the headers of a part of the frame's payload, of as many bytes as it [can carry](Self::can_carry).
    pub(super) fn fit(&mut self, part: &Part) {
        let behind_ip = (self.length - self.tcp_at).saturating_add(part.length);
        let packet = (self.length - self.ip_at).saturating_add(part.length);
        let mut tcp = self.tcp.of(part);
        tcp.checksum = self.ip.pseudo_header(behind_ip).partial();
        self.put(self.tcp_at, tcp.as_bytes());
        match self.ip {
            Ip::V4(mut header) => {
                header.length.set(packet);
                // Each segment is a datagram of its own (RFC 791 §3.2).
                header.identification.set(header.identification.get().wrapping_add(part.index));
                header.checksum = [0; 2];
                self.put(self.ip_at, header.as_bytes());
                header.checksum = self.ipv4_checksum();
                self.put(self.ip_at, header.as_bytes());
            }
            Ip::V6(mut header) => {
                header.payload_length.set(packet.saturating_sub(size_of::<Ipv6>() as u16));
                self.put(self.ip_at, header.as_bytes());
            }
        }
    }

    /// The checksum of the IPv4 header as it stands, options included (RFC 791 §3.1); zero is no special number there.
    fn ipv4_checksum(&self) -> [u8; 2] {
        let mut sum = Sum::new();
        sum.add(self.bytes.get(self.ip_at.into()..self.tcp_at.into()).unwrap_or_default());
        sum.partial().map(|byte| !byte)
    }

    fn put(&mut self, at: u16, header: &[u8]) {
        let at = usize::from(at);
        if let Some(place) = self.bytes.get_mut(at..at + header.len()) {
            place.copy_from_slice(header);
        }
    }
}

/// The EtherType behind the tags, and where what it names begins.
fn parse_ethernet(bytes: &[u8]) -> Option<(u16, usize)> {
    let mut rest = bytes.get(ADDRESSES..)?;
    for _ in 0..=TAGS_MAX {
        let (kind, behind) = U16::read_from_prefix(rest).ok()?;
        if !matches!(kind.get(), CUSTOMER_TAG | SERVICE_TAG) {
            return Some((kind.get(), bytes.len() - behind.len()));
        }
        rest = behind.get(TAG..)?;
    }
    None
}

/// An IPv4 header before TCP, and its length with options.
fn parse_ipv4(bytes: &[u8]) -> Option<(Ipv4, usize)> {
    let (header, behind) = Ipv4::read_from_prefix(bytes).ok()?;
    let length = usize::from(header.version_ihl & 0xf) * 4;
    let options = behind.get(..length.checked_sub(size_of::<Ipv4>())?)?;
    let whole = header.fragment.get() & FRAGMENT == 0;
    let good = header.version_ihl >> 4 == 4 && header.protocol == TCP && whole && can_repeat(options);
    good.then_some((header, length))
}

/// Whether the options of an IPv4 header are well formed, and none of them is a source route.
fn can_repeat(options: &[u8]) -> bool {
    let mut rest = options;
    loop {
        rest = match rest {
            [] | [OPTIONS_END, ..] => return true,
            [NO_OPERATION, behind @ ..] => behind,
            [LOOSE_ROUTE | STRICT_ROUTE, ..] => return false,
            [_, length @ 2..=OPTIONS_MAX, ..] if usize::from(*length) <= rest.len() => {
                rest.split_at(usize::from(*length)).1
            }
            _ => return false,
        };
    }
}

/// An IPv6 header before TCP, and its length with extension headers.
fn parse_ipv6(bytes: &[u8]) -> Option<(Ipv6, usize)> {
    let (header, mut rest) = Ipv6::read_from_prefix(bytes).ok()?;
    if header.version >> 4 != 6 {
        return None;
    }
    let mut kind = header.next_header;
    for index in 0..=EXTENSIONS_MAX {
        if kind == TCP {
            return Some((header, bytes.len() - rest.len()));
        }
        let (extension, _) = Extension::read_from_prefix(rest).ok()?;
        match kind {
            // It is the first if there is one (RFC 8200 §4.1).
            HOP_BY_HOP if index == 0 => {}
            // With segments left the checksum goes by another address than the header's (RFC 8200 §8.1).
            ROUTING if extension.segments_left == 0 => {}
            DESTINATION => {}
            _ => return None,
        }
        kind = extension.next_header;
        rest = rest.get(EXTENSION_UNIT * (1 + usize::from(extension.length))..)?;
    }
    None
}
