//! Headers and checksums against virtio 1.2 §5.1.6 and RFC 1071.

use super::guest::*;
use crate::net::checksum::{Completion, Patch, Sum};
use crate::net::*;
use proptest::prelude::*;

fn parse(header: &Header, length: u32) -> Option<Offload> {
    Offload::from_bytes(&header.bytes(), length)
}

#[test]
fn headers_say_what_5_1_6_says() {
    let whole = Header::default();
    let summed = Offload::Checksum(Checksum { start: 34, offset: 16 });
    for (name, header, expected) in [
        ("nothing", whole, Offload::None),
        ("a valid checksum", Header { flags: 2, ..whole }, Offload::Valid),
        ("flags that mean nothing here", Header { flags: 0xfc, ..whole }, Offload::None),
        ("a start that nothing asks for", Header { flags: 0, ..Header::checksum(9000, 9000) }, Offload::None),
        ("a checksum", Header::checksum(34, 16), summed),
        ("a checksum and valid", Header { flags: 3, ..Header::checksum(34, 16) }, summed),
        ("sizes of segments that are none", Header { gso_size: 9, hdr_len: 9, ..whole }, Offload::None),
        ("ECN alone", Header { gso_type: 0x80, ..whole }, Offload::None),
        ("the last two bytes", Header::checksum(98, 0), Offload::Checksum(Checksum { start: 98, offset: 0 })),
        ("the first behind Ethernet", Header::checksum(14, 0), Offload::Checksum(Checksum { start: 14, offset: 0 })),
    ] {
        assert_eq!(parse(&header, 100), Some(expected), "{name}");
    }
}

#[test]
fn segments_are_those_of_tcp() {
    let found = |header: Header| match parse(&header, 4000) {
        Some(Offload::Segments(sum, how)) => {
            assert_eq!((sum.start, sum.offset, sum.at()), (34, 16, 50));
            Some((how.protocol, how.size.get(), how.header, how.ecn))
        }
        Some(other) => panic!("{other:?}"),
        None => None,
    };
    let tcp = Header::tcp4(1448);
    assert_eq!(found(tcp), Some((Protocol::Tcp4, 1448, 54, false)));
    assert_eq!(found(Header { gso_type: 0x84, ..tcp }), Some((Protocol::Tcp6, 1448, 54, true)));
    // The hint for the headers is not relied on (§5.1.6.2.2): 34 bytes before TCP, and 20 to 60 of it.
    for (hint, header) in [(54, 54), (66, 66), (4000, 4000), (53, 94), (0, 94), (4001, 94), (0xffff, 94)] {
        assert_eq!(found(Header { hdr_len: hint, ..tcp }), Some((Protocol::Tcp4, 1448, header, false)), "{hint}");
    }
}

#[test]
fn headers_that_contradict_themselves_or_the_frame_are_none() {
    let tcp = Header::tcp4(1000);
    for (name, header) in [
        ("a checksum half behind the end", Header::checksum(99, 0)),
        ("an offset behind the end", Header::checksum(34, 65)),
        ("a sum that would wrap", Header::checksum(0xffff, 0xffff)),
        ("a checksum in the Ethernet header", Header::checksum(13, 20)),
        ("a checksum over the source address", Header::checksum(0, 6)),
        ("segments without a checksum", Header { flags: 0, ..tcp }),
        ("segments with a valid checksum", Header { flags: 2, ..tcp }),
        ("segments of no bytes", Header { gso_size: 0, ..tcp }),
        ("UDP fragments", Header { gso_type: 3, ..tcp }),
        ("UDP segments", Header { gso_type: 5, ..tcp }),
        ("an unknown kind", Header { gso_type: 2, ..Header::default() }),
        ("a tunnel", Header { gso_type: 0x21, ..tcp }),
        ("a checksum that is not TCP's", Header { csum_offset: 6, ..tcp }),
        ("half a TCP header", Header { csum_start: 81, ..tcp }),
    ] {
        assert_eq!(parse(&header, 100), None, "{name}");
    }
}

#[test]
fn a_frame_counts_as_its_segments() {
    let of = |header: Header, length| parse(&header, length).unwrap().frames(length);
    assert_eq!([of(Header::default(), 1514), of(Header::checksum(34, 16), 1514)], [1; 2]);
    // 54 bytes of headers.
    for (payload, frames) in [(0, 1), (1, 1), (1448, 1), (1449, 2), (14_480, 10), (14_481, 11)] {
        assert_eq!(of(Header::tcp4(1448), 54 + payload), frames, "{payload}");
        assert_eq!(of(Header { hdr_len: 54 + payload as u16, ..Header::tcp4(1448) }, 54 + payload), frames);
    }
    assert_eq!(of(Header::tcp4(1), 65_550), 65_496);
}

#[test]
fn each_segment_counts_with_the_most_headers_that_it_can_have_whatever_its_sender_says() {
    let of = |header: Header| parse(&header, 9000).unwrap().repeated();
    assert_eq!([of(Header::default()), of(Header::checksum(34, 16))], [0; 2]);
    // Behind 34 bytes of Ethernet and IPv4, 60 of TCP (RFC 9293 §3.1: a data offset of 15).
    for hint in [0, 54, 66, 94, 9000] {
        assert_eq!(of(Header { hdr_len: hint, ..Header::tcp4(1448) }), 94, "{hint}");
    }
    assert_eq!(of(Header { csum_start: 54, ..Header::tcp4(1448) }), 114);
}

#[test]
fn a_device_that_sends_is_told_of_no_buffers_and_no_valid_checksum() {
    // §5.1.6.2.1: num_buffers is zero, DATA_VALID is not set.
    assert_eq!(Offload::Valid.to_bytes(0), [0; 12]);
    assert_eq!(Header::of(&Offload::Valid.to_bytes(1)), Header { flags: 2, num_buffers: 1, ..Header::default() });
    let tcp = Header { gso_type: 0x81, ..Header::tcp4(1448) };
    assert_eq!(Header::of(&parse(&tcp, 9000).unwrap().to_bytes(0)), tcp);
    assert_eq!(Header::of(&parse(&tcp, 9000).unwrap().to_bytes(7)), Header { num_buffers: 7, ..tcp });
}

#[test]
fn the_sum_of_rfc_1071_section_3() {
    // Its words add up to ddf2.
    let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
    for cut in 0..=bytes.len() {
        let mut sum = Sum::new();
        sum.add(&bytes[..cut]);
        sum.add(&bytes[cut..]);
        assert_eq!(sum.finish(), (!0xddf2_u16).to_be_bytes(), "cut at {cut}");
    }
    let mut full = Sum::new();
    full.add(&[0xff; 2]);
    assert_eq!(full.finish(), [0xff; 2], "never zero (RFC 768)");
}

/// The checksum as RFC 1071 §1 words it, and as RFC 768 has it stand in a frame.
fn model(bytes: &[u8]) -> u16 {
    let mut sum = 0_u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    if sum == 0xffff { 0xffff } else { !(sum as u16) }
}

/// The sum of 64-bit words in ones' complement, zeroes behind the last byte.
fn sum_of_words(bytes: &[u8]) -> u64 {
    let words = bytes.chunks(8).map(|chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        u128::from(u64::from_ne_bytes(word))
    });
    let sum = words.sum::<u128>();
    let sum = (sum & u128::from(u64::MAX)) + (sum >> 64);
    (sum as u64).wrapping_add((sum >> 64) as u64)
}

proptest! {
    #[test]
    fn a_completed_checksum_is_that_of_the_model(
        bytes in prop::collection::vec(any::<u8>(), 16..1514),
        places in (any::<u16>(), any::<u16>()),
        cuts in prop::collection::vec((1..700_usize, any::<bool>()), 1..20),
    ) {
        let length = bytes.len() as u16;
        let start = 14 + places.0 % (length - 15);
        let offset = places.1 % (length - 1 - start);
        let mut completion = Completion::new(Checksum { start, offset });
        let mut rest = &bytes[..];
        for (length, summed) in cuts.into_iter().chain([(1514, false)]) {
            let (piece, behind) = rest.split_at(length.min(rest.len()));
            rest = behind;
            if !summed {
                completion.add(piece);
                continue;
            }
            // As whoever copies them: those that it does not cover, then the others with their sum.
            let (skipped, covered) = piece.split_at(piece.len().min(completion.uncovered() as usize));
            completion.skip(skipped.len() as u32);
            completion.add_summed(sum_of_words(covered), covered.len() as u32);
        }
        let sum = model(&bytes[usize::from(start)..]).to_be_bytes();
        prop_assert_eq!(completion.finish(), Patch { at: u32::from(start + offset), bytes: sum });
    }

    #[test]
    fn any_header_is_none_or_comes_through_unchanged(bytes in any::<[u8; 12]>(), length in 0..70_000_u32) {
        if let Some(offload) = Offload::from_bytes(&bytes, length) {
            prop_assert_eq!(Offload::from_bytes(&offload.to_bytes(1), length), Some(offload));
            if let Offload::Checksum(sum) | Offload::Segments(sum, _) = offload {
                prop_assert!(sum.start >= 14 && sum.at() + 2 <= length);
            }
            prop_assert!(offload.frames(length) > 0);
        }
    }
}
