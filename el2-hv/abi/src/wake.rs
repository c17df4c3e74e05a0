//! What EL2 does with frames for the service partition while that is off: rules that it has left.
//!
//! A rule looks at the first [`MATCHED`] bytes of a frame. The first rule that matches decides; a frame that none matches
//! is dropped. EL2 knows no protocol: an answer is a template with bytes of the frame copied into it, one sum, and
//! checksums. It is made in this order, and what comes later is written over what is there: template, copies, sum,
//! checksums. A frame that ends before a field that goes into its answer gets none.

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bytes of a frame that a rule can look at.
pub const MATCHED: usize = 128;
/// Most rules.
pub const RULES_MAX: usize = 16;
/// Bytes of an answer at most.
pub const ANSWER_MAX: usize = 128;
/// Copies into an answer at most.
pub const COPIES_MAX: usize = 8;
/// Checksums in an answer at most: one of the IPv4 header, one of what is in it.
pub const CHECKSUMS_MAX: usize = 2;

/// What becomes of a frame that matches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum WakeAction {
    /// The partition is woken, and gets it.
    Wake = 1,
    /// Nothing.
    Drop = 2,
    /// The template is sent back to where it came from.
    Answer = 3,
}

impl WakeAction {
    /// The action with that number.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Wake),
            2 => Some(Self::Drop),
            3 => Some(Self::Answer),
            _ => None,
        }
    }
}

/// Bytes of the frame that go into the answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CopyField {
    /// Where they are in the frame.
    pub from: u8,
    /// Where they go in the answer.
    pub to: u8,
    /// How many; 0 is no copy.
    pub length: u8,
}

impl CopyField {
    /// No copy.
    pub const NONE: Self = Self { from: 0, to: 0, length: 0 };
}

/// A number of 32 bits in the answer, most significant byte first: a field of 32 bits of the frame, a field of 16 bits of
/// it, and a constant, added modulo 2^32.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SumField {
    /// Where it goes; 0 is no sum.
    pub to: u8,
    /// Where the field of 32 bits is in the frame.
    pub wide: u8,
    /// Where the field of 16 bits is in the frame; 0 is none.
    pub narrow: u8,
    /// For later.
    pub reserved: u8,
    /// What is added.
    pub constant: U32,
}

impl SumField {
    /// No sum.
    pub const NONE: Self = Self { to: 0, wide: 0, narrow: 0, reserved: 0, constant: U32::ZERO };
}

/// A checksum in the answer: the ones' complement of the ones' complement sum (RFC 1071) of a range of the answer, in which
/// its own two bytes are zero, and of a number. It is made after copies and sum, in the order of the rule: a later one is
/// neither in the range of an earlier one, which would then be wrong, nor in its place.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ChecksumField {
    /// Where it goes; 0 is none.
    pub to: u8,
    /// First byte of the range.
    pub start: u8,
    /// Behind its last byte.
    pub end: u8,
    /// For later.
    pub reserved: u8,
    /// What is added, such as a pseudo header's protocol and length.
    pub seed: U16,
    /// For later.
    pub reserved2: U16,
}

impl ChecksumField {
    /// No checksum.
    pub const NONE: Self = Self { to: 0, start: 0, end: 0, reserved: 0, seed: U16::ZERO, reserved2: U16::ZERO };
}

/// A rule. Bytes behind a frame's end match a mask of 0 only.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct WakeRule {
    /// What the frame's bytes have to be, ...
    pub value: [u8; MATCHED],
    /// ... of these bits.
    pub mask: [u8; MATCHED],
    /// A [`WakeAction`].
    pub action: u8,
    /// Bytes of the answer: an Ethernet header's 14 or more, and 0 for the other actions.
    pub answer_length: u8,
    /// For later.
    pub reserved: [u8; 6],
    /// What is copied into it.
    pub copies: [CopyField; COPIES_MAX],
    /// The sum.
    pub sum: SumField,
    /// Checksums.
    pub checksums: [ChecksumField; CHECKSUMS_MAX],
    /// The answer, before all that.
    pub answer: [u8; ANSWER_MAX],
}

const _: () = assert!(size_of::<WakeRule>() == 440);
