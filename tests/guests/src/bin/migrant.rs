//! Always has an interrupt active and another pending, and its timer running, while others move it from CPU to CPU:
//! none may be lost, come twice, or come early. Ends at the first character that it gets.
#![no_std]
#![no_main]

use hv_abi::guest_map::PPI_VIRTUAL_TIMER;
use test_guests::{Machine, console, gic, guest, println, timer};

guest!(main);

const SGI: u32 = 5;
/// From arming the timer to its interrupt, and from that to its end.
const STEP_NS: u64 = 300_000;
/// An interrupt that has not come by then is lost.
const PATIENCE_NS: u64 = 5_000_000_000;

fn main(_: &Machine) {
    gic::init_distributor();
    gic::init_cpu();
    gic::enable_ppi(PPI_VIRTUAL_TIMER);
    console::listen_before_enabled();
    let (step, patience) = (timer::ticks(STEP_NS), timer::ticks(PATIENCE_NS));
    let mut rounds = 0u64;
    let mut due = timer::now() + step;
    timer::arm(due);
    while console::get().is_none() {
        await_timer(due, due + patience);
        // It stays active, and its line high; the SGI waits behind it.
        gic::send(SGI, 0);
        let over = timer::now() + step;
        while timer::now() < over {
            assert!(gic::is_active(PPI_VIRTUAL_TIMER), "round {rounds}: the timer's interrupt is not active any more");
            assert!(gic::is_pending(SGI), "round {rounds}: the SGI is not pending any more");
            assert!(gic::acknowledge() >= gic::SPECIAL, "round {rounds}: an interrupt came before its turn");
        }
        timer::disarm();
        gic::end(PPI_VIRTUAL_TIMER);
        assert_eq!(gic::acknowledge(), SGI, "round {rounds}: behind the timer's interrupt");
        gic::end(SGI);
        assert!(gic::acknowledge() >= gic::SPECIAL, "round {rounds}: an interrupt came twice");
        due = timer::now() + step;
        timer::arm(due);
        rounds += 1;
    }
    println!("MIGRANT {rounds} rounds ok");
}

/// Takes the timer's interrupt, which comes at `due` and not before.
fn await_timer(due: u64, limit: u64) {
    loop {
        let interrupt = gic::acknowledge();
        let now = timer::now();
        if interrupt == PPI_VIRTUAL_TIMER {
            assert!(now >= due, "the timer's interrupt came {} ticks early", due - now);
            return;
        }
        assert!(interrupt >= gic::SPECIAL, "interrupt {interrupt}");
        assert!(now < limit, "the timer's interrupt is lost");
    }
}
