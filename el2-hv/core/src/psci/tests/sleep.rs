//! Sleeps: CPU_SUSPEND and SYSTEM_SUSPEND.

use super::*;

#[test]
fn standby_is_a_wait_and_a_power_down_goes_on_at_its_entry_whatever_their_depth() {
    // Power levels 0, 1 and 3, a state id.
    for depth in [0, 0x0100_0000, 0x0300_ffff] {
        let power_down = PowerCall::PowerDown { entry: Ipa(0x4000_0000), context: 1 };
        for function in [0xc400_0001, 0x8400_0001] {
            assert_eq!(answer(function, [depth, 0x4000_0000, 1]), Outcome::Wait);
            // StateType, bit 16.
            assert_eq!(power(function, [depth | 0x1_0000, 0x4000_0000, 1]), power_down);
        }
    }
    for reserved in [1 << 17, 1 << 23, 1 << 26, 1 << 31] {
        for kind in [0, 0x1_0000] {
            assert_eq!(answer(0xc400_0001, [reserved | kind, 0, 0]), Outcome::Return(-2i64 as u64));
        }
    }
}

#[test]
fn the_system_is_suspended_by_its_last_cpu_only() {
    let suspend = |entry| PowerCall::SystemSuspend { entry: Ipa(entry), context: 7 };
    let mut power = booted(2);
    let asleep = Outcome::PowerDown { entry: Ipa(0x4000_0000), context: 7 };
    assert_eq!(power.apply(VcpuIdx(0), suspend(0x4000_0000), in_ram), asleep);
    assert_eq!(power.state(VcpuIdx(0)), VcpuPower::On, "any interrupt brings it back");
    assert_eq!(power.apply(VcpuIdx(0), suspend(0x4000_0002), in_ram), Outcome::Return(-9i64 as u64));
    let _ = power.apply(VcpuIdx(0), cpu_on(1, 0x4000_0000), in_ram);
    for _ in 0..2 {
        assert_eq!(power.apply(VcpuIdx(0), suspend(0x4000_0000), in_ram), Outcome::Return(-3i64 as u64));
        let _ = power.started(VcpuIdx(1));
    }
    let _ = power.apply(VcpuIdx(1), PowerCall::CpuOff, in_ram);
    assert_eq!(power.apply(VcpuIdx(0), suspend(0x4000_0000), in_ram), asleep);
}
