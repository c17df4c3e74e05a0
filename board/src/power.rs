//! The board's power, by the firmware's PSCI (DEN0022). Without PSCI in the tree nothing is called: an
//! SMC that nobody serves is undefined or hangs.

use hv_core::addr::Pa;
use smccc::psci;
use smccc::{Call, Hvc, Smc};
use thiserror::Error;

use crate::model::{Board, Conduit};

/// Why a power call failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum PowerError {
    /// The board has no PSCI.
    #[error("the board has no PSCI")]
    Absent,
    /// The firmware refuses.
    #[error("PSCI: {0}")]
    Refused(psci::Error),
}

impl PowerError {
    /// Whether CPU_ON was refused because firmware has not turned the CPU off yet, or is turning it on.
    pub fn is_on_its_way(&self) -> bool {
        matches!(self, Self::Refused(psci::Error::AlreadyOn | psci::Error::OnPending))
    }
}

/// How the board's power is controlled.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Power {
    /// By SMC.
    Smc,
    /// By HVC, which reaches firmware only while this program is at EL1.
    Hvc,
    /// Not at all.
    #[default]
    None,
}

impl Power {
    /// What the board has.
    pub fn of(board: &Board) -> Self {
        match board.psci.map(|psci| psci.conduit) {
            Some(Conduit::Smc) => Self::Smc,
            Some(Conduit::Hvc) => Self::Hvc,
            None => Self::None,
        }
    }

    /// Calls a function of the firmware with one argument and returns X0 to X3. `None` where it cannot be called from EL2.
    pub fn call(self, function: u32, argument: u64) -> Option<[u64; 4]> {
        let mut arguments = [0; 17];
        arguments[0] = argument;
        match self {
            Self::Smc => Smc::call64(function, arguments).first_chunk().copied(),
            // At EL2 an HVC is taken to EL2 itself.
            Self::Hvc | Self::None => None,
        }
    }

    /// Turns the board off, or halts this CPU where that cannot be done.
    pub fn system_off(self) -> ! {
        // The calls return only when they fail, and then there is nothing better than to halt.
        let _refused = match self {
            Self::Smc => psci::system_off::<Smc>(),
            Self::Hvc => psci::system_off::<Hvc>(),
            Self::None => Ok(()),
        };
        halt()
    }

    /// Resets the board, or halts this CPU where that cannot be done.
    pub fn system_reset(self) -> ! {
        let _refused = match self {
            Self::Smc => psci::system_reset::<Smc>(),
            Self::Hvc => psci::system_reset::<Hvc>(),
            Self::None => Ok(()),
        };
        halt()
    }

    /// Starts the CPU with the affinity `mpidr` at `entry`, with its MMU off, interrupts masked and
    /// `context` in x0. What it reads before its caches are on must be clean.
    ///
    /// # Errors
    ///
    /// [`PowerError::Absent`], or what firmware answers.
    ///
    /// # Safety
    ///
    /// At `entry` is code that is made for this, and it may run beside the caller.
    pub unsafe fn cpu_on(self, mpidr: u64, entry: Pa, context: u64) -> Result<(), PowerError> {
        match self {
            Self::Smc => psci::cpu_on::<Smc>(mpidr, entry.0, context).map_err(PowerError::Refused),
            Self::Hvc => psci::cpu_on::<Hvc>(mpidr, entry.0, context).map_err(PowerError::Refused),
            Self::None => Err(PowerError::Absent),
        }
    }

    /// Turns this CPU off. It returns only when it fails.
    pub fn cpu_off(self) -> PowerError {
        let outcome = match self {
            Self::Smc => psci::cpu_off::<Smc>(),
            Self::Hvc => psci::cpu_off::<Hvc>(),
            Self::None => return PowerError::Absent,
        };
        PowerError::Refused(outcome.err().unwrap_or(psci::Error::InternalFailure))
    }
}

/// Waits for ever. Interrupts that wake the CPU change nothing.
pub fn halt() -> ! {
    loop {
        aarch64_cpu::asm::wfi();
    }
}
