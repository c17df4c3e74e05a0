//! The rows of the ID allow-list: one a field, values as in Arm ARM D24.2, the sections of the registers' names.

use super::EL0_AARCH32;
use crate::sysreg::SysReg;

/// What a guest sees of a field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Policy {
    /// What the CPU has, whatever it is.
    Pass,
    /// What the CPU has, but no more than this.
    AtMost(u64),
    /// As `AtMost` in a signed field, where a negative value means that there is nothing (Arm ARM D24.1.3).
    SignedAtMost(u64),
    /// Always this.
    Fixed(u64),
    /// Zero.
    Hide,
}

/// One field, or several neighbours that share a policy.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// The register.
    pub register: SysReg,
    /// Lowest bit.
    pub shift: u8,
    /// Bits.
    pub width: u8,
    /// What a guest sees.
    pub policy: Policy,
}

/// A field, and the words of `docs/TRAPS.md`.
#[derive(Clone, Copy, Debug)]
pub struct FieldRow {
    /// The field.
    pub field: Field,
    /// Its register's name.
    pub register_name: &'static str,
    /// Its name.
    pub name: &'static str,
    /// Why a guest sees this of it.
    pub reason: &'static str,
}

/// [`FIELDS`] without the words, which stay out of EL2's image.
pub(super) static POLICIES: [Field; FIELDS.len()] = {
    let mut fields = [FIELDS[0].field; FIELDS.len()];
    let mut next = 1;
    while next < FIELDS.len() {
        fields[next] = FIELDS[next].field;
        next += 1;
    }
    fields
};

use Policy::{AtMost, Fixed, Hide, Pass, SignedAtMost};

pub(super) const ID_AA64PFR0_EL1: SysReg = id(4, 0);

const fn id(crm: u32, op2: u32) -> SysReg {
    SysReg::new(3, 0, 0, crm, op2)
}

/// Registers by (CRm, op2), each with its fields: name, [lowest bit; bits], policy, reason.
macro_rules! rows {
    ($($register:ident($crm:literal, $op2:literal) { $($name:literal [$shift:literal; $width:literal] $policy:expr, $reason:expr;)* })*) => {
        &[$($(FieldRow {
            field: Field { register: id($crm, $op2), shift: $shift, width: $width, policy: $policy },
            register_name: stringify!($register),
            name: $name,
            reason: $reason,
        },)*)*]
    };
}

const STATELESS: &str = "instructions without state of their own";
const FP_STATE: &str = "instructions on the Q registers and FPCR, which are switched";
const EL1_CONTROL: &str = "controlled by EL1 registers that are switched, or by PSTATE";
const EL2_FEATURE: &str = "a guest has no EL2";
const NOT_SWITCHED: &str = "its state is not switched";
const TRAPPED: &str = "its registers trap";
const SWITCHED_DEBUG: &str = "switched with the vCPU that arms them, all that the CPU has";
const NO_32BIT_EL1: &str = "AArch32 is for EL0 only; this describes EL1 and above";
const NEWER: &str = "features that add state, or that this list was not checked against";

/// The allow-list.
pub const FIELDS: &[FieldRow] = rows! {
    ID_PFR0_EL1(1, 0) {
        "State0" [0; 4] AtMost(1), "A32, for EL0: no state beyond the general and Q registers";
        "State1" [4; 4] AtMost(3), "T32, likewise";
        "State2" [8; 4] AtMost(1), "Jazelle, trivial";
        "CSV2" [16; 4] AtMost(1), "a promise of the CPU without state";
        "DIT" [24; 4] AtMost(1), EL1_CONTROL;
        "State3, AMU, RAS" [12; 4] Hide, "ThumbEE has state; activity monitors and RAS are the host's";
    }
    ID_PFR1_EL1(1, 1) {
        "GenTimer" [16; 4] AtMost(1), "the generic timer is there, as in AArch64";
        "the rest" [0; 16] Hide, NO_32BIT_EL1;
    }
    ID_DFR0_EL1(1, 2) { "all" [0; 64] Hide, "no debug, trace or PMU in AArch32"; }
    ID_AFR0_EL1(1, 3) { "all" [0; 64] Hide, "IMPLEMENTATION DEFINED"; }
    ID_MMFR0_EL1(1, 4) { "all" [0; 32] Pass, "informative: describes the CPU's memory system"; }
    ID_MMFR1_EL1(1, 5) { "all" [0; 32] Pass, "informative: describes the CPU's memory system"; }
    ID_MMFR2_EL1(1, 6) { "all" [0; 32] Pass, "informative: describes the CPU's memory system"; }
    ID_MMFR3_EL1(1, 7) { "all" [0; 32] Pass, "informative: describes the CPU's memory system"; }
    ID_ISAR0_EL1(2, 0) { "all" [0; 32] Pass, STATELESS; }
    ID_ISAR1_EL1(2, 1) { "all" [0; 32] Pass, STATELESS; }
    ID_ISAR2_EL1(2, 2) { "all" [0; 32] Pass, STATELESS; }
    ID_ISAR3_EL1(2, 3) { "all" [0; 32] Pass, STATELESS; }
    ID_ISAR4_EL1(2, 4) { "all" [0; 32] Pass, STATELESS; }
    ID_ISAR5_EL1(2, 5) { "all" [0; 32] Pass, STATELESS; }
    ID_MMFR4_EL1(2, 6) {
        "LSM" [20; 4] AtMost(1), EL1_CONTROL;
        "CCIDX" [24; 4] AtMost(1), "the format of CCSIDR, which is the CPU's";
        "the rest" [0; 20] Hide, NO_32BIT_EL1;
    }
    ID_ISAR6_EL1(2, 7) { "all" [0; 32] Pass, STATELESS; }
    MVFR0_EL1(3, 0) { "all" [0; 32] Pass, FP_STATE; }
    MVFR1_EL1(3, 1) { "all" [0; 32] Pass, FP_STATE; }
    MVFR2_EL1(3, 2) { "all" [0; 32] Pass, FP_STATE; }
    ID_PFR2_EL1(3, 4) {
        "CSV3" [0; 4] AtMost(1), "a promise of the CPU without state";
        "SSBS" [4; 4] AtMost(1), EL1_CONTROL;
        "RAS_frac" [8; 4] Hide, "RAS is the host's";
    }
    ID_DFR1_EL1(3, 5) { "all" [0; 64] Hide, "no debug, trace or PMU in AArch32"; }
    ID_MMFR5_EL1(3, 6) {
        "ETS" [0; 4] AtMost(2), "a promise of the CPU without state";
        "nTLBPA" [4; 4] Hide, NO_32BIT_EL1;
    }

    ID_AA64PFR0_EL1(4, 0) {
        "EL0" [0; 4] AtMost(EL0_AARCH32), "AArch32 at EL0 passes: its registers are the AArch64 ones in another view, and HCR_EL2.RW keeps EL1 in AArch64";
        "EL1" [4; 4] Fixed(1), "HCR_EL2.RW: AArch64 only";
        "EL2" [8; 4] Hide, EL2_FEATURE;
        "EL3" [12; 4] Hide, "SMC does not reach the firmware; PSCI is by HVC";
        "FP" [16; 4] SignedAtMost(1), FP_STATE;
        "AdvSIMD" [20; 4] SignedAtMost(1), FP_STATE;
        "GIC" [24; 4] AtMost(1), "the vGIC is GICv3 with the system register interface; no GICv4.1";
        "RAS" [28; 4] Hide, "error records are the host's, and trap";
        "SVE" [32; 4] Hide, NOT_SWITCHED;
        "SEL2, MPAM, AMU" [36; 12] Hide, TRAPPED;
        "DIT" [48; 4] AtMost(1), EL1_CONTROL;
        "RME" [52; 4] Hide, "a guest has one Security state";
        "CSV2" [56; 4] AtMost(1), "the promise that branch predictions do not cross contexts; SCXTNUM (2 and above) is not switched";
        "CSV3" [60; 4] AtMost(1), "the promise about speculative loads; no state";
    }
    ID_AA64PFR1_EL1(4, 1) {
        "BT" [0; 4] AtMost(1), EL1_CONTROL;
        "SSBS" [4; 4] AtMost(2), EL1_CONTROL;
        "MTE, RAS_frac, MPAM_frac" [8; 12] Hide, NOT_SWITCHED;
        "SME" [24; 4] Hide, NOT_SWITCHED;
        "RNDR_trap" [28; 4] Hide, "belongs to EL3";
        "CSV2_frac" [32; 4] AtMost(1), "1 is a promise without state; SCXTNUM (2) is not switched";
        "NMI, MTE_frac, GCS, THE, MTEX, DF2, PFAR" [36; 28] Hide, NOT_SWITCHED;
    }
    ID_AA64PFR2_EL1(4, 2) { "all" [0; 64] Hide, NEWER; }
    ID_AA64ZFR0_EL1(4, 4) { "all" [0; 64] Hide, "no SVE"; }
    ID_AA64SMFR0_EL1(4, 5) { "all" [0; 64] Hide, "no SME"; }
    ID_AA64FPFR0_EL1(4, 7) { "all" [0; 64] Hide, "FPMR is not switched"; }

    ID_AA64DFR0_EL1(5, 0) {
        "DebugVer" [0; 4] Fixed(6), "Armv8.0: later versions add to it what is not switched";
        "TraceVer" [4; 4] Hide, TRAPPED;
        "PMUVer" [8; 4] Hide, TRAPPED;
        "BRPs" [12; 4] Pass, SWITCHED_DEBUG;
        "PMSS" [16; 4] Hide, TRAPPED;
        "WRPs" [20; 4] Pass, SWITCHED_DEBUG;
        "SEBEP" [24; 4] Hide, NOT_SWITCHED;
        "CTX_CMPs" [28; 4] Pass, "breakpoints, the last ones, that compare CONTEXTIDR_EL1, which is switched";
        "PMSVer" [32; 4] Hide, TRAPPED;
        "DoubleLock" [36; 4] Fixed(0xf), "not implemented: OSDLR_EL1 is RAZ/WI";
        "TraceFilt, TraceBuffer, MTPMU, BRBE, ExtTrcBuff, HPMN0" [40; 24] Hide, TRAPPED;
    }
    ID_AA64DFR1_EL1(5, 1) { "all" [0; 64] Hide, TRAPPED; }
    ID_AA64DFR2_EL1(5, 2) { "all" [0; 64] Hide, NEWER; }
    ID_AA64AFR0_EL1(5, 4) { "all" [0; 64] Hide, "IMPLEMENTATION DEFINED"; }
    ID_AA64AFR1_EL1(5, 5) { "all" [0; 64] Hide, "IMPLEMENTATION DEFINED"; }

    ID_AA64ISAR0_EL1(6, 0) {
        "AES" [4; 4] AtMost(2), FP_STATE;
        "SHA1" [8; 4] AtMost(1), FP_STATE;
        "SHA2" [12; 4] AtMost(2), FP_STATE;
        "CRC32" [16; 4] AtMost(1), STATELESS;
        "Atomic" [20; 4] AtMost(3), STATELESS;
        "TME" [24; 4] Hide, "a transaction's checkpoint would have to end at every exit";
        "RDM" [28; 4] AtMost(1), FP_STATE;
        "SHA3" [32; 4] AtMost(1), FP_STATE;
        "SM3" [36; 4] AtMost(1), FP_STATE;
        "SM4" [40; 4] AtMost(1), FP_STATE;
        "DP" [44; 4] AtMost(1), FP_STATE;
        "FHM" [48; 4] AtMost(1), FP_STATE;
        "TS" [52; 4] AtMost(2), STATELESS;
        "TLB" [56; 4] AtMost(2), "TLB maintenance by range and to the Outer Shareable domain, confined to the VMID";
        "RNDR" [60; 4] AtMost(1), "reads the CPU's generator; no state";
    }
    ID_AA64ISAR1_EL1(6, 1) {
        "DPB" [0; 4] AtMost(2), STATELESS;
        "APA, API" [4; 8] Hide, "keys are not switched";
        "JSCVT" [12; 4] AtMost(1), FP_STATE;
        "FCMA" [16; 4] AtMost(1), FP_STATE;
        "LRCPC" [20; 4] AtMost(3), STATELESS;
        "GPA, GPI" [24; 8] Hide, "keys are not switched";
        "FRINTTS" [32; 4] AtMost(1), FP_STATE;
        "SB" [36; 4] AtMost(1), STATELESS;
        "SPECRES" [40; 4] AtMost(2), "acts on the current context";
        "BF16" [44; 4] AtMost(2), FP_STATE;
        "DGH" [48; 4] AtMost(1), STATELESS;
        "I8MM" [52; 4] AtMost(1), FP_STATE;
        "XS" [56; 4] AtMost(1), "a memory attribute and TLB maintenance, confined to the VMID";
        "LS64" [60; 4] Hide, "needs HCRX_EL2 and ACCDATA_EL1";
    }
    ID_AA64ISAR2_EL1(6, 2) {
        "WFxT" [0; 4] Hide, "WFI traps, and EL2 keeps no timeout for it";
        "RPRES" [4; 4] AtMost(1), FP_STATE;
        "GPA3, APA3" [8; 8] Hide, "keys are not switched";
        "MOPS" [16; 4] Hide, "needs HCRX_EL2.MSCEn";
        "BC" [20; 4] AtMost(1), STATELESS;
        "PAC_frac" [24; 4] Hide, "keys are not switched";
        "CLRBHB" [28; 4] AtMost(1), STATELESS;
        "SYSREG_128, SYSINSTR_128" [32; 8] Hide, NEWER;
        "PRFMSLC" [40; 4] AtMost(1), STATELESS;
        "RPRFM" [48; 4] AtMost(1), STATELESS;
        "CSSC" [52; 4] AtMost(1), STATELESS;
        "LUT" [56; 4] AtMost(1), FP_STATE;
        "ATS1A" [60; 4] Hide, NEWER;
    }
    ID_AA64ISAR3_EL1(6, 3) { "all" [0; 64] Hide, NEWER; }

    ID_AA64MMFR0_EL1(7, 0) {
        "PARange" [0; 4] AtMost(2), "a guest's physical space is 40 bits on every board";
        "ASIDBits" [4; 4] AtMost(2), "the TLB tags with the VMID as well";
        "BigEnd, SNSMem, BigEndEL0" [8; 12] Hide, "emulated devices are little-endian; a guest has one Security state";
        "TGran16" [20; 4] AtMost(1), "translation granule of stage 1; 52-bit addresses are hidden";
        "TGran64" [24; 4] SignedAtMost(0), "translation granule of stage 1";
        "TGran4" [28; 4] SignedAtMost(0), "translation granule of stage 1; 52-bit addresses are hidden";
        "TGran16_2, TGran64_2, TGran4_2" [32; 12] Hide, EL2_FEATURE;
        "ExS" [44; 4] AtMost(1), EL1_CONTROL;
        "FGT, ECV" [56; 8] Hide, EL2_FEATURE;
    }
    ID_AA64MMFR1_EL1(7, 1) {
        "HAFDBS" [0; 4] AtMost(2), EL1_CONTROL;
        "VMIDBits, VH" [4; 8] Hide, EL2_FEATURE;
        "HPDS" [12; 4] AtMost(2), EL1_CONTROL;
        "LO" [16; 4] Hide, TRAPPED;
        "PAN" [20; 4] AtMost(3), EL1_CONTROL;
        "SpecSEI" [24; 4] AtMost(1), "a warning of the CPU without state";
        "XNX" [28; 4] Hide, EL2_FEATURE;
        "TWED" [32; 4] Hide, EL2_FEATURE;
        "ETS" [36; 4] AtMost(2), "a promise of the CPU without state";
        "HCX" [40; 4] Hide, EL2_FEATURE;
        "AFP" [44; 4] AtMost(1), FP_STATE;
        "nTLBPA" [48; 4] AtMost(1), "a promise of the CPU without state";
        "TIDCP1" [52; 4] AtMost(1), EL1_CONTROL;
        "CMOW" [56; 4] AtMost(1), EL1_CONTROL;
        "ECBHB" [60; 4] AtMost(1), "a promise of the CPU without state";
    }
    ID_AA64MMFR2_EL1(7, 2) {
        "CnP" [0; 4] AtMost(1), "shared TLB entries are tagged with the VMID";
        "UAO" [4; 4] AtMost(1), EL1_CONTROL;
        "LSM" [8; 4] AtMost(1), EL1_CONTROL;
        "IESB" [12; 4] Hide, "RAS is the host's";
        "VARange" [16; 4] AtMost(1), EL1_CONTROL;
        "CCIDX" [20; 4] AtMost(1), "the format of CCSIDR_EL1, which is the CPU's";
        "NV" [24; 4] Hide, EL2_FEATURE;
        "ST" [28; 4] AtMost(1), EL1_CONTROL;
        "AT" [32; 4] AtMost(1), STATELESS;
        "IDS" [36; 4] AtMost(1), "how EL0's reads of ID registers reach EL1";
        "FWB" [40; 4] Hide, EL2_FEATURE;
        "TTL" [48; 4] AtMost(1), "a hint in TLB maintenance";
        "BBM" [52; 4] AtMost(2), "stage 1 is the guest's own";
        "EVT" [56; 4] Hide, EL2_FEATURE;
        "E0PD" [60; 4] AtMost(1), EL1_CONTROL;
    }
    ID_AA64MMFR3_EL1(7, 3) { "all" [0; 64] Hide, "TCR2_EL1, SCTLR2_EL1, permission indirection and overlays are not switched"; }
    ID_AA64MMFR4_EL1(7, 4) { "all" [0; 64] Hide, EL2_FEATURE; }
};
