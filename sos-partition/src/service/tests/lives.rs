//! Ends of VMs and what follows: restarts, pauses, the end of the board.

use hv_abi::message::BoardPower;

use super::*;

#[test]
fn a_vm_that_ends_is_destroyed_and_how_it_ended_is_kept() {
    let mut life = Life1::new();
    for (reason, text) in [
        (EndReason::PoweredOff, "powered off after 1.234 s"),
        (EndReason::Crashed, "crashed after 1.234 s"),
        (EndReason::Watchdog, "watchdog expired after 1.234 s"),
    ] {
        // Its policy is that of the description: never.
        assert_eq!(life.ask(&start("raw")), Reply::Done);
        let vm = life.el2.end("raw", reason);
        life.event(EventKind::VmEnded, vm);
        assert!(life.el2.vm("raw").is_none());
        assert_eq!(life.show("raw").last_end.as_deref(), Some(text));
    }
}

#[test]
fn a_vm_that_has_ended_unseen_can_be_started_again() {
    let mut life = Life1::new();
    assert_eq!(life.ask(&start("raw")), Reply::Done);
    life.el2.end("raw", EndReason::Reset);
    assert_eq!(life.ask(&start("raw")), Reply::Done);
    assert_eq!(life.list()[1].state, VmPhase::Running);
    assert_eq!(life.show("raw").last_end.as_deref(), Some("reset after 1.234 s"));
}

/// A guest that has ended, and what the partition was told of it.
fn end(life: &mut Life1, name: &str, reason: EndReason) {
    let vm = life.el2.end(name, reason);
    life.event(EventKind::VmEnded, vm);
}

#[test]
fn a_guest_that_resets_itself_is_built_anew_whatever_its_policy() {
    let mut life = Life1::new();
    assert_eq!(life.ask(&start("raw")), Reply::Done);
    let first = life.el2.handle("raw");
    end(&mut life, "raw", EndReason::Reset);
    assert_ne!(life.el2.handle("raw"), first, "another life");
    let detail = life.show("raw");
    assert_eq!((detail.summary.state, detail.restarts), (VmPhase::Running, 1));
    assert_eq!(detail.last_end.as_deref(), Some("reset after 1.234 s"));
    assert_eq!(life.el2.0.borrow().alarm, None, "nothing is left to be done");
}

#[test]
fn a_guest_that_crashes_again_and_again_waits_longer_each_time_and_is_given_up_at_its_limit() {
    let mut life = Life1::new();
    assert_eq!(life.ask(&start("linux")), Reply::Done);
    life.now = 100 * SECOND;
    for wait in [0, 1, 2, 4, 8] {
        end(&mut life, "linux", EndReason::Crashed);
        if wait > 0 {
            let due = life.now + wait * SECOND;
            assert_eq!(life.show("linux").summary.state, VmPhase::Restarting);
            assert_eq!(life.el2.0.borrow().alarm, Some(due));
            // A little too early, then another life of the partition in time.
            life.now = due - 1;
            life.event(EventKind::Alarm, VmHandle::default());
            assert!(life.el2.vm("linux").is_none());
            life = Life1::over(life.el2.clone(), SYSTEM);
            life.now = due;
            life.event(EventKind::Alarm, VmHandle::default());
        }
        assert_eq!(life.el2.0.borrow().alarm, None);
        assert_eq!(life.list()[0].state, VmPhase::Running);
    }
    end(&mut life, "linux", EndReason::Watchdog);
    let detail = life.show("linux");
    assert_eq!((detail.summary.state, detail.restarts), (VmPhase::Defined, 5));
    // Somebody starts it: everything is forgiven.
    assert_eq!(life.ask(&start("linux")), Reply::Done);
    end(&mut life, "linux", EndReason::Crashed);
    assert_eq!(life.show("linux").restarts, 1);
}

#[test]
fn a_long_life_ends_the_row_of_short_ones() {
    let mut life = Life1::new();
    assert_eq!(life.ask(&start("linux")), Reply::Done);
    for _ in 0..9 {
        life.el2.0.borrow_mut().uptime_ns = 10_000_000_000;
        end(&mut life, "linux", EndReason::Crashed);
    }
    assert_eq!(life.show("linux").restarts, 9);
}

#[test]
fn a_restart_that_waits_is_called_off_by_a_stop_and_a_start_does_not_wait_for_it() {
    for by_stop in [true, false] {
        let mut life = Life1::new();
        assert_eq!(life.ask(&start("raw")), Reply::Done);
        end(&mut life, "raw", EndReason::Reset);
        end(&mut life, "raw", EndReason::Reset);
        assert_eq!(life.list()[1].state, VmPhase::Restarting);
        if by_stop {
            assert_eq!(life.ask(&stop("raw")), Reply::Done);
            assert_eq!(life.fails(&stop("raw")).message, "vm \"raw\" does not run");
        } else {
            assert_eq!(life.ask(&start("raw")), Reply::Done);
        }
        assert_eq!(life.el2.0.borrow().alarm, None, "nobody is woken for nothing");
        let handle = life.el2.vm("raw").map(|_| life.el2.handle("raw"));
        life.now = 100 * SECOND;
        life.event(EventKind::Alarm, VmHandle::default());
        assert_eq!(life.el2.vm("raw").map(|_| life.el2.handle("raw")), handle, "the alarm comes for nothing");
        assert_eq!(life.el2.0.borrow().alarm, None);
    }
}

#[test]
fn a_restart_for_which_there_is_no_memory_is_tried_again_later() {
    let mut life = Life1::new();
    assert_eq!(life.ask(&start("raw")), Reply::Done);
    end(&mut life, "raw", EndReason::Reset);
    let vm = life.el2.end("raw", EndReason::Reset);
    life.event(EventKind::VmEnded, vm);
    let calls = life.el2.0.borrow().calls.len();
    life.now = SECOND;
    let ways = life.el2.0.borrow().notes.clone();
    // Whichever call the new life fails at.
    for at in 0.. {
        let mut el2 = life.el2.0.borrow_mut();
        (el2.notes, el2.alarm) = (ways.clone(), Some(SECOND));
        let calls = el2.calls.len();
        el2.fail = Some((calls + at, Status::NoMemory));
        drop(el2);
        life.event(EventKind::Alarm, VmHandle::default());
        if life.el2.0.borrow().calls.len() <= calls + at {
            break;
        }
        life.el2.0.borrow_mut().fail = None;
        if life.el2.vm("raw").is_none() {
            life.now += 100 * SECOND;
            life.event(EventKind::Alarm, VmHandle::default());
        }
        assert_eq!(life.el2.vm("raw").map(|vm| vm.state), Some(hv_abi::record::VmState::Running), "call {at}");
        life.el2.0.borrow_mut().vms.clear();
        life.now = SECOND;
    }
    assert!(life.el2.0.borrow().calls.len() > calls + 100);
}

#[test]
fn wherever_a_life_fails_between_an_end_and_the_restart_the_next_one_restarts() {
    let mut whole = Life1::new();
    assert_eq!(whole.ask(&start("raw")), Reply::Done);
    let begin = whole.el2.0.borrow().calls.len();
    end(&mut whole, "raw", EndReason::Reset);
    let calls = whole.el2.0.borrow().calls.len() - begin;
    for cut in 0..calls {
        let mut life = Life1::new();
        assert_eq!(life.ask(&start("raw")), Reply::Done);
        let begin = life.el2.0.borrow().calls.len();
        let vm = life.el2.end("raw", EndReason::Reset);
        life.el2.0.borrow_mut().dies_at = Some(begin + cut);
        let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| life.event(EventKind::VmEnded, vm)));
        assert!(failed.is_err(), "call {cut}");
        life.el2.0.borrow_mut().dies_at = None;
        // EL2 destroys what is half built, and tells the next life of what has ended and of the alarm.
        let unseen = life.el2.begin_next_life();
        let mut next = Life1::over(life.el2.clone(), SYSTEM);
        for vm in unseen {
            next.event(EventKind::VmEnded, vm);
        }
        if next.el2.0.borrow().alarm.is_some() {
            next.event(EventKind::Alarm, VmHandle::default());
        }
        let detail = next.show("raw");
        assert_eq!((detail.summary.state, detail.restarts), (VmPhase::Running, 1), "call {cut}");
        assert_eq!(next.el2.0.borrow().alarm, None, "call {cut}");
    }
}

#[test]
fn a_guest_is_paused_and_resumed_and_ends_from_there_as_from_anywhere() {
    let mut life = Life1::new();
    let (pause, resume) = (Request::VmPause { name: "raw".into() }, Request::VmResume { name: "raw".into() });
    for request in [&pause, &resume] {
        assert_eq!(life.fails(request).message, "vm \"raw\" does not run");
    }
    assert_eq!(life.ask(&start("raw")), Reply::Done);
    assert_eq!(life.fails(&resume).message, "vm \"raw\" is not paused");
    life.el2.0.borrow_mut().agains = 3;
    assert_eq!(life.ask(&pause), Reply::Done);
    assert_eq!((life.list()[1].state, life.list()[1].uptime_ns), (VmPhase::Paused, Some(1_234_567_890)));
    assert_eq!(life.fails(&pause).message, "vm \"raw\" is paused");
    assert_eq!(life.fails(&start("raw")).message, "vm \"raw\" is paused");
    assert_eq!(life.ask(&resume), Reply::Done);
    assert_eq!(life.list()[1].state, VmPhase::Running);
    for ending in [stop("raw"), destroy("raw"), Request::VmReboot { name: "raw".into() }] {
        assert_eq!(life.ask(&pause), Reply::Done);
        assert_eq!(life.ask(&ending), Reply::Done, "{ending:?}");
        if life.el2.vm("raw").is_none() {
            assert_eq!(life.ask(&start("raw")), Reply::Done);
        }
        assert_eq!(life.list()[1].state, VmPhase::Running);
    }
}

#[test]
fn the_board_ends_after_its_guests_the_last_one_started_first() {
    for (power, kind) in [(BoardPower::Off, ConfigKind::ShutDown), (BoardPower::Reset, ConfigKind::Reset)] {
        let mut life = Life1::new();
        for (name, uptime) in [("linux", 300), ("raw", 200)] {
            assert_eq!(life.ask(&start(name)), Reply::Done);
            life.el2.0.borrow_mut().uptimes.push((name, uptime));
        }
        assert_eq!(life.ask(&Request::VmPause { name: "raw".into() }), Reply::Done);
        assert_eq!(life.ask(&Request::Board(power)), Reply::Done);
        let state = life.el2.0.borrow();
        assert_eq!(
            (state.configs.as_slice(), state.ended.as_slice()),
            (&[kind][..], &["raw", "linux"].map(String::from)[..])
        );
    }
    // A guest that cannot be stopped does not keep it.
    let mut life = Life1::new();
    assert_eq!(life.ask(&start("raw")), Reply::Done);
    life.el2.0.borrow_mut().fail_call = Some(("vm_stop", Status::Denied));
    assert_eq!(life.ask(&Request::Board(BoardPower::Off)), Reply::Done);
    assert_eq!(life.el2.0.borrow().configs, [ConfigKind::ShutDown]);
}

#[test]
fn how_a_guest_crashed_is_shown_as_long_as_el2_keeps_it() {
    use hv_abi::handle::Label;
    use hv_abi::record::{CrashRecord, NO_VCPU};
    use zerocopy::FromZeros;

    let mut life = Life1::new();
    assert_eq!(life.show("raw").crash, None);
    let mut record = CrashRecord::new_zeroed();
    record.handle = VmHandle::new(3, 7).0.into();
    record.reason = (EndReason::Crashed as u32).into();
    record.pc = 0x4008_0000.into();
    record.x[30] = 30.into();
    let keep = |record| life.el2.0.borrow_mut().crashes = vec![(Label::new("raw").unwrap(), record)];
    keep(record);
    let crash = life.show("raw").crash.unwrap();
    assert_eq!((crash.slot, crash.generation, crash.reason.as_str()), (3, 7, "crashed"));
    let vcpu = crash.vcpu.unwrap();
    assert_eq!((vcpu.vcpu, vcpu.pc, vcpu.x.len(), vcpu.x[30]), (0, 0x4008_0000, 31, 30));
    record.vcpu = NO_VCPU.into();
    life.el2.0.borrow_mut().crashes = vec![(Label::new("raw").unwrap(), record)];
    assert_eq!(life.show("raw").crash.unwrap().vcpu, None);
    assert_eq!(life.show("linux").crash, None);
}

#[test]
fn a_guest_is_rebooted_from_outside_only_where_it_runs() {
    let mut life = Life1::new();
    let reboot = |name: &str| Request::VmReboot { name: name.into() };
    assert_eq!(life.fails(&reboot("raw")).message, "vm \"raw\" does not run");
    assert_eq!(life.fails(&reboot("nobody")).code, FailureCode::NotFound);
    assert_eq!(life.ask(&start("raw")), Reply::Done);
    let first = life.el2.handle("raw");
    assert_eq!(life.ask(&reboot("raw")), Reply::Done);
    assert_ne!(life.el2.handle("raw"), first);
    let detail = life.show("raw");
    assert_eq!((detail.restarts, detail.last_end.as_deref()), (1, Some("stopped after 1.234 s")));
    assert_eq!(life.el2.0.borrow().alarm, None);
    // One that cannot be built again stays ended, and who asked is told.
    let calls = life.el2.0.borrow().calls.clone();
    let create = calls.iter().rposition(|call| *call == "vm_create").unwrap();
    let ask = calls.iter().rposition(|call| *call == "vm_stop").unwrap();
    life.el2.0.borrow_mut().fail_call = Some(("vm_create", Status::NoMemory));
    assert!(create > ask);
    assert_eq!(life.fails(&reboot("raw")).code, FailureCode::NoResources);
    assert_eq!(life.list()[1].state, VmPhase::Defined);
    assert_eq!(life.el2.0.borrow().alarm, None);
}
