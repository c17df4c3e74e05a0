//! How the hypervisor, its log and the service partition are shown to people.

use crate::records::{Hv, Log, Memory, Packets, Sos};
use crate::text::{Align, bytes, hertz, micros, pairs, printable, printable_lines, span, table};

pub(super) fn sos_text(sos: &Sos) -> String {
    let woken_by = sos.woken_by.as_deref().unwrap_or("-");
    pairs([
        ("state", sos.state.clone()),
        ("times woken", sos.lives.to_string()),
        ("woken last by", printable(woken_by)),
        ("wake to answer", micros(sos.wake_to_answer_ns)),
        ("on", format!("{:.3} % of {}", sos.on_percent, span(sos.up_ns))),
        ("frames owned", sos.frames.to_string()),
        ("requests open", sos.requests.to_string()),
        ("failures", sos.failures.to_string()),
        ("packets while off", packets(&sos.packets)),
    ])
}

/// What became of packets while it was off.
fn packets(packets: &Packets) -> String {
    let Packets { matched, answered, woken, dropped, limited } = packets;
    format!("{matched} matched, {answered} answered, {woken} woke it, {dropped} dropped, {limited} above its limits")
}

pub(super) fn hv_text(hv: &Hv) -> String {
    let first_guest = match (hv.first_guest_count, hv.counter_hz) {
        (0, _) => "not started".to_owned(),
        (count, 0) => format!("at count {count}"),
        (count, hz) => {
            let ns = u128::from(count) * 1_000_000_000 / u128::from(hz);
            format!("at count {count} ({})", micros(u64::try_from(ns).unwrap_or(u64::MAX)))
        }
    };
    let cpus = match hv.cpus_off {
        0 => hv.cpus.to_string(),
        off => format!("{} ({off} off)", hv.cpus),
    };
    let facts = pairs([
        ("CPUs", cpus),
        ("counter", hertz(hv.counter_hz)),
        ("up", span(hv.up_ns)),
        ("first guest", first_guest),
        ("image CRC-32", hv.image_crc.clone()),
    ]);
    format!("{facts}\n{}", memory_text(&hv.memory))
}

fn memory_text(memory: &Memory) -> String {
    let heads = [("MEMORY", Align::Left), ("SIZE", Align::Right), ("BYTES", Align::Right)];
    let row = |name: &str, size: u64| [name.to_owned(), bytes(size), size.to_string()];
    let mut rows: Vec<_> = memory.rows().into_iter().map(|(name, size)| row(name, size)).collect();
    rows.push(row("  of which held for the service partition", memory.held));
    rows.push(row("total", memory.total));
    table(&heads, &rows)
}

pub(super) fn log_text(log: &Log) -> String {
    let mut text = match log.position {
        0 => String::new(),
        lost => format!("[{lost} bytes were overwritten]\n"),
    };
    text.push_str(&printable_lines(&log.text));
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text
}
