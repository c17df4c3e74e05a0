//! Waiting for a device, with an end.

/// Polls before a wait is given up: tens of milliseconds, as a poll of a device takes 50 ns or more. A byte at 9600
/// baud takes 1 ms, a handshake of a GIC or an SMMU as long as the accesses that are under way.
const PATIENCE: u32 = 1_000_000;

/// Polls until the condition holds; whether it did.
pub(crate) fn until(mut condition: impl FnMut() -> bool) -> bool {
    (0..PATIENCE).any(|_| {
        let holds = condition();
        if !holds {
            core::hint::spin_loop();
        }
        holds
    })
}
