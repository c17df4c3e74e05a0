//! The ID registers that a guest sees: an allow-list of fields.
//!
//! A guest may see a feature if EL2 switches the state that it adds, or if it adds none. Every field that may be seen
//! has a row in `table.rs`, with the highest value that has been checked; a field without a row reads as absent. What a
//! row shows is never more than the CPU has. The registers trap by HCR_EL2.TID3 and are read from an array.

use crate::sysreg::SysReg;

mod table;
#[cfg(test)]
mod tests;

pub use table::{FIELDS, Field, FieldRow, Policy};

/// Registers in the ID space that HCR_EL2.TID3 traps, CRm 0 to 7 with op2 0 to 7. CRm 0 is not trapped and stays 0.
const REGISTERS: usize = 64;

/// The values of all trapped ID registers, as a guest reads them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdRegisters {
    values: [u64; REGISTERS],
}

/// ID_AA64PFR0_EL1.EL0 when EL0 can be in AArch32.
const EL0_AARCH32: u64 = 2;

impl IdRegisters {
    /// All registers zero: a place to build the values in.
    pub const EMPTY: Self = Self { values: [0; REGISTERS] };

    /// The guest's values on a CPU whose registers `read` gives.
    ///
    /// `read` is called for the registers of [`Self::sources`]. If EL0 has no AArch32, the AArch32 registers are
    /// UNKNOWN on the CPU (Arm ARM, ID_PFR0_EL1) and read as zero here.
    pub fn from_host(mut read: impl FnMut(SysReg) -> u64) -> Self {
        let aarch32 = read(table::ID_AA64PFR0_EL1) & 0xf == EL0_AARCH32;
        let mut registers = Self::EMPTY;
        for field in &table::POLICIES {
            if !aarch32 && field.is_aarch32() {
                continue;
            }
            let host = if field.policy.needs_host() { field.extract(read(field.register)) } else { 0 };
            registers.values[index(field.register)] |= field.guest_value(host) << field.shift;
        }
        registers
    }

    /// What a guest reads. `register` must be one that [`SysReg::is_id`] accepts; of others the answer means nothing.
    #[inline]
    pub fn read(&self, register: SysReg) -> u64 {
        self.values[index(register)]
    }

    /// The registers of the CPU that the allow-list looks at, once each.
    pub fn sources() -> impl Iterator<Item = SysReg> {
        let fields = table::POLICIES.iter().filter(|field| field.policy.needs_host());
        // The fields of a register are neighbours.
        fields.scan(None, |last, field| Some((last.replace(field.register), field.register))).filter_map(
            |(last, register)| {
                if last == Some(register) { None } else { Some(register) }
            },
        )
    }
}

/// The place of a register: CRm and op2. The mask lets the compiler see that it is inside the array.
#[inline]
const fn index(register: SysReg) -> usize {
    (((register.crm() & 7) << 3 | register.op2()) as usize) & (REGISTERS - 1)
}

impl Field {
    /// The field's bits, at their place.
    pub const fn mask(&self) -> u64 {
        (u64::MAX >> (64 - self.width)) << self.shift
    }

    /// The field's value in a register's value.
    pub const fn extract(&self, value: u64) -> u64 {
        (value & self.mask()) >> self.shift
    }

    /// What a guest sees when the CPU's field is `host`.
    pub fn guest_value(&self, host: u64) -> u64 {
        match self.policy {
            Policy::Pass => host,
            Policy::Hide => 0,
            Policy::Fixed(value) => value,
            Policy::AtMost(limit) => host.min(limit),
            Policy::SignedAtMost(limit) => {
                let negative = host >> (self.width - 1) != 0;
                if negative { host } else { host.min(limit) }
            }
        }
    }

    /// Whether the register describes AArch32.
    pub const fn is_aarch32(&self) -> bool {
        self.register.crm() < 4
    }
}

impl Policy {
    const fn needs_host(self) -> bool {
        !matches!(self, Self::Hide | Self::Fixed(_))
    }
}
