//! `hvctl` in Debian: every command, and answers that follow the system description.

use dormouse_tests::description::Start;
use dormouse_tests::{Board, Description, Guest, Shell, System, seconds};
use serde_json::Value;

const MIB: u64 = 1 << 20;

fn description() -> Description {
    Description::with("debian", Guest::debian(2)).and("tiny", Guest::bare("tiny", "").manual())
}

fn shell(description: &Description) -> (System, Shell) {
    let system = System::new(description);
    let shell = Shell::enter(Board::default().boot(&system));
    (system, shell)
}

fn vm<'v>(list: &'v Value, name: &str) -> Option<&'v Value> {
    list.as_array()?.iter().find(|vm| vm["name"] == name)
}

#[test]
fn the_list_shows_what_the_description_says() {
    for (vcpus, memory) in [(2, 256 * MIB), (1, 192 * MIB)] {
        let guest = Guest::debian(vcpus).memory(memory);
        let (_system, mut shell) = shell(&Description::with("debian", guest));
        let list = shell.hvctl("vm list");
        let debian = vm(&list, "debian").expect("debian");
        assert_eq!(debian["state"], "running");
        assert_eq!(debian["vcpus"], vcpus);
        assert_eq!(debian["memory"], memory);
        assert!(debian["uptime_ns"].as_u64().is_some_and(|ns| ns > 0), "{debian}");
        let text = shell.command("hvctl vm list").ok();
        assert!(text.starts_with("NAME") && text.contains("debian") && text.contains("running"), "{text}");
    }
}

#[test]
fn a_guest_is_created_started_stopped_and_destroyed() {
    let (_system, mut shell) = shell(&description());
    let free = |shell: &mut Shell| {
        shell.await_off();
        shell.hvctl("hv info")["memory"]["free"].as_u64().expect("free")
    };
    // What EL2 keeps of its last life, the end of its console, is the same from the first on.
    shell.command("hvctl vm create second --from tiny && hvctl vm start second && hvctl vm destroy second").ok();
    let before = free(&mut shell);
    shell.hvctl("vm create second --from tiny --memory 32M --vcpus 2");
    let shown = shell.hvctl("vm show second");
    assert_eq!(shown["summary"]["state"], "defined");
    assert_eq!(shown["spec"]["memory"], 32 * MIB);
    assert_eq!(shown["spec"]["vcpus"], 2);
    assert_eq!(shown["origin"], "created");
    shell.hvctl("vm start second");
    shell.run.expect_log("vm second: started", seconds(10));
    assert_eq!(vm(&shell.hvctl("vm list"), "second").expect("second")["state"], "running");
    let during = free(&mut shell);
    assert!(before - during >= 32 * MIB, "{before} {during}");
    shell.hvctl("vm stop second");
    assert_eq!(free(&mut shell), before, "every frame came back");
    assert_eq!(vm(&shell.hvctl("vm list"), "second").expect("second")["state"], "defined");
    shell.hvctl("vm destroy second");
    assert!(vm(&shell.hvctl("vm list"), "second").is_none());
}

#[test]
fn a_created_guest_survives_the_lives_of_the_partition() {
    let (_system, mut shell) = shell(&description());
    shell.hvctl("vm create kept --from tiny");
    shell.await_off();
    assert_eq!(shell.hvctl("vm show kept")["origin"], "created");
    shell.await_off();
    shell.hvctl("vm destroy kept");
    shell.await_off();
    assert!(vm(&shell.hvctl("vm list"), "kept").is_none());
}

#[test]
fn refusals_name_the_object_and_have_an_exit_code() {
    let (_system, mut shell) = shell(&description());
    for (command, status, word) in [
        ("vm show nobody", 1, "nobody"),
        ("vm start debian", 1, "debian"),
        ("vm create debian --from tiny", 1, "debian"),
        ("vm create x --from nobody", 1, "nobody"),
        ("vm create x --from tiny --image missing", 1, "missing"),
        ("vm stop tiny", 1, "tiny"),
        ("vm create Bad_Name --from tiny", 2, "Bad_Name"),
        ("vm fly", 2, "fly"),
    ] {
        let answer = shell.command(&format!("hvctl {command}"));
        assert_eq!(answer.status, status, "{command}: {}", answer.output);
        assert!(answer.output.contains(word), "{command}: {}", answer.output);
        assert_eq!(answer.output.trim().lines().count(), 1, "{command}: {}", answer.output);
    }
    // Whether there is memory for it turns out when it is started.
    shell.command("hvctl vm create x --from tiny --memory 64G").ok();
    let answer = shell.command("hvctl vm start x");
    assert_eq!(answer.status, 1, "{}", answer.output);
    assert!(answer.output.contains("\"x\"") && answer.output.contains("memory"), "{}", answer.output);
}

#[test]
fn the_partition_is_off_without_frames_after_the_idle_time() {
    let (_system, mut shell) = shell(&description());
    shell.await_off();
    shell.hvctl("vm list");
    let on = shell.hvctl("sos status");
    assert_ne!(on["state"], "off");
    assert!(on["frames"].as_u64().is_some_and(|frames| frames > 0), "{on}");
    assert_eq!(on["woken_by"], "debian");
    assert!(on["wake_to_answer_ns"].as_u64().is_some_and(|ns| ns > 0), "{on}");
    let off = shell.await_off();
    assert_eq!(off["frames"], 0);
    let again = shell.hvctl("sos status");
    assert_eq!(off["lives"], again["lives"], "a status wakes nobody");
    shell.hvctl("hv info");
    shell.command("hvctl hv log").ok();
    assert_eq!(shell.hvctl("sos status")["lives"], off["lives"]);
}

#[test]
fn the_idle_time_is_the_descriptions() {
    for (ms, least, most) in [(300, 0.2, 3.0), (4000, 3.5, 12.0)] {
        let (_system, mut shell) = shell(&description().partition(|partition| partition.idle_timeout_ms = ms));
        shell.await_off();
        let before = shell.hvctl("sos status")["on_ns"].as_f64().expect("on_ns");
        shell.hvctl("vm list");
        let on = shell.await_off()["on_ns"].as_f64().expect("on_ns") - before;
        assert!((least..most).contains(&(on / 1e9)), "{ms} ms: on for {} s", on / 1e9);
    }
}

#[test]
fn memory_adds_up_to_all_of_ram() {
    for (mib, cpus) in [(1024, 4), (768, 2)] {
        let system = System::new(&description());
        let mut shell = Shell::enter(Board::default().memory(mib).cpus(cpus).boot(&system));
        shell.await_off();
        let info = shell.hvctl("hv info");
        let memory = &info["memory"];
        let rows = [
            "guests",
            "sos",
            "el2_image",
            "el2_stacks",
            "el2_tables",
            "el2_rings",
            "el2_mailboxes",
            "archive",
            "notes",
            "firmware",
            "free",
        ];
        let sum: u64 = rows.iter().map(|row| memory[row].as_u64().expect(row)).sum();
        assert_eq!(sum, u64::from(mib) * MIB, "{info}");
        assert_eq!(memory["total"], u64::from(mib) * MIB);
        assert_eq!(info["cpus"], cpus);
        assert_eq!(memory["sos"], 0, "{info}");
        assert!(memory["guests"].as_u64().is_some_and(|bytes| bytes >= 256 * MIB), "{info}");
    }
}

#[test]
fn the_log_is_the_one_on_the_second_line() {
    let (_system, mut shell) = shell(&description());
    let log = shell.hvctl("hv log");
    let text = log["text"].as_str().expect("text");
    assert!(text.contains("vm debian: started"), "{text}");
    assert!(shell.run.log.text().contains("vm debian: started"));
}

#[test]
fn ten_at_once_are_all_answered() {
    let (_system, mut shell) = shell(&description());
    for count in [2, 10] {
        let command = format!(
            "for i in $(seq {count}); do (hvctl --json vm list > /tmp/o$i; echo $? > /tmp/s$i) & done; wait; cat /tmp/s* | sort | uniq -c; grep -l debian /tmp/o* | wc -l; rm /tmp/o* /tmp/s*"
        );
        let output = shell.command(&command).ok();
        let words = output.split_whitespace().collect::<Vec<_>>();
        let count = count.to_string();
        assert_eq!(words, [&count, "0", &count], "{output}");
    }
}

#[test]
fn a_killed_client_leaves_no_half_frame() {
    let (_system, mut shell) = shell(&description());
    for _ in 0..20 {
        shell
            .command("hvctl vm list > /dev/null & pid=$!; usleep $((RANDOM % 20000)); kill -9 $pid; wait $pid; true")
            .ok();
    }
    for _ in 0..8 {
        let list = shell.hvctl("vm list");
        assert!(vm(&list, "debian").is_some(), "{list}");
    }
    assert_eq!(shell.await_off()["requests"], 0);
}

#[test]
fn bytes_that_are_no_frames_are_all_taken_and_the_ports_serve_on() {
    let (_system, mut shell) = shell(&description());
    // In one buffer many more than EL2 takes at one go, and no notification behind it: the driver waits for it.
    shell.command("for port in /dev/vport*; do dd if=/dev/zero of=$port bs=32768 count=2 2>/dev/null; done").ok();
    for _ in 0..8 {
        let list = shell.hvctl("vm list");
        assert!(vm(&list, "debian").is_some(), "{list}");
    }
}

#[test]
fn a_guest_without_a_grant_has_no_port_and_no_doorbell() {
    let guest = Guest { grants: &[], ports: 0, ..Guest::debian(1) };
    let system = System::new(&Description::with("debian", guest));
    let mut shell = Shell::enter(Board::default().boot(&system));
    let answer = shell.command("hvctl vm list");
    assert_eq!(answer.status, 3, "{}", answer.output);
    let client = Guest { start: Start::Automatic, ..Guest::bare("client", "") };
    let system = System::new(&Description::with("client", client));
    let mut run = Board::default().boot(&system);
    run.expect("CLIENT mailbox false doorbell -1", seconds(30));
}

#[test]
fn grants_are_told_apart() {
    let guest = Guest { grants: &["info"], ..Guest::bare("client", "ask=sos-status,vm-list,log") };
    let system = System::new(&Description::with("client", guest));
    let mut run = Board::default().boot(&system);
    run.expect("CLIENT sos-status: ok", seconds(30));
    run.expect("CLIENT vm-list: hv: this VM has no grant for it", seconds(30));
    run.expect("CLIENT log: hv: this VM has no grant for it", seconds(30));
}

#[test]
fn a_bare_metal_guest_asks_by_hypercall() {
    let guest = Guest::bare("client", "ask=vm-list,sos-status,hv-info,log,await-off,vm-list,burst:4").granted();
    let system = System::new(&Description::with("client", guest));
    let mut run = Board::default().boot(&system);
    run.expect("CLIENT vm client state running vcpus 1 memory 67108864 has-uptime true", seconds(30));
    for item in ["vm-list", "sos-status", "hv-info", "log", "await-off", "vm-list", "burst:4"] {
        run.expect(&format!("CLIENT {item}: ok"), seconds(30));
    }
}

#[test]
fn the_shipped_partition_refuses_to_fail() {
    let (_system, mut shell) = shell(&description());
    let answer = shell.command("hvctl debug fault crash");
    assert_eq!(answer.status, 1, "{}", answer.output);
    assert_eq!(shell.hvctl("sos status")["failures"], 0);
}

#[test]
fn the_client_needs_no_library_and_no_interpreter() {
    use object::read::elf::{FileHeader as _, ProgramHeader as _};
    let bytes = std::fs::read(dormouse_tests::artifact::built("hvctl")).expect("hvctl");
    let header = object::elf::FileHeader64::<object::Endianness>::parse(&*bytes).expect("an ELF file");
    let endian = header.endian().expect("an order of bytes");
    assert_eq!(header.e_machine(endian), object::elf::EM_AARCH64);
    let headers = header.program_headers(endian, &*bytes).expect("program headers");
    assert!(headers.iter().all(|header| header.p_type(endian) != object::elf::PT_INTERP));
    assert!(headers.iter().any(|header| header.p_type(endian) == object::elf::PT_LOAD));
}
