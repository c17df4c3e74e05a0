//! Physical SErrors: errors of memory or of the bus that come some time after the access that caused them.
//!
//! One that came while a vCPU was on a CPU is that vCPU's: it is passed on as a virtual SError, and the machine goes on
//! (Arm ARM, ISS encoding for an SError exception, and DISR_EL1).

/// What the CPU says of an SError: the ISS of ESR_EL2, or the same fields of DISR_EL1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SError(u32);

/// DISR_EL1.A: an SError was deferred.
const DISR_A: u64 = 1 << 31;
/// The bits that both registers use for the same.
const ISS: u64 = 0x1ff_ffff;
/// IDS: the rest is IMPLEMENTATION DEFINED.
const IDS: u32 = 1 << 24;
/// AET and DFSC.
const KIND: u32 = 0b111 << 10 | 0b11_1111;
/// AET 0b110, corrected, is there for DFSC 0b010001 only.
const CORRECTED: u32 = 0b110 << 10 | 0b01_0001;

impl SError {
    /// One that an ESB has deferred, if there was one.
    #[inline]
    pub const fn deferred(disr: u64) -> Option<Self> {
        if disr & DISR_A == 0 { None } else { Some(Self((disr & ISS) as u32)) }
    }

    /// One that was taken.
    pub const fn taken(esr: u64) -> Self {
        Self((esr & ISS) as u32)
    }

    /// Whether whoever caused it has lost something. What the hardware has corrected harms nobody.
    pub const fn harms(self) -> bool {
        self.0 & IDS != 0 || self.0 & KIND != CORRECTED
    }

    /// The syndrome.
    pub const fn syndrome(self) -> u32 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_deferred_unless_the_register_says_so() {
        assert_eq!(SError::deferred(0), None);
        assert_eq!(SError::deferred(0x7fff_ffff), None);
        assert_eq!(SError::deferred(1 << 31 | 0xc11), Some(SError(0xc11)));
    }

    #[test]
    fn taken_and_deferred_say_the_same_of_the_same_error() {
        for iss in [0, 0x11, 0x411, 0x1811, 0x100_1811, 0x1ff_ffff] {
            let taken = SError::taken(0x2f << 26 | 1 << 25 | iss);
            assert_eq!(SError::deferred(1 << 31 | iss), Some(taken));
            assert_eq!(u64::from(taken.syndrome()), iss);
        }
    }

    #[test]
    fn all_but_corrected_errors_harm() {
        let cases = [
            (0, true),                // uncategorized: all that a CPU without FEAT_RAS says
            (0x011, true),            // uncontainable
            (0x411, true),            // unrecoverable
            (0x811, true),            // restartable
            (0xc11, true),            // recoverable
            (0x1811, false),          // corrected
            (0x1a11, false),          // corrected, external
            (0x1800, true),           // AET means nothing without its DFSC
            (1 << 24 | 0x1811, true), // IMPLEMENTATION DEFINED
        ];
        for (iss, harms) in cases {
            assert_eq!(SError::taken(0x2f << 26 | iss).harms(), harms, "{iss:#x}");
        }
    }
}
