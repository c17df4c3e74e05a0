//! Frames of a TCP client: Ethernet, IPv4 without options (RFC 791 §3.1), TCP without options (RFC 9293 §3.1), and ARP (RFC 826).

use alloc::vec::Vec;

/// The service partition's card and address, as the description of the tests has them.
pub(crate) const PARTITION: [u8; 6] = [0x02, 0, 0, 0, 0, 0x64];
const PARTITION_IP: [u8; 4] = [10, 7, 0, 100];
/// This guest's address.
const OWN_IP: [u8; 4] = [10, 7, 0, 9];
const HTTP: u16 = 80;

const IPV4: [u8; 2] = [0x08, 0x00];
const ARP: [u8; 2] = [0x08, 0x06];
/// Behind the Ethernet header, and behind the IPv4 header.
const IP: usize = 14;
const TCP: usize = IP + 20;
const HEADERS: usize = TCP + 20;
const PROTOCOL_TCP: u8 = 6;

/// Flags of a segment.
pub(crate) const SYN: u8 = 1 << 1;
pub(crate) const RST: u8 = 1 << 2;
pub(crate) const PSH: u8 = 1 << 3;
pub(crate) const ACK: u8 = 1 << 4;

/// What a segment says besides its data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Segment {
    /// The client's port.
    pub(crate) port: u16,
    pub(crate) sequence: u32,
    pub(crate) acknowledgment: u32,
    pub(crate) flags: u8,
}

/// The internet checksum (RFC 1071) of words from `sum` on.
fn checksum(mut sum: u32, bytes: &[u8]) -> u16 {
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// A frame of the segment `said` with `data`, from the card `own`.
pub(crate) fn frame(own: [u8; 6], said: &Segment, data: &[u8]) -> Vec<u8> {
    let length = (HEADERS - IP + data.len()) as u16;
    let mut frame = Vec::with_capacity(HEADERS + data.len());
    frame.extend([PARTITION, own].as_flattened());
    frame.extend(IPV4);
    frame.extend([0x45, 0]);
    frame.extend(length.to_be_bytes());
    // Not to be fragmented; as many hops as usual; the checksum follows.
    frame.extend([0, 0, 0x40, 0, 64, PROTOCOL_TCP, 0, 0]);
    frame.extend([OWN_IP, PARTITION_IP].as_flattened());
    let sum = checksum(0, &frame[IP..]);
    frame[IP + 10..IP + 12].copy_from_slice(&sum.to_be_bytes());
    frame.extend([said.port, HTTP].map(u16::to_be_bytes).as_flattened());
    frame.extend([said.sequence, said.acknowledgment].map(u32::to_be_bytes).as_flattened());
    // Five words of header, a window, the checksum, nothing urgent.
    frame.extend([0x50, said.flags, 0x40, 0, 0, 0, 0, 0]);
    frame.extend(data);
    // The pseudo header is the addresses, which stand right before it, the protocol and the length.
    let pseudo = u32::from(PROTOCOL_TCP) + u32::from(length) - 20;
    let sum = checksum(pseudo, &frame[TCP - 8..]);
    frame[TCP + 16..TCP + 18].copy_from_slice(&sum.to_be_bytes());
    frame
}

/// A segment that opens a connection.
pub(crate) fn syn(own: [u8; 6], port: u16) -> Vec<u8> {
    frame(own, &Segment { port, sequence: 1000, acknowledgment: 0, flags: SYN }, &[])
}

/// What a segment of the partition's to `port` says, and its data.
pub(crate) fn parse(frame: &[u8], port: u16) -> Option<(Segment, &[u8])> {
    let is_tcp = frame.get(12..14)? == IPV4 && *frame.get(IP + 9)? == PROTOCOL_TCP;
    let word = |at: usize| frame.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes);
    let ports = word(TCP)?;
    if !is_tcp || ports != u32::from(HTTP) << 16 | u32::from(port) {
        return None;
    }
    let end = IP + usize::from((word(IP)? & 0xffff) as u16);
    let start = TCP + usize::from(*frame.get(TCP + 12)? >> 4) * 4;
    let (sequence, acknowledgment, flags) = (word(TCP + 4)?, word(TCP + 8)?, *frame.get(TCP + 13)?);
    Some((Segment { port, sequence, acknowledgment, flags }, frame.get(start..end)?))
}

/// The answer to a question for this guest's address.
pub(crate) fn arp(own: [u8; 6], frame: &[u8]) -> Option<Vec<u8>> {
    let asks = frame.get(12..14)? == ARP && frame.get(20..22)? == [0, 1] && frame.get(38..42)? == OWN_IP;
    let asker = asks.then(|| frame.get(22..32)).flatten()?;
    let mut answer = Vec::with_capacity(42);
    answer.extend(&asker[..6]);
    answer.extend(own);
    answer.extend(ARP);
    answer.extend([0, 1, 8, 0, 6, 4, 0, 2]);
    answer.extend(own);
    answer.extend(OWN_IP);
    answer.extend(asker);
    Some(answer)
}
