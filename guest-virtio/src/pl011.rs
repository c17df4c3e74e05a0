//! The PL011 UART as a guest sees it (DDI0183 r1p5), with the timing of QEMU's: a character is
//! sent as soon as it is written.
//!
//! Owns the registers, the receive FIFO and the interrupt line. The caller owns the wire: it
//! sends what [`Pl011::write`] returns and hands over input while [`Pl011::wants_input`].
//!
//! # Transmitting
//! The transmit FIFO is the caller's console ring; [`TxState`] says at each access whether it
//! has room. "Full" is to mean "less than [`FIFO_DEPTH`] bytes of room": a driver that was
//! interrupted writes half a FIFO without looking at FR in between, as the interrupt promises
//! that much room. When the ring gets room again the caller calls [`Pl011::transmit_room`].
//!
//! # Receiving
//! Input is handed over only to a guest that looks for it, so that what is typed or piped ahead
//! is not lost to a driver that empties the FIFO when it starts. A guest looks for input
//! * when it unmasks the receive or the receive time-out interrupt of an enabled UART and
//!   receiver: any number of bytes, as the FIFO has room;
//! * when it enables UART and receiver with the interrupt unmasked before, and then lets them be:
//!   the caller says so by [`Pl011::settle`]. Linux' console enables the UART for each line that it
//!   prints before anybody reads, with the interrupt left unmasked by its set-up, and empties the
//!   FIFO when the line is opened;
//! * or when it polls: [`POLLS`] reads of FR or DR with the receive FIFO empty and room to
//!   transmit, with no DR, CR, LCR_H or IMSC write in between. No transmitting guest makes so
//!   many, as it finds what it waits for at the first. Each further such read admits one byte,
//!   and CR does not matter: simple guests never write it, and QEMU does not ask for it.
//!
//! Not modelled: baud rate, parity, break, modem lines, loopback and DMA; their registers keep
//! what is written.

#[cfg(test)]
mod tests;

/// Entries of the receive FIFO (DDI0183 r1p5 §1.1).
pub const FIFO_DEPTH: usize = 32;

/// Reads that make a polling guest.
pub const POLLS: u8 = 16;

/// Offsets (DDI0183 §3.2).
mod register {
    pub(super) const DR: u64 = 0x000;
    pub(super) const RSR_ECR: u64 = 0x004;
    pub(super) const FR: u64 = 0x018;
    pub(super) const ILPR: u64 = 0x020;
    pub(super) const IBRD: u64 = 0x024;
    pub(super) const FBRD: u64 = 0x028;
    pub(super) const LCR_H: u64 = 0x02c;
    pub(super) const CR: u64 = 0x030;
    pub(super) const IFLS: u64 = 0x034;
    pub(super) const IMSC: u64 = 0x038;
    pub(super) const RIS: u64 = 0x03c;
    pub(super) const MIS: u64 = 0x040;
    pub(super) const ICR: u64 = 0x044;
    pub(super) const DMACR: u64 = 0x048;
    pub(super) const PERIPHERAL_ID: u64 = 0xfe0;
    pub(super) const LAST: u64 = 0xffc;
}

/// UARTPeriphID0-3 and UARTPCellID0-3 (DDI0183 §3.3.15-3.3.22): part 0x011, designer 0x41, revision 1
/// as QEMU's, at which drivers count on a FIFO of 16.
const ID: [u8; 8] = [0x11, 0x10, 0x14, 0x00, 0x0d, 0xf0, 0x05, 0xb1];

/// UARTFR (§3.3.3).
mod flag {
    pub(super) const BUSY: u16 = 1 << 3;
    pub(super) const RXFE: u16 = 1 << 4;
    pub(super) const TXFF: u16 = 1 << 5;
    pub(super) const RXFF: u16 = 1 << 6;
    pub(super) const TXFE: u16 = 1 << 7;
}

/// UARTLCR_H.FEN: the FIFOs are on (§3.3.7).
const FEN: u16 = 1 << 4;
/// UARTCR.UARTEN and RXE (§3.3.8).
const RECEIVER_ON: u16 = 1 | 1 << 9;
/// Reset value of UARTCR: TXE and RXE.
const CR_RESET: u16 = 0x300;
/// Bits of UARTCR that exist; 6:3 are reserved.
const CR_MASK: u16 = 0xff87;
/// Reset value of UARTIFLS: both at half.
const IFLS_RESET: u16 = 0x12;

/// UARTIMSC, RIS, MIS and ICR (§3.3.10-3.3.13).
mod interrupt {
    pub(super) const RX: u16 = 1 << 4;
    pub(super) const TX: u16 = 1 << 5;
    pub(super) const RT: u16 = 1 << 6;
    pub(super) const ALL: u16 = 0x7ff;
}

/// Whether the caller's console ring has room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TxState {
    /// At least [`FIFO_DEPTH`] bytes.
    Room,
    /// Fewer: the guest sees TXFF and BUSY.
    Full,
}

/// What a write asks of the caller. Besides, the line may have changed: see [`Pl011::line`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum UartEffect {
    /// Nothing.
    None,
    /// Send this byte. Also returned when the ring is full: then the guest did not look, and
    /// whether the byte goes or another does is the ring's policy.
    Transmit(u8),
}

/// Whether a guest that uses the receive interrupt is ready for input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Readiness {
    /// No.
    Closed,
    /// It was enabled after the interrupt was unmasked: if nothing follows.
    Unsettled,
    /// Yes.
    Open,
}

/// One UART.
#[derive(Clone, Debug)]
pub struct Pl011 {
    readiness: Readiness,
    interrupts: u16,
    mask: u16,
    control: u16,
    line_control: u16,
    fifo: [u8; FIFO_DEPTH],
    first: u8,
    count: u8,
    /// Reads in a row that found no input.
    polls: u8,
    low_power: u16,
    baud_integer: u16,
    baud_fraction: u16,
    fifo_levels: u16,
    dma: u16,
}

impl Pl011 {
    /// All zeroes, for tables that exist before their machines; not what a guest may see.
    pub const UNPOWERED: Self = Self { control: 0, fifo_levels: 0, ..Self::new() };

    /// A UART as after reset (DDI0183 table 3-1).
    pub const fn new() -> Self {
        Self {
            readiness: Readiness::Closed,
            interrupts: 0,
            mask: 0,
            control: CR_RESET,
            line_control: 0,
            fifo: [0; FIFO_DEPTH],
            first: 0,
            count: 0,
            polls: 0,
            low_power: 0,
            baud_integer: 0,
            baud_fraction: 0,
            fifo_levels: IFLS_RESET,
            dma: 0,
        }
    }

    /// Level of the combined interrupt, UARTINTR.
    #[inline]
    pub const fn line(&self) -> bool {
        self.interrupts & self.mask != 0
    }

    /// Answers a read of `size` bytes at `offset` into the page. Accesses within a register give
    /// its bytes from there; those of 8 bytes read zero.
    #[inline]
    pub fn read(&mut self, offset: u64, size: u8, tx: TxState) -> u64 {
        let kept = match size {
            1 => 0xff,
            2 => 0xffff,
            4 => u32::MAX,
            _ => return 0,
        };
        let value = match offset & !3 {
            register::FR => self.flags(tx),
            register::DR if offset & 3 == 0 => self.take_received(),
            other => self.read_slow(other),
        };
        u64::from(u32::from(value) >> (8 * (offset & 3) as u32) & kept)
    }

    /// Performs a write of `size` bytes at `offset` into the page. One that does not begin with
    /// a register, or has 8 bytes, is ignored.
    #[inline]
    pub fn write(&mut self, offset: u64, size: u8, value: u64, tx: TxState) -> UartEffect {
        if offset == register::DR && size <= 4 {
            self.polls = 0;
            self.unsettle();
            // The FIFO is below its level again at once, which is what asserts the interrupt
            // (§2.8.2), unless the ring is what the byte waits for.
            self.interrupts = match tx {
                TxState::Room => self.interrupts | interrupt::TX,
                TxState::Full => self.interrupts & !interrupt::TX,
            };
            return UartEffect::Transmit(value as u8);
        }
        if size <= 4 {
            self.write_slow(offset, value as u16);
        }
        UartEffect::None
    }

    /// Takes a byte from the wire; `false` if the FIFO has no room, and the byte stays with the
    /// caller.
    ///
    /// The receive interrupt comes with the first byte, whatever UARTIFLS says, as in QEMU:
    /// drivers written there wait for it without the time-out interrupt. The time-out's 32 bit
    /// periods have passed at once.
    pub fn receive(&mut self, byte: u8) -> bool {
        if !self.has_room() {
            return false;
        }
        let end = usize::from(self.first.wrapping_add(self.count)) % FIFO_DEPTH;
        if let Some(entry) = self.fifo.get_mut(end) {
            *entry = byte;
        }
        self.count += 1;
        self.interrupts |= interrupt::RX | interrupt::RT;
        // A polling guest gets the next byte when it looks again.
        self.polls = self.polls.min(POLLS - 1);
        true
    }

    /// Whether the guest looks for input and the FIFO has room for a byte.
    #[inline]
    pub const fn wants_input(&self) -> bool {
        let interrupted = matches!(self.readiness, Readiness::Open) && self.is_listening();
        (interrupted || self.polls >= POLLS) && self.has_room()
    }

    /// The receive interrupt is unmasked, UART and receiver are enabled.
    const fn is_listening(&self) -> bool {
        self.mask & (interrupt::RX | interrupt::RT) != 0 && self.control & RECEIVER_ON == RECEIVER_ON
    }

    /// Whether [`Pl011::settle`] would make it ready for input.
    pub fn is_unsettled(&self) -> bool {
        self.readiness == Readiness::Unsettled && self.is_listening()
    }

    /// Time has passed since the guest's last access: what it enabled it means.
    pub fn settle(&mut self) {
        if self.is_unsettled() {
            self.readiness = Readiness::Open;
        }
    }

    /// The guest goes on with what it enabled the UART for: not to receive.
    #[inline]
    const fn unsettle(&mut self) {
        if matches!(self.readiness, Readiness::Unsettled) {
            self.readiness = Readiness::Closed;
        }
    }

    /// The guest has changed whether it listens.
    fn ready(&mut self, when: Readiness) {
        if !self.is_listening() {
            // Linux masks the interrupt to close the line; it turns the UART off and on to print.
            if self.mask & (interrupt::RX | interrupt::RT) == 0 {
                self.readiness = Readiness::Closed;
            }
        } else if self.readiness != Readiness::Open {
            self.readiness = when;
        }
    }

    /// The caller's ring, full before, has room: the FIFO passed its level from above, which
    /// asserts the transmit interrupt (§2.8.2).
    pub const fn transmit_room(&mut self) {
        self.interrupts |= interrupt::TX;
    }

    /// Whether the receive FIFO takes a byte: one only, without FEN (§3.3.7).
    const fn has_room(&self) -> bool {
        let depth = if self.line_control & FEN != 0 { FIFO_DEPTH } else { 1 };
        (self.count as usize) < depth
    }

    /// UARTFR; the modem lines read as not asserted.
    #[inline]
    fn flags(&mut self, tx: TxState) -> u16 {
        let transmit = match tx {
            TxState::Room => flag::TXFE,
            TxState::Full => flag::TXFF | flag::BUSY,
        };
        if self.count > 0 {
            return if self.has_room() { transmit } else { transmit | flag::RXFF };
        }
        if tx == TxState::Room {
            self.polls = self.polls.saturating_add(1);
        }
        transmit | flag::RXFE
    }

    /// UARTDR: the oldest byte, without error bits. An empty FIFO gives zero.
    fn take_received(&mut self) -> u16 {
        if self.count == 0 {
            self.polls = self.polls.saturating_add(1);
            return 0;
        }
        let byte = self.fifo.get(usize::from(self.first)).copied().unwrap_or(0);
        self.first = (self.first + 1) % FIFO_DEPTH as u8;
        self.count -= 1;
        if self.count == 0 {
            // Reading until below the level, and until empty, clears them (§2.8.1, §2.8.4).
            self.interrupts &= !(interrupt::RX | interrupt::RT);
        }
        u16::from(byte)
    }

    fn read_slow(&self, offset: u64) -> u16 {
        match offset {
            register::ILPR => self.low_power,
            register::IBRD => self.baud_integer,
            register::FBRD => self.baud_fraction,
            register::LCR_H => self.line_control,
            register::CR => self.control,
            register::IFLS => self.fifo_levels,
            register::IMSC => self.mask,
            register::RIS => self.interrupts,
            register::MIS => self.interrupts & self.mask,
            register::DMACR => self.dma,
            register::PERIPHERAL_ID..=register::LAST => identity(offset, &ID),
            // RSR among them: nothing here ever fails to arrive.
            register::RSR_ECR => 0,
            _ => 0,
        }
    }

    fn write_slow(&mut self, offset: u64, value: u16) {
        match offset {
            register::ILPR => self.low_power = value & 0xff,
            register::IBRD => self.baud_integer = value,
            register::FBRD => self.baud_fraction = value & 0x3f,
            register::IFLS => self.fifo_levels = value & 0x3f,
            register::DMACR => self.dma = value & 7,
            register::ICR => {
                self.interrupts &= !value;
                self.unsettle();
            }
            // What follows is how a driver starts: it is not polling any more. Bytes received
            // stay when FEN changes; hardware leaves that open (§3.3.7).
            register::LCR_H => (self.line_control, self.polls) = (value & 0xff, 0),
            register::CR => {
                (self.control, self.polls) = (value & CR_MASK, 0);
                self.ready(Readiness::Unsettled);
            }
            register::IMSC => {
                (self.mask, self.polls) = (value & interrupt::ALL, 0);
                self.ready(Readiness::Open);
            }
            _ => {}
        }
    }
}

impl Default for Pl011 {
    fn default() -> Self {
        Self::new()
    }
}

/// An identification register of a PrimeCell: eight of them, from 0xfe0.
pub(crate) fn identity(offset: u64, id: &[u8; 8]) -> u16 {
    let index = (offset.wrapping_sub(register::PERIPHERAL_ID) / 4) as usize;
    id.get(index).copied().map_or(0, u16::from)
}
