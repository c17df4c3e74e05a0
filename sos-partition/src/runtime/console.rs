//! The partition's own PL011: its log, and its last words.

use core::fmt::{self, Write};

use hv_abi::guest_map::UART_BASE;
use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::runtime::mmio;

/// Data, flag, line control and control register (Arm PL011 TRM, §3.2).
const UARTDR: u64 = UART_BASE;
const UARTFR: u64 = UART_BASE + 0x18;
const UARTLCR_H: u64 = UART_BASE + 0x2c;
const UARTCR: u64 = UART_BASE + 0x30;
/// UARTFR.TXFF: the transmit FIFO is full.
const TXFF: u32 = 1 << 5;
/// UARTLCR_H: eight bits, FIFOs on.
const LINE: u32 = 0b111 << 4;
/// UARTCR: UART and its transmitter on.
const ENABLE: u32 = 1 | 1 << 8;
/// How often a full FIFO is looked at before a character is dropped: a console that nobody reads
/// must not hold a life up.
const FULL_MAX: u32 = 100_000;

struct Uart;

impl Uart {
    fn put(&self, byte: u8) {
        // SAFETY: the PL011's registers; it does no DMA.
        unsafe {
            let mut tries = 0;
            while mmio::read(UARTFR) & TXFF != 0 {
                tries += 1;
                if tries == FULL_MAX {
                    return;
                }
            }
            mmio::write(UARTDR, u32::from(byte));
        }
    }
}

impl Write for Uart {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.bytes().for_each(|byte| self.put(byte));
        Ok(())
    }
}

struct Logger;

impl Log for Logger {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        // What a driver's crate finds worth telling is not what the operator looks for.
        let own = record.target().starts_with("sos");
        if !own && record.level() > Level::Warn {
            return;
        }
        if record.level() == Level::Error {
            line(format_args!("error: {}", record.args()));
        } else {
            line(*record.args());
        }
    }

    fn flush(&self) {}
}

/// Takes the log. The PL011 itself is not touched before there is something to say.
pub(crate) fn init() {
    log::set_max_level(LevelFilter::Info);
    // Only a second logger would be an error.
    let _ = log::set_logger(&Logger);
}

/// Writes a line.
pub(crate) fn line(text: fmt::Arguments<'_>) {
    // SAFETY: the PL011's registers; it does no DMA.
    unsafe {
        mmio::write(UARTLCR_H, LINE);
        mmio::write(UARTCR, ENABLE);
    }
    // Writing to the PL011 does not fail.
    let _ = write!(Uart, "sos: {text}\r\n");
}
