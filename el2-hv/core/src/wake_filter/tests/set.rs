//! What is refused of rules, and that nothing comes of it.

use super::*;
use std::string::ToString;
use std::vec;

/// What is wrong with one rule, which is the second.
fn fault(rule: WakeRule) -> Option<Fault> {
    let mut filter = filter(&[Draft::wake().at(0, &[9])]);
    match filter.set(&[Draft::drop().0, rule]) {
        Ok(()) => None,
        Err(error) => {
            assert_eq!(fate(&filter, &[9; 14]), Fate::Wake, "what was set before is still there");
            assert_eq!(fate(&filter, &[8; 14]), Fate::Unmatched, "and nothing else");
            let FilterError::Rule { rule: 1, fault } = error else { panic!("{error:?}") };
            Some(fault)
        }
    }
}

fn with(draft: Draft, change: impl FnOnce(&mut WakeRule)) -> Option<Fault> {
    let mut rule = draft.0;
    change(&mut rule);
    fault(rule)
}

fn answer() -> Draft {
    Draft::answer(&[0; 60])
}

#[test]
fn there_is_room_for_so_many_rules_and_no_more() {
    let rule = Draft::wake().0;
    let mut filter = Filter::NONE;
    assert_eq!(filter.set(&[rule; RULES_MAX + 1]), Err(FilterError::TooMany(17)));
    assert_eq!(fate(&filter, &[]), Fate::Unmatched);
    assert_eq!(filter.set(&[rule; RULES_MAX]), Ok(()));
    assert_eq!(fate(&filter, &[]), Fate::Wake);
}

#[test]
fn new_rules_are_instead_of_the_old_ones_and_cleared_ones_match_nothing() {
    let mut filter = filter(&[Draft::drop().at(0, &[1]), Draft::wake()]);
    assert_eq!(filter.set(&[Draft::drop().at(0, &[2]).0]), Ok(()));
    assert_eq!([[1], [2]].map(|frame| fate(&filter, &frame)), [Fate::Unmatched, Fate::Drop]);
    filter.clear();
    assert_eq!(fate(&filter, &[2]), Fate::Unmatched);
    assert_eq!(filter.set(&[]), Ok(()));
}

#[test]
fn only_actions_with_a_name_are_known() {
    for number in (0..=255).filter(|number| !(1..=3).contains(number)) {
        assert_eq!(with(Draft::wake(), |rule| rule.action = number), Some(Fault::Action(number)));
    }
}

#[test]
fn an_answer_is_a_frame_that_fits_and_other_actions_have_none() {
    for length in 0..=255 {
        let wrong = Some(Fault::AnswerLength(length));
        let is_frame = (14..=128).contains(&length);
        assert_eq!(with(Draft::answer(&[]), |rule| rule.answer_length = length), if is_frame { None } else { wrong });
        for other in [Draft::wake(), Draft::drop()] {
            assert_eq!(with(other, |rule| rule.answer_length = length), if length == 0 { None } else { wrong });
        }
    }
}

#[test]
fn bytes_for_later_are_zero() {
    let reserved = Some(Fault::Reserved);
    for byte in 0..6 {
        assert_eq!(with(Draft::wake(), |rule| rule.reserved[byte] = 1), reserved);
    }
    assert_eq!(with(answer(), |rule| rule.sum.reserved = 1), reserved);
    for number in 0..2 {
        assert_eq!(with(answer(), |rule| rule.checksums[number].reserved = 1), reserved);
        assert_eq!(with(answer(), |rule| rule.checksums[number].reserved2 = 0x100.into()), reserved);
    }
}

#[test]
fn copies_lie_within_both_frames() {
    for (from, to, length, is_fine) in [
        (0, 0, 60, true),
        (68, 0, 60, true),
        (127, 59, 1, true),
        (69, 0, 60, false),
        (0, 1, 60, false),
        (128, 0, 1, false),
        (255, 0, 1, false),
        (0, 255, 255, false),
        (255, 255, 255, false),
        // None at all.
        (255, 255, 0, true),
    ] {
        for number in 0..8 {
            let copy = CopyField { from, to, length };
            let expected = if is_fine { None } else { Some(Fault::Copy(number)) };
            assert_eq!(with(answer(), |rule| rule.copies[number] = copy), expected, "{copy:?}");
        }
    }
    assert_eq!(fault(Draft::wake().copy(0, 0, 1).0), Some(Fault::Copy(0)), "into what is no answer");
}

#[test]
fn a_sum_lies_within_both_frames() {
    for (to, wide, narrow, is_fine) in [
        (56, 124, 126, true),
        (1, 0, 0, true),
        (57, 0, 0, false),
        (255, 0, 0, false),
        (1, 125, 0, false),
        (1, 255, 0, false),
        (1, 0, 127, false),
        (1, 0, 255, false),
        (0, 255, 255, true),
    ] {
        let expected = if is_fine { None } else { Some(Fault::Sum) };
        assert_eq!(fault(answer().sum(to, wide, narrow, u32::MAX).0), expected, "{to} {wide} {narrow}");
    }
    assert_eq!(fault(Draft::drop().sum(1, 0, 0, 0).0), Some(Fault::Sum));
}

#[test]
fn a_checksum_is_of_something_within_the_answer() {
    for (to, start, end, is_fine) in [
        (58, 0, 60, true),
        (1, 59, 60, true),
        (59, 0, 60, false),
        (255, 0, 60, false),
        (1, 0, 61, false),
        (1, 0, 255, false),
        (1, 20, 20, false),
        (1, 21, 20, false),
        (1, 255, 255, false),
        (0, 255, 0, true),
    ] {
        for number in 0..2 {
            let field = ChecksumField { to, start, end, ..Default::default() };
            let expected = if is_fine { None } else { Some(Fault::Checksum(number)) };
            assert_eq!(with(answer(), |rule| rule.checksums[number] = field), expected, "{field:?}");
        }
    }
}

#[test]
fn a_checksum_does_not_change_an_earlier_one() {
    // The earlier one is at 24, of bytes 14 to 33.
    for (to, is_fine) in [(12, true), (13, false), (23, false), (24, false), (33, false), (34, true), (50, true)] {
        let expected = if is_fine { None } else { Some(Fault::Checksum(1)) };
        assert_eq!(fault(answer().checksum(24, 14..34, 0).checksum(to, 0..60, 0).0), expected, "{to}");
    }
    for (to, is_fine) in [(48, true), (49, false), (50, false), (51, false), (52, true)] {
        let expected = if is_fine { None } else { Some(Fault::Checksum(1)) };
        assert_eq!(fault(answer().checksum(50, 14..34, 0).checksum(to, 34..60, 0).0), expected, "{to}");
    }
}

#[test]
fn an_answer_is_made_in_the_order_that_the_contract_says() {
    let rule = Draft::answer(&[1; 20]).copy(0, 2, 6).copy(6, 4, 2).sum(6, 8, 0, 0).checksum(8, 6..10, 0).checksum(
        14,
        8..14,
        0,
    );
    // Template, a copy, a second one over it, a sum over that, a checksum over its end, a checksum of that.
    let frame = [[0xaa; 6].as_slice(), &[0xbb; 2], &[0, 0, 0, 5]].concat();
    let first = !0u16;
    let second = !(first % 0xffff + 0x0101 + 0x0101);
    let mut expected = vec![1, 1, 0xaa, 0xaa, 0xbb, 0xbb, 0, 0];
    expected.extend(first.to_be_bytes());
    expected.extend([1; 4]);
    expected.extend(second.to_be_bytes());
    expected.extend([1; 4]);
    assert_eq!(fate(&filter(&[rule]), &frame), Fate::Answer(expected));
}

#[test]
fn an_error_names_rule_and_field() {
    let mut filter = Filter::NONE;
    let mut text = |rules: &[WakeRule]| filter.set(rules).unwrap_err().to_string();
    assert_eq!(text(&[Draft::wake().0; 20]), "20 rules: there is room for 16");
    let copy = answer().copy(0, 0, 1).copy(0, 60, 1).0;
    let expected = "rule 0: copy 1 reaches beyond the answer or the bytes that are looked at";
    assert_eq!(text(&[copy, answer().sum(60, 0, 0, 0).0]), expected, "the first that is wrong");
    assert_eq!(text(&[Draft::wake().0, Draft::new(9, &[]).0]), "rule 1: no action has the number 9");
}
