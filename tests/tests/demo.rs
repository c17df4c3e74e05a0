//! What `make run` boots, by the script that boots it, with pipes in place of a terminal.

use dormouse_tests::{artifact, seconds};
use std::io::Write as _;
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// The script's log is a file of the build: one run at a time.
static RUN: Mutex<()> = Mutex::new(());

/// Runs the demo with more QEMU options and `input` on its standard input, which then ends.
fn demo(options: &str, input: &str) -> Output {
    let _one = RUN.lock().unwrap_or_else(PoisonError::into_inner);
    artifact::built("demo.cpio");
    let start = Instant::now();
    let mut child = Command::new(artifact::root().join("board/setup/run.sh"))
        .current_dir(artifact::root())
        .env("QEMU_ARGS", options)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("run.sh starts");
    child.stdin.take().and_then(|mut pipe| pipe.write_all(input.as_bytes()).ok()).expect("run.sh reads");
    let output = child.wait_with_output().expect("run.sh is our child");
    assert!(start.elapsed() < seconds(60), "{:?}", start.elapsed());
    output
}

fn text(output: &Output) -> String {
    output.stdout.iter().copied().map(char::from).collect::<String>().replace('\r', "")
}

#[test]
fn a_script_boots_debian_asks_and_powers_off() {
    let output = demo("", "stty -echo\nhvctl --json vm list\nhvctl --json sos status; echo status $?\npoweroff -f\n");
    let text = text(&output);
    assert!(output.status.success(), "{}: {text}", output.status);
    // With one UART the log is there until the first guest has it, and after the last.
    for part in ["Dormouse ", "sos: life 1", "vm debian: started", "[console: debian]", "status 0", "board: off"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    for key in ["\"name\":\"debian\"", "\"lives\":"] {
        let answer =
            text.lines().find(|line| line.contains(key)).and_then(|line| line.find(['[', '{']).map(|at| &line[at..]));
        let answer = answer.unwrap_or_else(|| panic!("{key}: {text}"));
        assert!(serde_json::from_str::<serde_json::Value>(answer).is_ok(), "torn: {answer}");
    }
}

#[test]
fn a_start_that_fails_has_one_fatal_line_and_an_exit_status() {
    let output = demo("-m 64M", "");
    let text = text(&output);
    assert!(!output.status.success(), "{text}");
    let fatal = text.lines().filter(|line| line.starts_with("dormouse: fatal:")).count();
    assert_eq!(fatal, 1, "{text}");
}
