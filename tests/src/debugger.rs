//! QEMU's debugger port (GDB remote serial protocol): stops a CPU, changes its registers and memory.
//!
//! A way to break EL2 from outside, which a test cannot do from inside: the image has no door for it.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;

/// A register's number in QEMU's AArch64 target (`org.gnu.gdb.aarch64.core`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Register(u32);

impl Register {
    /// General register `n`.
    pub const fn x(n: u32) -> Self {
        Self(n)
    }
    /// The stack pointer of the present exception level.
    pub const SP: Self = Self(31);
    /// The program counter.
    pub const PC: Self = Self(32);
}

/// A connection to QEMU. The board stands still from its start until [`Debugger::run_to`].
#[derive(Debug)]
pub struct Debugger {
    stream: UnixStream,
    input: Vec<u8>,
}

impl Debugger {
    /// Over a stream that QEMU has opened.
    pub(crate) fn new(stream: UnixStream) -> Self {
        stream.set_read_timeout(Some(crate::seconds(60))).expect("time-out of a socket");
        Self { stream, input: Vec::new() }
    }

    /// Runs the board until a CPU comes to `address`; which CPU.
    pub fn run_to(&mut self, address: u64) -> u32 {
        self.ask_ok(&format!("Z1,{address:x},4"));
        self.send("c");
        let stop = self.receive();
        let thread = stop.split("thread:").nth(1).and_then(|rest| rest.split([';', '.']).next());
        let thread = thread.and_then(|id| u32::from_str_radix(id.trim_start_matches('p'), 16).ok());
        let thread = thread.unwrap_or_else(|| panic!("the board stopped with {stop:?}"));
        self.ask_ok(&format!("z1,{address:x},4"));
        self.ask_ok(&format!("Hg{thread:x}"));
        thread - 1
    }

    /// Lets the board run until [`Debugger::stop`].
    pub fn go(&mut self) {
        self.send("c");
    }

    /// Stops the board, which runs.
    pub fn stop(&mut self) {
        // A byte outside of any packet (GDB manual, "Interrupts").
        self.stream.write_all(&[3]).expect("QEMU listens to its debugger");
        let stop = self.receive();
        assert!(stop.starts_with('T'), "the board stopped with {stop:?}");
    }

    /// Writes to the board's memory, by physical address.
    pub fn write(&mut self, address: u64, bytes: &[u8]) {
        self.ask_ok("Qqemu.PhyMemMode:1");
        let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        self.ask_ok(&format!("M{address:x},{:x}:{digits}", bytes.len()));
    }

    /// Changes a register of the CPU that stopped.
    pub fn set(&mut self, register: Register, value: u64) {
        self.ask_ok(&format!("P{:x}={:016x}", register.0, value.swap_bytes()));
    }

    /// Lets the board run for good.
    pub fn leave(mut self) {
        self.send("D");
        assert_eq!(self.receive(), "OK");
    }

    fn ask_ok(&mut self, command: &str) {
        self.send(command);
        let answer = self.receive();
        assert_eq!(answer, "OK", "the answer to {command}");
    }

    fn send(&mut self, command: &str) {
        let sum = command.bytes().fold(0u8, u8::wrapping_add);
        write!(self.stream, "${command}#{sum:02x}").expect("QEMU listens to its debugger");
    }

    /// The next packet. Acknowledgements of ours are skipped.
    fn receive(&mut self) -> String {
        loop {
            let start = self.input.iter().position(|byte| *byte == b'$');
            let end = self.input.iter().position(|byte| *byte == b'#');
            if let (Some(start), Some(end)) = (start, end)
                && self.input.len() >= end + 3
            {
                let text = String::from_utf8_lossy(&self.input[start + 1..end]).into_owned();
                self.input.drain(..end + 3);
                self.stream.write_all(b"+").expect("QEMU listens to its debugger");
                return text;
            }
            let mut buffer = [0; 512];
            let count = match self.stream.read(&mut buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                count => count.expect("an answer of QEMU's to its debugger"),
            };
            assert!(count > 0, "QEMU has ended");
            self.input.extend_from_slice(&buffer[..count]);
        }
    }
}
