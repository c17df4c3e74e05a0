//! Memory that VMs are asked for, and what follows where they do not give it up in time.

use hv_abi::message::{BalloonUse, DeviceChanges, DeviceSet, MemorySet};

use super::*;

const MIB: u64 = 1 << 20;

fn memory(name: &str, mib: u64, within_s: Option<u32>) -> Request {
    let change = DeviceChanges::Memory(MemorySet { bytes: mib * MIB, within_s });
    Request::VmDevice(DeviceSet { vm: name.into(), change })
}

/// The guest `linux`, of 32 MiB with 16 guaranteed, with this policy.
fn running(policy: &str) -> Life1 {
    let source = SYSTEM.replacen("watchdog;", &std::format!("watchdog; memory-missed = {policy:?};"), 1);
    let mut life = Life1::over(El2::new(), &source);
    life.now = 7 * SECOND;
    assert_eq!(life.ask(&start("linux")), Reply::Done);
    life
}

/// What the guest's driver says that it has.
fn has(life: &Life1, mib: u64) {
    for vm in life.el2.0.borrow_mut().vms.values_mut() {
        vm.actual = mib * MIB;
    }
}

fn target(life: &Life1) -> u64 {
    life.el2.vm("linux").expect("it lives").target / MIB
}

fn alarm(life: &mut Life1, seconds: u64) {
    life.now = seconds * SECOND;
    life.event(EventKind::Alarm, VmHandle(0));
}

fn balloon(life: &mut Life1) -> BalloonUse {
    life.show("linux").balloon.expect("it has one")
}

#[test]
fn a_target_is_set_at_once_and_the_alarm_to_its_time() {
    let mut life = running("kill");
    let before = balloon(&mut life);
    assert_eq!((before.target, before.actual, before.left_ms), (32 * MIB, 32 * MIB, None));
    assert_eq!(life.ask(&memory("linux", 20, Some(10))), Reply::Done);
    assert_eq!((target(&life), life.el2.0.borrow().alarm), (20, Some(17 * SECOND)));
    life.now += SECOND / 2;
    let shown = balloon(&mut life);
    assert_eq!((shown.target, shown.left_ms, shown.missed), (20 * MIB, Some(9500), false));
    // Nothing is left of the time when it is there; nothing follows then.
    has(&life, 20);
    assert_eq!(balloon(&mut life).left_ms, None);
    alarm(&mut life, 17);
    assert!(!balloon(&mut life).missed);
    assert_eq!((target(&life), life.el2.0.borrow().alarm), (20, None));
}

#[test]
fn without_a_time_the_target_stays_and_no_alarm_is_set() {
    let mut life = running("kill");
    assert_eq!(life.ask(&memory("linux", 16, None)), Reply::Done);
    assert_eq!((target(&life), life.el2.0.borrow().alarm), (16, None));
}

#[test]
fn who_misses_the_time_is_asked_no_more_where_the_policy_is_to_refuse() {
    let mut life = running("refuse");
    assert_eq!(life.ask(&memory("linux", 24, None)), Reply::Done);
    has(&life, 24);
    assert_eq!(life.ask(&memory("linux", 20, Some(5))), Reply::Done);
    // A second one before the first was met: what it goes back to is what was met last.
    assert_eq!(life.ask(&memory("linux", 18, Some(10))), Reply::Done);
    has(&life, 21);
    // Another life judges, and an alarm that comes too early does nothing.
    let mut next = Life1::over(life.el2.clone(), SYSTEM);
    alarm(&mut next, 16);
    assert_eq!((target(&next), next.el2.0.borrow().alarm), (18, Some(17 * SECOND)));
    alarm(&mut next, 17);
    assert_eq!((target(&next), next.el2.0.borrow().alarm), (24, None));
    assert!(balloon(&mut next).missed);
    // The next time it is in time.
    assert_eq!(next.ask(&memory("linux", 21, Some(1))), Reply::Done);
    assert!(!balloon(&mut next).missed);
}

#[test]
fn who_misses_the_time_is_paused_or_stopped_where_the_policy_says_so() {
    for (policy, state) in [("pause", VmPhase::Paused), ("kill", VmPhase::Defined)] {
        let mut life = running(policy);
        assert_eq!(life.ask(&memory("linux", 20, Some(10))), Reply::Done);
        alarm(&mut life, 17);
        assert_eq!(life.list()[0].state, state, "{policy}");
        let end = life.show("linux").last_end;
        assert_eq!(end.is_some_and(|end| end.starts_with("stopped")), policy == "kill");
        assert_eq!(life.el2.0.borrow().alarm, None);
    }
}

#[test]
fn a_target_is_of_the_life_that_it_was_set_for() {
    let mut life = running("kill");
    assert_eq!(life.ask(&memory("linux", 20, Some(10))), Reply::Done);
    let vm = life.el2.end("linux", EndReason::Reset);
    life.event(EventKind::VmEnded, vm);
    assert_eq!(target(&life), 32, "another life");
    alarm(&mut life, 17);
    assert_eq!(life.list()[0].state, VmPhase::Running);
    assert_eq!(life.el2.0.borrow().alarm, None);
}

#[test]
fn an_alarm_is_for_the_first_of_restarts_and_memory() {
    let mut life = running("refuse");
    assert_eq!(life.ask(&memory("linux", 20, Some(100))), Reply::Done);
    assert_eq!(life.el2.0.borrow().alarm, Some(107 * SECOND));
    assert_eq!(life.ask(&start("raw")), Reply::Done);
    let vm = life.el2.end("raw", EndReason::Reset);
    life.el2.0.borrow_mut().uptime_ns = 0;
    life.event(EventKind::VmEnded, vm);
    let vm = life.el2.end("raw", EndReason::Reset);
    life.event(EventKind::VmEnded, vm);
    assert_eq!(life.el2.0.borrow().alarm, Some(8 * SECOND), "the second restart in a row waits a second");
    alarm(&mut life, 8);
    assert_eq!(life.el2.0.borrow().alarm, Some(107 * SECOND));
}

#[test]
fn what_cannot_be_asked_for_is_refused_with_its_reason_and_changes_nothing() {
    let mut life = running("kill");
    assert_eq!(life.ask(&memory("linux", 24, Some(50))), Reply::Done);
    for (mib, reason) in [
        (15, "0xf00000 bytes of memory: less than its memory-guarantee"),
        (33, "0x2100000 bytes of memory: no multiple of 4 KiB, or more than it was built with"),
    ] {
        let failure = life.fails(&memory("linux", mib, Some(1)));
        assert_eq!((failure.code, failure.message), (FailureCode::Invalid, std::format!("vm \"linux\": {reason}")));
    }
    assert_eq!((target(&life), life.el2.0.borrow().alarm), (24, Some(57 * SECOND)));
    assert_eq!(balloon(&mut life).left_ms, Some(50_000));
    assert_eq!(life.ask(&start("raw")), Reply::Done);
    let failure = life.fails(&memory("raw", 2, None));
    let reason = "vm \"raw\" has no balloon: the system description gives it no memory-guarantee";
    assert_eq!((failure.code, &*failure.message), (FailureCode::Invalid, reason));
    assert_eq!(life.fails(&memory("tiny", 2, None)).code, FailureCode::WrongState);
}
