//! The table of system registers that trap.

use super::{
    Access, CNTP_CTL_EL0, CNTP_CVAL_EL0, CNTP_TVAL_EL0, ICC_ASGI1R_EL1, ICC_SGI0R_EL1, ICC_SGI1R_EL1, ICC_SRE_EL1,
    MDSCR_EL1, OSLAR_EL1, OSLSR_EL1, Pattern, SysReg, SysRegAction, TimerRegister,
};
use crate::vgic::SgiRegister;

/// A register, or a group of them, whose accesses trap: the answer, and the words of `docs/TRAPS.md`.
#[derive(Clone, Copy, Debug)]
pub struct TrapRow {
    /// The architecture's name.
    pub name: &'static str,
    /// What EL2 does.
    pub answer: Answer,
    /// The control that makes it trap.
    pub control: &'static str,
    /// Why that is the answer.
    pub reason: &'static str,
}

/// What a row says without words, so that the words stay out of EL2's image.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    /// Which encodings.
    pub pattern: Pattern,
    /// What a guest may do; the rest is UNDEFINED.
    pub access: Access,
    /// What EL2 answers.
    pub action: SysRegAction,
}

/// The answers of [`TRAPPED`], in its order.
pub(super) static ANSWERS: [Answer; TRAPPED.len()] = {
    let mut answers = [TRAPPED[0].answer; TRAPPED.len()];
    let mut next = 1;
    while next < TRAPPED.len() {
        answers[next] = TRAPPED[next].answer;
        next += 1;
    }
    answers
};

use Access::{ReadOnly, ReadWrite, WriteOnly};
use SysRegAction::{
    DeactivateInterrupt, Debug, PhysicalTimer, ReadValue, ReadZeroWriteIgnore, SetWayCache, Sgi, Undefined,
};

const fn row(name: &'static str, pattern: Pattern) -> TrapRow {
    let answer = Answer { pattern, access: ReadWrite, action: Undefined };
    TrapRow { name, answer, control: "", reason: "" }
}

impl TrapRow {
    const fn answers(mut self, access: Access, action: SysRegAction) -> Self {
        self.answer.access = access;
        self.answer.action = action;
        self
    }

    const fn because(mut self, control: &'static str, reason: &'static str) -> Self {
        self.control = control;
        self.reason = reason;
        self
    }
}

const fn reg(op0: u32, op1: u32, crn: u32, crm: u32, op2: u32) -> Pattern {
    Pattern::one(SysReg::new(op0, op1, crn, crm, op2))
}

/// All registers with these op0, op1, CRn and CRm.
const fn any_op2(op0: u32, op1: u32, crn: u32, crm: u32) -> Pattern {
    Pattern::group(SysReg::new(op0, op1, crn, crm, 0), SysReg::new(3, 7, 15, 15, 0))
}

/// All registers with these op0, op1 and CRn.
const fn any_crm(op0: u32, op1: u32, crn: u32) -> Pattern {
    Pattern::group(SysReg::new(op0, op1, crn, 0, 0), SysReg::new(3, 7, 15, 0, 0))
}

/// A register for an external debugger, that is there and does nothing.
const fn idle(name: &'static str, pattern: Pattern) -> TrapRow {
    row(name, pattern).answers(ReadWrite, ReadZeroWriteIgnore).because(DEBUG, NO_DEBUGGER)
}

const SGI: &str = "HCR_EL2.IMO, FMO";
const TIMER: &str = "CNTHCTL_EL2.EL1PCEN = 0";
const DEBUG: &str = "MDCR_EL2.TDA";
const OS_LOCK: &str = "MDCR_EL2.TDOSA";
const NO_PMU: &str = "ID_AA64DFR0_EL1.PMUVer reads 0: a guest has no PMU, the counters are the host's";
const NO_DEBUGGER: &str = "the channel to an external debugger is the host's; a guest has none";
const SELF_LOCK: &str = "each vCPU has its own; closed when it is turned on, as after a cold reset";
const SELF_HOSTED: &str = "each vCPU's own: in the CPU while it is loaded and has something armed";
const NO_MTE: &str = "ID_AA64PFR1_EL1.MTE reads 0";
const SET_WAY: &str = "set and way name lines of the physical cache, so of every guest, and reach no other CPU: it is not done. \
     What EL2 writes for a guest is cleaned to PoC by address when it is written";
const IMPLEMENTATION_DEFINED: &str =
    "what an implementation puts there is unknown, shared between guests and not switched";

/// Everything that traps and has an answer of its own, and the groups that are UNDEFINED on purpose.
///
/// The first match counts. [`super::classify`] handles the ID registers and ICC_SGI1R_EL1 writes before it looks here.
pub const TRAPPED: &[TrapRow] = &[
    // Used while a guest runs.
    row("ICC_SGI1R_EL1", Pattern::one(ICC_SGI1R_EL1))
        .answers(WriteOnly, Sgi(SgiRegister::Sgi1))
        .because(SGI, "SGIs go to vCPUs, not to CPUs"),
    row("CNTP_CVAL_EL0", Pattern::one(CNTP_CVAL_EL0))
        .answers(ReadWrite, PhysicalTimer(TimerRegister::CompareValue))
        .because(TIMER, "the timer is emulated: one hardware timer per guest is the virtual one"),
    row("CNTP_CTL_EL0", Pattern::one(CNTP_CTL_EL0))
        .answers(ReadWrite, PhysicalTimer(TimerRegister::Control))
        .because(TIMER, "as above"),
    row("CNTP_TVAL_EL0", Pattern::one(CNTP_TVAL_EL0))
        .answers(ReadWrite, PhysicalTimer(TimerRegister::TimerValue))
        .because(TIMER, "as above"),
    row("ICC_ASGI1R_EL1", Pattern::one(ICC_ASGI1R_EL1))
        .answers(WriteOnly, Sgi(SgiRegister::AlternateSgi1))
        .because(SGI, "SGIs go to vCPUs, not to CPUs"),
    row("ICC_SGI0R_EL1", Pattern::one(ICC_SGI0R_EL1))
        .answers(WriteOnly, Sgi(SgiRegister::Sgi0))
        .because(SGI, "SGIs go to vCPUs, not to CPUs"),
    row("ICC_DIR_EL1", reg(3, 0, 12, 11, 1))
        .answers(WriteOnly, DeactivateInterrupt)
        .because("ICH_HCR_EL2.TDIR, while an active interrupt has no list register", "the hardware could not find it"),
    // Used at boot.
    row("ICC_SRE_EL1", Pattern::one(ICC_SRE_EL1)).answers(ReadWrite, ReadValue(0b111)).because(
        "ICC_SRE_EL2.Enable = 0",
        "the system register interface is the only one: SRE, DFB and DIB are RAO/WI",
    ),
    row("ACTLR_EL1", reg(3, 0, 1, 0, 1))
        .answers(ReadWrite, ReadZeroWriteIgnore)
        .because("HCR_EL2.TACR", "IMPLEMENTATION DEFINED control of the CPU itself"),
    row("DC ISW", reg(1, 0, 7, 6, 2)).answers(WriteOnly, SetWayCache).because("HCR_EL2.TSW", SET_WAY),
    row("DC CSW", reg(1, 0, 7, 10, 2)).answers(WriteOnly, SetWayCache).because("HCR_EL2.TSW", "as above"),
    row("DC CISW", reg(1, 0, 7, 14, 2)).answers(WriteOnly, SetWayCache).because("HCR_EL2.TSW", "as above"),
    // Debug: what a guest uses for itself is its own, the rest is present and idle.
    row("MDSCR_EL1", Pattern::one(MDSCR_EL1)).answers(ReadWrite, Debug).because(DEBUG, SELF_HOSTED),
    row(
        "DBGBVR<n>_EL1, DBGBCR<n>_EL1, DBGWVR<n>_EL1, DBGWCR<n>_EL1",
        Pattern::group(SysReg::new(2, 0, 0, 0, 4), SysReg::new(3, 7, 15, 0, 4)),
    )
    .answers(ReadWrite, Debug)
    .because(DEBUG, SELF_HOSTED),
    row("OSLAR_EL1", Pattern::one(OSLAR_EL1)).answers(WriteOnly, Debug).because(OS_LOCK, SELF_LOCK),
    row("OSLSR_EL1", Pattern::one(OSLSR_EL1)).answers(ReadOnly, Debug).because(OS_LOCK, SELF_LOCK),
    idle("MDCCINT_EL1", reg(2, 0, 0, 2, 0)),
    row("MDCCSR_EL0", reg(2, 3, 0, 1, 0)).answers(ReadOnly, ReadZeroWriteIgnore).because(DEBUG, NO_DEBUGGER),
    idle("DBGDTR_EL0", reg(2, 3, 0, 4, 0)),
    idle("DBGDTRRX_EL0, DBGDTRTX_EL0", reg(2, 3, 0, 5, 0)),
    idle("OSDTRRX_EL1", reg(2, 0, 0, 0, 2)),
    idle("OSDTRTX_EL1", reg(2, 0, 0, 3, 2)),
    idle("OSECCR_EL1", reg(2, 0, 0, 6, 2)),
    idle("DBGCLAIMSET_EL1", reg(2, 0, 7, 8, 6)),
    idle("DBGCLAIMCLR_EL1", reg(2, 0, 7, 9, 6)),
    row("DBGAUTHSTATUS_EL1", reg(2, 0, 7, 14, 6))
        .answers(ReadOnly, ReadZeroWriteIgnore)
        .because(DEBUG, "no external debug is authorised, none is implemented"),
    row("MDRAR_EL1", reg(2, 0, 1, 0, 0))
        .answers(ReadOnly, ReadZeroWriteIgnore)
        .because("MDCR_EL2.TDRA", "a guest has no memory-mapped debug; the address would be the host's"),
    row("OSDLR_EL1", reg(2, 0, 1, 3, 4))
        .answers(ReadWrite, ReadZeroWriteIgnore)
        .because(OS_LOCK, "FEAT_DoubleLock reads as absent, and then the register is RAZ/WI"),
    row("DBGPRCR_EL1", reg(2, 0, 1, 4, 4))
        .answers(ReadWrite, ReadZeroWriteIgnore)
        .because(OS_LOCK, "power control of the physical CPU"),
    // Features that the ID registers hide. Here so that the trap and its reason are on record; UNDEFINED is the default.
    row("PMINTENSET_EL1, PMINTENCLR_EL1, PMMIR_EL1", any_op2(3, 0, 9, 14)).because("MDCR_EL2.TPM", NO_PMU),
    row("PMCR_EL0 to PMCCNTR_EL0, PMXEV*, PMUSERENR_EL0", any_crm(3, 3, 9)).because("MDCR_EL2.TPM, TPMCR", NO_PMU),
    row(
        "PMEVCNTR<n>_EL0, PMEVTYPER<n>_EL0, PMCCFILTR_EL0",
        Pattern::group(SysReg::new(3, 3, 14, 8, 0), SysReg::new(3, 7, 15, 8, 0)),
    )
    .because("MDCR_EL2.TPM", NO_PMU),
    row("PMS* and PMB* (SPE), TRB* (trace buffer)", any_crm(3, 0, 9)).because(
        "MDCR_EL2.TPMS, E2PB, E2TB",
        "ID_AA64DFR0_EL1.PMSVer and TraceBuffer read 0; they write memory by EL2's leave only",
    ),
    row("TRFCR_EL1", reg(3, 0, 1, 2, 1)).because("MDCR_EL2.TTRF", "ID_AA64DFR0_EL1.TraceFilt reads 0"),
    row("trace registers (op0 2, op1 1)", Pattern::group(SysReg::new(2, 1, 0, 0, 0), SysReg::new(3, 7, 0, 0, 0)))
        .because("CPTR_EL2.TTA", "ID_AA64DFR0_EL1.TraceVer reads 0"),
    row("SCXTNUM_EL0", reg(3, 3, 13, 0, 7))
        .because("HCR_EL2.EnSCXT = 0", "not switched; ID_AA64PFR0_EL1.CSV2 is at most 1"),
    row("SCXTNUM_EL1", reg(3, 0, 13, 0, 7))
        .because("HCR_EL2.EnSCXT = 0", "not switched; ID_AA64PFR0_EL1.CSV2 is at most 1"),
    row("TPIDR2_EL0", reg(3, 3, 13, 0, 5)).because("HFGRTR_EL2.nTPIDR2_EL0 = 0", "SME's; not switched"),
    row(
        "AMCR_EL0 and the other AM* controls",
        Pattern::group(SysReg::new(3, 3, 13, 2, 0), SysReg::new(3, 7, 15, 14, 0)),
    )
    .because("CPTR_EL2.TAM", "ID_AA64PFR0_EL1.AMU reads 0: the activity monitors count for the host"),
    row("AMEVCNTR<n>_EL0, AMEVTYPER<n>_EL0", Pattern::group(SysReg::new(3, 3, 13, 4, 0), SysReg::new(3, 7, 15, 4, 0)))
        .because("CPTR_EL2.TAM", "as above"),
    row("APIAKey, APIBKey", any_op2(3, 0, 2, 1))
        .because("HCR_EL2.APK = 0", "keys are not switched; ID_AA64ISAR1_EL1 and ISAR2 show no PAuth"),
    row("APDAKey, APDBKey", any_op2(3, 0, 2, 2)).because("HCR_EL2.APK = 0", "as above"),
    row("APGAKey", any_op2(3, 0, 2, 3)).because("HCR_EL2.APK = 0", "as above"),
    row("GCSCR_EL1, GCSPR_EL1, GCSCRE0_EL1", any_op2(3, 0, 2, 5))
        .because("HFGRTR_EL2.nGCS_EL1 = 0", "ID_AA64PFR1_EL1.GCS reads 0"),
    row("GCSPR_EL0", any_op2(3, 3, 2, 5)).because("HFGRTR_EL2.nGCS_EL0 = 0", "ID_AA64PFR1_EL1.GCS reads 0"),
    row("ERRIDR_EL1, ERRSELR_EL1", any_op2(3, 0, 5, 3))
        .because("HCR_EL2.TERR", "error records are the host's; ID_AA64PFR0_EL1.RAS reads 0"),
    row("ERX* (error records)", any_op2(3, 0, 5, 4)).because("HCR_EL2.TERR", "as above"),
    row("ERXMISC<n>_EL1", any_op2(3, 0, 5, 5)).because("HCR_EL2.TERR", "as above"),
    row("LORSA_EL1, LOREA_EL1, LORN_EL1, LORC_EL1, LORID_EL1", any_op2(3, 0, 10, 4))
        .because("HCR_EL2.TLOR", "not switched; ID_AA64MMFR1_EL1.LO reads 0"),
    row("MPAM1_EL1, MPAM0_EL1", any_op2(3, 0, 10, 5))
        .because("MPAM2_EL2, as reset leaves it", "ID_AA64PFR0_EL1.MPAM reads 0"),
    row("ZCR_EL1", reg(3, 0, 1, 2, 0)).because("CPTR_EL2.TZ", "SVE state is not switched; ID_AA64PFR0_EL1.SVE reads 0"),
    row("SMCR_EL1, SMPRI_EL1", Pattern::group(SysReg::new(3, 0, 1, 2, 4), SysReg::new(3, 7, 15, 15, 5)))
        .because("CPTR_EL2.TSM", "SME state is not switched; ID_AA64PFR1_EL1.SME reads 0"),
    row("RGSR_EL1", reg(3, 0, 1, 0, 5)).because("HCR_EL2.ATA = 0", NO_MTE),
    row("GCR_EL1", reg(3, 0, 1, 0, 6)).because("HCR_EL2.ATA = 0", NO_MTE),
    row("TFSR_EL1, TFSRE0_EL1", any_op2(3, 0, 5, 6)).because("HCR_EL2.ATA = 0", NO_MTE),
    row("GMID_EL1", reg(3, 1, 0, 0, 4)).because("HCR_EL2.TID5", NO_MTE),
    row("SCTLR2_EL1", reg(3, 0, 1, 0, 3)).because("HCRX_EL2.SCTLR2En = 0", "not switched; ID_AA64MMFR3_EL1 reads 0"),
    row("TCR2_EL1", reg(3, 0, 2, 0, 3)).because("HCRX_EL2.TCR2En = 0", "not switched; ID_AA64MMFR3_EL1 reads 0"),
    row("MAIR2_EL1", reg(3, 0, 10, 2, 1))
        .because("HFGRTR_EL2.nMAIR2_EL1 = 0", "not switched; ID_AA64MMFR3_EL1 reads 0"),
    row("PIRE0_EL1, PIR_EL1", Pattern::group(SysReg::new(3, 0, 10, 2, 2), SysReg::new(3, 7, 15, 15, 6)))
        .because("HFGRTR_EL2.nPIR_EL1, nPIRE0_EL1 = 0", "not switched; ID_AA64MMFR3_EL1 reads 0"),
    row("POR_EL1, S2POR_EL1", Pattern::group(SysReg::new(3, 0, 10, 2, 4), SysReg::new(3, 7, 15, 15, 6)))
        .because("HFGRTR_EL2.nPOR_EL1, nS2POR_EL1 = 0", "not switched; ID_AA64MMFR3_EL1 reads 0"),
    row("AMAIR2_EL1", reg(3, 0, 10, 3, 1))
        .because("HFGRTR_EL2.nAMAIR2_EL1 = 0", "not switched; ID_AA64MMFR3_EL1 reads 0"),
    row("POR_EL0", reg(3, 3, 10, 2, 4)).because("HFGRTR_EL2.nPOR_EL0 = 0", "not switched; ID_AA64MMFR3_EL1 reads 0"),
    row("RCWSMASK_EL1", reg(3, 0, 13, 0, 3))
        .because("HFGRTR_EL2.nRCWMASK_EL1 = 0", "not switched; ID_AA64PFR1_EL1.THE reads 0"),
    row("ACCDATA_EL1", reg(3, 0, 13, 0, 5))
        .because("HFGRTR_EL2.nACCDATA_EL1 = 0", "not switched; ID_AA64ISAR1_EL1.LS64 reads 0"),
    row("RCWMASK_EL1", reg(3, 0, 13, 0, 6))
        .because("HFGRTR_EL2.nRCWMASK_EL1 = 0", "not switched; ID_AA64PFR1_EL1.THE reads 0"),
    row("ALLINT", reg(3, 0, 4, 3, 0)).because("HCRX_EL2.TALLINT", "ID_AA64PFR1_EL1.NMI reads 0"),
    row("registers with CRn 11 or 15", Pattern::group(SysReg::new(3, 0, 11, 0, 0), SysReg::new(3, 0, 11, 0, 0)))
        .because("HCR_EL2.TIDCP", IMPLEMENTATION_DEFINED),
    row("instructions with CRn 11 or 15", Pattern::group(SysReg::new(1, 0, 11, 0, 0), SysReg::new(3, 0, 11, 0, 0)))
        .because("HCR_EL2.TIDCP", IMPLEMENTATION_DEFINED),
];
