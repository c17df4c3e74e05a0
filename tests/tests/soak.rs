//! Long runs, by `make soak`.

use dormouse_tests::cycles::{
    Cycles, core_turned_off_and_on, destroyed_at_any_moment, paused_at_any_moment, rebooted_from_inside,
};
use dormouse_tests::description::ALL_GRANTS;
use dormouse_tests::{Board, Description, Guest, Mix, Shell, System, seconds};
use std::time::{SystemTime, UNIX_EPOCH};

#[test]
#[ignore = "long; make soak runs it"]
fn five_hundred_wakes_lose_nothing_and_the_frames_come_back() {
    let description = Description::with("debian", Guest::debian(2))
        .and("load", Guest::bare("sleeper", "period-us=2000").vcpus(2))
        .partition(|partition| {
            partition.idle_timeout_ms = 50;
            partition.more = "wakes-per-minute = <60000>;".into();
        });
    let system = System::new(&description);
    let mut shell = Shell::enter(Board::default().boot(&system));
    let start = shell.await_off();
    let free = shell.hvctl("hv info")["memory"]["free"].clone();
    for i in 1..=500 {
        assert!(shell.hvctl("vm list").is_array());
        let off = shell.await_off();
        assert_eq!(off["lives"].as_u64(), start["lives"].as_u64().map(|lives| lives + i), "cycle {i}: {off}");
        assert_eq!(off["failures"], 0, "cycle {i}: {off}");
    }
    assert_eq!(shell.hvctl("hv info")["memory"]["free"], free);
}

#[test]
#[ignore = "long; make soak runs it"]
fn a_thousand_lives_each_turn_their_cpu_on_and_off() {
    core_turned_off_and_on(&Cycles::new(1000));
}

/// Says how to repeat what has failed.
struct Repeat(&'static str, u32);

impl Drop for Repeat {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self(test, seed) = self;
            let tail = format!("cargo test -p dormouse-tests -- soak::{test} --ignored --nocapture");
            eprintln!("to repeat: DORMOUSE_SEED={seed} {tail}");
        }
    }
}

/// `DORMOUSE_SEED`, or another one each time.
fn seed() -> u32 {
    let given = std::env::var("DORMOUSE_SEED").ok();
    let given = given.map(|text| text.parse().unwrap_or_else(|_| panic!("DORMOUSE_SEED={text}: no number")));
    // 24 bits: the guest puts the operation's number beside it.
    given.unwrap_or_else(|| {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |now| now.as_secs() as u32 & 0xff_ffff)
    })
}

#[test]
#[ignore = "long; make soak runs it"]
fn ten_million_hostile_operations_harm_nobody() {
    let repeat = Repeat("ten_million_hostile_operations_harm_nobody", seed());
    println!("hostile operations of seed {}", repeat.1);
    let mix = Mix { time: seconds(7200), ..Mix::new(repeat.1, 10_000_000) };
    mix.run(Board::default());
}

#[test]
#[ignore = "long; make soak runs it"]
fn debian_keeps_time_for_ten_minutes_under_load_beside_hostile_operations() {
    let repeat = Repeat("debian_keeps_time_for_ten_minutes_under_load_beside_hostile_operations", seed());
    println!("hostile operations of seed {}", repeat.1);
    let mix = Mix { linux: 4, time: seconds(600), ..Mix::new(repeat.1, 10_000_000) };
    mix.run_beside_load(Board::default(), 600);
}

#[test]
#[ignore = "long; make soak runs it"]
fn hostile_guests_of_many_seeds_harm_nobody() {
    for seed in 10..20 {
        let hostile =
            Guest { grants: ALL_GRANTS, ports: 1, ..Guest::bare("hostile", &format!("seed={seed}")).vcpus(2) };
        let description = Description::with("debian", Guest::debian(2)).and("hostile", hostile);
        let system = System::new(&description);
        let mut shell = Shell::enter(Board { seed, ..Board::default() }.boot(&system));
        assert_eq!(shell.run.expect_vm_end("hostile", seconds(900)), "powered off", "seed {seed}");
        assert!(shell.hvctl("vm list").is_array(), "seed {seed}");
        assert!(!shell.run.log.text().contains("dormouse: fatal:"), "seed {seed}");
    }
}

#[test]
#[ignore = "long; make soak runs it"]
fn ten_thousand_vms_destroyed_at_any_moment_leave_nothing() {
    destroyed_at_any_moment(&Cycles::new(10_000));
}

#[test]
#[ignore = "long; make soak runs it"]
fn a_guest_reboots_from_inside_a_thousand_times() {
    rebooted_from_inside(&Cycles::new(1000));
}

#[test]
#[ignore = "long; make soak runs it"]
fn a_guest_is_paused_and_resumed_a_thousand_times() {
    paused_at_any_moment(&Cycles::new(1000));
}
