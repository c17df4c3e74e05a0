use std::string::{String, ToString};
use std::vec;

use hv_abi::guest_map::SHARED_MAX;
use hv_abi::message::{DiskSpec, ImageFormat, MissedPolicy, NicSpec, RestartPolicy, SharedMemory};

use super::*;
use crate::fake::decompile;
use crate::spec::BOOTARGS_MAX;

fn shared(name: &str, bytes: u64, writable: bool) -> SharedMemory {
    SharedMemory { name: name.into(), bytes, writable, number: 1 }
}

fn spec() -> VmSpec {
    VmSpec {
        name: "guest".into(),
        memory: 0x1000_0000,
        vcpus: 2,
        image: "kernel".into(),
        format: ImageFormat::Linux,
        initrd: None,
        bootargs: "console=ttyAMA0".into(),
        autostart: false,
        grants: vec!["manage".into()],
        ports: 4,
        watchdog: true,
        cpu: hv_abi::message::CpuShare::default(),
        restart: RestartPolicy::Never,
        restart_limit: 0,
        shared: vec![shared("link", 0x1_0000, true), shared("feed", 0x20_0000, false)],
        disks: Vec::new(),
        nics: Vec::new(),
        rng: false,
        guarantee: None,
        memory_missed: MissedPolicy::Refuse,
    }
}

/// The lines of a node in dtc's output, without those of its children.
fn lines_of(source: &str, node: &str) -> Vec<String> {
    let start = std::format!("{node} {{");
    let mut depth = 0;
    let mut lines = Vec::new();
    for line in source.lines().map(str::trim) {
        match (depth, line) {
            (0, line) if line == start => depth = 1,
            (0, _) => {}
            (_, "};") => depth -= 1,
            (_, line) if line.ends_with('{') => depth += 1,
            (1, line) if !line.is_empty() => lines.push(line.to_string()),
            _ => {}
        }
    }
    lines
}

#[test]
fn the_whole_tree_reads_as_virt_does() {
    let seed = GuestSeed { kaslr: 0x0123_4567_89ab_cdef, rng: [0xa5; 32] };
    let initrd = Extent { start: 0x4200_0000, size: 0x1234 };
    let source = decompile(&build(&spec(), Grants::ALL, Some(initrd), Some(seed)));
    let expect = |node: &str, lines: &[&str]| assert_eq!(lines_of(&source, node), lines, "{node}");
    expect(
        "/",
        &[
            "compatible = \"linux,dummy-virt\";",
            "model = \"linux,dummy-virt\";",
            "#address-cells = <0x02>;",
            "#size-cells = <0x02>;",
            "interrupt-parent = <0x01>;",
        ],
    );
    expect(
        "chosen",
        &[
            "stdout-path = \"/pl011@9000000\";",
            "bootargs = \"console=ttyAMA0\";",
            "linux,initrd-start = <0x00 0x42000000>;",
            "linux,initrd-end = <0x00 0x42001234>;",
            "kaslr-seed = <0x1234567 0x89abcdef>;",
            "rng-seed = <0xa5a5a5a5 0xa5a5a5a5 0xa5a5a5a5 0xa5a5a5a5 0xa5a5a5a5 0xa5a5a5a5 0xa5a5a5a5 0xa5a5a5a5>;",
        ],
    );
    expect("memory@40000000", &["device_type = \"memory\";", "reg = <0x00 0x40000000 0x00 0x10000000>;"]);
    expect(
        "cpu@1",
        &["device_type = \"cpu\";", "compatible = \"arm,armv8\";", "reg = <0x01>;", "enable-method = \"psci\";"],
    );
    expect("psci", &["compatible = \"arm,psci-1.0\", \"arm,psci-0.2\";", "method = \"hvc\";"]);
    expect(
        "timer",
        &[
            "compatible = \"arm,armv8-timer\";",
            "interrupts = <0x01 0x0d 0x04 0x01 0x0e 0x04 0x01 0x0b 0x04 0x01 0x0a 0x04>;",
            "always-on;",
        ],
    );
    expect(
        "intc@8000000",
        &[
            "compatible = \"arm,gic-v3\";",
            "#interrupt-cells = <0x03>;",
            "interrupt-controller;",
            "reg = <0x00 0x8000000 0x00 0x10000 0x00 0x80a0000 0x00 0x40000>;",
            "#redistributor-regions = <0x01>;",
            "phandle = <0x01>;",
        ],
    );
    expect(
        "pl011@9000000",
        &[
            "compatible = \"arm,pl011\", \"arm,primecell\";",
            "reg = <0x00 0x9000000 0x00 0x1000>;",
            "interrupts = <0x00 0x01 0x04>;",
            "clocks = <0x02 0x02>;",
            "clock-names = \"uartclk\", \"apb_pclk\";",
        ],
    );
    expect(
        "pl031@9010000",
        &[
            "compatible = \"arm,pl031\", \"arm,primecell\";",
            "reg = <0x00 0x9010000 0x00 0x1000>;",
            "interrupts = <0x00 0x02 0x04>;",
            "clocks = <0x02>;",
            "clock-names = \"apb_pclk\";",
        ],
    );
    expect(
        "virtio_mmio@a000000",
        &[
            "compatible = \"virtio,mmio\";",
            "reg = <0x00 0xa000000 0x00 0x200>;",
            "interrupts = <0x00 0x10 0x01>;",
            "dma-coherent;",
        ],
    );
    expect(
        "mailbox@b000000",
        &[
            "compatible = \"dormouse,mailbox-v1\";",
            "reg = <0x00 0xb000000 0x00 0x1000>;",
            "interrupts = <0x00 0x0a 0x01>;",
        ],
    );
    expect(
        "watchdog@b100000",
        &[
            "compatible = \"arm,sbsa-gwdt\";",
            "reg = <0x00 0xb100000 0x00 0x1000 0x00 0xb110000 0x00 0x1000>;",
            "interrupts = <0x00 0x0f 0x04>;",
        ],
    );
}

#[test]
fn what_is_shared_is_reserved_and_its_doorbell_points_to_it() {
    let source = decompile(&build(&spec(), Grants::ALL, None, None));
    let expect = |node: &str, lines: &[&str]| assert_eq!(lines_of(&source, node), lines, "{node}");
    expect("reserved-memory", &["#address-cells = <0x02>;", "#size-cells = <0x02>;", "ranges;"]);
    expect(
        "link@c000000",
        &[
            "compatible = \"dormouse,shared-memory-v1\";",
            "reg = <0x00 0xc000000 0x00 0x10000>;",
            "no-map;",
            "label = \"link\";",
            "phandle = <0x03>;",
        ],
    );
    expect(
        "feed@c800000",
        &[
            "compatible = \"dormouse,shared-memory-v1\";",
            "reg = <0x00 0xc800000 0x00 0x200000>;",
            "no-map;",
            "label = \"feed\";",
            "phandle = <0x04>;",
            "read-only;",
        ],
    );
    expect(
        "doorbell@b210000",
        &[
            "compatible = \"dormouse,doorbell-v1\";",
            "reg = <0x00 0xb210000 0x00 0x1000>;",
            "interrupts = <0x00 0x0c 0x01>;",
            "memory-region = <0x04>;",
            "label = \"feed\";",
        ],
    );
}

#[test]
fn what_a_guest_does_not_have_is_not_in_its_tree() {
    let spec = VmSpec { vcpus: 1, bootargs: String::new(), ports: 0, watchdog: false, shared: Vec::new(), ..spec() };
    let source = decompile(&build(&spec, Grants::NONE, None, None));
    for absent in [
        "mailbox",
        "virtio_mmio@a000000",
        "watchdog",
        "reserved-memory",
        "doorbell",
        "cpu@1",
        "initrd",
        "bootargs",
        "seed",
    ] {
        assert!(!source.contains(absent), "{absent}");
    }
    assert_eq!(source.matches("\"virtio,mmio\"").count(), 4, "slots that disks may come to");
    assert!(source.contains("0x80a0000 0x00 0x20000>"), "one redistributor");
}

fn nic(name: &str) -> NicSpec {
    NicSpec {
        name: name.into(),
        network: "lan".into(),
        number: 0,
        mac: None,
        mtu: 1500,
        isolated: false,
        any_source: false,
        kbit_per_s: 0,
        packets_per_s: 0,
    }
}

#[test]
fn the_largest_tree_fits_the_room_that_plans_keep() {
    let name = |index| ["x".repeat(30), std::format!("{index}")].concat();
    let shared = (0..4).map(|index| shared(&name(index), SHARED_MAX, false)).collect();
    let disk = DiskSpec {
        name: "d".into(),
        drive: 0,
        first: 0,
        sectors: 0,
        writable: true,
        iops: 0,
        kbytes_per_s: 0,
        partition: None,
    };
    let spec = VmSpec {
        vcpus: 8,
        bootargs: "x".repeat(BOOTARGS_MAX),
        shared,
        disks: vec![disk; 4],
        nics: vec![nic("n"); 2],
        rng: true,
        ..spec()
    };
    let initrd = Extent { start: 0, size: 1 };
    let seed = GuestSeed { kaslr: 1, rng: [1; 32] };
    let tree = build(&spec, Grants::ALL, Some(initrd), Some(seed));
    assert!(tree.len() as u64 <= crate::builder::TREE_ROOM, "{}", tree.len());
}

#[test]
fn each_disk_that_is_or_may_come_each_network_card_and_the_entropy_device_has_a_slot() {
    let disk = |name: &str| DiskSpec {
        name: name.into(),
        drive: 0,
        first: 0,
        sectors: 0,
        writable: true,
        iops: 0,
        kbytes_per_s: 0,
        partition: None,
    };
    for ports in [0, 1] {
        let spec = VmSpec {
            disks: vec![disk("root"), disk("data")],
            nics: vec![nic("e0"), nic("e1")],
            rng: true,
            ports,
            ..spec()
        };
        let source = decompile(&build(&spec, Grants::ALL, None, None));
        assert_eq!(source.matches("\"virtio,mmio\"").count(), 7 + usize::from(ports != 0));
        // hw/arm/virt.c: slots of 0x200 bytes, SPIs from 16.
        for (node, reg, interrupt) in [
            ("virtio_mmio@a000200", "reg = <0x00 0xa000200 0x00 0x200>;", "interrupts = <0x00 0x11 0x01>;"),
            ("virtio_mmio@a000400", "reg = <0x00 0xa000400 0x00 0x200>;", "interrupts = <0x00 0x12 0x01>;"),
            ("virtio_mmio@a000600", "reg = <0x00 0xa000600 0x00 0x200>;", "interrupts = <0x00 0x13 0x01>;"),
            ("virtio_mmio@a000800", "reg = <0x00 0xa000800 0x00 0x200>;", "interrupts = <0x00 0x14 0x01>;"),
            ("virtio_mmio@a000a00", "reg = <0x00 0xa000a00 0x00 0x200>;", "interrupts = <0x00 0x15 0x01>;"),
            ("virtio_mmio@a000c00", "reg = <0x00 0xa000c00 0x00 0x200>;", "interrupts = <0x00 0x16 0x01>;"),
            ("virtio_mmio@a000e00", "reg = <0x00 0xa000e00 0x00 0x200>;", "interrupts = <0x00 0x17 0x01>;"),
        ] {
            let lines = lines_of(&source, node);
            assert!(lines.iter().any(|line| line == reg) && lines.iter().any(|line| line == interrupt), "{lines:?}");
        }
    }
}

#[test]
fn a_guest_with_a_guarantee_has_a_balloon_in_the_slot_behind_those_of_network_cards() {
    let spec = VmSpec { guarantee: Some(2 << 20), ports: 0, ..spec() };
    let source = decompile(&build(&spec, Grants::ALL, None, None));
    assert_eq!(source.matches("\"virtio,mmio\"").count(), 5);
    let lines = lines_of(&source, "virtio_mmio@a001000");
    assert!(lines.iter().any(|line| line == "interrupts = <0x00 0x18 0x01>;"), "{lines:?}");
}
