//! `HVC #0`: PSCI, SMCCC discovery, stolen time, random numbers, and Dormouse's own calls.

use hv_abi::Status;
use hv_abi::call::{BASE, Call, Caller};
use hv_core::psci::trng::{BYTES_MAX, RandomCall};
use hv_core::psci::{self, Outcome, PowerCall, PsciCall};

use crate::cpu::{Local, Next};
use crate::vcpu::Loaded;
use crate::{calls, entropy, mailbox, vm};

/// Serves a call. HVC's return address is behind it already.
#[inline(always)]
pub fn call(local: &mut Local, loaded: &mut Loaded) -> Next {
    let x = &mut loaded.core.registers.x;
    let function = x[0] as u32;
    if function & !0xff == BASE {
        return own(local, loaded, function);
    }
    match psci::decode(function, [x[1], x[2], x[3]]) {
        PsciCall::Simple(call) => match call.answer(&local.machine.mitigations) {
            Outcome::Return(value) => {
                x[0] = value;
                Next::Resume
            }
            Outcome::Return4(values) => {
                x[..4].copy_from_slice(&values);
                Next::Resume
            }
            Outcome::Wait => {
                x[0] = psci::status::SUCCESS;
                Next::Block
            }
            _ => Next::Resume,
        },
        PsciCall::Power(call) => power(loaded, call),
        PsciCall::StolenTime => {
            x[0] = loaded.vm.stolen_time.ipa(loaded.index).unwrap_or(psci::status::NOT_SUPPORTED);
            Next::Resume
        }
        PsciCall::Random(call) => random(loaded, call),
    }
}

/// TRNG_RND.
#[cold]
fn random(loaded: &mut Loaded, call: RandomCall) -> Next {
    let mut bytes = [0; BYTES_MAX];
    let given = entropy::draw_for(loaded.vm_id, &mut bytes[..call.bytes()]);
    if let Outcome::Return4(values) = call.answer(given.then_some(&bytes)) {
        loaded.core.registers.x[..4].copy_from_slice(&values);
    }
    Next::Resume
}

/// Dormouse's own calls: the doorbell for all, the rest for the service partition.
#[inline(never)]
fn own(local: &mut Local, loaded: &mut Loaded, function: u32) -> Next {
    let call = Call::from_function(function);
    if call == Some(Call::Doorbell) {
        let status = mailbox::doorbell(loaded.vm_id);
        loaded.core.registers.x[0] = status.to_register();
        return Next::Resume;
    }
    let allowed = call.filter(|call| calls::caller_of(*call) == Caller::ServicePartition && loaded.vm_id == vm::SOS_VM);
    match allowed {
        Some(call) => calls::serve(local, loaded, call),
        None => {
            loaded.core.registers.x[0] = Status::NotSupported.to_register();
            Next::Resume
        }
    }
}

/// A call about power.
#[cold]
fn power(loaded: &mut Loaded, call: PowerCall) -> Next {
    match vm::power(loaded.vm_id, loaded.index, call) {
        Outcome::Return(value) => loaded.core.registers.x[0] = value,
        Outcome::PowerOn { .. } => loaded.core.registers.x[0] = psci::status::SUCCESS,
        Outcome::PowerDown { entry, context } => {
            loaded.power_down(entry.0, context);
            return Next::Block;
        }
        Outcome::PowerOff | Outcome::SystemOff | Outcome::SystemReset => return Next::Off,
        Outcome::Return4(_) | Outcome::Wait => {}
    }
    Next::Resume
}
