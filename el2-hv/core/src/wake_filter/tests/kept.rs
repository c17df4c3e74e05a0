//! Frames that wait for the partition to be there.

use super::*;
use crate::switch::PortId;
use proptest::prelude::*;
use std::collections::VecDeque;

fn keep(kept: &mut Kept, port: u8, bytes: &[u8]) -> bool {
    let place = kept.keep(PortId(port), bytes.len());
    place.map(|place| place.copy_from_slice(bytes)).is_some()
}

#[test]
fn frames_come_out_in_order_with_their_ports() {
    let mut kept = Kept::NONE;
    assert_eq!((kept.first(), kept.is_empty()), (None, true));
    kept.drop_first();
    for port in 0..3 {
        assert!(keep(&mut kept, port, &[port; 60]));
    }
    for port in 0..3 {
        assert_eq!(kept.first(), Some((PortId(port), &[port; 60][..])));
        kept.drop_first();
    }
    assert_eq!((kept.first(), kept.len(), kept.refused()), (None, 0, 0));
}

#[test]
fn a_full_queue_refuses_the_newest_and_so_does_any_for_a_frame_that_is_too_long() {
    let mut kept = Kept::NONE;
    assert!(!keep(&mut kept, 0, &[0; KEPT_MAX + 1]) && kept.keep(PortId(0), usize::MAX).is_none());
    assert!(keep(&mut kept, 0, &[0xee; KEPT_MAX]));
    assert!((1..16).all(|port| keep(&mut kept, port, &[port])));
    assert!(!keep(&mut kept, 16, &[16]));
    assert_eq!((kept.len(), kept.refused()), (16, 3));
    assert_eq!(kept.first(), Some((PortId(0), &[0xee; KEPT_MAX][..])));
    kept.clear();
    assert_eq!((kept.first(), kept.refused()), (None, 3));
}

#[test]
fn a_place_has_nothing_of_an_earlier_frame() {
    let mut kept = Kept::NONE;
    for _ in 0..FRAMES_KEPT {
        assert!(keep(&mut kept, 1, &[0xee; 1514]));
    }
    kept.clear();
    for _ in 0..FRAMES_KEPT {
        assert_eq!(kept.keep(PortId(2), 1514).unwrap(), [0; 1514]);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Keep(u8, usize),
    DropFirst,
    Clear,
}

fn step() -> impl Strategy<Value = Step> {
    let length = prop_oneof![0..1600usize, Just(60), Just(KEPT_MAX), Just(KEPT_MAX + 1)];
    prop_oneof![
        10 => (any::<u8>(), length).prop_map(|(port, length)| Step::Keep(port, length)),
        8 => Just(Step::DropFirst),
        1 => Just(Step::Clear),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn random_lives_match_a_queue(steps in proptest::collection::vec(step(), 1..200)) {
        let (mut kept, mut model, mut refused) = (Kept::NONE, VecDeque::new(), 0);
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Keep(port, length) => {
                    let bytes = std::vec![number as u8; length];
                    let fits = model.len() < 16 && length <= 1536;
                    prop_assert_eq!(keep(&mut kept, port, &bytes), fits);
                    refused += u64::from(!fits);
                    model.extend(fits.then_some((PortId(port), bytes)));
                }
                Step::DropFirst => {
                    kept.drop_first();
                    model.pop_front();
                }
                Step::Clear => {
                    kept.clear();
                    model.clear();
                }
            }
            let first = model.front().map(|(port, bytes)| (*port, bytes.as_slice()));
            prop_assert_eq!((kept.first(), kept.len(), kept.refused()), (first, model.len(), refused));
        }
    }
}
