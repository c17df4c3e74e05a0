//! Encodings and the table, and `docs/TRAPS.md` written from it.

use super::*;
use crate::idreg::{FIELDS, Policy};
use crate::trap_config::{CNTHCTL_ROWS, CPTR_ROWS, Field, HCR_ROWS, HCRX_ROWS, MDCR_ROWS, OTHER_ROWS};
use core::fmt::Write;
use std::path::PathBuf;

use Direction::{Read, Write as Wr};

#[test]
fn encodings_are_those_of_the_syndrome() {
    // ISS of MRS X3, ID_AA64PFR0_EL1 and of MSR ICC_SGI1R_EL1, X9, by hand.
    assert_eq!(SysReg::from_iss(0x30_0069), SysReg::new(3, 0, 0, 4, 0));
    assert_eq!(SysReg::from_iss(0x3a_3136), ICC_SGI1R_EL1);
}

#[test]
fn every_encoding_goes_to_its_fields_and_back() {
    for packed in 0..1u32 << 16 {
        let (op0, op1) = (packed >> 14, packed >> 11 & 7);
        let (crn, crm, op2) = (packed >> 7 & 15, packed >> 3 & 15, packed & 7);
        let register = SysReg::new(op0, op1, crn, crm, op2);
        assert_eq!(
            (register.op0(), register.op1(), register.crn(), register.crm(), register.op2()),
            (op0, op1, crn, crm, op2)
        );
        assert_eq!(SysReg::from_iss(register.0 | 0x3e1), register);
        let id = op0 == 3 && op1 == 0 && crn == 0 && (1..=7).contains(&crm);
        assert_eq!(register.is_id(), id, "{register}");
        // Whatever it is, both directions are decided.
        for direction in [Read, Wr] {
            let action = classify(register, direction);
            assert_eq!(action == SysRegAction::IdRegister, id && direction == Read, "{register}");
        }
    }
}

#[test]
fn names_are_the_generic_ones() {
    assert_eq!(SysReg::new(3, 0, 0, 4, 0).to_string(), "S3_0_C0_C4_0");
    assert_eq!(format!("{:?}", ICC_SGI1R_EL1), "S3_0_C12_C11_5");
}

#[test]
fn emulated_registers_get_their_action() {
    use SysRegAction::*;
    let cases = [
        ((3, 0, 12, 11, 5), Wr, Sgi(SgiRegister::Sgi1)),
        ((3, 0, 12, 11, 6), Wr, Sgi(SgiRegister::AlternateSgi1)),
        ((3, 0, 12, 11, 7), Wr, Sgi(SgiRegister::Sgi0)),
        ((3, 0, 12, 12, 5), Read, ReadValue(7)),
        ((3, 3, 14, 2, 0), Read, PhysicalTimer(TimerRegister::TimerValue)),
        ((3, 3, 14, 2, 1), Wr, PhysicalTimer(TimerRegister::Control)),
        ((3, 3, 14, 2, 2), Wr, PhysicalTimer(TimerRegister::CompareValue)),
        ((3, 0, 1, 0, 1), Read, ReadZeroWriteIgnore), // ACTLR_EL1
        ((1, 0, 7, 6, 2), Wr, SetWayCache),
        ((1, 0, 7, 10, 2), Wr, SetWayCache),
        ((1, 0, 7, 14, 2), Wr, SetWayCache),
        ((2, 0, 0, 2, 2), Wr, Debug),                  // MDSCR_EL1
        ((2, 0, 1, 0, 4), Wr, Debug),                  // OSLAR_EL1
        ((2, 0, 1, 1, 4), Read, Debug),                // OSLSR_EL1
        ((2, 0, 1, 3, 4), Wr, ReadZeroWriteIgnore),    // OSDLR_EL1
        ((2, 0, 0, 0, 4), Wr, Debug),                  // DBGBVR0_EL1
        ((2, 0, 0, 15, 5), Read, Debug),               // DBGBCR15_EL1
        ((2, 0, 0, 1, 7), Wr, Debug),                  // DBGWCR1_EL1
        ((2, 0, 0, 2, 0), Wr, ReadZeroWriteIgnore),    // MDCCINT_EL1
        ((2, 0, 0, 0, 2), Read, ReadZeroWriteIgnore),  // OSDTRRX_EL1
        ((2, 0, 7, 14, 6), Read, ReadZeroWriteIgnore), // DBGAUTHSTATUS_EL1
    ];
    for ((op0, op1, crn, crm, op2), direction, action) in cases {
        let register = SysReg::new(op0, op1, crn, crm, op2);
        assert_eq!(classify(register, direction), action, "{register}");
    }
}

#[test]
fn hidden_and_unknown_registers_are_undefined_in_the_guest() {
    let cases = [
        (3, 3, 9, 12, 0),  // PMCR_EL0
        (3, 0, 9, 14, 1),  // PMINTENSET_EL1
        (3, 3, 14, 15, 7), // PMCCFILTR_EL0
        (3, 3, 14, 8, 0),  // PMEVCNTR0_EL0
        (3, 0, 2, 1, 0),   // APIAKeyLo_EL1
        (3, 0, 10, 4, 3),  // LORC_EL1
        (3, 0, 5, 3, 0),   // ERRIDR_EL1
        (3, 0, 1, 2, 0),   // ZCR_EL1
        (3, 3, 13, 2, 0),  // AMCR_EL0
        (3, 1, 0, 0, 4),   // GMID_EL1
        (2, 1, 0, 0, 0),   // TRCTRACEIDR and its like
        (3, 1, 15, 2, 0),  // Cortex-A72 CPUACTLR_EL1
        (3, 5, 11, 1, 1),  // IMPLEMENTATION DEFINED
        (2, 0, 0, 4, 2),   // MDSELR_EL1: more than sixteen breakpoints
        (3, 4, 1, 1, 0),   // HCR_EL2
        (3, 0, 2, 0, 3),   // TCR2_EL1
    ];
    for (op0, op1, crn, crm, op2) in cases {
        let register = SysReg::new(op0, op1, crn, crm, op2);
        for direction in [Read, Wr] {
            assert_eq!(classify(register, direction), SysRegAction::Undefined, "{register}");
        }
    }
}

#[test]
fn the_wrong_direction_is_undefined() {
    let cases = [
        (ICC_SGI1R_EL1, Read),
        (OSLSR_EL1, Wr),
        (SysReg::new(2, 0, 1, 0, 4), Read), // OSLAR_EL1
        (SysReg::new(2, 0, 1, 0, 0), Wr),   // MDRAR_EL1
        (SysReg::new(2, 3, 0, 1, 0), Wr),   // MDCCSR_EL0
        (SysReg::new(3, 0, 0, 4, 0), Wr),   // ID_AA64PFR0_EL1
    ];
    for (register, direction) in cases {
        assert_eq!(classify(register, direction), SysRegAction::Undefined, "{register}");
    }
}

/// Registers that a guest uses untrapped. If one of them did trap, the table must not have an opinion.
#[test]
fn passed_registers_are_in_no_row() {
    let passed = [
        (3, 0, 1, 0, 0),
        (3, 0, 1, 0, 2),
        (3, 0, 2, 0, 0),
        (3, 0, 2, 0, 1),
        (3, 0, 2, 0, 2),
        (3, 0, 4, 0, 0),
        (3, 0, 4, 1, 0),
        (3, 0, 5, 1, 0),
        (3, 0, 5, 2, 0),
        (3, 0, 6, 0, 0),
        (3, 0, 7, 4, 0),
        (3, 0, 10, 2, 0),
        (3, 0, 10, 3, 0),
        (3, 0, 12, 0, 0),
        (3, 0, 12, 12, 0),
        (3, 0, 12, 12, 6),
        (3, 0, 13, 0, 1),
        (3, 0, 13, 0, 4),
        (3, 0, 14, 1, 0),
        (3, 2, 0, 0, 0),
        (3, 3, 4, 4, 0),
        (3, 3, 4, 4, 1),
        (3, 3, 13, 0, 2),
        (3, 3, 13, 0, 3),
        (3, 3, 14, 0, 0),
        (3, 3, 14, 0, 1),
        (3, 3, 14, 0, 2),
        (3, 3, 14, 3, 0),
        (3, 3, 14, 3, 1),
        (3, 3, 14, 3, 2),
    ];
    for (op0, op1, crn, crm, op2) in passed {
        let register = SysReg::new(op0, op1, crn, crm, op2);
        let row = TRAPPED.iter().find(|row| row.answer.pattern.contains(register));
        assert!(row.is_none(), "{register} is in the row {:?}", row.map(|row| row.name));
    }
}

#[test]
fn every_row_says_what_traps_it_and_why_and_can_be_reached() {
    for (at, row) in TRAPPED.iter().enumerate() {
        assert!(!row.control.is_empty() && !row.reason.is_empty(), "{}", row.name);
        let first = SysReg(row.answer.pattern.value);
        let shadow = TRAPPED[..at].iter().find(|earlier| earlier.answer.pattern.contains(first));
        assert!(
            shadow.is_none() || shadow.is_some_and(|earlier| earlier.answer.pattern != row.answer.pattern),
            "{}",
            row.name
        );
        assert!(!first.is_id(), "{}", row.name);
    }
}

fn action_text(row: &TrapRow) -> String {
    use SysRegAction::*;
    let answer = match row.answer.action {
        IdRegister => "allow-list".into(),
        Sgi(_) => "emulated by the vGIC".into(),
        PhysicalTimer(_) => "emulated timer".into(),
        Debug => "the vCPU's own".into(),
        ReadZeroWriteIgnore if row.answer.access == Access::WriteOnly => "writes ignored".into(),
        ReadZeroWriteIgnore if row.answer.access == Access::ReadOnly => "reads 0".into(),
        ReadZeroWriteIgnore => "RAZ/WI".into(),
        ReadValue(value) => format!("reads {value:#x}"),
        SetWayCache => "no effect".into(),
        DeactivateInterrupt => "emulated by the vGIC".into(),
        Undefined => return "UNDEFINED".into(),
    };
    match row.answer.access {
        Access::ReadWrite => answer,
        Access::ReadOnly => format!("{answer}; read-only"),
        Access::WriteOnly => format!("{answer}; write-only"),
    }
}

fn policy_text(policy: Policy) -> String {
    match policy {
        Policy::Pass => "as the CPU".into(),
        Policy::AtMost(limit) | Policy::SignedAtMost(limit) => {
            format!("as the CPU, at most {limit:#x}")
        }
        Policy::Fixed(value) => format!("always {value:#x}"),
        Policy::Hide => "absent".into(),
    }
}

fn write_fields(out: &mut String, register: &str, rows: &[Field]) {
    for row in rows {
        let last = row.shift + row.width - 1;
        let bits = if row.width == 1 { row.shift.to_string() } else { format!("{last}:{}", row.shift) };
        writeln!(out, "| {register} | {} | {bits} | {:#x} | {} |", row.name, row.value, row.reason).unwrap();
    }
}

const EXITS: &[(&str, &str)] = &[
    (
        "HVC",
        "the calls: PSCI 1.1, SMCCC 1.1 discovery, stolen time and TRNG 1.0, and those of docs/HYPERCALLS.md; anything else NOT_SUPPORTED",
    ),
    ("SMC", "UNDEFINED in the guest: it has no EL3"),
    ("WFI", "the vCPU waits until an interrupt is pending for it"),
    (
        "load or store where stage 2 maps nothing",
        "an emulated device if one is there, else a synchronous external abort in the guest",
    ),
    ("the same without a description (ISV = 0)", "a synchronous external abort in the guest"),
    (
        "fetch where stage 2 maps nothing",
        "a synchronous external abort in the guest; if that is its own vector, the vCPU cannot go on and the VM ends",
    ),
    ("cache maintenance by address where stage 2 maps nothing", "done: nothing is cached of it"),
    ("a walk of the guest's tables where stage 2 maps nothing", "a synchronous external abort in the guest"),
    ("what stage 2 maps without the right that was needed", "a synchronous external abort in the guest"),
    ("system registers", "the tables below"),
    ("AArch32 coprocessor registers (from EL0)", "UNDEFINED in the guest"),
    ("FP and SIMD", "UNDEFINED; they do not trap while a guest runs"),
    ("SVE, SME, pointer authentication", "UNDEFINED in the guest: the ID registers do not show them"),
    ("SVC, BRK, breakpoints, steps, alignment faults, stage-1 faults", "do not come to EL2"),
];

fn document() -> String {
    let mut out = String::from(
        "# Traps: what a guest sees of the CPU\n\n\
         Written from the tables in `el2-hv/core` (`sysreg`, `idreg`, `trap_config`); a test compares. After a change, \
         `UPDATE_DOCS=1 cargo test -p hv-core traps_document` writes it anew.\n\n\
         A guest may use a register or feature if EL2 switches its state or if it has none. What traps and is in no table is \
         UNDEFINED in the guest; an ID field in no table reads as absent.\n",
    );
    out += "\n## What brings a guest to EL2\n\n| event | answer |\n| --- | --- |\n";
    for (event, answer) in EXITS {
        writeln!(out, "| {event} | {answer} |").unwrap();
    }
    out += "\n## Trapped system registers\n\nThe first row that matches counts.\n\n";
    out += "| register | trapped by | answer | why |\n| --- | --- | --- | --- |\n";
    out += "| ID registers (op0 3, op1 0, CRn 0, CRm 1 to 7) | HCR_EL2.TID3 | allow-list; read-only | the fields below |\n";
    for row in TRAPPED {
        writeln!(out, "| {} | {} | {} | {} |", row.name, row.control, action_text(row), row.reason).unwrap();
    }
    out += "| any other | | UNDEFINED | unknown is not allowed |\n";
    out += "\n## Passed without a trap\n\n| registers or instructions | why |\n| --- | --- |\n";
    for row in PASSED {
        writeln!(out, "| {} | {} |", row.name, row.reason).unwrap();
    }
    out += "\n## Trap configuration\n\nFields that are not listed are 0.\n\n";
    out += "| register | field | bits | value | why |\n| --- | --- | --- | --- | --- |\n";
    write_fields(&mut out, "HCR_EL2", HCR_ROWS);
    write_fields(&mut out, "HCRX_EL2 (FEAT_HCX)", HCRX_ROWS);
    write_fields(&mut out, "MDCR_EL2", MDCR_ROWS);
    write_fields(&mut out, "CPTR_EL2", CPTR_ROWS);
    write_fields(&mut out, "CNTHCTL_EL2", CNTHCTL_ROWS);
    out += "\n| register | why |\n| --- | --- |\n";
    for row in OTHER_ROWS {
        writeln!(out, "| {} | {} |", row.name, row.reason).unwrap();
    }
    out += "\n## ID registers\n\n| register | field | bits | a guest sees | why |\n| --- | --- | --- | --- | --- |\n";
    for row in FIELDS {
        let (register, field) = (row.register_name, row.field);
        let last = field.shift + field.width - 1;
        let policy = policy_text(field.policy);
        writeln!(out, "| {register} | {} | {last}:{} | {policy} | {} |", row.name, field.shift, row.reason).unwrap();
    }
    out
}

#[test]
fn traps_document_equals_the_table() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/TRAPS.md");
    let expected = document();
    if std::env::var_os("UPDATE_DOCS").is_some_and(|value| value == "1") {
        std::fs::write(&path, &expected).expect("docs/TRAPS.md can be written");
    }
    let found = std::fs::read_to_string(&path).expect("docs/TRAPS.md is there");
    assert!(found == expected, "docs/TRAPS.md differs from the tables: run with UPDATE_DOCS=1");
}
