//! Sleeps by the physical timer alone: each sleep must end by its interrupt, and not before.
#![no_std]
#![no_main]

use test_guests::{Machine, cpu, gic, guest, power, println, read_register, timer, write_register};

guest!(main);

/// The physical timer's interrupt.
const PPI: u32 = 30;
const ROUNDS: u64 = 20;

fn main(_machine: &Machine) {
    gic::init_distributor();
    gic::init_cpu();
    gic::enable_ppi(PPI);
    for round in 0..ROUNDS {
        let due: u64 = read_register!("cntpct_el0") + timer::ticks(5_000_000);
        write_register!("cntp_cval_el0", due);
        write_register!("cntp_ctl_el0", 1);
        loop {
            cpu::wait();
            let pending: u64 = read_register!("icc_hppir1_el1");
            if pending == u64::from(PPI) {
                break;
            }
        }
        let now: u64 = read_register!("cntpct_el0");
        write_register!("cntp_ctl_el0", 0);
        if now < due {
            println!("PTIMER round {round} woke {} ticks early", due - now);
            power::off();
        }
    }
    println!("PTIMER {ROUNDS} sleeps ended by their interrupt");
    power::off();
}
