//! Pauses: nothing of a VM runs, its time stands still, and it goes on as if nothing had been.

use dormouse_tests::{Board, Description, Guest, Shell, System, seconds};

/// Debian with a shell, and another guest that is managed from there.
fn beside(name: &str, guest: Guest) -> Shell {
    let description = Description::with("debian", Guest::debian(1)).and(name, guest);
    Shell::enter(Board::default().boot(&System::new(&description)))
}

/// Seconds of the clock that `command` prints, on the console in focus.
fn clock(shell: &mut Shell, command: &str) -> f64 {
    let text = shell.command(command).ok();
    text.trim().parse().unwrap_or_else(|_| panic!("{command}: {text:?}"))
}

/// The seconds since boot.
const UPTIME: &str = "cut -d' ' -f1 /proc/uptime";

fn uptime_ns(shell: &mut Shell, name: &str) -> u64 {
    shell.hvctl(&format!("vm show {name}"))["summary"]["uptime_ns"].as_u64().expect("it has begun")
}

#[test]
fn debian_sees_nothing_of_a_pause_but_its_clock_which_the_rtc_puts_right() {
    let mut shell = beside("two", Guest::debian(2));
    shell.run.focus("two");
    shell.run.send("\n");
    let mut shell = Shell::enter(shell.run);
    let (before, date_before) = (clock(&mut shell, UPTIME), clock(&mut shell, "date +%s"));
    shell.run.focus("debian");
    let begun = clock(&mut shell, UPTIME);
    assert_eq!(shell.command("hvctl vm pause two").ok(), "two: paused\n");
    assert_eq!(shell.hvctl("vm show two")["summary"]["state"], "paused");
    let stood = uptime_ns(&mut shell, "two");
    assert_eq!(shell.command("hvctl vm pause two").output, "hvctl: vm \"two\" is paused\n");
    shell.command("sleep 6").ok();
    assert_eq!(uptime_ns(&mut shell, "two"), stood, "its time stands still");
    shell.command("hvctl vm set two --weight 7").ok();
    assert_eq!(shell.command("hvctl vm resume two").ok(), "two: resumed\n");
    assert_eq!(shell.command("hvctl vm resume two").output, "hvctl: vm \"two\" is not paused\n");
    assert_eq!(shell.hvctl("vm show two")["spec"]["cpu"]["weight"], 7, "what was set in the pause");
    let (ended, date) = (clock(&mut shell, UPTIME), clock(&mut shell, "date +%s"));
    shell.run.focus("two");
    let (after, date_after) = (clock(&mut shell, UPTIME), clock(&mut shell, "date +%s"));
    let (outside, inside) = (ended - begun, after - before);
    assert!(inside + 4.0 < outside, "{inside} s inside, {outside} s outside");
    assert!((date_after - date_before - inside).abs() < 2.0, "wall clock and uptime go together");
    assert!(date_after + 3.0 < date, "{date_after} inside, {date} outside");
    shell.command("hwclock -u -s").ok();
    let right = clock(&mut shell, "date +%s");
    // Linux takes a second of the clock for half a second more, hwclock for what it is.
    assert!(right + 1.0 >= date, "{right} inside, {date} outside");
    assert_eq!(shell.command("nproc").ok(), "2\n");
    shell.run.focus("debian");
    shell.hvctl("vm pause two");
    shell.hvctl("vm destroy two");
    assert_eq!(shell.hvctl("vm show two")["summary"]["state"], "defined");
}

#[test]
fn timers_keep_their_distance_and_a_watchdog_its_time_over_many_pauses() {
    let options = "period-ms=100 watchdog-ms=1000";
    let mut shell = beside("tiny", Guest::bare("tiny", options).watched());
    let begun = clock(&mut shell, UPTIME);
    for _ in 0..10 {
        shell.hvctl("vm pause tiny");
        // Longer than both of its watchdog's periods.
        shell.command("sleep 2.5").ok();
        shell.hvctl("vm resume tiny");
    }
    let outside = clock(&mut shell, UPTIME) - begun;
    shell.run.focus("tiny");
    // The watchdog goes on, too.
    shell.run.send("h");
    assert_eq!(shell.run.expect_vm_end("tiny", seconds(30)), "watchdog expired");
    shell.run.expect("[console: dormouse log]", seconds(30));
    let text = shell.run.console.text();
    let beats = text.lines().filter_map(|line| line.strip_prefix("tiny: beat ")?.trim().parse::<f64>().ok());
    let beats = beats.fold(0.0, f64::max);
    shell.run.focus("debian");
    let end = shell.hvctl("vm show tiny")["last_end"].clone();
    let inside = end.as_str().and_then(|end| end.split(' ').nth(3)?.parse::<f64>().ok()).expect("seconds of its life");
    assert!(inside + 15.0 < outside, "{inside} s inside, {outside} s outside");
    // A beat for each tenth of a second that it has seen, the two seconds that it hung excepted.
    let due = (inside - 2.0) * 10.0;
    assert!((beats - due).abs() < 15.0, "{beats} beats, {due} were due");
}

#[test]
fn busy_vcpus_of_more_than_there_are_cpus_are_paused_and_resumed_at_any_moment() {
    let guest = Guest::bare("sleeper", "period-us=500").vcpus(8);
    let description = Description::with("debian", Guest::debian(1)).and("sleeper", guest);
    let mut shell = Shell::enter(Board::default().cpus(2).boot(&System::new(&description)));
    let free = |shell: &mut Shell| shell.hvctl("hv info")["memory"]["guests"].clone();
    let before = free(&mut shell);
    for _ in 0..10 {
        shell.hvctl("vm pause sleeper");
        let stood = uptime_ns(&mut shell, "sleeper");
        assert_eq!(uptime_ns(&mut shell, "sleeper"), stood);
        shell.hvctl("vm resume sleeper");
        assert!(uptime_ns(&mut shell, "sleeper") > stood);
    }
    shell.hvctl("vm pause sleeper");
    shell.hvctl("vm reboot sleeper");
    assert_eq!(shell.hvctl("vm show sleeper")["summary"]["state"], "running");
    assert_eq!(free(&mut shell), before);
    assert!(!shell.run.log.text().contains("dormouse: fatal:"));
}
