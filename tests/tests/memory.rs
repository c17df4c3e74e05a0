//! Memory at its limits: nothing is free, and the service partition wakes all the same.

use dormouse_tests::{Board, Description, Guest, Shell, System};

/// Sizes of guests that fill what is free, largest first. The last is what EL2 gives out at least.
const SIZES: [u64; 9] = [512, 256, 128, 64, 32, 16, 8, 4, 2];
/// Lives of the partition at the end of memory.
const LIVES: u64 = 5;

fn free(shell: &mut Shell) -> u64 {
    shell.await_off();
    shell.hvctl("hv info")["memory"]["free"].as_u64().expect("free")
}

#[test]
fn where_no_memory_is_left_the_partition_wakes_answers_and_sleeps_and_what_ends_makes_room() {
    let description = Description::with("debian", Guest::debian(1)).and("idle", Guest::idle());
    let system = System::new(&description.partition(|partition| partition.idle_timeout_ms = 20));
    let mut shell = Shell::enter(Board::default().boot(&system));
    let before = free(&mut shell);
    let mut started = Vec::new();
    for size in SIZES {
        loop {
            let name = format!("fill-{}", started.len());
            shell.command(&format!("hvctl vm create {name} --from idle --memory {size}M")).ok();
            let answer = shell.command(&format!("hvctl vm start {name}"));
            if answer.status != 0 {
                assert!(answer.output.contains("no memory"), "{size}M: {}", answer.output);
                shell.command(&format!("hvctl vm destroy {name}")).ok();
                break;
            }
            started.push(name);
        }
    }
    let full = free(&mut shell);
    assert!(full < before / 50, "{full} of {before} bytes are left, in {} guests", started.len());
    let first = shell.await_off();
    for life in 1..=LIVES {
        assert_eq!(shell.command("hvctl vm start fill-0").status, 1, "it runs");
        let status = shell.await_off();
        assert_eq!((&status["failures"], &status["frames"]), (&0.into(), &0.into()), "{status}");
        assert_eq!(status["lives"], first["lives"].as_u64().expect("lives") + life);
        assert_eq!(free(&mut shell), full);
    }
    for name in &started {
        shell.command(&format!("hvctl vm destroy {name}")).ok();
    }
    // Of consoles that have ended EL2 keeps what it keeps.
    assert!(before - free(&mut shell) <= 8 * 64 * 1024, "every frame came back");
    shell.command("hvctl vm create again --from idle --memory 512M && hvctl vm start again").ok();
}
