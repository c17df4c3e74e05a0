//! Lives over and over, a hundredth of what `make soak` runs.

use dormouse_tests::cycles::{Cycles, destroyed_at_any_moment, paused_at_any_moment, rebooted_from_inside};

#[test]
fn vms_destroyed_at_any_moment_leave_nothing() {
    destroyed_at_any_moment(&Cycles::new(30));
}

#[test]
fn a_guest_reboots_from_inside_again_and_again() {
    rebooted_from_inside(&Cycles::new(10));
}

#[test]
fn a_guest_is_paused_and_resumed_at_any_moment() {
    paused_at_any_moment(&Cycles::new(10));
}
