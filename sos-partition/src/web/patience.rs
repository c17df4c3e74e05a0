//! How long clients hold the partition: a life does not agree to end meanwhile.
//!
//! One that has said something holds it for [`IDLE_S`] from when it last got on. Those that say nothing may be a handshake
//! on its way, or a flood: from the first of them on they hold it for [`SILENT_S`] all together, and again only after as long
//! without any, or when a client has said something.

use super::{IDLE_S, SILENT_S};

/// The clients of a moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Clients {
    /// There are some that have not said a byte.
    pub(super) silent: bool,
    /// When the last of the others got on.
    pub(super) progress: Option<u64>,
}

/// What was seen of clients. Times are ticks of the counter.
#[derive(Debug)]
pub(super) struct Patience {
    ticks_per_second: u64,
    /// There were silent ones at the last look.
    silent: bool,
    /// Since when and until when there were silent ones, without a pause; until they are nobody's concern.
    series: Option<(u64, u64)>,
}

impl Patience {
    /// Nobody was there.
    pub(super) const fn new(ticks_per_second: u64) -> Self {
        Self { ticks_per_second, silent: false, series: None }
    }

    /// Looks at the clients; whether they hold the partition.
    pub(super) fn holds(&mut self, clients: &Clients, now: u64) -> bool {
        let within = |from: u64, seconds: u64| now.saturating_sub(from) < seconds.saturating_mul(self.ticks_per_second);
        if let Some(progress) = clients.progress {
            self.series = None;
            self.silent = clients.silent;
            return within(progress, IDLE_S);
        }
        let (since, until) = self.series.unwrap_or((now, now));
        let goes_on = self.silent || within(until, SILENT_S);
        let since = if goes_on { since } else { now };
        if self.silent || clients.silent {
            self.series = Some((since, now));
        }
        self.silent = clients.silent;
        clients.silent && within(since, SILENT_S)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICKS: u64 = 1000;
    const NOBODY: Clients = Clients { silent: false, progress: None };
    const SILENT: Clients = Clients { silent: true, progress: None };

    #[test]
    fn a_handshake_holds_for_a_second_and_a_flood_of_them_no_longer() {
        let mut patience = Patience::new(TICKS);
        assert!(!patience.holds(&NOBODY, 7000));
        assert!(patience.holds(&SILENT, 7100) && patience.holds(&SILENT, 8099));
        // Given up all at once and begun anew, with pauses shorter than a second.
        for now in (8100..60_000).step_by(450) {
            let clients = if now / 450 % 3 == 0 { &NOBODY } else { &SILENT };
            assert!(!patience.holds(clients, now), "{now}");
        }
    }

    #[test]
    fn a_silent_client_that_nobody_looked_at_for_long_is_no_pause() {
        let mut patience = Patience::new(TICKS);
        assert!(patience.holds(&SILENT, 0));
        assert!(!patience.holds(&NOBODY, 5000));
        assert!(!patience.holds(&SILENT, 5001));
    }

    #[test]
    fn after_a_second_without_any_a_handshake_holds_again() {
        let mut patience = Patience::new(TICKS);
        assert!(patience.holds(&SILENT, 0) && !patience.holds(&SILENT, 3000) && !patience.holds(&NOBODY, 3001));
        assert!(patience.holds(&SILENT, 4001) && !patience.holds(&SILENT, 5001));
    }

    #[test]
    fn one_that_says_something_holds_for_5_s_from_when_it_got_on_and_the_next_handshake_after_it() {
        let mut patience = Patience::new(TICKS);
        assert!(patience.holds(&SILENT, 0) && !patience.holds(&SILENT, 1000));
        let asks = Clients { silent: false, progress: Some(900) };
        assert!(patience.holds(&asks, 1001) && patience.holds(&asks, 5899) && !patience.holds(&asks, 5900));
        assert!(patience.holds(&SILENT, 5950));
    }
}
