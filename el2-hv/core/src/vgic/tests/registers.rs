use super::machine::Machine;
use super::*;
use crate::addr::Ipa;
use hv_abi::guest_map::GICR_BASE;

/// Register, width, value after reset, value written, value read then.
type Case = (&'static str, GicRegister, AccessSize, u64, u64, u64);

const WORD: AccessSize = AccessSize::Word;
const ALL: u64 = 0xffff_ffff;

fn sgi(offset: u32) -> GicRegister {
    gicr(1, SGI_BASE + offset)
}

/// IHI0069 §12.9 for GICD_CTLR.DS = 1 and ARE = 1.
fn distributor_cases() -> Vec<Case> {
    vec![
        ("CTLR: DS and ARE are RAO/WI, group enables RW", gicd(0), WORD, 0x50, ALL, 0x53),
        ("CTLR: a byte", gicd(0), AccessSize::Byte, 0, 3, 0),
        ("TYPER: ITLinesNumber 8, IDbits 9, A3V", gicd(4), WORD, 0x0148_0008, ALL, 0x0148_0008),
        ("TYPER: doubleword", gicd(0), AccessSize::Double, 0, 0, 0),
        ("IIDR", gicd(8), WORD, 0x4400_0000, ALL, 0x4400_0000),
        ("TYPER2: GICv4.1", gicd(0xc), WORD, 0, ALL, 0),
        ("STATUSR: optional", gicd(0x10), WORD, 0, ALL, 0),
        ("SETSPI_NSR", gicd(0x40), WORD, 0, 40, 0),
        ("CLRSPI_NSR", gicd(0x48), WORD, 0, 40, 0),
        ("SETSPI_SR", gicd(0x50), WORD, 0, 40, 0),
        ("CLRSPI_SR", gicd(0x58), WORD, 0, 40, 0),
        ("IGROUPR0: RES0 with ARE", gicd(0x80), WORD, 0, ALL, 0),
        ("IGROUPR1", gicd(0x84), WORD, 0, 0xa5a5_5a5a, 0xa5a5_5a5a),
        ("IGROUPR8: the last", gicd(0xa0), WORD, 0, ALL, ALL),
        ("IGROUPR9: beyond ITLinesNumber", gicd(0xa4), WORD, 0, ALL, 0),
        ("IGROUPR1: a byte", gicd(0x84), AccessSize::Byte, 0, 0xff, 0),
        ("IGROUPR1: a halfword", gicd(0x84), AccessSize::Half, 0, 0xff, 0),
        ("IGROUPR: a doubleword", gicd(0x88), AccessSize::Double, 0, u64::MAX, 0),
        ("ISENABLER0", gicd(0x100), WORD, 0, ALL, 0),
        ("ISENABLER1", gicd(0x104), WORD, 0, 0x8000_0001, 0x8000_0001),
        ("ICENABLER0", gicd(0x180), WORD, 0, ALL, 0),
        ("ICENABLER2", gicd(0x188), WORD, 0, ALL, 0),
        ("ISPENDR0", gicd(0x200), WORD, 0, ALL, 0),
        ("ISPENDR8", gicd(0x220), WORD, 0, 0x10, 0x10),
        ("ISPENDR9", gicd(0x224), WORD, 0, ALL, 0),
        ("ICPENDR1", gicd(0x284), WORD, 0, ALL, 0),
        ("ISACTIVER0", gicd(0x300), WORD, 0, ALL, 0),
        ("ISACTIVER1", gicd(0x304), WORD, 0, 0x8000_0000, 0x8000_0000),
        ("ICACTIVER1", gicd(0x384), WORD, 0, ALL, 0),
        ("IPRIORITYR0", gicd(0x400), WORD, 0, ALL, 0),
        ("IPRIORITYR8: five bits", gicd(0x420), WORD, 0, 0xffff_ffff, 0xf8f8_f8f8),
        ("IPRIORITYR9: order of bytes", gicd(0x424), WORD, 0, 0x0810_1820, 0x0810_1820),
        ("IPRIORITYR: a byte", gicd(0x427), AccessSize::Byte, 0, 0xa7, 0xa0),
        ("IPRIORITYR: a halfword", gicd(0x426), AccessSize::Half, 0, 0xffff, 0),
        ("IPRIORITYR71: the last", gicd(0x51c), WORD, 0, ALL, 0xf8f8_f8f8),
        ("IPRIORITYR72", gicd(0x520), WORD, 0, ALL, 0),
        ("ITARGETSR8: RES0 with ARE", gicd(0x820), WORD, 0, ALL, 0),
        ("ITARGETSR8: a byte", gicd(0x820), AccessSize::Byte, 0, 1, 0),
        ("ICFGR0: RES0 with ARE", gicd(0xc00), WORD, 0, ALL, 0),
        ("ICFGR1", gicd(0xc04), WORD, 0, ALL, 0),
        ("ICFGR2: the lower bit of each is RES0", gicd(0xc08), WORD, 0, ALL, 0xaaaa_aaaa),
        ("ICFGR3", gicd(0xc0c), WORD, 0, 0x8000_0005, 0x8000_0000),
        ("ICFGR17: the last", gicd(0xc44), WORD, 0, 0x2000_0002, 0x2000_0002),
        ("ICFGR18", gicd(0xc48), WORD, 0, ALL, 0),
        ("IGRPMODR1: RES0 with DS", gicd(0xd04), WORD, 0, ALL, 0),
        ("NSACR2: RES0 with DS", gicd(0xe08), WORD, 0, ALL, 0),
        ("SGIR: RES0 with ARE", gicd(0xf00), WORD, 0, 0x0101_0000, 0),
        ("CPENDSGIR0", gicd(0xf10), WORD, 0, ALL, 0),
        ("SPENDSGIR0: a byte", gicd(0xf20), AccessSize::Byte, 0, 1, 0),
        ("reserved", gicd(0x1000), WORD, 0, ALL, 0),
        ("IROUTER0: reserved", gicd(0x6000), AccessSize::Double, 0, u64::MAX, 0),
        ("IROUTER32", gicd(0x6100), AccessSize::Double, 0, u64::MAX, 0xff_80ff_ffff),
        ("IROUTER33: lower half", gicd(0x6108), WORD, 0, ALL, 0x80ff_ffff),
        ("IROUTER34: upper half", gicd(0x6114), WORD, 0, ALL, 0xff),
        ("IROUTER35: a halfword", gicd(0x6118), AccessSize::Half, 0, 1, 0),
        ("IROUTER: unaligned", gicd(0x6104), AccessSize::Double, 0, u64::MAX, 0),
        ("IROUTER287: the last", gicd(0x68f8), AccessSize::Double, 0, 1, 1),
        ("IROUTER288", gicd(0x6900), AccessSize::Double, 0, u64::MAX, 0),
        ("PIDR2: GICv3", gicd(0xffe8), WORD, 0x3b, ALL, 0x3b),
        ("CIDR1: class 0xf", gicd(0xfff4), WORD, 0xf0, ALL, 0xf0),
    ]
}

/// IHI0069 §12.11, of vCPU 1 of two.
fn redistributor_cases() -> Vec<Case> {
    vec![
        ("CTLR: no LPIs", gicr(1, 0), WORD, 0, ALL, 0),
        ("IIDR", gicr(1, 4), WORD, 0x4400_0000, ALL, 0x4400_0000),
        ("TYPER: 0.0.0.1, number 1, Last", gicr(1, 8), AccessSize::Double, 0x1_0000_0110, u64::MAX, 0x1_0000_0110),
        ("TYPER: lower half", gicr(1, 8), WORD, 0x110, ALL, 0x110),
        ("TYPER: upper half", gicr(1, 12), WORD, 1, ALL, 1),
        ("TYPER: 0.0.0.0, not the last", gicr(0, 8), AccessSize::Double, 0, 0, 0),
        ("STATUSR", gicr(1, 0x10), WORD, 0, ALL, 0),
        ("WAKER: asleep until woken", gicr(1, 0x14), WORD, 6, 0, 0),
        ("WAKER: only ProcessorSleep is RW", gicr(1, 0x14), WORD, 6, ALL, 6),
        ("WAKER: ChildrenAsleep is RO", gicr(1, 0x14), WORD, 6, 4, 0),
        ("PROPBASER", gicr(1, 0x70), AccessSize::Double, 0, u64::MAX, 0),
        ("PENDBASER", gicr(1, 0x78), AccessSize::Double, 0, u64::MAX, 0),
        ("INVLPIR", gicr(1, 0xa0), AccessSize::Double, 0, u64::MAX, 0),
        ("SYNCR", gicr(1, 0xc0), WORD, 0, ALL, 0),
        ("PIDR2", gicr(1, 0xffe8), WORD, 0x3b, ALL, 0x3b),
        ("a vCPU that is not", gicr(2, 8), AccessSize::Double, 0, u64::MAX, 0),
        ("IGROUPR0", sgi(0x80), WORD, 0, 0x0ff0_1234, 0x0ff0_1234),
        ("IGROUPR1: extended PPIs", sgi(0x84), WORD, 0, ALL, 0),
        ("ISENABLER0", sgi(0x100), WORD, 0, 0x0800_ffff, 0x0800_ffff),
        ("ICENABLER0", sgi(0x180), WORD, 0, ALL, 0),
        ("ISPENDR0", sgi(0x200), WORD, 0, 0x4000_8001, 0x4000_8001),
        ("ICPENDR0", sgi(0x280), WORD, 0, ALL, 0),
        ("ISACTIVER0", sgi(0x300), WORD, 0, 0x0001_0002, 0x0001_0002),
        ("ICACTIVER0", sgi(0x380), WORD, 0, ALL, 0),
        ("IPRIORITYR0", sgi(0x400), WORD, 0, ALL, 0xf8f8_f8f8),
        ("IPRIORITYR7: a byte", sgi(0x41f), AccessSize::Byte, 0, 0x5f, 0x58),
        ("IPRIORITYR8: beyond", sgi(0x420), WORD, 0, ALL, 0),
        ("ICFGR0: SGIs are edge-triggered", sgi(0xc00), WORD, 0xaaaa_aaaa, 0, 0xaaaa_aaaa),
        ("ICFGR1: PPIs are level-sensitive", sgi(0xc04), WORD, 0, ALL, 0),
        ("ICFGR2: beyond", sgi(0xc08), WORD, 0, ALL, 0),
        ("IGRPMODR0: RES0 with DS", sgi(0xd00), WORD, 0, ALL, 0),
        ("NSACR: RES0 with DS", sgi(0xe00), WORD, 0, ALL, 0),
        ("SGI_base has no identification", sgi(0xffe8), WORD, 0, ALL, 0),
    ]
}

#[test]
fn every_register_resets_reads_and_writes_as_specified() {
    for (name, register, size, reset, written, read) in distributor_cases().into_iter().chain(redistributor_cases()) {
        let mut machine = Machine::new(2, 4);
        assert_eq!(machine.gic.read(register, size), reset, "{name}: after reset");
        let kicks = machine.gic.write(register, size, written);
        machine.kick(kicks);
        machine.settle();
        assert_eq!(machine.gic.read(register, size), read, "{name}: after a write of {written:#x}");
    }
}

#[test]
fn set_and_clear_registers_show_and_change_the_same_bits() {
    for (set, clear) in [(ISENABLER, ICENABLER), (ISPENDR, ICPENDR), (ISACTIVER, ICACTIVER)] {
        for register in [|offset| gicd(offset + 4), |offset| gicr(0, SGI_BASE + offset)] {
            let mut machine = Machine::new(1, 4);
            machine.write(register(set), 0xf0f0_f0f0);
            machine.write(register(set), 0);
            machine.write(register(clear), 0x00f0_00f0);
            machine.write(register(clear), 0);
            assert_eq!(machine.read(register(set)), 0xf000_f000);
            assert_eq!(machine.read(register(clear)), 0xf000_f000);
        }
    }
}

#[test]
fn the_two_halves_of_a_route_are_written_one_by_one() {
    let mut gic = Vgic::new();
    gic.reset(2);
    assert!(gic.write(gicd(0x6100), WORD, 0x8001_0203).is_empty());
    assert!(gic.write(gicd(0x6104), WORD, 0x04).is_empty());
    assert_eq!(gic.read(gicd(0x6100), AccessSize::Double), 0x04_8001_0203);
    assert!(gic.write(gicd(0x6100), WORD, 1).is_empty());
    assert_eq!(gic.read(gicd(0x6100), AccessSize::Double), 0x04_0000_0001);
}

#[test]
fn redistributors_are_each_vcpus_own() {
    let mut machine = Machine::new(4, 4);
    for vcpu in 0..4 {
        machine.write(gicr(vcpu, SGI_BASE + ISENABLER), 1 << vcpu);
    }
    for vcpu in 0..4 {
        assert_eq!(machine.read(gicr(vcpu, SGI_BASE + ISENABLER)), 1 << vcpu);
        let expected = u64::from(vcpu) << 32 | u64::from(vcpu) << 8 | if vcpu == 3 { 0x10 } else { 0 };
        assert_eq!(machine.gic.read(gicr(vcpu, 8), AccessSize::Double), expected);
    }
}

#[test]
fn registers_that_never_change_are_read_without_the_vm() {
    assert_eq!(Vgic::constant(gicd(4), WORD), Some(0x0148_0008));
    assert_eq!(Vgic::constant(gicr(0, 4), WORD), Some(0x4400_0000));
    assert_eq!(Vgic::constant(gicd(0), WORD), None);
    assert_eq!(Vgic::constant(gicd(4), AccessSize::Byte), None);
    assert_eq!(Vgic::constant(gicr(0, 8), WORD), None);
}

#[test]
fn only_pending_and_active_registers_need_a_fold_before_a_read() {
    for offset in 0..0x1000 {
        let expected = (0x200..0x400).contains(&offset);
        assert_eq!(Vgic::read_needs_fold(gicd(offset)), expected);
        assert_eq!(Vgic::read_needs_fold(gicr(0, SGI_BASE + offset)), expected);
        assert!(!Vgic::read_needs_fold(gicr(0, offset)));
    }
}

#[test]
fn addresses_find_their_frames() {
    assert_eq!(GicRegister::at(Ipa(0x0800_0000), 2), Some(gicd(0)));
    assert_eq!(GicRegister::at(Ipa(0x0800_ffff), 2), Some(gicd(0xffff)));
    assert_eq!(GicRegister::at(Ipa(0x0801_0000), 2), None);
    assert_eq!(GicRegister::at(Ipa(0x07ff_ffff), 2), None);
    assert_eq!(GicRegister::at(Ipa(GICR_BASE), 2), Some(gicr(0, 0)));
    assert_eq!(GicRegister::at(Ipa(GICR_BASE + 0x3_0104), 2), Some(gicr(1, 0x1_0104)));
    assert_eq!(GicRegister::at(Ipa(GICR_BASE + 0x4_0000), 2), None);
    assert_eq!(GicRegister::at(Ipa(GICR_BASE + 0x10_0000), 200), None);
    assert_eq!(GicRegister::at(Ipa(u64::MAX), 8), None);
}

#[test]
fn reset_brings_every_register_back() {
    let mut gic = Vgic::new();
    gic.reset(2);
    for (_, register, size, _, written, _) in distributor_cases().into_iter().chain(redistributor_cases()) {
        let _ = gic.write(register, size, written);
    }
    gic.reset(2);
    for (name, register, size, reset, ..) in distributor_cases().into_iter().chain(redistributor_cases()) {
        assert_eq!(gic.read(register, size), reset, "{name}");
    }
}

#[test]
fn no_offset_and_no_width_does_harm() {
    for value in [0, u64::MAX, 0x5555_5555_5555_5555, 0x0123_4567_89ab_cdef] {
        let mut machine = Machine::new(2, 4);
        let frames = (0..0x1_0000).map(gicd).chain((0..0x2_0000).flat_map(|offset| [gicr(0, offset), gicr(1, offset)]));
        for register in frames {
            for size in AccessSize::ALL {
                let kicks = machine.gic.write(register, size, value);
                machine.kick(kicks);
                assert_eq!(machine.gic.read(register, size) & !size.mask(), 0);
                let residents = machine.gic.residents(register, size);
                machine.kick(residents);
            }
            machine.settle();
        }
    }
}

#[test]
fn a_list_register_alone_is_refused() {
    for count in [0, 1, 17, 255] {
        assert_eq!(ListRegisters::new(count), Err(Error::ListRegisterCount(count)));
    }
    for count in 2..=16 {
        assert!(ListRegisters::new(count).is_ok());
    }
}
