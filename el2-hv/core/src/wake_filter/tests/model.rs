//! The contract byte by byte, held against the filter by random rules and frames.

use super::*;
use proptest::prelude::*;
use std::ops::Range;

fn bytes(start: u8, length: usize) -> Range<usize> {
    usize::from(start)..usize::from(start) + length
}

/// Whether a rule is in order.
pub fn is_in_order(rule: &WakeRule) -> bool {
    let length = usize::from(rule.answer_length);
    let copy = |copy: &CopyField| {
        let size = usize::from(copy.length);
        size == 0 || bytes(copy.to, size).end <= length && bytes(copy.from, size).end <= 128
    };
    let sum = &rule.sum;
    let is_looked_at = bytes(sum.wide, 4).end <= 128 && bytes(sum.narrow, 2).end <= 128;
    let is_action_fine = match rule.action {
        1 | 2 => length == 0,
        3 => (14..=128).contains(&length),
        _ => false,
    };
    is_action_fine
        && rule.reserved == [0; 6]
        && sum.reserved == 0
        && rule.checksums.iter().all(|field| field.reserved == 0 && field.reserved2 == 0)
        && rule.copies.iter().all(copy)
        && (sum.to == 0 || bytes(sum.to, 4).end <= length && is_looked_at)
        && are_checksums_in_order(&rule.checksums, length)
}

/// Whether each is of bytes of the answer, and leaves alone what those before it have to do with.
fn are_checksums_in_order(fields: &[ChecksumField], length: usize) -> bool {
    let mut is_settled = [false; 512];
    fields.iter().filter(|field| field.to != 0).all(|field| {
        let (place, range) = (bytes(field.to, 2), usize::from(field.start)..usize::from(field.end));
        let is_within = place.end <= length && range.end <= length && !range.is_empty();
        let is_fine = is_within && !place.clone().any(|byte| is_settled[byte]);
        range.chain(place).for_each(|byte| is_settled[byte] = true);
        is_fine
    })
}

fn matches(rule: &WakeRule, frame: &[u8]) -> bool {
    (0..128).all(|place| {
        let differs = |byte: &u8| (byte ^ rule.value[place]) & rule.mask[place] != 0;
        rule.mask[place] == 0 || frame.get(place).is_some_and(|byte| !differs(byte))
    })
}

fn number(bytes: Option<&[u8]>) -> Option<u64> {
    bytes.map(|bytes| bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

/// What a rule in order answers; `None` where the frame ends too early.
pub fn answer(rule: &WakeRule, frame: &[u8]) -> Option<Vec<u8>> {
    let mut out = rule.answer[..usize::from(rule.answer_length)].to_vec();
    for copy in rule.copies {
        for byte in 0..usize::from(copy.length) {
            out[usize::from(copy.to) + byte] = *frame.get(usize::from(copy.from) + byte)?;
        }
    }
    let sum = rule.sum;
    if sum.to != 0 {
        let narrow = if sum.narrow == 0 { 0 } else { number(frame.get(bytes(sum.narrow, 2)))? };
        let value = number(frame.get(bytes(sum.wide, 4)))? + narrow + u64::from(sum.constant.get());
        (0..4).for_each(|byte| out[usize::from(sum.to) + byte] = (value >> (24 - 8 * byte)) as u8);
    }
    for field in rule.checksums.iter().filter(|field| field.to != 0) {
        out[bytes(field.to, 2)].fill(0);
        let range = &out[usize::from(field.start)..usize::from(field.end)];
        let seed = u64::from(field.seed.get());
        // Of the two zeroes the ones' complement sum has the positive one only where everything is zero.
        let is_nothing = seed == 0 && range.iter().all(|byte| *byte == 0);
        let complement = if is_nothing { 0xffff } else { (0xffff - (wire::modulo(range) + seed) % 0xffff) % 0xffff };
        out[bytes(field.to, 2)].copy_from_slice(&(complement as u16).to_be_bytes());
    }
    Some(out)
}

pub fn judge(rules: &[WakeRule], frame: &[u8]) -> Fate {
    match rules.iter().find(|rule| matches(rule, frame)) {
        None => Fate::Unmatched,
        Some(rule) if rule.action == 1 => Fate::Wake,
        Some(rule) if rule.action == 2 => Fate::Drop,
        Some(rule) => answer(rule, frame).map_or(Fate::NoAnswer, Fate::Answer),
    }
}

prop_compose! {
    /// A field of an answer of `length` bytes: where it is in the frame, where it goes, how long it is.
    fn copy(length: u8)(size in 0..=length.min(20), from: u8, to: u8) -> CopyField {
        CopyField { from: from % (129 - size), to: to % (length - size + 1), length: size }
    }
}

prop_compose! {
    fn checksum(length: u8)(start in 0..length, to in 0..length - 1, share: u8, seed: u16) -> ChecksumField {
        let end = start + 1 + share % (length - start);
        ChecksumField { to, start, end, seed: seed.into(), ..Default::default() }
    }
}

prop_compose! {
    /// An answer, that is in order but for what its checksums may do to each other.
    fn answers()(length in 14..=128u8)(
        template in proptest::collection::vec(any::<u8>(), usize::from(length)),
        copies in proptest::array::uniform8(copy(length)),
        checksums in proptest::array::uniform2(checksum(length)),
        sum in (0..=length - 4, 0..=124u8, 0..=126u8, any::<u32>()),
    ) -> Draft {
        let (to, wide, narrow, constant) = sum;
        let mut draft = Draft::answer(&template).sum(to, wide, narrow, constant);
        (draft.0.copies, draft.0.checksums) = (copies, checksums);
        if !is_in_order(&draft.0) {
            draft.0.checksums[1] = ChecksumField::default();
        }
        draft
    }
}

/// A byte out of so few that rules and frames often agree.
fn byte() -> impl Strategy<Value = u8> {
    prop_oneof![8 => Just(0), 1 => Just(1), 1 => Just(0x80), 1 => any::<u8>()]
}

prop_compose! {
    pub fn rule()(
        draft in prop_oneof![Just(Draft::wake()), Just(Draft::drop()), answers(), answers()],
        masks in proptest::collection::vec((0..128usize, any::<u8>(), byte()), 0..4),
    ) -> WakeRule {
        masks.into_iter().fold(draft, |draft, (place, mask, value)| draft.bits(place, mask, value)).0
    }
}

pub fn frame() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(byte(), 0..160)
}

proptest! {
    #[test]
    fn random_rules_do_with_random_frames_what_the_contract_says(
        rules in proptest::collection::vec(rule(), 0..=RULES_MAX),
        frames in proptest::collection::vec(frame(), 1..40),
    ) {
        let mut filter = Filter::NONE;
        prop_assert_eq!(filter.set(&rules), Ok(()));
        for frame in frames {
            // What lies behind the bytes that are looked at is none of the filter's business.
            let looked_at = &frame[..frame.len().min(MATCHED)];
            prop_assert_eq!(fate(&filter, &frame), judge(&rules, looked_at));
        }
    }
}
