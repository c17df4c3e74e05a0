//! The driver against a model of IHI0070 that shares no code with it.

mod model;

use super::*;
use hv_core::addr::Pa;
use hv_core::smmu::Fault;
use model::{COHERENT, Defect, IDS, Model};

const NOT_COHERENT: [u32; 3] = [IDS[0] & !COHERENT, IDS[1], IDS[2]];

fn started(ids: [u32; 3]) -> (Model, Smmu<Model>) {
    let (model, memory) = Model::new(ids);
    let smmu = Smmu::start(model.clone(), memory).unwrap();
    (model, smmu)
}

fn entry(smmu: &Smmu<Model>, root: u64, vmid: u16) -> Ste {
    Ste::stage_2(Pa(root), Vmid(vmid), smmu.features())
}

#[test]
fn it_comes_up_with_every_stream_aborted_and_what_it_kept_forgotten() {
    for ids in [IDS, NOT_COHERENT] {
        let (model, smmu) = started(ids);
        let mut state = model.0.borrow_mut();
        // CMD_CFGI_ALL, CMD_TLBI_NSNH_ALL, CMD_SYNC.
        assert_eq!(state.done, [[0x04, 31], [0x30, 0], [0x46, 0]]);
        assert_eq!(state.register(Register::Cr0), 0b1101, "SMMUEN, EVENTQEN, CMDQEN");
        assert_eq!(state.register(Register::IrqCtrl), 0b101, "GERROR and event queue");
        assert_eq!(state.register(Register::Cr2), 0b100, "PTM");
        assert_eq!(state.register(Register::StrtabBaseCfg), 8, "linear, 256 streams");
        let cr1 = if ids == IDS { 0b11_01_01_11_01_01 } else { 0 };
        assert_eq!(state.register(Register::Cr1), cr1);
        assert_eq!(state.register(Register::Gerrorn), 0x4, "errors of the time before");
        for stream in 0..smmu.streams() {
            assert_eq!(state.in_force(stream), [1, 0, 0, 0, 0, 0, 0, 0]);
        }
    }
}

#[test]
fn an_smmu_with_fewer_streams_and_shorter_queues_gets_as_many() {
    // SIDSIZE 5, EVENTQS 2, CMDQS 2.
    let (model, mut smmu) = started([IDS[0], 5 | 2 << 16 | 2 << 21, IDS[2]]);
    assert_eq!(smmu.streams(), 32);
    assert_eq!(smmu.set(StreamId(32), &Ste::ABORT), Err(Failure::NoStream(StreamId(32))));
    let stage_2 = entry(&smmu, 0x4000_0000, 1);
    // Each index goes round several times.
    for stream in 0..32 {
        smmu.set(StreamId(stream), &stage_2).unwrap();
        assert_eq!(model.0.borrow_mut().in_force(stream), *stage_2.words());
    }
}

#[test]
fn an_entry_changes_by_the_steps_of_3_21_3_and_is_in_force_on_return() {
    for ids in [IDS, NOT_COHERENT] {
        let (model, mut smmu) = started(ids);
        let (one, other) = (entry(&smmu, 0x4000_0000, 1), entry(&smmu, 0x8000_0000, 2));
        for (stream, wanted) in [(8, one), (8, other), (0, one), (8, Ste::ABORT), (255, other), (255, other)] {
            model.0.borrow_mut().done.clear();
            // The model looks at the table whenever the driver has ordered its stores, and panics on a wrong step.
            smmu.set(StreamId(stream), &wanted).unwrap();
            let mut state = model.0.borrow_mut();
            let forget = [0x03 | u64::from(stream) << 32, 1];
            assert_eq!(state.done, [forget, [0x46, 0], forget, [0x46, 0]]);
            assert_eq!(state.in_force(stream), *wanted.words());
        }
        assert_eq!(model.0.borrow_mut().in_force(1), [1, 0, 0, 0, 0, 0, 0, 0], "others are as they were");
        assert_eq!(smmu.set(StreamId(256), &one), Err(Failure::NoStream(StreamId(256))));
        assert_eq!(smmu.set(StreamId(u32::MAX), &one), Err(Failure::NoStream(StreamId(u32::MAX))));
    }
}

#[test]
fn few_frames_are_forgotten_one_by_one_and_many_with_all_of_their_vm() {
    let (model, mut smmu) = started(IDS);
    let mut run = |count| {
        model.0.borrow_mut().done.clear();
        smmu.invalidate_frames(Vmid(7), Ipa(0x4000_0000), count).unwrap();
        model.0.borrow().done.clone()
    };
    assert_eq!(run(2), [[0x7_0000_002a, 0x4000_0001], [0x7_0000_002a, 0x4000_1001], [0x46, 0]]);
    assert_eq!(run(16).len(), 17);
    assert_eq!(run(17), [[0x7_0000_0028, 0], [0x46, 0]]);
    // The queue has 64 places: its indices wrap, and come to where they were.
    for _ in 0..100 {
        assert_eq!(run(16).len(), 17);
    }
}

#[test]
fn events_come_in_order_and_lost_ones_are_noticed_once() {
    for ids in [IDS, NOT_COHERENT] {
        let (model, mut smmu) = started(ids);
        let record = |number: u64| model.0.borrow_mut().record([number << 32 | 0x10, 1 << 35, number << 12, 0]);
        for round in 0..5 {
            assert_eq!(smmu.take_event(), None);
            // The queue has 128 places.
            (0..130).for_each(|number| record(round * 1000 + number));
            assert!(smmu.take_overflow() && !smmu.take_overflow());
            for number in 0..128 {
                let event = smmu.take_event().unwrap();
                assert_eq!(event.stream, StreamId((round * 1000 + number) as u32));
                assert_eq!(event.fault, Fault::Translation);
                assert_eq!(event.access.unwrap().address, (round * 1000 + number) << 12);
            }
            assert_eq!((smmu.take_event(), smmu.take_overflow()), (None, false));
        }
        record(1);
        assert!(smmu.take_event().is_some() && !smmu.take_overflow());
    }
}

#[test]
fn a_refused_command_is_skipped_and_the_next_ones_are_done() {
    let (model, mut smmu) = started(IDS);
    model.0.borrow_mut().defect = Defect::Refuses(0x28);
    assert_eq!(smmu.invalidate(Vmid(3)), Err(Failure::Refused(1)));
    assert_eq!(smmu.take_errors(), None, "it is acknowledged");
    let stage_2 = entry(&smmu, 0x4000_0000, 1);
    smmu.set(StreamId(8), &stage_2).unwrap();
    assert_eq!(model.0.borrow_mut().in_force(8), *stage_2.words());
}

#[test]
fn errors_are_taken_once() {
    let (model, mut smmu) = started(IDS);
    *model.0.borrow_mut().registers.get_mut(&Register::Gerror).unwrap() ^= 1 << 8;
    assert_eq!(smmu.take_errors().unwrap().to_string(), "it failed, and lets nothing through any more");
    assert_eq!(smmu.take_errors(), None);
}

#[test]
fn an_smmu_that_does_not_follow_is_an_error_and_no_hang() {
    let (model, memory) = Model::new(IDS);
    model.0.borrow_mut().defect = Defect::NoControl;
    assert_eq!(Smmu::start(model, memory).err(), Some(Failure::Unacknowledged(Register::Cr0)));
    let (model, memory) = Model::new([0, IDS[1], IDS[2]]);
    assert_eq!(Smmu::start(model, memory).err(), Some(Failure::Lacks(Lack::Stage2)));
    // A queue of four commands: it is full after two calls.
    let (model, mut smmu) = started([IDS[0], 5 | 2 << 16 | 2 << 21, IDS[2]]);
    model.0.borrow_mut().defect = Defect::NoCommands;
    for _ in 0..5 {
        assert_eq!(smmu.invalidate(Vmid(1)), Err(Failure::Stuck));
    }
}

#[test]
fn one_that_is_closed_is_off_and_aborts() {
    let (model, mut smmu) = started(IDS);
    smmu.close().unwrap();
    let state = model.0.borrow();
    assert_eq!((state.register(Register::Gbpa), state.register(Register::Cr0)), (1 << 20, 0));
}
