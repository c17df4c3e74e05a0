//! The board's UARTs: who has the console, what goes out, what comes in.
//!
//! One VM's line, or EL2's log, has the console (the *focus*); the escape byte goes on to the next. EL2's
//! log has the second UART for itself where there is one. Nothing here waits for a UART, the last
//! words excepted: what does not fit into its FIFO stays in a ring until the transmit interrupt.

use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use hv_abi::handle::Label;
use hv_board::pl011::{Causes, EARLY_UART, Pl011};
use hv_core::addr::VmId;
use hv_core::frames::MAX_VMS;
use hv_core::ring::{ByteRing, WhenFull};

use crate::devices::Serial;
use crate::{CONSOLE, LOG, VMS};

/// Bytes of input that wait for a guest.
const INPUT_SIZE: usize = 256;
/// Bytes of EL2's own words on the console while a VM has it.
const NOTICE_SIZE: usize = 256;

/// Who has the console.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Focus {
    /// EL2's log.
    Log,
    /// A VM.
    Vm(VmId),
}

/// [`Focus`] as a number, for paths that only compare: 0 is the log, n + 1 is VM n.
static FOCUS: AtomicU8 = AtomicU8::new(0);
/// Input waits for the VM in focus.
static INPUT_WAITS: AtomicBool = AtomicBool::new(false);

/// An escape came where the console could not be switched.
static SWITCH_WAITS: AtomicBool = AtomicBool::new(false);

/// Who has the console.
#[inline]
pub fn focus() -> Focus {
    match FOCUS.load(Ordering::Relaxed) {
        0 => Focus::Log,
        n => Focus::Vm(VmId(n - 1)),
    }
}

/// The UARTs and what waits for them.
pub struct Console {
    main: Option<Pl011>,
    log: Option<Pl011>,
    escape: u8,
    first: Option<Label>,
    /// The VM that gets the console first has had it.
    first_done: bool,
    /// The main UART's transmit interrupt is enabled.
    transmit_waits: bool,
    input: ByteRing<INPUT_SIZE>,
    notice: ByteRing<NOTICE_SIZE>,
}

impl Console {
    /// No UART yet.
    pub const fn new() -> Self {
        Self {
            main: None,
            log: None,
            escape: 0,
            first: None,
            first_done: false,
            transmit_waits: false,
            input: ByteRing::new(),
            notice: ByteRing::new(),
        }
    }

    /// Takes over the board's UARTs.
    pub fn attach(&mut self, main: Option<Pl011>, log: Option<Pl011>) {
        self.main = main;
        self.log = log;
        for uart in [&mut self.main, &mut self.log].into_iter().flatten() {
            uart.init();
        }
    }

    /// What the description says.
    pub fn configure(&mut self, escape: u8, first: Option<Label>) {
        self.escape = escape;
        self.first = first;
        self.first_done = first.is_none();
    }

    /// Interrupts may come from now on. What came before has interrupted nobody and is read here.
    pub fn listen(&mut self) {
        if self.receive() {
            SWITCH_WAITS.store(true, Ordering::Relaxed);
        }
    }

    /// Sends what waits of EL2's words and then of `serial`, as far as the FIFO takes it.
    fn send(&mut self, serial: &mut Serial) {
        let Some(uart) = &mut self.main else { return };
        let all = drain(&mut self.notice, uart) && drain(&mut serial.output, uart);
        if all == self.transmit_waits {
            self.transmit_waits = !all;
            if all { uart.disable(Causes::TRANSMIT) } else { uart.enable(Causes::TRANSMIT) }
        }
    }

    /// Says on the console who has it now.
    fn announce(&mut self, name: &str) {
        let mut text = Notice(&mut self.notice);
        // Writing to the ring cannot fail.
        let _ = write!(text, "\r\n[console: {name}]\r\n");
    }

    /// Reads what has come, as far as there is room for it. While the ring is full the UART is not read
    /// and may not interrupt: its FIFO fills, and the sender waits. Returns whether the console is to be switched.
    fn receive(&mut self) -> bool {
        let Some(uart) = &mut self.main else {
            return false;
        };
        // Before the reads: the interrupt is an event, and a byte that comes after them is a new one.
        uart.clear(Causes::RECEIVE);
        let mut switch = false;
        while !self.input.is_full() {
            let Some(byte) = uart.get() else { break };
            if byte == self.escape {
                switch = true;
                break;
            }
            self.input.put(byte, WhenFull::Refuse);
        }
        // Before the first guest has the console its input is kept; nobody reads a log's.
        if focus() == Focus::Log && self.first_done {
            self.input.clear();
        }
        if self.input.is_full() {
            uart.disable(Causes::RECEIVE);
        } else {
            uart.enable(Causes::RECEIVE);
        }
        INPUT_WAITS.store(!self.input.is_empty(), Ordering::Relaxed);
        switch
    }
}

/// Sends a ring's bytes; whether all went.
fn drain<const N: usize>(ring: &mut ByteRing<N>, uart: &mut Pl011) -> bool {
    while let Some(byte) = ring.peek() {
        if uart.put(byte).is_err() {
            return false;
        }
        ring.take();
    }
    true
}

/// EL2's own words between a VM's.
struct Notice<'r>(&'r mut ByteRing<NOTICE_SIZE>);

impl Write for Notice<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            self.0.put(byte, WhenFull::Overwrite);
        }
        Ok(())
    }
}

/// Sends the log's new lines to its UART, or to the console while the log has it.
pub fn show_log() {
    let mut console = CONSOLE.lock();
    let console = &mut *console;
    let focused = focus() == Focus::Log;
    let mut ring = LOG.lock();
    if let Some(log) = &mut console.log {
        let all = drain_lines(&mut ring, log);
        set_transmit(log, !all);
    }
    if focused && let Some(main) = &mut console.main {
        let all = drain(&mut console.notice, main) && (console.log.is_some() || drain_lines(&mut ring, main));
        console.transmit_waits = !all;
        set_transmit(main, !all);
    }
}

/// Lets a UART interrupt when its FIFO has room, or not.
fn set_transmit(uart: &mut Pl011, waits: bool) {
    if waits {
        uart.enable(Causes::TRANSMIT);
    } else {
        uart.disable(Causes::TRANSMIT);
    }
}

/// Sends a ring of lines; whether all went.
fn drain_lines<const N: usize>(ring: &mut ByteRing<N>, uart: &mut Pl011) -> bool {
    while let Some(byte) = ring.peek() {
        // A terminal wants CR before LF; a CR that is sent twice does no harm.
        if (byte == b'\n' && uart.put(b'\r').is_err()) || uart.put(byte).is_err() {
            return false;
        }
        ring.take();
    }
    true
}

/// Sends a byte of the VM in focus, if nothing waits before it and the UART has room.
#[inline]
pub fn put(byte: u8) -> bool {
    let mut console = CONSOLE.lock();
    let free = !console.transmit_waits && console.notice.is_empty();
    free && console.main.as_mut().is_some_and(|uart| uart.put(byte).is_ok())
}

/// A VM has put bytes into its line: sends them if it has the console.
#[inline]
pub fn output(vm: VmId, serial: &mut Serial) {
    if focus() == Focus::Vm(vm) {
        CONSOLE.lock().send(serial);
    }
}

/// Whether input waits for `vm`.
#[inline]
pub fn has_input_for(vm: VmId) -> bool {
    INPUT_WAITS.load(Ordering::Relaxed) && focus() == Focus::Vm(vm)
}

/// Gives `vm` what waits of input, as far as it wants it. Returns whether it got some.
#[inline]
pub fn input(vm: VmId, serial: &mut Serial) -> bool {
    has_input_for(vm) && take_input(serial)
}

fn take_input(serial: &mut Serial) -> bool {
    let mut console = CONSOLE.lock();
    let was_full = console.input.is_full();
    let mut got = false;
    while serial.uart.wants_input() {
        let Some(byte) = console.input.take() else {
            break;
        };
        got |= serial.uart.receive(byte);
    }
    INPUT_WAITS.store(!console.input.is_empty(), Ordering::Relaxed);
    if was_full && got {
        // What waits in the FIFO has interrupted already. The line's lock is held: a switch is put off.
        if console.receive() {
            SWITCH_WAITS.store(true, Ordering::Relaxed);
            crate::cpu::interrupt_self();
        }
    }
    got
}

/// An interrupt of the console's UART. The caller gives the focused VM its input afterwards.
pub fn interrupt() {
    let switch = CONSOLE.lock().receive();
    if switch {
        SWITCH_WAITS.store(true, Ordering::Relaxed);
    }
    switch_if_wanted();
    refresh();
}

/// Switches the console where an escape has come.
pub fn switch_if_wanted() {
    // What came behind an escape is for the next one, and may hold another.
    while SWITCH_WAITS.swap(false, Ordering::Relaxed) {
        next();
        if CONSOLE.lock().receive() {
            SWITCH_WAITS.store(true, Ordering::Relaxed);
        }
        refresh();
    }
}

/// Sends what the one in focus has.
fn refresh() {
    match focus() {
        Focus::Log => show_log(),
        Focus::Vm(vm) => {
            let mut serial = VMS[vm.index()].serial.lock();
            output(vm, &mut serial);
            serial.settle();
            crate::devices::serial_changed(vm, &mut serial);
        }
    }
    if CONSOLE.lock().log.is_some() {
        show_log();
    }
}

/// Goes on to the next: the log, the service partition, the guests that exist, the log again.
fn next() {
    let from = FOCUS.load(Ordering::Relaxed);
    let vm = (usize::from(from)..MAX_VMS).find(|&vm| VMS[vm].has_console());
    switch_to(vm.map_or(Focus::Log, |vm| Focus::Vm(VmId(vm as u8))));
}

/// Gives the console away, and says so on it.
fn switch_to(to: Focus) {
    let (number, label) = match to {
        Focus::Log => (0, None),
        Focus::Vm(vm) => (vm.0 + 1, VMS[vm.index()].label()),
    };
    FOCUS.store(number, Ordering::Relaxed);
    let mut console = CONSOLE.lock();
    match &label {
        Some(label) => console.announce(label.as_str()),
        None => console.announce("dormouse log"),
    }
    if to == Focus::Log && console.first_done {
        console.input.clear();
    }
}

/// A guest was started: it gets the console if it is the one that gets it first.
pub fn started(vm: VmId, label: Label) {
    let mut console = CONSOLE.lock();
    let wanted = console.first == Some(label) && focus() == Focus::Log;
    console.first_done |= wanted;
    drop(console);
    if wanted {
        show_log();
        switch_to(Focus::Vm(vm));
        refresh();
    }
}

/// A VM is gone: the log takes its console back.
pub fn gone(vm: VmId) {
    if focus() == Focus::Vm(vm) {
        switch_to(Focus::Log);
        refresh();
    }
}

/// Shows what a VM has said and nobody has seen: before a last report that it is the reason of.
pub fn show_last_of(vm: VmId) {
    switch_to(Focus::Vm(vm));
    refresh();
}

/// Writes a last report, waiting for the UART, whatever state the locks are in.
pub fn last_words(text: fmt::Arguments<'_>) {
    // The holder of the lock may be the one that failed, or a CPU that will never run again.
    let mut console = CONSOLE.try_lock();
    if console.is_none() {
        // SAFETY: nothing is left to be done after a last report; what the holder was doing with the
        // UART is cut short, which is all that can go wrong with a device's registers.
        unsafe { CONSOLE.force_unlock() };
        console = CONSOLE.try_lock();
    }
    let Some(mut console) = console else { return };
    let console = &mut *console;
    let Console { main, log, .. } = console;
    for uart in [main, log].into_iter().flatten() {
        uart.put_blocking(b'\r');
        uart.put_blocking(b'\n');
        if let Some(mut ring) = LOG.try_lock() {
            while let Some(byte) = ring.take() {
                if byte == b'\n' {
                    uart.put_blocking(b'\r');
                }
                uart.put_blocking(byte);
            }
        }
        let _ = uart.last_report().write_fmt(text);
        uart.flush();
    }
}

/// Makes the build's fallback UART the console: nothing else is known.
pub fn use_fallback() {
    // SAFETY: the caller has mapped it, or the MMU is off; nobody drives it.
    let uart = unsafe { Pl011::new(EARLY_UART) };
    CONSOLE.lock().attach(uart, None);
}

/// Words before there is anything: at the wrong exception level, with the MMU off, where locks may not work.
pub fn early_words(text: &str) {
    // SAFETY: the MMU is off, so the address is the device's; nobody drives it.
    if let Some(mut uart) = unsafe { Pl011::new(EARLY_UART) } {
        uart.init();
        for byte in text.bytes() {
            if byte == b'\n' {
                uart.put_blocking(b'\r');
            }
            uart.put_blocking(byte);
        }
        uart.flush();
    }
}
