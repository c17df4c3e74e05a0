//! The hardware side of a guest's GIC CPU interface: list registers and their control (IHI0069 §12.5).

use crate::{mrs, msr};

/// List registers that the architecture allows.
pub const LIST_REGISTERS_MAX: usize = 16;

/// ICH_HCR_EL2.En: the virtual CPU interface works.
const HCR_EN: u64 = 1;

/// Number of list registers and of priority bits (ICH_VTR_EL2).
pub fn list_register_count() -> usize {
    (mrs!("ich_vtr_el2") & 0x1f) as usize + 1
}

macro_rules! each_list_register {
    ($action:ident, $lr:expr, $mask:expr) => {
        $action!($lr, $mask, 0 "ich_lr0_el2", 1 "ich_lr1_el2", 2 "ich_lr2_el2", 3 "ich_lr3_el2",
            4 "ich_lr4_el2", 5 "ich_lr5_el2", 6 "ich_lr6_el2", 7 "ich_lr7_el2", 8 "ich_lr8_el2",
            9 "ich_lr9_el2", 10 "ich_lr10_el2", 11 "ich_lr11_el2", 12 "ich_lr12_el2",
            13 "ich_lr13_el2", 14 "ich_lr14_el2", 15 "ich_lr15_el2")
    };
}

/// Reads the list registers whose bits are set in `mask`.
#[inline]
pub fn read_list_registers(lr: &mut [u64; LIST_REGISTERS_MAX], mask: u16) {
    macro_rules! read {
        ($lr:expr, $mask:expr, $($n:literal $name:literal),*) => {{
            // Boards have four or so: the rest is one comparison.
            $(if $mask >> $n == 0 { return; } if $mask & 1 << $n != 0 { $lr[$n] = mrs!($name); })*
        }};
    }
    each_list_register!(read, lr, mask);
}

/// Writes the list registers whose bits are set in `mask`.
#[inline]
pub fn write_list_registers(lr: &[u64; LIST_REGISTERS_MAX], mask: u16) {
    macro_rules! write {
        ($lr:expr, $mask:expr, $($n:literal $name:literal),*) => {{
            $(if $mask >> $n == 0 { return; } if $mask & 1 << $n != 0 { msr!($name, $lr[$n]); })*
        }};
    }
    each_list_register!(write, lr, mask);
}

/// Writes list register 0, the virtual timer's.
#[inline]
pub fn write_timer_register(value: u64) {
    msr!("ich_lr0_el2", value);
}

/// Whether one of the list registers in `used` holds a pending interrupt: State, bits 63:62, is 0b01.
#[inline]
pub fn any_pending(used: u16) -> bool {
    macro_rules! pending {
        ($lr:expr, $used:expr, $($n:literal $name:literal),*) => {{
            $(if $used >> $n == 0 { return false; } if $used & 1 << $n != 0 && mrs!($name) >> 62 == 0b01 { return true; })*
            false
        }};
    }
    each_list_register!(pending, (), used)
}

/// The virtual CPU interface works from now on, and EL1 uses it by system registers only.
///
/// ICC_SRE_EL2.Enable 0: EL1 cannot turn ICC_SRE_EL1.SRE off (IHI0069 §12.2, ICC_SRE_EL2).
pub fn init() {
    msr!("icc_sre_el2", 0b0111);
    crate::cpu::isb();
    write_list_registers(&[0; LIST_REGISTERS_MAX], ((1u32 << list_register_count()) - 1) as u16);
    msr!("ich_hcr_el2", HCR_EN);
    msr!("mdscr_el1", 0);
}

/// Sets the maintenance and trap controls of ICH_HCR_EL2, and clears EOIcount.
#[inline]
pub fn set_controls(controls: u64) {
    msr!("ich_hcr_el2", HCR_EN | controls);
}

/// ICH_HCR_EL2.EOIcount: deactivations that found no list register.
#[inline]
pub fn unmatched_eois() -> u8 {
    (mrs!("ich_hcr_el2") >> 27 & 0x1f) as u8
}

/// What of the virtual CPU interface belongs to a vCPU, list registers aside.
#[derive(Clone, Copy, Debug, Default)]
pub struct InterfaceState {
    vmcr: u64,
    ap0: [u64; 4],
    ap1: [u64; 4],
}

impl InterfaceState {
    /// A CPU interface after reset. VENG0 and VENG1 are 0; the guest turns groups on.
    pub const RESET: Self = Self { vmcr: 0, ap0: [0; 4], ap1: [0; 4] };

    /// Stores the CPU's state.
    pub fn save(&mut self) {
        self.vmcr = mrs!("ich_vmcr_el2");
        let bits = preemption_bits();
        self.ap0[0] = mrs!("ich_ap0r0_el2");
        self.ap1[0] = mrs!("ich_ap1r0_el2");
        if bits >= 6 {
            self.ap0[1] = mrs!("ich_ap0r1_el2");
            self.ap1[1] = mrs!("ich_ap1r1_el2");
        }
        if bits == 7 {
            self.ap0[2] = mrs!("ich_ap0r2_el2");
            self.ap0[3] = mrs!("ich_ap0r3_el2");
            self.ap1[2] = mrs!("ich_ap1r2_el2");
            self.ap1[3] = mrs!("ich_ap1r3_el2");
        }
    }

    /// Loads the CPU.
    pub fn load(&self) {
        msr!("ich_vmcr_el2", self.vmcr);
        let bits = preemption_bits();
        msr!("ich_ap0r0_el2", self.ap0[0]);
        msr!("ich_ap1r0_el2", self.ap1[0]);
        if bits >= 6 {
            msr!("ich_ap0r1_el2", self.ap0[1]);
            msr!("ich_ap1r1_el2", self.ap1[1]);
        }
        if bits == 7 {
            msr!("ich_ap0r2_el2", self.ap0[2]);
            msr!("ich_ap0r3_el2", self.ap0[3]);
            msr!("ich_ap1r2_el2", self.ap1[2]);
            msr!("ich_ap1r3_el2", self.ap1[3]);
        }
    }
}

/// Bits of preemption (ICH_VTR_EL2.PREbits + 1): they say which active-priority registers exist.
#[inline]
fn preemption_bits() -> u64 {
    (mrs!("ich_vtr_el2") >> 26 & 7) + 1
}
