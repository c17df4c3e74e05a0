//! EL2 itself fails: a report, and power-off. The debugger breaks it, once a guest runs.

use dormouse_tests::artifact::LOAD_ADDRESS;
use dormouse_tests::debugger::Register;
use dormouse_tests::{Board, Description, Guest, System, artifact, seconds};

/// A value to be found in the report.
const MARK: u64 = 0x0123_4567_89ab_cdef;

/// The address of a symbol of the image, where QEMU has put it.
fn symbol(name: &str) -> u64 {
    artifact::symbol(&artifact::built("hyp.elf"), name)
}

/// An instruction of EL2's that has `bits` where `mask` is set: its address, and the whole of it.
fn instruction(mask: u32, bits: u32) -> (u64, u32) {
    let image = std::fs::read(artifact::built("dormouse.img")).expect("dormouse.img");
    let words = image.chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]));
    // Behind the header.
    let found = words.enumerate().skip(16).find(|(_, word)| word & mask == bits);
    let (number, word) = found.expect("such an instruction");
    (LOAD_ADDRESS + 4 * number as u64, word)
}

/// Makes EL2 store to `address`: registers for that.
fn store_to(address: u64) -> Vec<(Register, u64)> {
    // str x?, [x0..x7] (Arm ARM C6.2, STR immediate, unsigned offset 0).
    let (store, word) = instruction(0xffff_ff00, 0xf900_0000);
    vec![(Register::x(word >> 5 & 0x1f), address), (Register::PC, store)]
}

/// Breaks the CPU that serves a guest's exit with these registers, its program counter among them, and finds
/// `cause` in the fatal line, and the registers of the fault below it.
fn broken(registers: &dyn Fn(u32) -> Vec<(Register, u64)>, cause: &str, far: impl Fn(u32) -> u64, class: u64) {
    let system = System::new(&Description::with("tiny", Guest::bare("tiny", "period-ms=10")));
    let (mut run, mut debugger) = Board::default().boot_debugged(&system);
    let cpu = debugger.run_to(symbol("guest_exit"));
    debugger.set(Register::x(9), MARK);
    for (register, value) in registers(cpu) {
        debugger.set(register, value);
    }
    debugger.leave();
    let line = run.expect_fatal(seconds(60));
    assert!(line.contains(&format!("CPU {cpu}: {cause}")) && line.ends_with(", vcpu 0)"), "{line}");
    let report = run.console.text();
    let value = |name: &str| {
        let place = report.rfind(&format!(" {name} "))? + name.len() + 2;
        let digits = report[place..].trim_start().strip_prefix("0x")?;
        u64::from_str_radix(digits.split_whitespace().next()?, 16).ok()
    };
    assert_eq!(value("far"), Some(far(cpu)), "{report}");
    assert_eq!(value("esr").map(|esr| esr >> 26), Some(class), "{report}");
    assert_eq!(value("x9"), Some(MARK), "{report}");
}

/// The class of an instruction abort without a change of exception level (Arm ARM, ESR_EL2.EC).
const INSTRUCTION_ABORT: u64 = 0x21;
/// The same for a data abort.
const DATA_ABORT: u64 = 0x25;

#[test]
fn data_cannot_be_executed() {
    let data = symbol("__data_start");
    broken(&|_| vec![(Register::PC, data)], "instruction abort at EL2: permission fault", |_| data, INSTRUCTION_ABORT);
}

#[test]
fn text_cannot_be_written() {
    let text = symbol("__image_start");
    broken(&|_| store_to(text), "data abort at EL2: permission fault, write", |_| text, DATA_ABORT);
}

#[test]
fn constants_cannot_be_written() {
    let constant = symbol("__rodata_start");
    broken(&|_| store_to(constant), "data abort at EL2: permission fault, write", |_| constant, DATA_ABORT);
}

#[test]
fn a_stack_that_is_full_meets_its_guard_page() {
    // stp x29, x30, [sp, #-8 * n]!, how functions begin; n is imm7, bits 21:15, signed (Arm ARM C6.2, STP).
    let (entry, word) = instruction(0xffc0_7fff, 0xa980_7bfd);
    let push = u64::from(128 - (word >> 15 & 0x7f)) * 8;
    // A CPU's stacks: guard, 32 KiB, guard, 8 KiB.
    let bottom = |cpu: u32| symbol("BOOT_STACKS") + u64::from(cpu) * (48 << 10) + 4096;
    let registers = |cpu| vec![(Register::SP, bottom(cpu)), (Register::PC, entry)];
    let cause = "data abort at EL2: translation fault, write";
    broken(&registers, cause, |cpu| bottom(cpu) - push, DATA_ABORT);
}

#[test]
fn three_busy_vcpus_are_served_by_both_of_two_cpus() {
    let guest = Guest::bare("progress", "seconds=1000").vcpus(3);
    let description = Description::with("progress", guest).partition(|partition| partition.idle_timeout_ms = 50);
    let system = System::new(&description);
    let (_run, mut debugger) = Board::default().cpus(2).boot_debugged(&system);
    let exit = symbol("guest_exit");
    let mut served = [0; 2];
    // The service partition's exits are few; those of busy vCPUs come with each slice.
    while served.iter().any(|count| *count < 50) {
        // A breakpoint where a CPU stands already would stop it at once.
        let cpu = debugger.run_to(exit);
        debugger.run_to(exit + 4);
        served[cpu as usize] += 1;
        assert!(served.iter().sum::<u32>() < 2000, "{served:?}");
    }
}
