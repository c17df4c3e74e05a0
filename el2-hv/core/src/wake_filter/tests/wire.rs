//! Frames, made and read by the protocols' own rules: Ethernet II, IPv4 (RFC 791), TCP (RFC 9293).

use std::vec::Vec;

pub type Mac = [u8; 6];
pub type Ip = [u8; 4];

pub const OUR_MAC: Mac = [0x52, 0x54, 0, 0xd0, 0, 1];
pub const OUR_IP: Ip = [10, 0, 2, 15];
pub const PEER_MAC: Mac = [0x52, 0x55, 10, 0, 2, 2];
pub const PEER_IP: Ip = [10, 0, 2, 2];

pub const FIN: u8 = 0x01;
pub const SYN: u8 = 0x02;
pub const RST: u8 = 0x04;
pub const PSH: u8 = 0x08;
pub const ACK: u8 = 0x10;

/// The sum of big-endian words, a zero behind an odd last byte, modulo 2^16 - 1: what the ones' complement sum is, but
/// for its two zeroes.
pub fn modulo(bytes: &[u8]) -> u64 {
    let sum: u64 = bytes.chunks(2).map(|pair| u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0))).sum();
    sum % 0xffff
}

/// Puts the checksum of `bytes` and a pseudo header there, where two bytes are zero.
pub fn put_checksum(bytes: &mut [u8], place: usize, pseudo: &[u8]) {
    let checksum = 0xffff - (modulo(bytes) + modulo(pseudo)) % 0xffff;
    bytes[place..place + 2].copy_from_slice(&(checksum as u16).to_be_bytes());
}

/// Whether bytes with their checksum, and a pseudo header, are intact.
pub fn is_intact(bytes: &[u8], pseudo: &[u8]) -> bool {
    (modulo(bytes) + modulo(pseudo)).is_multiple_of(0xffff)
}

pub fn ethernet(to: Mac, from: Mac, kind: u16, payload: &[u8]) -> Vec<u8> {
    [&to[..], &from, &kind.to_be_bytes(), payload].concat()
}

/// An IPv4 packet without options. `fragment` is its flags and offset.
pub fn ipv4(protocol: u8, from: Ip, to: Ip, fragment: u16, payload: &[u8]) -> Vec<u8> {
    let length = (20 + payload.len() as u16).to_be_bytes();
    let mut header =
        [&[0x45, 0][..], &length, &[0, 0], &fragment.to_be_bytes(), &[64, protocol, 0, 0], &from, &to].concat();
    put_checksum(&mut header, 10, &[]);
    [&header, payload].concat()
}

fn pseudo(from: Ip, to: Ip, protocol: u8, length: usize) -> Vec<u8> {
    [&from[..], &to, &[0, protocol], &(length as u16).to_be_bytes()].concat()
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Segment {
    pub from: u16,
    pub to: u16,
    pub sequence: u32,
    pub acknowledgment: u32,
    pub flags: u8,
    /// A multiple of 4 bytes.
    pub options: Vec<u8>,
    pub data: Vec<u8>,
}

impl Segment {
    pub fn new(to: u16, flags: u8) -> Self {
        let (sequence, acknowledgment) = (0xffff_fff0, if flags & ACK == 0 { 0 } else { 0x1234_5678 });
        Self { from: 40_000, to, sequence, acknowledgment, flags, options: Vec::new(), data: Vec::new() }
    }

    /// SEG.LEN: data, SYN and FIN (RFC 9293 §3.4).
    pub fn length(&self) -> u32 {
        self.data.len() as u32 + u32::from(self.flags & SYN != 0) + u32::from(self.flags & FIN != 0)
    }

    pub fn bytes(&self, from: Ip, to: Ip) -> Vec<u8> {
        let ports = [self.from.to_be_bytes(), self.to.to_be_bytes()].concat();
        let numbers = [self.sequence.to_be_bytes(), self.acknowledgment.to_be_bytes()].concat();
        let offset = (((20 + self.options.len()) / 4) << 4) as u8;
        let rest = [offset, self.flags, 0xfa, 0xf0, 0, 0, 0, 0];
        let mut bytes = [&ports[..], &numbers, &rest, &self.options, &self.data].concat();
        let length = bytes.len();
        put_checksum(&mut bytes, 16, &pseudo(from, to, 6, length));
        bytes
    }

    /// The frame by which a peer sends it to us.
    pub fn frame(&self) -> Vec<u8> {
        ethernet(OUR_MAC, PEER_MAC, 0x0800, &ipv4(6, PEER_IP, OUR_IP, 0x4000, &self.bytes(PEER_IP, OUR_IP)))
    }
}

/// What a frame says of Ethernet: to, from, type, payload.
pub fn read_ethernet(frame: &[u8]) -> (Mac, Mac, u16, &[u8]) {
    let kind = u16::from_be_bytes([frame[12], frame[13]]);
    (frame[..6].try_into().unwrap(), frame[6..12].try_into().unwrap(), kind, &frame[14..])
}

/// The payload of an IPv4 packet for a peer that we sent, of which all is as it has to be.
pub fn read_ipv4(frame: &[u8], protocol: u8) -> &[u8] {
    let (to, from, kind, packet) = read_ethernet(frame);
    assert_eq!((to, from, kind), (PEER_MAC, OUR_MAC, 0x0800));
    assert_eq!(packet[0], 0x45, "version 4, a header of 20 bytes");
    assert_eq!(usize::from(u16::from_be_bytes([packet[2], packet[3]])), packet.len());
    assert_eq!(u16::from_be_bytes([packet[6], packet[7]]) & 0x3fff, 0, "whole");
    assert!(packet[8] != 0, "time to live");
    assert_eq!((packet[9], &packet[12..16], &packet[16..20]), (protocol, &OUR_IP[..], &PEER_IP[..]));
    assert!(is_intact(&packet[..20], &[]), "the header's checksum");
    &packet[20..]
}

/// A segment that we sent to a peer.
pub fn read_tcp(frame: &[u8]) -> Segment {
    let bytes = read_ipv4(frame, 6);
    assert!(is_intact(bytes, &pseudo(OUR_IP, PEER_IP, 6, bytes.len())), "the segment's checksum");
    let word = |place: usize| u32::from_be_bytes(bytes[place..place + 4].try_into().unwrap());
    let header = usize::from(bytes[12] >> 4) * 4;
    Segment {
        from: (word(0) >> 16) as u16,
        to: word(0) as u16,
        sequence: word(4),
        acknowledgment: word(8),
        flags: bytes[13],
        options: bytes[20..header].to_vec(),
        data: bytes[header..].to_vec(),
    }
}

#[test]
fn a_header_with_a_checksum_that_is_known_is_intact() {
    // The example of RFC 1071 §3: its sum is ddf2.
    let mut bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7, 0, 0];
    put_checksum(&mut bytes, 8, &[]);
    assert_eq!(bytes[8..], [!0xdd, !0xf2]);
    assert!(is_intact(&bytes, &[]) && !is_intact(&bytes[..9], &[]));
}
