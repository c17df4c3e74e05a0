//! Exception entry against AArch64.TakeException worked by hand.

use super::*;

const VBAR: u64 = 0xffff_8000_0801_0800;
/// A reset-like SCTLR_EL1: SPAN is RES1 before FEAT_PAN.
const SCTLR: u64 = 0x30d0_0838;

/// What a CPU has in PSTATE at a vector if it has FEAT_MTE and FEAT_NMI: TCO, and ALLINT as SPINTMASK is 0.
const MTE_AND_NMI: u64 = 1 << 25 | 1 << 13;

fn at(pstate: u64) -> Interrupted {
    Interrupted { pc: 0xffff_8000_1000_0040, pstate, sctlr_el1: SCTLR, vbar_el1: VBAR }
}

#[test]
fn undefined_at_el1h_goes_to_the_same_level_vector() {
    let exception = at(0x6000_0005).undefined();
    assert_eq!(exception.esr_el1, 0x0200_0000);
    assert_eq!(exception.elr_el1, 0xffff_8000_1000_0040);
    assert_eq!(exception.spsr_el1, 0x6000_0005);
    assert_eq!(exception.far_el1, None);
    assert_eq!(exception.pc, VBAR + 0x200);
    assert_eq!(exception.pstate, 0x6000_03c5 | MTE_AND_NMI);
    assert!(!exception.is_dead_end());
}

#[test]
fn each_source_has_its_vector() {
    let cases = [(0x4, 0x000), (0x5, 0x200), (0x0, 0x400), (0x10, 0x600), (0x30, 0x600)];
    for (pstate, offset) in cases {
        assert_eq!(at(pstate).undefined().pc, VBAR + offset, "{pstate:#x}");
    }
}

#[test]
fn low_bits_of_vbar_do_not_count() {
    let interrupted = Interrupted { vbar_el1: VBAR | 0x7ff, ..at(5) };
    assert_eq!(interrupted.undefined().pc, VBAR + 0x200);
}

#[test]
fn external_aborts_have_the_class_of_the_level_and_the_address() {
    let va = Va(0xffff_0000_dead_b0e8);
    let cases = [
        // From EL1: class 0x25 and 0x21; from EL0: 0x24 and 0x20. IL set, EA clear, WnR for a store.
        (5, MemoryAccess::Load, 0x9600_0010),
        (5, MemoryAccess::Store, 0x9600_0050),
        (4, MemoryAccess::Fetch, 0x8600_0010),
        (0, MemoryAccess::Load, 0x9200_0010),
        (0, MemoryAccess::Store, 0x9200_0050),
        (0, MemoryAccess::Fetch, 0x8200_0010),
        (0x10, MemoryAccess::Load, 0x9200_0010),
    ];
    for (pstate, access, esr) in cases {
        let exception = at(pstate).external_abort(access, va);
        assert_eq!(exception.esr_el1, esr, "{pstate:#x} {access:?}");
        assert_eq!(exception.far_el1, Some(va.0));
    }
}

#[test]
fn entry_masks_everything_and_clears_what_belonged_to_the_instruction() {
    // UAO, SS, IL, BTYPE set; NZCV, DIT, PAN set; PM, PPEND, EXLOCK and PACM are of features that a guest has not.
    let dirty = 0xf_f000_0005 | 1 << 24 | 1 << 23 | 1 << 22 | 1 << 21 | 1 << 20 | 3 << 10;
    let exception = at(dirty).undefined();
    assert_eq!(exception.spsr_el1, dirty);
    assert_eq!(exception.pstate, 0xf000_03c5 | 1 << 24 | 1 << 22 | MTE_AND_NMI);
}

#[test]
fn pan_is_set_when_span_is_clear_and_kept_otherwise() {
    let without_span = SCTLR & !(1 << 23);
    let pan = |sctlr_el1, pstate| {
        let exception = Interrupted { sctlr_el1, ..at(pstate) }.undefined();
        exception.pstate >> 22 & 1
    };
    assert_eq!(pan(without_span, 0), 1);
    assert_eq!(pan(without_span, 5 | 1 << 22), 1);
    assert_eq!(pan(SCTLR, 5), 0);
    assert_eq!(pan(SCTLR, 5 | 1 << 22), 1);
}

#[test]
fn ssbs_comes_from_sctlr() {
    let ssbs = |sctlr_el1, pstate| Interrupted { sctlr_el1, ..at(pstate) }.undefined().pstate >> 12 & 1;
    assert_eq!(ssbs(SCTLR | 1 << 44, 5), 1);
    assert_eq!(ssbs(SCTLR, 5 | 1 << 12), 0);
}

#[test]
fn tco_is_set_and_allint_is_what_spintmask_is_not() {
    let pstate = |sctlr_el1, pstate| Interrupted { sctlr_el1, ..at(pstate) }.undefined().pstate & MTE_AND_NMI;
    for before in [5, 5 | MTE_AND_NMI] {
        assert_eq!(pstate(SCTLR, before), MTE_AND_NMI);
        assert_eq!(pstate(SCTLR | 1 << 62, before), 1 << 25);
    }
}

#[test]
fn aarch32_state_does_not_leak_into_the_new_pstate() {
    // User mode, T32, an IT block, Q, GE, big-endian.
    let user32 = 0x10 | 1 << 5 | 1 << 9 | 0x3f << 10 | 3 << 25 | 0xf << 16 | 1 << 27;
    let exception = at(user32).undefined();
    assert_eq!(exception.pstate, 0x3c5 | MTE_AND_NMI);
    assert_eq!(exception.spsr_el1, user32);
}

#[test]
fn a_vector_that_cannot_be_fetched_is_a_dead_end_after_two_aborts() {
    let fetch = |interrupted: &Interrupted| interrupted.external_abort(MemoryAccess::Fetch, Va(interrupted.pc));
    let first = at(0x4000_0000);
    let second = Interrupted { pc: fetch(&first).pc, pstate: fetch(&first).pstate, ..first };
    assert_eq!(second.pc, VBAR + 0x400);
    let third = Interrupted { pc: fetch(&second).pc, pstate: fetch(&second).pstate, ..first };
    assert_eq!(third.pc, VBAR + 0x200);
    assert!(!fetch(&first).is_dead_end());
    assert!(!fetch(&second).is_dead_end());
    assert!(fetch(&third).is_dead_end());
}

#[test]
fn a_cpu_that_lacks_features_does_not_hide_a_dead_end() {
    // SPAN, DSSBS and SPINTMASK ask for PAN, SSBS and ALLINT, of which such a CPU gives nothing back.
    let sctlr_el1 = SCTLR & !(1 << 23) | 1 << 44;
    let lacking = !(1 << 22 | 1 << 12 | MTE_AND_NMI);
    let first = Interrupted { sctlr_el1, ..at(5) }.undefined();
    let second = Interrupted { pc: first.pc, pstate: first.pstate & lacking, sctlr_el1, vbar_el1: VBAR };
    assert!(!first.is_dead_end());
    assert!(second.undefined().is_dead_end());
}

#[test]
fn a_vector_that_works_once_is_no_dead_end() {
    // At the vector's address, but with interrupts open: a guest that jumped there.
    let jumped = Interrupted { pc: VBAR + 0x200, ..at(5) };
    assert!(!jumped.undefined().is_dead_end());
}
