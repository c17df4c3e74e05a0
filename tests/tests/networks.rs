//! Guests' network cards: who reaches whom, by which board's card, and who is kept from it.

use std::io::{Read, Write};
use std::net::TcpListener;

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
