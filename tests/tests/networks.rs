//! Guests' network cards: who reaches whom, by which board's card, and who is kept from it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use dormouse_tests::{Board, Description, Guest, Shell, System, seconds};

/// A guest with a network card; more properties of the card.
fn with_nic(guest: Guest, network: &str, more: &str) -> Guest {
    let nic = format!("eth0 {{ compatible = \"dormouse,nic\"; network = \"{network}\"; {more} }};");
    guest.having(&format!("nics {{ {nic} }};"))
}

#[test]
fn a_guest_has_an_address_by_dhcp_and_reaches_a_server_of_the_host() {
    let server = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = server.local_addr().expect("its address").port();
    let page: Vec<u8> = (0..1_000_000_u32).flat_map(|word| word.to_le_bytes()).collect();
    let body = page.clone();
    let serve = std::thread::spawn(move || {
        let (mut stream, _) = server.accept().expect("a client");
        let mut request = [0; 1024];
        let _ = stream.read(&mut request).expect("a request");
        write!(stream, "HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).expect("a header");
        stream.write_all(&body).expect("a body");
    });
    let description = Description::with("debian", with_nic(Guest::debian(2), "lan", "")).network("lan", "uplink;");
    let system = System::new(&description);
    let mut shell = Shell::enter(Board::default().network("").boot(&system));
    shell.command("until ip addr show eth0 | grep -q 'inet '; do sleep 0.1; done").ok();
    let address = shell.command("ip addr show eth0").ok();
    // QEMU's user network: its DHCP gives addresses from 10.0.2.15 on, the host is 10.0.2.2.
    assert!(address.contains("inet 10.0.2.15/24"), "{address}");
    assert!(shell.command("ping -c 3 10.0.2.2").ok().contains("3 packets received"));
    shell.command_within(&format!("wget -q -O /tmp/page http://10.0.2.2:{port}/"), seconds(120)).ok();
    let sum = shell.command("sha256sum /tmp/page").ok();
    let path = system.file("page", &page);
    let output = std::process::Command::new("sha256sum").arg(path).output().expect("sha256sum runs");
    assert_eq!(sum.split(' ').next(), String::from_utf8_lossy(&output.stdout).split(' ').next());
    serve.join().expect("the server");
    shell.await_off();
}

/// Debian with this address on `network`.
fn debian_at(address: &str, network: &str, more: &str) -> Guest {
    let guest = Guest::debian(1);
    let bootargs = format!("{} net.eth0={address}", guest.bootargs);
    with_nic(Guest { bootargs, ..guest }, network, more)
}

/// The shell of another Debian, which has the console from here on.
fn shell_of(mut shell: Shell, name: &str) -> Shell {
    shell.run.focus(name);
    shell.run.send("\n");
    Shell::enter(shell.run)
}

#[test]
fn streams_between_guests_arrive_as_they_were_sent_and_other_networks_are_out_of_reach() {
    let description = Description::with("a", debian_at("10.7.0.1/24", "inner", ""))
        .and("b", debian_at("10.7.0.2/24", "inner", ""))
        .and("c", debian_at("10.7.0.3/24", "other", ""))
        .network("inner", "")
        .network("other", "");
    let system = System::new(&description);
    let mut shell = shell_of(Shell::enter(Board::default().boot(&system)), "b");
    // Bytes without order, of which each guest has its own.
    shell.command("dd if=/dev/urandom of=/tmp/of-b bs=1M count=32 2>/dev/null; (httpd -p 80 -h /tmp)").ok();
    let sum_of_b = shell.command("sha256sum </tmp/of-b").ok();
    shell.run.focus("a");
    shell.command("ping -c 3 10.7.0.2").ok();
    shell.command_within("wget -q -O /tmp/from-b http://10.7.0.2/of-b", seconds(120)).ok();
    assert_eq!(shell.command("sha256sum </tmp/from-b").ok(), sum_of_b);
    // Nobody of another network is there, whatever its address.
    assert_ne!(shell.command("ping -c 1 -W 2 10.7.0.3").status, 0);
    // Frames of 64 KiB went whole: far fewer than 32 MiB would be in packets.
    let packets = shell.command("cat /sys/class/net/eth0/statistics/rx_packets").ok();
    assert!(packets.trim().parse::<u32>().is_ok_and(|packets| packets < 10_000), "{packets}");
    let dropped = shell.command("cat /sys/class/net/eth0/statistics/rx_errors").ok();
    assert_eq!(dropped.trim(), "0");
    let status = shell.await_off();
    assert_eq!(&status["failures"], 0, "{status}");
}

#[test]
fn isolated_cards_reach_the_world_and_not_each_other_and_a_guest_sends_from_its_own_address_only() {
    let description = Description::with("a", debian_at("10.0.2.21/24", "lan", "isolated;"))
        .and("b", debian_at("10.0.2.22/24", "lan", "isolated;"))
        .network("lan", "uplink;");
    let mut shell = Shell::enter(Board::default().network("").boot(&System::new(&description)));
    shell.command("ping -c 2 10.0.2.2").ok();
    shell = shell_of(shell, "b");
    shell.command("ping -c 2 10.0.2.2").ok();
    assert_ne!(shell.command("ping -c 1 -W 2 10.0.2.21").status, 0);
    let own = shell.command("cat /sys/class/net/eth0/address").ok();
    shell.command("ip link set eth0 down; ip link set eth0 address 02:00:00:00:00:99; ip link set eth0 up").ok();
    assert_ne!(shell.command("ping -c 1 -W 2 10.0.2.2").status, 0);
    let card = shell.hvctl("vm show b")["nics"][0].clone();
    assert!(card["dropped"]["spoofed"].as_u64().is_some_and(|frames| frames > 0), "{card}");
    shell.command(&format!("ip link set eth0 down; ip link set eth0 address {}; ip link set eth0 up", own.trim())).ok();
    shell.command("ping -c 2 10.0.2.2").ok();
}

#[test]
fn a_card_with_a_limit_sends_no_faster_and_loses_nothing() {
    // 8 Mbit/s: a MiB takes a second, of which a burst is at most the longest frame.
    let description = Description::with("a", debian_at("10.7.0.1/24", "inner", "max-kbit-per-s = <8000>;"))
        .and("b", debian_at("10.7.0.2/24", "inner", ""))
        .network("inner", "");
    let mut shell = Shell::enter(Board::default().boot(&System::new(&description)));
    shell.command("dd if=/dev/urandom of=/tmp/data bs=1M count=2 2>/dev/null; (httpd -p 80 -h /tmp)").ok();
    let sum = shell.command("sha256sum </tmp/data").ok();
    shell = shell_of(shell, "b");
    let uptime = "cut -d' ' -f1 /proc/uptime";
    let said = shell.command_within(
        &format!("{uptime}; wget -q -O /tmp/data http://10.7.0.1/data; {uptime}; sha256sum </tmp/data"),
        seconds(120),
    );
    let said = said.ok();
    let [before, after, got] = said.lines().collect::<Vec<_>>()[..] else { panic!("{said}") };
    assert_eq!(got, sum.trim_end());
    let took = after.parse::<f64>().expect("seconds") - before.parse::<f64>().expect("seconds");
    assert!(took > 1.8, "{took} s for 2 MiB at 1 MB/s");
    // EL2 counts what the receiver counts: all of it, once nothing comes any more.
    let statistics = "cat /sys/class/net/eth0/statistics/rx_packets /sys/class/net/eth0/statistics/rx_bytes";
    let numbers = |text: &str| text.lines().filter_map(|line| line.parse::<u64>().ok()).collect::<Vec<_>>();
    let counted = (0..20).find_map(|_| {
        let before = shell.command(statistics).ok();
        let card = shell.hvctl("vm show b")["nics"][0].clone();
        (before == shell.command(statistics).ok()).then(|| (numbers(&before), card))
    });
    let (counted, card) = counted.expect("nothing comes any more");
    assert_eq!(
        counted,
        ["received_frames", "received_bytes"].map(|name| card[name].as_u64().expect("a number")),
        "{card}"
    );
    assert!(counted[1] > 2 << 20, "{card}");
}

#[test]
fn a_card_with_a_limit_sends_as_fast_as_that_allows() {
    // 400 Mbit/s, of which 10 ms are a burst: of 1,000 frames of 1,514 bytes the last may go after 20.3 ms. It was a frame each
    // 100 us: those that waited made way for the interrupt of the timer that had brought them about.
    let guest = with_nic(Guest::bare("net", "role=send count=1000 batch=32"), "lan", "max-kbit-per-s = <400000>;");
    let to = with_nic(Guest::bare("sleeper", ""), "lan", "mac-address = [02 09 09 09 09 09];");
    let description = Description::with("to", to).and("net", guest).network("lan", "");
    let mut run = Board::counting(1).boot(&System::new(&description));
    assert_eq!(run.expect_vm_end("net", seconds(60)), "powered off");
    let log = run.log.text();
    let at = |what: &str| {
        let line = log.lines().find(|line| line.ends_with(what));
        let time = line.and_then(|line| line.trim_start_matches(['[', ' ']).split(']').next()?.parse::<f64>().ok());
        time.unwrap_or_else(|| panic!("{log}"))
    };
    let took = at("vm net: powered off") - at("vm net: started");
    assert!((0.020..0.028).contains(&took), "{took} s: {log}");
}

/// All that a server says to `GET path`.
fn ask(port: u16, path: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
    stream.set_read_timeout(Some(seconds(60))).expect("a time-out");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: board\r\nConnection: close\r\n\r\n").expect("a request");
    let mut said = Vec::new();
    stream.read_to_end(&mut said).expect("an answer");
    said
}

/// The same as text.
fn get(port: u16, path: &str) -> String {
    String::from_utf8(ask(port, path)).expect("text")
}

/// What follows the head.
fn get_bytes(port: u16, path: &str) -> Vec<u8> {
    let said = ask(port, path);
    let end = said.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("a head");
    said[end + 4..].to_vec()
}

/// A port of the host that nobody has.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port").port()
}

const PAGE: &str = "network = \"lan\"; address = \"10.0.2.100/24\"; gateway = \"10.0.2.2\";";

#[test]
fn a_request_of_the_host_wakes_the_partition_which_answers_and_sleeps_again() {
    let description = Description::with("debian", Guest::debian(1))
        .partition(|partition| partition.more.push_str(PAGE))
        .network("lan", "uplink;");
    let port = free_port();
    let forward = format!(",hostfwd=tcp:127.0.0.1:{port}-10.0.2.100:80");
    let mut shell = Shell::enter(Board::default().network(&forward).boot(&System::new(&description)));
    let before = shell.await_off();
    for round in 1..=3_u64 {
        let said = get(port, "/api/v1/vms");
        let (head, body) = said.split_once("\r\n\r\n").expect("a head");
        assert!(head.starts_with("HTTP/1.1 200 "), "{said}");
        let list: serde_json::Value = serde_json::from_str(body).expect("JSON");
        assert_eq!(list[0]["name"], "debian", "{list}");
        assert_eq!(list[0]["state"], "running", "{list}");
        let after = shell.await_off();
        assert_eq!(after["lives"].as_u64(), before["lives"].as_u64().map(|lives| lives + round), "{after}");
        assert_eq!((&after["woken_by"], &after["failures"]), (&"(packet)".into(), &0.into()), "{after}");
    }
    // Two requests in one life, by pages of both kinds.
    let page = get(port, "/");
    assert!(page.contains("<html") && page.contains("debian"), "{page}");
    assert!(get(port, "/nothing").starts_with("HTTP/1.1 404 "));
    // Many at once are too many, and whoever comes after them is answered.
    shell.await_off();
    let clients = (0..24).map(|_| std::thread::spawn(move || TcpStream::connect(("127.0.0.1", port)).map(drop)));
    clients.collect::<Vec<_>>().into_iter().for_each(|client| drop(client.join().expect("a client")));
    shell.await_off();
    assert!(get(port, "/api/v1/vms").starts_with("HTTP/1.1 200 "));
    let before = shell.await_off();
    // A life that is on for something else has them, too, and no other life is begun for them.
    shell.await_off();
    shell.command("hvctl vm list").ok();
    assert!(get(port, "/api/v1/vms").starts_with("HTTP/1.1 200 "));
    let lives = shell.await_off()["lives"].as_u64();
    shell.command("sleep 1").ok();
    assert_eq!(shell.await_off()["lives"].as_u64(), lives);
    assert_eq!(lives, before["lives"].as_u64().map(|lives| lives + 1));
}

#[test]
fn noise_and_what_nobody_listens_to_is_answered_or_dropped_with_the_partition_off() {
    let description = Description::with("debian", debian_at("10.0.2.21/24", "lan", ""))
        .partition(|partition| partition.more.push_str(PAGE))
        .network("lan", "uplink;");
    let mut shell = Shell::enter(Board::default().network("").boot(&System::new(&description)));
    let before = shell.await_off();
    // ARP is answered, ping is not, and a port that is not open refuses at once.
    assert_ne!(shell.command("ping -c 2 -W 1 10.0.2.100").status, 0);
    let arping = shell.command("arping -c 2 -w 2 -I eth0 10.0.2.100").output;
    assert!(arping.contains("Received 2 response"), "{arping}");
    let said = shell.command("wget -q -O - http://10.0.2.100:81/").output;
    assert!(said.contains("refused"), "{said}");
    let after = shell.await_off();
    assert_eq!((&after["lives"], &after["failures"]), (&before["lives"], &0.into()), "{after}");
    let [answered, dropped, woken] = ["answered", "dropped", "woken"].map(|name| after["packets"][name].as_u64());
    assert!(answered >= Some(3) && dropped >= Some(2) && woken == Some(0), "{after}");
    // The first SYN to the open port is the one that is answered: a second would come after a second.
    let uptime = "cut -d' ' -f1 /proc/uptime";
    let said = shell.command(&format!("{uptime}; wget -q -O - http://10.0.2.100/api/v1/vms; echo; {uptime}")).ok();
    assert!(said.contains("\"debian\""), "{said}");
    let syn = shell.command("cat /proc/net/snmp | grep ^Tcp: | tail -n 1 | cut -d' ' -f13").ok();
    assert_eq!(syn.trim(), "0", "segments were sent again: {said}");
    let after = shell.await_off();
    assert_eq!(after["lives"].as_u64(), before["lives"].as_u64().map(|lives| lives + 1), "{after}");
    assert_eq!(after["packets"]["woken"], 1, "{after}");
}

#[test]
fn a_stream_to_the_world_is_cut_into_what_the_boards_card_takes() {
    let description = Description::with("debian", debian_at("10.0.2.21/24", "lan", "")).network("lan", "uplink;");
    let port = free_port();
    let forward = format!(",hostfwd=tcp:127.0.0.1:{port}-10.0.2.21:80");
    let system = System::new(&description);
    let mut shell = Shell::enter(Board::default().network(&forward).boot(&system));
    shell.command("dd if=/dev/urandom of=/tmp/data bs=1M count=16 2>/dev/null; (httpd -p 80 -h /tmp)").ok();
    let sum = shell.command("sha256sum </tmp/data").ok();
    let path = system.file("received", &get_bytes(port, "/data"));
    let output = std::process::Command::new("sha256sum").arg(path).output().expect("sha256sum runs");
    assert_eq!(sum.split(' ').next(), String::from_utf8_lossy(&output.stdout).split(' ').next());
    // Debian left that to its card: in packets it would be more than eleven thousand.
    let sent = shell.command("cat /sys/class/net/eth0/statistics/tx_packets").ok();
    assert!(sent.trim().parse::<u32>().is_ok_and(|sent| sent < 6000), "{sent}");
}
