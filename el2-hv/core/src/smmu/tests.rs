//! Expected values: bit positions of IHI0070, and records that QEMU wrote.

use super::*;

/// IDR0, IDR1 and IDR5 of QEMU's SMMU.
const QEMU: [u32; 3] = [0x0d44_101b, 0x0273_0010, 0x74];

fn features() -> Features {
    Features::of(QEMU[0], QEMU[1], QEMU[2]).unwrap()
}

#[test]
fn a_stream_of_stage_2_has_its_fields_where_5_2_says() {
    let ste = Ste::stage_2(Pa(0x4_5678_2000), Vmid(0x1234), &features());
    let words = ste.words();
    // Positions are those of the whole entry, 64 bits a word.
    let field = |high: usize, low: usize| words[low / 64] >> (low % 64) & ((1 << (high - low + 1)) - 1);
    assert_eq!((field(0, 0), field(3, 1)), (1, 0b110), "V, Config: stage 2 only");
    assert_eq!((field(83, 83), field(109, 108)), (1, 1), "MEV, SHCFG: as incoming");
    assert_eq!((field(93, 92), field(95, 94), field(100, 100)), (0, 0, 0), "EATS, STRW, MTCFG");
    assert_eq!(field(143, 128), 0x1234, "S2VMID");
    assert_eq!((field(165, 160), field(167, 166)), (24, 1), "S2T0SZ: 40 bits, S2SL0: level 1");
    assert_eq!((field(169, 168), field(171, 170), field(173, 172)), (1, 1, 3), "S2IR0, S2OR0, S2SH0");
    assert_eq!((field(175, 174), field(178, 176)), (0, 4), "S2TG: 4 KiB, S2PS: 44 bits");
    assert_eq!((field(179, 179), field(180, 180), field(181, 181)), (1, 0, 0), "S2AA64, S2ENDI, S2AFFD");
    assert_eq!((field(184, 183), field(185, 185), field(186, 186)), (0, 0, 1), "S2HA and S2HD, S2S, S2R");
    assert_eq!(words[3], 0x4_5678_2000, "S2TTB");
    assert_eq!(words[4..], [0; 4]);
}

#[test]
fn a_stream_that_is_aborted_is_valid_and_nothing_else() {
    assert_eq!(*Ste::ABORT.words(), [1, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn the_fields_of_vtcr_are_those_that_vms_have() {
    // STE bits 178:160 are VTCR_EL2's 18:0 in the same order (§5.2, S2T0SZ to S2PS).
    for parange in 2..=5 {
        let features = Features::of(QEMU[0], QEMU[1], QEMU[2] & !7 | parange).unwrap();
        let ste = Ste::stage_2(Pa(0), Vmid(0), &features);
        assert_eq!(ste.words()[2] >> 32 & 0x7_ffff, crate::stage2::vtcr(parange.into(), false) & 0x7_ffff);
    }
}

#[test]
fn commands_have_the_numbers_and_fields_of_chapter_4() {
    assert_eq!(Command::CfgiSte(StreamId(0x18)).encode(), [0x18_0000_0003, 1]);
    assert_eq!(Command::CfgiSte(StreamId(u32::MAX)).encode(), [0xffff_ffff_0000_0003, 1]);
    assert_eq!(Command::CfgiAll.encode(), [4, 31]);
    assert_eq!(Command::TlbiNsnhAll.encode(), [0x30, 0]);
    assert_eq!(Command::TlbiS12Vmall(Vmid(0xffff)).encode(), [0xffff_0000_0028, 0]);
    assert_eq!(Command::TlbiS2Ipa(Vmid(7), Ipa(0x80_1234_5fff)).encode(), [0x7_0000_002a, 0x80_1234_5001]);
    assert_eq!(Command::Sync.encode(), [0x46, 0]);
}

#[test]
fn features_are_read_from_the_registers_of_qemu() {
    let expected = Features {
        stream_bits: 16,
        two_levels: true,
        coherent: true,
        output_size: 4,
        queue_bits: (19, 19),
        wide_vmids: true,
    };
    assert_eq!(features(), expected);
    assert_eq!(features().to_string(), "stage 2, 16 bits of stream, 44 of address, 16 of VMID, coherent");
}

#[test]
fn an_smmu_without_what_is_needed_is_refused_with_its_name() {
    let [idr0, idr1, idr5] = QEMU;
    // §6.3.1: S2P is bit 0, TTF 3:2, TTENDIAN 22:21; §6.3.2: the presets are bits 29 and 30; §6.3.6: GRAN4K is bit 4.
    let refused = [
        ([idr0 & !1, idr1, idr5], Lack::Stage2),
        ([idr0 & !0xc | 0x4, idr1, idr5], Lack::Aarch64),
        ([idr0 | 0x60_0000, idr1, idr5], Lack::LittleEndian),
        ([idr0, idr1, idr5 & !0x10], Lack::Granule),
        ([idr0, idr1, idr5 & !7 | 1], Lack::OutputSize),
        ([idr0, idr1 | 1 << 29, idr5], Lack::Placement),
        ([idr0, idr1 | 1 << 30, idr5], Lack::Placement),
    ];
    for ([idr0, idr1, idr5], lack) in refused {
        assert_eq!(Features::of(idr0, idr1, idr5), Err(lack));
    }
    let wide = Features::of(idr0 & !0x10 & !(1 << 18), idr1, idr5 & !7 | 6).unwrap();
    assert_eq!((wide.output_size, wide.coherent, wide.wide_vmids), (5, false, false), "52 bits are used as 48");
}

#[test]
fn events_are_read_as_measured_on_qemu() {
    // A write of stream 8 to an IPA without a mapping, and a read where only writes are allowed.
    let write = Event::decode(&[0x8_0000_0010, 0x280_0000_0000, 0x4000_1234, 0x4000_1000]);
    assert_eq!((write.stream, write.fault), (StreamId(8), Fault::Translation));
    assert_eq!(write.access, Some(Access { address: 0x4000_1234, read: false }));
    assert_eq!(write.to_string(), "stream 0x8 writes 0x40001234: nothing is mapped there");
    let read = Event::decode(&[0x18_0000_0013, 0x288_0000_0000, 0x5000, 0x5000]);
    assert_eq!(read.to_string(), "stream 0x18 reads 0x5000: not allowed there");
    let bad = Event::decode(&[0x9_0000_0004, u64::MAX, u64::MAX, u64::MAX]);
    assert_eq!((bad.fault, bad.access), (Fault::BadEntry, None));
    assert_eq!(bad.to_string(), "stream 0x9: its stream table entry is not valid");
    assert_eq!(Event::decode(&[0xfe, 0, 0, 0]).to_string(), "stream 0x0: event 0xfe");
}

#[test]
fn all_records_are_events_of_the_number_in_their_low_byte() {
    for number in 0..=u8::MAX {
        let event = Event::decode(&[0xffff_ffff_ffff_ff00 | u64::from(number), u64::MAX, u64::MAX, u64::MAX]);
        assert_eq!(event.stream, StreamId(u32::MAX));
        assert_eq!(event.access.is_some(), matches!(number, 0x0b | 0x10..=0x13), "{number:#x}");
        if let Fault::Other(other) = event.fault {
            assert_eq!(other, number);
        }
    }
}

#[test]
fn an_error_is_active_where_its_two_registers_differ() {
    assert_eq!(GlobalErrors::active(0x1, 0x1), None);
    assert_eq!(GlobalErrors::active(0xffff_fc02, 0), None, "reserved bits");
    let command = GlobalErrors::active(0x4, 0x5).unwrap();
    assert!(command.has(GlobalErrors::COMMAND));
    assert_eq!(command.to_string(), "a command was refused");
    assert_eq!(
        GlobalErrors::active(0x104, 0).unwrap().to_string(),
        "an event could not be written, it failed, and lets nothing through any more"
    );
    assert_eq!(GlobalErrors::active(0x8, 0).unwrap().to_string(), "errors 0x8");
}

#[test]
fn every_pair_of_queue_indices_counts_as_free_running_ones_do() {
    for bits in 0..=6 {
        let size = QueueSize::new(bits);
        let entries = 1_u32 << bits;
        // Free-running indices of some rounds; the register has other bits above.
        for consumer in 0..4 * entries {
            for filled in 0..=entries {
                let at = |free_running: u32| size.index(free_running | 0x8000_0000);
                let (producer, consumed) = (at(consumer + filled), at(consumer));
                assert_eq!(size.count(producer, consumed), filled);
                assert_eq!(size.is_full(producer, consumed), filled == entries);
                assert_eq!(size.entry(consumed), (consumer % entries) as usize);
                assert_eq!(size.after(consumed), at(consumer + 1));
                // §3.5.1: the same index and another round is full, all the same is empty.
                let same = producer.bits() % entries == consumed.bits() % entries;
                let round = producer.bits() / entries == consumed.bits() / entries;
                assert_eq!((same && round, same && !round), (filled == 0, filled == entries));
            }
        }
    }
    assert_eq!(QueueSize::new(31).entries(), 1 << 19);
    assert_eq!(QueueSize::new(19).after(QueueSize::new(19).index(0x000f_ffff)), QueueIndex::START);
}
