//! What `make run` boots, by the script that boots it, with pipes in place of a terminal.

use dormouse_tests::{artifact, seconds};
use std::io::Write as _;
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, PoisonError};

/// The script's log is a file of the build: one run at a time.
static RUN: Mutex<()> = Mutex::new(());

/// Seconds that a run may take.
const LIMIT: u64 = 60;
/// The status of `timeout` where it had to end its command.
const TIMED_OUT: i32 = 124;

/// A command that ends whatever is behind it after [`LIMIT`].
fn limited() -> Command {
    let mut command = Command::new("timeout");
    command.args(["-k", "5", &seconds(LIMIT).as_secs().to_string()]);
    command
}

/// Runs the demo with more QEMU options and `input` on its standard input, which then ends.
fn demo(options: &str, input: &str) -> Output {
    let _one = RUN.lock().unwrap_or_else(PoisonError::into_inner);
    artifact::built("demo.cpio");
    let mut child = limited()
        .arg(artifact::root().join("board/setup/run.sh"))
        .current_dir(artifact::root())
        .env("QEMU_ARGS", options)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("run.sh starts");
    child.stdin.take().and_then(|mut pipe| pipe.write_all(input.as_bytes()).ok()).expect("run.sh reads");
    let output = child.wait_with_output().expect("run.sh is our child");
    assert_ne!(output.status.code(), Some(TIMED_OUT), "no end within {LIMIT} s:\n{}", text(&output));
    output
}

/// Runs `command` in a terminal of 80 columns; what it printed, and whether it succeeded.
fn in_a_terminal(command: &str, input: &str) -> (String, bool) {
    let _one = RUN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut child = limited()
        .current_dir(artifact::root())
        .args(["script", "-qec", command, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("script starts");
    child.stdin.take().and_then(|mut pipe| pipe.write_all(input.as_bytes()).ok()).expect("script reads");
    let output = child.wait_with_output().expect("script is our child");
    (text(&output), output.status.success())
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

#[test]
fn in_a_terminal_the_banner_says_how_to_leave_and_how_to_switch() {
    let (text, success) = in_a_terminal("board/setup/run.sh", "hvctl vm list\npoweroff -f\n");
    assert!(text.contains("Leave: Ctrl-A x.  Switch consoles (EL2, service partition, guests): Ctrl-]"), "{text}");
    assert!(success && text.contains("board: off"), "{text}");
}

#[test]
fn in_a_terminal_ctrl_a_x_leaves() {
    let (text, success) = in_a_terminal("board/setup/run.sh", "\u{1}x");
    assert!(success && !text.contains("board: off"), "{text}");
}

/// A directory that comes first in PATH, with a program of this content under each name.
fn shadowed(names: &[&str], content: &str) -> (dormouse_tests::System, String) {
    let files = dormouse_tests::System::from_source("/dts-v1/; / { };");
    for name in names {
        let file = files.file(name, content.as_bytes());
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&file, mode).expect("an executable file");
    }
    let path = format!("{}:{}", artifact::text(files.directory()), std::env::var("PATH").expect("PATH"));
    (files, path)
}

#[test]
fn a_qemu_that_is_too_old_is_refused_by_one_line() {
    let (_files, path) = shadowed(&["qemu-system-aarch64"], "#!/bin/sh\necho QEMU emulator version 7.2.1\n");
    let output = Command::new(artifact::root().join("board/setup/run.sh")).env("PATH", path).output();
    let output = output.expect("run.sh starts");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.lines().count() == 1 && errors.contains("QEMU 9.0 or later is needed, found 7.2.1"), "{errors}");
}

#[test]
fn what_is_there_is_neither_installed_nor_fetched_again() {
    // Whoever asks the network asks one of these.
    let (_files, path) = shadowed(&["apt-get", "apt-cache", "sudo", "curl", "wget"], "#!/bin/sh\necho $0 $*; exit 1\n");
    for script in ["install.sh", "debian.sh"] {
        let output = Command::new(artifact::root().join("board/setup").join(script))
            .envs([
                ("PATH", path.as_str()),
                ("https_proxy", "http://127.0.0.1:1"),
                ("RUSTUP_DIST_SERVER", "http://127.0.0.1:1"),
            ])
            .output()
            .expect("the script starts");
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success() && said.is_empty(), "{script}: {}: {said}", output.status);
    }
}
