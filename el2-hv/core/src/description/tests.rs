//! Descriptions compiled by dtc, the reference compiler, and damaged ones.

use super::*;
use std::format;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::string::{String, ToString};
use std::vec::Vec;

/// Compiles a service partition's node with `properties`.
fn compile(properties: &str) -> Vec<u8> {
    compile_tree(&format!("service-partition {{ compatible = \"dormouse,service-partition\"; {properties} }};"))
}

fn compile_tree(nodes: &str) -> Vec<u8> {
    let source =
        format!("/dts-v1/; / {{ compatible = \"dormouse,system\"; {nodes} guests {{ a {{ any = <1>; }}; }}; }};");
    let mut dtc = Command::new("dtc")
        .args(["-I", "dts", "-O", "dtb", "-q", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("dtc is installed (make test does it)");
    dtc.stdin.take().unwrap().write_all(source.as_bytes()).unwrap();
    dtc.wait_with_output().unwrap().stdout
}

fn error(properties: &str) -> String {
    ServicePartition::read(&compile(properties)).unwrap_err().to_string()
}

#[test]
fn every_property_is_read_and_what_is_silent_has_its_default() {
    let blob = compile(
        "image = \"sos.img\"; memory = /bits/ 64 <0x800000>; idle-timeout-ms = <1500>; boot-timeout-ms = <100>;
         max-busy-ms = <5000>; power = \"core\"; core-cpu = <2>; core-lend;
         wakes-per-minute = <120>; wake-burst = <7>; when-idle = \"poweroff\"; console-escape = <0x1e>; console-first = \"debian\";",
    );
    let expected = ServicePartition {
        image: "sos.img",
        memory: 0x80_0000,
        times: SosTimes { idle: 1_500_000_000, boot: 100_000_000, busy: 5_000_000_000 },
        power: Power { core: true, cpu: Some(CpuId(2)), lend: true },
        wakes: WakeRate { per_minute: 120, burst: 7 },
        when_idle: WhenIdle::PowerOff,
        console_escape: 0x1e,
        console_first: Label::new("debian"),
    };
    assert_eq!(ServicePartition::read(&blob), Ok(expected));
    let blob = compile("image = \"x\";");
    let silent = ServicePartition::read(&blob).unwrap();
    assert_eq!((silent.memory, silent.times, silent.console_escape), (4 << 20, SosTimes::DEFAULT, 0x1d));
    assert_eq!((silent.power, silent.wakes), (Power::default(), WakeRate::DEFAULT));
    let network =
        "network = \"lan\"; address = \"10.0.2.100/24\"; gateway = \"\"; http-port = <0>; mac-address = [02];";
    // Those are the partition's to check.
    assert_eq!(ServicePartition::read(&compile(&format!("image = \"x\"; {network}"))).unwrap().memory, 4 << 20);
    let shared = compile("image = \"x\"; power = \"shared\";");
    assert!(!ServicePartition::read(&shared).unwrap().power.core);
}

#[test]
fn what_is_wrong_is_named_with_file_node_and_property() {
    assert_eq!(
        error("image = \"x\"; idle-timeout = <5>;"),
        "system.dtb: /service-partition: unknown property \"idle-timeout\""
    );
    assert!(error("memory = /bits/ 64 <0x400000>;").contains("property \"image\" must be there"));
    for (bad, property) in [
        ("memory = <0x400000>;", "memory"),
        ("memory = /bits/ 64 <0x300000>;", "memory"),
        ("memory = /bits/ 64 <0x100000>;", "memory"),
        ("idle-timeout-ms = <0>;", "idle-timeout-ms"),
        ("power = \"cores\";", "power"),
        ("power = \"core\"; core-cpu = <0>;", "core-cpu"),
        ("power = \"core\"; core-cpu = <8>;", "core-cpu"),
        ("power = \"shared\"; core-cpu = <1>;", "core-cpu"),
        ("core-lend;", "core-lend"),
        ("power = \"core\"; core-lend = <1>;", "core-lend"),
        ("wakes-per-minute = <0>;", "wakes-per-minute"),
        ("wakes-per-minute = <60001>;", "wakes-per-minute"),
        ("wake-burst = <1001>;", "wake-burst"),
        ("when-idle = \"sleep\";", "when-idle"),
        ("console-escape = <0x41>;", "console-escape"),
        ("console-first = \"No Name\";", "console-first"),
        ("image = \"a\", \"b\";", "image"),
    ] {
        let message = error(&format!("image = \"x\"; {bad}").replacen("image = \"x\"; image", "image", 1));
        assert!(
            message.starts_with(&format!("system.dtb: /service-partition: property \"{property}\" must be")),
            "{message}"
        );
    }
    assert_eq!(ServicePartition::read(b"junk"), Err(DescriptionError::Tree));
    assert_eq!(ServicePartition::read(&compile_tree("")), Err(DescriptionError::NoNode));
    let two = "a { compatible = \"dormouse,service-partition\"; }; b { compatible = \"dormouse,service-partition\"; };";
    assert_eq!(ServicePartition::read(&compile_tree(two)), Err(DescriptionError::TwoNodes));
}

#[test]
fn mutated_descriptions_are_refused_or_read_within_their_bounds() {
    let good = compile("image = \"sos.img\"; memory = /bits/ 64 <0x400000>; idle-timeout-ms = <1500>;");
    let mut random = 0x2545_f491_4f6c_dd1du64;
    for _ in 0..50_000 {
        let mut blob = good.clone();
        for _ in 0..3 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let place = (random % blob.len() as u64) as usize;
            blob[place] = (random >> 40) as u8;
        }
        if let Ok(partition) = ServicePartition::read(&blob) {
            assert!((MEMORY_UNIT..=MEMORY_MAX).contains(&partition.memory));
        }
    }
}
