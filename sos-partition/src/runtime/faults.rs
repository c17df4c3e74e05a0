//! Fault injection, in test images only: this partition crashes or hangs after a number of
//! privileged calls, so that tests can show that nothing else does.

use hv_abi::Status;
use hv_abi::guest_map::UART_BASE;
use hv_abi::message::{Fault, FaultKind};

use crate::runtime::mmio;

/// Stage 1 maps it with the PL011's block; stage 2 has nothing there.
const NOTHING: u64 = UART_BASE + 0x10_0000;

/// The fault that is to come, where there is one.
pub(crate) struct Faults {
    armed: Option<Fault>,
}

impl Faults {
    /// No fault.
    pub(crate) const fn new() -> Self {
        Self { armed: None }
    }

    /// Fails at once, or after so many calls.
    pub(crate) fn arm(&mut self, fault: Fault) -> Result<(), Status> {
        if fault.after_calls == 0 {
            fail(fault.kind);
        }
        self.armed = Some(fault);
        Ok(())
    }

    /// Counts a call that was made.
    pub(crate) fn after_call(&mut self) {
        let Some(fault) = &mut self.armed else { return };
        fault.after_calls -= 1;
        if fault.after_calls == 0 {
            fail(fault.kind);
        }
    }
}

fn fail(kind: FaultKind) -> ! {
    match kind {
        // SAFETY: nothing is there; the abort ends this life, as is asked.
        FaultKind::Crash => unsafe {
            mmio::read(NOTHING);
        },
        FaultKind::Spin => {}
    }
    loop {
        core::hint::spin_loop();
    }
}
