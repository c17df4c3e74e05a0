//! Where the service partition runs, who may wake it how often, and who pays for it.

use dormouse_tests::artifact::LOAD_ADDRESS;
use dormouse_tests::debugger::Register;
use dormouse_tests::{Board, Description, Guest, Shell, System, artifact, seconds};
use serde_json::Value;

const SHARED: &str = "power = \"shared\";";
/// A CPU for the partition alone, which is off while that sleeps.
const CORE: &str = "power = \"core\";";
/// The same, which guests have meanwhile.
const LENT: &str = "power = \"core\"; core-lend;";

fn description(power: &'static str) -> Description {
    Description::with("debian", Guest::debian(2)).partition(|partition| {
        partition.idle_timeout_ms = 100;
        partition.power = power;
    })
}

/// CPUs that run, and that are off.
fn cpus(shell: &mut Shell) -> (u64, u64) {
    let info = shell.hvctl("hv info");
    (info["cpus"].as_u64().expect("cpus"), info["cpus_off"].as_u64().expect("cpus_off"))
}

/// Waits until so many CPUs run, and the rest is off.
fn await_cpus(shell: &mut Shell, wanted: (u64, u64)) {
    for _ in 0..200 {
        if cpus(shell) == wanted {
            return;
        }
        shell.command("sleep 0.1").ok();
    }
    panic!("{:?} instead of {wanted:?}", cpus(shell));
}

#[test]
fn a_cpu_of_its_own_is_off_while_it_sleeps_and_on_for_a_request() {
    let description = description(CORE).partition(|partition| partition.idle_timeout_ms = 3000);
    let mut shell = Shell::enter(Board::default().boot(&System::new(&description)));
    shell.run.expect_log("has CPU 3 for itself, off while it sleeps", seconds(60));
    for _ in 0..3 {
        shell.await_off();
        await_cpus(&mut shell, (3, 1));
        shell.run.expect_log("cpu:     3 off", seconds(60));
        assert!(shell.hvctl("vm list").is_array());
        assert_eq!(cpus(&mut shell), (4, 0));
    }
    assert!(!shell.run.log.text().contains("dormouse: fatal:"));
}

/// Busy vCPUs of the guest `busy`, in hundredths of a CPU, and the CPUs that they are on.
fn busy(shell: &mut Shell) -> (f64, Vec<u64>) {
    let sample = shell.hvctl("top -i 1");
    let vms = sample[0]["vms"].as_array().cloned().unwrap_or_default();
    let vm = vms.into_iter().find(|vm| vm["name"] == "busy").unwrap_or_else(|| panic!("busy in {sample}"));
    let vcpus = vm["vcpus"].as_array().cloned().unwrap_or_default();
    let cpus = vcpus.iter().filter_map(|vcpu| vcpu["cpu"].as_u64()).collect();
    (vm["cpu_percent"].as_f64().expect("cpu_percent"), cpus)
}

/// The same until it is so; a CPU that the host does not run for a while is taken for one that waits.
fn await_busy(shell: &mut Shell, fits: impl Fn(f64, &[u64]) -> bool) {
    let mut seen = Vec::new();
    for _ in 0..5 {
        let (share, on) = busy(shell);
        if fits(share, &on) {
            return;
        }
        seen.push((share, on));
    }
    panic!("{seen:?}");
}

/// Debian beside a guest with as many busy vCPUs as there are CPUs.
fn beside_busy(power: &'static str, idle_timeout_ms: u32) -> Shell {
    let guest = Guest::bare("progress", "seconds=1000000").vcpus(4);
    let description = description(power).and("busy", guest.manual());
    let description = description.partition(|partition| partition.idle_timeout_ms = idle_timeout_ms);
    let mut shell = Shell::enter(Board::default().boot(&System::new(&description)));
    shell.hvctl("vm start busy");
    shell
}

#[test]
fn a_cpu_that_is_lent_runs_guests_while_the_partition_sleeps_and_them_only() {
    let mut shell = beside_busy(LENT, 6000);
    for _ in 0..2 {
        shell.hvctl("vm list");
        let (share, on) = busy(&mut shell);
        assert!(share < 310.0 && !on.contains(&3), "the partition has CPU 3: {share} {on:?}");
        shell.await_off();
        // CPU 3 is lent.
        await_busy(&mut shell, |share, _| share > 350.0);
        assert_eq!(cpus(&mut shell), (4, 0));
    }
}

#[test]
fn guests_keep_off_a_cpu_that_is_not_lent() {
    let mut shell = beside_busy(CORE, 100);
    shell.await_off();
    await_cpus(&mut shell, (3, 1));
    let (share, on) = busy(&mut shell);
    assert!(share < 310.0 && !on.contains(&3), "{share} {on:?}");
}

#[test]
fn no_vcpu_is_bound_to_the_partitions_cpu() {
    for power in [CORE, LENT] {
        let mut shell = beside_busy(power, 100);
        for wrong in ["--affinity 3", "--affinity 3 --pin", "--affinity 3 --reserve 1000/10000"] {
            let answer = shell.command(&format!("hvctl vm set busy {wrong}"));
            assert_eq!(answer.status, 1, "{wrong}: {}", answer.output);
            assert!(answer.output.contains("too few of its CPUs are open"), "{wrong}: {}", answer.output);
        }
        shell.hvctl("vm set busy --affinity 2-3");
        shell.await_off();
        let wanted = if power == LENT { 150.0..210.0 } else { 80.0..110.0 };
        await_busy(&mut shell, |share, on| wanted.contains(&share) && on.iter().all(|cpu| *cpu >= 2));
        shell.hvctl("vm list");
    }
}

#[test]
fn without_a_cpu_to_spare_it_shares_and_says_so() {
    for (cpus, power, cpu) in [(1, CORE, 0), (1, LENT, 0), (2, "power = \"core\"; core-cpu = <5>;", 5)] {
        let mut run = Board::default().cpus(cpus).boot(&System::new(&description(power)));
        run.expect_log(&format!("CPU {cpu} is not there, or boots: it shares the guests' CPUs"), seconds(60));
        let mut shell = Shell::enter(run);
        assert!(shell.hvctl("vm list").is_array());
        shell.await_off();
        assert_eq!(self::cpus(&mut shell), (u64::from(cpus), 0));
        assert!(shell.hvctl("vm list").is_array());
    }
}

#[test]
fn any_cpu_but_the_first_can_be_the_partitions() {
    let power = "power = \"core\"; core-cpu = <1>;";
    let mut shell = Shell::enter(Board::default().cpus(2).boot(&System::new(&description(power))));
    for _ in 0..5 {
        shell.await_off();
        await_cpus(&mut shell, (1, 1));
        assert!(shell.hvctl("vm list").is_array());
    }
    assert!(shell.run.log.text().contains("cpu:     1 off"));
}

/// Of `sos history`, what was done for `name`.
fn asker(history: &Value, name: &str) -> Value {
    let askers = history["askers"].as_array().cloned().unwrap_or_default();
    askers.into_iter().find(|asker| asker["name"] == name).unwrap_or_else(|| panic!("{name} in {history}"))
}

#[test]
fn lives_and_their_cost_are_told_without_waking_anybody() {
    let client = Guest::bare("client", "ask=vm-list,await-off repeat=3").granted().manual();
    let mut shell = Shell::enter(Board::default().boot(&System::new(&description(SHARED).and("client", client))));
    shell.await_off();
    for _ in 0..20 {
        shell.hvctl("vm list");
        shell.await_off();
    }
    let before = shell.hvctl("sos history");
    assert_eq!(shell.hvctl("sos status")["state"], "off");
    let lives = before["lives"].as_array().cloned().unwrap_or_default();
    let numbers: Vec<_> = lives.iter().filter_map(|life| life["life"].as_u64()).collect();
    assert_eq!(numbers, (6..=21).collect::<Vec<_>>(), "{before}");
    for life in &lives {
        assert_eq!(
            (&life["woken_by"], &life["end"], &life["requests"]),
            (&"debian".into(), &"drained".into(), &1.into())
        );
        let (on, cpu) = (life["on_ns"].as_u64().unwrap_or(0), life["cpu_ns"].as_u64().unwrap_or(0));
        assert!(on > 100_000_000 && (100_000..on).contains(&cpu), "{life}");
    }
    let (hv, debian) = (asker(&before, "hv"), asker(&before, "debian"));
    assert_eq!((&hv["wakes"], &debian["wakes"], &debian["requests"]), (&1.into(), &20.into(), &20.into()));
    let least = lives.iter().filter_map(|life| life["cpu_ns"].as_u64()).min();
    assert!(debian["cpu_ns"].as_u64() > least.map(|cpu| cpu * 10), "{before}");
    shell.hvctl("vm start client");
    shell.run.expect_vm_end("client", seconds(60));
    shell.run.expect_log("vm client: memory returned", seconds(60));
    shell.await_off();
    let after = shell.hvctl("sos history");
    let client = asker(&after, "client");
    // The first one found the partition on, or not.
    assert!(client["wakes"].as_u64() >= Some(2) && client["requests"] == 3, "{after}");
    assert!(asker(&after, "hv")["wakes"].as_u64() >= Some(2), "its end: {after}");
    let text = shell.command("hvctl sos history").ok();
    assert!(text.contains("WOKEN BY") && text.contains("ASKER"), "{text}");
}

#[test]
fn who_asks_all_the_time_wakes_it_at_its_rate_and_others_are_answered_at_once() {
    let hostile = Guest::bare("client", "ask=vm-list,await-off repeat=1000000").granted().manual();
    let description = description(SHARED).and("client", hostile).partition(|partition| {
        partition.idle_timeout_ms = 50;
        partition.more = "wakes-per-minute = <6>; wake-burst = <12>;".into();
    });
    let mut shell = Shell::enter(Board::default().boot(&System::new(&description)));
    shell.hvctl("vm start client");
    // Its burst, and then it waits.
    let wakes = |shell: &mut Shell| asker(&shell.hvctl("sos history"), "client")["wakes"].as_u64().unwrap_or(0);
    let patience = 300;
    assert!((0..patience).any(|_| wakes(&mut shell) >= 11), "{}", shell.hvctl("sos history"));
    let (first, begin) = (wakes(&mut shell), shell.hvctl("sos status"));
    for _ in 0..8 {
        shell.await_off();
        let asked = std::time::Instant::now();
        shell.hvctl("vm list");
        assert!(asked.elapsed() < seconds(5), "{:?}", asked.elapsed());
    }
    let (last, end) = (wakes(&mut shell), shell.hvctl("sos status"));
    let up = |status: &Value| status["up_ns"].as_u64().unwrap_or(0);
    let allowed = (up(&end) - up(&begin)) / 10_000_000_000 + 2;
    assert!(last - first <= allowed, "{last} - {first}, {begin} {end}");
    // It gets its answers in the end, by its own token or by others' wakes.
    let requests = |shell: &mut Shell| asker(&shell.hvctl("sos history"), "client")["requests"].as_u64();
    let had = requests(&mut shell);
    assert!((0..600).any(|_| requests(&mut shell) > had));
}

#[test]
fn where_its_cpu_does_not_come_it_shares_and_says_so() {
    let client = Guest::bare("client", "ask=await-off,vm-list,await-off,hv-info,vm-list,stay").granted();
    let description = Description::with("client", client).partition(|partition| {
        partition.idle_timeout_ms = 100;
        partition.power = CORE;
    });
    let system = System::new(&description);
    let (mut run, mut debugger) = Board::default().cpus(2).boot_debugged(&system);
    let symbol = |name| artifact::symbol(&artifact::built("hyp.elf"), name);
    assert_eq!(debugger.run_to(symbol("hv_secondary")), 1, "at boot");
    assert_eq!(debugger.run_to(symbol("secondary_entry")), 1, "for the first request");
    debugger.set(Register::PC, halted());
    debugger.leave();
    run.expect_log("CPU 1 is not turned on (it does not come): it shares the guests' CPUs", seconds(60));
    for _ in 0..2 {
        run.expect("CLIENT vm-list: ok", seconds(60));
    }
    assert!(run.console.text().contains("CLIENT hv cpus 1"), "{}", run.console.text());
}

/// A loop of the image that waits for ever: `wfi`, `b .-4`.
fn halted() -> u64 {
    let image = std::fs::read(artifact::built("dormouse.img")).expect("dormouse.img");
    let words: Vec<_> =
        image.chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]])).collect();
    let place = words.windows(2).position(|pair| pair == [0xd503_207f, 0x17ff_ffff]).expect("such a loop");
    LOAD_ADDRESS + 4 * place as u64
}

#[test]
fn an_alarm_wakes_it_and_its_cpu() {
    let tiny = Guest::bare("tiny", "").restarts("on-failure", 4);
    let description = Description::with("tiny", tiny).partition(|partition| {
        partition.idle_timeout_ms = 50;
        partition.power = CORE;
    });
    let mut run = Board::default().cpus(2).boot(&System::new(&description));
    // The first restart is at once, the second one after a second; before those of two and four seconds the partition is
    // off, and its CPU, until the alarm.
    for waits in [false, false, true, true] {
        run.expect("tiny: vcpus 1", seconds(30));
        run.expect_log("cpu:     1 off", seconds(30));
        run.send("c");
        run.expect_log("vm tiny: crashed", seconds(30));
        if waits {
            run.expect_log("cpu:     1 off", seconds(30));
        }
        run.expect_log("vm tiny: started", seconds(60));
        run.expect("[console: tiny]", seconds(30));
    }
}

#[test]
fn lives_that_crash_and_hang_on_its_cpu_are_told_by_their_ends() {
    let description = description(CORE).partition(|partition| partition.max_busy_ms = 3000);
    let system = System::with_partition(&description, &artifact::faulty_partition());
    let mut shell = Shell::enter(Board::default().boot(&system));
    for (failing, end) in [("crash", "crashed"), ("spin", "hung"), ("crash", "crashed")] {
        shell.await_off();
        await_cpus(&mut shell, (3, 1));
        assert_eq!(shell.command(&format!("hvctl debug fault {failing}")).status, 1);
        let history = shell.hvctl("sos history");
        let lives = history["lives"].as_array().cloned().unwrap_or_default();
        let failed = lives.iter().rev().find(|life| life["end"] == end).unwrap_or_else(|| panic!("{end} in {history}"));
        assert_eq!(failed["woken_by"], "debian", "{history}");
        assert!(shell.hvctl("vm list").is_array());
    }
    assert_eq!(shell.hvctl("sos status")["failures"], 3);
    shell.await_off();
    await_cpus(&mut shell, (3, 1));
}
