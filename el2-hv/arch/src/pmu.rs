//! The PMU's first counter, for the measuring build: instructions that this CPU executes at EL2 (Arm ARM D13.11).

use crate::{cpu, mrs, msr};

/// The event INST_RETIRED.
const INSTRUCTIONS: u64 = 0x08;
/// PMEVTYPER0_EL0: count at EL2, neither at EL1 nor at EL0.
const AT_EL2_ONLY: u64 = 1 << 31 | 1 << 30 | 1 << 27;

/// Begins to count, from 0.
pub fn start() {
    msr!("pmevtyper0_el0", INSTRUCTIONS | AT_EL2_ONLY);
    msr!("pmevcntr0_el0", 0);
    msr!("pmcntenset_el0", 1);
    msr!("pmcr_el0", mrs!("pmcr_el0") | 1);
    cpu::isb();
}

/// How many it was, less than 2 to the power of 32.
pub fn instructions() -> u64 {
    cpu::isb();
    mrs!("pmevcntr0_el0") & 0xffff_ffff
}
