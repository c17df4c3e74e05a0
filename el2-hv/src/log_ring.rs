//! EL2's log: `log`'s records as lines with a time, in a ring that outlives what the console shows.

use core::fmt::{self, Write};

use hv_core::ring::{ByteRing, WhenFull};
use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::{LOG, MACHINE, console};

/// Bytes of log that are kept.
pub const LOG_SIZE: usize = 64 * 1024;

/// The ring, and who takes lines out of it for a UART.
pub type LogRing = ByteRing<LOG_SIZE>;

struct Logger;

static LOGGER: Logger = Logger;

/// From now on `log`'s macros write here.
pub fn start() {
    if log::set_logger(&LOGGER).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
}

/// Puts text into the ring, the oldest making room.
struct Line<'r>(&'r mut LogRing);

impl Write for Line<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            // What guests say may be in a line: nothing that steers a terminal gets through.
            let shown = if (b' '..=b'~').contains(&byte) || byte == b'\n' { byte } else { b'.' };
            self.0.put(shown, WhenFull::Overwrite);
        }
        Ok(())
    }
}

/// Seconds and microseconds since EL2 began.
pub fn time() -> (u64, u64) {
    let us = MACHINE.get().map_or(0, |machine| machine.up_ns() / 1000);
    (us / 1_000_000, us % 1_000_000)
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= Level::Info
    }

    fn log(&self, record: &Record<'_>) {
        let (seconds, us) = time();
        let mut ring = LOG.lock();
        let mut line = Line(&mut ring);
        let mark = match record.level() {
            Level::Error => "error: ",
            Level::Warn => "warning: ",
            _ => "",
        };
        // Writing to the ring cannot fail.
        let _ = writeln!(line, "[{seconds:5}.{us:06}] {mark}{}", record.args());
        drop(ring);
        console::show_log();
    }

    fn flush(&self) {}
}
