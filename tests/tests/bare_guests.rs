//! The test guests on QEMU's own machine, without EL2: what they find there is what a guest must find.

use dormouse_tests::{Board, Clock, Entry, Reset, Run, Shell, System, artifact, seconds};

fn boot(guest: &str, bootargs: &str, board: Board) -> Run {
    // Only for its directory.
    let files = System::from_source("/dts-v1/; / { };");
    let board = Board {
        entry: Entry::El1,
        kernel: Some(artifact::guest(guest, files.directory())),
        append: Some(bootargs.into()),
        ..board
    };
    board.memory(256).boot_alone(&files)
}

#[test]
fn tiny_beats_and_ends_as_it_is_told() {
    let mut run = boot("tiny", "period-ms=100", Board::default().cpus(2));
    run.expect("tiny: vcpus 2 memory 268435456", seconds(20));
    run.expect("tiny: beat 3", seconds(20));
    run.send("o");
    assert!(run.expect_end(seconds(20)).success());
}

#[test]
fn big_arrives_whole() {
    let mut run = boot("big", "", Board::default().cpus(1));
    run.expect("big: 17920 words, 0 damaged", seconds(20));
}

#[test]
fn el2s_copies_are_those_of_bytes_at_every_size_and_alignment() {
    let mut run = boot("copies", "", Board::default().cpus(1));
    run.expect("COPIES ok", seconds(60));
}

#[test]
fn equal_asids_never_mix() {
    let mut run = boot("asid", "rounds=100000", Board::default().cpus(2));
    run.expect("ASID PASS", seconds(60));
}

#[test]
fn counters_progress_on_cpus_of_their_own() {
    let mut run = boot("progress", "seconds=1 limit-ms=1000", Board::default().cpus(2));
    run.expect("PROGRESS ok", seconds(60));
}

#[test]
fn a_guest_without_a_mailbox_is_refused_the_doorbell() {
    let mut run = boot("client", "", Board::default().cpus(1));
    run.expect("CLIENT mailbox false doorbell -1", seconds(20));
}

#[test]
fn debug_registers_are_hit_as_often_as_their_places_are_passed() {
    let mut run = boot("debug", "side=1 ms=50 lock=open", Board::default().cpus(1));
    run.expect("DEBUG PASS", seconds(60));
}

#[test]
fn bench_measures_everything_that_needs_no_hypervisor() {
    let mut run = boot("bench", "rounds=100", Board::counting(2));
    let output = run.expect("BENCH-END", seconds(60));
    for name in [
        "psci_version",
        "hvc_unknown",
        "gicd_typer",
        "sysreg_id",
        "uart_char",
        "sgi_self",
        "vtimer",
        "wfi_wake_alone",
        "sgi_cross",
    ] {
        assert!(output.contains(&format!("BENCH {name} ")), "{name} in {output}");
    }
}

#[test]
fn residue_finds_what_it_left_before_a_reset() {
    let mut run = boot("residue", "end=stay", Board { reset: Reset::Restarts, ..Board::default().cpus(1) });
    run.expect("RESIDUE found 0 marks", seconds(30));
    run.expect_line("RESIDUE left", seconds(30));
    run.reset();
    // QEMU loads the kernel and the tree anew, over a small part of them.
    let line = run.expect_line("RESIDUE found ", seconds(30));
    let marks = line.split_whitespace().nth(2).and_then(|count| count.parse::<u64>().ok());
    assert!(marks.is_some_and(|marks| marks > 200 << 17), "{line}");
}

#[test]
fn hostile_survives_itself() {
    // Without `icc`: QEMU's own CPU interface does not survive random writes.
    let phases = "smccc,psci,gicd,gicr,uart,rtc,virtio,queues,shapes,sysreg,memory,garbage,mailbox-page,setway,tlbi,wait,sgi,timer,console";
    let bootargs = format!("phases={phases} calls=20000 rounds=2000");
    let mut run = boot("hostile", &bootargs, Board::default().cpus(2).clock(Clock::Host));
    run.expect("HOSTILE end off", seconds(120));
    assert!(run.expect_end(seconds(20)).success());
}

#[test]
fn debian_boots_and_its_shell_obeys() {
    let board = Board {
        entry: Entry::El1,
        kernel: Some(artifact::kernel()),
        append: Some("console=ttyAMA0 loglevel=4".into()),
        ..Board::default().cpus(2).memory(512)
    };
    let mut shell = Shell::enter(board.start(Some(&artifact::built("debian-initrd"))));
    assert_eq!(shell.command("nproc").ok(), "2\n");
    assert_eq!(shell.command("echo out; echo err >&2; false").status, 1);
    assert_eq!(shell.command("seq 3000").ok().lines().count(), 3000);
    let answer = shell.command("hvctl vm list");
    assert_eq!(answer.status, 3, "no management port: {}", answer.output);
    shell.power_off();
    assert!(shell.run.expect_end(seconds(30)).success());
}
