//! SMCCC discovery: mitigations of speculation, and who the hypervisor is.

use super::{function, status};

/// Who answers: a random (version 4) UUID, 479de938-6b3f-41e4-bbcc-f44301202752, that stays the same for ever.
pub const DORMOUSE_UID: [u8; 16] =
    [0x47, 0x9d, 0xe9, 0x38, 0x6b, 0x3f, 0x41, 0xe4, 0xbb, 0xcc, 0xf4, 0x43, 0x01, 0x20, 0x27, 0x52];

/// Revision of the vendor-specific calls, major and minor (DEN0028 §6.2).
pub const REVISION: (u64, u64) = (1, 0);

/// W0 to W3 of a UID call: four bytes each, the first in the low bits (DEN0028 §6.2).
pub(super) fn uid_registers(uid: &[u8; 16]) -> [u64; 4] {
    let word = |at: usize| u64::from(u32::from_le_bytes([uid[at], uid[at + 1], uid[at + 2], uid[at + 3]]));
    [word(0), word(4), word(8), word(12)]
}

/// What a guest is told about a SMCCC_ARCH_WORKAROUND call (DEN0028 §7.5 to §7.7).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Workaround {
    /// Nothing is known: the guest has to assume the worst.
    #[default]
    Unknown,
    /// The CPU is not affected; the call does nothing.
    NotNeeded,
    /// The CPU is affected, and entering EL2 by the call is the mitigation.
    Needed,
}

/// The mitigations of the CPUs that guests run on. Decided once from the CPUs' ids and the firmware's answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Mitigations {
    /// Against branch target injection.
    pub workaround_1: Workaround,
    /// Against speculative store bypass.
    pub workaround_2: Workaround,
    /// Against branch history injection.
    pub workaround_3: Workaround,
}

/// SMCCC_ARCH_FEATURES: the workaround exists and this CPU does not need it.
const NOT_NEEDED: u64 = 1;

impl Mitigations {
    /// SMCCC_ARCH_FEATURES of `function`.
    pub(super) const fn features(&self, function: u32) -> u64 {
        match function {
            // By this a caller finds out that there is PV_TIME_FEATURES.
            function::SMCCC_VERSION | function::SMCCC_ARCH_FEATURES | function::PV_TIME_FEATURES => status::SUCCESS,
            _ => match self.of(function) {
                Workaround::Unknown => status::NOT_SUPPORTED,
                Workaround::NotNeeded => NOT_NEEDED,
                Workaround::Needed => status::SUCCESS,
            },
        }
    }

    /// A SMCCC_ARCH_WORKAROUND call: what it has to do has been done on the way into EL2.
    pub(super) const fn call(&self, function: u32) -> u64 {
        match self.of(function) {
            Workaround::Unknown => status::NOT_SUPPORTED,
            Workaround::NotNeeded | Workaround::Needed => status::SUCCESS,
        }
    }

    const fn of(&self, function: u32) -> Workaround {
        match function {
            function::ARCH_WORKAROUND_1 => self.workaround_1,
            function::ARCH_WORKAROUND_2 => self.workaround_2,
            function::ARCH_WORKAROUND_3 => self.workaround_3,
            _ => Workaround::Unknown,
        }
    }
}
