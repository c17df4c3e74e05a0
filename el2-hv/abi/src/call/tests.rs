//! The table agrees with SMCCC and with docs/HYPERCALLS.md.

use super::*;
use std::fmt::Write as _;
use std::string::String;

#[test]
fn identifiers_are_fast_64_bit_vendor_hypervisor_calls_and_go_round() {
    assert!(CALLS.is_sorted_by(|one, next| (one.call as u32) < next.call as u32), "each number once, in order");
    for row in CALLS {
        let function = row.call as u32;
        assert_eq!(function >> 31, 1, "fast call (DEN0028 table 2-1, bit 31)");
        assert_eq!(function >> 30 & 1, 1, "SMC64 (bit 30)");
        assert_eq!(function >> 24 & 0x3f, 6, "vendor specific hypervisor service (bits 29:24)");
        assert_eq!(function >> 16 & 0xff, 0, "must be zero (bits 23:16)");
        assert!(function & 0xffff < 0xff00, "0xff00 and up are reserved for discovery");
        assert_eq!(Call::from_function(function), Some(row.call));
        assert!(row.arguments.len() <= 6 && row.results.len() <= 3, "{}", row.name);
    }
    let last = CALLS.last().map_or(0, |row| row.call as u32);
    assert_eq!((CALLS[0].call as u32, Call::from_function(last + 1)), (BASE, None));
    assert_eq!(Call::from_function(0x8600_0001), None, "the 32-bit form does not exist");
}

#[test]
fn unknown_grants_devices_and_answers_are_refused() {
    assert_eq!(Grants::from_register(0b1111), Some(Grants::ALL));
    assert_eq!(Grants::from_register(0b1_0000), None);
    use DeviceKind::{Balloon, Disk, DiskLimits, Entropy, Mailbox, ManagementPorts, Nic, StolenTime, Watchdog};
    for kind in [Mailbox, ManagementPorts, Watchdog, StolenTime, Disk, Nic, Entropy, DiskLimits, Balloon] {
        assert_eq!(DeviceKind::from_register(kind as u64), Some(kind));
    }
    assert_eq!((DeviceKind::from_register(0), DeviceKind::from_register(10)), (None, None));
    for answer in [DrainAnswer::Agreed, DrainAnswer::Busy, DrainAnswer::AgreedUnvisited] {
        assert_eq!(DrainAnswer::from_register(answer as u64), Some(answer));
    }
    assert_eq!(DrainAnswer::from_register(3), None);
    assert_eq!(ConfigKind::from_register(0), None);
}

#[test]
fn parts_of_drives_go_round_through_registers_and_wrong_ones_are_refused() {
    let part = DiskPart { drive: 200, disk: 3, queues: 4, writable: true, first: 1 << 40, sectors: 7 };
    assert_eq!(part.to_registers(), [0x0104_03c8, 1 << 40, 7]);
    assert_eq!(DiskPart::from_registers(part.to_registers()), Some(part));
    for wrong in [0x0104_04c8, 0x0105_03c8, 0x0100_03c8, 0x0204_03c8, 0x1_0104_03c8] {
        assert_eq!(DiskPart::from_registers([wrong, 0, 0]), None, "{wrong:#x}");
    }
}

#[test]
fn limits_of_disks_go_round_through_registers_and_wrong_ones_are_refused() {
    let limits = DiskLimits { disk: 3, iops: 500, kbytes_per_s: 0x1_0001 };
    assert_eq!(limits.to_registers(), [3, 0x1_0001_0000_01f4, 0]);
    assert_eq!(DiskLimits::from_registers(limits.to_registers()), Some(limits));
    for wrong in [[4, 0, 0], [1 << 32, 0, 0], [3, 0, 1]] {
        assert_eq!(DiskLimits::from_registers(wrong), None, "{wrong:x?}");
    }
}

#[test]
fn ports_of_networks_go_round_through_registers_and_wrong_ones_are_refused() {
    let port = NicPort {
        network: 7,
        nic: 1,
        isolated: true,
        any_source: false,
        mac: [2, 0x11, 0x22, 0x33, 0x44, 0x55],
        mtu: 1500,
        kbit_per_s: 1_000_000,
        packets_per_s: 3,
    };
    let registers = [0x0001_0107, 0x05dc_5544_3322_1102, 0x3_000f_4240];
    assert_eq!(port.to_registers(), registers);
    assert_eq!(NicPort::from_registers(registers), Some(port));
    for wrong in [0x0001_0108, 0x0001_0207, 0x0004_0107, 0x0101_0107, 0x1_0001_0107] {
        assert_eq!(NicPort::from_registers([wrong, registers[1], 0]), None, "{wrong:#x}");
    }
    for mtu in [0, 1279, 1501, 0xffff] {
        assert_eq!(NicPort::from_registers([0, mtu << 48, 0]), None, "{mtu}");
    }
}

fn document() -> String {
    let mut text = String::from(
        "# Hypercalls\n\nGenerated from the table in `el2-hv/abi/src/call.rs` (`UPDATE_DOCS=1 cargo test -p hv-abi`).\n\n\
         `HVC #0`, function identifier in w0, arguments from x1; x0 returns a status, results from x1; x4 to x30 are kept.\n\
         Besides these every guest has PSCI 1.1, SMCCC discovery, stolen time (PV_TIME_FEATURES, PV_TIME_ST) and random numbers (TRNG 1.0). A caller that may not make a call gets NOT_SUPPORTED (-1).\n\n\
         | id | call | who | arguments | results | what it does |\n| --- | --- | --- | --- | --- | --- |\n",
    );
    for row in CALLS {
        let who = match row.caller {
            Caller::Mailbox => "VMs with a mailbox",
            Caller::ServicePartition => "service partition",
        };
        let list = |items: &[&str]| {
            if items.is_empty() { String::from("-") } else { items.join(", ") }
        };
        writeln!(
            text,
            "| `{:#010x}` | `{}` | {who} | {} | {} | {} |",
            row.call as u32,
            row.name,
            list(row.arguments),
            list(row.results),
            row.summary
        )
        .unwrap();
    }
    text.push_str("\n## Status\n\n| x0 | meaning |\n| --- | --- |\n");
    for status in crate::Status::ALL {
        writeln!(text, "| {} | {status} |", status as i64).unwrap();
    }
    text
}

#[test]
fn hypercalls_document_equals_the_table() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/HYPERCALLS.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, document()).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(written, document(), "run UPDATE_DOCS=1 cargo test -p hv-abi");
}

#[test]
fn shared_regions_go_round_and_what_is_out_of_range_is_refused() {
    for (bytes, writable, number) in [(SHARED_MIN, true, 0), (SHARED_MAX, false, 3), (1 << 20, true, 2)] {
        let region = SharedRegion { bytes, writable, number };
        assert_eq!(SharedRegion::from_register(region.to_register()), Some(region));
    }
    for wrong in [0, 1, SHARED_MIN / 2, SHARED_MAX * 2, 3 * SHARED_MIN, SHARED_MIN | 4 << 8, SHARED_MIN | 2, u64::MAX] {
        assert_eq!(SharedRegion::from_register(wrong), None, "{wrong:#x}");
    }
}
