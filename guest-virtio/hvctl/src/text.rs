//! Tables and units for people. Programs use `--json`.

use std::fmt::Write;
use std::time::Duration;

const NS_IN_S: u64 = 1_000_000_000;

/// Where a column's cells stand.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// A table: a line of heads and a line for each row, columns two spaces apart.
pub(crate) fn table<R: AsRef<[String]>>(heads: &[(&str, Align)], rows: &[R]) -> String {
    let head_row: Vec<String> = heads.iter().map(|(head, _)| (*head).to_owned()).collect();
    let rows = || std::iter::once(&*head_row).chain(rows.iter().map(AsRef::as_ref));
    let mut widths = vec![0; heads.len()];
    for row in rows() {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut text = String::new();
    for row in rows() {
        let mut line = String::new();
        for ((cell, (_, align)), &width) in row.iter().zip(heads).zip(&widths) {
            // Writing to a String cannot fail.
            let _ = match align {
                Align::Left => write!(line, "{cell:<width$}  "),
                Align::Right => write!(line, "{cell:>width$}  "),
            };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Lines of names and values, the values aligned.
pub(crate) fn pairs<const N: usize>(pairs: [(&str, String); N]) -> String {
    let width = pairs.iter().map(|(name, _)| name.chars().count()).max();
    let width = width.unwrap_or(0);
    pairs.iter().fold(String::new(), |mut text, (name, value)| {
        let _ = writeln!(text, "{name:<width$}  {value}");
        text
    })
}

/// Bytes in the largest unit that leaves a number of at least 1.
pub(crate) fn bytes(bytes: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    let fits = units.into_iter().find(|(shift, _)| bytes >> shift > 0);
    let Some((shift, unit)) = fits else {
        return format!("{bytes} B");
    };
    if bytes.is_multiple_of(1 << shift) {
        format!("{} {unit}", bytes >> shift)
    } else {
        format!("{:.1} {unit}", bytes as f64 / f64::from(1u32 << shift))
    }
}

/// Bits in the largest unit of a thousand that leaves a number of at least 1.
pub(crate) fn bits(bits: f64) -> String {
    let units = [(1e9, "Gbit"), (1e6, "Mbit"), (1e3, "kbit")];
    let fits = units.into_iter().find(|(size, _)| bits >= *size);
    fits.map_or_else(|| format!("{bits:.0} bit"), |(size, unit)| format!("{:.1} {unit}", bits / size))
}

/// A span of time from nanoseconds, in the two units that matter.
pub(crate) fn span(ns: u64) -> String {
    let seconds = ns / NS_IN_S;
    match seconds {
        0..60 => format!("{}.{} s", seconds, ns % NS_IN_S / (NS_IN_S / 10)),
        60..3600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h {:02}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d {:02}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// Microseconds from nanoseconds.
pub(crate) fn micros(ns: u64) -> String {
    format!("{}.{} µs", ns / 1000, ns % 1000 / 100)
}

/// A time-out in seconds.
pub(crate) fn seconds(time: Duration) -> String {
    format!("{} s", time.as_secs_f64())
}

/// A frequency in Hz.
pub(crate) fn hertz(hz: u32) -> String {
    if hz.is_multiple_of(1_000_000) {
        format!("{} MHz", hz / 1_000_000)
    } else {
        format!("{:.3} MHz", f64::from(hz) / 1e6)
    }
}

/// Part of a whole in per cent; 0 of nothing.
pub(crate) fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    part as f64 / whole as f64 * 100.0
}

/// Text of others without control characters, which a terminal would obey.
pub(crate) fn printable(text: &str) -> String {
    text.chars().fold(String::new(), |mut out, c| {
        match c {
            c if c.is_control() => out.extend(c.escape_default()),
            c => out.push(c),
        }
        out
    })
}

/// Lines of others: as [`printable`], with the ends of lines and tabs kept.
pub(crate) fn printable_lines(text: &str) -> String {
    text.split_inclusive(['\n', '\t']).fold(String::new(), |mut out, piece| {
        let body = piece.trim_end_matches(['\n', '\t']);
        out.push_str(&printable(body));
        out.push_str(&piece[body.len()..]);
        out
    })
}

#[cfg(test)]
mod tests;
