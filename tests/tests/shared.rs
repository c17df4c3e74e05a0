//! Memory that VMs share, and doorbells between them, in the checked build.

use dormouse_tests::{Board, Description, Guest, Shell, System, artifact, seconds};
use serde_json::Value;
use std::time::Instant;

const KIB: u64 = 1 << 10;
const LINK: &str = "shared-memory = \"link\";";
const LINK_READ_ONLY: &str = "shared-memory-read-only = \"link\";";

fn guest(options: &str, properties: &str) -> Guest {
    Guest::bare("shared", options).memory(8 << 20).having(properties).manual()
}

fn shell(description: Description) -> Shell {
    let description = description.partition(|partition| partition.idle_timeout_ms = 20);
    let board = Board { kernel: Some(artifact::checked_image().0), ..Board::default() };
    Shell::enter(board.boot(&System::new(&description)))
}

/// Starts a guest and waits until it has said `words`: all that it has said.
fn start(shell: &mut Shell, name: &str, words: &str) -> String {
    shell.hvctl(&format!("vm start {name}"));
    said(shell, name, words)
}

fn said(shell: &mut Shell, name: &str, words: &str) -> String {
    let end = Instant::now() + seconds(30);
    loop {
        let text = shell.command(&format!("hvctl vm logs {name}")).output;
        if text.contains(words) {
            return text;
        }
        assert!(Instant::now() < end, "{name}: no {words:?} in {text}");
    }
}

/// Bytes that guests have, what they share included.
fn guests(shell: &mut Shell) -> Value {
    shell.await_off();
    shell.hvctl("hv info")["memory"]["guests"].clone()
}

#[test]
fn guests_share_a_region_by_their_rights_ring_each_other_and_the_last_one_takes_it_along() {
    let description = Description::with("debian", Guest::debian(1))
        .region("link", 64 * KIB)
        .and("asks", guest("role=ask", LINK))
        .and("answers", guest("role=answer", LINK))
        .and("reads", guest("role=read", LINK_READ_ONLY));
    let mut shell = shell(description);
    let before = guests(&mut shell);
    start(&mut shell, "answers", "number 1 present 0x2 first 0x0 left 0x0");
    start(&mut shell, "asks", "asked 100 rounds");
    said(&mut shell, "answers", "answered 100 rounds");
    // ESR_EL1.EC 0x25: a data abort without a change of exception level (Arm ARM D24.2.40).
    let read = start(&mut shell, "reads", "store class 0x25 left 0x5a5a0001");
    assert!(read.contains("number 2 present 0x7 first 0x64 left 0x5a5a0001"), "{read}");
    // Whoever goes takes nothing from the others.
    for _ in 0..2 {
        shell.hvctl("vm stop asks");
        let again = start(&mut shell, "asks", "asked 100 rounds");
        assert!(again.contains("number 0 present 0x7 first 0x64 left 0x5a5a0001"), "{again}");
    }
    for name in ["answers", "asks", "reads"] {
        shell.hvctl(&format!("vm stop {name}"));
    }
    assert_eq!(guests(&mut shell), before, "every frame came back");
    start(&mut shell, "reads", "number 2 present 0x4 first 0x0 left 0x0");
    // Only those that the description names.
    shell.hvctl("vm create copy --from asks");
    assert_eq!(shell.hvctl("vm show copy")["spec"]["shared"], Value::Array(Vec::new()));
}

#[test]
fn what_a_guest_does_to_what_it_shares_harms_nobody_else() {
    let attack = |seed| format!("role=attack rounds=300 seed={seed}");
    let both = "shared-memory = \"link\", \"large\";";
    let description = Description::with("debian", Guest::debian(1))
        .region("link", 64 * KIB)
        .region("large", 8192 * KIB)
        .and("first", guest(&attack(1), both))
        .and("second", guest(&attack(2), both));
    let mut shell = shell(description);
    let before = guests(&mut shell);
    shell.command("hvctl vm start first && hvctl vm start second").ok();
    for name in ["first", "second"] {
        said(&mut shell, name, "SHARED attacked");
    }
    shell.run.expect_log_of_all(&["first", "second"].map(|name| format!("vm {name}: memory returned")), seconds(60));
    assert_eq!(guests(&mut shell), before, "every frame came back");
}
