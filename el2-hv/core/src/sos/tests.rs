//! Every pair of state and event, and lives from beginning to end.

use super::*;

const MS: u64 = 1_000_000;
const TIMES: SosTimes = SosTimes { idle: 100 * MS, boot: 50 * MS, busy: 1000 * MS };

/// A machine that was led into `state` by the shortest way.
fn machine(state: State) -> SosLife {
    let mut life = SosLife::new(TIMES);
    let way: &[Event] = match state {
        State::Off => &[],
        State::Loading => &[Event::Wake],
        State::Booting => &[Event::Wake, Event::Loaded],
        State::Ready => &[Event::Wake, Event::Loaded, Event::Ready],
        State::Draining => &[Event::Wake, Event::Loaded, Event::Ready, Event::Deadline { open: 0 }],
        State::Faulted => &[Event::Wake, Event::LoadFailed],
    };
    for &event in way {
        let _ = life.on(event, 200 * MS * u64::from(matches!(event, Event::Deadline { .. })));
    }
    assert_eq!(life.state(), state);
    life
}

/// What each of [`EVENTS`] does in a state; `None` is a refusal.
type Row = [Option<(State, Action)>; 11];

const EVENTS: [Event; 11] = [
    Event::Wake,
    Event::Loaded,
    Event::LoadFailed,
    Event::Ready,
    Event::Progress,
    Event::Deadline { open: 0 },
    Event::DrainAgreed,
    Event::DrainBusy,
    Event::Crash,
    Event::Scrubbed { waiting: 0 },
    Event::Scrubbed { waiting: 1 },
];

#[test]
fn each_pair_of_state_and_event_does_what_the_picture_says() {
    use Action as A;
    use State as S;
    // Columns as EVENTS; None is a refusal.
    #[rustfmt::skip]
    let table: [(State, Row); 6] = [
        (S::Off, [Some((S::Loading, A::Load)), None, None, None, None, Some((S::Off, A::Nothing)), None, None, None, None, None]),
        (S::Loading, [Some((S::Loading, A::Nothing)), Some((S::Booting, A::Nothing)), Some((S::Faulted, A::TearDown(LifeEnd::Crashed))), None, None, None, None, None, None, None, None]),
        (S::Booting, [Some((S::Booting, A::Nothing)), None, None, Some((S::Ready, A::Deliver)), None, Some((S::Faulted, A::TearDown(LifeEnd::Hung))), None, None, Some((S::Faulted, A::TearDown(LifeEnd::Crashed))), None, None]),
        (S::Ready, [Some((S::Ready, A::Nothing)), None, None, None, Some((S::Ready, A::Nothing)), Some((S::Draining, A::AskDrain)), None, None, Some((S::Faulted, A::TearDown(LifeEnd::Crashed))), None, None]),
        (S::Draining, [Some((S::Draining, A::Nothing)), None, None, None, Some((S::Draining, A::Nothing)), Some((S::Faulted, A::TearDown(LifeEnd::Hung))), Some((S::Draining, A::TearDown(LifeEnd::Drained))), Some((S::Ready, A::Deliver)), Some((S::Faulted, A::TearDown(LifeEnd::Crashed))), None, None]),
        (S::Faulted, [Some((S::Faulted, A::Nothing)), None, None, None, None, None, None, None, None, Some((S::Off, A::Nothing)), Some((S::Loading, A::Load))]),
    ];
    for (state, row) in table {
        for (event, expected) in EVENTS.into_iter().zip(row) {
            let mut life = machine(state);
            let answer = life.on(event, 500 * MS).ok().map(|action| (life.state(), action));
            assert_eq!(answer, expected, "{state:?} + {event:?}");
        }
    }
}

#[test]
fn after_it_has_agreed_to_end_only_the_scrub_counts() {
    for event in EVENTS {
        let mut life = machine(State::Draining);
        let _ = life.on(Event::DrainAgreed, 0);
        let answer = life.on(event, 0);
        match event {
            Event::Scrubbed { waiting: 0 } => assert_eq!(life.state(), State::Off),
            Event::Scrubbed { .. } => assert_eq!(answer, Ok(Action::Load), "work came meanwhile"),
            Event::Wake | Event::Progress => assert_eq!(answer, Ok(Action::Nothing)),
            _ => assert!(answer.is_err(), "{event:?}"),
        }
    }
}

#[test]
fn work_restarts_the_idle_time_and_a_request_in_progress_forbids_the_drain_until_it_hangs() {
    let mut life = machine(State::Ready);
    let _ = life.on(Event::Progress, 90 * MS);
    assert_eq!(life.on(Event::Deadline { open: 0 }, 100 * MS), Ok(Action::Nothing));
    assert_eq!(life.deadline(), Some(190 * MS));
    for look in 2..11 {
        assert_eq!(life.on(Event::Deadline { open: 1 }, look * 100 * MS - 10 * MS), Ok(Action::Nothing));
        assert_eq!(life.deadline(), Some(look * 100 * MS + 90 * MS));
    }
    // Busy time counts from the last progress.
    assert_eq!(life.on(Event::Deadline { open: 1 }, 1090 * MS), Ok(Action::TearDown(LifeEnd::Hung)));
}

#[test]
fn after_a_long_request_the_idle_time_counts_from_its_answer() {
    let mut life = machine(State::Ready);
    assert_eq!(life.on(Event::Deadline { open: 1 }, 100 * MS), Ok(Action::Nothing));
    let _ = life.on(Event::Progress, 150 * MS);
    assert_eq!(life.deadline(), Some(200 * MS));
    assert_eq!(life.on(Event::Deadline { open: 0 }, 200 * MS), Ok(Action::Nothing));
    assert_eq!(life.deadline(), Some(250 * MS));
    assert_eq!(life.on(Event::Deadline { open: 0 }, 250 * MS), Ok(Action::AskDrain));
}

#[test]
fn one_that_works_on_when_asked_to_drain_has_time_until_it_stops_working() {
    let mut life = machine(State::Draining);
    let asked = life.deadline().unwrap();
    let _ = life.on(Event::Progress, asked - MS);
    assert_eq!(life.on(Event::Deadline { open: 0 }, asked), Ok(Action::Nothing));
    let last = asked - MS + TIMES.boot;
    assert_eq!((life.state(), life.deadline()), (State::Draining, Some(last)));
    assert_eq!(life.on(Event::Deadline { open: 0 }, last), Ok(Action::TearDown(LifeEnd::Hung)));
}

#[test]
fn one_that_is_always_busy_and_makes_no_progress_is_hung_in_the_end() {
    let mut life = machine(State::Ready);
    let (end, now) = loop {
        let now = life.deadline().unwrap();
        let asked = life.on(Event::Deadline { open: 0 }, now).unwrap();
        assert_eq!(asked, Action::AskDrain);
        match life.on(Event::DrainBusy, now).unwrap() {
            Action::Deliver => assert!(now < TIMES.busy),
            end => break (end, now),
        }
    };
    assert_eq!((end, life.state()), (Action::TearDown(LifeEnd::Hung), State::Faulted));
    assert!((TIMES.busy..TIMES.busy + 2 * TIMES.idle).contains(&now));
}

#[test]
fn a_crash_loop_is_damped_then_held_off_and_a_good_life_forgives() {
    let mut life = SosLife::new(TIMES);
    let mut waits = Vec::new();
    let mut now = 0;
    for _ in 0..7 {
        match life.on(Event::Wake, now) {
            Ok(Action::Load) => waits.push(0),
            Ok(Action::Nothing | Action::RefuseWaiting) => {
                let due = life.deadline().unwrap();
                waits.push((due - now) / MS);
                now = due;
                let mut nobody_waits = life.clone();
                assert_eq!(nobody_waits.on(Event::Deadline { open: 0 }, now), Ok(Action::Nothing));
                assert_eq!((nobody_waits.state(), nobody_waits.deadline()), (State::Off, None));
                assert_eq!(life.on(Event::Deadline { open: 1 }, now), Ok(Action::Load));
            }
            other => panic!("{other:?}"),
        }
        let _ = life.on(Event::Loaded, now);
        let _ = life.on(Event::Crash, now);
        let _ = life.on(Event::Scrubbed { waiting: 0 }, now);
    }
    assert_eq!(waits, [0, 0, 50, 100, 200, 400, 800]);
    assert_eq!(life.on(Event::Wake, now), Ok(Action::RefuseWaiting), "held off after so many");
    now += 20_000 * MS;
    assert_eq!(life.on(Event::Wake, now), Ok(Action::Load));
    for event in
        [Event::Loaded, Event::Ready, Event::Deadline { open: 0 }, Event::DrainAgreed, Event::Scrubbed { waiting: 0 }]
    {
        now += 100 * MS * u64::from(matches!(event, Event::Deadline { .. }));
        let _ = life.on(event, now).unwrap();
    }
    assert_eq!(life.on(Event::Wake, now), Ok(Action::Load));
    assert_eq!(life.account().failures, 7);
    assert_eq!(life.account().lives, 9);
}

#[test]
fn on_time_counts_lives_only() {
    let mut life = SosLife::new(TIMES);
    let _ = life.on(Event::Wake, 10 * MS);
    let _ = life.on(Event::LoadFailed, 11 * MS);
    assert_eq!(life.on_time(15 * MS), 5 * MS);
    let _ = life.on(Event::Scrubbed { waiting: 0 }, 20 * MS);
    assert_eq!(life.on_time(500 * MS), 10 * MS);
}
