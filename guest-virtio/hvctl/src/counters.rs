//! What a VM's disks and network cards have done in its life, for people: two tables behind what it is.

use hv_abi::message::{DiskUse, NicUse, VmDetail};

use crate::text::{Align, bytes, printable, table};

/// The tables of those kinds of devices that it has.
pub(crate) fn text(vm: &VmDetail) -> String {
    disks(&vm.disks) + &nics(&vm.nics)
}

fn disks(disks: &[DiskUse]) -> String {
    let heads = ["READS", "BYTES", "WRITES", "BYTES", "FLUSHES", "OTHERS", "FAILED", "WAITS"];
    let row = |disk: &DiskUse| {
        let cells = [
            disk.reads.to_string(),
            bytes(disk.read_bytes),
            disk.writes.to_string(),
            bytes(disk.written_bytes),
            disk.flushes.to_string(),
            disk.others.to_string(),
            disk.failed.to_string(),
            disk.waits.to_string(),
        ];
        [printable(&disk.name)].into_iter().chain(cells).collect()
    };
    one("DISK", &heads, disks.iter().map(row).collect())
}

fn nics(nics: &[NicUse]) -> String {
    let heads = ["SENT", "BYTES", "RECEIVED", "BYTES", "SPOOFED", "STORM", "NOBODY", "ISOLATED", "NO ROOM"];
    let row = |nic: &NicUse| {
        let dropped = &nic.dropped;
        let drops = [dropped.spoofed, dropped.storm, dropped.nobody, dropped.isolated, dropped.no_room];
        let sent = [nic.sent_frames.to_string(), bytes(nic.sent_bytes)];
        let received = [nic.received_frames.to_string(), bytes(nic.received_bytes)];
        let cells = sent.into_iter().chain(received).chain(drops.map(|count| count.to_string()));
        [printable(&nic.name)].into_iter().chain(cells).collect()
    };
    one("NETWORK CARD", &heads, nics.iter().map(row).collect())
}

/// A table behind an empty line, where there are rows.
fn one(name: &str, heads: &[&str], rows: Vec<Vec<String>>) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let heads: Vec<_> =
        [(name, Align::Left)].into_iter().chain(heads.iter().map(|head| (*head, Align::Right))).collect();
    format!("\n{}", table(&heads, &rows))
}
