//! What is known of guests afterwards: what they said, and how they crashed.

use dormouse_tests::{Board, Description, Guest, Shell, System, seconds};

fn shell(description: &Description) -> Shell {
    Shell::enter(Board::default().boot(&System::new(description)))
}

fn beside(name: &str, guest: Guest) -> Description {
    Description::with("debian", Guest::debian(2))
        .and(name, guest.manual())
        .partition(|partition| partition.idle_timeout_ms = 200)
}

/// Starts tiny, types `character` at its console, and waits for its end.
fn end_tiny(shell: &mut Shell, character: &str) -> &'static str {
    shell.hvctl("vm start tiny");
    shell.run.focus("tiny");
    shell.run.send(character);
    let end = shell.run.expect_vm_end("tiny", seconds(60));
    shell.run.expect_log("vm tiny: memory returned", seconds(60));
    shell.run.expect("[console: dormouse log]", seconds(60));
    shell.run.focus("debian");
    end
}

#[test]
fn a_crash_and_what_was_said_before_outlive_the_vm_and_the_partition_until_the_next_life_ends() {
    let mut shell = shell(&beside("tiny", Guest::bare("tiny", "period-ms=50").watched()));
    assert_eq!(shell.command("hvctl vm logs tiny").status, 1, "it has not lived yet");
    assert_eq!(end_tiny(&mut shell, "c"), "crashed");
    for _ in 0..2 {
        shell.await_off();
        let crash = shell.hvctl("vm show tiny")["crash"].clone();
        // Where the guest puts its vector, which cannot be fetched.
        let at = crash["vcpu"]["pc"].as_u64().unwrap_or_default() & !0xfff;
        assert_eq!((&crash["reason"], &crash["vcpu"]["vcpu"], at), (&"crashed".into(), &0.into(), 0x00ff_ffff_f000));
        assert_eq!(crash["vcpu"]["x"].as_array().map(Vec::len), Some(31));
        let log = shell.hvctl("vm logs tiny")["text"].clone();
        assert!(log.as_str().is_some_and(|log| log.contains("tiny: got 'c'")), "{log}");
    }
    let shown = shell.command("hvctl vm show tiny").ok();
    assert!(shown.contains("LAST CRASH: crashed, life ") && shown.contains("  x28  "), "{shown}");
    // While the next life lasts, its own words are shown, and the crash of the one before.
    shell.hvctl("vm start tiny");
    assert!(shell.hvctl("vm show tiny")["crash"]["vcpu"].is_object());
    let log = shell.hvctl("vm logs tiny")["text"].clone();
    assert!(log.as_str().is_some_and(|log| !log.contains("got 'c'")), "{log}");
    shell.hvctl("vm stop tiny");
    assert!(shell.hvctl("vm show tiny")["crash"].is_null());
}

#[test]
fn where_a_guest_hangs_is_shown_when_its_watchdog_has_ended_it() {
    let mut shell = shell(&beside("tiny", Guest::bare("tiny", "period-ms=50 watchdog-ms=2000").watched()));
    assert_eq!(end_tiny(&mut shell, "h"), "watchdog expired");
    let crash = shell.hvctl("vm show tiny")["crash"].clone();
    let pc = crash["vcpu"]["pc"].as_u64().unwrap_or_default();
    assert_eq!(crash["reason"], "watchdog expired");
    assert!((0x4000_0000..0x4400_0000).contains(&pc), "{crash}");
}

#[test]
fn the_last_64_kib_of_a_running_guest_are_shown_as_they_are_but_on_a_terminal() {
    let mut shell = shell(&beside("tiny", Guest::bare("tiny", "")));
    let count = |shell: &mut Shell| shell.command("hvctl vm logs debian | wc -c").ok().trim().parse::<u64>();
    assert!(count(&mut shell).is_ok_and(|count| count > 100 && count < 65_536));
    shell.command_within("seq 15000; printf 'a\\033[0mb\\n'", seconds(120)).ok();
    assert_eq!(count(&mut shell), Ok(65_536));
    let raw = shell.command(
        "hvctl vm logs debian > /tmp/log; grep -c \"$(printf 'a\\033')\" /tmp/log; grep -c '^1[0-9]*.$' /tmp/log",
    );
    let counts: Vec<u32> = raw.ok().lines().filter_map(|line| line.parse().ok()).collect();
    assert!(counts.len() == 2 && counts[0] == 1 && counts[1] > 5000, "{counts:?}");
    // In order, without a gap: each number follows the one before.
    let gaps = "tr -d '\\r' < /tmp/log | grep '^[0-9][0-9]*$' | awk '$1 > 3000 && $1 <= 15000 { if (last && $1 != last + 1) gaps++; last = $1; lines++ } END { print gaps + 0, (lines > 5000) }'";
    assert_eq!(shell.command(gaps).ok(), "0 1\n");
    let shown = shell.command("hvctl vm logs debian").ok();
    assert!(shown.contains("bytes were overwritten]\n") && shown.contains("a\\u{1b}[0mb\n"), "{}", shown.len());
}

#[test]
fn a_guest_without_the_grant_reads_no_console() {
    let guest = Guest { grants: &["manage", "info", "log"], ..Guest::debian(1) };
    let mut shell = shell(&Description::with("debian", guest).and("tiny", Guest::bare("tiny", "period-ms=100")));
    let answer = shell.command("hvctl vm logs debian");
    assert!(answer.status == 1 && answer.output.contains("this VM has no grant for it"), "{answer:?}");
    let answer = shell.command("hvctl console tiny; hvctl console --no-input tiny");
    assert!(answer.status == 1 && answer.output.matches("its console is not for this VM").count() == 2, "{answer:?}");
    assert!(!answer.output.contains("beat"), "{answer:?}");
}

#[test]
fn of_more_than_eight_ended_guests_the_oldest_makes_way() {
    let mut shell = shell(&beside("tiny", Guest::bare("tiny", "").memory(32 << 20)));
    let mut free = Vec::new();
    for i in 0..12 {
        let script = format!("hvctl vm create v{i} --from tiny && hvctl vm start v{i} && hvctl vm destroy v{i}");
        shell.command(&script).ok();
        shell.await_off();
        free.push(shell.hvctl("hv info")["memory"]["free"].as_u64().expect("bytes"));
    }
    let kept = (0..12).filter(|i| shell.command(&format!("hvctl vm logs v{i} > /dev/null")).status == 0);
    assert_eq!(kept.collect::<Vec<_>>(), (4..12).collect::<Vec<_>>());
    assert_eq!(free[6] - free[7], 64 << 10);
    assert!(free[7..].iter().all(|bytes| *bytes == free[7]), "{free:?}");
}
