//! Debian boots on Dormouse.

use dormouse_tests::{Board, Clock, Description, Guest, Shell, System, seconds};

fn debian_boots(vcpus: u32, board: &Board) {
    // Its kernel as Debian configures it.
    let guest = Guest { bootargs: "console=ttyAMA0 loglevel=4".into(), ..Guest::debian(vcpus) };
    let system = System::new(&Description::with("debian", guest));
    let mut shell = Shell::enter(board.boot(&system));
    assert_eq!(shell.command("nproc").ok().trim(), vcpus.to_string());
    assert!(shell.command("uname -m").ok().contains("aarch64"));
    shell.power_off();
    shell.run.expect_log("vm debian: powered off", seconds(30));
    assert!(shell.run.expect_end(seconds(30)).success(), "the board powers off with its last guest");
}

#[test]
fn debian_boots_with_one_vcpu() {
    debian_boots(1, &Board::default());
}

#[test]
fn debian_boots_with_two_vcpus() {
    debian_boots(2, &Board::default());
}

#[test]
fn debian_boots_with_four_vcpus() {
    debian_boots(4, &Board::default());
}

#[test]
fn debian_boots_with_four_vcpus_on_one_cpu() {
    debian_boots(4, &Board::default().cpus(1));
}

#[test]
fn debian_boots_with_one_vcpu_under_icount() {
    debian_boots(1, &Board::default().clock(Clock::Instructions));
}

#[test]
fn debian_boots_with_two_vcpus_under_icount() {
    debian_boots(2, &Board::default().clock(Clock::Instructions));
}

#[test]
fn debian_boots_with_four_vcpus_under_icount() {
    debian_boots(4, &Board::default().clock(Clock::Instructions));
}

#[test]
fn debian_boots_on_a_cpu_with_every_extension() {
    let board = Board { cpu: "max".into(), ..Board::default() };
    debian_boots(2, &board);
}

#[test]
fn a_small_guest_runs_on_every_model_of_cpu() {
    let description = Description::with("tiny", Guest::bare("tiny", "period-ms=50").vcpus(2))
        .partition(|partition| partition.idle_timeout_ms = 100);
    let system = System::new(&description);
    for cpu in ["cortex-a53", "cortex-a57", "cortex-a76", "neoverse-n1", "neoverse-v1", "max"] {
        let mut run = Board { cpu: cpu.into(), ..Board::default().cpus(2) }.boot(&system);
        run.expect("tiny: beat 1", seconds(30));
        run.send("o");
        assert!(run.expect_end(seconds(30)).success(), "{cpu}");
    }
}

#[test]
fn el2_tells_what_it_starts() {
    let system = System::new(&Description::with("tiny", Guest::bare("tiny", "")));
    let mut run = Board::default().boot(&system);
    run.expect_log("cpu:     4 running", seconds(30));
    run.expect_log("sos: life 1", seconds(30));
    run.expect_log("vm tiny: started", seconds(30));
    run.expect_log("sos: off", seconds(30));
    run.expect("tiny: vcpus 1 memory 67108864", seconds(30));
}

#[test]
fn an_image_of_three_copy_steps_arrives_whole() {
    let system = System::new(&Description::with("big", Guest::bare("big", "")));
    let mut run = Board::default().boot(&system);
    run.expect("big: 17920 words, 0 damaged", seconds(30));
}

#[test]
fn an_archive_of_plain_cpio_starts_the_same() {
    let system = System::new(&Description::with("tiny", Guest::bare("tiny", "")));
    let archive = system.plain_archive();
    let mut run = Board::default().boot_archive(&system, &archive);
    run.expect("tiny: beat 1", seconds(60));
}

#[test]
fn a_raw_image_starts_where_it_is_loaded() {
    let guest = Guest { load_address: Some(0x4008_0000), ..Guest::bare("tiny", "") };
    let system = System::new(&Description::with("tiny", guest));
    let mut run = Board::default().boot(&system);
    run.expect("tiny: vcpus 1", seconds(30));
}
