//! What an SMMU says of accesses that it refused, and of itself (IHI0070 §7.3, §7.5).

use core::fmt;

use super::{EVENT_WORDS, StreamId};

/// An event record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Event {
    /// The device.
    pub stream: StreamId,
    /// What happened.
    pub fault: Fault,
    /// What it tried, where the record says so.
    pub access: Option<Access>,
}

/// An access of a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Access {
    /// The address that it gave.
    pub address: u64,
    /// It would have read there, not written.
    pub read: bool,
}

/// What an event is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The access cannot be translated at all (F_UUT, 0x01).
    Unsupported,
    /// The stream is beyond the table (C_BAD_STREAMID, 0x02).
    BadStream,
    /// The stream's entry could not be read (F_STE_FETCH, 0x03).
    EntryFetch,
    /// The stream's entry is not valid (C_BAD_STE, 0x04).
    BadEntry,
    /// A table could not be read (F_WALK_EABT, 0x0b).
    WalkAbort,
    /// Nothing is mapped there (F_TRANSLATION, 0x10).
    Translation,
    /// The address, or one in a table, is too large (F_ADDR_SIZE, 0x11).
    AddressSize,
    /// The access flag is clear (F_ACCESS, 0x12).
    AccessFlag,
    /// It is mapped, and not for that (F_PERMISSION, 0x13).
    Permission,
    /// Another event, by its number.
    Other(u8),
}

impl Fault {
    const fn of(number: u8) -> Self {
        match number {
            0x01 => Self::Unsupported,
            0x02 => Self::BadStream,
            0x03 => Self::EntryFetch,
            0x04 => Self::BadEntry,
            0x0b => Self::WalkAbort,
            0x10 => Self::Translation,
            0x11 => Self::AddressSize,
            0x12 => Self::AccessFlag,
            0x13 => Self::Permission,
            other => Self::Other(other),
        }
    }

    /// Whether its records have the fields InputAddr and RnW (§7.3.13 to §7.3.17).
    const fn has_access(self) -> bool {
        matches!(self, Self::WalkAbort | Self::Translation | Self::AddressSize | Self::AccessFlag | Self::Permission)
    }
}

impl Event {
    /// What a record says.
    pub const fn decode(words: &[u64; EVENT_WORDS]) -> Self {
        let fault = Fault::of(words[0] as u8);
        // RnW is bit 99 of the record.
        let access = Access { address: words[2], read: words[1] >> 35 & 1 == 1 };
        let stream = StreamId((words[0] >> 32) as u32);
        Self { stream, fault, access: if fault.has_access() { Some(access) } else { None } }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stream {}", self.stream)?;
        if let Some(access) = self.access {
            let tried = if access.read { "reads" } else { "writes" };
            write!(f, " {tried} {:#x}", access.address)?;
        }
        write!(f, ": {}", self.fault)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unsupported => "a transaction of no known kind",
            Self::BadStream => "no such stream",
            Self::EntryFetch => "its stream table entry cannot be read",
            Self::BadEntry => "its stream table entry is not valid",
            Self::WalkAbort => "a translation table cannot be read",
            Self::Translation => "nothing is mapped there",
            Self::AddressSize => "the address is too large",
            Self::AccessFlag => "not marked as accessed",
            Self::Permission => "not allowed there",
            Self::Other(number) => return write!(f, "event {number:#04x}"),
        })
    }
}

/// Errors of the SMMU itself that are active: the bits that differ between GERROR and GERRORN (§7.5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GlobalErrors(u32);

impl GlobalErrors {
    /// CMDQ_ERR: a command was refused, and none behind it is done.
    pub const COMMAND: u32 = 1 << 0;

    /// What GERROR and GERRORN say. `None` where no error is active.
    pub const fn active(gerror: u32, gerrorn: u32) -> Option<Self> {
        // Bits that nobody knows are not waited for.
        match (gerror ^ gerrorn) & 0x3fd {
            0 => None,
            bits => Some(Self(bits)),
        }
    }

    /// Whether one of them is `error`.
    pub const fn has(self, error: u32) -> bool {
        self.0 & error != 0
    }
}

impl fmt::Display for GlobalErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [(u32, &str); 4] = [
            (0, "a command was refused"),
            (2, "an event could not be written"),
            (7, "an interrupt could not be sent"),
            (8, "it failed, and lets nothing through any more"),
        ];
        let mut said = false;
        for (_, name) in NAMES.iter().filter(|(bit, _)| self.has(1 << bit)) {
            let comma = if said { ", " } else { "" };
            write!(f, "{comma}{name}")?;
            said = true;
        }
        if said { Ok(()) } else { write!(f, "errors {:#x}", self.0) }
    }
}
