//! Raw syndromes, built by hand from the field tables of Arm ARM D24.2.40.

use super::*;

const FAR: u64 = 0xffff_8000_1234_5abc;
/// FIPA of IPA 0x0a00_3000, with the NS bit and RES0 bits of HPFAR_EL2 dirty.
const HPFAR: u64 = 1 << 63 | 0x000a_0030 | 0xf;
const IPA: Ipa = Ipa(0x0a00_3abc);
const FRAME: Ipa = Ipa(0x0a00_3000);

fn exit(esr: u64) -> Exit {
    decode(Syndrome { esr, far: FAR, hpfar: HPFAR })
}

fn rare(esr: u64) -> RareExit {
    match exit(esr) {
        Exit::Rare(syndrome) => syndrome.decode_rare(),
        exit => panic!("{exit:?} is not rare"),
    }
}

fn mmio(size: AccessSize, direction: Direction, register: u8) -> MmioAccess {
    MmioAccess { ipa: IPA, size, direction, register, sign_extend: false, width64: false }
}

#[test]
fn faults_of_el2_itself_are_named_by_class_and_status() {
    // EC in bits 31:26, IL in bit 25, WnR in bit 6, the status in bits 5:0 (Arm ARM D24.2.40).
    for (esr, words) in [
        (0x8600_000f, "instruction abort at EL2: permission fault"),
        (0x9600_0007, "data abort at EL2: translation fault, read"),
        (0x9600_004f, "data abort at EL2: permission fault, write"),
        (0x9600_0010, "data abort at EL2: external abort, read"),
        (0x9a00_0000, "misaligned SP"),
        (0x8a00_0000, "misaligned PC"),
        (0xf200_0001, "BRK"),
        (0x0200_0000, "exception of class 0x00"),
    ] {
        assert_eq!(OwnFault(esr).to_string(), words);
    }
}

#[test]
fn hvc_and_smc_give_their_immediate() {
    assert_eq!(exit(0x5a00_0000), Exit::Hvc { imm: 0 });
    assert_eq!(exit(0x5a00_4a48), Exit::Hvc { imm: 0x4a48 });
    assert_eq!(rare(0x5e00_0000), RareExit::Smc { imm: 0 });
    assert_eq!(rare(0x5e00_ffff), RareExit::Smc { imm: 0xffff });
}

#[test]
fn trapped_system_registers_give_encoding_direction_and_register() {
    let cases = [
        (0x6230_0069, (3, 0, 0, 4, 0), Direction::Read, 3), // MRS X3, ID_AA64PFR0_EL1
        (0x623a_3136, (3, 0, 12, 11, 5), Direction::Write, 9), // MSR ICC_SGI1R_EL1, X9
        (0x6234_fbe5, (3, 3, 14, 2, 2), Direction::Read, 31), // MRS XZR, CNTP_CVAL_EL0
        (0x6214_1c3c, (1, 0, 7, 14, 2), Direction::Write, 1), // DC CISW, X1
    ];
    for (esr, (op0, op1, crn, crm, op2), direction, rt) in cases {
        let register = SysReg::new(op0, op1, crn, crm, op2);
        assert_eq!(exit(esr), Exit::SystemRegister(SysRegAccess { register, direction, rt }), "{esr:#x}");
    }
}

#[test]
fn described_data_aborts_are_mmio() {
    use AccessSize::*;
    use Direction::*;
    let cases = [
        (0x93c0_8007, MmioAccess { width64: true, ..mmio(Double, Read, 0) }),
        (0x9382_0046, mmio(Word, Write, 2)),
        (0x9327_8005, MmioAccess { sign_extend: true, width64: true, ..mmio(Byte, Read, 7) }),
        (0x935f_004b, mmio(Half, Write, 31)), // access flag fault, level 3
        (0x939e_0004, mmio(Word, Read, 30)),  // level 0: an IPA beyond the 40 bits of stage 2
        (0x9381_002b, mmio(Word, Read, 1)),   // level -1
    ];
    for (esr, expected) in cases {
        assert_eq!(exit(esr), Exit::Mmio(expected), "{esr:#x}");
    }
}

#[test]
fn hpfar_gives_52_bits_of_address() {
    let Exit::Mmio(access) = decode(Syndrome { esr: 0x93c0_8007, far: 0x123, hpfar: u64::MAX }) else {
        panic!("a described abort")
    };
    assert_eq!(access.ipa, Ipa(0x000f_ffff_ffff_f123));
}

#[test]
fn aborts_without_description_keep_address_and_direction() {
    let abort = |direction| UndescribedAbort { ipa: IPA, va: Va(FAR), direction, accessor: Accessor::Instruction };
    assert_eq!(rare(0x9200_0047), RareExit::UndescribedAbort(abort(Direction::Write)));
    assert_eq!(rare(0x9200_0007), RareExit::UndescribedAbort(abort(Direction::Read)));
}

#[test]
fn faults_of_the_stage_1_walk_name_the_frame_of_the_descriptor() {
    let walk = |direction| UndescribedAbort { ipa: FRAME, va: Va(FAR), direction, accessor: Accessor::TableWalk };
    assert_eq!(rare(0x9200_0087), RareExit::UndescribedAbort(walk(Direction::Read)));
    // An AT instruction whose walk faults has CM set, too.
    assert_eq!(rare(0x9200_01c7), RareExit::UndescribedAbort(walk(Direction::Write)));
    let fetch = InstructionAbort { ipa: FRAME, va: Va(FAR), accessor: Accessor::TableWalk };
    assert_eq!(rare(0x8200_0087), RareExit::InstructionAbort(fetch));
}

#[test]
fn cache_maintenance_of_nothing_is_told_apart() {
    assert_eq!(rare(0x9200_0147), RareExit::CacheMaintenance { ipa: IPA });
}

#[test]
fn fetches_from_nothing_are_instruction_aborts() {
    let fetch = InstructionAbort { ipa: IPA, va: Va(FAR), accessor: Accessor::Instruction };
    assert_eq!(rare(0x8200_0007), RareExit::InstructionAbort(fetch));
}

#[test]
fn permission_faults_have_an_ipa_only_for_walks() {
    let fault = |access, ipa| RareExit::PermissionFault(PermissionFault { access, va: Va(FAR), ipa });
    assert_eq!(rare(0x9384_004f), fault(MemoryAccess::Store, None));
    assert_eq!(rare(0x9200_008e), fault(MemoryAccess::Load, Some(FRAME)));
    assert_eq!(rare(0x8200_000f), fault(MemoryAccess::Fetch, None));
}

#[test]
fn external_aborts_have_a_va_unless_fnv_denies_it() {
    use Accessor::*;
    use MemoryAccess::*;
    let cases = [
        (0x9200_0010, Load, Some(Va(FAR)), Instruction),
        (0x9200_0650, Store, None, Instruction),
        (0x9200_0096, Load, Some(Va(FAR)), TableWalk),
        (0x9200_0012, Load, Some(Va(FAR)), TableWalk),   // level -2
        (0x9200_0013, Load, Some(Va(FAR)), TableWalk),   // level -1
        (0x9200_0018, Load, Some(Va(FAR)), Instruction), // parity
        (0x9200_001b, Load, Some(Va(FAR)), TableWalk),
        (0x9200_001f, Load, Some(Va(FAR)), TableWalk),
        (0x8200_0410, Fetch, None, Instruction),
        (0x8200_0015, Fetch, Some(Va(FAR)), TableWalk),
    ];
    for (esr, access, va, accessor) in cases {
        assert_eq!(rare(esr), RareExit::ExternalAbort(ExternalAbort { access, va, accessor }), "{esr:#x}");
    }
}

#[test]
fn other_aborts_keep_their_status() {
    for status in [0x01, 0x11, 0x21, 0x28, 0x30, 0x31, 0x35] {
        let abort = OtherAbort { access: MemoryAccess::Load, va: Va(FAR), status };
        assert_eq!(rare(0x9200_0000 | u64::from(status)), RareExit::OtherAbort(abort));
    }
}

#[test]
fn waits_are_told_apart() {
    use WfxKind::*;
    for (esr, kind) in [(0x07e0_0000, Wfi), (0x07e0_0001, Wfe), (0x07e0_0002, Wfit), (0x07e0_0003, Wfet)] {
        assert_eq!(exit(esr), Exit::Wfx { kind });
    }
}

#[test]
fn classes_without_a_syndrome_map_to_their_variant() {
    let cases = [
        (0x6600_0000, RareExit::Sve),
        (0x7600_0000, RareExit::Sme),
        (0x2600_0000, RareExit::PointerAuth),
        (0x7200_0000, RareExit::PointerAuth),
        (0x3a00_0000, RareExit::IllegalState),
        (0xc200_0000, RareExit::Debug(DebugKind::Breakpoint)),
        (0xca00_0000, RareExit::Debug(DebugKind::SoftwareStep)),
        (0xd200_0000, RareExit::Debug(DebugKind::Watchpoint)),
        (0xe200_0000, RareExit::Debug(DebugKind::Bkpt32)),
        (0xf200_0000, RareExit::Debug(DebugKind::Brk)),
        (0x0e00_0000, RareExit::Aarch32Register),
        (0x1200_0000, RareExit::Aarch32Register),
        (0x1600_0000, RareExit::Aarch32Register),
        (0x1a00_0000, RareExit::Aarch32Register),
        (0x2200_0000, RareExit::Aarch32Register),
        (0x3200_0000, RareExit::Aarch32Register),
    ];
    for (esr, expected) in cases {
        assert_eq!(rare(esr), expected, "{esr:#x}");
    }
}

#[test]
fn classes_that_a_guest_cannot_cause_are_unknown() {
    // Unknown, SVC, ERET, PC alignment, aborts and debug from EL2 itself, SError.
    for ec in [0x00, 0x15, 0x1a, 0x22, 0x21, 0x25, 0x31, 0x33, 0x35, 0x2f, 0x3f] {
        assert_eq!(rare(u64::from(ec) << 26 | 0x123), RareExit::Unknown { ec, iss: 0x123 });
    }
}

#[test]
fn only_what_trapped_before_it_executed_advances() {
    for esr in [0x6230_0069, 0x93c0_8007, 0x07e0_0000] {
        assert_eq!(exit(esr).advances(), 4, "{esr:#x}");
    }
    for esr in [0x5a00_0000, 0x1e00_0000, 0x9200_0007] {
        assert_eq!(exit(esr).advances(), 0, "{esr:#x}");
    }
    assert_eq!(rare(0x9200_0147).advances(), 4);
    assert_eq!(rare(0x5e00_0000).advances(), 4);
    for esr in [0x9200_0007, 0x8200_0007, 0x9384_004f, 0x9200_0010, 0x6600_0000, 0x0200_0000] {
        assert_eq!(rare(esr).advances(), 0, "{esr:#x}");
    }
}

#[test]
fn an_fp_trap_is_told_apart() {
    assert_eq!(rare(0x1e00_0000), RareExit::FpAccess);
}

#[test]
fn loads_extend_as_the_instruction_says() {
    let load = |size, sign_extend, width64| MmioAccess { sign_extend, width64, ..mmio(size, Direction::Read, 0) };
    // LDRB, LDRSB Wt, LDRSB Xt, LDRSH Xt, LDRSW Xt, LDR Wt, LDR Xt.
    assert_eq!(load(AccessSize::Byte, false, false).load_value(0x1f80), 0x80);
    assert_eq!(load(AccessSize::Byte, true, false).load_value(0x80), 0xffff_ff80);
    assert_eq!(load(AccessSize::Byte, true, true).load_value(0x80), 0xffff_ffff_ffff_ff80);
    assert_eq!(load(AccessSize::Half, true, true).load_value(0x7fff), 0x7fff);
    assert_eq!(load(AccessSize::Word, true, true).load_value(0x8000_0000), 0xffff_ffff_8000_0000);
    assert_eq!(load(AccessSize::Word, false, false).load_value(u64::MAX), 0xffff_ffff);
    assert_eq!(load(AccessSize::Double, false, true).load_value(u64::MAX), u64::MAX);
    assert_eq!(load(AccessSize::Double, true, true).load_value(u64::MAX), u64::MAX);
}

#[test]
fn stores_put_out_the_low_bytes() {
    let value = 0x1122_3344_5566_7788;
    assert_eq!(mmio(AccessSize::Byte, Direction::Write, 0).store_value(value), 0x88);
    assert_eq!(mmio(AccessSize::Half, Direction::Write, 0).store_value(value), 0x7788);
    assert_eq!(mmio(AccessSize::Word, Direction::Write, 0).store_value(value), 0x5566_7788);
    assert_eq!(mmio(AccessSize::Double, Direction::Write, 0).store_value(value), value);
}

#[test]
fn stepping_over_a64_adds_four_and_clears_btype_and_step() {
    // NZCV, SS, DAIF, BTYPE 0b11, EL1h.
    assert_eq!(step_over(0xffff_8000_0000_0ffc, 0xf020_0fc5, 0x93c0_8007), (0xffff_8000_0000_1000, 0xf000_03c5));
    assert_eq!(step_over(0xffff_ffff_ffff_fffc, 5, 0), (0, 5));
}

#[test]
fn stepping_over_t32_takes_the_length_and_advances_the_it_block() {
    const USER_T32: u64 = 1 << 5 | 0x10;
    // IT[7:0] as SPSR_EL2[15:10] and [26:25].
    let spsr = |it: u64| USER_T32 | (it >> 2) << 10 | (it & 3) << 25;
    assert_eq!(step_over(0x8000, spsr(0), 0), (0x8002, spsr(0)));
    assert_eq!(step_over(0x8000, spsr(0), 1 << 25), (0x8004, spsr(0)));
    assert_eq!(step_over(0xffff_fffe, spsr(0), 0), (0, spsr(0)));
    // ITTT EQ: 0b0000_0010, then 0b0000_0100, then 0b0000_1000, then none.
    assert_eq!(step_over(0, spsr(0b0000_0010), 0).1, spsr(0b0000_0100));
    assert_eq!(step_over(0, spsr(0b0000_0100), 0).1, spsr(0b0000_1000));
    assert_eq!(step_over(0, spsr(0b0000_1000), 0).1, spsr(0));
    // ITE NE: 0b0001_0100... the condition stays, the mask moves.
    assert_eq!(step_over(0, spsr(0b0001_1100), 0).1, spsr(0b0001_1000));
    assert_eq!(step_over(0, spsr(0b1011_0110), 0).1, spsr(0b1010_1100));
}

#[test]
fn random_syndromes_never_panic_and_stay_in_range() {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for round in 0..400_000 {
        let class = if round % 2 == 0 { 0x24 << 26 } else { next() & 0x3f << 26 };
        let esr = next() & !(0x3f << 26) | class;
        let syndrome = Syndrome { esr, far: next(), hpfar: next() };
        let exit = decode(syndrome);
        assert!(matches!(exit.advances(), 0 | 4));
        // Whoever asks for the rare decoding of a frequent exit gets an answer, too.
        assert!(matches!(syndrome.decode_rare().advances(), 0 | 4));
        step_over(next(), next(), esr);
        if let Exit::Mmio(access) = exit {
            assert_eq!(class, 0x24 << 26);
            assert!(access.register < 32 && access.ipa.0 < 1 << 52);
            assert_eq!(access.ipa.0 & 0xfff, syndrome.far & 0xfff);
            assert!(access.store_value(next()) <= access.size.mask());
        }
    }
}
