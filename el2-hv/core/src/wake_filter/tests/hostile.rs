//! Rules of a partition that has been taken over: a million of them, each a byte away from the one before.

use super::model::{answer, is_in_order};
use super::*;
use core::mem::offset_of;
use proptest::prelude::*;

/// What is neither matched nor the template.
const FIELDS: core::ops::Range<usize> = offset_of!(WakeRule, action)..offset_of!(WakeRule, answer);

/// What bounds are made of, and what lies just beyond.
const EDGES: [u8; 16] = [0, 0, 1, 2, 3, 13, 14, 24, 50, 60, 124, 126, 127, 128, 129, 255];

/// A rule with one byte of the fields changed: to anything, to something small, or to an edge.
fn changed(rule: &WakeRule, [place, kind, byte, _]: [u8; 4]) -> WakeRule {
    let mut bytes: [u8; size_of::<WakeRule>()] = zerocopy::transmute!(*rule);
    bytes[FIELDS.start + usize::from(place) % FIELDS.len()] = match kind % 3 {
        0 => byte,
        1 => byte % 64,
        _ => EDGES[usize::from(byte) % EDGES.len()],
    };
    zerocopy::transmute!(bytes)
}

/// Sets a rule, if it is in order. What it answers is what the model says.
fn set(filter: &mut Filter, rule: &WakeRule, frame: &[u8]) -> bool {
    let is_set = filter.set(core::slice::from_ref(rule)).is_ok();
    assert_eq!(is_set, is_in_order(rule), "{rule:?}");
    if is_set && rule.action == 3 {
        let expected = answer(rule, frame).map_or(Fate::NoAnswer, Fate::Answer);
        assert_eq!(fate(filter, frame), expected, "{rule:?}");
    }
    is_set
}

proptest! {
    #[test]
    fn a_million_hostile_rules_are_refused_or_answer_within_their_frame(
        changes in proptest::collection::vec(any::<u32>(), 4000),
        frame in proptest::collection::vec(any::<u8>(), 0..=MATCHED),
    ) {
        let mut rule = Draft::answer(&[0x5a; 60]).0;
        let mut filter = Filter::NONE;
        for change in changes {
            let next = changed(&rule, change.to_le_bytes());
            // From one that was refused the way goes back, so that the deep checks are reached.
            if set(&mut filter, &next, &frame) {
                rule = next;
            }
        }
    }

    #[test]
    fn any_bytes_as_rules_are_borne(
        bytes in proptest::collection::vec(any::<u8>(), 0..20 * 440),
        frame in super::model::frame(),
    ) {
        let rules = bytes.as_chunks::<440>().0.iter();
        let rules: Vec<WakeRule> = rules.map(|rule| zerocopy::transmute!(*rule)).collect();
        let mut filter = Filter::NONE;
        let is_fine = rules.len() <= RULES_MAX && rules.iter().all(is_in_order);
        prop_assert_eq!(filter.set(&rules).is_ok(), is_fine);
        let _ = fate(&filter, &frame);
    }
}
