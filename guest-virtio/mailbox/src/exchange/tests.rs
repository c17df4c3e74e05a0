use std::vec::Vec;

use hv_abi::mailbox::{Frame, Party};
use zerocopy::IntoBytes;
use zerocopy::little_endian::U32;

use super::*;
use crate::Buffer;

fn slot(id: u32, flags: Flags, body: &[u8]) -> Slot {
    Slot::new(Frame::request(Party::Sos, flags, id, 0), body)
}

fn error(number: u32) -> HvError {
    HvError { kind: U32::new(number) }
}

fn exchange(buffer: &mut [u8]) -> Exchange<'static, Buffer<'_>> {
    Exchange::new(Frames::request(Party::Sos, 7, b"?").unwrap(), Buffer::new(buffer))
}

#[test]
fn a_reply_in_parts_is_complete_with_its_last_frame() {
    let mut room = [0; 8];
    let mut exchange = exchange(&mut room);
    let first = slot(7, Flags::MORE, b"abc");
    assert_eq!(exchange.accept(&first), Ok(Progress::Partial));
    let last = slot(7, Flags::default(), b"de");
    assert_eq!(exchange.accept(&last), Ok(Progress::Complete));
    assert_eq!(exchange.reply(), b"abcde");
}

#[test]
fn frames_of_other_requests_and_events_are_not_taken() {
    let mut room = [0; 8];
    let mut exchange = exchange(&mut room);
    for other in
        [slot(6, Flags::default(), b"abc"), slot(6, Flags::ERROR, error(3).as_bytes()), slot(7, Flags::EVENT, &[0; 8])]
    {
        assert_eq!(exchange.accept(&other), Ok(Progress::NotMine));
    }
    assert_eq!(exchange.reply(), b"");
}

#[test]
fn an_error_of_el2_ends_the_exchange_even_in_the_middle_of_a_reply() {
    let mut room = [0; 8];
    let mut exchange = exchange(&mut room);
    let first = slot(7, Flags::MORE, b"abc");
    assert_eq!(exchange.accept(&first), Ok(Progress::Partial));
    let failed = slot(7, Flags::ERROR, error(3).as_bytes());
    assert_eq!(exchange.accept(&failed), Ok(Progress::Failed(HvErrorKind::SosFailed)));
}

#[test]
fn unknown_errors_and_broken_headers_are_named() {
    let mut room = [0; 8];
    let mut exchange = exchange(&mut room);
    let unknown = slot(7, Flags::ERROR, error(77).as_bytes());
    assert_eq!(exchange.accept(&unknown), Err(MailboxError::UnknownError(77)));
    let short = slot(7, Flags::ERROR, b"x");
    assert_eq!(exchange.accept(&short), Err(MailboxError::UnknownError(0)));
    assert!(matches!(exchange.accept(&Slot::EMPTY), Err(MailboxError::Frame(_))));
}

#[test]
fn mutated_replies_never_harm() {
    let mut random = 0xfeed_beef_dead_c0deu64;
    let good: Vec<Slot> = [
        slot(7, Flags::MORE, &[1; 216]),
        slot(7, Flags::default(), &[2; 100]),
        slot(7, Flags::ERROR, error(3).as_bytes()),
    ]
    .into();
    for _ in 0..50_000 {
        let mut room = [0; 300];
        let mut exchange = exchange(&mut room);
        for mut slot in good.iter().copied() {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let place = (random >> 8) as usize % 32;
            slot.as_mut_bytes()[place] = (random >> 40) as u8;
            let _ = exchange.accept(&slot);
            assert!(exchange.reply().len() <= 300);
        }
    }
}
