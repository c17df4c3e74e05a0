//! Guests that debug themselves: each hits its own breakpoints, watchpoints and steps, and nobody else's.

use dormouse_tests::{Board, Clock, Description, Guest, Run, Shell, System, artifact, seconds};

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
    assert_eq!(run.expect_vm_ends(&["d0", "d1"], seconds(120)), ["powered off"; 2]);
    report
}

#[test]
fn two_vms_on_one_cpu_hit_their_own_breakpoints_watchpoints_and_steps() {
    let mut run = Board::counting(1).boot(&System::new(&both_sides(100)));
    let report = verdict(&mut run);
    assert!(number(&report, "rounds") > 100 && number(&report, "steps") > 100, "{report}");
    // Slices of 4 ms: the other VM had the CPU in between.
    assert!(number(&report, "gaps") > 3, "{report}");
}

#[test]
fn every_model_of_cpu_shows_what_it_has_and_all_of_it_works() {
    for cpu in ["cortex-a53", "cortex-a76", "neoverse-v1", "max"] {
        let board = Board { cpu: cpu.into(), ..Board::default().cpus(1) }.clock(Clock::Host);
        let mut run = board.boot(&System::new(&both_sides(300)));
        verdict(&mut run);
    }
}

#[test]
fn debuggers_in_debian_use_hardware_breakpoints_watchpoints_and_steps_beside_a_vm_that_does_so_too() {
    let debian = Guest { initrd: Some("debugger-initrd".into()), ..Guest::debian(2) };
    let description = Description::with("debian", debian).and("d1", Guest::bare("debug", "side=1 ms=2000").manual());
    let mut system = System::from_source(&description.source());
    let initrd = artifact::initrd(system.directory(), &[("/bin/debugger", &artifact::program("debugger"))]);
    system.member("sos.img", artifact::built("sos.img"));
    system.member("debian-vmlinuz", artifact::kernel());
    system.member("debugger-initrd", initrd);
    let other = artifact::guest("debug", system.directory());
    system.member("debug.img", other);
    let mut shell = Shell::enter(Board::default().cpus(1).boot(&system));
    shell.command("hvctl vm start d1").ok();
    // One on each vCPU: the kernel switches them with its tasks.
    let both = shell.command("debugger & debugger; status=$?; wait $! && [ $status = 0 ]").ok();
    assert_eq!(both.matches("DEBUGGER ok, 6 breakpoints").count(), 2, "{both}");
    assert_eq!(shell.run.expect_vm_end("d1", seconds(120)), "powered off");
}
