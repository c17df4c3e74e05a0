//! Where the service partition runs, who may wake it how often, and who pays for it.

use dormouse_tests::{Board, Description, Guest, Shell, System, seconds};

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
        let (share, on) = busy(&mut shell);
        assert!(share > 350.0, "CPU 3 is lent: {share} {on:?}");
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
        let (share, on) = busy(&mut shell);
        let wanted = if power == LENT { 150.0..210.0 } else { 80.0..110.0 };
        assert!(wanted.contains(&share) && on.iter().all(|cpu| *cpu >= 2), "{power}: {share} {on:?}");
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
