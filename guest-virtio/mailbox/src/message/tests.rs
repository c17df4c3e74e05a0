use std::vec;
use std::vec::Vec;

use hv_abi::VmHandle;
use proptest::prelude::*;

use super::*;

const REQUEST: Frame =
    Frame { party: Party::Sos, flags: Flags::REPEAT_SAFE, id: 5, port: 2, vm: VmHandle(0x9_0000_0001), length: 3 };

#[test]
fn lengths_around_a_frame_are_cut_into_the_expected_number() {
    // A slot of 240 bytes with a header of 24 holds 216.
    for (length, frames) in [(0, 1), (1, 1), (216, 1), (217, 2), (432, 2), (433, 3)] {
        let message = vec![7; length];
        let cut: Vec<Slot> = Frames::request(Party::Sos, 1, &message).unwrap().collect();
        assert_eq!(cut.len(), frames, "{length} bytes");
        let flags: Vec<u16> = cut.iter().map(|slot| slot.header.flags.get()).collect();
        assert!(flags[..frames - 1].iter().all(|&flags| flags == 2), "MORE");
        assert_eq!(flags[frames - 1], 0);
    }
}

#[test]
fn a_reply_carries_the_askers_address_and_none_of_its_flags() {
    let slot = Frames::reply(&REQUEST, b"ab").unwrap().next().unwrap();
    let (frame, body) = open(&slot).unwrap();
    assert_eq!(body, b"ab");
    assert_eq!(frame, Frame { flags: Flags::default(), length: 2, ..REQUEST });
}

#[test]
fn repeat_safe_is_said_of_messages_of_one_frame_only() {
    for (length, flags) in [(0, 1), (216, 1), (217, 2)] {
        let message = vec![0; length];
        let mut frames = Frames::request(Party::Sos, 1, &message).unwrap().repeat_safe();
        assert_eq!(frames.next().unwrap().header.flags.get(), flags, "{length}");
    }
}

#[test]
fn a_message_over_the_bound_is_neither_sent_nor_taken() {
    let message = vec![1; MESSAGE_MAX + 1];
    assert!(Frames::request(Party::Sos, 1, &message[1..]).is_ok());
    assert_eq!(Frames::request(Party::Sos, 1, &message).err(), Some(MailboxError::TooLong));
    let mut room = vec![0; MESSAGE_MAX + BODY_MAX];
    let mut assembler = Assembler::new(Buffer::new(&mut room));
    let more = Frame::request(Party::Sos, Flags::MORE, 1, BODY_MAX);
    let part = [1; BODY_MAX];
    for _ in 0..MESSAGE_MAX / BODY_MAX {
        assert_eq!(assembler.push(&more, &part), Ok(Part::More));
    }
    assert_eq!(assembler.push(&more, &part), Err(MailboxError::TooLong));
    assert_eq!(assembler.message().len(), MESSAGE_MAX / BODY_MAX * BODY_MAX);
}

#[test]
fn a_buffer_takes_exactly_what_fits_and_keeps_it_after_a_refusal() {
    let mut room = [0; 5];
    let mut assembler = Assembler::new(Buffer::new(&mut room));
    let more = Frame::request(Party::Sos, Flags::MORE, 1, 3);
    let last = Frame::request(Party::Sos, Flags::default(), 1, 2);
    assert_eq!(assembler.push(&more, b"abc"), Ok(Part::More));
    assert_eq!(assembler.push(&last, b"def"), Err(MailboxError::Buffer(5)));
    assert_eq!(assembler.push(&last, b"de"), Ok(Part::Last));
    assert_eq!(assembler.message(), b"abcde");
    let mut sink = assembler.into_sink();
    sink.clear();
    assert_eq!(sink.bytes(), b"");
}

#[test]
fn an_empty_frame_that_promises_more_is_refused_and_an_empty_last_one_is_not() {
    let mut room = [0; 5];
    let mut assembler = Assembler::new(Buffer::new(&mut room));
    let more = Frame::request(Party::Sos, Flags::MORE, 1, 0);
    let last = Frame::request(Party::Sos, Flags::default(), 1, 0);
    assert_eq!(assembler.push(&more, b""), Err(MailboxError::EmptyPart));
    assert_eq!(assembler.push(&last, b""), Ok(Part::Last));
}

proptest! {
    #[test]
    fn what_is_cut_is_put_together_again(message in prop::collection::vec(any::<u8>(), 0..4000), id: u32) {
        let mut room = vec![0; message.len()];
        let mut assembler = Assembler::new(Buffer::new(&mut room));
        let frames: Vec<Slot> = Frames::request(Party::Sos, id, &message).unwrap().collect();
        for (i, slot) in frames.iter().enumerate() {
            let (frame, body) = open(slot).unwrap();
            prop_assert_eq!(frame.id, id);
            prop_assert!(slot.body[frame.length..].iter().all(|&byte| byte == 0));
            let part = assembler.push(&frame, body).unwrap();
            prop_assert_eq!(part == Part::Last, i == frames.len() - 1);
        }
        prop_assert_eq!(assembler.message(), &message[..]);
    }
}
