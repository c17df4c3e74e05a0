//! Many guests at once.

use dormouse_tests::{Board, Description, Guest, Shell, System, seconds};
use std::collections::BTreeMap;

/// Nanoseconds that each VM has run, by a list of vCPUs that the client prints.
fn ran(text: &str) -> BTreeMap<String, u64> {
    let parse = |line: &str| {
        let words = line.split_whitespace().collect::<Vec<_>>();
        let ["CLIENT", "vcpu", name, .., "ran", ran, "waited", _, "exits", _, _, _, _, _, _, _] = words[..] else {
            return None;
        };
        Some((name.to_owned(), ran.parse().ok()?))
    };
    text.lines().filter_map(parse).filter(|(name, _)| name != "service-partition").collect()
}

#[test]
fn sixty_four_bare_guests_run_together_on_four_cpus_in_one_gibibyte() {
    let ask = "sleep:200,await-off,vcpus,sleep:1000,vcpus,stay";
    let client = Guest::bare("client", &format!("ask={ask}")).memory(16 << 20).granted();
    let mut description = Description::with("client", client);
    for number in 1..64 {
        description = description.and(&format!("guest{number}"), Guest::bare("tiny", "period-ms=20").memory(8 << 20));
    }
    let mut run = Board::default().cpus(4).memory(1024).boot(&System::new(&description));
    let lists = [(); 2].map(|()| ran(&run.expect("CLIENT vcpus: ok", seconds(120))));
    assert_eq!(lists.each_ref().map(BTreeMap::len), [64, 64], "{lists:?}");
    for (name, before) in &lists[0] {
        assert!(lists[1][name] > *before, "{name} ran {before} ns, then {}", lists[1][name]);
    }
}

#[test]
fn four_debian_guests_run_together_and_each_reaches_its_shell() {
    let names = ["debian", "second", "third", "fourth"];
    let others = names[1..].iter().fold(Description::with(names[0], Guest::debian(1)), |description, name| {
        description.and(name, Guest::debian(1))
    });
    let mut shell = Shell::enter(Board::default().cpus(4).memory(2048).boot(&System::new(&others)));
    for name in names {
        // The first has the console already.
        if name != names[0] {
            shell.run.focus(name);
            shell.run.send("\n");
            shell = Shell::enter(shell.run);
        }
        shell.command(&format!("touch /tmp/{name}")).ok();
        // Each is another one.
        assert_eq!(shell.command("ls /tmp").ok(), format!("{name}\n"));
    }
    shell.run.focus("debian");
    let list = shell.hvctl("vm list");
    let running = list.as_array().expect("a list").iter().filter(|vm| vm["state"] == "running").count();
    assert_eq!(running, 4, "{list}");
}
