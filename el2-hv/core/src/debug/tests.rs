//! Accesses as an arm64 kernel makes them, and what they leave in the CPU.

use super::*;

/// Six breakpoints, four watchpoints.
const FEATURES: u64 = 0x1030_5006;
const BRPS_AND_WRPS_MAX: u64 = 0x00f0_f006;
const MDE_KDE: u64 = 1 << 15 | 1 << 13;

const fn comparator(number: u32, op2: u32) -> SysReg {
    SysReg::new(2, 0, 0, number, op2)
}

const fn breakpoint_value(number: u32) -> SysReg {
    comparator(number, 4)
}

const fn breakpoint_control(number: u32) -> SysReg {
    comparator(number, 5)
}

const fn watchpoint_value(number: u32) -> SysReg {
    comparator(number, 6)
}

const fn watchpoint_control(number: u32) -> SysReg {
    comparator(number, 7)
}

fn write(state: &mut DebugState, register: SysReg, value: u64) -> Hardware {
    state.write(register, value, FEATURES).expect("a register that is there")
}

fn open() -> DebugState {
    let mut state = DebugState::RESET;
    assert_eq!(write(&mut state, OSLAR_EL1, 0), Hardware::Unchanged);
    state
}

#[test]
fn the_os_lock_is_closed_at_reset_and_follows_its_register() {
    let mut state = DebugState::RESET;
    assert_eq!(state.read(OSLSR_EL1, FEATURES), Some(0b1010));
    for (written, read) in [(0, 0b1000), (1, 0b1010), (0xffff_fffe, 0b1000), (0xc5ac_ce55, 0b1010)] {
        assert_eq!(write(&mut state, OSLAR_EL1, written), Hardware::Unchanged);
        assert_eq!(state.read(OSLSR_EL1, FEATURES), Some(read), "{written:#x}");
    }
}

#[test]
fn a_kernel_that_clears_everything_at_boot_touches_no_hardware() {
    let mut state = open();
    // TDCC is what Linux leaves set.
    assert_eq!(write(&mut state, MDSCR_EL1, 1 << 12), Hardware::Unchanged);
    for number in 0..6 {
        assert_eq!(write(&mut state, breakpoint_control(number), 0), Hardware::Unchanged);
        assert_eq!(write(&mut state, breakpoint_value(number), 0), Hardware::Unchanged);
    }
    assert_eq!(write(&mut state, MDSCR_EL1, 1 << 13), Hardware::Unchanged);
    assert!(!state.is_armed());
}

#[test]
fn what_can_raise_an_exception_is_loaded_and_cleared_again() {
    for control in [1, 1 << 15, MDE_KDE | 1] {
        let mut state = open();
        assert_eq!(write(&mut state, MDSCR_EL1, control), Hardware::Load);
        assert!(state.is_armed());
        assert_eq!(write(&mut state, breakpoint_value(5), 0x40_0000), Hardware::Load);
        assert_eq!(write(&mut state, OSLAR_EL1, 1), Hardware::Clear);
        assert!(!state.is_armed());
        assert_eq!(write(&mut state, breakpoint_control(5), 0x1e5), Hardware::Unchanged);
        assert_eq!(write(&mut state, OSLAR_EL1, 0), Hardware::Load);
        assert_eq!(write(&mut state, MDSCR_EL1, 1 << 12), Hardware::Clear);
    }
}

#[test]
fn the_cpu_gets_mdscr_while_armed_and_zero_otherwise() {
    let mut state = open();
    let _ = write(&mut state, MDSCR_EL1, MDE_KDE);
    assert_eq!(state.armed, MDE_KDE);
    let _ = write(&mut state, OSLAR_EL1, 1);
    assert_eq!((state.armed, state.read(MDSCR_EL1, FEATURES)), (0, Some(MDE_KDE)));
}

#[test]
fn every_comparator_has_a_place_of_its_own() {
    let registers = || (0..16).flat_map(|number| (4..8).map(move |op2| comparator(number, op2)));
    let mut state = open();
    for (value, register) in registers().enumerate() {
        let value = (value as u64) << 4 & mask(register);
        assert_eq!(state.write(register, value, BRPS_AND_WRPS_MAX), Some(Hardware::Unchanged));
    }
    for (value, register) in registers().enumerate() {
        let value = (value as u64) << 4 & mask(register);
        assert_eq!(state.read(register, BRPS_AND_WRPS_MAX), Some(value), "{register}");
    }
}

#[test]
fn pairs_lie_as_the_loader_takes_them() {
    let mut state = open();
    let _ = write(&mut state, breakpoint_value(2), 0x1000);
    let _ = write(&mut state, breakpoint_control(2), 0x1e5);
    let _ = write(&mut state, watchpoint_value(3), 0x2000);
    let _ = write(&mut state, watchpoint_control(3), 0x1ff7);
    assert_eq!((state.comparators[2], state.comparators[16 + 3]), ([0x1000, 0x1e5], [0x2000, 0x1ff7]));
    assert_eq!((core::mem::offset_of!(DebugState, comparators), ARMED_OFFSET), (0, 512));
}

#[test]
fn only_those_that_the_id_register_shows_are_there() {
    let mut state = open();
    for (register, there) in [
        (breakpoint_value(5), true),
        (breakpoint_control(6), false),
        (watchpoint_value(3), true),
        (watchpoint_control(4), false),
        (watchpoint_value(15), false),
    ] {
        assert_eq!(state.read(register, FEATURES).is_some(), there, "{register}");
        assert_eq!(state.write(register, 0, FEATURES).is_some(), there, "{register}");
    }
}

#[test]
fn bits_that_are_reserved_or_of_el2_read_zero() {
    let mut state = open();
    for (register, read) in [
        (MDSCR_EL1, 0xb001),
        (breakpoint_value(0), u64::MAX),
        (breakpoint_control(0), 0x007f_e1e7),
        (watchpoint_value(0), !3),
        (watchpoint_control(0), 0x1f1f_ffff),
    ] {
        let _ = write(&mut state, register, u64::MAX);
        assert_eq!(state.read(register, FEATURES), Some(read), "{register}");
    }
}
