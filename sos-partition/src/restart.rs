//! Whether and when a VM that has ended by itself begins another life.
//!
//! Lives that are long forgive: the first restart after one comes at once. Of short lives in a row each restart waits
//! twice as long as the one before, up to a minute, so that a VM that cannot live costs next to nothing.

use hv_abi::message::RestartPolicy;
use hv_abi::record::EndReason;

/// A life that lasted so long was no failed start.
const LONG_LIFE_NS: u64 = 10_000_000_000;
/// Wait before the second restart in a row, in seconds; it doubles.
const WAIT_FIRST_S: u64 = 1;
/// Longest wait, in seconds.
const WAIT_MOST_S: u64 = 60;

/// What a spec says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policy {
    /// After which ends.
    pub restart: RestartPolicy,
    /// Restarts in a row at most; 0 is no limit.
    pub limit: u32,
}

/// What follows from an end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It stays ended.
    Stays,
    /// It stays ended, after so many restarts in a row.
    GivenUp,
    /// It begins another life.
    Restarts {
        /// Seconds until then.
        wait_s: u64,
        /// Restarts in a row, this one included.
        in_row: u32,
    },
}

/// What follows from an end for `reason` of a life of `uptime_ns`, before which there were `in_row` restarts in a row.
pub fn judge(policy: Policy, reason: EndReason, uptime_ns: u64, in_row: u32) -> Verdict {
    let wanted = match reason {
        EndReason::Reset => true,
        EndReason::Crashed | EndReason::Watchdog => policy.restart != RestartPolicy::Never,
        EndReason::PoweredOff => policy.restart == RestartPolicy::Always,
        EndReason::None | EndReason::Stopped => false,
    };
    if !wanted {
        return Verdict::Stays;
    }
    let before = if uptime_ns >= LONG_LIFE_NS { 0 } else { in_row };
    if policy.limit != 0 && before >= policy.limit {
        return Verdict::GivenUp;
    }
    Verdict::Restarts { wait_s: wait_s(before), in_row: before.saturating_add(1) }
}

/// Seconds before a restart that follows `before` others.
fn wait_s(before: u32) -> u64 {
    match before.checked_sub(1) {
        None => 0,
        Some(doublings) => {
            WAIT_FIRST_S.checked_shl(doublings.min(16)).map_or(WAIT_MOST_S, |wait| wait.min(WAIT_MOST_S))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    const POLICIES: [RestartPolicy; 3] = [RestartPolicy::Never, RestartPolicy::OnFailure, RestartPolicy::Always];

    #[test]
    fn each_pair_of_policy_and_reason_does_what_the_bindings_say() {
        // Columns: never, on-failure, always.
        let table = [
            (EndReason::None, [false, false, false]),
            (EndReason::PoweredOff, [false, false, true]),
            (EndReason::Reset, [true, true, true]),
            (EndReason::Crashed, [false, true, true]),
            (EndReason::Stopped, [false, false, false]),
            (EndReason::Watchdog, [false, true, true]),
        ];
        for (reason, row) in table {
            for (restart, restarts) in POLICIES.into_iter().zip(row) {
                let verdict = judge(Policy { restart, limit: 0 }, reason, 0, 0);
                let expected = if restarts { Verdict::Restarts { wait_s: 0, in_row: 1 } } else { Verdict::Stays };
                assert_eq!(verdict, expected, "{reason:?} with {restart:?}");
            }
        }
    }

    /// Waits of short lives in a row.
    fn waits(limit: u32, lives: usize) -> Vec<u64> {
        let policy = Policy { restart: RestartPolicy::OnFailure, limit };
        let mut row = 0;
        let next = core::iter::from_fn(|| match judge(policy, EndReason::Crashed, LONG_LIFE_NS - 1, row) {
            Verdict::Restarts { wait_s, in_row } => {
                row = in_row;
                Some(wait_s)
            }
            _ => None,
        });
        next.take(lives).collect()
    }

    #[test]
    fn short_lives_in_a_row_wait_longer_and_longer_up_to_a_minute() {
        assert_eq!(waits(0, 11), [0, 1, 2, 4, 8, 16, 32, 60, 60, 60, 60]);
        assert_eq!(wait_s(u32::MAX), 60);
    }

    #[test]
    fn the_limit_counts_restarts_in_a_row() {
        assert_eq!(waits(3, 11), [0, 1, 2]);
        let policy = Policy { restart: RestartPolicy::Never, limit: 3 };
        assert_eq!(judge(policy, EndReason::Reset, 0, 3), Verdict::GivenUp);
        assert_eq!(judge(policy, EndReason::Crashed, 0, 3), Verdict::Stays);
    }

    #[test]
    fn a_long_life_forgives() {
        let policy = Policy { restart: RestartPolicy::Always, limit: 3 };
        let verdict = judge(policy, EndReason::PoweredOff, LONG_LIFE_NS, 3);
        assert_eq!(verdict, Verdict::Restarts { wait_s: 0, in_row: 1 });
    }
}
