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
