//! A guest's balloon: what it reports free is others', and it gets memory back when it uses it.

use dormouse_tests::{Board, Description, Guest, Shell, System};

const MIB: u64 = 1 << 20;
/// Of the board's 512 MiB: either Debian's files or the other guest has room beside Debian.
const OTHER: u64 = 256 * MIB;
const FILES: u64 = 130 * MIB;
const GUARANTEE: u64 = 64 * MIB;

/// The number of a row of memory.
fn row(shell: &mut Shell, name: &str) -> u64 {
    shell.hvctl("hv info")["memory"][name].as_u64().expect(name)
}

/// Waits until so much is free.
fn await_free(shell: &mut Shell, bytes: u64) {
    for _ in 0..300 {
        if row(shell, "free") >= bytes {
            return;
        }
        shell.command("sleep 0.1").ok();
    }
    panic!("only {} bytes become free", row(shell, "free"));
}

/// Fills so much of Debian's memory, in files; the sum of one that is a copy.
fn fill(shell: &mut Shell) -> String {
    shell.command(&format!("dd if=/dev/zero of=/tmp/zeroes bs=1M count={} 2>/dev/null", FILES / MIB)).ok();
    shell.command("cat /bin/busybox /bin/hvctl >/tmp/copy && md5sum </tmp/copy").ok()
}

#[test]
fn what_debian_reports_free_another_guest_gets_and_debian_has_memory_again_when_it_uses_it() {
    let guarantee = format!("memory-guarantee = /bits/ 64 <{GUARANTEE:#x}>;");
    let other = Guest::bare("residue", "end=stay").memory(OTHER).manual();
    let description = Description::with("debian", Guest::debian(2).memory(384 * MIB).having(&guarantee));
    let mut shell = Shell::enter(Board::default().memory(512).boot(&System::new(&description.and("other", other))));
    let sum = fill(&mut shell);
    let refused = shell.command("hvctl vm start other");
    assert!(refused.status != 0 && refused.output.contains("no memory"), "{}", refused.output);
    shell.command("rm /tmp/copy /tmp/zeroes").ok();
    await_free(&mut shell, OTHER + 16 * MIB);
    assert!(row(&mut shell, "guests") >= GUARANTEE, "what is guaranteed stays");
    shell.command("hvctl vm start other").ok();
    assert!(row(&mut shell, "guests") >= OTHER + GUARANTEE, "it has what Debian had");
    shell.command("hvctl vm stop other").ok();
    assert_eq!(fill(&mut shell), sum, "all of it comes back, and nothing else than what is written");
    assert!(row(&mut shell, "guests") >= FILES);
    shell.power_off();
}
