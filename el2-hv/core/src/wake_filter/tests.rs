//! Rules as the service partition would leave them, what is refused of them, and what they do with frames.

mod hostile;
mod kept;
mod limits;
mod model;
mod neighbors;
mod partition;
mod set;
mod tcp;
mod wire;

use super::*;
use hv_abi::wake::{ANSWER_MAX, ChecksumField, CopyField, SumField};
use std::vec::Vec;

const SECOND: u64 = 1_000_000_000;

/// A rule in the making.
#[derive(Clone, Copy, Debug)]
struct Draft(WakeRule);

impl Draft {
    fn new(action: u8, answer: &[u8]) -> Self {
        let mut template = [0; ANSWER_MAX];
        template[..answer.len()].copy_from_slice(answer);
        Self(WakeRule {
            value: [0; MATCHED],
            mask: [0; MATCHED],
            action,
            answer_length: answer.len() as u8,
            reserved: [0; 6],
            copies: Default::default(),
            sum: SumField::default(),
            checksums: Default::default(),
            answer: template,
        })
    }

    fn wake() -> Self {
        Self::new(1, &[])
    }

    fn drop() -> Self {
        Self::new(2, &[])
    }

    fn answer(template: &[u8]) -> Self {
        Self::new(3, template)
    }

    /// The frame has these bytes there.
    fn at(self, place: usize, bytes: &[u8]) -> Self {
        let one = |rule: Self, (offset, byte): (usize, &u8)| rule.bits(place + offset, 0xff, *byte);
        bytes.iter().enumerate().fold(self, one)
    }

    /// The frame has these bits there.
    fn bits(mut self, place: usize, mask: u8, value: u8) -> Self {
        (self.0.mask[place], self.0.value[place]) = (mask, value);
        self
    }

    fn copy(mut self, from: u8, to: u8, length: u8) -> Self {
        let free = self.0.copies.iter_mut().find(|copy| copy.length == 0).unwrap();
        *free = CopyField { from, to, length };
        self
    }

    fn sum(mut self, to: u8, wide: u8, narrow: u8, constant: u32) -> Self {
        self.0.sum = SumField { to, wide, narrow, reserved: 0, constant: constant.into() };
        self
    }

    fn checksum(mut self, to: u8, range: core::ops::Range<u8>, seed: u16) -> Self {
        let free = self.0.checksums.iter_mut().find(|field| field.to == 0).unwrap();
        *free = ChecksumField { to, start: range.start, end: range.end, seed: seed.into(), ..Default::default() };
        self
    }
}

fn filter(rules: &[Draft]) -> Filter {
    let rules: Vec<WakeRule> = rules.iter().map(|draft| draft.0).collect();
    let mut filter = Filter::NONE;
    filter.set(&rules).expect("rules that are in order");
    filter
}

/// A judgement without its borrow, and its answer.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Fate {
    Wake,
    Drop,
    Unmatched,
    Answer(Vec<u8>),
    /// The frame ends too early.
    NoAnswer,
}

/// What the filter does with a frame of which the caller has the first bytes.
fn fate(filter: &Filter, frame: &[u8]) -> Fate {
    let head = &frame[..frame.len().min(MATCHED)];
    let mut out = [0xa5; ANSWER_MAX];
    match filter.judge(head) {
        Judgement::Wake => Fate::Wake,
        Judgement::Drop => Fate::Drop,
        Judgement::Unmatched => Fate::Unmatched,
        Judgement::Answer(answer) => match answer.fill(head, &mut out) {
            Some(length) => Fate::Answer(out[..length].to_vec()),
            None => Fate::NoAnswer,
        },
    }
}

#[test]
fn without_rules_nothing_matches_and_filters_can_stand_in_a_static_table() {
    static TABLE: [Filter; 2] = [const { Filter::NONE }; 2];
    assert!(TABLE.iter().all(|filter| fate(filter, &[0; 64]) == Fate::Unmatched));
    assert!(size_of::<Filter>() <= 8192, "{}", size_of::<Filter>());
}

#[test]
fn the_first_rule_that_matches_decides() {
    let rules = [Draft::drop().at(12, &[8, 6]), Draft::wake().at(12, &[8]), Draft::answer(&[7; 14])];
    let filter = filter(&rules);
    let frame = |kind: [u8; 2]| [&[0; 12][..], &kind].concat();
    assert_eq!(fate(&filter, &frame([8, 6])), Fate::Drop);
    assert_eq!(fate(&filter, &frame([8, 0])), Fate::Wake);
    assert_eq!(fate(&filter, &frame([9, 6])), Fate::Answer([7; 14].to_vec()), "no mask matches all");
    assert_eq!(fate(&filter, &[]), Fate::Answer([7; 14].to_vec()));
}

#[test]
fn a_mask_behind_a_frames_end_does_not_match_even_zero() {
    for place in [0, 7, 8, 59, 60, 127] {
        let filter = filter(&[Draft::wake().bits(place, 0x80, 0)]);
        assert_eq!(fate(&filter, &[0; 160][..place]), Fate::Unmatched, "{place}");
        for length in [place + 1, MATCHED, 160] {
            assert_eq!(fate(&filter, &[0; 160][..length]), Fate::Wake, "{place} of {length}");
        }
    }
}

#[test]
fn bits_of_a_value_outside_of_its_mask_do_not_matter() {
    let filter = filter(&[Draft::wake().bits(3, 0x0f, 0xf5)]);
    for (byte, expected) in [(0x05, Fate::Wake), (0xa5, Fate::Wake), (0xf4, Fate::Unmatched)] {
        assert_eq!(fate(&filter, &[0, 0, 0, byte]), expected, "{byte:#x}");
    }
}

#[test]
fn a_checksum_has_every_carry_and_the_seed() {
    // ffff + ffff + 1, with each carry added again (RFC 1071 §2 (B)): 1. As words, and with the last one as the seed.
    for (last, seed) in [(1, 0), (0, 1)] {
        let template = [&[0xff; 4][..], &[0, last], &[0; 8]].concat();
        let filter = filter(&[Draft::answer(&template).checksum(6, 0..6, seed)]);
        let Fate::Answer(bytes) = fate(&filter, &[]) else { panic!("no answer") };
        assert_eq!(bytes[6..8], [!0, !1]);
    }
}
