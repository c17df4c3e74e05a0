//! The service partition's alarm: a time, kept over its lives until one of them has done what it is for.

/// The alarm. Times are counts of any clock that does not go back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Alarm {
    at: Option<u64>,
    /// Its time has come.
    rang: bool,
    /// The present life knows.
    told: bool,
    /// Lives that were told.
    tellings: u8,
}

/// Lives that are told of an alarm at most: one that crashes each of them must not keep requests out for ever.
const TELLINGS_MAX: u8 = 2;

impl Alarm {
    /// None is set.
    pub const NONE: Self = Self { at: None, rang: false, told: false, tellings: 0 };

    /// Sets it, or takes it back, whatever became of the one before.
    pub const fn set(&mut self, at: Option<u64>) {
        *self = Self { at, ..Self::NONE };
    }

    /// Whether one is set that nobody is done with.
    pub const fn is_set(&self) -> bool {
        self.at.is_some()
    }

    /// When [`Alarm::ring`] has something to do.
    pub const fn deadline(&self) -> Option<u64> {
        if self.rang { None } else { self.at }
    }

    /// Lets time pass; whether the alarm's has come just now.
    pub fn ring(&mut self, now: u64) -> bool {
        let rings = self.deadline().is_some_and(|at| at <= now);
        self.rang |= rings;
        rings
    }

    /// Whether a life is to be told.
    pub const fn waits(&self) -> bool {
        self.rang && !self.told
    }

    /// The present life was told.
    pub const fn tell(&mut self) {
        self.told = true;
        self.tellings += 1;
    }

    /// The present life is over. One that has agreed to end is done with what it was told; else the next one hears
    /// of it, too.
    pub const fn life_over(&mut self, agreed: bool) {
        if self.told && (agreed || self.tellings >= TELLINGS_MAX) {
            *self = Self::NONE;
        }
        self.told = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rings_once_at_its_time_and_waits_until_a_life_is_told() {
        let mut alarm = Alarm::NONE;
        assert_eq!((alarm.is_set(), alarm.deadline(), alarm.ring(u64::MAX)), (false, None, false));
        alarm.set(Some(10));
        assert_eq!((alarm.deadline(), alarm.ring(9), alarm.waits()), (Some(10), false, false));
        assert_eq!((alarm.ring(10), alarm.ring(11), alarm.waits()), (true, false, true));
        assert_eq!(alarm.deadline(), None, "nobody looks again");
        alarm.tell();
        assert_eq!((alarm.is_set(), alarm.waits()), (true, false));
    }

    #[test]
    fn a_life_that_agrees_to_end_is_done_with_what_it_was_told_and_with_nothing_else() {
        let mut alarm = Alarm::NONE;
        alarm.set(Some(10));
        alarm.life_over(true);
        assert_eq!(alarm.deadline(), Some(10), "it has not rung");
        alarm.ring(10);
        alarm.life_over(true);
        assert!(alarm.waits(), "nobody was told");
        alarm.tell();
        alarm.life_over(true);
        assert_eq!(alarm, Alarm::NONE);
    }

    #[test]
    fn an_alarm_set_by_a_life_that_was_told_is_another() {
        let mut alarm = Alarm::NONE;
        alarm.set(Some(10));
        alarm.ring(10);
        alarm.tell();
        alarm.set(Some(20));
        alarm.life_over(true);
        assert_eq!((alarm.deadline(), alarm.ring(20), alarm.waits()), (Some(20), true, true));
        alarm.set(None);
        assert_eq!(alarm, Alarm::NONE);
    }

    #[test]
    fn a_life_that_fails_leaves_it_to_one_more() {
        let mut alarm = Alarm::NONE;
        alarm.set(Some(10));
        alarm.ring(10);
        alarm.tell();
        alarm.life_over(false);
        assert!(alarm.waits());
        alarm.tell();
        alarm.life_over(false);
        assert_eq!(alarm, Alarm::NONE, "it may be what they fail by");
    }
}
