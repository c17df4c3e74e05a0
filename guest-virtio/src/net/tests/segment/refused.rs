//! Frames that no segments can be made of, and bytes that are no frames.

use super::Sender;
use super::model::*;
use crate::net::segment::{COUNT_MAX, HEADERS_MAX, Segment};
use crate::net::*;
use crate::testing::Random;
use proptest::prelude::*;

/// A place in a frame, and the bytes that are written there.
type Change = (usize, &'static [u8]);

/// What is refused as it is built.
const NO_CHANGE: Change = (0, &[]);

/// Each is refused with its change, and only with it.
fn check_refused(cases: &[(&str, Packet, Change)]) {
    for (name, packet, (at, change)) in cases {
        assert_eq!(Sender::of(packet, 1000).cut().is_some(), !change.is_empty(), "{name}: but for what is changed");
        let mut bytes = packet.unfinished();
        bytes[*at..at + change.len()].copy_from_slice(change);
        let sender = Sender::new(&bytes, (packet.protocol(), packet.tcp_at(), 1000), &Random::new(1));
        assert!(sender.cut().is_none(), "{name}");
    }
}

#[test]
fn frames_of_other_protocols_and_tcp_headers_that_are_none_are_refused() {
    check_refused(&[
        ("ARP", ipv4(), (12, &[0x08, 0x06])),
        ("IPv6 that says IPv4", ipv6(), (12, &[0x08, 0x00])),
        ("IPv4 that says IPv6", ipv4(), (12, &[0x86, 0xdd])),
        ("a tag that nobody knows", ipv4().with_tags(&[0x9100]), NO_CHANGE),
        ("three tags", ipv4().with_tags(&[0x88a8, 0x8100, 0x8100]), NO_CHANGE),
        ("four words of a TCP header", ipv4(), (46, &[0x40])),
        ("TCP options beyond the frame", ipv4().with_payload(39), (46, &[0xf0])),
        ("SYN", ipv4(), (47, &[ACK | SYN])),
    ]);
}

#[test]
fn ipv4_headers_that_cannot_be_repeated_are_refused() {
    let options = |bytes: &[u8]| ipv4().with_options(bytes);
    check_refused(&[
        ("another version", ipv4(), (14, &[0x65])),
        ("four words of a header", ipv4(), (14, &[0x44])),
        ("six words that are five", ipv4(), (14, &[0x46])),
        ("five words that are six", options(&[1; 4]), (14, &[0x45])),
        ("UDP", ipv4(), (23, &[17])),
        ("a first fragment", ipv4(), (20, &[0x20])),
        ("a last fragment", ipv4(), (21, &[1])),
        ("a fragment far behind", ipv4(), (20, &[0x10])),
        ("a loose source route", options(&[131, 7, 4, 10, 0, 0, 9, 0]), NO_CHANGE),
        ("a strict one, behind something", options(&[1, 137, 7, 4, 10, 0, 0, 9]), NO_CHANGE),
        ("an option of no bytes", options(&[7, 0, 0, 0]), NO_CHANGE),
        ("an option of one byte", options(&[7, 1, 0, 0]), NO_CHANGE),
        ("an option beyond the header", options(&[7, 5, 4, 0]), NO_CHANGE),
        ("an option without a length", options(&[1, 1, 1, 7]), NO_CHANGE),
    ]);
}

#[test]
fn ipv6_headers_that_cannot_be_repeated_are_refused() {
    let extension = |kind| ipv6().with_extension(kind, 0, 0);
    let four = (0..3).fold(extension(60), |packet, _| packet.with_extension(60, 0, 0));
    assert!(Sender::of(&four, 1000).cut().is_some());
    check_refused(&[
        ("another version", ipv6(), (14, &[0x40])),
        ("UDP", ipv6(), (20, &[17])),
        ("a fragment header", extension(44), NO_CHANGE),
        ("an authentication header", extension(51), NO_CHANGE),
        ("encryption", extension(50), NO_CHANGE),
        ("nothing more", extension(59), NO_CHANGE),
        ("a route that goes on", ipv6().with_extension(43, 2, 1), NO_CHANGE),
        ("hop by hop behind another", extension(60).with_extension(0, 0, 0), NO_CHANGE),
        ("five extensions", four.with_extension(60, 0, 0), NO_CHANGE),
        ("an extension beyond the headers", extension(60), (55, &[0xff])),
        ("an extension beyond the frame", extension(60).with_payload(0), (55, &[9])),
    ]);
}

#[test]
fn a_frame_whose_header_speaks_of_other_headers_is_refused() {
    let packet = ipv4();
    let bytes = packet.unfinished();
    let of = |protocol, tcp, length| Sender::new(&bytes[..length], (protocol, tcp, 1000), &Random::new(1)).cut();
    assert!(of(Protocol::Tcp4, 34, 54).is_some());
    for (name, protocol, tcp, length) in [
        ("the other protocol", Protocol::Tcp6, 34, 54),
        ("a checksum before TCP", Protocol::Tcp4, 14, 54),
        ("a checksum behind it", Protocol::Tcp4, 38, 54),
        ("half a TCP header", Protocol::Tcp4, 34, 53),
        ("half an IPv4 header", Protocol::Tcp4, 34, 30),
        ("half a type", Protocol::Tcp4, 34, 13),
        ("no byte", Protocol::Tcp4, 34, 0),
    ] {
        assert!(of(protocol, tcp, length).is_none(), "{name}");
    }
    let mut sender = Sender::of(&packet, 1000);
    if let Offload::Segments(checksum, _) = &mut sender.frame.offload {
        checksum.offset = 6;
    }
    assert!(sender.cut().is_none(), "a checksum that is not TCP's");
}

#[test]
fn headers_have_at_most_256_bytes() {
    assert_eq!(HEADERS_MAX, 256);
    // 14 and 40, an extension of 8 and its units, and TCP's 20 and its options: two more than words of 32 bits.
    for (units, options, cut) in [(20, 12, true), (20, 16, false), (21, 4, true), (21, 8, false), (22, 0, false)] {
        let packet = Packet { options: vec![1; options], ..ipv6().with_extension(60, units, 0) };
        let length = packet.tcp_at() + 20 + options;
        assert_eq!(length <= 256, cut, "{length}");
        assert_eq!(Sender::of(&packet, 1000).cut().is_some(), cut, "{length}");
    }
}

/// Cuts what may be no frame; how many segments it has. All that is promised holds for what is none, too.
fn cut_hostile(sender: &Sender) -> u32 {
    sender.memory.take_accesses();
    let cut = sender.cut();
    assert!(sender.memory.take_accesses() <= MAX_SEGMENTS);
    let Some(mut segments) = cut else {
        return 0;
    };
    let Offload::Segments(_, how) = sender.frame.offload else {
        panic!("{:?}", sender.frame.offload);
    };
    let (mut count, mut next) = (0, None);
    while let Some(segment) = segments.next_segment() {
        count += 1;
        assert_eq!(sender.memory.take_accesses(), 0);
        let Segment { headers, payload, checksum } = segment.clone();
        assert!(headers.len() <= HEADERS_MAX && checksum.at() as usize + 2 <= headers.len());
        assert_eq!(payload.start, next.unwrap_or(headers.len() as u32), "no byte is left out or comes twice");
        assert!(payload.len() <= how.size.get().into());
        next = Some(payload.end);
    }
    assert!(count <= u32::from(COUNT_MAX));
    assert_eq!(next, Some(sender.frame.length), "up to the last byte");
    count
}

#[test]
fn headers_with_any_byte_changed_are_refused_or_cut_within_bounds() {
    let (mut cut, mut refused) = (0, 0);
    for packet in
        [ipv4().with_options(&[7, 7, 4, 0, 0, 0, 0, 0]), ipv6().with_extension(0, 0, 0).with_extension(43, 1, 0)]
    {
        let bytes = packet.unfinished();
        for at in 0..packet.tcp_at() + 20 {
            for value in 0..=255 {
                let mut bytes = bytes.clone();
                bytes[at] = value;
                let how = (packet.protocol(), packet.tcp_at(), 1000);
                let count = cut_hostile(&Sender::new(&bytes, how, &Random::new(at as u64)));
                (cut, refused) = if count > 0 { (cut + 1, refused) } else { (cut, refused + 1) };
            }
        }
    }
    assert!(cut > 10_000 && refused > 4_000, "{cut} {refused}");
}

proptest! {
    #[test]
    fn random_bytes_are_refused_or_cut_within_bounds(
        seed in any::<u64>(),
        bytes in prop::collection::vec(any::<u8>(), 0..600),
        (tcp, size) in (0..100_usize, 1..=u16::MAX),
    ) {
        let random = Random::new(seed);
        let protocol = random.pick(&[Protocol::Tcp4, Protocol::Tcp6]);
        cut_hostile(&Sender::new(&bytes, (protocol, tcp, size), &random));
    }

    #[test]
    fn frames_with_random_bytes_in_them_are_refused_or_cut_within_bounds(
        seed in any::<u64>(),
        changes in prop::collection::vec((0..120_usize, any::<u8>()), 0..4),
        (length, size) in (0..2000_usize, 1..=u16::MAX),
    ) {
        let random = Random::new(seed);
        let packet = Packet::random(&random).with_payload(1500);
        let mut bytes = packet.unfinished();
        for (at, value) in changes {
            let at = at % bytes.len();
            bytes[at] = value;
        }
        bytes.truncate(length);
        cut_hostile(&Sender::new(&bytes, (packet.protocol(), packet.tcp_at(), size), &random));
    }
}
