//! An answer: a template, with what the frame has to say in it.

use hv_abi::wake::{
    ANSWER_MAX, CHECKSUMS_MAX, COPIES_MAX, ChecksumField, CopyField, MATCHED, SumField, WakeAction, WakeRule,
};

use super::Fault;
use crate::switch::HEADER;

/// An answer whose fields lie within it, and within the bytes of a frame that are looked at.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    length: usize,
    copies: [CopyField; COPIES_MAX],
    sum: SumField,
    checksums: [ChecksumField; CHECKSUMS_MAX],
    template: [u8; ANSWER_MAX],
}

impl Answer {
    /// No answer: all zero.
    pub(super) const NONE: Self = Self {
        length: 0,
        copies: [CopyField::NONE; COPIES_MAX],
        sum: SumField::NONE,
        checksums: [ChecksumField::NONE; CHECKSUMS_MAX],
        template: [0; ANSWER_MAX],
    };

    /// What a rule of that action answers. Those that answer nothing have room for no field.
    pub(super) fn check(rule: &WakeRule, action: WakeAction) -> Result<Self, Fault> {
        let length = usize::from(rule.answer_length);
        let fits = match action {
            WakeAction::Answer => (HEADER..=ANSWER_MAX).contains(&length),
            WakeAction::Wake | WakeAction::Drop => length == 0,
        };
        if !fits {
            return Err(Fault::AnswerLength(rule.answer_length));
        }
        let WakeRule { copies, sum, checksums, answer: template, .. } = *rule;
        let answer = Self { length, copies, sum, checksums, template };
        let of_checksums = checksums.iter().any(|field| field.reserved != 0 || field.reserved2.get() != 0);
        if rule.reserved != [0; 6] || sum.reserved != 0 || of_checksums {
            return Err(Fault::Reserved);
        }
        answer.check_copies()?;
        answer.check_sum()?;
        answer.check_checksums()?;
        Ok(answer)
    }

    fn check_copies(&self) -> Result<(), Fault> {
        let fits = |copy: &CopyField| {
            let [from, to, length] = [copy.from, copy.to, copy.length].map(usize::from);
            length == 0 || from + length <= MATCHED && to + length <= self.length
        };
        self.copies.iter().position(|copy| !fits(copy)).map_or(Ok(()), |wrong| Err(Fault::Copy(wrong)))
    }

    fn check_sum(&self) -> Result<(), Fault> {
        let [to, wide, narrow] = [self.sum.to, self.sum.wide, self.sum.narrow].map(usize::from);
        let fits = to + 4 <= self.length && wide + 4 <= MATCHED && narrow + 2 <= MATCHED;
        if to == 0 || fits { Ok(()) } else { Err(Fault::Sum) }
    }

    fn check_checksums(&self) -> Result<(), Fault> {
        for (number, field) in self.checksums.iter().enumerate().filter(|(_, field)| field.to != 0) {
            let [to, start, end] = [field.to, field.start, field.end].map(usize::from);
            let fits = to + 2 <= self.length && start < end && end <= self.length;
            let changes = self.checksums[..number].iter().any(|earlier| changes(field, earlier));
            if !fits || changes {
                return Err(Fault::Checksum(number));
            }
        }
        Ok(())
    }

    /// Makes the answer to the frame with these first bytes, the same that were judged. Returns its length in bytes;
    /// `None` where the frame ends before a field that goes into it, and `out` has no meaning then. Behind the answer
    /// `out` has bytes of the template.
    #[inline]
    pub fn fill(&self, head: &[u8], out: &mut [u8; ANSWER_MAX]) -> Option<usize> {
        *out = self.template;
        for copy in self.copies.iter().filter(|copy| copy.length != 0) {
            let [from, to, length] = [copy.from, copy.to, copy.length].map(usize::from);
            out.get_mut(to..to + length)?.copy_from_slice(head.get(from..from + length)?);
        }
        if self.sum.to != 0 {
            let place = out.get_mut(usize::from(self.sum.to)..)?.first_chunk_mut()?;
            *place = sum(&self.sum, head)?.to_be_bytes();
        }
        for field in self.checksums.iter().filter(|field| field.to != 0) {
            let to = usize::from(field.to);
            out.get_mut(to..to + 2)?.fill(0);
            let checksum = checksum(out.get(usize::from(field.start)..usize::from(field.end))?, field.seed.get());
            out.get_mut(to..to + 2)?.copy_from_slice(&checksum.to_be_bytes());
        }
        Some(self.length)
    }
}

/// Whether one checksum is written over bytes that an earlier one is of, or over its place.
fn changes(later: &ChecksumField, earlier: &ChecksumField) -> bool {
    let [to, other, start, end] = [later.to, earlier.to, earlier.start, earlier.end].map(usize::from);
    other != 0 && (to < end && start < to + 2 || to < other + 2 && other < to + 2)
}

/// The sum of a frame's fields and a constant.
fn sum(field: &SumField, head: &[u8]) -> Option<u32> {
    let wide = head.get(usize::from(field.wide)..)?.first_chunk()?;
    let narrow = match field.narrow {
        0 => 0,
        narrow => u16::from_be_bytes(*head.get(usize::from(narrow)..)?.first_chunk()?),
    };
    Some(u32::from_be_bytes(*wide).wrapping_add(u32::from(narrow)).wrapping_add(field.constant.get()))
}

/// The ones' complement of the ones' complement sum of bytes, an odd last one before a zero, and of a number
/// (RFC 1071 §1). At most [`ANSWER_MAX`] bytes: 32 bits do not overflow.
fn checksum(bytes: &[u8], seed: u16) -> u16 {
    let (pairs, last) = bytes.as_chunks::<2>();
    let odd = last.first().map_or(0, |byte| u32::from(*byte) << 8);
    let sum = pairs.iter().fold(u32::from(seed) + odd, |sum, pair| sum + u32::from(u16::from_be_bytes(*pair)));
    // Twice: the first carry can bring another.
    let once = (sum & 0xffff) + (sum >> 16);
    !((once & 0xffff) + (once >> 16)) as u16
}
