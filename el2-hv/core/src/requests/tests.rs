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

/// The first error that `asker` is to be sent.
fn failed(store: &Requests, asker: Asker) -> Option<(u32, HvErrorKind)> {
    store.failures().find(|(other, ..)| *other == asker).map(|(_, id, kind)| (id, kind))
}

/// Every frame that waits belongs to a request that is open, and to no other.
fn check(store: &Requests) {
    for (place, waiting, vm) in store.queue() {
        assert!(store.waiting >> place & 1 == 1);
        let frame = Frame::parse(&waiting.slot.header).unwrap();
        let open = store.open[waiting.open].as_ref().expect("a frame's request is open");
        assert_eq!((vm, frame.vm, frame.port, frame.id), (open.asker.vm, open.asker.vm, open.asker.port, open.id));
        assert!(matches!(open.progress, Progress::Waiting | Progress::Started), "{:?}", open.progress);
    }
    assert_eq!(store.queue().count(), store.frames.iter().flatten().count());
    for (index, open) in store.open.iter().enumerate() {
        assert_eq!(open.is_some(), store.taken >> index & 1 == 1);
    }
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
    assert_eq!((store.in_progress(), store.worked_for()), (1, Some(ANN.vm)));
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
    assert_eq!(failed(&store, ANN), Some((2, HvErrorKind::SosFailed)));
    store.error_sent(ANN, 2);
    assert_eq!(failed(&store, ANN), None);
    assert_eq!(deliver(&mut store).iter().map(|seen| seen.2).collect::<Vec<_>>(), [3, 1]);
    store.life_over(LifeOver::Failed);
    assert_eq!(failed(&store, ANN), Some((1, HvErrorKind::SosFailed)), "in progress at two crashes");
    assert_eq!(failed(&store, BOB), Some((3, HvErrorKind::SosFailed)));
    assert!(deliver(&mut store).is_empty());
}

#[test]
fn a_message_of_several_frames_fails_as_a_whole_and_its_late_frames_are_swallowed() {
    let mut store = Requests::new();
    let _ = offer(&mut store, ANN, 9, Flags::MORE);
    let _ = deliver(&mut store);
    assert_eq!(store.in_progress(), 0, "a message whose end never comes keeps nobody busy");
    store.life_over(LifeOver::Failed);
    assert_eq!(failed(&store, ANN), Some((9, HvErrorKind::SosFailed)));
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

/// What a guest and a partition may do, in any order; the partition answers early, too.
struct Walk {
    store: Requests,
    random: u64,
    /// Requests of which EL2 took the first frame: how often each ended.
    ends: BTreeMap<(u64, u32), u32>,
    /// Handed over, at least in part.
    inside: Vec<(Asker, u32)>,
    /// Messages whose last frame was not sent.
    unfinished: Vec<(Asker, u32)>,
}

impl Walk {
    fn below(&mut self, bound: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 16) % bound
    }

    fn ask(&mut self, id: u32) {
        let asker = [ANN, BOB][self.below(2) as usize];
        let flags = [Flags::REPEAT_SAFE, Flags::default(), Flags::MORE][self.below(3) as usize];
        if offer(&mut self.store, asker, id, flags) == Offer::Taken {
            self.ends.insert((asker.vm.0, id), 0);
            if flags == Flags::MORE {
                self.unfinished.push((asker, id));
            }
        }
    }

    fn go_on(&mut self) {
        if self.unfinished.is_empty() {
            return;
        }
        let at = self.below(self.unfinished.len() as u64) as usize;
        let (asker, id) = self.unfinished[at];
        let last = self.below(3) == 0;
        let flags = if last { Flags::default() } else { Flags::MORE };
        if offer(&mut self.store, asker, id, flags) == Offer::Taken && last {
            self.unfinished.swap_remove(at);
        }
    }

    fn deliver(&mut self) {
        let mut room = self.below(8);
        let inside = &mut self.inside;
        self.store.deliver(|slot| {
            if room == 0 {
                return false;
            }
            room -= 1;
            let frame = Frame::parse(&slot.header).unwrap();
            let known = (Asker { vm: frame.vm, port: frame.port }, frame.id);
            if !inside.contains(&known) {
                inside.push(known);
            }
            true
        });
    }

    fn reply(&mut self) {
        if let Some((asker, id)) = self.inside.pop()
            && self.store.route(&reply(asker, id)).is_some()
        {
            self.store.replied(&Route { asker, last: true }, id);
            *self.ends.get_mut(&(asker.vm.0, id)).unwrap() += 1;
        }
    }

    fn send_errors(&mut self) {
        for asker in [ANN, BOB] {
            while let Some((id, _)) = failed(&self.store, asker) {
                self.store.error_sent(asker, id);
                *self.ends.get_mut(&(asker.vm.0, id)).unwrap() += 1;
            }
        }
    }
}

#[test]
fn in_a_random_walk_every_request_ends_exactly_once() {
    for seed in 1..300u64 {
        let mut walk = Walk {
            store: Requests::new(),
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15),
            ends: BTreeMap::new(),
            inside: Vec::new(),
            unfinished: Vec::new(),
        };
        for id in 0..600u32 {
            match walk.below(12) {
                0..4 => walk.ask(id),
                4..7 => walk.go_on(),
                7..9 => walk.deliver(),
                9..11 => walk.reply(),
                _ if walk.below(4) == 0 => {
                    walk.store.life_over(LifeOver::Failed);
                    walk.inside.clear();
                }
                _ => {}
            }
            check(&walk.store);
            walk.send_errors();
            check(&walk.store);
        }
        let open = walk.ends.values().filter(|&&count| count == 0).count();
        assert!(walk.ends.values().all(|&count| count <= 1), "seed {seed}: ended twice");
        assert_eq!(open as u32, walk.store.open(), "seed {seed}: the rest is still here");
    }
}

#[test]
fn an_early_answer_drops_what_waits_and_the_next_in_its_place_is_not_touched() {
    let mut store = Requests::new();
    (0..5).for_each(|_| assert_eq!(offer(&mut store, ANN, 1, Flags::MORE), Offer::Taken));
    assert_eq!(offer(&mut store, ANN, 1, Flags::default()), Offer::Taken);
    let mut room = 3;
    store.deliver(|_| {
        room -= 1;
        room >= 0
    });
    let route = store.route(&reply(ANN, 1)).unwrap();
    store.replied(&route, 1);
    assert_eq!((store.waiting(), store.open()), (0, 0));
    assert_eq!(offer(&mut store, BOB, 2, Flags::default()), Offer::Taken);
    store.life_over(LifeOver::Failed);
    assert_eq!(failed(&store, BOB), None, "none of it was handed over");
    assert_eq!(deliver(&mut store), [(BOB.vm, 3, 2)]);
}

#[test]
fn a_first_request_of_each_vm_has_a_place_whatever_the_others_hold() {
    let mut store = Requests::new();
    let vm = |index: u8| Asker { vm: VmHandle::new(index, 1), port: 0 };
    // Messages without end: handed over, they hold their places for ever.
    for index in 1..40 {
        for id in 0..10 {
            let _ = offer(&mut store, vm(index), id, Flags::MORE);
            let _ = deliver(&mut store);
        }
    }
    for index in 40..MAX_VMS as u8 {
        assert_eq!(offer(&mut store, vm(index), 0, Flags::default()), Offer::Taken, "vm {index}");
        let _ = deliver(&mut store);
        assert_eq!(store.route(&reply(vm(index), 0)), Some(Route { asker: vm(index), last: true }));
    }
}

#[test]
fn what_a_life_leaves_to_the_next_takes_nobodys_place_away() {
    let mut store = Requests::new();
    let vm = |index: u8| Asker { vm: VmHandle::new(index, 1), port: 0 };
    // Many are in progress, and then as many frames wait as may.
    for index in 1..12 {
        for id in 1..6 {
            assert_eq!(offer(&mut store, vm(index), id, Flags::REPEAT_SAFE), Offer::Taken);
            let _ = deliver(&mut store);
        }
    }
    for index in 1..12 {
        while offer(&mut store, vm(index), 0, Flags::MORE) == Offer::Taken {}
    }
    store.life_over(LifeOver::Failed);
    check(&store);
    for index in 12..MAX_VMS as u8 {
        assert_eq!(offer(&mut store, vm(index), 0, Flags::default()), Offer::Taken, "vm {index}");
    }
    let delivered = deliver(&mut store);
    for index in 12..MAX_VMS as u8 {
        assert!(delivered.contains(&(vm(index).vm, 0, 0)), "vm {index}");
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
    assert_eq!(failed(&store, ANN), Some((1, HvErrorKind::SosFailed)));
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

#[test]
fn one_who_keeps_its_ring_full_holds_nobody_up() {
    let mut store = Requests::new();
    let vm = |index: u8| Asker { vm: VmHandle::new(index, 1), port: 0 };
    let (mut next, mut gaps) = (0, [0; 4]);
    // The partition has room for one frame at a time, and VM 1 asks again before each; the others now and then.
    for step in 0..1000u32 {
        while offer(&mut store, vm(1), next, Flags::default()) == Offer::Taken {
            next += 1;
        }
        if step % 10 == 0 {
            for index in 2..4 {
                assert_eq!(offer(&mut store, vm(index), step, Flags::default()), Offer::Taken);
                gaps[usize::from(index)] = step;
            }
        }
        let mut served = None;
        store.deliver(|slot| {
            let room = served.is_none();
            served = served.or(Frame::parse(&slot.header).ok());
            room
        });
        let frame = served.expect("somebody waits always");
        let index = frame.vm.index().unwrap();
        if index > 1 {
            assert!(step - gaps[usize::from(index)] <= 3, "VM {index} waited from {}", gaps[usize::from(index)]);
        }
        store.replied(&Route { asker: vm(index), last: true }, frame.id);
    }
}

#[test]
fn frames_of_one_message_keep_their_order_beside_others() {
    let mut store = Requests::new();
    for id in 0..3 {
        assert_eq!(offer(&mut store, ANN, 9, Flags::MORE), Offer::Taken);
        assert_eq!(offer(&mut store, BOB, id, Flags::default()), Offer::Taken);
    }
    assert_eq!(offer(&mut store, ANN, 9, Flags::default()), Offer::Taken);
    let mut seen = Vec::new();
    store.deliver(|slot| {
        let frame = Frame::parse(&slot.header).unwrap();
        seen.push((frame.vm, frame.id, frame.flags.contains(Flags::MORE)));
        true
    });
    let ann = |more| (ANN.vm, 9, more);
    let bob = |id| (BOB.vm, id, false);
    assert_eq!(seen, [ann(true), bob(0), ann(true), bob(1), ann(true), bob(2), ann(false)]);
}

#[test]
fn a_first_frame_of_each_vm_may_wait_whatever_waits_of_others() {
    let mut store = Requests::new();
    let vm = |index: u8| Asker { vm: VmHandle::new(index, 1), port: 0 };
    for index in 1..40 {
        while offer(&mut store, vm(index), 0, Flags::MORE) == Offer::Taken {}
    }
    for index in 40..MAX_VMS as u8 {
        assert_eq!(offer(&mut store, vm(index), 0, Flags::default()), Offer::Taken, "vm {index}");
    }
    let ready = |asker: VmHandle| asker.index().is_some_and(|index| index >= 50);
    assert_eq!(store.next_asker(ready), Some(vm(50).vm));
    assert_eq!(store.next_asker(|_| false), None);
    assert_eq!(store.askers().filter(|asker| ready(*asker)).count(), MAX_VMS - 50);
    check(&store);
}
