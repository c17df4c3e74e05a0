//! What becomes of frames for the service partition, foremost while it is off, by the rules that it has left ([`hv_abi::wake`]).
//!
//! Pure: no memory is touched and no clock is read. The caller copies a frame's first bytes out of the sender's buffer,
//! asks [`Filter::judge`], and does what the judgement says.
//!
//! ```text
//!   judge: the first rule that matches
//!     Wake        may_wake?      the partition is woken: this frame and those behind it are Kept for it
//!     Answer      fill           the frame ends too early: nothing
//!                 may_answer?    sent back to the port that it came from
//!     Drop, Unmatched            nothing
//! ```
//!
//! The partition is not trusted: a rule is checked once, when it is set, and only what it means is kept.

mod answer;
mod kept;
mod limits;
#[cfg(test)]
mod tests;

pub use answer::Answer;
pub use kept::{FRAMES_KEPT, KEPT_MAX, Kept};
pub use limits::{
    ANSWER_BURST, ANSWER_RATE, REACH_BURST, REACH_RATE, Seen, VAIN_COST, WAKE_BURST, WAKE_RATE, WakeLimits,
};

use hv_abi::wake::{MATCHED, RULES_MAX, WakeAction, WakeRule};
use zerocopy::IntoBytes;

/// Words of the bytes that a rule can look at.
const WORDS: usize = MATCHED / size_of::<u64>();

const _: () = assert!(WORDS == u16::BITS as usize);

/// What becomes of a frame.
#[must_use]
#[derive(Clone, Copy, Debug)]
pub enum Judgement<'a> {
    /// The partition is woken, and gets it.
    Wake,
    /// This is sent back.
    Answer(&'a Answer),
    /// A rule says that it goes nowhere.
    Drop,
    /// No rule matches: it goes nowhere.
    Unmatched,
}

/// Why rules are refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FilterError {
    /// So many.
    #[error("{0} rules: there is room for {RULES_MAX}")]
    TooMany(usize),
    /// One of them, counted from 0.
    #[error("rule {rule}: {fault}")]
    Rule {
        /// Which.
        rule: usize,
        /// What is wrong with it.
        fault: Fault,
    },
}

/// What is wrong with a rule. Copies and checksums are counted from 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Fault {
    /// No action has that number.
    #[error("no action has the number {0}")]
    Action(u8),
    /// An answer that is no frame or too long, or an answer's length for another action.
    #[error("the answer's length is {0}")]
    AnswerLength(u8),
    /// Bytes for later are not zero.
    #[error("bytes that are for later are not zero")]
    Reserved,
    /// It reaches beyond the answer, or beyond what is looked at.
    #[error("copy {0} reaches beyond the answer or the bytes that are looked at")]
    Copy(usize),
    /// It reaches beyond the answer, or beyond what is looked at.
    #[error("the sum reaches beyond the answer or the bytes that are looked at")]
    Sum,
    /// It reaches beyond the answer, is of nothing, or changes what an earlier one is of.
    #[error("checksum {0} is not of bytes of the answer, or changes an earlier one")]
    Checksum(usize),
}

/// A rule that was checked.
#[derive(Clone, Copy, Debug)]
struct Rule {
    value: [u64; WORDS],
    mask: [u64; WORDS],
    /// A bit for each word of which the mask has one.
    words: u16,
    /// Behind the last byte of which the mask has a bit.
    end: usize,
    action: Option<WakeAction>,
    answer: Answer,
}

/// A frame's first bytes, zeroes behind its end.
struct Head {
    words: [u64; WORDS],
    length: usize,
}

impl Head {
    #[inline]
    fn new(bytes: &[u8]) -> Self {
        let (mut words, length) = ([0; WORDS], bytes.len().min(MATCHED));
        words.as_mut_bytes()[..length].copy_from_slice(&bytes[..length]);
        Self { words, length }
    }
}

/// These bytes as words, in the order of memory as [`Head`] has them.
fn words(bytes: &[u8; MATCHED]) -> [u64; WORDS] {
    let mut words = [0; WORDS];
    words.as_mut_bytes().copy_from_slice(bytes);
    words
}

impl Rule {
    /// No rule: all zero.
    const NONE: Self =
        Self { value: [0; WORDS], mask: [0; WORDS], words: 0, end: 0, action: None, answer: Answer::NONE };

    fn check(rule: &WakeRule) -> Result<Self, Fault> {
        let action = WakeAction::from_number(rule.action).ok_or(Fault::Action(rule.action))?;
        let answer = Answer::check(rule, action)?;
        let mask = words(&rule.mask);
        let looked_at = mask.iter().rev().fold(0, |bits, word| bits << 1 | u16::from(*word != 0));
        let end = rule.mask.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        Ok(Self { value: words(&rule.value), mask, words: looked_at, end, action: Some(action), answer })
    }

    #[inline]
    fn matches(&self, head: &Head) -> bool {
        let mut left = self.words;
        while left != 0 {
            let word = left.trailing_zeros() as usize;
            if (head.words[word] ^ self.value[word]) & self.mask[word] != 0 {
                return false;
            }
            left &= left - 1;
        }
        self.end <= head.length
    }
}

/// The rules, in their order.
#[derive(Debug)]
pub struct Filter {
    rules: [Rule; RULES_MAX],
    count: usize,
}

impl Filter {
    /// No rules, so that no frame does anything: all zero.
    pub const NONE: Self = Self { rules: [Rule::NONE; RULES_MAX], count: 0 };

    /// These rules instead of what was set before. Nothing is changed on an error.
    ///
    /// # Errors
    /// [`FilterError::TooMany`], or [`FilterError::Rule`] for the first one that is wrong.
    pub fn set(&mut self, rules: &[WakeRule]) -> Result<(), FilterError> {
        if rules.len() > RULES_MAX {
            return Err(FilterError::TooMany(rules.len()));
        }
        // Twice, so that no second table stands on the stack.
        for (number, rule) in rules.iter().enumerate() {
            Rule::check(rule).map_err(|fault| FilterError::Rule { rule: number, fault })?;
        }
        self.clear();
        for (place, rule) in self.rules.iter_mut().zip(rules.iter().flat_map(Rule::check)) {
            *place = rule;
            self.count += 1;
        }
        Ok(())
    }

    /// No rules from now on.
    pub const fn clear(&mut self) {
        self.count = 0;
    }

    /// Decides about a frame by its first [`MATCHED`] bytes, or all of them where they are fewer. Bytes behind these do
    /// not matter.
    #[inline]
    pub fn judge(&self, head: &[u8]) -> Judgement<'_> {
        let head = Head::new(head);
        let rule = self.rules.iter().take(self.count).find(|rule| rule.matches(&head));
        match rule.map(|rule| (rule.action, &rule.answer)) {
            Some((Some(WakeAction::Wake), _)) => Judgement::Wake,
            Some((Some(WakeAction::Answer), answer)) => Judgement::Answer(answer),
            Some(_) => Judgement::Drop,
            None => Judgement::Unmatched,
        }
    }
}
