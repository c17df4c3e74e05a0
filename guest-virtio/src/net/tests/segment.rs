//! Frames that are cut, against a model that builds each segment from the stream (RFC 791, RFC 8200, RFC 9293).

mod model;
mod refused;

use super::guest::*;
use crate::memory::GuestMemory;
use crate::net::segment::{COUNT_MAX, Segment, Segments};
use crate::net::*;
use crate::queue::{self, Direction};
use crate::testing::{RAM_BASE, Random, VecMemory};
use core::num::NonZeroU16;
use model::*;
use proptest::prelude::*;

/// A frame in a guest's memory.
struct Sender {
    memory: VecMemory,
    frame: Frame,
}

impl Sender {
    /// The frame `bytes` in random buffers, with TCP from `tcp` on, in segments of `size` bytes.
    fn new(bytes: &[u8], (protocol, tcp, size): (Protocol, usize, u16), random: &Random) -> Self {
        let (memory, mut frame) = (VecMemory::new(), Frame::new());
        // Small buffers in front as often as not.
        let near = if random.chance(2) { bytes.len().min(200) } else { bytes.len() };
        let count = random.below(MAX_SEGMENTS as u64);
        let mut places: Vec<usize> = (0..count).map(|_| random.below(near as u64 + 1) as usize).collect();
        places.extend([0, bytes.len()]);
        places.sort_unstable();
        places.dedup();
        let mut ipa = RAM_BASE;
        for piece in places.windows(2).map(|pair| &bytes[pair[0]..pair[1]]) {
            memory.write(ipa, piece).unwrap();
            let buffer = queue::Segment { ipa, length: piece.len() as u32, direction: Direction::Readable };
            frame.data.push(buffer);
            ipa += piece.len() as u64 + random.below(100);
        }
        let how = Segmentation { protocol, size: NonZeroU16::new(size).unwrap(), header: 54, ecn: false };
        frame.length = bytes.len() as u32;
        frame.offload = Offload::Segments(Checksum { start: tcp as u16, offset: 16 }, how);
        Self { memory, frame }
    }

    fn of(packet: &Packet, size: u16) -> Self {
        Self::new(&packet.unfinished(), (packet.protocol(), packet.tcp_at(), size), &Random::new(7))
    }

    fn cut(&self) -> Option<Segments> {
        Segments::new(&self.frame, &self.memory)
    }

    /// The segment as its receiver has it, its checksum left undone.
    fn bytes(&self, segment: &Segment<'_>) -> Vec<u8> {
        let mut payload = vec![0; segment.payload.len()];
        self.frame.read(segment.payload.start, &mut payload, &self.memory).unwrap();
        let bytes = [segment.headers, &payload].concat();
        assert_eq!(bytes.len() as u32, segment.length());
        bytes
    }

    /// The segments as their receiver has them, with their checksums.
    fn finished(&self) -> Vec<Vec<u8>> {
        let mut segments = self.cut().expect("a frame that can be cut");
        let mut frames = vec![];
        while let Some(segment) = segments.next_segment() {
            let mut bytes = self.bytes(&segment);
            let patch = completed(segment.checksum, &[&bytes]);
            // What a receiver computes that was given the rest to do (virtio 1.2 §5.1.6.4.1).
            assert_eq!(segment.offload(), Offload::Checksum(segment.checksum));
            assert_eq!(patch.bytes, checksum(&bytes[segment.checksum.start.into()..]), "the pseudo header's sum");
            bytes[patch.at as usize..][..2].copy_from_slice(&patch.bytes);
            frames.push(bytes);
        }
        frames
    }
}

/// Holds the segments of a packet against the model's.
fn check(packet: &Packet, size: u16, random: &Random) {
    let sender = Sender::new(&packet.unfinished(), (packet.protocol(), packet.tcp_at(), size), random);
    let frames = sender.finished();
    let expected = packet.cut(size);
    assert_eq!(frames.len(), expected.len());
    let mut stream = vec![];
    for (frame, expected) in frames.iter().zip(&expected) {
        assert!(*frame == expected.bytes(), "{frame:02x?}, not {expected:02x?}");
        let read = read(frame);
        assert_eq!(read.sequence, packet.sequence.wrapping_add(stream.len() as u32));
        stream.extend(read.payload);
    }
    assert!(stream == packet.payload);
}

#[test]
fn each_kind_of_headers_is_repeated_in_each_segment() {
    let route_record = [7, 11, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    for (name, packet) in [
        ("IPv4", ipv4()),
        ("no operation and the end", ipv4().with_options(&[1, 1, 0, 131])),
        ("an option", ipv4().with_options(&route_record)),
        ("all of IPv4's options", ipv4().with_options(&[1; 40])),
        ("IPv6", ipv6()),
        ("destination options", ipv6().with_extension(60, 0, 0)),
        ("a route that ends here", ipv6().with_extension(43, 2, 0)),
        ("hop by hop, and more", ipv6().with_extension(0, 0, 9).with_extension(60, 3, 0).with_extension(43, 0, 0)),
        ("a tag", ipv4().with_tags(&[0x8100])),
        ("two tags", ipv6().with_tags(&[0x88a8, 0x8100])),
        ("timestamps", Packet { options: vec![1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8], ..ipv4() }),
        ("all of TCP's options", Packet { options: vec![1; 40], ..ipv6() }),
        ("do not fragment", Packet { ip: Ip::V4 { options: vec![], identification: 0, fragment: 0x4000 }, ..ipv4() }),
    ] {
        println!("{name}");
        check(&packet, 1000, &Random::new(1));
    }
}

#[test]
fn control_bits_stand_where_they_belong() {
    let all = !SYN;
    for (control, expected) in [
        (ACK, [ACK; 3]),
        (ACK | PSH, [ACK, ACK, ACK | PSH]),
        (ACK | FIN, [ACK, ACK, ACK | FIN]),
        (ACK | CWR, [ACK | CWR, ACK, ACK]),
        (ACK | ECE, [ACK | ECE; 3]),
        (all & !URG, [0xd4, 0x54, 0x5d]),
    ] {
        let frames = Sender::of(&Packet { control, ..ipv4() }, 1000).finished();
        let found: Vec<u8> = frames.iter().map(|frame| read(frame).control).collect();
        assert_eq!(found, expected, "{control:#x}");
    }
}

#[test]
fn an_urgent_pointer_names_the_same_byte_in_each_segment() {
    for (pointer, expected) in [
        (1, [(true, 1), (false, 0), (false, 0)]),
        (1000, [(true, 1000), (false, 0), (false, 0)]),
        (1001, [(true, 1001), (true, 1), (false, 0)]),
        (0xffff, [(true, 65_535), (true, 64_535), (true, 63_535)]),
    ] {
        let frames = Sender::of(&Packet { control: ACK | URG, urgent: pointer, ..ipv6() }, 1000).finished();
        let found: Vec<(bool, u16)> =
            frames.iter().map(|frame| read(frame)).map(|read| (read.control & URG != 0, read.urgent)).collect();
        assert_eq!(found, expected, "{pointer}");
    }
}

#[test]
fn numbers_begin_again_behind_their_last() {
    let ip = Ip::V4 { options: vec![], identification: 0xffff, fragment: 0 };
    let frames = Sender::of(&Packet { ip, sequence: 0xffff_fc18, ..ipv4() }, 1000).finished();
    let found: Vec<(u16, u32)> =
        frames.iter().map(|frame| read(frame)).map(|read| (read.identification, read.sequence)).collect();
    assert_eq!(found, [(0xffff, 0xffff_fc18), (0, 0), (1, 1000)]);
}

#[test]
fn a_frame_has_as_many_segments_as_its_payload_fills() {
    for (payload, lengths) in [
        (0, vec![0]),
        (1, vec![1]),
        (1000, vec![1000]),
        (1001, vec![1000, 1]),
        (3000, vec![1000; 3]),
        (2999, vec![1000, 1000, 999]),
    ] {
        let sender = Sender::of(&ipv4().with_payload(payload), 1000);
        let mut segments = sender.cut().unwrap();
        let (mut left, mut next) = (lengths.len() as u16, 54);
        for length in lengths {
            assert_eq!(segments.left(), left);
            assert_eq!(segments.next_segment().unwrap().payload, next..next + length);
            (left, next) = (left - 1, next + length);
        }
        assert_eq!((segments.left(), segments.next_segment()), (0, None));
        assert_eq!((segments.left(), segments.next_segment()), (0, None), "and none comes after that");
    }
}

#[test]
fn a_postponed_segment_comes_again() {
    let sender = Sender::of(&ipv4(), 1000);
    let expected = sender.finished().len();
    let mut segments = sender.cut().unwrap();
    segments.postpone();
    for left in (0..expected as u16).rev() {
        let first = sender.bytes(&segments.next_segment().unwrap());
        segments.postpone();
        assert_eq!(segments.left(), left + 1);
        assert!(sender.bytes(&segments.next_segment().unwrap()) == first);
    }
    assert_eq!(segments.next_segment(), None);
    segments.postpone();
    assert!(segments.next_segment().is_some(), "the last one, as before");
}

#[test]
fn frames_that_are_not_to_be_cut_have_no_segments() {
    let mut sender = Sender::of(&ipv4(), 1000);
    for offload in [Offload::None, Offload::Valid, Offload::Checksum(Checksum { start: 34, offset: 16 })] {
        sender.frame.offload = offload;
        assert!(sender.cut().is_none(), "{offload:?}");
    }
    assert_eq!((Segments::NONE.left(), Segments::NONE.clone().next_segment()), (0, None));
}

#[test]
fn a_frame_has_at_most_1024_segments() {
    assert_eq!(COUNT_MAX, 1024);
    for (payload, size, count) in [
        (1024, 1, Some(1024)),
        (1025, 1, None),
        (65_496, 64, Some(1024)),
        (65_496, 63, None),
        (65_496, 1, None),
        (65_481, 65_481, Some(1)),
        (8 * 1024, 8, Some(1024)),
    ] {
        let found = Sender::of(&ipv4().with_payload(payload), size).cut().map(|segments| segments.left());
        assert_eq!(found, count, "{payload} in {size}");
    }
}

#[test]
fn the_longest_frames_are_cut_and_no_packet_is_longer_than_65535() {
    check(&ipv4().with_payload(65_496), 1448, &Random::new(1));
    check(&ipv6().with_payload(65_476), 1428, &Random::new(2));
    check(&ipv4().with_payload(65_495), 0xffff, &Random::new(3));
    check(&ipv6().with_payload(65_475), 0xffff, &Random::new(4));
    for packet in [ipv4().with_payload(65_496), ipv6().with_payload(65_476)] {
        assert!(Sender::of(&packet, 0xffff).cut().is_none(), "65,536 bytes of IP");
        assert!(Sender::of(&packet, 65_474).cut().is_some());
    }
}

#[test]
fn what_the_guest_writes_into_its_headers_later_changes_no_segment() {
    let sender = Sender::of(&ipv4(), 1000);
    let expected = sender.finished();
    let mut segments = sender.cut().unwrap();
    let mut left = 54;
    for buffer in &sender.frame.data {
        let length = left.min(buffer.length);
        sender.memory.write(buffer.ipa, &vec![0xff; length as usize]).unwrap();
        left -= length;
    }
    sender.memory.take_accesses();
    for expected in expected {
        let segment = segments.next_segment().unwrap();
        assert_eq!(sender.memory.take_accesses(), 0, "nothing is read again");
        let mut bytes = sender.bytes(&segment);
        let patch = completed(segment.checksum, &[&bytes]);
        bytes[patch.at as usize..][..2].copy_from_slice(&patch.bytes);
        assert!(bytes == expected);
        sender.memory.take_accesses();
    }
}

#[test]
fn a_frame_outside_of_ram_has_no_segments() {
    let mut sender = Sender::of(&ipv4(), 1000);
    for buffer in &mut sender.frame.data {
        buffer.ipa -= 0x1_0000;
    }
    assert!(sender.cut().is_none());
}

/// Sends `packet` from a guest whose card cuts to one that takes no segments and lacks the features `without`.
fn exchange(packet: &Packet, size: u16, without: u64) -> Vec<(Header, Vec<u8>)> {
    let (mut from, mut to) = (Guest::new(&nic(), 0, 1), Guest::new(&nic(), without, 2));
    let kind = if packet.protocol() == Protocol::Tcp4 { 1 } else { 4 };
    let header = Header { gso_type: kind, csum_start: packet.tcp_at() as u16, ..Header::tcp4(size) };
    from.send(&header, &packet.unfinished()).unwrap();
    let (mut frame, mut room) = (Frame::new(), Room::new());
    from.take(&mut frame).unwrap();
    assert_eq!(to.net.accepts(&frame.offload, frame.length), Fit::NeedsSegments);
    let mut segments = Segments::new(&frame, &from.memory).unwrap();
    let mut received = vec![];
    while let Some(segment) = segments.next_segment() {
        to.offer(1530).unwrap();
        assert_eq!(to.net.room(segment.length(), &to.memory, &mut room), Reception::Room);
        let mut payload = vec![0; segment.payload.len()];
        frame.read(segment.payload.start, &mut payload, &from.memory).unwrap();
        scatter(&[segment.headers, &payload].concat(), &room.data, &to.memory);
        let offload = match to.net.accepts(&segment.offload(), segment.length()) {
            Fit::AsIs => segment.offload(),
            fit => {
                assert_eq!(fit, Fit::NeedsChecksum);
                let patch = completed(segment.checksum, &[segment.headers, &payload]);
                room.write(patch.at, &patch.bytes, &to.memory).unwrap();
                Offload::None
            }
        };
        to.net.deliver(&room, &offload, &to.memory);
        received.extend(to.receive());
    }
    received
}

#[test]
fn a_guest_without_segmentation_receives_segments() {
    let segments = GUEST_TSO4 | GUEST_TSO6 | GUEST_ECN;
    for (packet, size) in [(ipv4(), 1448), (ipv6().with_tags(&[0x8100]), 1428)] {
        let expected = packet.cut(size);
        let start = packet.tcp_at();
        for (without, flags) in [(segments, 1), (segments | GUEST_CSUM, 0), (segments | GUEST_CSUM | MRG_RXBUF, 0)] {
            let received = exchange(&packet, size, without);
            assert_eq!(received.len(), expected.len());
            for ((header, mut bytes), expected) in received.into_iter().zip(&expected) {
                assert_eq!((header.flags, header.gso_type, header.num_buffers), (flags, 0, 1));
                if flags == 1 {
                    assert_eq!((usize::from(header.csum_start), header.csum_offset), (start, 16));
                    let sum = checksum(&bytes[start..]);
                    bytes[start + 16..start + 18].copy_from_slice(&sum);
                }
                assert!(bytes == expected.bytes());
            }
        }
    }
}

#[test]
fn segments_can_stand_in_a_static_table() {
    static TABLE: [Segments; 2] = [const { Segments::NONE }; 2];
    assert!(TABLE.iter().all(|segments| segments.left() == 0));
    assert!(size_of::<Segments>() <= 384, "{}", size_of::<Segments>());
}

proptest! {
    #[test]
    fn random_frames_are_cut_into_the_segments_of_the_model(
        seed in any::<u64>(),
        size in prop_oneof![1..200_u16, 200..3000_u16],
        payload in prop_oneof![0..1000_usize, 0..20_000_usize],
    ) {
        let random = Random::new(seed);
        let packet = Packet::random(&random).with_payload(payload);
        let size = size.max(payload.div_ceil(1024) as u16);
        check(&packet, size, &random);
    }
}
