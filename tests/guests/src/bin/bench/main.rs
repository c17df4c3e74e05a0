//! Measures what exits, interrupts and the service partition cost a guest.
//!
//! Every sample is a difference of two reads of CNTVCT_EL0, or of one read and a timer's deadline;
//! nothing is subtracted. Under `-icount shift=0,sleep=off` with `cntfrq=1000000000` a tick is an
//! instruction. Interrupts are stamped by the first instruction of their vector.
//!
//! Bootargs: `run=NAME,...` (all by default), `rounds=N` (1000), `cold-rounds=N` (as `rounds`).
//! Output: `BENCH <name> <minimum>`, `STAT <name> <median> <p99> <maximum>`, `INFO <name> <value>`.
#![no_std]
#![no_main]

extern crate alloc;

mod local;
mod operations;
mod peer;
mod services;

use alloc::vec::Vec;
use test_guests::{Machine, gic, guest, println};

guest!(main);

/// A metric: its name, what it needs, and how one sample is taken.
type Metric = (&'static str, fn() -> u64);

const LOCAL: &[Metric] = &[
    ("psci_version", local::psci_version),
    ("hvc_unknown", local::hvc_unknown),
    ("gicd_typer", local::gicd_typer),
    ("sysreg_id", local::sysreg_id),
    ("uart_char", local::uart_char),
    ("sgi_self", local::sgi_self),
    ("vtimer", local::vtimer),
    ("wfi_wake_alone", local::wfi_wake),
    ("wfi_wake_shared", local::wfi_wake),
    ("wake_idle", local::wake_idle),
    ("rt_jitter", local::wfi_wake),
];

fn main(machine: &Machine) {
    gic::init_distributor();
    gic::init_cpu();
    operations::install_vectors();
    println!("INFO entry_count {}", machine.entry_count);
    let rounds = machine.number("rounds", 1000);
    for &(name, sample) in LOCAL.iter().filter(|(name, _)| machine.chooses("run", name)) {
        report(name, (0..rounds).map(|_| sample()).collect());
    }
    if machine.vcpus > 1 && machine.chooses("run", "sgi_cross") {
        report("sgi_cross", peer::sgi_cross(rounds));
    }
    // Last: what the service partition sends leaves list registers in use.
    if machine.mailbox {
        services::measure(machine, rounds);
    }
    println!("BENCH-END");
}

/// Prints what the samples say.
fn report(name: &str, mut samples: Vec<u64>) {
    samples.sort_unstable();
    let Some(last) = samples.len().checked_sub(1) else {
        return;
    };
    // What was written to measure may not have ended its line.
    println!("\r\nBENCH {name} {}", samples[0]);
    println!("STAT {name} {} {} {}", samples[last / 2], samples[last * 99 / 100], samples[last]);
}
