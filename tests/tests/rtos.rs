//! A real-time system, FreeRTOS, in one image: on QEMU's own machine, and unmodified as a guest beside Debian.

use dormouse_tests::{Board, Description, Entry, Guest, Run, Shell, System, artifact, seconds};

/// How long the checks may take on a board that shares the host's CPUs.
const CHECKS: u64 = 120;
/// A slice of EL2's scheduler, in microseconds.
const SLICE: u64 = 4000;

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
    assert_eq!(shell.command("seq 1000 | md5sum").ok().split(' ').next(), Some("53d025127ae99ab79e8502aae2d9bea6"));
    measured
}

#[test]
fn freertos_passes_its_checks_on_qemus_own_machine() {
    // Only for its directory.
    let files = System::from_source("/dts-v1/; / { };");
    let board = Board {
        entry: Entry::El1,
        kernel: Some(artifact::guest("freertos", files.directory())),
        ..Board::counting(1).memory(256)
    };
    let mut run = board.boot_alone(&files);
    let measured = expect_checks(&mut run);
    assert!(measured.late <= 10, "{} us", measured.late);
    let [a, b] = measured.shares;
    assert!(a.abs_diff(b) <= a / 100, "{a} {b}");
    assert!(run.expect_end(seconds(20)).success());
}

#[test]
fn freertos_passes_its_checks_beside_debian() {
    beside_debian(&Board::default(), &["hvctl vm list", "seq 10000 | md5sum", "hvctl hv info", "hvctl vm list"]);
}

#[test]
fn freertos_on_debians_only_cpu_is_late_by_the_others_slices_at_most() {
    let measured = beside_debian(&Board::counting(1), &["for cpu in 1 2; do while :; do :; done & done"]);
    // Two vCPUs of Debian and the service partition's can be before it in the queue.
    assert!(measured.late <= 3 * SLICE + SLICE / 8, "{} us", measured.late);
    let [a, b] = measured.shares;
    assert!(a.abs_diff(b) <= a / 2, "{a} {b}");
}
