//! A few things on every model of CPU; `DORMOUSE_CPU=... make test` runs everything on one.

use dormouse_tests::{Board, CPUS, Description, Guest, Mix, System, seconds};

#[test]
fn on_every_model_debian_and_hvctl_work_beside_hostile_operations() {
    for cpu in CPUS {
        println!("{cpu}");
        Mix::new(5, 10_000).run(Board::default().model(cpu));
    }
}

#[test]
fn on_every_model_equal_asids_of_two_vms_never_mix() {
    for cpu in CPUS {
        println!("{cpu}");
        let guest = |seed: u32| Guest::bare("asid", &format!("rounds=50000 seed={seed}")).vcpus(2);
        let system = System::new(&Description::with("a1", guest(1)).and("a2", guest(2)));
        let mut run = Board::default().model(cpu).cpus(1).boot(&system);
        run.expect("ASID PASS", seconds(120));
        // The other's verdict is on its own console.
        assert_eq!(run.expect_vm_end("a2", seconds(120)), "powered off");
    }
}

#[test]
fn on_every_model_both_timers_wake_their_vcpus() {
    for cpu in CPUS {
        println!("{cpu}");
        let sleepers = Description::with("ptimer", Guest::bare("ptimer", ""));
        let system = System::new(&sleepers.and("sleeper", Guest::bare("sleeper", "period-us=300")));
        let mut run = Board::default().model(cpu).boot(&system);
        run.expect("PTIMER 20 sleeps ended by their interrupt", seconds(60));
    }
}
