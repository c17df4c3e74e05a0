//! The checked build of EL2, which holds each change of a frame's owner against a second account.

use dormouse_tests::debugger::Debugger;
use dormouse_tests::{Board, Description, Guest, Shell, System, artifact, seconds};
use serde_json::Value;

/// The first byte of RAM, and how many frames there are.
const RAM: u64 = 0x4000_0000;
const FRAMES: u64 = 0x4_0000;
/// A frame in the upper half of RAM, which nobody has before guests need so much.
const FAR_FRAME: u64 = 0x3_8000;

fn checked() -> Board {
    Board { kernel: Some(artifact::checked_image().0), ..Board::default() }
}

fn system() -> System {
    let debian = Guest::debian(1);
    let description =
        Description::with("debian", debian).and("tiny", Guest::bare("tiny", "").memory(16 << 20).manual());
    System::new(&description.partition(|partition| partition.idle_timeout_ms = 100))
}

/// Debian in the checked build, and a debugger that has let it run.
fn debugged(system: &System) -> (Shell, Debugger) {
    let (run, mut debugger) = checked().boot_debugged(system);
    debugger.go();
    (Shell::enter(run), debugger)
}

#[test]
fn a_byte_of_the_frame_table_that_changes_by_itself_stops_the_board_at_the_next_change() {
    let system = system();
    let (mut shell, mut debugger) = debugged(&system);
    shell.await_off();
    let log = shell.run.log.text();
    let account = log.split("second account of frames is at 0x").nth(1).and_then(|rest| rest.split_whitespace().next());
    let account = account.and_then(|digits| u64::from_str_radix(digits, 16).ok());
    // The table, a byte for each frame, ends where the account begins.
    let table = account.unwrap_or_else(|| panic!("{log}")) - FRAMES;
    debugger.stop();
    debugger.write(table + FAR_FRAME, &[6]);
    debugger.go();
    shell.run.send("hvctl vm list\n");
    let line = shell.run.expect_fatal(seconds(60));
    assert!(line.ends_with("checked: frame 0x78000000 belongs to Rings by the table, to Free by the ledger"), "{line}");
}

#[test]
fn a_free_frame_that_is_not_zero_stops_the_board_when_it_is_given_out() {
    let system = system();
    let (mut shell, mut debugger) = debugged(&system);
    shell.await_off();
    debugger.stop();
    // Behind the allocator's link.
    debugger.write(RAM + FAR_FRAME * 4096 + 8, &[1]);
    debugger.go();
    shell.run.send("hvctl vm create new --from tiny --memory 640M && hvctl vm start new\n");
    let line = shell.run.expect_fatal(seconds(60));
    assert!(line.contains("checked: 0x78000000 from Free to Vm(VmId(2)): word 1 is not zero"), "{line}");
}

/// What a guest is made of, and who has it: an allocation of each kind.
const KINDS: [&str; 6] = [
    "65536 bytes for Rings",
    "8192 bytes for Tables",
    "2097152 bytes for Vm(VmId(2))",
    "4096 bytes for Tables",
    "4096 bytes for Mailboxes",
    "65536 bytes for Shared",
];

#[test]
fn each_allocation_of_a_guests_making_can_fail_and_leaves_nothing_behind() {
    let tiny = Guest::bare("tiny", "").granted().watched().memory(12 << 20).having("shared-memory = \"link\";");
    let guest = Guest { ports: 2, ..tiny.manual() };
    let description = Description::with("debian", Guest::debian(1)).and("tiny", guest).region("link", 64 << 10);
    let system = System::new(&description.partition(|partition| partition.idle_timeout_ms = 20));
    let (mut shell, mut debugger) = debugged(&system);
    let left = artifact::symbol(&artifact::checked_image().1, "CHECKED_ALLOCATIONS");
    let mut set = |value: u64| {
        debugger.stop();
        debugger.write(left, &value.to_le_bytes());
        debugger.go();
    };
    // The end of its console is kept, so it is there before and after.
    shell.command("hvctl vm start tiny && hvctl vm stop tiny").ok();
    shell.await_off();
    let before = shell.hvctl("hv info")["memory"].clone();
    let mut failed = 0;
    loop {
        set(failed + 1);
        let answer = shell.command("hvctl vm start tiny");
        set(0);
        if answer.status == 0 {
            break;
        }
        assert!(answer.status == 1 && answer.output.contains("no memory"), "{failed}: {}", answer.output);
        assert_eq!(answer.output.trim().lines().count(), 1, "{failed}: {}", answer.output);
        shell.await_off();
        assert_eq!(shell.hvctl("hv info")["memory"], before, "{failed}");
        shell.command("hvctl vm start tiny && hvctl vm stop tiny").ok();
        failed += 1;
    }
    let log = shell.run.log.text();
    let missing: Vec<_> = KINDS.iter().filter(|kind| !log.contains(&format!("checked: refused {kind}"))).collect();
    assert!(missing.is_empty() && !log.contains("dormouse: fatal:"), "after {failed}: {missing:?}");
}

/// Lives of the partition that each begin with some hundred random calls.
const LIVES: u32 = 6;

#[test]
fn random_privileged_calls_beside_guests_leave_both_accounts_equal_and_every_frame_where_it_was() {
    let hostile =
        Guest::bare("hostile", "seed=7 rounds=2000 calls=100000 phases=smccc,psci,gicd,memory,setway,tlbi,sgi")
            .vcpus(2);
    let description = Description::with("debian", Guest::debian(1)).and("hostile", hostile).partition(|partition| {
        partition.idle_timeout_ms = 100;
        // Each call is compared by the whole table.
        (partition.boot_timeout_ms, partition.max_busy_ms) = (120_000, 5000);
    });
    let system = System::with_partition(&description, &artifact::random_partition());
    for seed in 1..=2 {
        let mut run = Board { seed, ..checked() }.boot(&system);
        // The first life makes its calls before it starts a guest.
        run.expect_log("vm debian: started", seconds(120));
        let mut shell = Shell::enter(run);
        assert_eq!(shell.run.expect_vm_end("hostile", seconds(240)), "powered off");
        shell.run.expect_log("vm hostile: memory returned", seconds(60));
        await_off(&mut shell);
        let free = shell.memory();
        for life in 1..=LIVES {
            shell.command_within("hvctl --timeout 120 vm list", seconds(150)).ok();
            let status = await_off(&mut shell);
            assert_eq!((&status["failures"], &status["frames"]), (&0.into(), &0.into()), "life {life}: {status}");
            assert_eq!(shell.memory(), free, "life {life}");
        }
        let log = shell.run.log.text();
        assert!(log.contains("vm random-") && !log.contains("dormouse: fatal:"), "{log}");
    }
}

/// Waits until the partition, which may be at its calls, is off.
fn await_off(shell: &mut Shell) -> Value {
    let end = std::time::Instant::now() + seconds(150);
    loop {
        let status = shell.hvctl("sos status");
        if status["state"] == "off" {
            return status;
        }
        assert!(std::time::Instant::now() < end, "{status}");
        shell.command("sleep 0.1").ok();
    }
}
