use std::vec;
use std::vec::Vec;

use hv_abi::mailbox::{BODY_MAX, Flags, FrameError, Party};
use proptest::prelude::*;

use super::*;
use crate::open;

/// The bytes of a frame by the contract's golden layout: magic, version, party, flags, id, length, port, VM, body.
fn bytes(id: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![b'D', b'M', b'f', b'1', 1, 1, 0, 0];
    bytes.extend(id.to_le_bytes());
    bytes.extend((body.len() as u16).to_le_bytes());
    bytes.extend([0; 10]);
    bytes.extend(body);
    bytes
}

fn read_all(reader: &mut FrameReader, mut bytes: &[u8]) -> Result<Vec<Slot>, MailboxError> {
    let mut slots = Vec::new();
    while let Some(slot) = reader.push(&mut bytes)? {
        slots.push(slot);
    }
    assert!(bytes.is_empty());
    Ok(slots)
}

#[test]
fn frames_without_and_with_the_longest_body_follow_each_other() {
    let stream = [bytes(1, b""), bytes(2, &[9; BODY_MAX]), bytes(3, b"x")].concat();
    let mut reader = FrameReader::new();
    let slots = read_all(&mut reader, &stream).unwrap();
    let lengths: Vec<_> = slots.iter().map(|slot| open(slot).unwrap().1.len()).collect();
    assert_eq!(lengths, [0, 216, 1]);
    // What a longer frame left behind is not in the next one.
    assert!(slots[2].body[1..].iter().all(|&byte| byte == 0));
    let expected = Frame::request(Party::Sos, Flags::default(), 3, 1);
    assert_eq!(open(&slots[2]).unwrap(), (expected, &b"x"[..]));
}

#[test]
fn a_broken_header_closes_the_stream_for_good() {
    let mut reader = FrameReader::new();
    let mut stream = [bytes(1, b"a"), bytes(2, b"b")].concat();
    stream[25] = b'x';
    let mut rest = &stream[..];
    assert!(reader.push(&mut rest).unwrap().is_some());
    let error = MailboxError::Frame(FrameError::Magic(u32::from_le_bytes(*b"xMf1")));
    assert_eq!(reader.push(&mut rest), Err(error));
    assert_eq!(reader.push(&mut &bytes(3, b"c")[..]), Err(error));
}

#[test]
fn mutated_streams_are_refused_or_read_but_never_harm() {
    let good = [bytes(1, &[1; 216]), bytes(2, b""), bytes(3, &[3; 50])].concat();
    let mut random = 0x1234_5678_9abc_def1u64;
    for _ in 0..50_000 {
        let mut stream = good.clone();
        for _ in 0..3 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let place = (random >> 8) as usize % stream.len();
            stream[place] = (random >> 40) as u8;
        }
        if let Ok(slots) = read_all(&mut FrameReader::new(), &stream) {
            slots.iter().for_each(|slot| assert!(open(slot).is_ok()));
        }
    }
}

proptest! {
    #[test]
    fn pieces_of_any_size_give_the_same_frames(
        bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..=BODY_MAX), 1..6),
        pieces in prop::collection::vec(1usize..300, 1..20),
    ) {
        let stream: Vec<u8> = bodies.iter().enumerate().flat_map(|(i, body)| bytes(i as u32, body)).collect();
        let mut reader = FrameReader::new();
        let mut got = Vec::new();
        let mut rest = &stream[..];
        for piece in pieces.iter().cycle() {
            let (now, later) = rest.split_at(rest.len().min(*piece));
            got.extend(read_all(&mut reader, now).unwrap());
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(got.len(), bodies.len());
        for (i, (slot, body)) in got.iter().zip(&bodies).enumerate() {
            let (frame, got) = open(slot).unwrap();
            prop_assert_eq!(frame.id, i as u32);
            prop_assert_eq!(got, &body[..]);
        }
    }
}
