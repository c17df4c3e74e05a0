//! Frames from one guest to another, in random buffers of both, against a list of what was sent.

use super::guest::*;
use crate::net::*;
use crate::testing::{Buffer, Layout, Random};
use std::collections::VecDeque;

/// A frame that is on its way, as the receiver is to see it.
type Sent = (Header, Vec<u8>);

fn random_header(random: &Random, length: usize) -> Header {
    let tcp = Header { gso_type: random.pick(&[1, 4, 0x81, 0x84]), ..Header::tcp4(1 + random.below(1448) as u16) };
    match random.below(4) {
        0 if length >= 54 => tcp,
        1 | 2 if length >= 40 => Header::checksum(14 + random.below(20) as u16, random.below(5) as u16),
        _ => Header::default(),
    }
}

/// Carries the next frame from one guest to the other; whether it went.
fn carry(from: &mut Guest, to: &mut Guest, frame: &mut Frame, random: &Random) -> bool {
    let Some(bytes) = from.take(frame) else {
        return false;
    };
    let fit = to.net.accepts(&frame.offload, frame.length);
    let offload = if fit == Fit::AsIs { frame.offload } else { Offload::None };
    let mut room = Room::new();
    match to.net.room(frame.length, &to.memory, &mut room) {
        Reception::Room if random.chance(8) => to.net.cancel_rx(&room),
        Reception::Room => {
            scatter(&bytes, &room.data, &to.memory);
            if fit == Fit::NeedsChecksum {
                let patch = complete(frame, &from.memory).unwrap();
                room.write(patch.at, &patch.bytes, &to.memory).unwrap();
            }
            to.net.deliver(&room, &offload, &to.memory);
            from.net.complete_tx(frame, &from.memory);
            return true;
        }
        other => assert_eq!(other, Reception::Full),
    }
    from.net.postpone_tx();
    false
}

/// The 16-bit words of a frame from `start` on, added up in ones' complement (RFC 1071 §1).
pub(super) fn sum(bytes: &[u8]) -> u16 {
    bytes.chunks(2).fold(0_u32, |sum, pair| {
        let sum = sum + (u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0)));
        (sum & 0xffff) + (sum >> 16)
    }) as u16
}

/// What arrived against what was sent, where the receiver takes no checksums to compute.
fn check_completed(sent: &Sent, arrived: &Sent) {
    let (header, mut bytes) = sent.clone();
    assert_eq!(arrived.0.flags, 0);
    let start = usize::from(header.csum_start);
    let at = start + usize::from(header.csum_offset);
    if header.flags == 1 {
        // Of all from csum_start on, stored csum_offset behind it (§5.1.6.4.1), and never zero (RFC 768).
        let checksum = !sum(&bytes[start..]);
        let checksum = if checksum == 0 { 0xffff } else { checksum };
        bytes[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
    }
    assert!(arrived.1 == bytes);
}

fn exchange(seed: u64, without: u64) -> usize {
    let random = Random::new(seed);
    let (mut from, mut to) = (Guest::new(&nic(), 0, seed), Guest::new(&nic(), without, !seed));
    let (mut frame, mut waiting, mut sent) = (Frame::new(), VecDeque::new(), VecDeque::<Sent>::new());
    let merged = without & MRG_RXBUF == 0;
    let mut arrived = 0;
    for _ in 0..300 {
        match random.below(4) {
            0 => {
                let length = 14 + random.below(1500) as usize;
                let bytes: Vec<u8> = (0..length).map(|_| random.next() as u8).collect();
                let header = random_header(&random, length);
                let whole = header.gso_type == 0 || without & GUEST_CSUM == 0;
                if whole && from.send(&header, &bytes).is_some() {
                    waiting.push_back((header, bytes));
                }
            }
            1 => {
                let _: Option<u16> = to.offer(if merged { 12 + random.below(1500) as usize } else { 1530 });
            }
            2 => {
                if carry(&mut from, &mut to, &mut frame, &random) {
                    sent.push_back(waiting.pop_front().unwrap());
                    from.queues[TX].take_used(&from.memory).unwrap();
                }
            }
            _ => {
                while let Some((header, bytes)) = to.receive() {
                    let expected = sent.pop_front().unwrap();
                    assert!(header.num_buffers == 1 || merged);
                    let header = Header { num_buffers: 0, ..header };
                    if without & GUEST_CSUM == 0 {
                        assert!((header, &bytes) == (expected.0, &expected.1), "seed {seed}");
                    } else {
                        check_completed(&expected, &(header, bytes));
                    }
                    arrived += 1;
                }
                assert!(sent.is_empty());
            }
        }
    }
    arrived
}

#[test]
fn random_frames_arrive_as_they_were_sent_and_in_order() {
    let mut arrived = 0;
    for seed in 1..150 {
        for without in [0, MRG_RXBUF, INDIRECT, EVENT_IDX | MRG_RXBUF] {
            arrived += exchange(seed, without);
        }
    }
    assert!(arrived > 15_000, "{arrived}");
}

#[test]
fn a_receiver_without_checksums_gets_them_computed() {
    let segments = GUEST_TSO4 | GUEST_TSO6 | GUEST_ECN;
    let arrived: usize = (1..100).map(|seed| exchange(seed, GUEST_CSUM | segments)).sum();
    assert!(arrived > 2000, "{arrived}");
}

#[test]
fn the_longest_frame_to_be_cut_arrives() {
    // 65,550 bytes in two buffers, into mergeable ones of 1,530 bytes or one of 65,562 (§5.1.6.3.1).
    for (without, length) in [(0, 8000_u32), (MRG_RXBUF, 65_562)] {
        let (mut from, mut to) = (Guest::new(&nic(), 0, 1), Guest::new(&nic(), without, 2));
        let bytes: Vec<u8> = (0..65_550_u32).map(|at| (at * 7 / 5) as u8).collect();
        from.memory.write(DATA, &Header::tcp4(1448).bytes()).unwrap();
        from.memory.write(DATA + 0x40, &bytes).unwrap();
        let buffers = [Buffer::readable(DATA, 12), Buffer::readable(DATA + 0x40, 65_550)];
        from.queues[TX].add(&from.memory, &buffers, Layout::Direct).unwrap();
        let count = 65_562_u32.div_ceil(length);
        for index in 0..count {
            let ipa = DATA + u64::from(index * length);
            to.queues[RX].add(&to.memory, &[Buffer::writable(ipa, length)], Layout::Direct).unwrap();
        }
        let mut frame = Frame::new();
        assert!((0..20).any(|seed| carry(&mut from, &mut to, &mut frame, &Random::new(seed))));
        let expected = Header { num_buffers: count as u16, ..Header::tcp4(1448) };
        assert_eq!(Header::of(&to.memory.bytes(DATA, 12)), expected);
        assert!(to.memory.bytes(DATA + 12, 65_550) == bytes);
        let used: u32 = (0..count).map(|_| to.queues[RX].take_used(&to.memory).unwrap().1).sum();
        assert_eq!(used, 65_562);
    }
}
