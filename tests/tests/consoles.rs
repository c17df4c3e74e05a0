//! The UART: one owner at a time, switched by Ctrl-], input held until somebody listens.

use dormouse_tests::{Board, Description, Guest, Shell, System, seconds};

const ESCAPE: &str = "\u{1d}";

#[test]
fn the_escape_goes_through_all_consoles_and_back() {
    let description = Description::with("debian", Guest::debian(1)).and("tiny", Guest::bare("tiny", "period-ms=100"));
    let system = System::new(&description);
    let mut shell = Shell::enter(Board::default().boot(&system));
    shell.run.focus("tiny");
    shell.run.expect("tiny: beat", seconds(20));
    shell.run.send("x");
    shell.run.expect("tiny: got 'x'", seconds(20));
    shell.run.focus("dormouse log");
    shell.run.focus("debian");
    shell.run.send("echo _he''re_\n");
    shell.run.expect("_here_", seconds(20));
}

#[test]
fn another_escape_switches_and_the_usual_one_is_a_byte_like_any_other() {
    let description = Description::with("tiny", Guest::bare("tiny", "period-ms=1000"))
        .partition(|partition| partition.console_escape = 0x14);
    let mut run = Board::default().boot(&System::new(&description));
    run.expect("tiny: beat", seconds(60));
    run.send(ESCAPE);
    run.expect(r"tiny: got '\u{1d}'", seconds(60));
    run.send("\u{14}");
    run.expect("[console: dormouse log]", seconds(60));
}

#[test]
fn other_lines_never_tear_the_focused_guests_output() {
    let description = Description::with("debian", Guest::debian(2)).and("tiny", Guest::bare("tiny", "period-ms=1"));
    let system = System::new(&description);
    let mut shell = Shell::enter(Board::default().boot(&system));
    for _ in 0..20 {
        let list = shell.hvctl("vm list");
        assert_eq!(list.as_array().map(Vec::len), Some(2), "{list}");
        shell.command("sleep 0.1").ok();
    }
    assert!(!shell.run.console.text().contains("tiny: beat"));
}

#[test]
fn input_that_comes_before_the_line_is_enabled_interrupts_without_more_of_it() {
    let system = System::new(&Description::with("waits", Guest::bare("waits", "for=input")));
    let mut run = Board::default().boot(&system);
    run.send("k");
    run.expect("WAITS input Some('k')", seconds(60));
}

#[test]
fn input_that_comes_before_the_shell_is_not_lost() {
    let system = System::new(&Description::with("debian", Guest::debian(2)));
    let mut run = Board::default().boot(&system);
    for i in 0..50 {
        run.send(&format!("echo _line_$(({i} + 1000))_\n"));
    }
    run.send("hvctl --json vm list\npoweroff -f\n");
    run.close_input();
    for i in 0..50 {
        run.expect(&format!("_line_{}_", i + 1000), seconds(60));
    }
    run.expect("\"name\":\"debian\"", seconds(60));
    assert!(run.expect_end(seconds(60)).success());
}

#[test]
fn the_end_of_input_does_not_end_the_run() {
    let system = System::new(&Description::with("tiny", Guest::bare("tiny", "period-ms=100")));
    let mut run = Board::default().boot(&system);
    run.close_input();
    run.expect("tiny: beat 20", seconds(60));
}

#[test]
fn a_long_output_arrives_whole() {
    let system = System::new(&Description::with("debian", Guest::debian(2)));
    let mut shell = Shell::enter(Board::default().boot(&system));
    let output = shell.command("seq 20000").ok();
    let lines = output.lines().collect::<Vec<_>>();
    assert_eq!(lines.len(), 20_000);
    assert!(lines.iter().enumerate().all(|(i, line)| *line == (i + 1).to_string()));
}

#[test]
fn a_guest_works_at_anothers_console_while_the_partition_is_off() {
    let description = Description::with("debian", Guest::debian(2))
        .and("tiny", Guest::bare("tiny", "period-ms=100").granted())
        .partition(|partition| partition.idle_timeout_ms = 200);
    let mut shell = Shell::enter(Board::default().boot(&System::new(&description)));
    let refused = shell.command("hvctl console debian");
    assert!(refused.status == 1 && refused.output.contains("its own console"), "{}", refused.output);
    assert_eq!(shell.command("hvctl console nobody").status, 1);
    shell.command("mkfifo /tmp/keys; hvctl --timeout 100 console tiny --until \"got 'x'\" < /tmp/keys > /tmp/shown & exec 3> /tmp/keys; true").ok();
    shell.command("until grep -q 'tiny: beat' /tmp/shown; do sleep 0.1; done").ok();
    let before = shell.await_off();
    shell.command("printf x >&3; wait").ok();
    let after = shell.hvctl("sos status");
    assert_eq!((&after["state"], &after["lives"]), (&"off".into(), &before["lives"]));
    // From its first words on, in order.
    let shown = shell.command("cat /tmp/shown").ok();
    assert!(shown.contains("tiny: beat 1\n") && shown.contains("tiny: got 'x'"), "{shown}");
}

#[test]
fn who_watches_a_guest_is_told_of_its_end_and_one_that_is_killed_leaves_its_port() {
    let description = Description::with("debian", Guest::debian(2)).and("tiny", Guest::bare("tiny", "period-ms=100"));
    let mut shell = Shell::enter(Board::default().boot(&System::new(&description)));
    let watch = |file: &str| format!("hvctl console --no-input tiny > /tmp/{file} 2>&1");
    let seen = |file: &str| format!("until grep -q 'tiny: beat' /tmp/{file}; do sleep 0.1; done");
    for _ in 0..8 {
        shell.command(&format!("{} & watcher=$!; {}", watch("killed"), seen("killed"))).ok();
        shell.command("kill -9 $watcher; rm /tmp/killed").ok();
    }
    shell.command(&format!("{} & {} & {}; {}", watch("one"), watch("two"), seen("one"), seen("two"))).ok();
    shell.hvctl("vm stop tiny");
    shell.command("wait; tail -n 1 /tmp/one; tail -n 1 /tmp/two").ok();
    let ends = shell.command("cat /tmp/one /tmp/two | grep -c 'tiny: stopped'").ok();
    assert_eq!(ends.trim(), "2");
    assert_eq!(shell.command("hvctl console tiny").status, 1, "it does not run");
}
