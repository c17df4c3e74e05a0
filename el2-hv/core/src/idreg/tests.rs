//! Guest values against host values read from QEMU 10.0.2's models through its debug interface.

use super::*;

const fn id(crm: u32, op2: u32) -> SysReg {
    SysReg::new(3, 0, 0, crm, op2)
}

type Values = &'static [((u32, u32), u64)];

fn guest(host: Values) -> IdRegisters {
    IdRegisters::from_host(|register| {
        let found = host.iter().find(|((crm, op2), _)| id(*crm, *op2) == register);
        found.map_or(0, |(_, value)| *value)
    })
}

fn check(host: Values, expected: Values) {
    let guest = guest(host);
    for crm in 1..8 {
        for op2 in 0..8 {
            let found = expected.iter().find(|(at, _)| *at == (crm, op2));
            let value = found.map_or(0, |(_, value)| *value);
            assert_eq!(guest.read(id(crm, op2)), value, "{}: {:#x}", id(crm, op2), guest.read(id(crm, op2)));
        }
    }
}

/// DebugVer 6, six breakpoints of which two compare contexts, four watchpoints, no double lock: what these CPUs have.
const DEBUG: u64 = 0x00f0_1030_5006;

const AARCH32_COMMON: [((u32, u32), u64); 7] = [
    ((1, 5), 0x4000_0000),
    ((1, 6), 0x0126_0000),
    ((2, 0), 0x0210_1110),
    ((2, 1), 0x1311_2111),
    ((2, 2), 0x2123_2042),
    ((2, 3), 0x0111_2131),
    ((3, 0), 0x1011_0222),
];

#[test]
fn cortex_a72_shows_armv8_0_with_40_bits() {
    check(
        &[
            ((1, 0), 0x131),
            ((1, 1), 0x1001_1011),
            ((1, 2), 0x0300_0006),
            ((1, 4), 0x1020_1105),
            AARCH32_COMMON[0],
            AARCH32_COMMON[1],
            ((1, 7), 0x0210_2211),
            AARCH32_COMMON[2],
            AARCH32_COMMON[3],
            AARCH32_COMMON[4],
            AARCH32_COMMON[5],
            ((2, 4), 0x0001_1142),
            ((2, 5), 0x0001_1121),
            AARCH32_COMMON[6],
            ((3, 1), 0x1211_1111),
            ((3, 2), 0x43),
            ((4, 0), 0x0100_0222),
            ((5, 0), 0x1030_5106),
            ((6, 0), 0x0001_1120),
            ((7, 0), 0x1124),
        ],
        &[
            ((1, 0), 0x131),
            ((1, 1), 0x0001_0000),
            ((1, 4), 0x1020_1105),
            AARCH32_COMMON[0],
            AARCH32_COMMON[1],
            ((1, 7), 0x0210_2211),
            AARCH32_COMMON[2],
            AARCH32_COMMON[3],
            AARCH32_COMMON[4],
            AARCH32_COMMON[5],
            ((2, 4), 0x0001_1142),
            ((2, 5), 0x0001_1121),
            AARCH32_COMMON[6],
            ((3, 1), 0x1211_1111),
            ((3, 2), 0x43),
            ((4, 0), 0x0100_0012),
            ((5, 0), DEBUG),
            ((6, 0), 0x0001_1120),
            ((7, 0), 0x22),
        ],
    );
}

#[test]
fn cortex_a76_shows_what_has_no_state_and_hides_vhe_ras_and_pmu() {
    let guest = guest(&[
        ((4, 0), 0x1100_0000_1011_1112),
        ((4, 1), 0x10),
        ((5, 0), 0x1030_5408),
        ((6, 0), 0x1000_1021_1120),
        ((6, 1), 0x0010_0001),
        ((7, 0), 0x0010_1122),
        ((7, 1), 0x1021_2122),
        ((7, 2), 0x1011),
    ]);
    let expected = [
        ((4, 0), 0x1100_0000_0011_0012), // the model's GIC field is 0 without a GICv3
        ((4, 1), 0x10),
        ((5, 0), DEBUG),
        ((6, 0), 0x1000_1021_1120),
        ((6, 1), 0x0010_0001),
        ((7, 0), 0x0010_0022),
        ((7, 1), 0x0020_2002),
        ((7, 2), 0x11),
    ];
    for ((crm, op2), value) in expected {
        assert_eq!(guest.read(id(crm, op2)), value, "{}", id(crm, op2));
    }
}

/// `-cpu max`; ID_AA64PFR0_EL1 has what that model sets: CSV3, CSV2_3, DIT, SEL2, SVE, RASv1p1, GIC.
const MAX: Values = &[
    ((1, 0), 0x1102_0131),
    ((1, 2), 0x0600_000a),
    ((2, 5), 0x1101_1121),
    ((2, 6), 0x2002_1110),
    ((2, 7), 0x0111_1111),
    ((3, 4), 0x11),
    ((3, 5), 0x10),
    ((3, 6), 0x2),
    ((4, 0), 0x1301_0011_2111_2222),
    ((4, 1), 0x10_0100_0121),
    ((4, 4), 0x0110_1101_0021_0021),
    ((4, 5), 0x80f1_00fd_0000_0000),
    ((5, 0), 0x1000_0000_1030_560a),
    ((6, 0), 0x1221_1111_1021_2120),
    ((6, 1), 0x0111_2111_1021_1502),
    ((6, 2), 0x0011_0012),
    ((7, 0), 0x2100_0323_1020_1126),
    ((7, 1), 0x0110_1120_1031_2122),
    ((7, 2), 0x1221_0111_1201_1011),
    ((7, 3), 0x1000_0000_0000_0000),
];

#[test]
fn max_shows_nothing_that_is_not_switched() {
    check(
        MAX,
        &[
            ((1, 0), 0x0101_0131),
            ((2, 5), 0x1101_1121),
            ((2, 7), 0x0111_1111),
            ((3, 4), 0x11),
            ((3, 6), 0x2),
            ((4, 0), 0x1101_0000_0111_0012),
            ((4, 1), 0x21),
            ((5, 0), DEBUG),
            ((6, 0), 0x1221_1111_1021_2120),
            ((6, 1), 0x0111_2111_0021_1002),
            ((6, 2), 0x0010_0010),
            ((7, 0), 0x0010_0022),
            ((7, 1), 0x0110_1020_0030_2002),
            ((7, 2), 0x1021_0011_1001_0011),
        ],
    );
}

/// Fields of features whose state is not switched or whose registers trap: (CRm, op2), lowest bit.
const HIDDEN: &[((u32, u32), u8, &str)] = &[
    ((4, 0), 8, "EL2"),
    ((4, 0), 12, "EL3"),
    ((4, 0), 28, "RAS"),
    ((4, 0), 32, "SVE"),
    ((4, 0), 36, "SEL2"),
    ((4, 0), 40, "MPAM"),
    ((4, 0), 44, "AMU"),
    ((4, 0), 52, "RME"),
    ((4, 1), 8, "MTE"),
    ((4, 1), 12, "RAS_frac"),
    ((4, 1), 16, "MPAM_frac"),
    ((4, 1), 24, "SME"),
    ((4, 1), 28, "RNDR_trap"),
    ((4, 1), 36, "NMI"),
    ((4, 1), 44, "GCS"),
    ((4, 1), 48, "THE"),
    ((4, 1), 56, "DF2"),
    ((5, 0), 4, "TraceVer"),
    ((5, 0), 8, "PMUVer"),
    ((5, 0), 16, "PMSS"),
    ((5, 0), 24, "SEBEP"),
    ((5, 0), 32, "PMSVer"),
    ((5, 0), 40, "TraceFilt"),
    ((5, 0), 44, "TraceBuffer"),
    ((5, 0), 52, "BRBE"),
    ((6, 0), 24, "TME"),
    ((6, 1), 4, "APA"),
    ((6, 1), 8, "API"),
    ((6, 1), 24, "GPA"),
    ((6, 1), 28, "GPI"),
    ((6, 1), 60, "LS64"),
    ((6, 2), 0, "WFxT"),
    ((6, 2), 8, "GPA3"),
    ((6, 2), 12, "APA3"),
    ((6, 2), 16, "MOPS"),
    ((6, 2), 24, "PAC_frac"),
    ((6, 2), 32, "SYSREG_128"),
    ((7, 0), 8, "BigEnd"),
    ((7, 0), 56, "FGT"),
    ((7, 0), 60, "ECV"),
    ((7, 1), 8, "VH"),
    ((7, 1), 16, "LO"),
    ((7, 1), 28, "XNX"),
    ((7, 1), 40, "HCX"),
    ((7, 2), 12, "IESB"),
    ((7, 2), 24, "NV"),
    ((7, 2), 40, "FWB"),
    ((7, 2), 56, "EVT"),
];

#[test]
fn a_cpu_that_has_everything_shows_none_of_the_hidden_features() {
    // 7 is the highest value of a signed field; EL0 = 2 keeps the AArch32 registers in play.
    for nibble in [7, 15] {
        let all = 0x1111_1111_1111_1111u64 * nibble;
        let guest = IdRegisters::from_host(|register| if register == id(4, 0) { all & !0xf | 2 } else { all });
        for ((crm, op2), shift, name) in HIDDEN {
            assert_eq!(guest.read(id(*crm, *op2)) >> shift & 0xf, 0, "{name}");
        }
        for (crm, op2) in [(4, 2), (4, 4), (4, 5), (4, 7), (5, 1), (6, 3), (7, 3), (7, 4)] {
            assert_eq!(guest.read(id(crm, op2)), 0);
        }
    }
}

#[test]
fn fields_without_a_row_and_registers_without_rows_read_as_absent() {
    let guest = IdRegisters::from_host(|register| if register == id(4, 0) { !0xd } else { u64::MAX });
    for crm in 1..8 {
        for op2 in 0..8 {
            let rows = FIELDS.iter().filter(|row| row.field.register == id(crm, op2));
            let covered = rows.fold(0, |mask, row| mask | row.field.mask());
            assert_eq!(guest.read(id(crm, op2)) & !covered, 0);
        }
    }
    for op2 in 0..8 {
        assert_eq!(guest.read(id(0, op2)), 0);
    }
}

#[test]
fn absent_fp_and_granules_stay_absent() {
    let guest = guest(&[((4, 0), 0x0000_0000_01ff_0011), ((7, 0), 0xff00_0000)]);
    assert_eq!(guest.read(id(4, 0)), 0x01ff_0011);
    assert_eq!(guest.read(id(7, 0)), 0xff00_0000);
}

#[test]
fn without_aarch32_its_registers_read_zero() {
    let guest = IdRegisters::from_host(|register| if register == id(4, 0) { 0x11 } else { 0x1111_1111_1111_1111 });
    for crm in 1..4 {
        for op2 in 0..8 {
            assert_eq!(guest.read(id(crm, op2)), 0);
        }
    }
    assert_ne!(guest.read(id(6, 0)), 0);
}

#[test]
fn rows_do_not_overlap_and_have_reasons() {
    for (at, row) in FIELDS.iter().enumerate() {
        assert!(
            row.field.register.is_id() && row.field.width > 0 && row.field.shift + row.field.width <= 64,
            "{}",
            row.name
        );
        assert!(!row.reason.is_empty());
        for other in &FIELDS[..at] {
            let clash = row.field.register == other.field.register && row.field.mask() & other.field.mask() != 0;
            assert!(!clash, "{}: {} and {}", row.register_name, other.name, row.name);
            assert_eq!(row.field.register == other.field.register, row.register_name == other.register_name);
        }
    }
}

#[test]
fn sources_are_the_registers_that_are_read_each_once() {
    let mut read = std::collections::BTreeSet::new();
    IdRegisters::from_host(|register| {
        read.insert(register);
        if register == id(4, 0) { 2 } else { 0 }
    });
    let sources: Vec<_> = IdRegisters::sources().collect();
    assert_eq!(sources.len(), read.len());
    assert!(sources.iter().all(|register| read.contains(register)));
}
