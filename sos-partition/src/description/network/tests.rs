use std::string::ToString;

use super::super::parse;
use super::*;
use crate::fake::{SYSTEM, compile};

/// SYSTEM with two networks, and properties of the partition's node.
fn with(properties: &str) -> std::vec::Vec<u8> {
    let networks = "networks { inner { compatible = \"dormouse,network\"; }; \
        lan { compatible = \"dormouse,network\"; uplink; }; }; guests {";
    let source = SYSTEM.replacen("guests {", networks, 1);
    let image = "image = \"sos.img\";";
    compile(&source.replacen(image, &std::format!("{image} {properties}"), 1))
}

#[test]
fn the_partitions_network_is_read_with_every_property_and_its_defaults() {
    let full = "network = \"inner\"; address = \"192.168.7.9/16\"; gateway = \"192.168.1.1\"; http-port = <8080>; \
        mac-address = [02 11 22 33 44 55];";
    let expected = NetworkSpec {
        network: 1,
        mac: [2, 0x11, 0x22, 0x33, 0x44, 0x55],
        address: [192, 168, 7, 9].into(),
        prefix: 16,
        gateway: Some([192, 168, 1, 1].into()),
        port: 8080,
    };
    assert_eq!(parse(&with(full)).unwrap().network, Some(expected));
    let least = parse(&with("network = \"lan\"; address = \"10.0.2.100/24\";")).unwrap().network.unwrap();
    assert_eq!((least.network, least.gateway, least.port), (0, None, 80));
    // Local, and one station's (IEEE 802 §8.2).
    assert_eq!(least.mac[0] & 0b11, 0b10);
    assert_eq!(NicPort::from_registers(least.card().to_registers()), Some(least.card()));
    assert_eq!(parse(&with("")).unwrap().network, None);
}

#[test]
fn what_is_wrong_with_the_network_is_named_with_node_and_property() {
    let lan = "network = \"lan\"; address = \"10.0.2.100/24\";";
    let address = |text: &str| std::format!("network = \"lan\"; address = \"{text}\";");
    let beside = |more: &str| std::format!("{lan} {more}");
    let mut cases = std::vec![
        ("address = \"10.0.2.100/24\";".to_string(), "\"address\": only together with \"network\""),
        ("http-port = <80>;".to_string(), "\"http-port\": only together"),
        ("network = \"wan\"; address = \"10.0.2.100/24\";".to_string(), "\"network\": must be the name of a node"),
        ("network = \"lan\";".to_string(), "\"address\": is missing"),
        (beside("http-port = <0>;"), "\"http-port\": must be one 32-bit cell, 1 to 65535"),
        (beside("http-port = <65536>;"), "\"http-port\": must be one 32-bit cell, 1 to 65535"),
        (beside("http-port = \"80\";"), "\"http-port\": must be one 32-bit cell"),
        (beside("mac-address = [03 00 00 00 00 01];"), "\"mac-address\": must be one station's"),
        (beside("mac-address = [00 00 00 00 00 00];"), "\"mac-address\": must be one station's"),
        (beside("mac-address = [02 00];"), "\"mac-address\": must be six bytes"),
        (beside("dhcp;"), "\"dhcp\": unknown"),
    ];
    let hosts = [
        "10.0.2.100",
        "10.0.2.100/",
        "10.0.2.100/0",
        "10.0.2.100/31",
        "10.0.2.100/+8",
        "10.0.2/24",
        "10.0.2.0/24",
        "10.0.2.255/24",
        "127.0.0.1/8",
        "0.0.0.1/8",
        "224.0.0.1/24",
        "255.255.255.254/24",
        "10.0.02.100/24",
        "fe80::1/24",
    ];
    cases.extend(hosts.map(|text| (address(text), "\"address\": must be a host's address")));
    let gateways = ["10.0.2.100", "10.0.3.1", "10.0.2.255", "10.0.2.0", "lan", "10.0.2.2/24"];
    cases.extend(gateways.map(|text| (beside(&std::format!("gateway = \"{text}\";")), "\"gateway\": must be another")));
    for (properties, words) in cases {
        let error = parse(&with(&properties)).unwrap_err().to_string();
        assert!(error.starts_with("system.dtb: /service-partition: property "), "{properties}: {error}");
        assert!(error.contains(words), "{properties}: {error}");
    }
}
