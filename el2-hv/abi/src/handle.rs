//! Identity of a VM over the border: a slot and the life of that slot.

use core::fmt;

/// A VM: its slot in EL2's table and the generation of that slot, so that a handle kept from an
/// earlier life never reaches a later one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[repr(transparent)]
pub struct VmHandle(pub u64);

impl VmHandle {
    /// The handle of life `generation` of slot `index`.
    pub const fn new(index: u8, generation: u32) -> Self {
        Self((generation as u64) << 32 | index as u64)
    }

    /// The slot, or `None` where reserved bits are set.
    pub const fn index(self) -> Option<u8> {
        if self.0 as u32 <= u8::MAX as u32 { Some(self.0 as u8) } else { None }
    }

    /// The life of the slot.
    pub const fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

impl fmt::Display for VmHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0 as u32, self.generation())
    }
}

/// Longest label in bytes.
pub const LABEL_MAX: usize = 31;

/// The text of a zero-padded label in a record; empty where it is no text.
pub fn label_text(bytes: &[u8]) -> &str {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    core::str::from_utf8(&bytes[..end]).unwrap_or_default()
}

/// A VM's label: at most [`LABEL_MAX`] of `[a-z0-9-]`, padded with zeroes. EL2 prints it and
/// compares it with other labels, and with nothing else.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct Label([u8; LABEL_MAX + 1]);

impl Label {
    /// The label `text`, or `None` where it is empty, too long, or holds another character.
    pub const fn new(text: &str) -> Option<Self> {
        let text = text.as_bytes();
        if text.is_empty() || text.len() > LABEL_MAX {
            return None;
        }
        let mut bytes = [0; LABEL_MAX + 1];
        let mut i = 0;
        while i < text.len() {
            if !matches!(text[i], b'a'..=b'z' | b'0'..=b'9' | b'-') {
                return None;
            }
            bytes[i] = text[i];
            i += 1;
        }
        Some(Self(bytes))
    }

    /// What stands for a packet where a VM's label does: no VM's can have brackets.
    pub const PACKET: Self = {
        let mut bytes = [0; LABEL_MAX + 1];
        let text = b"(packet)";
        let mut i = 0;
        while i < text.len() {
            bytes[i] = text[i];
            i += 1;
        }
        Self(bytes)
    };

    /// The label in these bytes, zero padded.
    pub fn from_bytes(bytes: &[u8; LABEL_MAX + 1]) -> Option<Self> {
        let end = bytes.iter().position(|&byte| byte == 0)?;
        let (text, padding) = bytes.split_at(end);
        let padded = padding.iter().all(|&byte| byte == 0);
        core::str::from_utf8(text).ok().filter(|_| padded).and_then(Self::new)
    }

    /// The label that four registers carry, eight bytes each, first byte lowest.
    pub fn from_registers(registers: [u64; 4]) -> Option<Self> {
        let mut bytes = [0; LABEL_MAX + 1];
        for (chunk, register) in bytes.chunks_exact_mut(8).zip(registers) {
            chunk.copy_from_slice(&register.to_le_bytes());
        }
        Self::from_bytes(&bytes)
    }

    /// The label as four registers.
    pub fn to_registers(self) -> [u64; 4] {
        let mut registers = [0; 4];
        for (register, chunk) in registers.iter_mut().zip(self.0.chunks_exact(8)) {
            *register = chunk.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte));
        }
        registers
    }

    /// The label's bytes, zero padded.
    pub const fn bytes(&self) -> &[u8; LABEL_MAX + 1] {
        &self.0
    }

    /// The label as text.
    pub fn as_str(&self) -> &str {
        label_text(&self.0)
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_gives_back_slot_and_generation() {
        let handle = VmHandle::new(7, 0xdead_beef);
        assert_eq!((handle.index(), handle.generation()), (Some(7), 0xdead_beef));
        assert_eq!(VmHandle(0x1_0000_0100).index(), None, "reserved bits name no slot");
    }

    #[test]
    fn labels_take_the_documented_alphabet_and_nothing_else() {
        for good in ["a", "debian", "rt-0", "0123456789012345678901234567890"] {
            assert_eq!(Label::new(good).expect(good).as_str(), good);
        }
        for bad in ["", "Debian", "a b", "a_b", "ä", "01234567890123456789012345678901"] {
            assert!(Label::new(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_label_survives_its_journey_in_registers_and_bytes_after_its_end_are_refused() {
        let label = Label::new("service-partition-of-31-letters").unwrap();
        assert_eq!(Label::from_registers(label.to_registers()), Some(label));
        assert_eq!(Label::from_registers([0x61, 0x62, 0, 0]), None);
        assert_eq!(Label::from_registers([u64::MAX; 4]), None);
        assert_eq!(Label::from_registers([0; 4]), None);
    }
}
