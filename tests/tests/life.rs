//! Lives of the service partition, and the ends of VMs.

use dormouse_tests::{Board, Description, Guest, Reset, Run, Shell, System, seconds};

#[test]
fn fifty_wakes_lose_nothing_and_the_frames_come_back() {
    let description = Description::with("debian", Guest::debian(2))
        .and("tiny", Guest::bare("tiny", "").manual())
        .partition(|partition| partition.idle_timeout_ms = 100);
    let system = System::new(&description);
    let mut shell = Shell::enter(Board::default().boot(&system));
    let start = shell.await_off();
    let free = shell.hvctl("hv info")["memory"]["free"].clone();
    for i in 1..=50 {
        shell.hvctl("vm list");
        let off = shell.await_off();
        assert_eq!(off["lives"].as_u64(), start["lives"].as_u64().map(|lives| lives + i), "cycle {i}: {off}");
        assert_eq!(off["failures"], 0, "cycle {i}: {off}");
        assert_eq!(off["frames"], 0, "cycle {i}: {off}");
    }
    assert_eq!(shell.hvctl("hv info")["memory"]["free"], free);
}

/// Starts tiny beside Debian, tells it how to end, and looks at what `vm show` says of that.
fn end_of_tiny(character: char, how: &str) {
    let description = Description::with("debian", Guest::debian(2)).and("tiny", Guest::bare("tiny", ""));
    let system = System::new(&description.partition(|partition| partition.console_first = Some("tiny".into())));
    let mut run = Board::default().boot(&system);
    run.expect("tiny: vcpus", seconds(30));
    run.send(&character.to_string());
    run.expect_log(&format!("vm tiny: {how}"), seconds(30));
    run.expect("[console: dormouse log]", seconds(30));
    run.focus("debian");
    run.send("\n");
    let mut shell = Shell::enter(run);
    let shown = shell.hvctl("vm show tiny");
    assert_eq!(shown["summary"]["state"], "defined", "{shown}");
    let end = shown["last_end"].as_str().unwrap_or_default();
    assert!(end.starts_with(&format!("{how} after ")), "{shown}");
    shell.await_off();
    shell.hvctl("vm start tiny");
    shell.run.expect_log("vm tiny: started", seconds(30));
}

#[test]
fn a_guest_that_powers_off_is_stopped_with_that_reason_and_starts_again() {
    end_of_tiny('o', "powered off");
}

#[test]
fn a_guest_whose_vector_cannot_be_fetched_is_crashed_and_starts_again() {
    end_of_tiny('c', "crashed");
}

/// Tells tiny, which has the console, how to end, and waits until it is there again.
fn ends_and_comes_back(run: &mut Run, character: char, how: &str) {
    run.send(&character.to_string());
    run.expect_log(&format!("vm tiny: {how}"), seconds(30));
    run.expect_log("vm tiny: memory returned", seconds(30));
    run.expect_log("vm tiny: started", seconds(60));
    run.expect("[console: tiny]", seconds(30));
    run.expect("tiny: vcpus 1", seconds(30));
}

#[test]
fn the_only_guest_reboots_by_its_reset_and_powers_the_board_off_by_its_power_off() {
    let description = Description::with("tiny", Guest::bare("tiny", ""));
    let system = System::new(&description.partition(|partition| partition.idle_timeout_ms = 50));
    let mut run = Board::default().boot(&system);
    run.expect("tiny: vcpus 1", seconds(30));
    // From the second on the partition is off while the guest waits for its next life.
    for _ in 0..3 {
        ends_and_comes_back(&mut run, 'r', "reset");
    }
    run.send("o");
    run.expect_log("vm tiny: powered off", seconds(30));
    assert!(run.expect_end(seconds(30)).success());
}

#[test]
fn a_guest_that_crashes_is_started_again_by_its_policy_until_its_limit() {
    let description = Description::with("tiny", Guest::bare("tiny", "").restarts("on-failure", 2));
    let system = System::new(&description.partition(|partition| partition.idle_timeout_ms = 100));
    let mut run = Board::default().boot(&system);
    run.expect("tiny: vcpus 1", seconds(30));
    for _ in 0..2 {
        ends_and_comes_back(&mut run, 'c', "crashed");
    }
    run.send("c");
    run.expect_log("vm tiny: crashed", seconds(30));
    run.expect_log("vm tiny: memory returned", seconds(30));
    run.expect_log("sos: off", seconds(30));
    run.expect("[console: dormouse log]", seconds(30));
    assert!(!run.log.text().trim_end().ends_with("started"), "{}", run.log.text());
}

#[test]
fn debian_comes_back_to_a_shell_after_its_own_reboot_and_after_one_from_outside() {
    let description = Description::with("debian", Guest::debian(2)).and("two", Guest::debian(1).manual());
    let mut shell = Shell::enter(Board::default().boot(&System::new(&description)));
    shell.command("echo kept > /tmp/file; sync").ok();
    shell.run.send("reboot -f\n");
    shell.run.expect_log("vm debian: reset", seconds(60));
    shell.run.expect_log("vm debian: started", seconds(60));
    let mut shell = Shell::enter(shell.run);
    assert_ne!(shell.command("cat /tmp/file").status, 0, "it is another life");
    let shown = shell.hvctl("vm show debian");
    assert_eq!((&shown["restarts"], &shown["summary"]["state"]), (&1.into(), &"running".into()));
    assert!(shown["last_end"].as_str().is_some_and(|end| end.starts_with("reset after ")), "{shown}");
    // It asks for its own end: nobody hears the answer.
    shell.run.send("hvctl vm reboot debian\n");
    shell.run.expect_log("vm debian: stopped", seconds(60));
    let mut shell = Shell::enter(shell.run);
    assert_eq!(shell.hvctl("vm show debian")["restarts"], 2);
    assert_eq!(shell.command("hvctl vm reboot two").output, "hvctl: vm \"two\" does not run\n");
    shell.hvctl("vm start two");
    assert_eq!(shell.command("hvctl vm reboot two").ok(), "two: rebooted\n");
    assert_eq!(shell.hvctl("vm show two")["summary"]["state"], "running");
}

/// After its last guest has ended the board is on, and somebody reads the console.
fn stays(character: char, how: &str, when_idle: &'static str) {
    let description = Description::with("tiny", Guest::bare("tiny", ""))
        .partition(|partition| (partition.when_idle, partition.idle_timeout_ms) = (when_idle, 100));
    let mut run = Board::default().boot(&System::new(&description));
    run.expect("tiny: vcpus", seconds(30));
    run.send(&character.to_string());
    run.expect_log(&format!("vm tiny: {how}"), seconds(30));
    run.expect_log("vm tiny: memory returned", seconds(30));
    run.expect_log("sos: off", seconds(30));
    run.expect("[console: dormouse log]", seconds(30));
    run.send("\u{1d}");
    run.expect("[console: dormouse log]", seconds(30));
}

#[test]
fn a_crash_of_the_last_guest_is_no_reason_to_power_off() {
    stays('c', "crashed", "poweroff");
}

#[test]
fn the_board_stays_when_the_description_says_so() {
    stays('o', "powered off", "stay");
}

#[test]
fn a_guest_never_sees_what_an_earlier_one_left() {
    // Together they are larger than RAM.
    let residue = || Guest::bare("residue", "").memory(512 << 20);
    let description =
        Description::with("debian", Guest::debian(1)).and("one", residue()).and("two", residue().manual());
    let mut shell = Shell::enter(Board::default().boot(&System::new(&description)));
    assert_eq!(shell.run.expect_vm_end("one", seconds(60)), "powered off");
    shell.run.expect_log("vm one: memory returned", seconds(60));
    shell.hvctl("vm start two");
    assert_eq!(shell.run.expect_vm_end("two", seconds(60)), "powered off");
}

#[test]
fn after_a_warm_reset_a_guest_sees_nothing_of_the_time_before() {
    let guest = Guest::bare("residue", "end=stay").memory(512 << 20);
    let system = System::new(&Description::with("residue", guest));
    let mut run = Board { reset: Reset::Restarts, ..Board::default() }.boot(&system);
    for _ in 0..2 {
        run.expect("RESIDUE found 0 marks", seconds(60));
        run.expect_line("RESIDUE left", seconds(60));
        run.reset();
    }
    run.expect_log("warm reset", seconds(30));
}

/// A guest's RAM after a boot for which a loader has left marks in memory, on a board with this tree.
fn marks_after_a_loader(edit: impl FnOnce(String) -> String) -> String {
    let system = System::new(&Description::with("residue", Guest::bare("residue", "end=stay").memory(512 << 20)));
    // An address of the guest's RAM under the mark that it looks for.
    let mark = (0x5000_0000u64 ^ 0xd0e5_0e5e_7ea1_1eaf).to_le_bytes();
    let left = system.file("left.bin", &mark.repeat((16 << 20) / 8));
    let mut board = Board::default().tree(&system, edit);
    let device = format!("loader,file={},addr=0x60000000,force-raw=on", left.display());
    board.more.extend(["-device".into(), device]);
    board.boot(&system).expect_line("RESIDUE found", seconds(60))
}

#[test]
fn what_a_boot_loader_left_in_memory_reaches_no_guest() {
    let loaded = |tree: String| tree.replacen("chosen {", "chosen { u-boot,version = \"2025.01\";", 1);
    assert_eq!(marks_after_a_loader(loaded), "RESIDUE found 0 marks");
    // Without a sign of a loader EL2 takes memory for what QEMU's is: zero. So the marks are where they would be seen.
    assert_ne!(marks_after_a_loader(|tree| tree), "RESIDUE found 0 marks");
}
