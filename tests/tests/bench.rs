//! The figures, by `make bench`: `BENCH <name> <value>` for each, and the table of the documents.

mod networks;
mod ratios;

use dormouse_tests::description::{ALL_GRANTS, Partition};
use dormouse_tests::figures::{Measured, median};
use dormouse_tests::{Board, Description, Entry, Guest, Run, Shell, System, artifact, seconds};
use std::path::PathBuf;
use std::process::Command;

/// Rounds of everything that is measured many times.
const ROUNDS: u32 = 1000;
const LOCAL: &str = "psci_version,hvc_unknown,doorbell,gicd_typer,sysreg_id,uart_char,sgi_self,vtimer,wfi_wake_alone,wake_idle,sgi_cross";
const SERVICES: &str = "sos_warm_vm_list,sos_ram,sos_cold_vm_list,info";
/// Kernel command line of both runs of the ratio.
const QUIET: &str = "console=ttyAMA0 quiet nokaslr";
const LONG: u64 = 1800;
/// Rounds of whole lives of VMs.
const CYCLES: u32 = 20;

/// What a guest's counter counts from.
#[derive(Clone, Copy)]
enum Origin {
    /// Its own start.
    Guest,
    /// The board's reset.
    Board,
}

fn bench_guest(run: &str, vcpus: u32) -> Guest {
    let bootargs = format!("rounds={ROUNDS} run={run}");
    Guest { memory: 256 << 20, grants: ALL_GRANTS, ..Guest::bare("bench", &bootargs).vcpus(vcpus) }
}

fn description(run: &str, vcpus: u32) -> Description {
    // A short idle time lets a thousand cold wakes fit; it is virtual time that nothing runs in.
    Description::with("bench", bench_guest(run, vcpus))
        .partition(|partition: &mut Partition| partition.idle_timeout_ms = 20)
}

/// The bench guest beside a model of VMs whose code does nothing, so that only what EL2 and the partition do is counted.
fn cycles() -> System {
    let bootargs = format!("rounds={CYCLES} run=vm_cycle");
    let bench = Guest { bootargs, ..bench_guest("", 1) };
    let model = Guest::idle().memory(16 << 20);
    System::new(&Description::with("bench", bench).and("model", model))
}

fn output(run: &mut Run) -> String {
    run.expect("BENCH-END", seconds(LONG))
}

#[test]
fn a_vm_is_defined_started_and_destroyed_and_each_of_its_frames_scrubbed_within_the_limits() {
    let mut measured = Measured::default();
    measured.read(&output(&mut Board::counting(1).boot(&cycles())));
    println!("{}", measured.lines());
    let missed = measured.missed();
    let missed: Vec<_> = missed.iter().filter(|line| !line.ends_with("not measured")).collect();
    assert!(missed.is_empty() && measured.get("vm_cycle").is_some(), "{missed:?}");
}

#[test]
#[ignore = "long; make bench runs it"]
fn every_figure_is_within_its_limit() {
    let mut measured = Measured::default();
    let image = artifact::built("dormouse.img");
    println!("image {}", artifact::run(Command::new("sha256sum").arg(&image)).trim());
    let size = std::fs::metadata(&image).expect("dormouse.img").len();
    measured.set("el2_image", size as f64);

    let system = System::new(&description(&format!("{LOCAL},{SERVICES}"), 2));
    let text = output(&mut Board::counting(2).boot(&system));
    measured.read(&text);
    memory_figures(&text, &mut measured);
    print_statistics(&text);

    // On one CPU, so that it is shared for certain, with a neighbour that wakes in between.
    let shared = description("wfi_wake_shared", 1).and("sleeper", Guest::bare("sleeper", "period-us=300"));
    let text = output(&mut Board::counting(1).boot(&System::new(&shared)));
    measured.read(&text);
    print_statistics(&text);

    // On one CPU, so that each instruction is one tick, whoever runs it.
    let text = output(&mut Board::counting(1).boot(&cycles()));
    measured.read(&text);
    print_statistics(&text);

    let boot = System::new(&description("info", 1));
    let text = output(&mut Board::counting(1).boot(&boot));
    measured.read(&text);
    // Whether a guest's counter begins at its own start or at the board's.
    let origin = match measured.get("boot_to_guest") {
        Some(boot) if row(&text, "entry_count") < boot => Origin::Guest,
        _ => Origin::Board,
    };

    switches(&mut measured);
    quiet(&mut measured);
    let pinned = "cpu-affinity = <1>; cpu-pinned;";
    println!("INFO rt_jitter_pinned in QEMU's long turns: {}", jitter(pinned, 2, false));
    measured.set("rt_jitter_pinned", jitter(pinned, 2, true));
    measured.set("rt_jitter_reserved", jitter("cpu-reservation = <200 1000>;", 1, false));
    stays(&mut measured);
    blocks(&mut measured);
    networks::frames(&mut measured);
    networks::cold_request(&mut measured);
    networks::flood(&mut measured);
    ratios::disks(&mut measured);
    ratios::outside(&mut measured);
    ratios::between_guests(&mut measured);
    linux(&mut measured, origin);
    print!("{}", measured.lines());
    println!("\n{}", measured.table());
    let missed = measured.missed();
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

/// From one vCPU to another: by a WFI, and at the end of a turn with more and more that wait.
fn switches(measured: &mut Measured) {
    let guest = |options: &str, vcpus| Guest::bare("switch", options).vcpus(vcpus).memory(16 << 20);
    let pair = Description::with("waiter", guest("role=waiter", 1)).and("busy", guest("role=busy", 1));
    let mut run = Board::counting(1).boot(&System::new(&pair));
    let slept = counts(&mut run, "SLEPT ");
    run.focus("busy");
    let back = counts(&mut run, "BACK ");
    let first_after = |at: &f64| back.iter().copied().find(|count| count > at).map(|count| count - at);
    record("vcpu_switch", slept.iter().filter_map(first_after).collect(), measured);

    for (name, runnable) in [("pick_next_4", 4), ("pick_next_64", 64), ("pick_next_256", 256)] {
        let mut description = Description::with("turns", guest("role=turns", runnable.min(8)));
        for load in 1..(runnable / 8).max(1) {
            description = description.and(&format!("load{load}"), guest("role=load", 8));
        }
        let mut run = Board::counting(1).boot(&System::new(&description));
        record(name, counts(&mut run, "TURN "), measured);
    }
    let picks =
        ["pick_next_4", "pick_next_64", "pick_next_256"].map(|name| measured.get(name).unwrap_or(f64::INFINITY));
    let (least, most) =
        picks.iter().fold((f64::INFINITY, 0.0), |(a, b): (f64, f64), pick| (a.min(*pick), b.max(*pick)));
    measured.set("pick_next_spread", most / least);
}

/// Latest less earliest wake of a guest that sleeps a millisecond ten thousand times, beside guests that compute and one
/// that lets the service partition come and go.
///
/// QEMU runs one CPU after the other, each until the next deadline of any timer by the time when the round began. So a
/// timer that a guest sets comes late by what another CPU runs meanwhile, which no hardware knows. `metronome` is a CPU that
/// has a deadline in a microsecond at all times: it keeps the CPUs' turns that short.
fn jitter(properties: &str, cpus: u32, metronome: bool) -> f64 {
    let load = || Guest::bare("switch", "role=load").vcpus(2).memory(16 << 20);
    let asks = Guest::bare("client", "ask=vm-list,await-off repeat=1000000").granted();
    let real_time = Guest::bare("bench", "rounds=10000 run=rt_jitter").having(properties);
    let mut description =
        Description::with("bench", real_time).and("busy", load()).and("busier", load()).and("asks", asks);
    if metronome {
        let own = format!("cpu-affinity = <{cpus}>; cpu-pinned;");
        let guest = Guest::bare("switch", "role=metronome").memory(16 << 20).having(&own);
        description = description.and("metronome", guest);
    }
    let system = System::new(&description.partition(|partition| partition.idle_timeout_ms = 20));
    let mut run = Board::counting(cpus + u32::from(metronome)).boot(&system);
    let text = output(&mut run);
    print_statistics(&text);
    let value = |line: &str, word: usize| line.split_whitespace().nth(word).and_then(|value| value.parse::<f64>().ok());
    let of = |start: &str, word| text.lines().find(|line| line.starts_with(start)).and_then(|line| value(line, word));
    let (Some(least), Some(most)) = (of("BENCH rt_jitter ", 2), of("STAT rt_jitter ", 4)) else { panic!("{text}") };
    assert!(run.log.text().matches("sos: life ").count() > 10, "the service partition cycles");
    most - least
}

/// Exits of a guest that owns a CPU and computes for a second; what EL2 executes in a second while all guests sleep.
fn quiet(measured: &mut Measured) {
    let asks = Guest::bare("client", "ask=await-off,sleep:100,vcpus,sleep:1000,vcpus,stay").granted();
    let pinned = Guest::bare("switch", "role=load").memory(16 << 20).having("cpu-affinity = <1>; cpu-pinned;");
    let description = Description::with("asks", asks).and("pinned", pinned);
    let mut run = Board::counting(2).boot(&System::new(&description));
    let mut exits = || {
        let text = run.expect("CLIENT vcpus: ok", seconds(LONG));
        let line = text.lines().rfind(|line| line.starts_with("CLIENT vcpu pinned 0 on 1 ")).expect("pinned");
        let counts = line.split_once("exits [").and_then(|(_, counts)| counts.split_once(']')).expect("exits").0;
        counts.split(", ").map(|count| count.parse::<f64>().expect("a count")).sum::<f64>()
    };
    let before = exits();
    measured.set("pinned_exits", exits() - before);

    // Their timers are due in hours.
    let sleeper = || Guest::bare("tiny", "period-ms=10000000").memory(16 << 20);
    let mut description = Description::with("sleeper1", sleeper());
    for number in 2..=16 {
        description = description.and(&format!("sleeper{number}"), sleeper());
    }
    let system = System::new(&description.partition(|partition| partition.idle_timeout_ms = 20));
    let log = system.directory().join("executed.log");
    let more = ["-D", artifact::text(&log)].map(String::from).to_vec();
    let mut run = Board { more, ..Board::default() }.boot(&system);
    run.expect_log("sos: off", seconds(60));
    // Each of them has begun to wait: it takes a key.
    for number in 1..=16 {
        if number > 1 {
            run.send("\u{1d}");
            run.expect("[console: sleeper", seconds(20));
        }
        run.send("x");
        run.expect("tiny: got 'x'", seconds(20));
    }
    let count = || std::fs::read_to_string(&log).map_or(0, |text| text.lines().count());
    run.monitor("log exec,nochain");
    std::thread::sleep(seconds(5));
    let executed = count();
    // That what is executed is seen: a key wakes the guest that has the console.
    run.send("x");
    run.expect("tiny: got 'x'", seconds(20));
    run.monitor("log none");
    assert!(count() > executed, "QEMU logs what it executes");
    measured.set("idle_el2", executed as f64 / 5.0);
}

/// The longest stay at EL2 without a look for interrupts, while Debian boots and manages a guest: by the measuring build.
fn stays(measured: &mut Measured) {
    let tiny = Guest::bare("tiny", "").manual();
    let system = System::new(&Description::with("debian", Guest::debian(1)).and("tiny", tiny));
    let board = Board { kernel: Some(artifact::measuring_image()), ..Board::counting(1) };
    let mut shell = Shell::enter(board.boot(&system));
    for command in [
        "vm list",
        "hv info",
        "top",
        "vm create a --from tiny",
        "vm start a",
        "vm pause a",
        "vm resume a",
        "vm set a --weight 50",
        "vm reboot a",
        "vm show a",
        "vm logs debian >/dev/null",
        "vm stop a",
        "vm destroy a",
        "hv log >/dev/null",
        "sos status",
    ] {
        shell.command(&format!("hvctl {command}")).ok();
    }
    shell.await_off();
    let log = shell.run.log.text();
    let line = log.lines().rfind(|line| line.contains(" at EL2 for ")).expect("a stay");
    println!("{line}");
    let words = line.split_whitespace().skip_while(|word| *word != "stay:");
    measured.set("masked_max", words.skip(1).find_map(|word| word.parse().ok()).expect("its length"));
}

/// Instructions at EL2 for a request of 4 KiB to a disk that answers at once, by a bare-metal driver with so many at once.
#[test]
#[ignore = "long; make bench runs it"]
fn requests_to_a_disk_take_no_more_than_their_limit_at_el2() {
    let mut measured = Measured::default();
    blocks(&mut measured);
    measured.require(&["el2_per_blk_qd1", "el2_per_blk_qd32"]);
}

fn blocks(measured: &mut Measured) {
    for (name, depth) in [("el2_per_blk_qd1", 1), ("el2_per_blk_qd32", 32)] {
        // What boot and the rest of the guest take is in both.
        let samples = [(); 3].map(|()| (at_el2(depth, 3000) - at_el2(depth, 1000)) / 2000.0);
        measured.set(name, median(name, samples));
    }
}

/// Instructions at EL2, all together, of a board with one CPU whose guest reads so many blocks.
fn at_el2(depth: u32, count: u32) -> f64 {
    // Virtual time runs ahead of the host's disk while nothing runs, so the guest does not sleep.
    let guest = Guest::bare("blk", &format!("count={count} depth={depth} spin=1"));
    let guest = guest.having("disks { d { compatible = \"dormouse,disk\"; }; };");
    let mut board = Board { kernel: Some(artifact::measuring_image()), ..Board::counting(1) };
    let drive = "null-co,node-name=null,size=1073741824,read-zeroes=on";
    let options = ["virtio-mmio.force-legacy=false", "-blockdev", drive, "-device", "virtio-blk-device,drive=null"];
    board.more.extend(["-global"].into_iter().chain(options).map(String::from));
    let mut run = board.boot(&System::new(&Description::with("blk", guest)));
    assert_eq!(run.expect_vm_end("blk", seconds(120)), "powered off");
    let said = run.expect_log(" instructions at EL2 so far", seconds(60));
    let count = said.split("stay: ").last().and_then(|rest| rest.split(' ').next()).map(str::parse);
    count.and_then(Result::ok).unwrap_or_else(|| panic!("{said}"))
}

/// The numbers behind `start` on a guest's console.
fn counts(run: &mut Run, start: &str) -> Vec<f64> {
    counts_until(run, start, "SWITCH-END")
}

/// The same where `end` follows.
fn counts_until(run: &mut Run, start: &str, end: &str) -> Vec<f64> {
    let line = run.expect_line(start, seconds(LONG));
    run.expect(end, seconds(LONG));
    let words = line.split_whitespace().skip_while(|word| *word != start.trim()).skip(1);
    words.map(|word| word.parse().unwrap_or_else(|_| panic!("{line}"))).collect()
}

/// The smallest of `samples` is the figure.
fn record(name: &str, mut samples: Vec<f64>, measured: &mut Measured) {
    samples.sort_by(f64::total_cmp);
    let (Some(least), Some(most)) = (samples.first(), samples.last()) else { panic!("{name}: no sample") };
    println!("STAT {name} {} {} {most}", samples[samples.len() / 2], samples[samples.len() * 99 / 100]);
    measured.set(name, *least);
}

/// The value of `INFO <name> <value>`.
fn row(text: &str, name: &str) -> f64 {
    let start = format!("INFO {name} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&start));
    line.and_then(|value| value.trim().parse().ok()).unwrap_or_else(|| panic!("{start}in {text}"))
}

/// What the rows of `hv info` say about memory.
fn memory_figures(text: &str, measured: &mut Measured) {
    let row = |name: &str| row(text, name);
    let el2 = ["el2_image", "el2_stacks", "el2_tables", "el2_rings", "el2_mailboxes", "notes"];
    measured.set("el2_ram", el2.iter().map(|name| row(name)).sum());
    let image = std::fs::metadata(artifact::built("sos.img")).expect("sos.img").len() as f64;
    // The partition's own mailbox page is one of those that EL2 counts.
    measured.set("sos_resident", image + row("notes") + 4096.0);
}

fn print_statistics(text: &str) {
    for line in text.lines().filter(|line| line.starts_with("STAT ")) {
        println!("{}", line.trim());
    }
}

/// Debian to the first line of its /init, with EL2 and without.
fn linux(measured: &mut Measured, origin: Origin) {
    let debian =
        Guest { memory: 512 << 20, initrd: Some("count-initrd".into()), bootargs: QUIET.into(), ..Guest::debian(1) };
    let description = Description::with("debian", debian);
    let directory = std::env::temp_dir().join(format!("dormouse-bench-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("directory for the initrd");
    let initrd = counting_initrd(&directory);
    let mut system = System::from_source(&description.source());
    system.member("sos.img", artifact::built("sos.img"));
    system.member("debian-vmlinuz", artifact::kernel());
    system.member("count-initrd", initrd.clone());

    let mut run = Board::counting(1).memory(1024).boot(&system);
    let on = count(&mut run);
    let mut shell = Shell::enter(run);
    let first = shell.hvctl("hv info")["first_guest_count"].as_f64().expect("first_guest_count");
    measured.set("boot_to_linux", first);
    let on = match origin {
        Origin::Guest => on,
        Origin::Board => on - first,
    };
    drop(shell);

    let bare = Board {
        entry: Entry::El1,
        kernel: Some(artifact::kernel()),
        append: Some(QUIET.into()),
        ..Board::counting(1).memory(512)
    };
    let off = count(&mut bare.start(Some(&initrd)));
    println!("init at {on} with EL2, at {off} without");
    measured.set("linux_init_ratio", on / off);
    let _ = std::fs::remove_dir_all(directory);
}

/// CNTVCT at the first line of /init.
fn count(run: &mut Run) -> f64 {
    let line = run.expect_line("dormouse-init ", seconds(300));
    let count = line.split_whitespace().nth(1).and_then(|count| count.parse().ok());
    count.unwrap_or_else(|| panic!("{line:?}"))
}

/// The demo's initrd with an /init that first prints the counter.
fn counting_initrd(directory: &std::path::Path) -> PathBuf {
    let init = directory.join("init");
    let script = "#!/bin/busybox sh\n/bin/busybox echo dormouse-init $(/bin/hvctl debug counter)\nexec /bin/busybox sh /real-init\n";
    std::fs::write(&init, script).expect("init");
    artifact::initrd(directory, &[("/init", &init)])
}
