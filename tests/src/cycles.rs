//! Lives of VMs over and over: a few by `make test`, many by `make soak`.
//!
//! `DORMOUSE_SEED` is the seed of what is random, `DORMOUSE_CYCLES` how many cycles there are, `DORMOUSE_FIRST` the first of
//! them (from 0): with the printed seed a run that failed goes on where it did.

use crate::debian::Shell;
use crate::description::{Description, Guest};
use crate::{Board, System, seconds};
use serde_json::Value;
use std::ops::Range;

/// Which cycles are run.
#[derive(Clone, Debug)]
pub struct Cycles {
    /// Their numbers.
    pub range: Range<u64>,
    /// What is random follows from it and from the number of a cycle.
    pub seed: u64,
}

impl Cycles {
    /// So many, or what the environment says.
    pub fn new(count: u64) -> Self {
        let number = |name: &str, default: u64| {
            let text = std::env::var(name).ok();
            text.map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text}: no number")))
        };
        let first = number("DORMOUSE_FIRST", 0);
        let cycles = Self { range: first..first + number("DORMOUSE_CYCLES", count), seed: number("DORMOUSE_SEED", 1) };
        println!("cycles {:?}, DORMOUSE_SEED={}", cycles.range, cycles.seed);
        cycles
    }

    /// Their numbers, one after the other; from time to time one is said.
    fn numbers(&self) -> impl Iterator<Item = u64> {
        self.range.clone().inspect(|number| {
            if *number % 500 == 0 {
                println!("cycle {number}");
            }
        })
    }

    /// The random numbers of cycle `number`.
    pub const fn random(&self, number: u64) -> Random {
        Random(self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (number + 1).wrapping_mul(0xd134_2543_de82_ef95) | 1)
    }
}

/// A seeded generator (xorshift64*).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) % end
    }
}

/// Debian, which manages, beside a guest without rest and one that looks for marks in its memory.
fn managed() -> Shell {
    let description = Description::with("debian", Guest::debian(2))
        .and("storm", Guest::bare("storm", "").manual())
        .and("tiny", Guest::bare("tiny", "period-ms=20").manual())
        .and("residue", Guest::bare("residue", "").memory(512 << 20).manual());
    Shell::enter(Board::default().boot(&System::new(&description)))
}

/// Memory, when everything is at rest.
fn at_rest(shell: &mut Shell) -> Value {
    shell.await_off();
    shell.hvctl("hv info")["memory"].clone()
}

/// Creates, starts, runs and destroys VMs of random shapes: each is destroyed at a random moment, and in whatever state it is
/// brought to. Nothing of them is left, and a new owner of their memory sees nothing of it.
pub fn destroyed_at_any_moment(cycles: &Cycles) {
    let mut shell = managed();
    // What EL2 keeps of the last life is the same from the first on.
    destroy_one(&mut shell, &mut cycles.random(u64::MAX - 1), 0);
    let before = at_rest(&mut shell);
    for cycle in cycles.numbers() {
        destroy_one(&mut shell, &mut cycles.random(cycle), cycle);
    }
    assert_eq!(at_rest(&mut shell), before);
    let list = shell.hvctl("vm list");
    let names: Vec<_> = list.as_array().into_iter().flatten().map(|vm| vm["name"].clone()).collect();
    assert_eq!(names, ["debian", "storm", "tiny", "residue"]);
    shell.hvctl("vm start residue");
    assert_eq!(shell.run.expect_vm_end("residue", seconds(120)), "powered off", "marks of others are found");
    assert!(!shell.run.log.text().contains("dormouse: fatal:"));
}

fn destroy_one(shell: &mut Shell, random: &mut Random, cycle: u64) {
    let (vcpus, memory) = (1 + random.below(8), 32 + 2 * random.below(32));
    let seed = random.below(1 << 20);
    let mut wait = || format!("usleep {}", random.below(60_000));
    let (first, second) = (wait(), wait());
    let before = match random.below(8) {
        0 => "hvctl vm pause x && ",
        1 => "hvctl vm pause x && hvctl vm resume x && ",
        2 => "hvctl vm reboot x && ",
        3 => "hvctl vm stop x && hvctl vm start x && ",
        // The next destroys it while it is being stopped, by another life of the partition or this one.
        4 => "{ hvctl vm stop x >/dev/null 2>&1 & } && ",
        _ => "",
    };
    let script = format!(
        "hvctl vm create x --from storm --vcpus {vcpus} --memory {memory}M --bootargs seed={seed} && hvctl vm start x \
         && {first} && {before} {second} && hvctl vm destroy x; status=$?; wait; [ $status = 0 ]"
    );
    let answer = shell.command(&script);
    assert_eq!(answer.status, 0, "cycle {cycle}: {script}: {}", answer.output);
}

/// Reboots a guest from inside, each life a little longer than what counts as a failed start.
pub fn rebooted_from_inside(cycles: &Cycles) {
    // Without a wait between the lives, in time that idle CPUs skip.
    let description = Description::with("tiny", Guest::bare("tiny", "period-ms=500 reset-after=21"));
    let description = description.partition(|partition| partition.idle_timeout_ms = 100);
    let board = Board::default().clock(crate::Clock::Instructions);
    let mut run = board.boot(&System::new(&description));
    for cycle in cycles.numbers() {
        run.expect("tiny: vcpus 1", seconds(60));
        run.expect("tiny: beat 21", seconds(60));
        assert_eq!(run.expect_vm_end("tiny", seconds(60)), "reset", "cycle {cycle}");
        run.expect_log("vm tiny: memory returned", seconds(60));
    }
    run.expect("tiny: vcpus 1", seconds(60));
    assert!(!run.log.text().contains("dormouse: fatal:"));
}

/// Pauses and resumes a guest without rest, at random moments.
pub fn paused_at_any_moment(cycles: &Cycles) {
    let mut shell = managed();
    shell.hvctl("vm create x --from storm --vcpus 4");
    shell.hvctl("vm start x");
    let uptime = |shell: &mut Shell| shell.hvctl("vm show x")["summary"]["uptime_ns"].as_u64().expect("it runs");
    for cycle in cycles.numbers() {
        let random = &mut cycles.random(cycle);
        shell.command(&format!("usleep {} && hvctl vm pause x", random.below(20_000))).ok();
        let stood = uptime(&mut shell);
        shell.command(&format!("usleep {}", random.below(20_000))).ok();
        assert_eq!(uptime(&mut shell), stood, "cycle {cycle}");
        shell.hvctl("vm resume x");
    }
    assert_eq!(shell.hvctl("vm show x")["summary"]["state"], "running");
    shell.hvctl("vm destroy x");
    assert!(!shell.run.log.text().contains("dormouse: fatal:"));
}

/// The service partition is woken and goes off, with a CPU that firmware turns on and off each time, beside guests that
/// are busy on the others. Each request is answered, and nothing is lost.
pub fn core_turned_off_and_on(cycles: &Cycles) {
    let description = Description::with("debian", Guest::debian(2))
        .and("load", Guest::bare("sleeper", "period-us=2000").vcpus(2))
        .and("busy", Guest::bare("progress", "seconds=1000000").vcpus(2))
        .partition(|partition| {
            partition.idle_timeout_ms = 50;
            partition.power = "power = \"core\"; wakes-per-minute = <60000>;";
        });
    let mut shell = Shell::enter(Board::default().boot(&System::new(&description)));
    let start = shell.await_off();
    let before = shell.hvctl("hv info")["memory"].clone();
    for cycle in cycles.numbers() {
        // At once after the end of the life before, and later.
        shell.command(&format!("usleep {}", cycles.random(cycle).below(20_000))).ok();
        assert!(shell.hvctl("vm list").as_array().is_some_and(|list| list.len() == 3), "cycle {cycle}");
        let off = shell.await_off();
        assert_eq!(off["failures"], 0, "cycle {cycle}: {off}");
    }
    let (count, end) = (cycles.range.end - cycles.range.start, shell.await_off());
    assert_eq!(end["lives"].as_u64(), start["lives"].as_u64().map(|lives| lives + count), "{end}");
    assert_eq!(shell.hvctl("hv info")["memory"], before);
    let log = shell.run.log.text();
    assert!(!log.contains("dormouse: fatal:") && !log.contains("it shares the guests' CPUs"), "{log}");
    // The last one may be on its way to the log, and one that is needed again at once does not go off.
    let (off, lives) = (log.matches("cpu:     3 off").count() as u64, end["lives"].as_u64().unwrap_or(0));
    assert!((lives / 2..=lives).contains(&off), "{off} of {lives}: {log}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cycle_is_the_same_wherever_a_run_begins() {
        let cycles = Cycles { range: 0..9, seed: 7 };
        let numbers = |cycle| (0..4).map(|_| cycles.random(cycle).below(1000)).collect::<Vec<_>>();
        assert_eq!(numbers(5), numbers(5));
        let different =
            (0..100).map(|cycle| cycles.random(cycle).below(1 << 40)).collect::<std::collections::HashSet<_>>();
        assert_eq!(different.len(), 100);
    }
}
