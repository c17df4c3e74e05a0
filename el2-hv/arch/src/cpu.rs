//! The CPU that runs this code: who it is, how it waits, how it stops.

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};

use hv_core::addr::CpuId;
use hv_core::sched::MAX_CPUS;

use crate::{mrs, msr};

/// What TPIDR_EL2 points at: read by the vectors, which know its offsets.
#[repr(C)]
pub(crate) struct CpuBlock {
    index: AtomicU64,
    emergency_top: AtomicU64,
}

static BLOCKS: [CpuBlock; MAX_CPUS] =
    [const { CpuBlock { index: AtomicU64::new(0), emergency_top: AtomicU64::new(0) } }; MAX_CPUS];

/// Makes this CPU `cpu`: from now on [`current`] knows it, and its exceptions are reported.
pub fn become_cpu(cpu: CpuId) {
    let block = &BLOCKS[cpu.index()];
    block.index.store(u64::from(cpu.0), Ordering::Relaxed);
    block.emergency_top.store(crate::boot::emergency_top(cpu), Ordering::Relaxed);
    msr!("tpidr_el2", core::ptr::from_ref(block) as u64);
    crate::vectors::install();
}

/// The CPU that runs this code.
#[inline]
pub fn current() -> CpuId {
    let block = mrs!("tpidr_el2") as *const CpuBlock;
    if block.is_null() {
        return CpuId(0);
    }
    // SAFETY: TPIDR_EL2 is null until `become_cpu` has pointed it at an element of BLOCKS, which is
    // static and only read and written through atomics.
    CpuId(unsafe { (*block).index.load(Ordering::Relaxed) } as u8)
}

/// Affinity fields of MPIDR_EL1, as PSCI and the GIC name a CPU (Arm ARM D24.2.123).
pub fn mpidr() -> u64 {
    mrs!("mpidr_el1") & 0xff_00ff_ffff
}

/// MIDR_EL1.
pub fn midr() -> u64 {
    mrs!("midr_el1")
}

/// Sleeps until an interrupt is pending. Interrupts stay masked: nothing is taken.
#[inline]
pub fn wait_for_interrupt() {
    // SAFETY: dsb and wfi have no effect on memory but order.
    unsafe { asm!("dsb sy", "wfi", options(nostack, preserves_flags)) };
}

/// Stops this CPU for good.
pub fn halt() -> ! {
    loop {
        wait_for_interrupt();
    }
}

/// Whether an interrupt is pending for EL2 (ISR_EL1.I, Arm ARM D24.2.82).
#[inline]
pub fn interrupt_pending() -> bool {
    mrs!("isr_el1") & 1 << 7 != 0
}

/// Lets others go on while this CPU waits for something in memory.
#[inline]
pub fn pause() {
    // SAFETY: a hint.
    unsafe { asm!("yield", options(nomem, nostack, preserves_flags)) };
}

/// Event counters of the PMU (PMCR_EL0.N), 0 where there is none.
pub fn event_counters() -> u8 {
    // ID_AA64DFR0_EL1.PMUVer: 0 and 0xf mean no PMU of the architecture.
    match mrs!("id_aa64dfr0_el1") >> 8 & 0xf {
        0 | 0xf => 0,
        _ => (mrs!("pmcr_el0") >> 11 & 0x1f) as u8,
    }
}

/// Makes earlier stores visible to all before later ones.
#[inline]
pub fn store_barrier() {
    // SAFETY: a barrier.
    unsafe { asm!("dsb ishst", options(nostack, preserves_flags)) };
}

/// Settings of EL2 that hold on every CPU from boot on.
///
/// HSTR_EL2 and HACR_EL2 trap nothing; CNTHP is off; EL1's timers are configured per guest.
pub fn configure() {
    msr!("hstr_el2", 0);
    msr!("hacr_el2", 0);
    msr!("cnthp_ctl_el2", 0);
    // Firmware may have left EL1's timers on.
    msr!("cntv_ctl_el0", 0);
    msr!("cntp_ctl_el0", 0);
    crate::debug::configure();
    // SCTLR_EL2.WXN on the CPU that booted; the others come up with it.
    let sctlr = mrs!("sctlr_el2") | crate::boot::SCTLR_WXN;
    msr!("sctlr_el2", sctlr);
    isb();
}

/// A number of the CPU's own generator: `None` where it has none (ID_AA64ISAR0_EL1.RNDR), or none now, which it says by
/// PSTATE.Z (Arm ARM D24.2, RNDR).
pub fn random() -> Option<u64> {
    if mrs!("id_aa64isar0_el1") >> 60 == 0 {
        return None;
    }
    let (value, valid): (u64, u64);
    // SAFETY: the register is there; reading it changes nothing but the flags.
    unsafe {
        asm!("mrs {value}, s3_3_c2_c4_0", "cset {valid}, ne", value = out(reg) value, valid = out(reg) valid,
            options(nomem, nostack));
    }
    (valid != 0).then_some(value)
}

/// Context synchronization.
#[inline]
pub fn isb() {
    // SAFETY: a barrier.
    unsafe { asm!("isb", options(nostack, preserves_flags)) };
}

/// Reads an AArch64 ID register by its place: op0 3, op1 0, CRn 0 (Arm ARM D24.2).
pub fn id_register(crm: u8, op2: u8) -> u64 {
    macro_rules! table {
        ($($crm:literal $op2:literal $name:literal,)*) => {
            match (crm, op2) { $(($crm, $op2) => mrs!($name),)* _ => 0 }
        };
    }
    table! {
        1 0 "s3_0_c0_c1_0", 1 1 "s3_0_c0_c1_1", 1 2 "s3_0_c0_c1_2", 1 3 "s3_0_c0_c1_3",
        1 4 "s3_0_c0_c1_4", 1 5 "s3_0_c0_c1_5", 1 6 "s3_0_c0_c1_6", 1 7 "s3_0_c0_c1_7",
        2 0 "s3_0_c0_c2_0", 2 1 "s3_0_c0_c2_1", 2 2 "s3_0_c0_c2_2", 2 3 "s3_0_c0_c2_3",
        2 4 "s3_0_c0_c2_4", 2 5 "s3_0_c0_c2_5", 2 6 "s3_0_c0_c2_6", 2 7 "s3_0_c0_c2_7",
        3 0 "s3_0_c0_c3_0", 3 1 "s3_0_c0_c3_1", 3 2 "s3_0_c0_c3_2", 3 4 "s3_0_c0_c3_4",
        3 5 "s3_0_c0_c3_5", 3 6 "s3_0_c0_c3_6",
        4 0 "s3_0_c0_c4_0", 4 1 "s3_0_c0_c4_1", 4 2 "s3_0_c0_c4_2", 4 4 "s3_0_c0_c4_4", 4 5 "s3_0_c0_c4_5",
        5 0 "s3_0_c0_c5_0", 5 1 "s3_0_c0_c5_1", 5 4 "s3_0_c0_c5_4", 5 5 "s3_0_c0_c5_5",
        6 0 "s3_0_c0_c6_0", 6 1 "s3_0_c0_c6_1", 6 2 "s3_0_c0_c6_2",
        7 0 "s3_0_c0_c7_0", 7 1 "s3_0_c0_c7_1", 7 2 "s3_0_c0_c7_2", 7 3 "s3_0_c0_c7_3", 7 4 "s3_0_c0_c7_4",
    }
}
