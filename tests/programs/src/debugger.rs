//! A debugger and what it debugs, in one program: hardware breakpoints, watchpoints and single steps by ptrace, as gdb
//! asks for them (Linux, Documentation/arch/arm64/ptrace.rst). Every one must be hit as often as its place is passed.

use core::arch::global_asm;
use core::ffi::{c_int, c_void};
use std::io::Error;
use std::process::ExitCode;

/// Places for breakpoints, and as many for watchpoints.
const PLACES: usize = 16;
/// How often the child passes them.
const ROUNDS: usize = 20;
/// Register sets of ptrace (linux/elf.h).
const NT_PRSTATUS: c_int = 1;
const NT_ARM_HW_BREAK: c_int = 0x402;
const NT_ARM_HW_WATCH: c_int = 0x403;
/// Enabled, at EL0, four bytes of an instruction.
const BREAK_ON: u32 = 1 | 2 << 1 | 0xf << 5;
/// Enabled, at EL0, stores to eight bytes.
const WATCH_ON: u32 = 1 | 2 << 1 | 2 << 3 | 0xff << 5;

global_asm!(
    r#"
    .text
    .global places
places:                                 // x0 = words
    .rept   {places}
    nop
    .endr
    .rept   {places}
    str     xzr, [x0], #8
    .endr
    ret

    .global steps
steps:
    mov     x9, #10
1:  sub     x9, x9, #1
    cbnz    x9, 1b
    mrs     x9, cntvct_el0
    mrs     x9, midr_el1                // traps to the kernel, which answers it
    mov     x8, #172                    // getpid
    svc     #0
    .global steps_end
steps_end:
    ret
    "#,
    places = const PLACES,
);

/// Steps from `steps` to `steps_end`.
const STEPS: usize = 1 + 2 * 10 + 4;

unsafe extern "C" {
    fn places(words: *mut u64);
    fn steps();
    safe static steps_end: u8;
}

/// struct user_hwdebug_state (asm/ptrace.h).
#[repr(C)]
#[derive(Clone, Copy)]
struct Comparators {
    /// How many the CPU has, bits 7:0.
    info: u32,
    pad: u32,
    registers: [Comparator; PLACES],
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Comparator {
    address: u64,
    control: u32,
    pad: u32,
}

/// The words that are watched. They are the child's once it is one.
static mut WORDS: [u64; PLACES] = [0; PLACES];

fn words() -> u64 {
    (&raw mut WORDS) as u64
}

/// What happened, in words.
type Outcome<T> = Result<T, String>;

fn failed<T>(what: &str) -> Outcome<T> {
    Err(format!("{what}: {}", Error::last_os_error()))
}

/// The process that is debugged.
fn child() -> ! {
    // SAFETY: the calls take no memory; places() writes WORDS, which nobody else uses in this process.
    unsafe {
        libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0);
        libc::raise(libc::SIGSTOP);
        for _ in 0..ROUNDS {
            places(words() as *mut u64);
        }
        steps();
        libc::_exit(0)
    }
}

/// A child that stands still.
struct Child(libc::pid_t);

impl Child {
    fn request(&self, request: c_int, address: usize, data: *mut c_void) -> Outcome<()> {
        // SAFETY: where `data` is a pointer, it is to a register set that ptrace fills or reads within its length.
        match unsafe { libc::ptrace(request, self.0, address, data) } {
            -1 => failed("ptrace"),
            _ => Ok(()),
        }
    }

    fn register_set<T>(&self, request: c_int, set: c_int, value: &mut T, length: usize) -> Outcome<()> {
        let mut vector = libc::iovec { iov_base: core::ptr::from_mut(value).cast(), iov_len: length };
        self.request(request, set as usize, (&raw mut vector).cast())
    }

    fn pc(&self) -> Outcome<u64> {
        // SAFETY: all zeroes are a value of these registers.
        let mut registers: libc::user_regs_struct = unsafe { core::mem::zeroed() };
        let length = size_of_val(&registers);
        self.register_set(libc::PTRACE_GETREGSET, NT_PRSTATUS, &mut registers, length)?;
        Ok(registers.pc)
    }

    /// How many comparators of a kind there are.
    fn comparators(&self, set: c_int) -> Outcome<usize> {
        let mut found =
            Comparators { info: 0, pad: 0, registers: [Comparator { address: 0, control: 0, pad: 0 }; PLACES] };
        self.register_set(libc::PTRACE_GETREGSET, set, &mut found, size_of::<Comparators>())?;
        Ok((found.info & 0xff) as usize)
    }

    /// Sets `count` comparators, to one address after the other.
    fn arm(&self, set: c_int, count: usize, control: u32, address: impl Fn(usize) -> u64) -> Outcome<()> {
        let register = |n| Comparator { address: address(n), control, pad: 0 };
        let mut wanted = Comparators { info: 0, pad: 0, registers: core::array::from_fn(register) };
        let length = 8 + count * size_of::<Comparator>();
        self.register_set(libc::PTRACE_SETREGSET, set, &mut wanted, length)
    }

    /// Lets it run or step, and waits until it stands still again; where, or nothing if it has ended well.
    fn go(&self, request: c_int) -> Outcome<Option<u64>> {
        self.request(request, 0, core::ptr::null_mut())?;
        match self.wait()? {
            status if libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0 => Ok(None),
            status if libc::WIFSTOPPED(status) && libc::WSTOPSIG(status) == libc::SIGTRAP => self.pc().map(Some),
            status => Err(format!("status {status:#x}")),
        }
    }

    fn wait(&self) -> Outcome<c_int> {
        let mut status = 0;
        // SAFETY: `status` is written before the call returns.
        match unsafe { libc::waitpid(self.0, &mut status, 0) } {
            -1 => failed("waitpid"),
            _ => Ok(status),
        }
    }
}

/// Sets every breakpoint and watchpoint, and steps over each hit with none of them set. How many breakpoints there are.
fn hits(child: &Child) -> Outcome<usize> {
    let breakpoints = child.comparators(NT_ARM_HW_BREAK)?;
    let watchpoints = child.comparators(NT_ARM_HW_WATCH)?;
    let start = places as *const () as u64;
    let on = |on: u32| {
        child.arm(NT_ARM_HW_BREAK, breakpoints, BREAK_ON * on, |n| start + 4 * n as u64)?;
        child.arm(NT_ARM_HW_WATCH, watchpoints, WATCH_ON * on, |n| words() + 8 * n as u64)
    };
    for hit in 0..ROUNDS * (breakpoints + watchpoints) {
        on(1)?;
        let stopped = child.go(libc::PTRACE_CONT)?;
        let place = match hit % (breakpoints + watchpoints) {
            n if n < breakpoints => n,
            n => PLACES + n - breakpoints,
        };
        expect(start + 4 * place as u64, stopped)?;
        on(0)?;
        expect(start + 4 * place as u64 + 4, child.go(libc::PTRACE_SINGLESTEP)?)?;
    }
    Ok(breakpoints)
}

/// Goes to `steps` by a breakpoint, and from there on by steps, then to the end.
fn single_steps(child: &Child) -> Outcome<()> {
    let (start, end) = (steps as *const () as u64, core::ptr::from_ref(&steps_end) as u64);
    child.arm(NT_ARM_HW_BREAK, 1, BREAK_ON, |_| start)?;
    expect(start, child.go(libc::PTRACE_CONT)?)?;
    child.arm(NT_ARM_HW_BREAK, 1, 0, |_| 0)?;
    for _ in 1..STEPS {
        if child.go(libc::PTRACE_SINGLESTEP)? == Some(end) {
            return Err("too few steps".into());
        }
    }
    expect(end, child.go(libc::PTRACE_SINGLESTEP)?)?;
    match child.go(libc::PTRACE_CONT)? {
        None => Ok(()),
        Some(pc) => Err(format!("stopped at {pc:#x} with nothing armed")),
    }
}

fn expect(wanted: u64, found: Option<u64>) -> Outcome<()> {
    if found == Some(wanted) { Ok(()) } else { Err(format!("stopped at {found:#x?}, not at {wanted:#x}")) }
}

fn run() -> Outcome<()> {
    // SAFETY: this process has one thread.
    let child = match unsafe { libc::fork() } {
        -1 => return failed("fork"),
        0 => child(),
        id => Child(id),
    };
    child.wait()?;
    let breakpoints = hits(&child)?;
    single_steps(&child)?;
    println!("DEBUGGER ok, {breakpoints} breakpoints");
    Ok(())
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            println!("DEBUGGER failed: {reason}");
            ExitCode::FAILURE
        }
    }
}
