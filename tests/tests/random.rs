//! Random numbers: where they come from, and what guests get of them.

use dormouse_tests::{Board, Description, Guest, Run, Shell, System, seconds};
use std::collections::HashSet;

/// The guest that asks, again and again: it resets itself.
fn system(bootargs: &str) -> System {
    let description = Description::with("trng", Guest::bare("trng", bootargs));
    System::new(&description.partition(|partition| partition.idle_timeout_ms = 50))
}

/// A board whose firmware leaves no seed in its tree, which has no second UART either: the log is on the console.
fn without_seed(board: Board, system: &System) -> Board {
    board.tree(system, |text| {
        let is_seed = |line: &&str| line.trim_start().starts_with("rng-seed");
        assert_eq!(text.lines().filter(is_seed).count(), 1, "QEMU gives one seed");
        text.lines().filter(|line| !is_seed(line)).collect::<Vec<_>>().join("\n")
    })
}

/// The seed in the tree of the guest's next life, when all that it asks for is right.
fn next_seed(run: &mut Run) -> String {
    let line = run.expect_line("TRNG seed ", seconds(60));
    run.expect("TRNG ok", seconds(60));
    line
}

#[test]
fn a_guest_gets_numbers_within_its_share_and_a_new_seed_in_each_life() {
    let system = system("");
    let mut run = Board::default().boot(&system);
    run.expect_log("random:  firmware's rng-seed", seconds(30));
    let mut seeds = HashSet::from([next_seed(&mut run)]);
    // From the second restart in a row on it is put off, and another life of the partition does it.
    for life in 2..=3 {
        run.expect_log(&format!("sos: life {life}, woken by"), seconds(60));
        assert!(seeds.insert(next_seed(&mut run)), "{seeds:?}");
    }
}

#[test]
fn debian_finds_the_interface_and_reads_its_entropy_device_within_its_share() {
    let system = System::new(&Description::with("debian", Guest::debian(1).having("rng;")));
    let mut shell = Shell::enter(Board::default().boot(&system));
    // Linux makes the device where TRNG_VERSION is answered (drivers/firmware/smccc/smccc.c).
    shell.command("test -d /sys/devices/platform/smccc_trng").ok();
    assert_eq!(shell.command("cat /sys/class/misc/hw_random/rng_current").ok(), "virtio_rng.0\n");
    // 48 KiB; 8 of them at most are there at once, and 16 come in each second.
    let uptime = "cut -d' ' -f1 /proc/uptime";
    let read = "dd if=/dev/hwrng of=/tmp/random bs=1k count=48 iflag=fullblock 2>/dev/null";
    let said =
        shell.command_within(&format!("{uptime}; {read}; {uptime}; gzip -c /tmp/random | wc -c"), seconds(120)).ok();
    let numbers: Vec<f64> = said.lines().filter_map(|line| line.trim().parse().ok()).collect();
    let [before, after, size] = numbers[..] else { panic!("{said}") };
    assert!(after - before > 2.4, "{said}");
    // What is random cannot be made shorter.
    assert!(size > 49_152.0, "{said}");
}

#[test]
fn boards_that_differ_in_firmwares_seed_alone_give_other_numbers() {
    let system = system("");
    let seeds = [1, 2].map(|seed| next_seed(&mut Board { seed, ..Board::counting(1) }.boot(&system)));
    assert_ne!(seeds[0], seeds[1]);
}

#[test]
fn the_cpus_generator_is_enough() {
    let system = system("");
    let board = without_seed(Board::default().model("max"), &system);
    let mut run = board.boot(&system);
    run.expect("random:  RNDR", seconds(30));
    next_seed(&mut run);
}

#[test]
fn without_a_source_a_line_says_so_and_guests_get_nothing() {
    let system = system("source=none");
    let mut run = without_seed(Board::default().model("cortex-a72"), &system).boot(&system);
    run.expect("random:  no rng-seed of firmware, no RNDR, no TRNG", seconds(30));
    run.expect("TRNG no seed", seconds(60));
    run.expect("TRNG ok", seconds(60));
}
