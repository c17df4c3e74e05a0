//! A VM's console, watched from another VM: what is asked for on a mailbox's ring or a management port, and answered.
//!
//! The service partition decides who may watch what, by `console_attach`; from then on EL2 alone answers
//! [`crate::record::QueryKind::ConsoleNext`] and [`crate::record::QueryKind::ConsoleType`] of that ring or port. Nothing
//! comes that was not asked for, so one who does not read costs nothing.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::mailbox::BODY_MAX;
use crate::record::Query;

/// What one who watches a console may do: a register of `console_attach`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u64)]
pub enum ConsoleRight {
    /// Read it.
    Read = 0,
    /// Read it, and type.
    ReadAndType = 1,
}

impl ConsoleRight {
    /// The right with that number.
    pub const fn from_register(register: u64) -> Option<Self> {
        match register {
            0 => Some(Self::Read),
            1 => Some(Self::ReadAndType),
            _ => None,
        }
    }
}

/// Before a piece of a console, the answer to a `ConsoleNext`: at least one byte of text, or none and how the VM ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ConsolePiece {
    /// Position of the text's first byte, from the beginning of the VM's life. Behind the position that was asked for
    /// where bytes between were overwritten.
    pub position: U64,
    /// Position behind the last byte that there is.
    pub end: U64,
    /// See [`crate::record::EndReason`]: 0 while its life goes on.
    pub ended: U32,
    /// Zero.
    pub reserved: U32,
}

/// The answer to a `ConsoleType`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ConsoleTyped {
    /// Bytes that were taken, from the first on: as many as there was room for. The rest is to be sent again.
    pub taken: U32,
}

/// Most bytes that one `ConsoleType` has behind its [`Query`].
pub const TYPE_MAX: usize = BODY_MAX - size_of::<Query>();
