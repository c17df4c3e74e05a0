//! The life of a VM: which phase it is in, and how many of its vCPUs are at work.
//!
//! ```text
//!                    Start         Pause           last vCPU parked
//! Free -> Building --------> Running --------> Pausing ------------> Paused
//!            |                 | ^                |                  |   |
//!            |                 | +----------------|--- Resume -------+   |
//!            |             End v                  v End                  v End
//!            |             Stopping <-------------+----------------------+
//!            |                 | last vCPU off, then Told
//!            |   Destroy       v        Destroy             Scrubbed
//!            +-----------> Dying <--- Stopped         Dying ---------> Free
//! ```
//! The service partition's slot goes Free -> Loading -> Running -> Stopping -> Stopped -> Dying -> Free.
//!
//! Every pair of phase and event is decided. A vCPU *leaves* when no CPU holds anything of it any more: for good (PSCI
//! CPU_OFF, or the end of its VM), or *parked*, until the VM goes on.

/// Where a VM is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Phase {
    /// The slot is free.
    Free,
    /// It gets memory, images, devices.
    Building,
    /// The service partition, before EL2 has mapped it.
    Loading,
    /// Its vCPUs run.
    Running,
    /// Its vCPUs are being stopped.
    Stopping,
    /// None of its vCPUs will run again.
    Stopped,
    /// Its memory is being scrubbed and returned.
    Dying,
    /// Its vCPUs are leaving their CPUs, to come back.
    Pausing,
    /// None of its vCPUs runs, and its virtual time stands still.
    Paused,
}

impl Phase {
    /// Every phase, in the order of its number.
    pub const ALL: [Self; 9] = [
        Self::Free,
        Self::Building,
        Self::Loading,
        Self::Running,
        Self::Stopping,
        Self::Stopped,
        Self::Dying,
        Self::Pausing,
        Self::Paused,
    ];

    /// Whether its vCPUs run, or will go on.
    pub const fn is_alive(self) -> bool {
        matches!(self, Self::Running | Self::Pausing | Self::Paused)
    }
}

/// What happens.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Event {
    /// The slot is taken for a guest.
    Create,
    /// The slot is taken for the service partition.
    Load,
    /// Its boot vCPU is about to run.
    Start,
    /// PSCI CPU_ON: another vCPU is about to run.
    VcpuOn,
    /// A vCPU has left for good.
    VcpuOff,
    /// A vCPU has left, and was told to by [`Action::Park`].
    VcpuParked,
    /// `vm_pause`.
    Pause,
    /// `vm_resume`.
    Resume,
    /// It has ended, for whatever reason.
    End,
    /// What [`Action::Ended`] asks for is done.
    Told,
    /// `vm_destroy`.
    Destroy,
    /// Everything of it is back.
    Scrubbed,
}

/// What is to be done.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Action {
    /// Nothing.
    Nothing,
    /// Tell each vCPU to leave, to come back.
    Park,
    /// Nothing of it runs: its virtual time stands still from now on.
    StopTime,
    /// Its virtual time goes on, and each vCPU that is on.
    GoOn,
    /// Tell each vCPU to leave for good.
    Stop,
    /// No vCPU will run again: say so, then report [`Event::Told`].
    Ended,
}

/// An event that its phase does not expect: nothing changes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Refused;

/// The machine.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct VmLife {
    phase: Phase,
    /// vCPUs that were started and did not leave for good.
    live: u8,
    /// Of those: parked.
    parked: u8,
}

impl VmLife {
    /// Of a free slot.
    pub const FREE: Self = Self { phase: Phase::Free, live: 0, parked: 0 };

    /// The phase.
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// Takes an event.
    ///
    /// # Errors
    /// The phase does not expect it.
    pub const fn on(&mut self, event: Event) -> Result<Action, Refused> {
        use Phase as P;
        Ok(match (self.phase, event) {
            (P::Free, Event::Create) => self.enter(P::Building, Action::Nothing),
            (P::Free, Event::Load) => self.enter(P::Loading, Action::Nothing),
            (P::Building | P::Loading, Event::Start) => {
                self.live = 1;
                self.enter(P::Running, Action::Nothing)
            }
            // A vCPU that is on its way to be parked may still start others: they are parked like itself.
            (P::Running | P::Pausing, Event::VcpuOn) => {
                self.live += 1;
                Action::Nothing
            }
            (P::Running | P::Pausing | P::Stopping, Event::VcpuOff) if self.live > self.parked => {
                self.live -= 1;
                self.one_less()
            }
            (P::Pausing, Event::VcpuParked) if self.live > self.parked => {
                self.parked += 1;
                self.one_less()
            }
            // The end came while it was on its way.
            (P::Stopping, Event::VcpuParked) if self.live > 0 => {
                self.live -= 1;
                self.one_less()
            }
            (P::Running, Event::Pause) => self.enter(P::Pausing, Action::Park),
            (P::Paused, Event::Resume) => {
                self.parked = 0;
                self.enter(P::Running, Action::GoOn)
            }
            (P::Running | P::Pausing | P::Paused, Event::End) => {
                // Those that are parked have left already.
                self.live -= self.parked;
                self.parked = 0;
                self.enter(P::Stopping, if self.live == 0 { Action::Ended } else { Action::Stop })
            }
            (P::Stopping, Event::Told) if self.live == 0 => self.enter(P::Stopped, Action::Nothing),
            (P::Building | P::Loading | P::Stopped, Event::Destroy) => self.enter(P::Dying, Action::Nothing),
            (P::Dying, Event::Scrubbed) => self.enter(P::Free, Action::Nothing),
            _ => return Err(Refused),
        })
    }

    const fn enter(&mut self, phase: Phase, action: Action) -> Action {
        self.phase = phase;
        action
    }

    /// A vCPU has left: was it the last that had to?
    const fn one_less(&mut self) -> Action {
        match self.phase {
            Phase::Stopping if self.live == 0 => Action::Ended,
            Phase::Pausing if self.live == self.parked => self.enter(Phase::Paused, Action::StopTime),
            _ => Action::Nothing,
        }
    }
}

#[cfg(test)]
mod tests;
