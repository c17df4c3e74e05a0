//! The host's PL011 UART (DDI0183), as EL2 uses it: bytes in, bytes out, never a wait.
//!
//! `arm-pl011-uart` is not used: its only way to enable the device sets the baud rate, which here
//! belongs to firmware. A driver is owned by one CPU at a time; the lock is the caller's.

use core::fmt;
use core::ptr::NonNull;

use hv_core::addr::Pa;
use tock_registers::interfaces::{Readable, Writeable};
use tock_registers::registers::{ReadOnly, ReadWrite, WriteOnly};
use tock_registers::{register_bitfields, register_structs};

use crate::wait;

/// Where the PL011 of the build's fallback is, QEMU `virt`'s: for the time before a tree is known.
pub const EARLY_UART: Pa = Pa(0x0900_0000);

/// Bytes of the receive FIFO of the newest revision (DDI0183 §2.4.1: 32 from r1p5 on).
const FIFO_DEPTH: usize = 32;

register_bitfields! {
    u32,
    Data [
        BYTE OFFSET(0) NUMBITS(8) [],
        FRAMING_ERROR OFFSET(8) NUMBITS(1) [],
        PARITY_ERROR OFFSET(9) NUMBITS(1) [],
        BREAK_ERROR OFFSET(10) NUMBITS(1) [],
    ],
    Flag [BUSY 3, RXFE 4, TXFF 5],
    LineControl [
        FEN OFFSET(4) NUMBITS(1) [],
        WLEN OFFSET(5) NUMBITS(2) [Bits8 = 3],
    ],
    Control [UARTEN 0, TXE 8, RXE 9],
    FifoLevel [
        TX OFFSET(0) NUMBITS(3) [Eighth = 0],
        RX OFFSET(3) NUMBITS(3) [Half = 2],
    ],
}

register_structs! {
    /// The registers (DDI0183 §3.2).
    Registers {
        (0x000 => data: ReadWrite<u32, Data::Register>),
        (0x004 => _error),
        (0x018 => flag: ReadOnly<u32, Flag::Register>),
        (0x01c => _baud),
        (0x02c => line: ReadWrite<u32, LineControl::Register>),
        (0x030 => control: ReadWrite<u32, Control::Register>),
        (0x034 => fifo_level: WriteOnly<u32, FifoLevel::Register>),
        (0x038 => mask: ReadWrite<u32>),
        (0x03c => _raw),
        (0x040 => masked: ReadOnly<u32>),
        (0x044 => clear: WriteOnly<u32>),
        (0x048 => @END),
    }
}

/// A set of interrupt causes, at their bits of UARTIMSC (DDI0183 §3.3.10).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Causes(u32);

impl Causes {
    /// Bytes have come: the FIFO is half full, or has held some for 32 bit times.
    pub const RECEIVE: Self = Self(1 << 4 | 1 << 6);
    /// The transmit FIFO has run down to an eighth.
    pub const TRANSMIT: Self = Self(1 << 5);
    /// Every cause.
    pub const ALL: Self = Self(0x7ff);

    /// Whether all of `other` is in the set.
    #[inline]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any of `other` is in the set.
    #[inline]
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// The transmit FIFO has no room.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Full;

/// A PL011.
#[derive(Debug)]
pub struct Pl011 {
    regs: NonNull<Registers>,
}

// SAFETY: the registers are a device's, reached alike from every CPU; no state of a CPU is kept.
unsafe impl Send for Pl011 {}

impl Pl011 {
    /// The driver for the device at `base`. It touches nothing yet. `None` if `base` is 0.
    ///
    /// # Safety
    ///
    /// While the driver lives, `base` is the address of a PL011's registers, mapped there as device memory
    /// (or the MMU is off), and nobody else drives the device.
    pub const unsafe fn new(base: Pa) -> Option<Self> {
        match NonNull::new(core::ptr::with_exposed_provenance_mut(base.0 as usize)) {
            Some(regs) => Some(Self { regs }),
            None => None,
        }
    }

    #[inline]
    fn regs(&self) -> &Registers {
        // SAFETY: `new`'s caller has promised that the registers are there, and every access to them is
        // volatile through cells.
        unsafe { self.regs.as_ref() }
    }

    /// Makes the device send and receive, with FIFOs unless bytes wait in a device without, all interrupts masked. What firmware has set of the
    /// line (baud rate, parity, stop bits) stays as it is; only a device that nobody has enabled gets
    /// 8 data bits.
    pub fn init(&mut self) {
        let regs = self.regs();
        regs.mask.set(0);
        regs.clear.set(Causes::ALL.0);
        let control = regs.control.extract();
        let line = regs.line.extract();
        let enabled = control.is_set(Control::UARTEN);
        let running =
            enabled && control.is_set(Control::TXE) && control.is_set(Control::RXE) && line.is_set(LineControl::FEN);
        if !running {
            // The line control may change only while the UART is off and quiet (DDI0183 §3.3.8).
            regs.control.modify_no_read(control, Control::UARTEN::CLEAR);
            wait::until(|| !self.regs().flag.is_set(Flag::BUSY));
            let width = if enabled { line.read(LineControl::WLEN) } else { 3 };
            // Turning FIFOs on empties them: what was typed before this program began is worth more.
            let waits = !regs.flag.is_set(Flag::RXFE);
            let fifos =
                if waits && !line.is_set(LineControl::FEN) { LineControl::FEN::CLEAR } else { LineControl::FEN::SET };
            let line_value = fifos + LineControl::WLEN.val(width);
            regs.line.modify_no_read(line, line_value);
        }
        regs.fifo_level.write(FifoLevel::TX::Eighth + FifoLevel::RX::Half);
        let on = Control::UARTEN::SET + Control::TXE::SET + Control::RXE::SET;
        regs.control.modify_no_read(control, on);
    }

    /// Sends a byte if there is room for it.
    ///
    /// # Errors
    ///
    /// [`Full`], and the byte is not sent.
    #[inline]
    pub fn put(&mut self, byte: u8) -> Result<(), Full> {
        let regs = self.regs();
        if regs.flag.is_set(Flag::TXFF) {
            return Err(Full);
        }
        regs.data.set(u32::from(byte));
        Ok(())
    }

    /// Takes a received byte. What came with a framing or parity error or is a break is dropped.
    #[inline]
    pub fn get(&mut self) -> Option<u8> {
        let regs = self.regs();
        for _ in 0..FIFO_DEPTH {
            if regs.flag.is_set(Flag::RXFE) {
                return None;
            }
            let data = regs.data.extract();
            let damaged = Data::FRAMING_ERROR::SET + Data::PARITY_ERROR::SET + Data::BREAK_ERROR::SET;
            if !data.any_matching_bits_set(damaged) {
                return Some(data.read(Data::BYTE) as u8);
            }
        }
        None
    }

    /// Lets `causes` interrupt.
    #[inline]
    pub fn enable(&mut self, causes: Causes) {
        let regs = self.regs();
        regs.mask.set(regs.mask.get() | causes.0);
    }

    /// Keeps `causes` from interrupting.
    #[inline]
    pub fn disable(&mut self, causes: Causes) {
        let regs = self.regs();
        regs.mask.set(regs.mask.get() & !causes.0);
    }

    /// The causes that interrupt now.
    #[inline]
    pub fn pending(&self) -> Causes {
        Causes(self.regs().masked.get())
    }

    /// Acknowledges `causes` at the device.
    #[inline]
    pub fn clear(&mut self, causes: Causes) {
        self.regs().clear.set(causes.0);
    }

    /// Sends a byte and waits for room, though not for ever: for the last report of a program that has
    /// nothing else left to do.
    pub fn put_blocking(&mut self, byte: u8) {
        wait::until(|| self.put(byte).is_ok());
    }

    /// Waits, though not for ever, until all bytes are on the line, so that a power-off cuts none.
    pub fn flush(&mut self) {
        wait::until(|| !self.regs().flag.is_set(Flag::BUSY));
    }

    /// A writer for the last report.
    pub fn last_report(&mut self) -> LastReport<'_> {
        LastReport { uart: self }
    }
}

/// Writes text with [`Pl011::put_blocking`], each line's end as a terminal wants it.
#[derive(Debug)]
pub struct LastReport<'a> {
    uart: &'a mut Pl011,
}

impl fmt::Write for LastReport<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if byte == b'\n' {
                self.uart.put_blocking(b'\r');
            }
            self.uart.put_blocking(byte);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
