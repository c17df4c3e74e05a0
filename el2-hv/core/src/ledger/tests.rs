//! The ledger against the table: they agree under random changes, and each way in which the table could be wrong is
//! told.

use super::*;
use crate::addr::VmId;
use crate::frames::table_size;
use std::boxed::Box;
use std::vec;
use std::vec::Vec;

const FRAMES: u64 = 96;
const BASE: u64 = 0x4000_0000;

fn banks() -> [PaRange; 2] {
    [range(0, FRAMES), PaRange { start: Pa(0x1_0000_0000), size: 5 * FRAME_SIZE }]
}

fn range(first: u64, count: u64) -> PaRange {
    PaRange { start: Pa(BASE + first * FRAME_SIZE), size: count * FRAME_SIZE }
}

fn room() -> &'static mut [u8] {
    // Words, so that runs are aligned.
    let words: &'static mut [u64] = Box::leak(vec![0u64; 3 * 128].into_boxed_slice());
    words.as_mut_bytes()
}

fn next(random: &mut u64) -> u64 {
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    *random
}

const OWNERS: [Owner; 4] = [Owner::Free, Owner::Tables, Owner::Vm(VmId(0)), Owner::Vm(VmId(64))];

#[test]
fn ledger_and_table_agree_under_random_changes_and_refuse_the_same() {
    for seed in 1..20 {
        let mut bytes = vec![0; table_size(&banks()) as usize];
        let mut table = FrameTable::new(&mut bytes, &banks()).unwrap();
        let mut ledger = Ledger::new(room(), &banks()).unwrap();
        let mut random = 0x9e37_79b9_7f4a_7c15u64.rotate_left(seed);
        for _ in 0..3000 {
            let random = next(&mut random);
            let first = random % FRAMES;
            let range = range(first, 1 + (random >> 16) % (FRAMES - first).min(9));
            let (from, to) = (OWNERS[(random >> 32) as usize % 4], OWNERS[(random >> 40) as usize % 4]);
            if random >> 60 == 0 {
                table.reserve(&range, to);
                ledger.reserve(&range, to).unwrap();
            } else {
                assert_eq!(table.transfer(&range, from, to).is_ok(), ledger.transfer(&range, from, to).is_ok());
            }
            ledger.compare(&table, &OWNERS).unwrap();
        }
    }
}

#[test]
fn a_byte_of_the_table_that_is_wrong_is_found_wherever_it_is() {
    let size = table_size(&banks()) as usize;
    for wrong in 0..size {
        let mut bytes = vec![0; size];
        let mut ledger = Ledger::new(room(), &banks()).unwrap();
        let mut table = FrameTable::new(&mut bytes, &banks()).unwrap();
        table.transfer(&range(10, 20), Owner::Free, Owner::Vm(VmId(1))).unwrap();
        ledger.transfer(&range(10, 20), Owner::Free, Owner::Vm(VmId(1))).unwrap();
        ledger.compare(&table, &OWNERS).unwrap();
        // The same bytes, one of them damaged, under a table that counts as the first did.
        let mut damaged: Vec<u8> = vec![0; size];
        let mut other = FrameTable::new(&mut damaged, &banks()).unwrap();
        let frame = if wrong < FRAMES as usize {
            range(wrong as u64, 1)
        } else {
            PaRange { start: Pa(0x1_0000_0000 + (wrong as u64 - FRAMES) * FRAME_SIZE), size: FRAME_SIZE }
        };
        other.transfer(&range(10, 20), Owner::Free, Owner::Vm(VmId(1))).unwrap();
        let from = other.owner(frame.start).unwrap();
        other.transfer(&frame, from, Owner::Notes).unwrap();
        assert_eq!(
            ledger.compare(&other, &OWNERS),
            Err(Difference::Owner { frame: frame.start, table: Owner::Notes, ledger: from })
        );
    }
}

#[test]
fn a_change_that_the_table_lets_pass_but_the_giver_did_not_have_is_told() {
    let mut ledger = Ledger::new(room(), &banks()).unwrap();
    ledger.transfer(&range(0, 4), Owner::Free, Owner::Held).unwrap();
    let given = ledger.transfer(&range(2, 4), Owner::Held, Owner::Free);
    assert_eq!(given, Err(Difference::NotGiver { range: range(2, 4), from: Owner::Held, had: 2 }));
}

#[test]
fn bytes_that_are_counted_otherwise_are_told() {
    let mut ledger = Ledger::new(room(), &banks()).unwrap();
    let mut bytes = vec![0; table_size(&banks()[..1]) as usize];
    let table = FrameTable::new(&mut bytes, &banks()[..1]).unwrap();
    // The table has never heard of the second bank.
    let lost = ledger.compare(&table, &[]);
    assert_eq!(lost, Err(Difference::NotRam(banks()[1].start)));
    ledger.cut(0x10_0000, 0x10_0005).unwrap();
    ledger.compare(&table, &OWNERS).unwrap();
    ledger.cut(0x4_0000, 0x4_0001).unwrap();
    assert!(matches!(ledger.compare(&table, &OWNERS), Err(Difference::Bytes { owner: Owner::Free, .. })));
}

#[test]
fn a_full_ledger_says_so() {
    let words: &'static mut [u64] = Box::leak(vec![0u64; 3 * 4].into_boxed_slice());
    let mut ledger = Ledger::new(words.as_mut_bytes(), &banks()).unwrap();
    ledger.transfer(&range(8, 1), Owner::Free, Owner::Held).unwrap();
    assert_eq!(ledger.transfer(&range(16, 1), Owner::Free, Owner::Held), Err(Difference::Full));
}
