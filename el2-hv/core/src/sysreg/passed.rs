//! What a guest has to itself: registers and instructions that do not trap, and why they need not.

/// Registers or instructions that a guest uses without EL2.
#[derive(Clone, Copy, Debug)]
pub struct PassedRow {
    /// Which.
    pub name: &'static str,
    /// Who keeps guests apart, and why no trap is needed.
    pub reason: &'static str,
}

/// What a guest has to itself, without a trap.
pub const PASSED: &[PassedRow] = &[
    PassedRow {
        name: "X0-X30, SP_EL0, SP_EL1, PC, PSTATE, SPSR_EL1, ELR_EL1",
        reason: "switched at every change of vCPU",
    },
    PassedRow {
        name: "SCTLR_EL1, CPACR_EL1, TTBR0_EL1, TTBR1_EL1, TCR_EL1, MAIR_EL1, AMAIR_EL1, CONTEXTIDR_EL1, VBAR_EL1, ESR_EL1, FAR_EL1, AFSR0_EL1, AFSR1_EL1, PAR_EL1",
        reason: "switched at every change of vCPU; stage 2 confines whatever stage 1 does",
    },
    PassedRow {
        name: "TPIDR_EL0, TPIDRRO_EL0, TPIDR_EL1, CSSELR_EL1, CNTKCTL_EL1",
        reason: "switched at every change of vCPU",
    },
    PassedRow {
        name: "V0-V31, FPCR, FPSR (Q registers)",
        reason: "switched when the CPU goes from one VM's vCPU to another's",
    },
    PassedRow {
        name: "MIDR_EL1, MPIDR_EL1",
        reason: "the hardware answers with VPIDR_EL2 and VMPIDR_EL2; the affinity is the vCPU's",
    },
    PassedRow {
        name: "REVIDR_EL1, AIDR_EL1, CTR_EL0, DCZID_EL0, CLIDR_EL1, CCSIDR_EL1",
        reason: "constants of the CPU that a guest needs for cache maintenance and errata; no state",
    },
    PassedRow {
        name: "CNTVCT_EL0, CNTPCT_EL0, CNTFRQ_EL0 (reading)",
        reason: "the counts need no trap: CNTVOFF_EL2 is the VM's, and CNTPCT_EL0 is the host's count",
    },
    PassedRow {
        name: "CNTV_CTL_EL0, CNTV_CVAL_EL0, CNTV_TVAL_EL0",
        reason: "the hardware's virtual timer is the guest's while its vCPU runs, switched with it; its interrupt comes by list register",
    },
    PassedRow {
        name: "ICC_* but the SGI registers and ICC_SRE_EL1",
        reason: "with HCR_EL2.IMO and FMO they are the virtual CPU interface (ICV_*), whose state is in ICH_*_EL2 (IHI0069 §6.2)",
    },
    PassedRow {
        name: "TLBI of EL1 and EL0, AT S1E0* and S1E1*",
        reason: "the hardware confines them to the current VMID; HCR_EL2.FB makes local ones reach every CPU where the vCPU may have run",
    },
    PassedRow {
        name: "IC IALLU, IC IALLUIS, IC IVAU, DC by VA, DC ZVA",
        reason: "by address they reach only what the guest can address; IC IALLU costs others time, never data, and is broadcast by HCR_EL2.FB",
    },
    PassedRow {
        name: "DISR_EL1, ESB",
        reason: "with HCR_EL2.AMO the hardware answers from VDISR_EL2; RAS reads as absent",
    },
    PassedRow {
        name: "DSB, DMB, ISB, SB, CSDB, hints, YIELD, SEV, WFE",
        reason: "no state of another; WFE ends by an event or an interrupt, and the time slice bounds it",
    },
    PassedRow { name: "SVC, BRK, ERET", reason: "taken to EL1, the guest's own business" },
    PassedRow {
        name: "RNDR, RNDRRS, crypto, atomics and other instructions that the ID registers show",
        reason: "no state beyond the registers above",
    },
];
