//! What is allowed, far too often.

use crate::code::Attacker;
use test_guests::{console, gic, timer};

/// DC ISW, DC CSW, DC CISW with x1.
const SET_WAY: [u32; 3] = [0xd508_7641, 0xd508_7a41, 0xd508_7e41];
/// TLBI VMALLE1IS, VAE1IS, ASIDE1IS, VAAE1IS, VALE1IS, VMALLE1, VAE1, ASIDE1, IPAS2E1IS, ALLE1IS, and
/// IC IALLUIS, IC IALLU; those of EL2 are undefined here.
const INVALIDATIONS: [u32; 12] = [
    0xd508_831f,
    0xd508_8321,
    0xd508_8341,
    0xd508_8361,
    0xd508_83a1,
    0xd508_871f,
    0xd508_8721,
    0xd508_8741,
    0xd50c_8021,
    0xd50c_839f,
    0xd508_711f,
    0xd508_751f,
];
/// WFI, WFE, YIELD, SEV, SEVL.
const HINTS: [u32; 5] = [0xd503_207f, 0xd503_205f, 0xd503_203f, 0xd503_209f, 0xd503_20bf];
const FLOOD: u64 = 64 * 1024;

/// Cache maintenance by set and way, of every level and none that exists.
pub(crate) fn set_way(attacker: &mut Attacker<'_>) {
    for operation in SET_WAY {
        let code = attacker.assemble(&[operation]);
        for _ in 0..attacker.rounds() {
            by_set_way(attacker, code);
        }
    }
}

fn by_set_way(attacker: &mut Attacker<'_>, code: u64) {
    let level_set_way = attacker.random.interesting() as u32;
    attacker.run(code, [0, u64::from(level_set_way), 0]);
}

/// One cache operation by set and way.
pub(crate) fn set_way_once(attacker: &mut Attacker<'_>) {
    let operation = attacker.random.pick(&SET_WAY);
    let code = attacker.assemble(&[operation]);
    by_set_way(attacker, code);
}

/// Invalidations of everything.
pub(crate) fn tlbi(attacker: &mut Attacker<'_>) {
    for operation in INVALIDATIONS {
        let code = attacker.assemble(&[operation]);
        for _ in 0..attacker.rounds() / 2 {
            let argument = attacker.random.interesting();
            attacker.run(code, [0, argument, 0]);
        }
    }
}

/// One invalidation.
pub(crate) fn tlbi_once(attacker: &mut Attacker<'_>) {
    let operation = attacker.random.pick(&INVALIDATIONS);
    let code = attacker.assemble(&[operation]);
    let argument = attacker.random.interesting();
    attacker.run(code, [0, argument, 0]);
}

/// Sleep that ends at once, soon, or was over before it began.
pub(crate) fn wait(attacker: &mut Attacker<'_>) {
    for _ in 0..attacker.rounds() {
        wait_once(attacker);
    }
}

/// One sleep.
pub(crate) fn wait_once(attacker: &mut Attacker<'_>) {
    let hint = attacker.random.pick(&HINTS);
    let code = attacker.assemble(&[hint]);
    let now = timer::now();
    let deadline = match attacker.random.below(3) {
        0 => 0,
        1 => now,
        _ => now + attacker.random.below(timer::ticks(100_000)),
    };
    timer::arm(deadline);
    attacker.run(code, [0; 3]);
    timer::disarm();
}

/// SGIs to oneself, to others, to nobody; taken sometimes.
pub(crate) fn sgi(attacker: &mut Attacker<'_>) {
    for _ in 0..attacker.rounds() * 2 {
        sgi_once(attacker);
    }
    gic::drain();
    gic::init_cpu();
}

/// One SGI.
pub(crate) fn sgi_once(attacker: &mut Attacker<'_>) {
    let target = match attacker.random.below(3) {
        0 => attacker.random.next(),
        1 => 1 << 40,
        _ => 1 << attacker.random.below(4),
    };
    let interrupt = attacker.random.below(16) << 24;
    test_guests::write_register!("S3_0_C12_C11_5", interrupt | target & !(0xf << 24));
    attacker.attempts += 1;
    if attacker.random.below(4) == 0 {
        gic::drain();
    }
}

/// Both timers with every kind of deadline, on and off, masked and not.
pub(crate) fn timers(attacker: &mut Attacker<'_>) {
    for _ in 0..attacker.rounds() {
        timer_once(attacker);
        if attacker.random.below(8) == 0 {
            drain_disarmed();
        }
    }
    drain_disarmed();
}

/// One write to a timer.
pub(crate) fn timer_once(attacker: &mut Attacker<'_>) {
    let value = attacker.random.interesting();
    attacker.attempts += 1;
    match attacker.random.below(6) {
        0 => test_guests::write_register!("cntv_cval_el0", value),
        1 => test_guests::write_register!("cntv_tval_el0", value),
        2 => test_guests::write_register!("cntv_ctl_el0", value),
        3 => test_guests::write_register!("cntp_cval_el0", value),
        4 => test_guests::write_register!("cntp_tval_el0", value),
        _ => test_guests::write_register!("cntp_ctl_el0", value),
    }
}

/// Both timers off, and what they have asked for taken.
pub(crate) fn drain_disarmed() {
    timer::disarm();
    test_guests::write_register!("cntp_ctl_el0", 0);
    gic::drain();
}

/// More characters than any ring holds, of every value.
pub(crate) fn console(attacker: &mut Attacker<'_>) {
    for i in 0..FLOOD {
        attacker.attempts += 1;
        console::put(attacker.random.next() as u8);
        if i % 128 == 127 {
            console::put(b'\r');
            console::put(b'\n');
        }
    }
}

/// A few characters, whether there is room or not.
pub(crate) fn console_once(attacker: &mut Attacker<'_>) {
    for _ in 0..attacker.random.below(16) {
        console::throw(attacker.random.next() as u8);
    }
    attacker.attempts += 1;
}
