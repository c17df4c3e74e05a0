//! TCP while nobody is there: RFC 9293 §3.10.7.1, but for a SYN to a port that would be open.

use super::partition::{OPEN, rules};
use super::wire::*;
use super::*;
use proptest::prelude::*;
use std::vec;

const CLOSED: u16 = 81;
/// MSS, SACK permitted, timestamps, window scale: what a SYN of Linux has.
const SYN_OPTIONS: [u8; 20] = [2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7];

/// What comes back for a segment to a connection that does not exist (RFC 9293 §3.10.7.1).
fn reply_of_closed(segment: &Segment) -> Option<Segment> {
    let (sequence, acknowledgment, flags) = match segment.flags {
        flags if flags & RST != 0 => return None,
        flags if flags & ACK != 0 => (segment.acknowledgment, 0, RST),
        _ => (0, segment.sequence.wrapping_add(segment.length()), RST | ACK),
    };
    let (from, to) = (segment.to, segment.from);
    Some(Segment { from, to, sequence, acknowledgment, flags, options: vec![], data: vec![] })
}

fn expect_reset(segment: &Segment) {
    let Fate::Answer(bytes) = fate(&filter(&rules()), &segment.frame()) else { panic!("{segment:?}") };
    assert_eq!(Some(read_tcp(&bytes)), reply_of_closed(segment), "to {segment:?}");
}

#[test]
fn a_syn_to_an_open_port_wakes() {
    for options in [vec![], SYN_OPTIONS.to_vec()] {
        let segment = Segment { options, ..Segment::new(OPEN, SYN) };
        assert_eq!(fate(&filter(&rules()), &segment.frame()), Fate::Wake);
        // With ECN set up, too (RFC 3168 §6.1.1).
        let segment = Segment { flags: SYN | 0xc0, ..segment };
        assert_eq!(fate(&filter(&rules()), &segment.frame()), Fate::Wake);
    }
}

#[test]
fn a_syn_to_a_closed_port_is_reset() {
    for (options, data) in [(vec![], vec![]), (SYN_OPTIONS.to_vec(), vec![]), (SYN_OPTIONS.to_vec(), vec![7; 1000])] {
        expect_reset(&Segment { options, data, ..Segment::new(CLOSED, SYN) });
    }
}

#[test]
fn what_belongs_to_a_connection_of_an_earlier_life_is_reset() {
    for flags in [ACK, SYN | ACK, FIN | ACK, PSH | ACK, FIN, 0] {
        for data in [vec![], vec![1; 3], vec![2; 1460]] {
            expect_reset(&Segment { data, ..Segment::new(OPEN, flags) });
        }
    }
    expect_reset(&Segment { options: SYN_OPTIONS[8..].to_vec(), ..Segment::new(OPEN, ACK) });
}

#[test]
fn a_reset_is_never_answered_and_never_wakes() {
    for flags in [RST, RST | ACK, RST | SYN, RST | FIN | PSH] {
        for port in [OPEN, CLOSED] {
            assert_eq!(fate(&filter(&rules()), &Segment::new(port, flags).frame()), Fate::Drop);
        }
    }
}

#[test]
fn segments_for_others_and_cut_ones_match_nothing() {
    let frame = Segment::new(OPEN, SYN).frame();
    let mut other = frame.clone();
    other[33] ^= 1;
    assert_eq!(fate(&filter(&rules()), &other), Fate::Unmatched);
    for length in 0..=47 {
        assert_eq!(fate(&filter(&rules()), &frame[..length]), Fate::Unmatched, "{length}");
    }
}

fn segment() -> impl Strategy<Value = Segment> {
    let ports = (any::<u16>(), prop_oneof![Just(OPEN), Just(CLOSED), any::<u16>()]);
    let data = proptest::collection::vec(any::<u8>(), 0..200);
    (ports, any::<u32>(), any::<u32>(), any::<u8>(), data, 0..3usize).prop_map(
        |((from, to), sequence, acknowledgment, flags, data, options)| {
            // Without an acknowledgment, for such lengths of a header as there are rules.
            let length = match (flags & ACK, flags & (SYN | FIN)) {
                (0, SYN) => [0, 20, 20][options],
                (0, _) => 0,
                _ => [0, 12, 40][options],
            };
            Segment { from, to, sequence, acknowledgment, flags, options: vec![1; length], data }
        },
    )
}

proptest! {
    #[test]
    fn any_segment_is_answered_as_by_a_closed_port_or_wakes(segment in segment()) {
        let fate = fate(&filter(&rules()), &segment.frame());
        let wakes = segment.to == OPEN && segment.flags & (SYN | ACK | RST | FIN) == SYN;
        match reply_of_closed(&segment) {
            _ if wakes => prop_assert_eq!(fate, Fate::Wake),
            None => prop_assert_eq!(fate, Fate::Drop),
            Some(expected) => match fate {
                Fate::Answer(bytes) => prop_assert_eq!(read_tcp(&bytes), expected),
                other => prop_assert!(false, "{:?}", other),
            },
        }
    }
}
