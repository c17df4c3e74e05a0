//! Timers of guests that sleep.

use dormouse_tests::{Board, Description, Guest, System, seconds};

/// The sleeper with neighbours on one CPU.
fn sleeps_by_the_physical_timer(description: Description) {
    let system = System::new(&description);
    let mut run = Board::counting(1).boot(&system);
    run.expect_log("vm ptimer: powered off", seconds(60));
    run.expect("PTIMER 20 sleeps ended by their interrupt", seconds(60));
}

#[test]
fn a_timer_that_is_disarmed_takes_its_interrupt_with_it() {
    let system = System::new(&Description::with("waits", Guest::bare("waits", "for=timer")));
    let mut run = Board::default().boot(&system);
    run.expect("WAITS timer ok", seconds(60));
}

#[test]
fn the_clocks_alarm_wakes_a_guest_that_does_not_look_at_the_clock() {
    let system = System::new(&Description::with("waits", Guest::bare("waits", "for=alarm")));
    let mut run = Board::default().boot(&system);
    run.expect("WAITS alarm ok", seconds(60));
}

#[test]
fn a_vcpu_that_sleeps_alone_is_woken_by_its_physical_timer() {
    sleeps_by_the_physical_timer(Description::with("ptimer", Guest::bare("ptimer", "")));
}

#[test]
fn a_vcpu_is_woken_by_its_physical_timer_among_others_whose_timers_fire_in_between() {
    let sleepers = Description::with("ptimer", Guest::bare("ptimer", ""));
    sleeps_by_the_physical_timer(sleepers.and("sleeper", Guest::bare("sleeper", "period-us=300")));
}
