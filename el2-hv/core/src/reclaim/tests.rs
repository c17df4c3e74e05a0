//! A model of a frame's life: memory, caches and TLBs that forgive nothing, the image's own steps on them, and the loss
//! of each single step, which must be noticed.
//!
//! What the model lets hardware do is the worst that the architecture does (Arm ARM B2.7, D8.16, D8.17): a line that was
//! written is in memory for sure only when it was cleaned and a barrier has waited for that, and is written back at any
//! other time as well; a translation that a VM can use is in a TLB, and stays there until it is invalidated.

mod machine;

use super::*;
use crate::addr::Ipa;
use crate::stage2::{Access, ROOT_SIZE};
use machine::{Held, Machine, Random, Step};

const VM: VmId = VmId(3);
const RAM: u64 = 0x4000_0000;
const BLOCK: u64 = 2 << 20;
/// Steps of a reclaim at most: pieces, each in parts.
const STEPS_MAX: u32 = 2000;

/// A VM with memory of many shapes, tables of every level among it: its tables, and its root.
fn build(machine: &mut Machine, random: &mut Random) -> Result<(Stage2, PaRange), &'static str> {
    let root = machine.give_out(ROOT_SIZE, Owner::Tables);
    let mut stage2 = Stage2::new(root.start);
    for slot in 0..2 + random.below(4) {
        let (size, base) = match random.below(16) {
            0 => (BLOCK, RAM),
            _ => (FRAME_SIZE << random.below(3), RAM << random.below(9)),
        };
        let owner = if random.below(5) == 0 { Owner::Mailboxes } else { Owner::Vm(VM) };
        let block = machine.give_out(size, owner);
        stage2.map(Ipa(base + slot * BLOCK), block, Access::Ram, machine).map_err(|_| "a new table is not empty")?;
    }
    machine.check()?;
    Ok((stage2, root))
}

/// Takes everything back.
fn take_back(mut reclaim: Reclaim, machine: &mut Machine) -> Result<(), &'static str> {
    for _ in 0..STEPS_MAX {
        match reclaim.step(machine) {
            Progress::More => machine.check()?,
            Progress::Done => return machine.check_end(),
            Progress::Foreign(..) => return Err("a frame of another"),
        }
    }
    Err("it does not end")
}

/// Two VMs, one after the other, in the same frames: what is found against the machine that leaves a step out.
fn lives(seed: u64, without: Option<Step>) -> Result<(), &'static str> {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut machine = Machine::new(Random(random.next() | 1), without);
    for _ in 0..2 {
        let (stage2, root) = build(&mut machine, &mut random)?;
        machine.run(&stage2);
        let reclaim = Reclaim::begin(VM, Some(stage2), [root].into_iter().collect(), &mut machine);
        take_back(reclaim, &mut machine)?;
    }
    Ok(())
}

#[test]
fn a_frame_goes_from_owner_to_owner_with_nothing_of_the_one_before() {
    for seed in 0..50 {
        assert_eq!(lives(seed, None), Ok(()), "seed {seed}");
    }
}

#[test]
fn each_scrub_clean_barrier_and_invalidation_that_is_left_out_is_noticed() {
    for step in Step::ALL {
        for seed in 0..5 {
            assert!(lives(seed, Some(step)).is_err(), "without {step:?}, seed {seed}");
        }
    }
}

#[test]
fn the_service_partitions_frames_come_back_in_two_blocks_without_a_walk_of_its_tables() {
    for without in [None, Some(Step::Zero), Some(Step::Clean), Some(Step::ScrubBarrier), Some(Step::Forget)] {
        let mut machine = Machine::new(Random(7), without);
        let own = Owner::Vm(VmId(0));
        let (ram, held) = (machine.give_out(BLOCK, own), machine.give_out(16 * FRAME_SIZE, own));
        let mut stage2 = Stage2::new(held.start);
        let mut tables = Held { machine: &mut machine, next: held.start.0 + ROOT_SIZE };
        stage2.map(Ipa(RAM), ram, Access::Ram, &mut tables).unwrap();
        machine.run(&stage2);
        let reclaim = Reclaim::begin(VmId(0), None, [ram, held].into_iter().collect(), &mut machine);
        assert_eq!(take_back(reclaim, &mut machine).is_ok(), without.is_none(), "{without:?}");
    }
}

#[test]
fn shared_frames_are_left_to_the_others_and_taken_back_by_who_left_last() {
    const OTHER: Owner = Owner::Vm(VmId(9));
    for (after, back) in [(Owner::Shared, false), (OTHER, false), (Owner::Tables, false), (Owner::Vm(VM), true)] {
        let mut machine = Machine::new(Random(7), None);
        let (root, shared) = (machine.give_out(ROOT_SIZE, Owner::Tables), machine.give_out(FRAME_SIZE, Owner::Shared));
        let mut stage2 = Stage2::new(root.start);
        stage2.map(Ipa(RAM), shared, Access::SharedReadWrite, &mut machine).unwrap();
        machine.run(&stage2);
        let mut reclaim = Reclaim::begin(VM, Some(stage2), [root].into_iter().collect(), &mut machine);
        machine.change(shared.start, after);
        while reclaim.step(&mut machine) == Progress::More {}
        machine.check().unwrap();
        assert_eq!(machine.owner(shared.start), (!back).then_some(after), "{after:?}");
    }
}

#[test]
fn a_frame_of_another_that_the_tables_lead_to_is_left_alone() {
    let mut machine = Machine::new(Random(7), None);
    let (root, other) = (machine.give_out(ROOT_SIZE, Owner::Tables), Owner::Vm(VmId(9)));
    let frame = machine.give_out(FRAME_SIZE, other);
    let mut stage2 = Stage2::new(root.start);
    stage2.map(Ipa(RAM), frame, Access::Ram, &mut machine).unwrap();
    let mut reclaim = Reclaim::begin(VM, Some(stage2), ArrayVec::new(), &mut machine);
    assert_eq!(reclaim.step(&mut machine), Progress::Foreign(frame.start, Some(other)));
    assert_eq!(machine.owner(frame.start), Some(other));
}
