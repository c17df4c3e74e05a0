//! Answers are made by the words of `hv_abi::wake` and held against the RFCs' layouts.

use core::net::Ipv4Addr;
use std::vec;
use std::vec::Vec;

use super::*;

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];
const PEER: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
const NETWORK: NetworkSpec =
    NetworkSpec { network: 0, mac: MAC, address: Ipv4Addr::new(10, 0, 2, 100), prefix: 24, gateway: None, port: 8080 };

#[derive(Clone, PartialEq, Eq, Debug)]
enum Fate {
    Dropped,
    Wakes,
    Answered(Vec<u8>),
}

/// What the contract says of a frame.
fn fate(frame: &[u8]) -> Fate {
    let matches = |rule: &&WakeRule| {
        (0..MATCHED).all(|at| match frame.get(at) {
            Some(byte) => (byte ^ rule.value[at]) & rule.mask[at] == 0,
            None => rule.mask[at] == 0,
        })
    };
    let rules = rules(&NETWORK);
    match rules.iter().find(matches) {
        Some(rule) if rule.action == 1 => Fate::Wakes,
        Some(rule) if rule.action == 3 => Fate::Answered(answer(rule, frame)),
        _ => Fate::Dropped,
    }
}

fn answer(rule: &WakeRule, frame: &[u8]) -> Vec<u8> {
    let mut out = rule.answer[..rule.answer_length.into()].to_vec();
    for copy in rule.copies {
        let (from, to, length) = (usize::from(copy.from), usize::from(copy.to), usize::from(copy.length));
        out[to..to + length].copy_from_slice(&frame[from..from + length]);
    }
    let sum = rule.sum;
    if sum.to != 0 {
        assert_eq!(sum.narrow, 0);
        let wide = u32::from_be_bytes(frame[sum.wide.into()..][..4].try_into().unwrap());
        let number = wide.wrapping_add(sum.constant.get());
        out[sum.to.into()..][..4].copy_from_slice(&number.to_be_bytes());
    }
    for field in rule.checksums.iter().filter(|field| field.to != 0) {
        out[field.to.into()..][..2].fill(0);
        let sum = !folded(&out[field.start.into()..field.end.into()], field.seed.get());
        out[field.to.into()..][..2].copy_from_slice(&sum.to_be_bytes());
    }
    out
}

/// The ones' complement sum (RFC 1071).
fn folded(bytes: &[u8], seed: u16) -> u16 {
    let words = bytes.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)])));
    let mut sum = words.sum::<u32>() + u32::from(seed);
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// A segment from port 40000 of 10.0.2.2 with SEG.SEQ 0xffff_ffff and SEG.ACK 0x1234_5678 (RFC 791, RFC 9293).
fn segment(port: u16, flags: u8) -> Vec<u8> {
    let mut frame = vec![];
    frame.extend_from_slice(&MAC);
    frame.extend_from_slice(&PEER);
    frame.extend_from_slice(&[8, 0, 0x45, 0, 0, 40, 0x12, 0x34, 0x40, 0, 64, 6, 0, 0, 10, 0, 2, 2, 10, 0, 2, 100]);
    frame.extend_from_slice(&40_000u16.to_be_bytes());
    frame.extend_from_slice(&port.to_be_bytes());
    frame.extend_from_slice(&[0xff, 0xff, 0xff, 0xff, 0x12, 0x34, 0x56, 0x78, 0x50, flags, 0xfa, 0xf0, 0, 0, 0, 0]);
    frame.resize(60, 0);
    frame
}

fn changed(at: usize, bytes: &[u8], flags: u8) -> Vec<u8> {
    let mut frame = segment(8080, flags);
    frame[at..at + bytes.len()].copy_from_slice(bytes);
    frame
}

fn arp(operation: u8, target: [u8; 4]) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend_from_slice(&PEER);
    frame.extend_from_slice(&[8, 6, 0, 1, 8, 0, 6, 4, 0, operation]);
    frame.extend_from_slice(&PEER);
    frame.extend_from_slice(&[10, 0, 2, 2, 0, 0, 0, 0, 0, 0]);
    frame.extend_from_slice(&target);
    frame
}

#[test]
fn who_asks_for_the_address_is_told_it_and_nobody_else_is() {
    let mut expected = PEER.to_vec();
    expected.extend_from_slice(&MAC);
    expected.extend_from_slice(&[8, 6, 0, 1, 8, 0, 6, 4, 0, 2]);
    expected.extend_from_slice(&MAC);
    expected.extend_from_slice(&[10, 0, 2, 100]);
    expected.extend_from_slice(&PEER);
    expected.extend_from_slice(&[10, 0, 2, 2]);
    expected.resize(60, 0);
    assert_eq!(fate(&arp(1, [10, 0, 2, 100])), Fate::Answered(expected));
    assert_eq!(fate(&arp(1, [10, 0, 2, 101])), Fate::Dropped);
    assert_eq!(fate(&arp(2, [10, 0, 2, 100])), Fate::Dropped);
    assert_eq!(fate(&arp(1, [10, 0, 2, 100])[..41]), Fate::Dropped);
}

#[test]
fn only_a_new_connection_to_the_page_wakes() {
    assert_eq!(fate(&segment(8080, 0x02)), Fate::Wakes);
    // With ECN's bits (RFC 3168 §6.1.1), and with options.
    assert_eq!(fate(&segment(8080, 0xc2)), Fate::Wakes);
    assert_eq!(fate(&changed(46, &[0xa0], 0x02)), Fate::Wakes);
    for (what, frame) in [
        ("another card's", changed(0, &[2, 0, 0, 0, 0, 8], 0x02)),
        ("everybody's", changed(0, &[0xff; 6], 0x02)),
        ("IPv6", changed(12, &[0x86, 0xdd], 0x02)),
        ("with IPv4 options", changed(14, &[0x46], 0x02)),
        ("a first fragment", changed(20, &[0x20, 0], 0x02)),
        ("a later fragment", changed(20, &[0, 5], 0x02)),
        ("UDP", changed(23, &[17], 0x02)),
        ("another address", changed(30, &[10, 0, 2, 101], 0x02)),
        ("from a group", changed(26, &[224, 0, 0, 1], 0x02)),
        ("from everybody", changed(26, &[255; 4], 0x02)),
        ("SYN and FIN", segment(8080, 0x03)),
        ("SYN and RST", segment(8080, 0x06)),
        ("RST", segment(8080, 0x04)),
        ("RST and ACK", segment(8080, 0x14)),
        ("no flags", segment(8080, 0)),
        ("FIN alone", segment(8080, 1)),
        ("cut", segment(8080, 0x02)[..47].to_vec()),
        ("empty", Vec::new()),
    ] {
        assert_eq!(fate(&frame), Fate::Dropped, "{what}");
    }
}

/// The fields of a segment that ends a connection, by RFC 791 and RFC 9293.
fn assert_reset(answer: &[u8], port: u16, (sequence, acknowledgment, flags): (u32, u32, u8)) {
    let u16_at = |at: usize| u16::from_be_bytes(answer[at..at + 2].try_into().unwrap());
    let u32_at = |at: usize| u32::from_be_bytes(answer[at..at + 4].try_into().unwrap());
    assert_eq!(answer.len(), 60);
    assert_eq!((&answer[..6], &answer[6..12], u16_at(12)), (&PEER[..], &MAC[..], 0x0800));
    assert_eq!((answer[14], answer[15], u16_at(16)), (0x45, 0, 40), "version, service, total length");
    assert_eq!((u16_at(20), answer[22], answer[23]), (0x4000, 64, 6), "not to be fragmented, TTL, TCP");
    assert_eq!((&answer[26..30], &answer[30..34]), (&[10, 0, 2, 100][..], &[10, 0, 2, 2][..]));
    assert_eq!(folded(&answer[14..34], 0), 0xffff, "checksum of the header");
    assert_eq!((u16_at(34), u16_at(36)), (port, 40_000));
    assert_eq!((u32_at(38), u32_at(42)), (sequence, acknowledgment));
    assert_eq!((answer[46], answer[47], u16_at(48), u16_at(52)), (0x50, flags, 0, 0));
    let mut pseudo = answer[26..34].to_vec();
    pseudo.extend_from_slice(&[0, 6, 0, 20]);
    assert_eq!(folded(&[&pseudo, &answer[34..54]].concat(), 0), 0xffff, "checksum of the segment");
    assert_eq!(answer[54..], [0; 6]);
}

#[test]
fn what_belongs_to_no_connection_is_reset_as_a_closed_port_does() {
    // RFC 9293 §3.10.7.1: <SEQ=0><ACK=SEG.SEQ+SEG.LEN><CTL=RST,ACK>, numbers modulo 2^32.
    let Fate::Answered(refused) = fate(&segment(22, 0x02)) else { panic!("a SYN to a closed port") };
    assert_reset(&refused, 22, (0, 0, 0x14));
    // <SEQ=SEG.ACK><CTL=RST>
    for (port, flags) in [(8080, 0x10), (8080, 0x18), (8080, 0x11), (22, 0x12), (22, 0x10)] {
        let Fate::Answered(reset) = fate(&segment(port, flags)) else { panic!("{flags:#x} to {port}") };
        assert_reset(&reset, port, (0x1234_5678, 0, 0x04));
    }
}

#[test]
fn the_rules_are_within_the_contracts_bounds() {
    let rules = rules(&NETWORK);
    assert!(rules.len() <= hv_abi::wake::RULES_MAX);
    for rule in rules {
        assert!(rule.copies.iter().all(|copy| copy.to + copy.length <= rule.answer_length));
        assert!(rule.checksums.iter().all(|field| field.end <= rule.answer_length && field.start <= field.end));
        assert_eq!(rule.action == 3, rule.answer_length != 0);
    }
}
