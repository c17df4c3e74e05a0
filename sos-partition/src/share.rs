//! What vCPUs get of the CPUs: what may be asked for, and how EL2 is asked.

use alloc::borrow::ToOwned;

use hv_abi::call::Scheduling;
use hv_abi::message::CpuShare;
use hv_abi::{Status, VmHandle};

use crate::builder::Step;
use crate::error::Error;
use crate::hypervisor::Hypervisor;

/// The last CPU that EL2's words can name.
const CPU_MAX: u8 = 63;

/// What is wrong with a share.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ShareError {
    /// Weight.
    #[error("cpu-weight: {0} is not in 1..=10000")]
    Weight(u32),
    /// Cap.
    #[error("cpu-cap: {0} is not in 10..=1000 thousandths of a CPU")]
    Cap(u32),
    /// A CPU.
    #[error("cpu-affinity: {0} is not in 0..=63")]
    Cpu(u32),
    /// A CPU twice.
    #[error("cpu-affinity: {0} is there twice")]
    CpuTwice(u8),
    /// Period of a reservation.
    #[error("cpu-reservation: period of {0} us is not in 1000..=1000000")]
    Period(u32),
    /// Budget of a reservation.
    #[error("cpu-reservation: budget of {0} us is not in 100 up to its period")]
    Budget(u32),
    /// A reservation is a limit already.
    #[error("cpu-cap: not together with cpu-reservation, which is a limit as well")]
    CapAndReservation,
    /// One that has a CPU for itself.
    #[error("cpu-pinned: not together with cpu-cap or cpu-reservation")]
    PinnedAndLimited,
}

/// Checks a share.
///
/// # Errors
/// The first thing that is wrong.
pub fn check(share: &CpuShare) -> Result<(), ShareError> {
    let weight = u32::from(share.weight);
    if !Scheduling::WEIGHTS.contains(&weight) {
        return Err(ShareError::Weight(weight));
    }
    if let Some(cap) = share.cap.map(u32::from).filter(|cap| !Scheduling::CAPS.contains(cap)) {
        return Err(ShareError::Cap(cap));
    }
    for (at, &cpu) in share.affinity.iter().enumerate() {
        if cpu > CPU_MAX {
            return Err(ShareError::Cpu(u32::from(cpu)));
        }
        if share.affinity[..at].contains(&cpu) {
            return Err(ShareError::CpuTwice(cpu));
        }
    }
    if let Some(reservation) = share.reservation {
        if !Scheduling::PERIODS_US.contains(&reservation.period_us) {
            return Err(ShareError::Period(reservation.period_us));
        }
        if !(Scheduling::BUDGET_MIN_US..=reservation.period_us).contains(&reservation.budget_us) {
            return Err(ShareError::Budget(reservation.budget_us));
        }
    }
    match (share.pinned, share.cap, share.reservation) {
        (true, Some(_), _) | (true, _, Some(_)) => Err(ShareError::PinnedAndLimited),
        (_, Some(_), Some(_)) => Err(ShareError::CapAndReservation),
        _ => Ok(()),
    }
}

/// Gives every vCPU of a VM its share.
///
/// # Errors
/// Which property EL2 refuses, and why; nothing has changed.
pub fn set<H: Hypervisor>(hypervisor: &mut H, vm: VmHandle, name: &str, share: &CpuShare) -> Result<(), Error> {
    hypervisor.vm_sched(vm, &share.words()).map_err(|status| match refusal(share, status) {
        Some((property, reason)) => Error::Share { name: name.to_owned(), property, reason, status },
        None => Error::Step { name: name.to_owned(), step: Step::Share, status },
    })
}

/// The property that a status of `vm_sched` is about, and what it means.
const fn refusal(share: &CpuShare, status: Status) -> Option<(&'static str, &'static str)> {
    Some(match status {
        // All else was checked here.
        Status::InvalidArgument => ("cpu-affinity", "the board does not have all of these CPUs"),
        Status::Denied => ("cpu-affinity", "too few of its CPUs are open, pinned vCPUs own the others"),
        Status::NoRoom if share.pinned => ("cpu-pinned", "all of its CPUs have reservations"),
        Status::NoRoom => ("cpu-reservation", "does not fit: nine tenths of a CPU can be reserved"),
        Status::Conflict => ("cpu-pinned", "another vCPU would be left without a CPU"),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use hv_abi::message::Reservation;
    use std::string::ToString;
    use std::vec;

    #[test]
    fn what_is_out_of_range_or_does_not_go_together_is_named() {
        let plain = CpuShare::default;
        let reserve =
            |budget_us, period_us| CpuShare { reservation: Some(Reservation { budget_us, period_us }), ..plain() };
        for (share, message) in [
            (CpuShare { weight: 0, ..plain() }, "cpu-weight: 0 is not in 1..=10000"),
            (CpuShare { weight: 10_001, ..plain() }, "cpu-weight: 10001 is not in 1..=10000"),
            (CpuShare { cap: Some(9), ..plain() }, "cpu-cap: 9 is not in 10..=1000 thousandths of a CPU"),
            (CpuShare { affinity: vec![1, 64], ..plain() }, "cpu-affinity: 64 is not in 0..=63"),
            (CpuShare { affinity: vec![1, 2, 1], ..plain() }, "cpu-affinity: 1 is there twice"),
            (reserve(500, 999), "cpu-reservation: period of 999 us is not in 1000..=1000000"),
            (reserve(99, 1000), "cpu-reservation: budget of 99 us is not in 100 up to its period"),
            (reserve(1001, 1000), "cpu-reservation: budget of 1001 us is not in 100 up to its period"),
            (
                CpuShare { cap: Some(10), ..reserve(500, 1000) },
                "cpu-cap: not together with cpu-reservation, which is a limit as well",
            ),
            (
                CpuShare { pinned: true, cap: Some(10), ..plain() },
                "cpu-pinned: not together with cpu-cap or cpu-reservation",
            ),
            (
                CpuShare { pinned: true, ..reserve(500, 1000) },
                "cpu-pinned: not together with cpu-cap or cpu-reservation",
            ),
        ] {
            assert_eq!(check(&share).unwrap_err().to_string(), message);
        }
        for share in [
            plain(),
            CpuShare { weight: 10_000, cap: Some(1000), affinity: vec![63, 0], ..plain() },
            reserve(1000, 1000),
            CpuShare { pinned: true, ..plain() },
        ] {
            assert_eq!(check(&share), Ok(()));
        }
    }
}
