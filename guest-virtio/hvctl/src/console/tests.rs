//! A console against a peer that answers by the contract's layout.

use std::time::Duration;

use super::*;
use crate::testing::{ERROR, frame, pair, read_message};

fn view(until: Option<&str>) -> View {
    let console = Console { name: "tiny".into(), no_input: false, until: until.map(str::to_owned) };
    View::new(&console, Deadline::new(Duration::from_secs(10)))
}

/// What EL2 answers to a `ConsoleNext`.
fn piece(position: u64, ended: u32, text: &[u8]) -> Vec<u8> {
    let end = position + text.len() as u64;
    [&position.to_le_bytes()[..], &end.to_le_bytes(), &ended.to_le_bytes(), &[0; 4], text].concat()
}

fn slot(flags: u16, id: u32, body: &[u8]) -> Slot {
    let mut bytes = frame(0, flags, id, body);
    bytes.resize(size_of::<Slot>(), 0);
    Slot::read_from_bytes(&bytes).unwrap()
}

#[test]
fn it_asks_for_what_follows_and_types_what_was_not_taken_again() {
    let (link, mut peer) = pair();
    let mut session = Session::new(link, Deadline::new(Duration::from_secs(10))).unwrap();
    let mut view = view(None);
    view.typed = b"abc".to_vec();
    view.ask(&mut session).unwrap();
    let (next, typed) = (read_message(&mut peer).unwrap(), read_message(&mut peer).unwrap());
    assert_eq!((next.party, next.body), (0, [&16u64.to_le_bytes()[..], &[0; 8]].concat()));
    assert_eq!((typed.party, typed.body), (0, [&17u64.to_le_bytes()[..], &[0; 8], b"abc"].concat()));
    assert_eq!(view.take(&slot(0, next.id, &piece(0, 0, b"hello"))).unwrap(), None);
    assert_eq!(view.take(&slot(0, typed.id, &2u32.to_le_bytes())).unwrap(), None);
    view.ask(&mut session).unwrap();
    let (next, typed) = (read_message(&mut peer).unwrap(), read_message(&mut peer).unwrap());
    assert_eq!(next.body[8..], 5u64.to_le_bytes());
    assert_eq!(typed.body[16..], *b"c");
}

#[test]
fn what_found_no_room_waits_before_it_is_typed_again() {
    let (link, _peer) = pair();
    let mut session = Session::new(link, Deadline::new(Duration::from_secs(10))).unwrap();
    let mut view = view(None);
    view.typed = b"abc".to_vec();
    view.ask(&mut session).unwrap();
    let id = view.typing.unwrap();
    view.take(&slot(0, id, &0u32.to_le_bytes())).unwrap();
    assert!(view.again_at.is_some() && view.typed == b"abc" && view.typing.is_none());
}

#[test]
fn the_end_a_text_and_an_error_end_it_and_strangers_do_not() {
    let mut ended = view(None);
    ended.next = Some(1);
    assert_eq!(ended.take(&slot(0, 9, &piece(0, 1, b""))).unwrap(), None);
    assert_eq!(ended.take(&slot(0, 1, &piece(0, 1, b""))).unwrap(), Some(Why::Ended(EndReason::PoweredOff)));
    let mut said = view(Some("login:"));
    for (id, text, why) in [(1, &b"a log"[..], None), (2, b"in:", Some(Why::Said))] {
        said.next = Some(id);
        assert_eq!(said.take(&slot(0, id, &piece(0, 0, text))).unwrap(), why);
    }
    let mut refused = view(None);
    refused.next = Some(1);
    assert!(matches!(refused.take(&slot(ERROR, 1, &[7, 0, 0, 0])), Err(Error::Ended(HvErrorKind::NotAttached))));
    assert!(refused.take(&slot(0, 1, b"short")).is_err());
}
