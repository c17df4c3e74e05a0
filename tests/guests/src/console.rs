//! The PL011 at 0x0900_0000 (Arm DDI 0183): lines out, characters in.

use core::fmt::{self, Write};
use hv_abi::guest_map::UART_BASE;
use spin::Mutex;

const DR: u64 = UART_BASE;
const FR: u64 = UART_BASE + 0x18;
const LCR_H: u64 = UART_BASE + 0x2c;
const CR: u64 = UART_BASE + 0x30;
const IMSC: u64 = UART_BASE + 0x38;
const ICR: u64 = UART_BASE + 0x44;
const DMACR: u64 = UART_BASE + 0x48;
const FR_RXFE: u32 = 1 << 4;
const FR_TXFF: u32 = 1 << 5;
/// 8 bits, FIFOs on (DDI 0183 §3.3.7).
const LCR_8_BITS_FIFO: u32 = 0x70;
/// UART, transmitter and receiver on (§3.3.8).
const CR_ON: u32 = 0x301;
/// Receive and receive time-out interrupts.
const RX_INTERRUPTS: u32 = 1 << 4 | 1 << 6;

/// One line at a time, whichever vCPU prints it.
static LINE: Mutex<Uart> = Mutex::new(Uart);

struct Uart;

impl Write for Uart {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.bytes().for_each(put);
        Ok(())
    }
}

/// Waits until there is room for a byte.
pub fn await_room() {
    while read(FR) & FR_TXFF != 0 {
        crate::cpu::relax();
    }
}

/// Writes one byte, waiting for room.
pub fn put(byte: u8) {
    await_room();
    write(DR, u32::from(byte));
}

/// Writes one byte, whether there is room for it or not.
pub fn throw(byte: u8) {
    write(DR, u32::from(byte));
}

/// A received byte, if there is one.
pub fn get() -> Option<u8> {
    (read(FR) & FR_RXFE == 0).then(|| read(DR) as u8)
}

/// Turns the line on and unmasks the receive interrupts: the sign that this guest listens.
pub fn listen() {
    write(LCR_H, LCR_8_BITS_FIFO);
    write(CR, CR_ON);
    write(ICR, 0x7ff);
    write(IMSC, RX_INTERRUPTS);
}

/// As [`listen`], but the interrupts are unmasked before the line is on, as some drivers do it.
pub fn listen_before_enabled() {
    write(CR, 0);
    write(LCR_H, LCR_8_BITS_FIFO);
    write(ICR, 0x7ff);
    write(IMSC, RX_INTERRUPTS);
    write(CR, CR_ON);
}

/// Takes back the receive interrupts that are pending.
pub fn acknowledge() {
    write(ICR, RX_INTERRUPTS);
}

/// Puts the control registers back to what a line at power-on has: 8 bits, FIFOs, both directions on,
/// every interrupt masked.
pub fn reset() {
    for (register, value) in [(IMSC, 0), (DMACR, 0), (LCR_H, LCR_8_BITS_FIFO), (CR, CR_ON), (ICR, 0x7ff)] {
        write(register, value);
    }
}

#[doc(hidden)]
pub fn print(arguments: fmt::Arguments<'_>) {
    // Uart::write_str never fails.
    let _ = LINE.lock().write_fmt(format_args!("{arguments}\r\n"));
}

/// Prints a line.
#[macro_export]
macro_rules! println {
    ($($argument:tt)*) => { $crate::console::print(format_args!($($argument)*)) };
}
pub use crate::println;

fn read(address: u64) -> u32 {
    // SAFETY: a PL011 register of this machine; reading it has no effect on Rust's memory.
    unsafe { (address as *const u32).read_volatile() }
}

fn write(address: u64, value: u32) {
    // SAFETY: as above.
    unsafe { (address as *mut u32).write_volatile(value) }
}
