//! The machine against a model of sets of vCPUs, over every state that three vCPUs can reach.

use super::*;
use std::collections::{BTreeSet, HashSet};
use std::vec::Vec;

/// Where a vCPU of the model is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Place {
    /// Off by PSCI, or gone for good.
    Off,
    /// On a CPU, or about to be.
    Running,
    /// It was told to park, and is on its way.
    ToldToPark,
    /// It was told to stop, and is on its way.
    ToldToStop,
    /// Parked.
    Parked,
}

/// A VM as the image drives it: what each vCPU was told, and where it is.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Model {
    life: VmLife,
    vcpus: [Place; 3],
    time_stands: bool,
    told: bool,
}

/// What the image, the service partition and the guest can do.
#[derive(Clone, Copy, Debug)]
enum Step {
    Create,
    Start,
    /// A vCPU turns another one on, or itself off, or the VM.
    On(usize, usize),
    Off(usize),
    PowerOff(usize),
    /// A vCPU looks at what it was told.
    Attends(usize),
    Pause,
    Resume,
    Stop,
    Told,
    Destroy,
    Scrubbed,
}

fn steps() -> Vec<Step> {
    let mut steps = [Step::Create, Step::Start, Step::Pause, Step::Resume, Step::Stop].to_vec();
    steps.extend([Step::Told, Step::Destroy, Step::Scrubbed]);
    for vcpu in 0..3 {
        steps.extend([Step::Off(vcpu), Step::PowerOff(vcpu), Step::Attends(vcpu)]);
        steps.extend((0..3).map(|other| Step::On(vcpu, other)));
    }
    steps
}

impl Model {
    const NEW: Self = Self { life: VmLife::FREE, vcpus: [Place::Off; 3], time_stands: false, told: false };

    fn at_work(&self) -> usize {
        let at_work = |place: &&Place| !matches!(place, Place::Off | Place::Parked);
        self.vcpus.iter().filter(at_work).count()
    }

    /// Does what the machine says.
    fn perform(&mut self, action: Action) {
        match action {
            Action::Nothing => {}
            Action::Park | Action::Stop => {
                let told = if action == Action::Park { Place::ToldToPark } else { Place::ToldToStop };
                for place in self.vcpus.iter_mut().filter(|place| !matches!(place, Place::Off | Place::Parked)) {
                    *place = told;
                }
            }
            Action::StopTime => {
                assert_eq!(self.at_work(), 0, "time stands while a vCPU runs: {self:?}");
                self.time_stands = true;
            }
            Action::GoOn => {
                assert!(self.time_stands);
                self.time_stands = false;
                self.vcpus
                    .iter_mut()
                    .filter(|place| **place == Place::Parked)
                    .for_each(|place| *place = Place::Running);
            }
            Action::Ended => {
                assert_eq!(self.at_work(), 0, "ended while a vCPU runs: {self:?}");
                assert!(!self.told, "ended twice");
                self.told = true;
            }
        }
    }

    fn event(&mut self, event: Event) {
        let before = self.life;
        match self.life.on(event) {
            Ok(action) => self.perform(action),
            Err(Refused) => assert_eq!(self.life, before, "a refusal changes nothing"),
        }
    }

    /// A vCPU that is off its way to an end runs guest code, and so do those that did not look yet at what they were told.
    fn runs(&self, vcpu: usize) -> bool {
        matches!(self.vcpus[vcpu], Place::Running | Place::ToldToPark | Place::ToldToStop)
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Create => self.event(Event::Create),
            Step::Start => {
                if self.life.phase() == Phase::Building {
                    self.vcpus[0] = Place::Running;
                }
                self.event(Event::Start);
            }
            // The image asks the machine first: a VM that is ending starts nobody.
            Step::On(by, other) if self.runs(by) && self.vcpus[other] == Place::Off => {
                let starts = self.life.on(Event::VcpuOn).is_ok();
                if starts {
                    let pausing = self.life.phase() == Phase::Pausing;
                    self.vcpus[other] = if pausing { Place::ToldToPark } else { Place::Running };
                }
            }
            // The last vCPU that is on takes its VM with it (`psci::power`).
            Step::Off(vcpu) if self.runs(vcpu) => {
                let last = self.vcpus.iter().filter(|place| **place != Place::Off).count() == 1;
                if last {
                    self.event(Event::End);
                }
                self.vcpus[vcpu] = Place::Off;
                self.event(Event::VcpuOff);
            }
            Step::PowerOff(vcpu) if self.runs(vcpu) => {
                self.event(Event::End);
                self.vcpus[vcpu] = Place::Off;
                self.event(Event::VcpuOff);
            }
            Step::Attends(vcpu) => match self.vcpus[vcpu] {
                Place::ToldToPark => {
                    self.vcpus[vcpu] = Place::Parked;
                    self.event(Event::VcpuParked);
                }
                Place::ToldToStop => {
                    self.vcpus[vcpu] = Place::Off;
                    self.event(Event::VcpuOff);
                }
                _ => {}
            },
            Step::Pause => self.event(Event::Pause),
            Step::Resume => self.event(Event::Resume),
            Step::Stop => self.event(Event::End),
            Step::Told if self.told => {
                self.event(Event::Told);
                self.told = false;
            }
            Step::Destroy => self.event(Event::Destroy),
            Step::Scrubbed if self.life.phase() == Phase::Dying => {
                self.event(Event::Scrubbed);
                *self = Self { life: self.life, ..Self::NEW };
            }
            _ => {}
        }
    }

    fn check(&self) {
        let phase = self.life.phase();
        match phase {
            Phase::Paused => assert!(self.at_work() == 0 && self.time_stands, "{self:?}"),
            Phase::Stopped | Phase::Dying | Phase::Free | Phase::Building => {
                assert_eq!(self.at_work(), 0, "{self:?}");
            }
            Phase::Stopping => assert!(self.told || self.at_work() > 0, "nobody will ever end it: {self:?}"),
            Phase::Pausing => assert!(self.at_work() > 0, "nobody will ever pause it: {self:?}"),
            Phase::Running => assert!(self.at_work() > 0 && !self.time_stands, "{self:?}"),
            Phase::Loading => unreachable!("of the service partition only"),
        }
    }
}

#[test]
fn in_every_reachable_state_every_step_keeps_count_of_the_vcpus_and_ends_once() {
    let mut seen = HashSet::new();
    let mut open = std::vec![Model::NEW];
    let mut phases = BTreeSet::new();
    while let Some(model) = open.pop() {
        if !seen.insert(model.clone()) {
            continue;
        }
        model.check();
        phases.insert(model.life.phase() as u8);
        for step in steps() {
            let mut next = model.clone();
            next.step(step);
            open.push(next);
        }
    }
    assert_eq!(phases.len(), Phase::ALL.len() - 1);
    assert!(seen.len() > 90, "{}", seen.len());
}

#[test]
fn from_every_reachable_state_a_stop_leads_to_the_end_without_the_guests_help() {
    let mut seen = HashSet::new();
    let mut open = std::vec![Model::NEW];
    while let Some(model) = open.pop() {
        if !seen.insert(model.clone()) {
            continue;
        }
        let mut ending = model.clone();
        ending.step(Step::Stop);
        (0..3).for_each(|vcpu| ending.step(Step::Attends(vcpu)));
        ending.step(Step::Told);
        ending.step(Step::Destroy);
        ending.step(Step::Scrubbed);
        assert_eq!(ending.life, VmLife::FREE, "from {model:?}");
        open.extend(steps().into_iter().map(|step| {
            let mut next = model.clone();
            next.step(step);
            next
        }));
    }
}

#[test]
fn pauses_and_resumes_in_any_order_are_taken_where_they_make_sense_only() {
    let mut life = VmLife::FREE;
    assert_eq!(life.on(Event::Pause), Err(Refused));
    for event in [Event::Create, Event::Start, Event::VcpuOn] {
        assert_eq!(life.on(event), Ok(Action::Nothing));
    }
    assert_eq!(life.on(Event::Resume), Err(Refused));
    assert_eq!(life.on(Event::Pause), Ok(Action::Park));
    assert_eq!(life.on(Event::Pause), Err(Refused));
    assert_eq!(life.on(Event::VcpuParked), Ok(Action::Nothing));
    assert_eq!(life.on(Event::Resume), Err(Refused), "one of them still runs");
    assert_eq!(life.on(Event::VcpuParked), Ok(Action::StopTime));
    assert_eq!(life.on(Event::VcpuParked), Err(Refused));
    assert_eq!(life.on(Event::Resume), Ok(Action::GoOn));
    assert_eq!(life.on(Event::Pause), Ok(Action::Park));
    assert_eq!(life.on(Event::VcpuParked), Ok(Action::Nothing));
    assert_eq!(life.on(Event::End), Ok(Action::Stop), "the other one is still to leave");
    assert_eq!(life.on(Event::Pause), Err(Refused));
    assert_eq!(life.on(Event::VcpuParked), Ok(Action::Ended), "it was on its way");
}

#[test]
fn the_service_partition_is_loaded_and_destroyed_also_where_that_fails() {
    let mut life = VmLife::FREE;
    assert_eq!(life.on(Event::Load), Ok(Action::Nothing));
    assert_eq!(life.phase(), Phase::Loading);
    let mut failed = life;
    assert_eq!((failed.on(Event::Destroy), failed.phase()), (Ok(Action::Nothing), Phase::Dying));
    assert_eq!(life.on(Event::Start), Ok(Action::Nothing));
    assert_eq!(life.on(Event::Destroy), Err(Refused), "it runs");
    assert_eq!(life.on(Event::End), Ok(Action::Stop));
    assert_eq!(life.on(Event::VcpuOff), Ok(Action::Ended));
    assert_eq!((life.on(Event::Told), life.phase()), (Ok(Action::Nothing), Phase::Stopped));
}
