//! The decoder proper: ESR_EL2.EC picks the form of the ISS. First what is hot, then what is rare.

use super::{
    Accessor, DebugKind, Direction, Exit, ExternalAbort, InstructionAbort, MemoryAccess, MmioAccess, OtherAbort,
    PermissionFault, RareExit, Syndrome, SysRegAccess, UndescribedAbort, WfxKind,
};
use crate::addr::{Ipa, Va};
use crate::mmio::AccessSize;
use crate::sysreg::SysReg;

/// Exception classes (Arm ARM D24.2.40, ESR_EL2.EC).
mod class {
    pub(super) const WFX: u8 = 0x01;
    pub(super) const CP15_MCR: u8 = 0x03;
    pub(super) const CP15_MCRR: u8 = 0x04;
    pub(super) const CP14_MCR: u8 = 0x05;
    pub(super) const CP14_LDC: u8 = 0x06;
    pub(super) const FP: u8 = 0x07;
    pub(super) const CP10_VMRS: u8 = 0x08;
    pub(super) const PAUTH: u8 = 0x09;
    pub(super) const CP14_MRRC: u8 = 0x0c;
    pub(super) const ILLEGAL_STATE: u8 = 0x0e;
    pub(super) const HVC64: u8 = 0x16;
    pub(super) const SMC64: u8 = 0x17;
    pub(super) const SYSREG: u8 = 0x18;
    pub(super) const SVE: u8 = 0x19;
    pub(super) const FPAC: u8 = 0x1c;
    pub(super) const SME: u8 = 0x1d;
    pub(super) const INSTRUCTION_ABORT_LOWER: u8 = 0x20;
    pub(super) const DATA_ABORT_LOWER: u8 = 0x24;
    pub(super) const BREAKPOINT_LOWER: u8 = 0x30;
    pub(super) const STEP_LOWER: u8 = 0x32;
    pub(super) const WATCHPOINT_LOWER: u8 = 0x34;
    pub(super) const BKPT32: u8 = 0x38;
    pub(super) const BRK64: u8 = 0x3c;
}

const ISS_MASK: u64 = (1 << 25) - 1;

// ISS of a Data Abort; FNV, S1PTW and the status code have the same places in that of an Instruction Abort.
const ISV: u32 = 1 << 24;
const SAS_SHIFT: u32 = 22;
const SSE: u32 = 1 << 21;
const SRT_SHIFT: u32 = 16;
const SF: u32 = 1 << 15;
const FNV: u32 = 1 << 10;
const CM: u32 = 1 << 8;
const S1PTW: u32 = 1 << 7;
const WNR: u32 = 1 << 6;

/// HPFAR_EL2.FIPA, IPA[51:12] in bits [43:4]. Bits above are RES0 but for 56-bit addresses, which no guest is given.
const HPFAR_FIPA: u64 = 0x0000_0fff_ffff_fff0;

/// Decodes a synchronous exception from a guest.
#[inline]
pub fn decode(syndrome: Syndrome) -> Exit {
    let iss = syndrome.iss();
    match syndrome.class() {
        class::HVC64 => Exit::Hvc { imm: iss as u16 },
        class::SYSREG => Exit::SystemRegister(SysRegAccess {
            register: SysReg::from_iss(iss),
            direction: if iss & 1 == 0 { Direction::Write } else { Direction::Read },
            rt: (iss >> 5 & 31) as u8,
        }),
        class::DATA_ABORT_LOWER if is_emulated(iss) => Exit::Mmio(MmioAccess {
            ipa: fault_ipa(&syndrome),
            size: AccessSize::from_log2((iss >> SAS_SHIFT & 3) as u8),
            direction: abort_direction(iss),
            register: (iss >> SRT_SHIFT & 31) as u8,
            sign_extend: iss & SSE != 0,
            width64: iss & SF != 0,
        }),
        class::WFX => Exit::Wfx { kind: wfx_kind(iss) },
        _ => Exit::Rare(syndrome),
    }
}

/// Whether a Data Abort is an access to nothing that the ISS describes.
#[inline]
fn is_emulated(iss: u32) -> bool {
    iss & (ISV | CM | S1PTW) == ISV && status(iss) == Status::NotMapped
}

impl Syndrome {
    #[inline]
    const fn class(&self) -> u8 {
        (self.esr >> 26 & 0x3f) as u8
    }

    #[inline]
    const fn iss(&self) -> u32 {
        (self.esr & ISS_MASK) as u32
    }

    /// Decodes what [`decode`] leaves as [`Exit::Rare`].
    #[cold]
    pub fn decode_rare(&self) -> RareExit {
        let iss = self.iss();
        match self.class() {
            class::SMC64 => RareExit::Smc { imm: iss as u16 },
            class::FP => RareExit::FpAccess,
            class::DATA_ABORT_LOWER => decode_data_abort(iss, self),
            class::INSTRUCTION_ABORT_LOWER => decode_instruction_abort(iss, self),
            class::CP15_MCR
            | class::CP15_MCRR
            | class::CP14_MCR
            | class::CP14_LDC
            | class::CP10_VMRS
            | class::CP14_MRRC => RareExit::Aarch32Register,
            class::PAUTH | class::FPAC => RareExit::PointerAuth,
            class::ILLEGAL_STATE => RareExit::IllegalState,
            class::SVE => RareExit::Sve,
            class::SME => RareExit::Sme,
            class::BREAKPOINT_LOWER => RareExit::Debug(DebugKind::Breakpoint),
            class::STEP_LOWER => RareExit::Debug(DebugKind::SoftwareStep),
            class::WATCHPOINT_LOWER => RareExit::Debug(DebugKind::Watchpoint),
            class::BKPT32 => RareExit::Debug(DebugKind::Bkpt32),
            class::BRK64 => RareExit::Debug(DebugKind::Brk),
            ec => RareExit::Unknown { ec, iss },
        }
    }
}

#[inline]
const fn wfx_kind(iss: u32) -> WfxKind {
    match iss & 3 {
        0 => WfxKind::Wfi,
        1 => WfxKind::Wfe,
        2 => WfxKind::Wfit,
        _ => WfxKind::Wfet,
    }
}

/// Groups of fault status codes (Arm ARM D24.2.40, DFSC and IFSC).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Status {
    /// Nothing there, or its access flag is clear.
    NotMapped,
    Permission,
    External(Accessor),
    Other,
}

#[inline]
const fn status(iss: u32) -> Status {
    match iss & 0x3f {
        // Translation faults 0b0001LL, access flag faults 0b0010LL, translation faults at levels -2 and -1.
        0b000100..=0b001011 | 0b101010 | 0b101011 => Status::NotMapped,
        0b001100..=0b001111 => Status::Permission,
        // External abort and parity error, of the access and of a walk at levels -2 to 3.
        0b010000 | 0b011000 => Status::External(Accessor::Instruction),
        0b010010..=0b010111 | 0b011011..=0b011111 => Status::External(Accessor::TableWalk),
        _ => Status::Other,
    }
}

#[inline]
const fn fault_frame(hpfar: u64) -> u64 {
    (hpfar & HPFAR_FIPA) << 8
}

/// The faulting IPA of an access: HPFAR_EL2 gives the frame, FAR_EL2 the offset, which stage 1 does not change.
/// FAR_EL2 is valid for every MMU fault: ISS.FnV concerns external aborts alone.
#[inline]
const fn fault_ipa(syndrome: &Syndrome) -> Ipa {
    Ipa(fault_frame(syndrome.hpfar) | syndrome.far & 0xfff)
}

#[inline]
const fn abort_direction(iss: u32) -> Direction {
    if iss & WNR == 0 { Direction::Read } else { Direction::Write }
}

fn decode_data_abort(iss: u32, syndrome: &Syndrome) -> RareExit {
    let direction = abort_direction(iss);
    if status(iss) != Status::NotMapped {
        let access = match direction {
            Direction::Read => MemoryAccess::Load,
            Direction::Write => MemoryAccess::Store,
        };
        return decode_refused(access, iss, syndrome);
    }
    let walk = iss & S1PTW != 0;
    if iss & CM != 0 && !walk {
        return RareExit::CacheMaintenance { ipa: fault_ipa(syndrome) };
    }
    let (ipa, accessor) = faulting_access(walk, syndrome);
    RareExit::UndescribedAbort(UndescribedAbort { ipa, va: Va(syndrome.far), direction, accessor })
}

/// For a walk, the offset of the descriptor in its frame is not reported.
const fn faulting_access(walk: bool, syndrome: &Syndrome) -> (Ipa, Accessor) {
    if walk {
        (Ipa(fault_frame(syndrome.hpfar)), Accessor::TableWalk)
    } else {
        (fault_ipa(syndrome), Accessor::Instruction)
    }
}

fn decode_instruction_abort(iss: u32, syndrome: &Syndrome) -> RareExit {
    if status(iss) != Status::NotMapped {
        return decode_refused(MemoryAccess::Fetch, iss, syndrome);
    }
    let (ipa, accessor) = faulting_access(iss & S1PTW != 0, syndrome);
    RareExit::InstructionAbort(InstructionAbort { ipa, va: Va(syndrome.far), accessor })
}

/// Aborts that something other than an empty stage 2 caused.
fn decode_refused(access: MemoryAccess, iss: u32, syndrome: &Syndrome) -> RareExit {
    let va = Va(syndrome.far);
    match status(iss) {
        Status::External(accessor) => {
            // FnV is defined for 0b010000 alone and RES0 for the rest, so it can be asked for all.
            let va = if iss & FNV == 0 { Some(va) } else { None };
            RareExit::ExternalAbort(ExternalAbort { access, va, accessor })
        }
        Status::Permission => {
            let ipa = if iss & S1PTW == 0 { None } else { Some(Ipa(fault_frame(syndrome.hpfar))) };
            RareExit::PermissionFault(PermissionFault { access, va, ipa })
        }
        Status::NotMapped | Status::Other => {
            RareExit::OtherAbort(OtherAbort { access, va, status: (iss & 0x3f) as u8 })
        }
    }
}
