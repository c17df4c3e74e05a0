//! Guests that try: nobody else notices, and each sees what is its own.

use dormouse_tests::description::ALL_GRANTS;
use dormouse_tests::{Board, Clock, Description, Guest, Mix, SUM, Shell, System, seconds};

/// Seeds of the hostile guest; `make soak` takes more.
const SEEDS: [u32; 2] = [1, 2];

fn hostile_beside_debian(seed: u32, grants: &'static [&'static str], bootargs: &str) {
    let hostile = Guest::bare("hostile", &format!("seed={seed} {bootargs}")).vcpus(2);
    let hostile = Guest { grants, ports: u32::from(!grants.is_empty()), ..hostile };
    let hostile = hostile.having("rng; disks { d { compatible = \"dormouse,disk\"; }; };");
    let nics = "nics { eth0 { compatible = \"dormouse,nic\"; network = \"arena\"; }; };";
    let debian = Guest::debian(2).having(nics);
    let description = Description::with("debian", debian).and("hostile", hostile.having(nics)).network("arena", "");
    let system = System::new(&description);
    let drive = system.directory().join("drive.raw");
    std::fs::write(&drive, vec![0; 4 << 20]).expect("a drive");
    let mut shell = Shell::enter(Board { seed, ..Board::default() }.drive(&drive).boot(&system));
    assert_eq!(shell.run.expect_vm_end("hostile", seconds(600)), "powered off");
    let list = shell.hvctl("vm list");
    assert!(
        list.as_array().is_some_and(|list| list.iter().any(|vm| vm["name"] == "debian" && vm["state"] == "running")),
        "{list}"
    );
    assert_eq!(shell.command("seq 1000 | md5sum").ok().split(' ').next(), Some(SUM));
    let off = shell.await_off();
    assert_eq!((&off["failures"], &off["frames"]), (&0.into(), &0.into()), "{off}");
    let log = shell.run.log.text();
    assert!(!log.contains("dormouse: fatal:"), "{log}");
}

#[test]
fn a_hostile_guest_with_every_grant_harms_nobody() {
    hostile_beside_debian(SEEDS[0], ALL_GRANTS, "rounds=5000");
}

#[test]
fn a_hostile_guest_without_grants_harms_nobody() {
    hostile_beside_debian(SEEDS[1], &[], "rounds=5000");
}

#[test]
fn a_hostile_guest_that_crashes_at_the_end_is_only_that() {
    let hostile = Guest::bare("hostile", "phases=smccc calls=1000 end=crash");
    let system = System::new(&Description::with("debian", Guest::debian(1)).and("hostile", hostile));
    let mut shell = Shell::enter(Board::default().boot(&system));
    assert_eq!(shell.run.expect_vm_end("hostile", seconds(60)), "crashed");
    assert!(shell.hvctl("vm list").is_array());
}

#[test]
fn a_hundred_thousand_hostile_operations_with_every_grant_harm_nobody() {
    Mix::new(1, 100_000).run(Board::default());
}

#[test]
fn hostile_operations_without_grants_by_eight_vcpus_harm_nobody() {
    let mix = Mix { grants: &[], vcpus: 8, ..Mix::new(2, 20_000) };
    mix.run(Board::default().cpus(2));
}

#[test]
fn beside_hostile_operations_on_one_cpu_no_timer_is_late_by_more_than_everybody_elses_turn() {
    // Six other vCPUs with slices of 4 ms, and something for what is done between them.
    let mix = Mix { late_ms: 30, ..Mix::new(3, 3_000) };
    mix.run(Board::counting(1));
}

#[test]
fn a_guest_that_is_destroyed_amid_hostile_operations_gives_everything_back() {
    Mix::new(4, 400_000).run_and_destroy(Board::default(), 20_000);
}

#[test]
fn a_guest_that_ends_amid_hostile_operations_leaves_nothing_behind() {
    let ends = [("off", "powered off"), ("reset", "reset"), ("crash", "crashed")];
    Mix::new(5, 100_000).end_abruptly(Board::default(), &[ends, ends].concat());
}

#[test]
fn debian_keeps_time_under_load_with_cpus_that_come_and_go_beside_hostile_operations() {
    let mix = Mix { linux: 4, ..Mix::new(6, 400_000) };
    mix.run_beside_load(Board::default(), 20);
}

fn asids(guests: u32, board: &Board) {
    let guest = |seed: u32| Guest::bare("asid", &format!("rounds=100000 seed={seed}")).vcpus(2);
    let others = (2..=guests).map(|seed| (format!("a{seed}"), seed)).collect::<Vec<_>>();
    let description = Description::with("a1", guest(1));
    let description = others.iter().fold(description, |all, (name, seed)| all.and(name, guest(*seed)));
    let system = System::new(&description);
    let mut run = board.boot(&system);
    run.expect("ASID PASS", seconds(300));
    // The others' verdicts are on their own consoles.
    let names = others.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>();
    assert_eq!(run.expect_vm_ends(&names, seconds(300)), vec!["powered off"; names.len()]);
    let log = run.log.text();
    assert!(!log.contains("crashed"), "{log}");
}

#[test]
fn two_vcpus_of_one_vm_with_equal_asids_on_one_cpu_never_mix() {
    asids(1, &Board::default().cpus(1));
    asids(1, &Board::default().cpus(1).clock(Clock::Instructions));
}

#[test]
fn vcpus_of_two_vms_with_equal_asids_on_one_cpu_never_mix() {
    asids(2, &Board::default().cpus(1));
    asids(2, &Board::default().cpus(1).clock(Clock::Instructions));
}

#[test]
fn vcpus_that_migrate_keep_their_own_translations() {
    asids(2, &Board::default().cpus(2));
}

#[test]
fn two_vms_of_two_vcpus_on_one_cpu_all_progress_every_20_ms() {
    let guest = || Guest::bare("progress", "seconds=2 limit-ms=20").vcpus(2);
    let description = Description::with("p1", guest()).and("p2", guest());
    // The second VM gets the console when the first has ended.
    let system = System::new(&description);
    let mut run = Board::counting(1).boot(&system);
    run.expect("PROGRESS ok", seconds(300));
    let second = System::new(&Description {
        partition: dormouse_tests::Partition { console_first: Some("p2".into()), ..description.partition.clone() },
        ..description.clone()
    });
    drop(run);
    let mut run = Board::counting(1).boot(&second);
    run.expect("PROGRESS ok", seconds(300));
}

#[test]
fn three_vcpus_share_two_cpus_fairly_so_they_migrate() {
    // QEMU gives each CPU turns of up to 50 ms under icount, and sees no turn's end in a spinning hypervisor.
    let guest = Guest::bare("progress", "seconds=2 limit-ms=500").vcpus(3);
    let mut run = Board::counting(2).boot(&System::new(&Description::with("progress", guest)));
    let report = run.expect("PROGRESS ok", seconds(300));
    let steps = report
        .lines()
        .filter_map(|line| line.strip_prefix("PROGRESS vcpu ")?.split_whitespace().nth(2)?.parse().ok())
        .collect::<Vec<f64>>();
    let most = steps.iter().copied().fold(0.0, f64::max);
    let least = steps.iter().copied().fold(f64::MAX, f64::min);
    // Each gets two thirds of a CPU. Were they bound to CPUs, two would get a half and one the whole.
    assert!(steps.len() == 3 && most / least < 1.5, "{report}");
}
