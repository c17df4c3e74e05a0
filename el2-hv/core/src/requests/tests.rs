//! Life stories of requests, and a random walk against what must always hold.

use super::*;
use hv_abi::mailbox::Party;
use std::collections::BTreeMap;

const ANN: Asker = Asker { vm: VmHandle::new(1, 1), port: 0 };
const BOB: Asker = Asker { vm: VmHandle::new(2, 1), port: 3 };

fn frame(id: u32, flags: Flags) -> (Frame, Slot) {
    let frame = Frame::request(Party::Sos, flags, id, 4);
    (frame, Slot::new(frame, &id.to_le_bytes()))
}

fn offer(store: &mut Requests, asker: Asker, id: u32, flags: Flags) -> Offer {
    let (frame, slot) = frame(id, flags);
    store.offer(asker, &frame, &slot)
}

/// Everything that is delivered now: (port, id, first byte of the body).
fn deliver(store: &mut Requests) -> Vec<(VmHandle, u16, u32)> {
    let mut seen = Vec::new();
    store.deliver(|slot| {
        let frame = Frame::parse(&slot.header).unwrap();
        assert_eq!(u32::from_le_bytes(slot.body[..4].try_into().unwrap()), frame.id, "the body is untouched");
        seen.push((frame.vm, frame.port, frame.id));
        true
    });
    seen
}

fn reply(asker: Asker, id: u32) -> Frame {
    Frame { vm: asker.vm, port: asker.port, ..Frame::request(Party::Sos, Flags::default(), id, 0) }
}

#[test]
fn a_request_is_stamped_with_its_asker_delivered_in_order_and_routed_back() {
    let mut store = Requests::new();
    assert_eq!(offer(&mut store, ANN, 7, Flags::default()), Offer::Taken);
    assert_eq!(offer(&mut store, BOB, 7, Flags::default()), Offer::Taken);
    assert_eq!(store.route(&reply(ANN, 7)), None, "not delivered yet");
    assert_eq!(deliver(&mut store), [(ANN.vm, 0, 7), (BOB.vm, 3, 7)]);
    assert_eq!(store.route(&reply(BOB, 7)), Some(Route { asker: BOB, last: true }));
    store.replied(&Route { asker: BOB, last: true }, 7);
    assert_eq!(store.route(&reply(BOB, 7)), None, "answered once");
    assert_eq!(store.route(&reply(ANN, 8)), None, "never asked");
    assert_eq!(store.in_progress(), 1);
}

#[test]
fn a_full_ring_of_the_partition_keeps_the_rest_waiting() {
    let mut store = Requests::new();
    (0..5).for_each(|id| assert_eq!(offer(&mut store, ANN, id, Flags::default()), Offer::Taken));
    let mut room = 2;
    store.deliver(|_| {
        room -= 1;
        room >= 0
    });
    assert_eq!((store.waiting(), store.in_progress()), (3, 2));
    assert_eq!(deliver(&mut store).iter().map(|seen| seen.2).collect::<Vec<_>>(), [2, 3, 4]);
}

#[test]
fn after_a_crash_waiting_requests_live_on_repeatable_ones_come_once_more_and_others_fail() {
    let mut store = Requests::new();
    let _ = offer(&mut store, ANN, 1, Flags::REPEAT_SAFE);
    let _ = offer(&mut store, ANN, 2, Flags::default());
    let _ = deliver(&mut store);
    let _ = offer(&mut store, BOB, 3, Flags::default());
    store.life_over(LifeOver::Failed);
    assert_eq!(store.failed(ANN), Some((2, HvErrorKind::SosFailed)));
    store.error_sent(ANN, 2);
    assert_eq!(store.failed(ANN), None);
    assert_eq!(deliver(&mut store).iter().map(|seen| seen.2).collect::<Vec<_>>(), [3, 1]);
    store.life_over(LifeOver::Failed);
    assert_eq!(store.failed(ANN), Some((1, HvErrorKind::SosFailed)), "in progress at two crashes");
    assert_eq!(store.failed(BOB), Some((3, HvErrorKind::SosFailed)));
    assert!(deliver(&mut store).is_empty());
}

#[test]
fn a_message_of_several_frames_fails_as_a_whole_and_its_late_frames_are_swallowed() {
    let mut store = Requests::new();
    let _ = offer(&mut store, ANN, 9, Flags::MORE);
    let _ = deliver(&mut store);
    assert_eq!(store.in_progress(), 0, "a message whose end never comes keeps nobody busy");
    store.life_over(LifeOver::Failed);
    assert_eq!(store.failed(ANN), Some((9, HvErrorKind::SosFailed)));
    store.error_sent(ANN, 9);
    assert_eq!(offer(&mut store, ANN, 9, Flags::MORE), Offer::Taken);
    assert_eq!(offer(&mut store, ANN, 9, Flags::default()), Offer::Taken);
    assert!(deliver(&mut store).is_empty());
    assert_eq!(store.open(), 0);
    assert_eq!(offer(&mut store, ANN, 9, Flags::default()), Offer::Taken, "the id is free again");
}

#[test]
fn wrong_flags_and_ids_in_use_are_refused() {
    let mut store = Requests::new();
    assert_eq!(offer(&mut store, ANN, 1, Flags::MORE.union(Flags::REPEAT_SAFE)), Offer::Refused(HvErrorKind::BadFrame));
    assert_eq!(offer(&mut store, ANN, 1, Flags::ERROR), Offer::Refused(HvErrorKind::BadFrame));
    let _ = offer(&mut store, ANN, 1, Flags::default());
    assert_eq!(offer(&mut store, ANN, 1, Flags::default()), Offer::Refused(HvErrorKind::BadFrame));
}

#[test]
fn one_vm_cannot_use_up_the_store() {
    let mut store = Requests::new();
    let taken = (0..100).filter(|&id| offer(&mut store, ANN, id, Flags::default()) == Offer::Taken).count();
    assert_eq!(taken, OPEN_PER_VM);
    assert_eq!(offer(&mut store, BOB, 1, Flags::default()), Offer::Taken);
    store.forget_vm(ANN.vm);
    assert_eq!(deliver(&mut store), [(BOB.vm, 3, 1)]);
    assert_eq!(offer(&mut store, ANN, 1, Flags::default()), Offer::Taken);
}

#[test]
fn a_closed_port_takes_its_requests_with_it() {
    let mut store = Requests::new();
    let _ = offer(&mut store, BOB, 1, Flags::default());
    let other = Asker { port: 2, ..BOB };
    let _ = offer(&mut store, other, 1, Flags::default());
    store.forget_port(BOB);
    assert_eq!(deliver(&mut store), [(BOB.vm, 2, 1)]);
    assert_eq!(store.route(&reply(BOB, 1)), None);
}

#[test]
fn in_a_random_walk_every_request_ends_exactly_once() {
    for seed in 1..300u64 {
        let mut store = Requests::new();
        let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut ends: BTreeMap<(u64, u32), u32> = BTreeMap::new();
        let mut inside: Vec<(Asker, u32)> = Vec::new();
        for id in 0..400u32 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let asker = if random & 1 == 0 { ANN } else { BOB };
            let flags = if random & 2 == 0 { Flags::REPEAT_SAFE } else { Flags::default() };
            if offer(&mut store, asker, id, flags) == Offer::Taken {
                ends.insert((asker.vm.0, id), 0);
            }
            match random >> 8 & 3 {
                0 => inside.extend(deliver(&mut store).into_iter().map(|(vm, port, id)| (Asker { vm, port }, id))),
                1 => {
                    if let Some((asker, id)) = inside.pop()
                        && store.route(&reply(asker, id)).is_some()
                    {
                        store.replied(&Route { asker, last: true }, id);
                        *ends.get_mut(&(asker.vm.0, id)).unwrap() += 1;
                    }
                }
                2 if random >> 12 & 3 == 0 => {
                    store.life_over(LifeOver::Failed);
                    inside.clear();
                }
                _ => {}
            }
            for asker in [ANN, BOB] {
                while let Some((id, _)) = store.failed(asker) {
                    store.error_sent(asker, id);
                    *ends.get_mut(&(asker.vm.0, id)).unwrap() += 1;
                }
            }
        }
        let open = ends.values().filter(|&&count| count == 0).count();
        assert!(ends.values().all(|&count| count <= 1), "seed {seed}: ended twice");
        assert_eq!(open as u32, store.open(), "seed {seed}: the rest is still here");
    }
}

#[test]
fn an_answer_before_the_end_of_the_message_closes_it_and_swallows_the_rest() {
    let mut store = Requests::new();
    let _ = offer(&mut store, ANN, 9, Flags::MORE);
    let _ = deliver(&mut store);
    let route = store.route(&reply(ANN, 9)).unwrap();
    store.replied(&route, 9);
    assert_eq!(offer(&mut store, ANN, 9, Flags::default()), Offer::Taken);
    assert!(deliver(&mut store).is_empty());
    assert_eq!(offer(&mut store, ANN, 9, Flags::default()), Offer::Taken, "the id is free again");
    assert_eq!(deliver(&mut store).len(), 1);
}

#[test]
fn an_asker_without_room_keeps_nobody_busy_until_it_takes_the_reply() {
    let mut store = Requests::new();
    let _ = offer(&mut store, ANN, 1, Flags::default());
    let _ = deliver(&mut store);
    store.stalled(ANN, 1);
    assert_eq!(store.in_progress(), 0);
    store.replied(&Route { asker: ANN, last: false }, 1);
    assert_eq!(store.in_progress(), 1);
}

#[test]
fn a_reply_that_has_begun_is_not_begun_again_by_the_next_life() {
    let mut store = Requests::new();
    let _ = offer(&mut store, ANN, 1, Flags::REPEAT_SAFE);
    let _ = deliver(&mut store);
    store.replied(&Route { asker: ANN, last: false }, 1);
    store.life_over(LifeOver::Failed);
    assert_eq!(store.failed(ANN), Some((1, HvErrorKind::SosFailed)));
}

#[test]
fn what_a_life_that_agreed_to_end_was_handed_goes_to_the_next_without_blame() {
    let mut store = Requests::new();
    let _ = offer(&mut store, ANN, 1, Flags::REPEAT_SAFE);
    let _ = deliver(&mut store);
    store.life_over(LifeOver::Agreed);
    assert_eq!(deliver(&mut store).len(), 1);
    store.life_over(LifeOver::Failed);
    assert_eq!(deliver(&mut store).len(), 1, "its first crash");
}
