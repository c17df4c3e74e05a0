//! Exceptions of EL2 itself, in words for its last report.

use core::fmt;

/// ESR_EL2 of an exception that EL2 took from its own code (Arm ARM D24.2.40).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OwnFault(pub u64);

impl fmt::Display for OwnFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (class, iss) = (self.0 >> 26 & 0x3f, self.0 & 0x1ff_ffff);
        match class {
            0x0e => f.write_str("illegal execution state"),
            0x21 => write!(f, "instruction abort at EL2: {}", status(iss)),
            0x22 => f.write_str("misaligned PC"),
            0x25 => {
                write!(f, "data abort at EL2: {}, {}", status(iss), if iss & 1 << 6 == 0 { "read" } else { "write" })
            }
            0x26 => f.write_str("misaligned SP"),
            0x3c => f.write_str("BRK"),
            _ => write!(f, "exception of class {class:#04x}"),
        }
    }
}

/// The status code of an abort, bits 5:0 of its ISS.
const fn status(iss: u64) -> &'static str {
    match iss & 0x3f {
        0x00..=0x03 => "address size fault",
        0x04..=0x07 => "translation fault",
        0x08..=0x0b => "access flag fault",
        0x0c..=0x0f => "permission fault",
        0x10 | 0x14..=0x17 => "external abort",
        0x21 => "alignment fault",
        _ => "other fault",
    }
}
