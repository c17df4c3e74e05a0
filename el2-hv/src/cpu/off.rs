//! A CPU is turned off.

use hv_arch::counter;
use hv_board::gicv3::cpu as gic;
use hv_core::addr::CpuId;
use hv_core::timer::TimerKey;

use super::{Local, SGI_SELF, send, wake};
use crate::machine::machine;
use crate::{boot, keeper, ports, sos};

/// Turns this CPU off, where nobody runs or waits, until [`boot::turn_on`]: it begins anew then. What firmware leaves to
/// its caller is in DEN0022, 5.5: that no interrupt is for this CPU.
#[cold]
pub(super) fn turn_off(mut local: Local) -> ! {
    let id = local.id;
    hand_over(&mut local);
    log::info!("cpu:     {id} off");
    counter::set_deadline(None);
    gic::disable();
    local.redistributor.sleep();
    // Its timer queue is to be had when it comes again.
    drop(local);
    sos::stays_on(machine().power.cpu_off());
    boot::come_back(id)
}

/// What this CPU looked after by time another one does from now on.
fn hand_over(local: &mut Local) {
    while let Some(key) = local.timers.pop_expired(u64::MAX) {
        match key {
            TimerKey::Devices(vm) => ports::look_again(vm),
            TimerKey::Virtual(vcpu) | TimerKey::Physical(vcpu) => wake(vcpu),
            TimerKey::ServicePartition => keeper::call(),
        }
    }
    // What was put off is done there. The CPU that boots is never this one.
    send(CpuId(0), SGI_SELF);
}
