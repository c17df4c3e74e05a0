use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use hv_abi::mailbox::HvErrorKind;

use super::*;
use crate::testing::{Asked, ERROR, EVENT, MORE, Script, el2, frame, pair};

fn soon() -> Deadline {
    Deadline::new(Duration::from_millis(100))
}

/// Asks one question of a peer with that script.
fn ask(script: impl Script) -> Result<Vec<u8>, Error> {
    let (link, peer) = pair();
    let peer = el2(peer, script);
    let mut session = Session::new(link, soon()).unwrap();
    let reply = session.ask(Party::Sos, b"question", Repeat::Safe);
    drop(session);
    let asked = peer.join().unwrap();
    assert_eq!(asked.len(), 1);
    assert_eq!((asked[0].party, asked[0].flags), (1, 1));
    assert_eq!(asked[0].body, b"question");
    reply
}

#[test]
fn a_reply_in_frames_that_come_byte_by_byte_is_whole() {
    let reply = ask(|asked| {
        let first = frame(1, MORE, asked.id, b"one ");
        let last = frame(1, 0, asked.id, b"two");
        [first, last].concat().chunks(5).map(<[u8]>::to_vec).collect()
    });
    assert_eq!(reply.unwrap(), b"one two");
}

#[test]
fn frames_of_others_and_events_are_passed_over() {
    let reply = ask(|asked| {
        vec![
            [
                frame(1, 0, asked.id ^ 1, b"late"),
                frame(0, EVENT, asked.id, &[0; 8]),
                frame(0, ERROR, asked.id ^ 2, &[3, 0, 0, 0]),
                frame(1, 0, asked.id, b"mine"),
            ]
            .concat(),
        ]
    });
    assert_eq!(reply.unwrap(), b"mine");
}

#[test]
fn an_error_of_el2_is_given_with_advice() {
    let error = ask(|asked| vec![frame(0, ERROR, asked.id, &[1, 0, 0, 0])]).unwrap_err();
    assert!(matches!(error, Error::Ended(HvErrorKind::NotGranted)));
    assert_eq!(error.to_string(), "this VM has no grant for it; see this guest's grants in the system description");
    assert_eq!(error.exit_code(), 1);
}

#[test]
fn silence_half_a_frame_and_half_a_reply_end_with_the_deadline() {
    let scripts: [fn(&Asked) -> _; 3] = [
        |_: &Asked| Vec::<Vec<u8>>::new(),
        |asked| vec![frame(1, 0, asked.id, b"reply")[..26].to_vec()],
        |asked| vec![frame(1, MORE, asked.id, b"reply")],
    ];
    for script in scripts {
        let error = ask(script).unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("no answer from the service partition within 0.1 s"), "{text}");
        assert_eq!(error.exit_code(), 4);
    }
}

#[test]
fn bytes_that_are_no_frame_end_the_session() {
    let error = ask(|_| vec![b"[    0.0] a line of a log, no frame".to_vec()]).unwrap_err();
    assert!(matches!(error, Error::Mailbox(_)), "{error}");
    assert_eq!(error.exit_code(), 1);
}

#[test]
fn a_port_that_is_closed_under_way_is_no_time_out() {
    let (link, peer) = pair();
    let mut session = Session::new(link, Deadline::new(Duration::from_secs(20))).unwrap();
    drop(peer);
    let error = session.ask(Party::Hv, b"", Repeat::Safe).unwrap_err();
    assert!(matches!(error, Error::Closed), "{error}");
}

#[test]
fn a_long_request_is_one_write_for_each_frame_and_not_repeat_safe() {
    let (ours, theirs) = UnixDatagram::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let mut session = Session::new(Link::new(OwnedFd::from(ours)), soon()).unwrap();
    let message = [9; 500];
    assert!(session.ask(Party::Sos, &message, Repeat::Safe).is_err());
    theirs.set_nonblocking(true).unwrap();
    let mut got = Vec::new();
    let mut bytes = [0; 4096];
    while let Ok(count) = theirs.recv(&mut bytes) {
        got.push((count, bytes[6]));
    }
    assert_eq!(got, [(240, 2), (240, 2), (24 + 68, 0)], "bytes and flags");
}

#[test]
fn each_request_has_a_number_of_its_own() {
    let (link, peer) = pair();
    let peer = el2(peer, |asked| vec![frame(0, 0, asked.id, b"")]);
    let mut session = Session::new(link, soon()).unwrap();
    for _ in 0..3 {
        assert_eq!(session.ask(Party::Hv, b"", Repeat::Safe).unwrap(), b"");
    }
    drop(session);
    let ids: Vec<u32> = peer.join().unwrap().iter().map(|asked| asked.id).collect();
    assert_eq!(ids[1], ids[0].wrapping_add(1));
    assert_eq!(ids[2], ids[0].wrapping_add(2));
}
