//! Watchers by what the contract says of them.

use std::vec::Vec;

use super::*;

const TARGET: VmHandle = VmHandle::new(3, 1);

fn asker(vm: u8, port: u16) -> Asker {
    Asker { vm: VmHandle::new(vm, 1), port }
}

fn target() -> Target {
    Target { vm: TARGET, label: Label::new("tiny") }
}

fn attached(askers: &[Asker]) -> Watchers {
    let mut watchers = Watchers::NONE;
    askers.iter().for_each(|asker| watchers.attach(*asker, target(), ConsoleRight::ReadAndType).unwrap());
    watchers
}

/// Numbers of the requests that are answered when the target says something.
fn served(watchers: &mut Watchers, has_room: bool) -> Vec<u32> {
    let mut ids = Vec::new();
    watchers.serve(
        |watcher| watcher.target.vm == TARGET,
        |_, wanted| {
            ids.push(wanted.id);
            has_room
        },
    );
    ids
}

#[test]
fn what_is_wanted_is_answered_once_and_offered_again_where_there_was_no_room() {
    let one = asker(1, 1);
    let mut watchers = attached(&[one]);
    assert_eq!(served(&mut watchers, true), [], "nothing was asked for");
    watchers.want(one, Wanted { id: 7, position: 0 }).unwrap();
    assert_eq!(served(&mut watchers, false), [7]);
    assert_eq!(served(&mut watchers, true), [7]);
    assert_eq!(served(&mut watchers, true), []);
}

#[test]
fn a_later_question_takes_the_place_of_one_without_an_answer() {
    let one = asker(1, 1);
    let mut watchers = attached(&[one]);
    watchers.want(one, Wanted { id: 1, position: 0 }).unwrap();
    watchers.want(one, Wanted { id: 2, position: 5 }).unwrap();
    assert_eq!(served(&mut watchers, true), [2]);
}

#[test]
fn several_watch_one_console_each_for_itself() {
    let askers = [asker(1, 1), asker(1, 2), asker(2, 0)];
    let mut watchers = attached(&askers);
    for (id, asker) in (0..).zip(askers) {
        watchers.want(asker, Wanted { id, position: 0 }).unwrap();
    }
    watchers.forget_port(askers[1]);
    assert_eq!(served(&mut watchers, true), [0, 2]);
}

#[test]
fn who_is_not_attached_or_only_reads_types_nothing() {
    let (one, two) = (asker(1, 1), asker(1, 2));
    let mut watchers = attached(&[one]);
    watchers.attach(two, target(), ConsoleRight::Read).unwrap();
    assert_eq!(watchers.type_in(asker(2, 1), |_| 1), Err(NotAttached));
    assert_eq!(watchers.type_in(two, |_| 1), Err(NotAttached));
    assert_eq!(watchers.want(asker(2, 1), Wanted { id: 0, position: 0 }), Err(NotAttached));
    assert_eq!(watchers.type_in(one, |_| 1), Ok(1));
}

#[test]
fn a_frame_that_is_looked_at_again_types_nothing_twice() {
    let one = asker(1, 1);
    let mut watchers = attached(&[one]);
    assert_eq!(watchers.type_in(one, |_| 4), Ok(4));
    assert_eq!(watchers.type_in(one, |_| panic!("taken already")), Ok(4));
    watchers.confirmed(one);
    assert_eq!(watchers.type_in(one, |_| 2), Ok(2));
}

#[test]
fn the_end_of_the_target_is_known_and_the_end_of_a_watcher_makes_room() {
    let mut watchers = Watchers::NONE;
    for vm in 0..WATCHERS_MAX as u8 {
        watchers.attach(asker(10 + vm, 1), target(), ConsoleRight::Read).unwrap();
    }
    let one_more = asker(9, 1);
    assert_eq!(watchers.attach(one_more, target(), ConsoleRight::Read), Err(NoRoom));
    assert_eq!(watchers.attach(asker(10, 1), target(), ConsoleRight::Read), Ok(()), "its own place");
    watchers.ended(VmHandle::new(10, 1), EndReason::Reset);
    assert_eq!(watchers.attach(one_more, target(), ConsoleRight::Read), Ok(()));
    watchers.ended(TARGET, EndReason::PoweredOff);
    let mut ends = Vec::new();
    watchers.want(one_more, Wanted { id: 0, position: 0 }).unwrap();
    watchers.serve(
        |_| true,
        |watcher, _| {
            ends.push(watcher.end);
            true
        },
    );
    assert_eq!(ends, [EndReason::PoweredOff]);
}
