//! A vCPU's registers, and the one door to the guest: [`enter`].
//!
//! A guest's system registers and FP registers stay in the CPU as long as its vCPU is the last that
//! ran there; an exit stores only the general registers.

use core::arch::{asm, global_asm};

use hv_core::trap_config::{HCR_TWE, HCR_VSE};

use crate::tlb::TCR_NO_WALKS;
use crate::{mrs, msr, vectors};

/// General registers of a guest, at the offsets that `vectors` knows.
#[repr(C, align(16))]
#[derive(Clone, Debug)]
pub struct GuestRegisters {
    /// x0 to x30.
    pub x: [u64; 31],
    /// Where it goes on: ELR_EL2.
    pub pc: u64,
    /// Its PSTATE: SPSR_EL2.
    pub pstate: u64,
    /// EL2's stack pointer while the guest runs.
    host_sp: u64,
}

const _: () = assert!(core::mem::offset_of!(GuestRegisters, pc) == 248);
const _: () = assert!(core::mem::offset_of!(GuestRegisters, pstate) == 256);
const _: () = assert!(core::mem::offset_of!(GuestRegisters, host_sp) == 264);

/// PSTATE at a vCPU's first instruction: EL1h, DAIF masked (DEN0022 §6.4.3).
const PSTATE_RESET: u64 = 0x3c5;

impl GuestRegisters {
    /// All zeroes, for tables that exist before their machines.
    pub const ZERO: Self = Self { x: [0; 31], pc: 0, pstate: 0, host_sp: 0 };

    /// A vCPU before its first instruction.
    pub const RESET: Self = Self { pstate: PSTATE_RESET, ..Self::ZERO };

    /// Register `number` as an instruction names it; 31 is the zero register.
    #[inline]
    pub fn read(&self, number: u8) -> u64 {
        self.x.get(usize::from(number)).copied().unwrap_or(0)
    }

    /// Writes register `number`; 31 is the zero register.
    #[inline]
    pub fn write(&mut self, number: u8, value: u64) {
        if let Some(register) = self.x.get_mut(usize::from(number)) {
            *register = value;
        }
    }
}

/// Why a guest stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trap {
    /// An instruction of it: see ESR_EL2.
    Sync,
    /// A physical interrupt.
    Interrupt,
    /// A physical SError.
    SError,
}

/// Runs the guest whose registers these are, until it traps.
///
/// Its other registers are loaded, and interrupts are masked. Nothing of EL2 lives in registers
/// across the guest: the compiler knows them all as changed.
#[inline(always)]
pub fn enter(registers: &mut GuestRegisters) -> Trap {
    let kind: u64;
    // SAFETY: the assembly keeps sp, x19 and x29 itself and names all other registers as changed.
    // The guest runs at EL1 or EL0 behind stage 2, which maps no memory of EL2. `registers` is
    // exclusively borrowed until the vector has stored the guest's registers there.
    unsafe {
        asm!(
            "sub sp, sp, #32",
            "adr x30, 2f",
            "stp x19, x29, [sp]",
            "str x30, [sp, #16]",
            "mov x1, sp",
            "ldp x30, x2, [x0, #240]",
            "ldr x3, [x0, #256]",
            "str x1, [x0, #264]",
            "msr elr_el2, x2",
            "msr spsr_el2, x3",
            "mov sp, x0",
            "ldp x2, x3, [sp, #16]",
            "ldp x4, x5, [sp, #32]",
            "ldp x6, x7, [sp, #48]",
            "ldp x8, x9, [sp, #64]",
            "ldp x10, x11, [sp, #80]",
            "ldp x12, x13, [sp, #96]",
            "ldp x14, x15, [sp, #112]",
            "ldp x16, x17, [sp, #128]",
            "ldp x18, x19, [sp, #144]",
            "ldp x20, x21, [sp, #160]",
            "ldp x22, x23, [sp, #176]",
            "ldp x24, x25, [sp, #192]",
            "ldp x26, x27, [sp, #208]",
            "ldp x28, x29, [sp, #224]",
            "ldp x0, x1, [sp]",
            "eret",
            // Nothing behind ERET is executed speculatively (Arm ARM D1.3.3).
            "dsb nsh",
            "isb",
            "2:",
            inout("x0") core::ptr::from_mut(registers) => kind,
            out("x1") _, out("x2") _, out("x3") _, out("x4") _, out("x5") _, out("x6") _, out("x7") _,
            out("x8") _, out("x9") _, out("x10") _, out("x11") _, out("x12") _, out("x13") _,
            out("x14") _, out("x15") _, out("x16") _, out("x17") _, out("x18") _, out("x20") _,
            out("x21") _, out("x22") _, out("x23") _, out("x24") _, out("x25") _, out("x26") _,
            out("x27") _, out("x28") _, out("x30") _,
        );
    }
    match kind {
        vectors::KIND_SYNC => Trap::Sync,
        vectors::KIND_IRQ | vectors::KIND_FIQ => Trap::Interrupt,
        _ => Trap::SError,
    }
}

const _: () = assert!(vectors::KIND_SERROR == 3);

/// FAR_EL2 and HPFAR_EL2 after an abort.
#[inline]
pub fn fault_addresses() -> (u64, u64) {
    (mrs!("far_el2"), mrs!("hpfar_el2"))
}

/// ESR_EL2 after a synchronous trap.
#[inline]
pub fn esr() -> u64 {
    mrs!("esr_el2")
}

macro_rules! el1_state {
    ($($field:ident = $name:literal,)*) => {
        /// System registers of EL1 and EL0 that belong to a vCPU. One table is the source of what is
        /// stored and what is loaded.
        #[derive(Clone, Debug, Default)]
        pub struct El1State { $(#[doc = $name] pub $field: u64,)* }

        impl El1State {
            /// All zeroes.
            const ZERO: Self = Self { $($field: 0,)* };

            /// Stores what is in the CPU.
            #[inline]
            fn save(&mut self) { $(self.$field = mrs!($name);)* }

            /// Loads the CPU.
            #[inline]
            fn load(&self) { $(msr!($name, self.$field);)* }
        }
    };
}

el1_state! {
    sctlr = "sctlr_el1",
    ttbr0 = "ttbr0_el1",
    ttbr1 = "ttbr1_el1",
    mair = "mair_el1",
    amair = "amair_el1",
    vbar = "vbar_el1",
    esr = "esr_el1",
    far = "far_el1",
    afsr0 = "afsr0_el1",
    afsr1 = "afsr1_el1",
    elr = "elr_el1",
    spsr = "spsr_el1",
    sp_el0 = "sp_el0",
    sp_el1 = "sp_el1",
    tpidr_el0 = "tpidr_el0",
    tpidrro_el0 = "tpidrro_el0",
    tpidr_el1 = "tpidr_el1",
    contextidr = "contextidr_el1",
    cpacr = "cpacr_el1",
    cntkctl = "cntkctl_el1",
    csselr = "csselr_el1",
    par = "par_el1",
}

/// SCTLR_EL1 at a vCPU's first instruction: RES1 bits of ARMv8.0, MMU and caches off (Arm ARM D24.2.147).
const SCTLR_RESET: u64 = 0x30d0_0800;

/// What the CPU must hold for a VM while one of its vCPUs is loaded.
#[derive(Clone, Copy, Debug)]
pub struct VmRegisters {
    /// VTTBR_EL2.
    pub vttbr: u64,
    /// CNTVOFF_EL2.
    pub counter_offset: u64,
}

/// Everything of a vCPU but its general registers and its GIC.
#[derive(Clone, Debug)]
pub struct VcpuContext {
    /// System registers.
    pub el1: El1State,
    /// VMPIDR_EL2: what it reads as MPIDR_EL1.
    pub vmpidr: u64,
    /// CNTV_CVAL_EL0 and CNTV_CTL_EL0.
    pub timer_compare: u64,
    /// CNTV_CTL_EL0.
    pub timer_control: u64,
    /// TCR_EL1: loaded last, see [`VcpuContext::load`].
    tcr: u64,
    /// HCR_EL2.VSE: a virtual SError waits for it.
    serror: u64,
    /// VDISR_EL2, which it reaches as DISR_EL1, where the CPU has FEAT_RAS.
    deferred_serror: u64,
    fp: FpState,
}

impl VcpuContext {
    /// All zeroes, for tables that exist before their machines.
    pub const ZERO: Self = Self {
        el1: El1State::ZERO,
        vmpidr: 0,
        timer_compare: 0,
        timer_control: 0,
        tcr: 0,
        serror: 0,
        deferred_serror: 0,
        fp: FpState::ZERO,
    };

    /// Brings it to before its first instruction.
    pub fn reset(&mut self, vmpidr: u64) {
        *self = Self::ZERO;
        self.el1.sctlr = SCTLR_RESET;
        self.vmpidr = vmpidr;
    }

    /// Loads the CPU with this vCPU of a VM; [`VcpuContext::start_timer`] is what is left to do.
    ///
    /// While stage 1 and stage 2 are of different vCPUs no walk of EL1's tables may begin, not even a
    /// speculative one (Cortex-A72 erratum 1319367 and its kin): TCR_EL1.EPD0 and EPD1 forbid it until both are there.
    pub fn load(&self, vm: &VmRegisters) {
        msr!("tcr_el1", TCR_NO_WALKS);
        crate::cpu::isb();
        msr!("vttbr_el2", vm.vttbr);
        msr!("cntvoff_el2", vm.counter_offset);
        msr!("vmpidr_el2", self.vmpidr);
        self.el1.load();
        if has_ras() {
            msr!("s3_4_c12_c1_1", self.deferred_serror);
        }
        if self.serror != 0 {
            msr!("hcr_el2", mrs!("hcr_el2") | HCR_VSE);
        }
        // SAFETY: the pointer is to a whole FpState; EL2 itself uses none of these registers.
        unsafe { fp_restore(&raw const self.fp) };
        msr!("cntv_cval_el0", self.timer_compare);
        crate::cpu::isb();
        msr!("tcr_el1", self.tcr);
    }

    /// Turns the virtual timer on, after its interrupt's state at the GIC is this vCPU's.
    pub fn start_timer(&self) {
        msr!("cntv_ctl_el0", self.timer_control);
        crate::cpu::isb();
    }

    /// Looks at the virtual timer of a vCPU that is loaded.
    pub fn read_timer(&mut self) {
        self.timer_control = mrs!("cntv_ctl_el0");
        self.timer_compare = mrs!("cntv_cval_el0");
    }

    /// Stores the CPU's state, and turns the virtual timer off. Of the VM's tables nothing is left that a speculative
    /// walk could use when they are somebody else's memory.
    pub fn save(&mut self) {
        self.read_timer();
        msr!("cntv_ctl_el0", 0);
        self.tcr = mrs!("tcr_el1");
        let hcr = mrs!("hcr_el2");
        self.serror = hcr & HCR_VSE;
        if self.serror != 0 {
            msr!("hcr_el2", hcr & !HCR_VSE);
        }
        self.el1.save();
        if has_ras() {
            self.deferred_serror = mrs!("s3_4_c12_c1_1");
        }
        // SAFETY: the pointer is to a whole FpState, exclusively borrowed.
        unsafe { fp_save(&raw mut self.fp) };
        msr!("tcr_el1", TCR_NO_WALKS);
        crate::cpu::isb();
        msr!("vttbr_el2", 0);
    }

    /// Brings the loaded vCPU to before its first instruction again, its virtual timer excepted.
    pub fn restart(&mut self, vm: &VmRegisters) {
        self.read_timer();
        let (compare, control) = (self.timer_compare, self.timer_control);
        self.reset(self.vmpidr);
        (self.timer_compare, self.timer_control) = (compare, control);
        self.load(vm);
        self.start_timer();
    }

    /// A virtual SError is pending for this vCPU, which is stored.
    pub fn pend_serror(&mut self) {
        self.serror = HCR_VSE;
    }
}

/// Whether the virtual timer asks for its interrupt: CNTV_CTL_EL0 is ENABLE and ISTATUS, and not IMASK.
#[inline]
pub fn virtual_timer_line() -> bool {
    mrs!("cntv_ctl_el0") & 0b111 == 0b101
}

/// Whether the CPU has FEAT_RAS (ID_AA64PFR0_EL1.RAS).
#[inline]
pub(crate) fn has_ras() -> bool {
    mrs!("id_aa64pfr0_el1") >> 28 & 0xf != 0
}

/// Sets EL2's controls of what traps, once for each CPU.
#[derive(Clone, Copy, Debug)]
pub struct TrapControls {
    /// HCR_EL2 while guests run.
    pub hcr: u64,
    /// MDCR_EL2.
    pub mdcr: u64,
    /// CPTR_EL2.
    pub cptr: u64,
    /// CNTHCTL_EL2.
    pub cnthctl: u64,
    /// VTCR_EL2.
    pub vtcr: u64,
    /// HSTR_EL2.
    pub hstr: u64,
    /// HCRX_EL2, where the CPU has it.
    pub hcrx: Option<u64>,
    /// The fine-grained trap registers, where the CPU has them (FEAT_FGT).
    pub fine_grained: Option<u64>,
}

/// HFGRTR_EL2, HFGWTR_EL2, HFGITR_EL2, HDFGRTR_EL2, HDFGWTR_EL2, HAFGRTR_EL2: UNKNOWN at reset.
fn set_fine_grained_traps(value: u64) {
    msr!("s3_4_c1_c1_4", value);
    msr!("s3_4_c1_c1_5", value);
    msr!("s3_4_c1_c1_6", value);
    msr!("s3_4_c3_c1_4", value);
    msr!("s3_4_c3_c1_5", value);
    // HAFGRTR_EL2 exists with the activity monitors only.
    if mrs!("id_aa64pfr0_el1") >> 44 & 0xf != 0 {
        msr!("s3_4_c3_c1_6", value);
    }
}

impl TrapControls {
    /// Sets them on this CPU. VPIDR_EL2 shows the CPU's own MIDR.
    pub fn apply(&self) {
        msr!("hcr_el2", self.hcr);
        msr!("mdcr_el2", self.mdcr);
        msr!("cptr_el2", self.cptr);
        msr!("cnthctl_el2", self.cnthctl);
        msr!("vtcr_el2", self.vtcr);
        msr!("hstr_el2", self.hstr);
        msr!("vpidr_el2", mrs!("midr_el1"));
        // UNKNOWN at reset, and looked at from now on.
        msr!("vttbr_el2", 0);
        if has_ras() {
            // VSESR_EL2: the syndrome of a virtual SError.
            msr!("s3_4_c5_c2_3", 0);
        }
        if let Some(hcrx) = self.hcrx {
            msr!("s3_4_c1_c2_2", hcrx);
        }
        if let Some(value) = self.fine_grained {
            set_fine_grained_traps(value);
        }
        crate::cpu::isb();
        // SAFETY: nothing of any VM is in use on this CPU yet.
        unsafe { asm!("tlbi alle1", "dsb nsh", "isb", options(nostack, preserves_flags)) };
    }
}

/// A virtual SError is pending for the loaded vCPU from now on; the CPU clears it when it is taken.
pub fn pend_serror() {
    msr!("hcr_el2", mrs!("hcr_el2") | HCR_VSE);
}

/// Whether WFE of a guest on this CPU comes to EL2, from the next entry on.
pub fn trap_wfe(traps: bool) {
    let others = mrs!("hcr_el2") & !HCR_TWE;
    msr!("hcr_el2", if traps { others | HCR_TWE } else { others });
}

/// SCTLR_EL1 and VBAR_EL1 of the loaded vCPU: what an exception entry looks at.
pub fn exception_controls() -> (u64, u64) {
    (mrs!("sctlr_el1"), mrs!("vbar_el1"))
}

/// What the loaded vCPU's last exception at EL1 has left.
#[derive(Clone, Copy, Debug)]
pub struct ExceptionState {
    /// ELR_EL1.
    pub elr: u64,
    /// ESR_EL1.
    pub esr: u64,
    /// FAR_EL1.
    pub far: u64,
    /// SP_EL1.
    pub sp: u64,
}

/// Reads it.
pub fn exception_state() -> ExceptionState {
    ExceptionState { elr: mrs!("elr_el1"), esr: mrs!("esr_el1"), far: mrs!("far_el1"), sp: mrs!("sp_el1") }
}

/// What an exception at EL1 leaves for its handler.
pub fn set_exception_state(esr: u64, elr: u64, spsr: u64, far: Option<u64>) {
    msr!("esr_el1", esr);
    msr!("elr_el1", elr);
    msr!("spsr_el1", spsr);
    if let Some(far) = far {
        msr!("far_el1", far);
    }
}

/// V0 to V31, FPSR and FPCR.
#[repr(C, align(16))]
#[derive(Clone, Debug)]
struct FpState {
    v: [u128; 32],
    fpsr: u64,
    fpcr: u64,
}

impl FpState {
    const ZERO: Self = Self { v: [0; 32], fpsr: 0, fpcr: 0 };
}

global_asm!(
    r#"
.macro fp_all op
    \op     q0, q1, [x0]
    \op     q2, q3, [x0, #32]
    \op     q4, q5, [x0, #64]
    \op     q6, q7, [x0, #96]
    \op     q8, q9, [x0, #128]
    \op     q10, q11, [x0, #160]
    \op     q12, q13, [x0, #192]
    \op     q14, q15, [x0, #224]
    \op     q16, q17, [x0, #256]
    \op     q18, q19, [x0, #288]
    \op     q20, q21, [x0, #320]
    \op     q22, q23, [x0, #352]
    \op     q24, q25, [x0, #384]
    \op     q26, q27, [x0, #416]
    \op     q28, q29, [x0, #448]
    \op     q30, q31, [x0, #480]
.endm
    .arch_extension fp
    .arch_extension simd
    .text
    .global fp_save
    .type fp_save, %function
fp_save:
    fp_all  stp
    mrs     x1, fpsr
    mrs     x2, fpcr
    add     x0, x0, #512
    stp     x1, x2, [x0]
    ret
    .size fp_save, . - fp_save
    .global fp_restore
    .type fp_restore, %function
fp_restore:
    fp_all  ldp
    add     x0, x0, #512
    ldp     x1, x2, [x0]
    msr     fpsr, x1
    msr     fpcr, x2
    ret
    .size fp_restore, . - fp_restore
    .arch_extension nosimd
    .arch_extension nofp
"#
);

unsafe extern "C" {
    fn fp_save(state: *mut FpState);
    fn fp_restore(state: *const FpState);
}
