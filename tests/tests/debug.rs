//! Guests that debug themselves: each hits its own breakpoints, watchpoints and steps, and nobody else's.

use dormouse_tests::{Board, Clock, Description, Guest, Run, System, seconds};

/// One guest on each side, for `ms` of its time.
fn both_sides(ms: u32) -> Description {
    let guest = |side: u32| Guest::bare("debug", &format!("side={side} ms={ms}"));
    Description::with("d0", guest(0)).and("d1", guest(1))
}

/// The number behind `name` in a line of words.
fn number(line: &str, name: &str) -> u64 {
    let mut words = line.split_whitespace().skip_while(|word| *word != name);
    words.nth(1).and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("{name} in {line:?}"))
}

/// Waits until both have ended well; the report of the one that has the console.
fn verdict(run: &mut Run) -> String {
    let report = run.expect_line("DEBUG rounds", seconds(120));
    run.expect("DEBUG PASS", seconds(20));
    for name in ["d0", "d1"] {
        assert_eq!(run.expect_vm_end(name, seconds(120)), "powered off");
    }
    report
}

#[test]
fn two_vms_on_one_cpu_hit_their_own_breakpoints_watchpoints_and_steps() {
    let mut run = Board::counting(1).boot(&System::new(&both_sides(80)));
    let report = verdict(&mut run);
    assert!(number(&report, "rounds") > 100 && number(&report, "steps") > 100, "{report}");
    // Slices of 4 ms: the other VM had the CPU in between.
    assert!(number(&report, "gaps") > 5, "{report}");
}

#[test]
fn every_model_of_cpu_shows_what_it_has_and_all_of_it_works() {
    for cpu in ["cortex-a53", "cortex-a76", "neoverse-v1", "max"] {
        let board = Board { cpu: cpu.into(), ..Board::default().cpus(1) }.clock(Clock::Host);
        let mut run = board.boot(&System::new(&both_sides(300)));
        verdict(&mut run);
    }
}
