//! Lives over and over, a hundredth of what `make soak` runs.

use dormouse_tests::cycles::{
    Cycles, core_turned_off_and_on, destroyed_at_any_moment, paused_at_any_moment, rebooted_from_inside,
};

#[test]
fn vms_destroyed_at_any_moment_leave_nothing() {
    destroyed_at_any_moment(&Cycles::new(100));
}

#[test]
fn a_cpu_of_the_partition_is_turned_off_and_on_again_and_again() {
    core_turned_off_and_on(&Cycles::new(50));
}

#[test]
fn a_guest_reboots_from_inside_again_and_again() {
    rebooted_from_inside(&Cycles::new(10));
}

#[test]
fn a_guest_is_paused_and_resumed_at_any_moment() {
    paused_at_any_moment(&Cycles::new(10));
}
