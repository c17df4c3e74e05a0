//! PSCI: sleeps with the context lost, the whole machine suspended, CPUs off and on at will.

use dormouse_tests::{Board, Clock, Description, Guest, Reset, Shell, System, seconds};

#[test]
fn a_vcpu_that_is_powered_down_wakes_at_its_entry_and_the_system_by_the_clocks_alarm() {
    let system = System::new(&Description::with("suspend", Guest::bare("suspend", "").vcpus(2)));
    for board in [Board::default(), Board::default().cpus(1), Board::default().clock(Clock::Instructions)] {
        let mut run = board.boot(&system);
        run.expect("SUSPEND cpu 5 rounds", seconds(60));
        run.expect("SUSPEND denied while another is on", seconds(60));
        run.expect("SUSPEND ok", seconds(60));
        // By SYSTEM_RESET2.
        assert_eq!(run.expect_vm_end("suspend", seconds(60)), "reset");
        run.expect("SUSPEND cpu 5 rounds", seconds(60));
    }
}

#[test]
fn a_powered_down_vcpu_stays_so_over_pauses() {
    let suspend = Guest::bare("suspend", "rounds=200").vcpus(2).manual();
    let description = Description::with("debian", Guest::debian(1)).and("suspend", suspend);
    let mut shell = Shell::enter(Board::default().boot(&System::new(&description)));
    shell.hvctl("vm start suspend");
    for _ in 0..10 {
        shell.hvctl("vm pause suspend");
        shell.hvctl("vm resume suspend");
    }
    // It looks at the time and its registers at each wake.
    shell.run.focus("suspend");
    shell.run.expect("SUSPEND cpu 200 rounds", seconds(60));
}

#[test]
fn debian_turns_its_cpus_off_and_on_in_a_loop() {
    let system = System::new(&Description::with("debian", Guest::debian(4)));
    let mut shell = Shell::enter(Board::default().cpus(2).boot(&system));
    // Of each three CPUs one is busy with taking the others off.
    shell.command("(while :; do :; done) & busy=$!").ok();
    let cycle = "for cpu in 1 2 3; do echo 0 > /sys/devices/system/cpu/cpu$cpu/online || echo no; done; nproc; \
                 for cpu in 3 1 2; do echo 1 > /sys/devices/system/cpu/cpu$cpu/online || echo no; done; nproc";
    for i in 0..25 {
        assert_eq!(shell.command(cycle).ok(), "1\n4\n", "cycle {i}");
    }
    shell.command("kill $busy").ok();
    let log = shell.command("dmesg | grep -iE 'failed|stuck|warn' | grep -i cpu");
    assert_eq!(log.status, 1, "{}", log.output);
}

#[test]
fn debian_is_suspended_to_memory_and_wakes_by_its_clock() {
    let system = System::new(&Description::with("debian", Guest::debian(2)));
    let mut shell = Shell::enter(Board::default().boot(&system));
    assert!(shell.command("cat /sys/power/mem_sleep").ok().contains("[deep]"));
    for _ in 0..3 {
        let before = shell.command("date +%s").ok().trim().parse::<u64>().expect("a number of seconds");
        let alarm = "/sys/class/rtc/rtc0/wakealarm";
        shell.command(&format!("echo 0 > {alarm}; echo +10 > {alarm}; echo mem > /sys/power/state")).ok();
        let after = shell.command("date +%s").ok().trim().parse::<u64>().expect("a number of seconds");
        assert!(after >= before + 9, "{before} {after}");
        assert_eq!(shell.command("nproc").ok(), "2\n");
    }
    assert_eq!(shell.command("cat /sys/power/suspend_stats/success").ok(), "3\n");
    assert!(shell.hvctl("vm list").is_array(), "the management ports are there again");
}

/// Debian, which manages, and two guests that start after it.
fn three() -> Description {
    let guest = || Guest::bare("tiny", "");
    Description::with("debian", Guest::debian(2)).and("second", guest()).and("third", guest().manual())
}

/// Whether EL2's log says that the guests were stopped, the last one started first.
fn in_order(log: &str) -> bool {
    let places = ["vm third: stopped", "vm second: stopped", "vm debian: stopped"].map(|line| log.rfind(line));
    places.iter().all(Option::is_some) && places.is_sorted()
}

#[test]
fn the_board_is_powered_off_after_its_guests_the_last_one_started_first() {
    let mut shell = Shell::enter(Board::default().boot(&System::new(&three())));
    shell.hvctl("vm start third");
    shell.run.send("hvctl hv poweroff\n");
    shell.run.expect_log("board: off (as asked)", seconds(60));
    assert!(shell.run.expect_end(seconds(60)).success());
    assert!(in_order(&shell.run.log.text()), "{}", shell.run.log.text());
}

#[test]
fn the_board_is_reset_after_its_guests_and_boots_again() {
    let board = Board { reset: Reset::Restarts, ..Board::default() };
    let mut shell = Shell::enter(board.boot(&System::new(&three())));
    shell.hvctl("vm start third");
    shell.run.send("hvctl hv reboot\n");
    shell.run.expect_log("board: reset", seconds(60));
    assert!(in_order(&shell.run.log.text()), "{}", shell.run.log.text());
    shell.run.expect_log("warm reset", seconds(60));
    let mut shell = Shell::enter(shell.run);
    assert_eq!(shell.hvctl("sos status")["failures"], 0);
}
