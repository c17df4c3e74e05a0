//! The last words: a line that says what, where and why, and a register dump where there is one.

use core::fmt;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, Ordering};

use hv_arch::vectors::FatalFrame;
use hv_arch::{boot::ImageParts, cpu, paging};
use hv_board::pl011;
use hv_board::power::Power;
use hv_core::addr::{CpuId, PaRange};
use hv_core::exit::OwnFault;

use crate::{MACHINE, VCPUS, VMS, console};

/// A report is under way: a fault in it ends in silence, not in a loop.
static REPORTING: AtomicBool = AtomicBool::new(false);

/// Says why EL2 cannot go on, then powers off where it can.
pub fn fatal(reason: fmt::Arguments<'_>) -> ! {
    if REPORTING.swap(true, Ordering::Relaxed) {
        cpu::halt();
    }
    console::last_words(format_args!("dormouse: fatal: {reason}\n"));
    end()
}

/// [`fatal`] before the device tree could be read: on the build's fallback UART.
pub fn fatal_without_tree(reason: fmt::Arguments<'_>) -> ! {
    map_fallback();
    console::use_fallback();
    fatal(reason)
}

/// Maps the image and the fallback UART: what a report needs.
fn map_fallback() {
    let parts = ImageParts::find();
    let mut map = paging::El2Map::new();
    let uart = PaRange { start: pl011::EARLY_UART, size: 4096 };
    let whole = [
        (parts.text, paging::Rights::Code),
        (parts.rodata, paging::Rights::Constant),
        (parts.data, paging::Rights::Data),
        (uart, paging::Rights::Device),
    ];
    if whole.into_iter().all(|(range, rights)| map.set(range, rights).is_ok()) {
        map.activate();
    }
}

fn end() -> ! {
    if let Some(machine) = MACHINE.get() {
        machine.power.system_off();
    }
    boot_power_off();
    cpu::halt()
}

/// Power-off for faults between the reading of the tree and the end of boot.
fn boot_power_off() {
    if let Some(power) = crate::boot::POWER.get() {
        power.system_off();
    }
}

/// Powers the board off in good order: an off, not a crash.
pub fn power_off(reason: &str) -> ! {
    last_line(format_args!("off ({reason})"));
    end()
}

fn last_line(text: fmt::Arguments<'_>) {
    let (seconds, micros) = crate::log_ring::time();
    console::last_words(format_args!("[{seconds:5}.{micros:06}] board: {text}\n"));
}

/// Resets the board.
pub fn reset() -> ! {
    last_line(format_args!("reset"));
    if let Some(machine) = MACHINE.get() {
        machine.power.system_reset();
    }
    cpu::halt()
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    if REPORTING.swap(true, Ordering::Relaxed) {
        cpu::halt();
    }
    let cpu = cpu::current();
    console::last_words(format_args!("dormouse: fatal: CPU {cpu}: {info}{}\n", Serving(cpu)));
    end()
}

/// Why the vectors were entered.
struct Cause<'f>(&'f FatalFrame);

impl fmt::Display for Cause<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.kind {
            0 => write!(f, "{}", OwnFault(self.0.esr)),
            1 => f.write_str("IRQ at EL2"),
            2 => f.write_str("FIQ at EL2"),
            _ => f.write_str("SError at EL2"),
        }
    }
}

/// For whom a CPU was at work.
struct Serving(CpuId);

impl fmt::Display for Serving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((vm, index)) = VCPUS.iter().find_map(|vcpu| vcpu.running_on(self.0)) else {
            return Ok(());
        };
        // The holder of the lock may never give it back.
        match VMS[vm.index()].control.try_lock().and_then(|control| control.label) {
            Some(label) => write!(f, " (vm {label}, vcpu {index})"),
            None => write!(f, " (vm {vm}, vcpu {index})"),
        }
    }
}

/// The registers at a fault of EL2 itself.
struct Registers<'f>(&'f FatalFrame);

impl fmt::Display for Registers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let frame = self.0;
        let base = ImageParts::find().text.start.0;
        writeln!(
            f,
            "  elr {:#018x} (image + {:#x})  spsr {:#010x}",
            frame.elr,
            frame.elr.wrapping_sub(base),
            frame.spsr
        )?;
        writeln!(
            f,
            "  esr {:#018x} (class {:#04x})  far {:#018x}  sp {:#018x}",
            frame.esr,
            frame.esr >> 26 & 0x3f,
            frame.far,
            frame.sp
        )?;
        for (i, row) in frame.x.chunks(4).enumerate() {
            write!(f, " ")?;
            for (j, value) in row.iter().enumerate() {
                write!(f, " x{:<2} {value:#018x}", i * 4 + j)?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// Entered from the vectors when EL2 itself took an exception.
// SAFETY: the name is the one that `hv_arch::vectors` calls; nothing else defines it.
#[unsafe(no_mangle)]
extern "C" fn hv_fatal(frame: &FatalFrame) -> ! {
    if REPORTING.swap(true, Ordering::Relaxed) {
        cpu::halt();
    }
    let cpu = cpu::current();
    console::last_words(format_args!(
        "dormouse: fatal: CPU {cpu}: {}{}\n{}",
        Cause(frame),
        Serving(cpu),
        Registers(frame)
    ));
    end()
}

/// Entered instead of boot where the image was not started at EL2.
// SAFETY: the name is the one that `hv_arch::boot` calls; nothing else defines it.
#[unsafe(no_mangle)]
extern "C" fn hv_wrong_el(_tree: u64) -> ! {
    let text = "dormouse: fatal: started at EL1; a hypervisor needs EL2 (QEMU: -M virt,virtualization=on)\n";
    console::early_words(text);
    Power::Hvc.system_off()
}
