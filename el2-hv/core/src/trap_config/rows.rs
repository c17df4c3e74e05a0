//! The rows of the trap configuration.

use super::Field;

/// A control register that is not composed of rows.
#[derive(Clone, Copy, Debug)]
pub struct OtherRow {
    /// Register and value.
    pub name: &'static str,
    /// Why.
    pub reason: &'static str,
}

const fn on(name: &'static str, shift: u8, reason: &'static str) -> Field {
    Field { name, shift, width: 1, value: 1, reason }
}

const fn off(name: &'static str, shift: u8, reason: &'static str) -> Field {
    Field { name, shift, width: 1, value: 0, reason }
}

const fn field(name: &'static str, (shift, width): (u8, u8), value: u64, reason: &'static str) -> Field {
    Field { name, shift, width, value, reason }
}

/// HCR_EL2.
pub const HCR_ROWS: &[Field] = &[
    on("VM", 0, "stage 2 translates: the guest's memory is what EL2 gave it"),
    on("SWIO", 1, "an invalidate by set and way cleans as well, should one ever be executed"),
    on("PTW", 2, "a guest's table walk that hits Device memory faults instead of reading a device"),
    on("FMO", 3, "FIQs go to EL2; the guest's are virtual"),
    on("IMO", 4, "IRQs go to EL2; the guest's are virtual; makes the ICC_* registers virtual and SGIs trap"),
    on("AMO", 5, "SErrors go to EL2, which charges them to the vCPU that runs"),
    off("VF, VI, VSE", 6, "virtual interrupts come from list registers; the run loop sets VSE to pass an SError on"),
    on("FB", 9, "TLB and instruction cache maintenance meant for this CPU reaches all: the vCPU may have run there"),
    field("BSU", (10, 2), 0b01, "barriers reach the Inner Shareable domain at least, for the same reason"),
    off("DC", 12, "the guest's stage 1 decides; with its MMU off it sees Device memory, as on hardware"),
    on("TWI", 13, "WFI gives the CPU away"),
    off(
        "TWE",
        14,
        "WFE while others wait for the CPU: it is set and cleared as they come and go. Alone a vCPU waits in it at no cost",
    ),
    off(
        "TID0, TID1, TID2",
        15,
        "cache and revision ID registers hold no secret and no state but CSSELR_EL1, which is switched",
    ),
    on("TID3", 18, "the feature ID registers are answered from the allow-list"),
    on("TSC", 19, "SMC never reaches the firmware from a guest"),
    on("TIDCP", 20, "IMPLEMENTATION DEFINED registers and instructions are UNDEFINED in the guest"),
    on("TACR", 21, "ACTLR_EL1 controls the CPU, not the guest"),
    on("TSW", 22, "set and way name lines of everybody's cache"),
    off("TPC, TPU", 23, "maintenance by address reaches only what the guest maps"),
    off("TTLB", 25, "TLB maintenance is confined to the VMID by the hardware"),
    off("TVM, TRVM", 26, "the EL1 translation registers are the guest's own and are switched"),
    off("TGE", 27, "EL0 exceptions are the guest kernel's business"),
    off("TDZ", 28, "DC ZVA is a store"),
    off("HCD", 29, "HVC is how a guest calls EL2"),
    on("RW", 31, "EL1 is AArch64; EL0 may be AArch32 where the CPU has it"),
    off("E2H", 34, "EL2 has its own translation regime (nVHE)"),
    on("TLOR", 35, "limited ordering regions are not switched (FEAT_LOR)"),
    on("TERR", 36, "error records are the host's (FEAT_RAS)"),
    off("TEA", 37, "a synchronous external abort of an assigned device goes to the guest directly, as on hardware"),
    off("APK", 40, "0 traps: pointer authentication keys are not switched"),
    off("API", 41, "0 traps: pointer authentication instructions have no keys to use"),
    off("NV, NV1, NV2", 42, "no nested virtualisation"),
    off("FWB", 46, "stage 2 combines with the guest's memory types instead of replacing them"),
    off("FIEN", 47, "no fault injection (FEAT_RASv1p1)"),
    off("AMVOFFEN", 51, "activity monitors are the host's"),
    off("EnSCXT", 53, "0 traps: SCXTNUM_EL0 and SCXTNUM_EL1 are not switched"),
    off("ATA", 56, "0 traps: tags and their registers are not switched"),
    off("DCT", 57, "no tags"),
    on("TID5", 58, "GMID_EL1 belongs to a feature that is hidden (FEAT_MTE2)"),
];

/// HCRX_EL2 (FEAT_HCX). What it enables stays off, and the registers behind it trap.
pub const HCRX_ROWS: &[Field] = &[
    off("EnAS0, EnALS, EnASR", 0, "0 traps: 64-byte accesses are hidden"),
    on("TALLINT", 6, "ALLINT belongs to a feature that is hidden (FEAT_NMI)"),
    off("MSCEn", 11, "0 makes memory copy instructions UNDEFINED, as they are hidden"),
    off("TCR2En", 14, "0 traps: TCR2_EL1 is not switched"),
    off("SCTLR2En", 15, "0 traps: SCTLR2_EL1 is not switched"),
];

/// MDCR_EL2 without HPMN.
pub const MDCR_ROWS: &[Field] = &[
    on("TPMCR", 5, "the PMU is the host's"),
    on("TPM", 6, "the PMU is the host's"),
    off("HPME", 7, "no counter of EL2's own runs"),
    off("TDE", 8, "debug exceptions go to EL1: BRK is the guest kernel's"),
    on("TDA", 9, "debug registers are each vCPU's own; what else the control guards is the host's"),
    on("TDOSA", 10, "the CPU's OS lock stays open; each vCPU has its own"),
    on("TDRA", 11, "the debug ROM address is the host's"),
    field("E2PB", (12, 2), 0b00, "the profiling buffer is EL2's and its registers trap (FEAT_SPE)"),
    on("TPMS", 14, "statistical profiling controls trap (FEAT_SPE)"),
    on("TTRF", 19, "trace filter controls trap (FEAT_TRF)"),
    field("E2TB", (24, 2), 0b00, "the trace buffer is EL2's and its registers trap (FEAT_TRBE)"),
];

/// CPTR_EL2.
pub const CPTR_ROWS: &[Field] = &[
    field("RES1", (0, 8), 0xff, "reserved"),
    on("TZ", 8, "SVE traps; RES1 without it"),
    on("RES1", 9, "reserved"),
    off("TFP", 10, "FP and SIMD are the guest's: switched with its other registers"),
    on("TSM", 12, "SME traps; RES1 without it"),
    on("RES1", 13, "reserved"),
    on("TTA", 20, "trace registers trap"),
    on("TAM", 30, "activity monitors trap (FEAT_AMUv1)"),
    off("TCPAC", 31, "CPACR_EL1 is the guest's own and is switched"),
];

/// CNTHCTL_EL2.
pub const CNTHCTL_ROWS: &[Field] = &[
    on("EL1PCTEN", 0, "1 does not trap: reading CNTPCT_EL0 gives the host's count"),
    off("EL1PCEN", 1, "0 traps: the physical timer is EL2's, the guest's is emulated"),
    off("EVNTEN", 2, "no event stream from EL2; a guest has its own in CNTKCTL_EL1"),
    off("ECV", 12, "no offset of the physical count (FEAT_ECV)"),
    off("EL1TVT, EL1TVCT", 13, "the virtual timer and count are the guest's (FEAT_ECV)"),
];

/// The rest.
pub const OTHER_ROWS: &[OtherRow] = &[
    OtherRow {
        name: "MDCR_EL2.HPMN = PMCR_EL0.N",
        reason: "all counters in the first range, the only value that is right on every CPU",
    },
    OtherRow {
        name: "HSTR_EL2 = 0",
        reason: "AArch32 EL0 finds no coprocessor register that the other controls leave open",
    },
    OtherRow {
        name: "HFGRTR_EL2, HFGWTR_EL2, HFGITR_EL2, HDFGRTR_EL2, HDFGWTR_EL2, HAFGRTR_EL2 = 0 (FEAT_FGT)",
        reason: "bits of newer features (n...) trap when 0; the older registers are decided above",
    },
    OtherRow { name: "ICC_SRE_EL2.SRE = 1, Enable = 0", reason: "ICC_SRE_EL1 traps and reads as fixed" },
    OtherRow { name: "VPIDR_EL2, VMPIDR_EL2", reason: "the CPU's MIDR_EL1, and the affinity of the vCPU" },
    OtherRow { name: "CNTVOFF_EL2", reason: "where the VM's time begins" },
    OtherRow {
        name: "MDSCR_EL1, DBGBCR<n>_EL1, DBGWCR<n>_EL1",
        reason: "those of a vCPU while it is loaded and has a breakpoint, a watchpoint or a step armed; 0 otherwise",
    },
];
