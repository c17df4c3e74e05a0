//! What vCPUs get of the CPUs, by the description and at run time, as EL2 counts it and as guests see it.

use dormouse_tests::description::Start;
use dormouse_tests::{Board, Clock, Description, Guest, Run, Shell, System, seconds};
use serde_json::Value;

/// A guest that never gives way, on two vCPUs.
fn busy(properties: &str) -> Guest {
    Guest::bare("progress", "seconds=100000").vcpus(2).having(properties)
}

/// A guest that asks, and has the console.
fn client(ask: &str) -> Description {
    let client = Guest::bare("client", &format!("ask={ask},stay")).granted();
    Description::with("client", client).partition(|partition| partition.idle_timeout_ms = 300)
}

/// A line of the client about a vCPU.
#[derive(Clone, Debug)]
struct Line {
    vm: String,
    cpu: u8,
    ran: f64,
    waited: f64,
    at: f64,
}

fn lines(text: &str) -> Vec<Line> {
    let parse = |line: &str| {
        let words = line.split_whitespace().collect::<Vec<_>>();
        let ["CLIENT", "vcpu", vm, _, "on", cpu, _, "at", at, "ran", ran, "waited", waited, ..] = words[..] else {
            return None;
        };
        let number = |text: &str| text.parse::<f64>().expect("a number");
        Some(Line { vm: vm.into(), cpu: number(cpu) as u8, at: number(at), ran: number(ran), waited: number(waited) })
    };
    text.lines().filter_map(parse).collect()
}

/// The next list of vCPUs.
fn next_list(run: &mut Run) -> Vec<Line> {
    lines(&run.expect("CLIENT vcpus: ok", seconds(300)))
}

/// What each vCPU of the VM `name` ran between two lists, of the time between them.
fn shares(before: &[Line], after: &[Line], name: &str) -> Vec<f64> {
    let of = |list: &[Line]| list.iter().filter(|line| line.vm == name).cloned().collect::<Vec<_>>();
    let pairs = of(before).into_iter().zip(of(after));
    pairs.map(|(before, after)| (after.ran - before.ran) / (after.at - before.at)).collect()
}

/// The largest error of a share in its own measure, among busy guests with these weights.
fn error(before: &[Line], after: &[Line], weights: &[(&str, f64)]) -> f64 {
    let all = weights.iter().flat_map(|(name, weight)| {
        let shares = shares(before, after, name);
        assert_eq!(shares.len(), 2, "{name}: {after:?}");
        shares.into_iter().map(|share| (share, *weight))
    });
    let all: Vec<(f64, f64)> = all.collect();
    let (ran, sum) = all.iter().fold((0.0, 0.0), |(ran, sum), (share, weight)| (ran + share, sum + weight));
    all.iter().map(|(share, weight)| (share * sum / (ran * weight) - 1.0).abs()).fold(0.0, f64::max)
}

#[test]
fn eight_busy_vcpus_on_one_cpu_share_by_weight_and_by_a_weight_that_is_set_at_run_time() {
    let ask =
        "sleep:300,vcpus,sleep:1000,vcpus,vm-set:b2:weight:400,vm-set:b4:weight:50,sleep:300,vcpus,sleep:1000,vcpus";
    let system = System::new(
        &client(ask)
            .and("b1", busy("cpu-weight = <50>;"))
            .and("b2", busy(""))
            .and("b3", busy("cpu-weight = <200>;"))
            .and("b4", busy("cpu-weight = <400>;")),
    );
    let mut run = Board::counting(1).boot(&system);
    for weights in [[50.0, 100.0, 200.0, 400.0], [50.0, 400.0, 200.0, 50.0]] {
        let weights: Vec<_> = ["b1", "b2", "b3", "b4"].into_iter().zip(weights).collect();
        let (before, after) = (next_list(&mut run), next_list(&mut run));
        let error = error(&before, &after, &weights);
        println!("{weights:?}: error {error:.4}");
        assert!(error < 0.01, "{weights:?}: {error}\n{before:?}\n{after:?}");
        // Who could run and did not has waited.
        for (before, after) in before.iter().zip(&after).filter(|(before, _)| before.vm.starts_with('b')) {
            let both = after.ran - before.ran + after.waited - before.waited;
            assert!((both / (after.at - before.at) - 1.0).abs() < 0.01, "{before:?} {after:?}");
        }
    }
}

#[test]
fn a_reservation_is_met_in_every_period_beside_eight_busy_vcpus() {
    let reserved = Guest::bare("periods", "period-us=10000 periods=100").having("cpu-reservation = <2000 10000>;");
    let mut description = Description::with("periods", reserved);
    for name in ["b1", "b2", "b3", "b4"] {
        description = description.and(name, busy(""));
    }
    let mut run = Board::counting(1).boot(&System::new(&description));
    let line = run.expect_line("PERIODS 100 least-ns ", seconds(300));
    let numbers: Vec<u64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    println!("{line}");
    // The switches to and from it are paid from its budget.
    assert!(numbers[1] > 1_980_000 && numbers[2] < 2_010_000, "{line}");
}

#[test]
fn a_cap_holds_on_a_cpu_that_is_free_and_goes_when_it_is_taken_away() {
    let ask = "sleep:100,vcpus,sleep:500,vcpus,vm-set:b1:cap:0,sleep:100,vcpus,sleep:500,vcpus";
    let system = System::new(&client(ask).and("b1", busy("cpu-cap = <250>;")));
    let mut run = Board::counting(1).boot(&system);
    for expected in [0.25, 0.5] {
        let (before, after) = (next_list(&mut run), next_list(&mut run));
        let shares = shares(&before, &after, "b1");
        println!("{shares:?}");
        assert!(shares.len() == 2 && shares.iter().all(|share| (share / expected - 1.0).abs() < 0.02), "{shares:?}");
    }
}

/// Moves a guest with an interrupt active, another pending and a running timer from CPU to CPU.
fn moves(board: &Board) {
    let cpus = [3, 0, 2, 1, 3, 1, 0, 2];
    // A host that is busy may take its time for a CPU of the board: there is a second look.
    let moves = cpus.map(|cpu| format!("vm-set:migrant:affinity:{cpu},sleep:10,vcpus,sleep:2000,vcpus"));
    let ask = format!("await-off,{}", moves.join(","));
    let system = System::new(&client(&ask).and("migrant", Guest::bare("migrant", "")).and("b1", busy("")));
    let mut run = board.boot(&system);
    for cpu in cpus {
        let lists = [next_list(&mut run), next_list(&mut run)];
        let on = lists.each_ref().map(|list| list.iter().find(|line| line.vm == "migrant").expect("migrant").cpu);
        assert_eq!(on[1], cpu, "{lists:?}");
    }
    run.focus("migrant");
    run.send("q");
    let line = run.expect_line("MIGRANT ", seconds(60));
    assert!(line.ends_with("rounds ok"), "{line}");
    println!("{line}");
}

#[test]
fn interrupts_that_are_active_or_pending_and_the_timer_follow_a_vcpu_whose_affinity_is_set() {
    moves(&Board::default());
}

#[test]
fn interrupts_and_timer_follow_a_vcpu_under_icount_too() {
    moves(&Board::counting(4));
}

#[test]
fn busy_vcpus_on_four_cpus_share_within_five_percent() {
    // Two thirds and a third of a CPU each: no vCPU could have more than one.
    let ask = "await-off,sleep:200,vcpus,sleep:6000,vcpus,sleep:6000,vcpus,sleep:6000,vcpus";
    let system = System::new(
        &client(ask)
            .and("b1", busy("cpu-weight = <200>;"))
            .and("b2", busy("cpu-weight = <200>;"))
            .and("b3", busy(""))
            .and("b4", busy("")),
    );
    let mut run = Board::default().boot(&system);
    let weights = [("b1", 200.0), ("b2", 200.0), ("b3", 100.0), ("b4", 100.0)];
    let mut before = next_list(&mut run);
    // A CPU that the host keeps from running for a tenth of a second is taken for one that has run so long: another window.
    let errors = [(); 3].map(|()| {
        let after = next_list(&mut run);
        error(&std::mem::replace(&mut before, after), &before, &weights)
    });
    println!("errors {errors:.4?}");
    assert!(errors.iter().any(|error| *error < 0.05), "{errors:?}");
}

/// Stolen time of a Debian guest in hundredths of a second, by its /proc/stat (proc(5), the eighth number).
fn stolen(shell: &mut Shell) -> u64 {
    let line = shell.command("grep '^cpu ' /proc/stat").ok();
    line.split_whitespace().nth(8).and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{line}"))
}

/// A second of work in a shell or two, and when it began and ended.
const WORK: &str = "cut -d' ' -f1 /proc/uptime; end=$(($(date +%s) + 2)); while [ $(date +%s) -lt $end ]; do :; done; \
                    cut -d' ' -f1 /proc/uptime";

#[test]
fn debian_shows_stolen_time_beside_a_busy_guest_and_none_alone() {
    let description =
        Description::with("debian", Guest::debian(1)).and("b1", Guest { start: Start::Manual, ..busy("") });
    let system = System::new(&description.partition(|partition| partition.idle_timeout_ms = 200));
    let mut shell = Shell::enter(Board::default().cpus(1).clock(Clock::Instructions).boot(&system));
    shell.await_off();
    let before = stolen(&mut shell);
    shell.command(WORK).ok();
    assert_eq!(stolen(&mut shell), before, "alone");
    shell.hvctl("vm start b1");
    shell.await_off();
    let before = stolen(&mut shell);
    let times = shell.command(WORK).ok();
    let [begun, ended] = times.lines().filter_map(|line| line.parse::<f64>().ok()).collect::<Vec<_>>()[..] else {
        panic!("{times}");
    };
    let took = (ended - begun) * 100.0;
    let part = (stolen(&mut shell) - before) as f64 / took;
    // Two busy vCPUs and this one: it waits for two thirds of the time that it works.
    assert!((0.60..0.73).contains(&part), "{part} of {took}");
}

fn vm<'v>(sample: &'v Value, name: &str) -> &'v Value {
    let vms = sample[0]["vms"].as_array().expect("VMs");
    vms.iter().find(|vm| vm["name"] == name).unwrap_or_else(|| panic!("{name} in {sample}"))
}

#[test]
fn top_shows_shares_and_exits_and_what_was_set() {
    let b1 = Guest { start: Start::Manual, ..busy("cpu-weight = <300>; cpu-affinity = <2>;") };
    let system = System::new(&Description::with("debian", Guest::debian(2)).and("b1", b1));
    let mut shell = Shell::enter(Board::default().boot(&system));
    shell.hvctl("vm start b1");
    shell.hvctl("vm set b1 --affinity 1 --weight 200");
    // Two vCPUs on one CPU; one that the host does not run for a while is taken for one that waits.
    let fits =
        |sample: &Value| vm(sample, "b1")["cpu_percent"].as_f64().is_some_and(|share| (90.0..101.0).contains(&share));
    let sample = (0..5).map(|_| shell.hvctl("top -i 2")).find(fits).expect("all of a CPU for b1");
    let b1 = vm(&sample, "b1");
    assert!(b1["steal_percent"].as_f64().is_some_and(|steal| steal > 90.0), "{sample}");
    assert!(b1["vcpus"].as_array().is_some_and(|vcpus| vcpus.len() == 2 && vcpus.iter().all(|vcpu| vcpu["cpu"] == 1)));
    let debian = vm(&sample, "debian");
    assert!(debian["exits_per_s"]["device"].as_f64().is_some_and(|rate| rate > 0.0), "{sample}");
    let shown = shell.hvctl("vm show b1");
    assert_eq!(shown["spec"]["cpu"]["affinity"], serde_json::json!([1]), "{shown}");
    assert_eq!(shown["spec"]["cpu"]["weight"], 200);
    let text = shell.command("hvctl top --vcpus -n 2 -i 0.2").ok();
    assert_eq!(text.matches("VCPU").count(), 2, "{text}");
    assert!(text.contains("debian") && text.contains("b1"), "{text}");
    // What was set goes with the VM; the next start is by the description.
    shell.hvctl("vm stop b1");
    shell.hvctl("vm start b1");
    assert_eq!(shell.hvctl("vm show b1")["spec"]["cpu"]["weight"], 300);
}

#[test]
fn a_vcpu_that_owns_the_first_cpu_is_disturbed_neither_by_keys_nor_by_the_service_partition() {
    let pinned = Guest::bare("switch", "role=load").memory(16 << 20).having("cpu-affinity = <0>; cpu-pinned;");
    let mut shell = Shell::enter(
        Board::default().boot(&System::new(&Description::with("debian", Guest::debian(2)).and("pinned", pinned))),
    );
    // An interrupt that was on its way there is passed on.
    shell.await_off();
    shell.command("hvctl top -i 10 --json >/sample &").ok();
    for _ in 0..5 {
        assert!(shell.hvctl("vm list").is_array());
    }
    shell.await_off();
    let sample: Value = serde_json::from_str(&shell.command("wait; cat /sample").ok()).expect("JSON");
    let pinned = vm(&sample, "pinned");
    assert!(pinned["cpu_percent"].as_f64().is_some_and(|share| share > 99.0), "{sample}");
    assert_eq!(pinned["vcpus"][0]["cpu"], 0, "{sample}");
    let exits = pinned["exits_per_s"].as_object().expect("rates").values();
    assert_eq!(exits.filter_map(Value::as_f64).sum::<f64>(), 0.0, "{sample}");
}

#[test]
fn top_needs_no_more_than_the_grant_info() {
    let debian = Guest { grants: &["info"], ports: 1, ..Guest::debian(1) };
    let mut shell = Shell::enter(Board::default().boot(&System::new(&Description::with("debian", debian))));
    let sample = shell.hvctl("top -i 0.3");
    assert!(vm(&sample, "debian")["cpu_percent"].as_f64().is_some_and(|share| share > 0.0), "{sample}");
    assert_eq!(shell.command("hvctl vm set debian --weight 5").status, 1);
}

#[test]
fn settings_that_cannot_be_are_refused_by_property_and_reason_and_change_nothing() {
    let b1 = busy("cpu-weight = <300>;");
    let tiny = Guest::bare("tiny", "").manual();
    let pinned = Guest::bare("tiny", "").vcpus(2).manual().having("cpu-affinity = <3>; cpu-pinned;");
    let description =
        Description::with("debian", Guest::debian(2)).and("b1", b1).and("tiny", tiny).and("greedy", pinned);
    let mut shell = Shell::enter(Board::default().boot(&System::new(&description)));
    let before = shell.hvctl("vm show b1")["spec"]["cpu"].clone();
    for (command, status, reason) in [
        ("vm set b1 --weight 0", 1, "vm \"b1\": cpu-weight: 0 is not in 1..=10000"),
        ("vm set b1 --cap 5", 1, "vm \"b1\": cpu-cap: 5 is not in 10..=1000 thousandths of a CPU"),
        ("vm set b1 --affinity 7", 1, "vm \"b1\": cpu-affinity: the board does not have all of these CPUs"),
        (
            "vm set b1 --reserve 50/1000",
            1,
            "vm \"b1\": cpu-reservation: budget of 50 us is not in 100 up to its period",
        ),
        (
            "vm set b1 --affinity 0 --reserve 5000/10000",
            1,
            "vm \"b1\": cpu-reservation: does not fit: nine tenths of a CPU can be reserved",
        ),
        (
            "vm set b1 --affinity 3 --pin",
            1,
            "vm \"b1\": cpu-affinity: too few of its CPUs are open, pinned vCPUs own the others",
        ),
        ("vm set b1 --pin --cap 100", 1, "vm \"b1\": cpu-pinned: not together with cpu-cap or cpu-reservation"),
        (
            "vm set tiny --weight 5",
            1,
            "vm \"tiny\" does not run; what it starts with is part of the system description",
        ),
        ("vm set nobody --weight 5", 1, "vm \"nobody\": no such VM"),
        (
            "vm start greedy",
            1,
            "vm \"greedy\": cpu-affinity: too few of its CPUs are open, pinned vCPUs own the others",
        ),
        ("vm set b1", 2, "required"),
        ("vm set b1 --affinity 3-1", 2, "3-1"),
    ] {
        let answer = shell.command(&format!("hvctl {command}"));
        assert_eq!(answer.status, status, "{command}: {}", answer.output);
        assert!(answer.output.contains(reason), "{command}: {}", answer.output);
        assert_eq!(answer.output.trim().lines().count(), 1, "{command}: {}", answer.output);
        assert_eq!(shell.hvctl("vm show b1")["spec"]["cpu"], before, "{command}");
    }
    // What was tried and refused is free again, and what was given as well once its VM is gone.
    for _ in 0..3 {
        shell.hvctl("vm set b1 --pin");
        let last_two = shell.command("hvctl vm set debian --pin");
        assert_eq!(last_two.status, 1, "{}", last_two.output);
        shell.hvctl("vm stop b1");
        shell.hvctl("vm start b1");
    }
}
