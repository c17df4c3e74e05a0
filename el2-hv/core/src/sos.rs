//! The life of the service partition: state + event -> next state + action.
//!
//! ```text
//!            Wake              Loaded             Ready
//!   Off ------------> Loading --------> Booting --------> Ready <---------+
//!    ^                   | LoadFailed      | Crash, time-out  | idle      | DrainBusy
//!    | Scrubbed          v                 v                  v           |
//!    +-------------- Faulted <---------------------------- Draining ------+
//!    +------------------------------------------------------- | DrainAgreed (ends in Off by Scrubbed)
//! ```
//!
//! Every pair of state and event is decided. A wake while it is on is no event for this machine: the
//! work waits in its queue, and [`SosLife::on`] with [`Event::Scrubbed`] is told whether there is some.

mod alarm;
pub mod history;
pub mod seat;
pub mod wakes;

pub use alarm::Alarm;

/// Times that the description gives, in nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SosTimes {
    /// Without work for this long it is asked to drain.
    pub idle: u64,
    /// From its first instruction to `sos_ready`, and from a drain to its answer.
    pub boot: u64,
    /// With a request in progress and no progress for this long it counts as hung.
    pub busy: u64,
}

impl SosTimes {
    /// What holds where the description is silent.
    pub const DEFAULT: Self = Self { idle: 2_000_000_000, boot: 2_000_000_000, busy: 10_000_000_000 };
}

/// Failures in a row after which requests are refused at once while it is held off.
const FAILURES_TO_HOLD: u32 = 5;
/// First back-off after a second failure in a row, in nanoseconds; it doubles.
const BACK_OFF_FIRST: u64 = 50_000_000;
/// Longest back-off.
const BACK_OFF_MOST: u64 = 10_000_000_000;

/// Where it is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// Nothing of it exists.
    Off,
    /// EL2 builds it.
    Loading,
    /// It runs and has not said that it is ready.
    Booting,
    /// It takes requests.
    Ready,
    /// It was asked to end, or has agreed to.
    Draining,
    /// It failed; what is left of it is being taken down.
    Faulted,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 6] = [Self::Off, Self::Loading, Self::Booting, Self::Ready, Self::Draining, Self::Faulted];
}

/// How a life ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LifeEnd {
    /// It agreed.
    Drained,
    /// A fault, or a power-off of its own.
    Crashed,
    /// No answer in time.
    Hung,
}

/// What happens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// There is work for it.
    Wake,
    /// It is built.
    Loaded,
    /// It cannot be built.
    LoadFailed,
    /// `sos_ready`.
    Ready,
    /// A request was handed to it, or one was answered, or it changed a VM.
    Progress,
    /// The deadline of [`SosLife::deadline`] has passed.
    Deadline {
        /// Requests in progress; while it is off, requests and events that wait.
        open: u32,
    },
    /// `sos_idle(Agreed)`.
    DrainAgreed,
    /// `sos_idle(Busy)`.
    DrainBusy,
    /// It cannot go on.
    Crash,
    /// Its frames are back. `waiting` requests or events wait for a next life.
    Scrubbed {
        /// Requests and events that wait.
        waiting: u32,
    },
}

/// What is to be done.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Nothing.
    Nothing,
    /// Build it, then report `Loaded` or `LoadFailed`.
    Load,
    /// Hand it the events and requests that wait.
    Deliver,
    /// Ask it to drain.
    AskDrain,
    /// Stop it, scrub its memory, then report `Scrubbed`.
    TearDown(LifeEnd),
    /// It is held off: answer what waits with an error.
    RefuseWaiting,
}

/// An event that its state does not expect: nothing changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refused {
    /// The state.
    pub state: State,
    /// The event.
    pub event: Event,
}

/// The machine.
#[derive(Clone, Debug)]
pub struct SosLife {
    state: State,
    times: SosTimes,
    deadline: Option<u64>,
    last_progress: u64,
    /// Whether this life ends by agreement: `Draining` after `DrainAgreed`.
    agreed: bool,
    failures_in_row: u32,
    not_before: u64,
    account: Account,
}

/// What it has cost, for `sos status`. Times in nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Account {
    /// Lives begun.
    pub lives: u32,
    /// Lives that ended badly.
    pub failures: u32,
    /// Time not off in lives that have ended.
    pub on_ns: u64,
    /// When the present life began.
    pub on_since: u64,
}

impl SosLife {
    /// A partition that was never on.
    pub const fn new(times: SosTimes) -> Self {
        Self {
            state: State::Off,
            times,
            deadline: None,
            last_progress: 0,
            agreed: false,
            failures_in_row: 0,
            not_before: 0,
            account: Account { lives: 0, failures: 0, on_ns: 0, on_since: 0 },
        }
    }

    /// Where it is.
    pub const fn state(&self) -> State {
        self.state
    }

    /// Its account.
    pub const fn account(&self) -> Account {
        self.account
    }

    /// Time not off until `now`.
    pub const fn on_time(&self, now: u64) -> u64 {
        match self.state {
            State::Off => self.account.on_ns,
            _ => self.account.on_ns + now.saturating_sub(self.account.on_since),
        }
    }

    /// Whether it may be handed work: it is ready, and has not agreed to end.
    pub const fn takes_work(&self) -> bool {
        matches!(self.state, State::Ready) || (matches!(self.state, State::Draining) && !self.agreed)
    }

    /// Whether this life has agreed to end.
    pub const fn has_agreed(&self) -> bool {
        self.agreed
    }

    /// When [`Event::Deadline`] is due.
    pub const fn deadline(&self) -> Option<u64> {
        self.deadline
    }

    /// Takes an event.
    ///
    /// # Errors
    /// The state does not expect it.
    pub fn on(&mut self, event: Event, now: u64) -> Result<Action, Refused> {
        use State as S;
        match (self.state, event) {
            (S::Off, Event::Wake) => Ok(self.wake(now)),
            (S::Off, Event::Deadline { open: 0 }) => Ok(self.enter(S::Off, None, Action::Nothing)),
            (S::Off, Event::Deadline { .. }) => Ok(self.begin(now)),
            (S::Loading, Event::Loaded) => Ok(self.enter(S::Booting, Some(now + self.times.boot), Action::Nothing)),
            (S::Loading, Event::LoadFailed) => Ok(self.fail(LifeEnd::Crashed)),
            (S::Booting, Event::Ready) => {
                self.last_progress = now;
                Ok(self.enter(S::Ready, Some(now + self.times.idle), Action::Deliver))
            }
            (S::Ready, Event::Progress) => {
                self.last_progress = now;
                Ok(Action::Nothing)
            }
            (S::Ready, Event::Deadline { open }) => Ok(self.quiet(open, now)),
            (S::Draining, Event::DrainAgreed) if !self.agreed => {
                self.agreed = true;
                Ok(self.enter(S::Draining, None, Action::TearDown(LifeEnd::Drained)))
            }
            (S::Draining, Event::DrainBusy) if !self.agreed => Ok(self.still_busy(now)),
            (S::Draining, Event::Progress) => {
                self.last_progress = now;
                Ok(Action::Nothing)
            }
            (S::Draining, Event::Deadline { .. }) if !self.agreed && now < self.last_progress + self.times.boot => {
                // It works on what it began before it was asked, and answers then.
                Ok(self.enter(S::Draining, Some(self.last_progress + self.times.boot), Action::Nothing))
            }
            (S::Booting | S::Draining, Event::Deadline { .. }) if !self.agreed => Ok(self.fail(LifeEnd::Hung)),
            (S::Booting | S::Ready | S::Draining, Event::Crash) if !self.agreed => Ok(self.fail(LifeEnd::Crashed)),
            (S::Faulted | S::Draining, Event::Scrubbed { waiting }) if self.state == S::Faulted || self.agreed => {
                Ok(self.ended(waiting, now))
            }
            // It is on, or on its way: the work waits in its queue.
            (S::Loading | S::Booting | S::Ready | S::Draining | S::Faulted, Event::Wake) => Ok(Action::Nothing),
            (state, event) => Err(Refused { state, event }),
        }
    }

    const fn enter(&mut self, state: State, deadline: Option<u64>, action: Action) -> Action {
        self.state = state;
        self.deadline = deadline;
        action
    }

    fn wake(&mut self, now: u64) -> Action {
        if now >= self.not_before {
            return self.begin(now);
        }
        self.deadline = Some(self.not_before);
        if self.failures_in_row >= FAILURES_TO_HOLD { Action::RefuseWaiting } else { Action::Nothing }
    }

    const fn begin(&mut self, now: u64) -> Action {
        self.account.lives += 1;
        self.account.on_since = now;
        self.agreed = false;
        self.enter(State::Loading, None, Action::Load)
    }

    /// Ready, and its deadline has passed: idle, busy, or hung?
    fn quiet(&mut self, open: u32, now: u64) -> Action {
        let patience = if open > 0 { self.times.busy } else { self.times.idle };
        let due = self.last_progress + patience;
        if now < due {
            // What is in progress may be done long before it counts as hung: the idle time runs from there.
            return self.enter(State::Ready, Some(due.min(now + self.times.idle)), Action::Nothing);
        }
        if open > 0 {
            return self.fail(LifeEnd::Hung);
        }
        self.enter(State::Draining, Some(now + self.times.boot), Action::AskDrain)
    }

    /// It was asked to drain and is busy. That is bounded, too: without progress it is hung.
    const fn still_busy(&mut self, now: u64) -> Action {
        if now >= self.last_progress + self.times.busy {
            return self.fail(LifeEnd::Hung);
        }
        self.enter(State::Ready, Some(now + self.times.idle), Action::Deliver)
    }

    const fn fail(&mut self, end: LifeEnd) -> Action {
        self.account.failures += 1;
        self.failures_in_row += 1;
        self.enter(State::Faulted, None, Action::TearDown(end))
    }

    fn ended(&mut self, waiting: u32, now: u64) -> Action {
        self.account.on_ns = self.on_time(now);
        if self.agreed {
            self.failures_in_row = 0;
        }
        self.not_before = now + self.back_off();
        self.state = State::Off;
        self.deadline = None;
        if waiting > 0 { self.wake(now) } else { Action::Nothing }
    }

    /// None after a first failure: a request that was safe to repeat is repeated at once.
    fn back_off(&self) -> u64 {
        match self.failures_in_row {
            0 | 1 => 0,
            more => (BACK_OFF_FIRST << (more - 2).min(8)).min(BACK_OFF_MOST),
        }
    }
}

#[cfg(test)]
mod tests;
