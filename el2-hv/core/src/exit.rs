//! Why a guest came to EL2: the syndrome registers, decoded into one enum.
//!
//! Pure reading of ESR_EL2, FAR_EL2 and HPFAR_EL2 (Arm ARM D24.2.40 and the sections of those names). It must never
//! look at the guest's memory, and it never fails: what it cannot name is [`RareExit::Unknown`].
//!
//! Two steps: [`decode`] knows the exits that a running guest makes all the time, and is inlined into the run loop's match;
//! [`Syndrome::decode_rare`] knows the others. In one step every hot path would carry the fields of the rare ones.

use crate::addr::{Ipa, Va};
use crate::mmio::AccessSize;
use crate::sysreg::SysReg;

mod decode;
mod own;
mod step;
#[cfg(test)]
mod tests;

pub use decode::decode;
pub use own::OwnFault;
pub use step::step_over;

/// The syndrome registers as the hardware left them at a synchronous exception from a guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Syndrome {
    /// ESR_EL2.
    pub esr: u64,
    /// FAR_EL2; meaningful for aborts only.
    pub far: u64,
    /// HPFAR_EL2; meaningful for some stage-2 aborts only.
    pub hpfar: u64,
}

/// Which way a value goes, seen from the guest.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Direction {
    /// Into a guest's register: a load, or MRS.
    Read,
    /// Out of a guest's register: a store, or MSR.
    Write,
}

/// What a guest did to a memory location that aborted.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum MemoryAccess {
    /// A load.
    Load,
    /// A store, or what the architecture reports as one.
    Store,
    /// An instruction fetch.
    Fetch,
}

/// Who made the access that aborted.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Accessor {
    /// The instruction itself.
    Instruction,
    /// The walk of the guest's own stage-1 tables on behalf of the instruction (ISS.S1PTW, or a status that says so).
    TableWalk,
}

/// A load or store that the hardware describes well enough to emulate (ISS.ISV).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MmioAccess {
    /// Where.
    pub ipa: Ipa,
    /// How wide.
    pub size: AccessSize,
    /// Load or store.
    pub direction: Direction,
    /// The general register that is the source or target; 31 is the zero register.
    pub register: u8,
    /// A load that extends the sign.
    pub sign_extend: bool,
    /// The register is an X register; otherwise a load clears its upper half.
    pub width64: bool,
}

impl MmioAccess {
    /// What a store puts on the bus: the low bytes of its register.
    #[inline]
    pub const fn store_value(&self, register: u64) -> u64 {
        register & self.size.mask()
    }

    /// What a load leaves in its register when the bus answers `bus`.
    #[inline]
    pub const fn load_value(&self, bus: u64) -> u64 {
        let value = bus & self.size.mask();
        if !self.sign_extend {
            return value;
        }
        let unused = 64 - 8 * self.size.bytes();
        let extended = (((value << unused) as i64) >> unused) as u64;
        if self.width64 { extended } else { extended & 0xffff_ffff }
    }
}

/// A stage-2 fault of a load or store without a description: a pair, a write-back form, a vector, an
/// exclusive, or the walk of the guest's stage-1 tables.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UndescribedAbort {
    /// Where; for a table walk the frame of the descriptor.
    pub ipa: Ipa,
    /// The address that the instruction used.
    pub va: Va,
    /// Load or store; for a table walk, of the instruction.
    pub direction: Direction,
    /// Who faulted.
    pub accessor: Accessor,
}

/// A stage-2 translation or access flag fault of an instruction fetch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InstructionAbort {
    /// Where; for a table walk the frame of the descriptor.
    pub ipa: Ipa,
    /// The address fetched from.
    pub va: Va,
    /// Who faulted.
    pub accessor: Accessor,
}

/// A stage-2 permission fault: stage 2 maps the place, but not for this.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PermissionFault {
    /// What was tried.
    pub access: MemoryAccess,
    /// The address that the instruction used.
    pub va: Va,
    /// Where. HPFAR_EL2 is UNKNOWN for a permission fault of the instruction's own access (Arm ARM, HPFAR_EL2),
    /// so this is there for table walks only; AT S1E1R on `va` gives the other.
    pub ipa: Option<Ipa>,
}

/// The bus answered with an error, or the data was corrupt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ExternalAbort {
    /// What was tried.
    pub access: MemoryAccess,
    /// The address that the instruction used, where the hardware knows it (ISS.FnV).
    pub va: Option<Va>,
    /// Whose access it was. A walk includes the walk of stage 2.
    pub accessor: Accessor,
}

/// Any other abort that reached EL2: alignment on Device memory, TLB conflict, address size, unsupported atomic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OtherAbort {
    /// What was tried.
    pub access: MemoryAccess,
    /// The address that the instruction used.
    pub va: Va,
    /// The fault status code (DFSC or IFSC).
    pub status: u8,
}

/// A trapped MRS, MSR or system instruction (EC 0x18).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SysRegAccess {
    /// Which register or instruction.
    pub register: SysReg,
    /// MRS reads; MSR and system instructions write.
    pub direction: Direction,
    /// The general register; 31 is the zero register.
    pub rt: u8,
}

/// Which wait was trapped (ISS.TI).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum WfxKind {
    /// WFI.
    Wfi,
    /// WFE.
    Wfe,
    /// WFI with a timeout. It may end early at any time (Arm ARM, WFIT).
    Wfit,
    /// WFE with a timeout.
    Wfet,
}

/// Which debug exception was routed to EL2 (MDCR_EL2.TDE, or a trap that a guest should not be able to cause).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum DebugKind {
    /// A hardware breakpoint.
    Breakpoint,
    /// A software step.
    SoftwareStep,
    /// A watchpoint.
    Watchpoint,
    /// BKPT from AArch32.
    Bkpt32,
    /// BRK.
    Brk,
}

/// Why a guest came to EL2, synchronously.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// HVC from AArch64.
    Hvc {
        /// The instruction's immediate.
        imm: u16,
    },
    /// MRS, MSR or a system instruction.
    SystemRegister(SysRegAccess),
    /// A load or store that can be emulated.
    Mmio(MmioAccess),
    /// A wait.
    Wfx {
        /// Which.
        kind: WfxKind,
    },
    /// Anything else: [`Syndrome::decode_rare`] says what.
    Rare(Syndrome),
}

/// The exits of a guest that does something unusual, or something wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RareExit {
    /// SMC from AArch64, trapped before it was executed.
    Smc {
        /// The instruction's immediate.
        imm: u16,
    },
    /// FP or SIMD while CPTR_EL2.TFP is set.
    FpAccess,
    /// A stage-2 fault of a load or store that cannot be emulated.
    UndescribedAbort(UndescribedAbort),
    /// Cache maintenance by address of something that stage 2 does not map. Nothing is cached of what is not
    /// there, so to go on behind it is right.
    CacheMaintenance {
        /// Where.
        ipa: Ipa,
    },
    /// A stage-2 fault of a fetch.
    InstructionAbort(InstructionAbort),
    /// Stage 2 maps the place without the right that was needed.
    PermissionFault(PermissionFault),
    /// The bus or the memory reported an error.
    ExternalAbort(ExternalAbort),
    /// An abort of another kind.
    OtherAbort(OtherAbort),
    /// SVE, which no guest has.
    Sve,
    /// SME, which no guest has.
    Sme,
    /// Pointer authentication, which no guest has, or a failed authentication.
    PointerAuth,
    /// A coprocessor register access from AArch32 (EC 0x03 to 0x06, 0x08, 0x0c). Only EL0 of a guest can be in AArch32.
    Aarch32Register,
    /// Execution with PSTATE.IL set.
    IllegalState,
    /// A debug exception.
    Debug(DebugKind),
    /// An exception class that nothing here allows.
    Unknown {
        /// ESR_EL2.EC.
        ec: u8,
        /// ESR_EL2.ISS.
        iss: u32,
    },
}

impl Exit {
    /// Bytes from the exception's return address to the instruction behind the one that was handled.
    ///
    /// HVC has been executed, so its ELR_EL2 is past it already; what traps before it executes has not (Arm ARM D1.3,
    /// preferred exception return address). An instruction that is answered by an exception in the guest, or tried
    /// again, is not stepped over whatever this says. For AArch32 use [`step_over`].
    #[inline]
    pub const fn advances(&self) -> u64 {
        match self {
            Self::SystemRegister(_) | Self::Mmio(_) | Self::Wfx { .. } => 4,
            Self::Hvc { .. } | Self::Rare(_) => 0,
        }
    }
}

impl RareExit {
    /// As [`Exit::advances`].
    pub const fn advances(&self) -> u64 {
        if matches!(self, Self::Smc { .. } | Self::CacheMaintenance { .. }) { 4 } else { 0 }
    }
}
