//! A guest's balloon: what it reports free, or is asked for, is others', and it gets memory back when it uses it.

use dormouse_tests::{Board, Description, Guest, Shell, System, seconds};
use serde_json::Value;

const MIB: u64 = 1 << 20;
/// Of the board's 512 MiB: either Debian's files or the other guest has room beside Debian.
const OTHER: u64 = 320 * MIB;
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

/// Fills so much of Debian's memory, in files, with what `residue` takes for its marks: its own RAM's addresses under
/// 0xd0e5_0e5e_7ea1_1eaf, here that of 16 MiB in all places. The sum of a file that is a copy.
fn fill(shell: &mut Shell, bytes: u64) -> String {
    let mark = r"\257\036\241\077\136\016\345\320";
    shell
        .command(&format!(
            "printf '{mark}' >/tmp/a; for i in $(seq 17); do cat /tmp/a /tmp/a >/tmp/b; mv /tmp/b /tmp/a; done"
        ))
        .ok();
    shell.command(&format!("for i in $(seq {}); do cat /tmp/a; done >/tmp/marks", bytes / MIB)).ok();
    shell.command("cat /bin/busybox /bin/hvctl >/tmp/copy && md5sum </tmp/copy").ok()
}

const EMPTY: &str = "rm /tmp/copy /tmp/marks /tmp/a";

#[test]
fn what_debian_reports_free_another_guest_gets_scrubbed_and_debian_has_memory_again_when_it_uses_it() {
    let guarantee = format!("memory-guarantee = /bits/ 64 <{GUARANTEE:#x}>;");
    let other = Guest::bare("residue", "end=stay").memory(OTHER).manual();
    let description = Description::with("debian", Guest::debian(2).memory(384 * MIB).having(&guarantee));
    let mut shell = Shell::enter(Board::default().memory(512).boot(&System::new(&description.and("other", other))));
    let sum = fill(&mut shell, FILES);
    let refused = shell.command("hvctl vm start other");
    assert!(refused.status != 0 && refused.output.contains("no memory"), "{}", refused.output);
    shell.command(EMPTY).ok();
    await_free(&mut shell, OTHER + 16 * MIB);
    assert!(row(&mut shell, "guests") >= GUARANTEE, "what is guaranteed stays");
    shell.command("hvctl vm start other").ok();
    assert!(row(&mut shell, "guests") >= OTHER + GUARANTEE, "it has what Debian had");
    shell.command("hvctl console other --no-input --until 'RESIDUE found 0 marks' >/dev/null").ok();
    shell.command("hvctl vm stop other").ok();
    assert_eq!(fill(&mut shell, FILES), sum, "all of it comes back, and nothing else than what is written");
    assert!(row(&mut shell, "guests") >= FILES);
    shell.power_off();
}

/// Debian as `name`, with so many MiB of which 64 are its own, and these properties.
fn lender(mib: u64, more: &str) -> Guest {
    Guest::debian(1).memory(mib * MIB).having(&format!("memory-guarantee = /bits/ 64 <{GUARANTEE:#x}>; {more}"))
}

/// The shell of a guest, which has the console from here on.
fn shell_of(mut shell: Shell, name: &str) -> Shell {
    shell.run.focus(name);
    shell.run.send("\n");
    Shell::enter(shell.run)
}

/// Where the lender's balloon is, once that is as it should be.
fn await_balloon(shell: &mut Shell, is_right: impl Fn(&Value) -> bool) -> Value {
    for _ in 0..300 {
        let balloon = shell.hvctl("vm show lender")["balloon"].clone();
        if is_right(&balloon) {
            return balloon;
        }
        shell.command("sleep 0.1").ok();
    }
    panic!("{}", shell.hvctl("vm show lender")["balloon"]);
}

#[test]
fn a_guest_gives_up_what_it_is_asked_for_in_time_or_is_paused_and_so_is_one_that_uses_more_than_there_is() {
    let description = Description::with("debian", Guest::debian(1).memory(160 * MIB))
        .and("lender", lender(320, "memory-missed = \"pause\";"))
        .and("other", Guest::bare("residue", "end=stay").memory(OTHER).manual());
    let mut shell = Shell::enter(Board::default().memory(608).boot(&System::new(&description)));
    shell = shell_of(shell, "lender");
    // Its page cache is full: what it gives up are single pages of that.
    let sum = fill(&mut shell, 100 * MIB);
    shell.run.focus("debian");
    let state = |shell: &mut Shell| shell.hvctl("vm show lender")["summary"]["state"].clone();
    // Less than its files take: it cannot.
    shell.command("hvctl vm memory lender 80M --within 2").ok();
    shell.command("until hvctl vm list | grep -q 'lender *paused'; do sleep 0.5; done").ok();
    let balloon = shell.hvctl("vm show lender")["balloon"].clone();
    assert_eq!((&balloon["missed"], &balloon["target"]), (&true.into(), &(80 * MIB).into()), "{balloon}");
    // It has no page left for a shell's child: it is asked for nothing before it runs on.
    shell.command("hvctl vm memory lender 320M").ok();
    shell.command("hvctl vm resume lender").ok();
    await_balloon(&mut shell, |balloon| balloon["actual"] == 320 * MIB);
    shell.run.focus("lender");
    shell.command(EMPTY).ok();
    shell.run.focus("debian");
    // Now it can; nobody is awake for that, and nothing follows when the time is over.
    shell.command("hvctl vm memory lender 96M --within 60").ok();
    let reached = |balloon: &Value| balloon["actual"] == 96 * MIB && balloon["taken"].as_u64() >= Some(192 * MIB);
    let balloon = await_balloon(&mut shell, reached);
    assert_eq!((&balloon["missed"], &balloon["left_ms"]), (&false.into(), &Value::Null), "{balloon}");
    let refused = shell.command("hvctl vm memory lender 62M").output;
    assert!(refused.contains("less than its memory-guarantee"), "{refused}");
    // It has its memory back, but another has what it gave.
    shell.command("hvctl vm start other").ok();
    shell.command("hvctl vm memory lender 320M").ok();
    await_balloon(&mut shell, |balloon| balloon["actual"] == 320 * MIB);
    assert!(row(&mut shell, "free") < 110 * MIB, "less than it is about to use");
    shell.run.focus("lender");
    shell.run.send("dd if=/dev/zero of=/tmp/more bs=1M count=130 2>/dev/null; echo filled\n");
    shell.run.expect_log("vm lender: paused: it uses memory above its guarantee, and none is free", seconds(120));
    shell.run.focus("debian");
    assert_eq!(state(&mut shell), "paused");
    shell.command("hvctl vm stop other").ok();
    shell.command("hvctl vm resume lender").ok();
    shell.run.focus("lender");
    shell.run.expect("filled", seconds(120));
    shell.run.expect("_end_", seconds(30));
    shell.command("rm /tmp/more").ok();
    assert_eq!(fill(&mut shell, 100 * MIB), sum);
    shell.run.focus("debian");
    assert_eq!(state(&mut shell), "running");
}
