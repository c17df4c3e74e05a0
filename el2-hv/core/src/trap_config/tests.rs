//! Values against bit numbers from the Arm ARM, and each trap against the row that answers it.

use super::*;

fn set(value: u64) -> Vec<u32> {
    (0..64).filter(|bit| value >> bit & 1 != 0).collect()
}

#[test]
fn hcr_has_exactly_these_bits() {
    // VM SWIO PTW FMO IMO AMO FB BSU=1 TWI TID3 TSC TIDCP TACR TSW RW TLOR TERR TID5.
    assert_eq!(set(HCR_GUEST), [0, 1, 2, 3, 4, 5, 9, 10, 13, 18, 19, 20, 21, 22, 31, 35, 36, 58]);
}

#[test]
fn named_bits_are_those_of_the_rows() {
    for bit in [HCR_FMO, HCR_IMO, HCR_AMO, HCR_TWI, HCR_RW] {
        assert_eq!(HCR_GUEST & bit, bit);
    }
    assert_eq!(HCR_GUEST & (HCR_VI | HCR_VSE | HCR_TWE), 0);
    assert_eq!(set(HCR_HOST), [3, 4, 5, 31]);
    assert_eq!(CPTR_GUEST & CPTR_TFP, 0);
}

#[test]
fn mdcr_traps_debug_pmu_profiling_and_trace_and_counts_all_counters() {
    // TPMCR TPM TDA TDOSA TDRA TPMS TTRF, and HPMN.
    assert_eq!(set(mdcr_guest(0)), [5, 6, 9, 10, 11, 14, 19]);
    assert_eq!(mdcr_guest(6) & 0x1f, 6);
    assert_eq!(mdcr_guest(31) ^ mdcr_guest(0), 31);
    assert_eq!(mdcr_guest(0xff), mdcr_guest(31));
}

#[test]
fn cptr_keeps_res1_and_traps_trace_and_activity_monitors() {
    assert_eq!(CPTR_GUEST, 0x33ff | 1 << 20 | 1 << 30);
}

#[test]
fn hcrx_traps_allint_and_enables_nothing() {
    assert_eq!(HCRX_GUEST, 0x40);
}

#[test]
fn the_counter_is_open_and_the_physical_timer_traps() {
    assert_eq!(CNTHCTL_GUEST, 1);
}

#[test]
fn every_field_has_a_reason() {
    for rows in [HCR_ROWS, HCRX_ROWS, MDCR_ROWS, CPTR_ROWS, CNTHCTL_ROWS] {
        assert!(rows.iter().all(|row| !row.reason.is_empty() && !row.name.is_empty()));
    }
}
