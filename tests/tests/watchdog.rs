//! The watchdog of a guest: its first signal interrupts, its second ends the VM.

use dormouse_tests::{Board, Clock, Description, Guest, Shell, System, seconds};

/// Refreshes its watchdog when that interrupts, five times, and then no more.
fn watched() -> Guest {
    Guest::bare("waits", "for=watchdog").watched()
}

#[test]
fn the_first_signal_interrupts_until_a_refresh_and_the_second_ends_the_vm() {
    let system = System::new(&Description::with("waits", watched()));
    let mut run = Board::default().clock(Clock::Instructions).boot(&system);
    run.expect("WAITS watchdog 5 refreshes", seconds(60));
    assert_eq!(run.expect_vm_end("waits", seconds(60)), "watchdog expired");
    run.expect_log("vm waits: memory returned", seconds(60));
}

#[test]
fn a_guest_without_the_property_finds_nothing_there() {
    let system = System::new(&Description::with("waits", Guest::bare("waits", "for=watchdog")));
    let mut run = Board::default().boot(&system);
    run.expect_log("vm waits: vcpu 0: store to IPA 0xb100008", seconds(60));
}

#[test]
fn a_vm_whose_watchdog_has_expired_is_stopped_with_that_reason_and_starts_again() {
    let description = Description::with("debian", Guest::debian(1)).and("waits", watched().manual());
    let mut shell = Shell::enter(Board::default().boot(&System::new(&description)));
    for _ in 0..2 {
        shell.hvctl("vm start waits");
        assert_eq!(shell.run.expect_vm_end("waits", seconds(60)), "watchdog expired");
        shell.run.expect_log("vm waits: memory returned", seconds(60));
        let shown = shell.hvctl("vm show waits");
        assert_eq!((&shown["summary"]["state"], &shown["spec"]["watchdog"]), (&"defined".into(), &true.into()));
        let end = shown["last_end"].as_str().unwrap_or_default();
        assert!(end.starts_with("watchdog expired after "), "{shown}");
    }
}

#[test]
fn debian_stays_up_while_its_watchdog_is_fed_and_ends_when_it_is_not() {
    let mut system = System::new(&Description::with("debian", Guest::debian(2).watched()));
    system.add_modules(&["watchdog/watchdog", "watchdog/sbsa_gwdt"]);
    let mut shell = Shell::enter(Board::default().clock(Clock::Instructions).boot(&system));
    shell.command("insmod /lib/modules/watchdog.ko && insmod /lib/modules/sbsa_gwdt.ko").ok();
    let attribute = |name: &str| format!("cat /sys/class/watchdog/watchdog0/{name}");
    assert_eq!(shell.command(&attribute("identity")).ok().trim(), "SBSA Generic Watchdog");
    shell.command("watchdog -T 8 -t 2 /dev/watchdog0").ok();
    shell.command("end=$(($(cut -d. -f1 /proc/uptime) + 40))").ok();
    shell.command("while [ $(cut -d. -f1 /proc/uptime) -lt $end ]; do sleep 1; done").ok();
    assert_eq!(shell.command(&attribute("state")).ok().trim(), "active");
    assert_eq!(shell.command(&attribute("timeout")).ok().trim(), "8");
    // A feeder that is told to go switches the watchdog off before it goes; one that dies does not.
    shell.run.send("kill -9 $(pidof watchdog)\n");
    assert_eq!(shell.run.expect_vm_end("debian", seconds(60)), "watchdog expired");
}
