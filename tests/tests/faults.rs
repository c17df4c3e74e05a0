//! The service partition crashes or spins: every request is answered, nothing leaks, guests run on.

use dormouse_tests::description::ALL_GRANTS;
use dormouse_tests::{Board, Description, Guest, Run, Shell, System, artifact, seconds};

const FAILINGS: [&str; 2] = ["crash", "spin"];
/// Lives that may end, idle, before a create and start are through.
const TRIES: u32 = 50;
/// A create and a start of `big` make more privileged calls than the one: its VM, its memory, three copies
/// of the image and one of the tree, its vCPU, its start, a note. And fewer than the other.
const CALLS_MIN: u32 = 9;
const CALLS_MAX: u32 = 60;

fn description() -> Description {
    let debian = Guest::debian(1);
    Description::with("debian", debian).and("big", Guest::bare("big", "").memory(4 << 20).manual()).partition(
        |partition| {
            partition.idle_timeout_ms = 200;
            partition.max_busy_ms = 3000;
        },
    )
}

fn faulty(description: &Description) -> (System, Run) {
    let system = System::with_partition(description, &artifact::faulty_partition());
    let run = Board::default().boot(&system);
    (system, run)
}

#[test]
fn a_request_in_progress_is_answered_with_an_error_and_the_next_one_well() {
    let (_system, run) = faulty(&description());
    let mut shell = Shell::enter(run);
    for (i, failing) in FAILINGS.iter().enumerate() {
        let answer = shell.command(&format!("hvctl debug fault {failing}"));
        assert_eq!(answer.status, 1, "{}", answer.output);
        assert!(answer.output.contains("service partition"), "{}", answer.output);
        assert!(shell.hvctl("vm list").as_array().is_some_and(|list| list.len() == 2));
        assert_eq!(shell.hvctl("sos status")["failures"], i + 1);
    }
    assert_eq!(shell.await_off()["frames"], 0);
}

#[test]
fn a_queued_request_is_answered_by_the_next_life() {
    for failing in FAILINGS {
        let bootargs = format!("ask=vm-list,fault-queued:{failing},vm-list,await-off,sos-status,stay");
        let client = Guest { grants: ALL_GRANTS, ..Guest::bare("client", &bootargs) };
        let description = Description::with("client", client).partition(|partition| {
            partition.idle_timeout_ms = 200;
            partition.max_busy_ms = 3000;
        });
        let (_system, mut run) = faulty(&description);
        run.expect("CLIENT answered: hv: the service partition failed", seconds(30));
        run.expect("CLIENT answered: ok", seconds(30));
        run.expect("CLIENT vm-list: ok", seconds(30));
        run.expect("CLIENT sos state off", seconds(30));
        run.expect("requests 0 frames 0", seconds(30));
    }
}

#[test]
fn a_crash_after_each_privileged_call_of_a_create_and_start_leaks_nothing() {
    fail_after_each_call("crash");
}

#[test]
fn a_hang_after_each_privileged_call_of_a_create_and_start_leaks_nothing() {
    fail_after_each_call("spin");
}

fn fail_after_each_call(failing: &str) {
    let (_system, run) = faulty(&description());
    let mut shell = Shell::enter(run);
    // What EL2 keeps of a guest's last life is the same from the first on.
    shell.command("hvctl vm create new --from big && hvctl vm start new && hvctl vm destroy new").ok();
    shell.await_off();
    let free = shell.hvctl("hv info")["memory"]["free"].clone();
    let last = (1..=CALLS_MAX)
        .find(|&calls| {
            let struck = create_and_start(&mut shell, failing, calls);
            let off = shell.await_off();
            assert_eq!(off["frames"], 0, "after {calls} calls: {off}");
            assert_eq!(off["requests"], 0, "after {calls} calls: {off}");
            assert_eq!(shell.hvctl("hv info")["memory"]["free"], free, "after {calls} calls");
            !struck
        })
        .expect("CALLS_MAX is above what a create and start take");
    println!("{failing} after each of {} calls", last - 1);
    assert!(last > CALLS_MIN, "{last}");
    let log = shell.run.log.text();
    assert!(!log.contains("dormouse: fatal:"), "{log}");
}

/// Creates and starts a guest in a life that fails after `calls` privileged calls; whether it came to that.
fn create_and_start(shell: &mut Shell, failing: &str, calls: u32) -> bool {
    for _ in 0..TRIES {
        let before = shell.hvctl("sos status")["failures"].clone();
        // In one line, so that no life goes idle between its parts.
        let said = shell.command(&format!(
            "hvctl debug fault {failing} --after-calls {calls} && hvctl --json sos status > /armed && \
             {{ hvctl vm create new --from big; created=$?; hvctl vm start new; echo statuses $created $?; }}"
        ));
        let armed_in = shell.command("cat /armed").json()["lives"].clone();
        let after = shell.hvctl("sos status");
        let struck = after["failures"] != before;
        let statuses = said.output.lines().find_map(|line| line.strip_prefix("statuses ")).unwrap_or("none");
        assert!(["0 0", "0 1", "1 0", "1 1"].contains(&statuses), "after {calls} calls: {said:?}");
        let list = shell.hvctl("vm list");
        let debian = list.as_array().and_then(|list| list.iter().find(|vm| vm["name"] == "debian"));
        assert!(debian.is_some_and(|vm| vm["state"] == "running"), "{list}");
        // Whatever was half built is gone; what was built is destroyed now.
        shell.command("hvctl vm stop new");
        shell.command("hvctl vm destroy new");
        if struck {
            return true;
        }
        // A life that ended in time took the fault with it.
        if after["lives"] == armed_in {
            assert_eq!(statuses, "0 0", "{said:?}");
            return false;
        }
    }
    panic!("{TRIES} lives ended before a create and start were through");
}
