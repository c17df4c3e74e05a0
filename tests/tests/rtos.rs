//! A real-time system, FreeRTOS, in one image: on QEMU's own machine, and unmodified as a guest beside Debian.

use dormouse_tests::{Board, Description, Entry, Guest, Run, SUM, Shell, System, artifact, seconds};

/// How long the checks may take on a board that shares the host's CPUs.
const CHECKS: u64 = 360;
/// A round of EL2's scheduler, in microseconds: everybody who competes runs once in each.
const ROUND: u64 = 8000;

/// What the guest measured.
struct Measured {
    /// How far two tasks of one priority got.
    shares: [u64; 2],
    /// Microseconds that the worst of all periods came late.
    late: u64,
}

/// Waits for the checks, and tells the guest to power off.
fn expect_checks(run: &mut Run) -> Measured {
    let mut numbers = |start: &str| -> Vec<u64> {
        let line = run.expect_line(start, seconds(CHECKS));
        line.split_ascii_whitespace().filter_map(|word| word.parse().ok()).collect()
    };
    let (shares, periods) = (numbers("RTOS shares"), numbers("RTOS periods"));
    run.expect("RTOS PASS", seconds(CHECKS));
    run.send("o");
    Measured { shares: [shares[0], shares[1]], late: periods[3] }
}

/// FreeRTOS beside Debian, which runs `commands` meanwhile.
fn beside_debian(board: &Board, commands: &[&str]) -> Measured {
    let freertos = Guest::bare("freertos", "rounds=400").manual();
    let system = System::new(&Description::with("debian", Guest::debian(2)).and("freertos", freertos));
    let mut shell = Shell::enter(board.boot(&system));
    shell.command("hvctl vm start freertos").ok();
    for command in commands {
        shell.command(command).ok();
    }
    shell.run.focus("freertos");
    let measured = expect_checks(&mut shell.run);
    assert_eq!(shell.run.expect_vm_end("freertos", seconds(60)), "powered off");
    // The console of a VM that has ended goes to the log.
    shell.run.expect("[console: dormouse log]\r\n", seconds(60));
    shell.run.focus("debian");
    assert_eq!(shell.command("seq 1000 | md5sum").ok().split(' ').next(), Some(SUM));
    measured
}

/// FreeRTOS on QEMU's own machine.
fn alone() -> Measured {
    // Only for its directory.
    let files = System::from_source("/dts-v1/; / { };");
    let board = Board {
        entry: Entry::El1,
        kernel: Some(artifact::guest("freertos", files.directory())),
        ..Board::counting(1).memory(256)
    };
    let mut run = board.boot_alone(&files);
    let measured = expect_checks(&mut run);
    assert!(run.expect_end(seconds(20)).success());
    measured
}

#[test]
fn freertos_passes_its_checks_on_qemus_own_machine() {
    let measured = alone();
    assert!(measured.late <= 10, "{} us", measured.late);
    let [a, b] = measured.shares;
    assert!(a.abs_diff(b) <= a / 100, "{a} {b}");
}

#[test]
fn freertos_passes_its_checks_beside_debian() {
    beside_debian(&Board::default(), &["hvctl vm list", "seq 10000 | md5sum", "hvctl hv info", "hvctl vm list"]);
}

#[test]
fn freertos_on_debians_only_cpu_gets_its_third_and_waits_for_two_rounds_of_the_others_at_most() {
    let measured = beside_debian(&Board::counting(1), &["for cpu in 1 2; do while :; do :; done & done"]);
    // First in one round and last in the next, both of them shared by three.
    assert!(measured.late <= 2 * (ROUND - ROUND / 3), "{} us", measured.late);
    // Both machines run one instruction in a nanosecond. How its tasks share that is FreeRTOS's own affair: its ticks
    // come when it has the CPU, several at once.
    let [ours, theirs] = [measured, alone()].map(|measured| measured.shares.iter().sum::<u64>());
    assert!(ours * 100 >= theirs * 32, "{ours} of {theirs}");
}
