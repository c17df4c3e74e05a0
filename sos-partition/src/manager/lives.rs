//! Ends of VMs and what follows: how they ended is noted, their memory returned, and some begin another life.
//!
//! What is still to be done is in the note of ends before anything is destroyed, and EL2's alarm is set to when it is
//! due. So a life of this partition that fails in between leaves it to the next.

use alloc::borrow::ToOwned;
use alloc::vec::Vec;

use hv_abi::Status;
use hv_abi::call::ConfigKind;
use hv_abi::message::{BoardPower, Reply, VmSpec};
use hv_abi::record::{EndReason, VmState};

use super::Manager;
use crate::builder::{self, Step, patiently};
use crate::error::Error;
use crate::hypervisor::Hypervisor;
use crate::notes::{self, LastEnd};
use crate::restart::{Policy, Verdict, judge};
use crate::vm::{Vm, end_and_destroy, find_vm, keep_end, vms};

impl Manager<'_> {
    /// Notes how ended VMs ended, returns their memory, and starts those again that are to begin another life now.
    ///
    /// # Errors
    /// EL2's.
    pub fn reap<H: Hypervisor>(&mut self, hypervisor: &mut H, now: u64) -> Result<(), Error> {
        let all = vms(hypervisor)?;
        let ended = all.iter().filter(|vm| vm.state() == Some(VmState::Stopped));
        for vm in ended.clone() {
            let end = self.judged(hypervisor, vm, now);
            log::info!("{end}");
            keep_end(hypervisor, &end);
        }
        // Whatever becomes of the notes or of one of them, memory is returned and who is due begins again.
        let restarts = self.set_alarm(hypervisor);
        let mut first_error = Ok(());
        for vm in ended {
            let destroyed = vm.destroy(hypervisor);
            first_error = first_error.and(destroyed);
        }
        if restarts? {
            self.restart_due(hypervisor, now);
        }
        first_error
    }

    /// How a VM ended, and when it begins another life.
    fn judged<H: Hypervisor>(&mut self, hypervisor: &mut H, vm: &Vm, now: u64) -> LastEnd {
        let before = notes::last_end(hypervisor, vm.name()).unwrap_or_default();
        if let Some(judged) = before.as_ref().filter(|end| end.vm == vm.handle().0) {
            // By a life of this partition that failed before it was through.
            return judged.clone();
        }
        let (restarts, in_row) = before.map_or((0, 0), |end| (end.restarts, end.in_row));
        let mut end = LastEnd { restarts, ..vm.ended(vm.end()) };
        let spec = match self.find(hypervisor, vm.name()) {
            Ok(Some((spec, _))) => spec,
            Ok(None) => return end,
            Err(error) => {
                log::error!("vm {:?}: not started again: {error}", end.name);
                return end;
            }
        };
        match judge(policy(&spec), vm.end(), end.uptime_ns, in_row) {
            Verdict::Restarts { wait_s, in_row } => (end.in_row, end.due) = (in_row, Some(self.after(now, wait_s))),
            Verdict::GivenUp => log::warn!("vm {:?}: not started again: {in_row} times in a row", end.name),
            Verdict::Stays => {}
        }
        end
    }

    /// Starts those VMs again whose time has come.
    pub fn restart_due<H: Hypervisor>(&mut self, hypervisor: &mut H, now: u64) {
        let done = self.try_restart_due(hypervisor, now).and_then(|()| self.set_alarm(hypervisor));
        if let Err(error) = done {
            log::error!("{error}");
        }
    }

    fn try_restart_due<H: Hypervisor>(&mut self, hypervisor: &mut H, now: u64) -> Result<(), Error> {
        for end in notes::ends(hypervisor)?.iter().filter(|end| end.due.is_some_and(|due| due <= now)) {
            if let Err(error) = self.restart(hypervisor, end) {
                log::error!("{error}");
                self.try_again_later(hypervisor, end, now)?;
            }
        }
        Ok(())
    }

    /// Begins another life of a VM.
    fn restart<H: Hypervisor>(&mut self, hypervisor: &mut H, end: &LastEnd) -> Result<(), Error> {
        let (spec, _) = self.find(hypervisor, &end.name)?.ok_or_else(|| Error::NoSuchVm(end.name.clone()))?;
        let vm = find_vm(hypervisor, &end.name)?;
        let begun = vm.as_ref().is_some_and(|vm| vm.handle().0 != end.vm && vm.is_alive());
        if !begun {
            if let Some(vm) = vm {
                vm.end_and_destroy_unnoted(hypervisor)?;
            }
            builder::start(hypervisor, self.archive, &mut self.seeds, &spec)?;
        }
        notes::change_end(hypervisor, &end.name, |end| (end.restarts, end.due) = (end.restarts.saturating_add(1), None))
    }

    /// A start that fails counts as a short life.
    fn try_again_later<H: Hypervisor>(&mut self, hypervisor: &mut H, end: &LastEnd, now: u64) -> Result<(), Error> {
        let spec = self.find(hypervisor, &end.name)?;
        // As after a reset: that the VM is to live was decided.
        let verdict = spec.map(|(spec, _)| judge(policy(&spec), EndReason::Reset, 0, end.in_row.max(1)));
        let (in_row, due) = match verdict {
            Some(Verdict::Restarts { wait_s, in_row }) => (in_row, Some(self.after(now, wait_s))),
            _ => (end.in_row, None),
        };
        notes::change_end(hypervisor, &end.name, |end| (end.in_row, end.due) = (in_row, due))
    }

    /// A time has come: who is due begins another life, who was to give memory up by now is judged.
    pub fn alarm<H: Hypervisor>(&mut self, hypervisor: &mut H, now: u64) {
        if let Err(error) = self.judge_memory(hypervisor, now) {
            log::error!("{error}");
        }
        self.restart_due(hypervisor, now);
    }

    /// Sets EL2's alarm to the first restart that is to come, or the first time by which memory is to be given up; whether there
    /// is such a restart.
    pub(super) fn set_alarm<H: Hypervisor>(&mut self, hypervisor: &mut H) -> Result<bool, Error> {
        let restart = notes::ends(hypervisor)?.iter().filter_map(|end| end.due).min();
        let memory = notes::targets(hypervisor)?.iter().filter_map(|target| target.due).min();
        let first = restart.into_iter().chain(memory).min();
        hypervisor.sos_alarm(first).map_err(|status| Error::Call { call: "sos_alarm", status })?;
        Ok(restart.is_some())
    }

    /// The count `wait_s` seconds after `now`.
    pub(super) const fn after(&self, now: u64, wait_s: u64) -> u64 {
        now.saturating_add(wait_s.saturating_mul(self.ticks_per_second))
    }

    /// Stops a VM and starts it again.
    pub(super) fn reboot<H: Hypervisor>(&mut self, hypervisor: &mut H, name: &str, now: u64) -> Result<Reply, Error> {
        let Some(vm) = find_vm(hypervisor, name)?.filter(Vm::is_alive) else {
            return Err(self.not_running(hypervisor, name)?);
        };
        let restarts = notes::last_end(hypervisor, name)?.map_or(0, |end| end.restarts);
        let end = LastEnd { restarts, due: Some(now), ..vm.ended(EndReason::Stopped) };
        notes::record_end(hypervisor, &end)?;
        self.set_alarm(hypervisor)?;
        let done = self.restart(hypervisor, &end);
        if done.is_err() {
            // Who asked is told, and asks again or not.
            notes::change_end(hypervisor, name, |end| end.due = None)?;
        }
        self.set_alarm(hypervisor)?;
        done.map(|()| Reply::Done)
    }

    /// Somebody starts or stops a VM: what was to happen by itself does not; whether anything was.
    pub(super) fn cancel_restart<H: Hypervisor>(&mut self, hypervisor: &mut H, name: &str) -> Result<bool, Error> {
        let mut was_due = false;
        notes::change_end(hypervisor, name, |end| {
            was_due = end.due.is_some();
            (end.restarts, end.in_row, end.due) = (0, 0, None);
        })?;
        if was_due {
            self.set_alarm(hypervisor)?;
        }
        Ok(was_due)
    }

    /// Stops a VM for good and returns its memory.
    pub(super) fn stop<H: Hypervisor>(&mut self, hypervisor: &mut H, name: &str) -> Result<Reply, Error> {
        let ended = match find_vm(hypervisor, name)? {
            Some(vm) => matches!(end_and_destroy(hypervisor, &vm)?, VmState::Running | VmState::Paused),
            None => false,
        };
        if self.cancel_restart(hypervisor, name)? || ended {
            return Ok(Reply::Done);
        }
        Err(self.not_running(hypervisor, name)?)
    }

    /// Lets a running VM stand still.
    pub(super) fn pause<H: Hypervisor>(&mut self, hypervisor: &mut H, name: &str) -> Result<Reply, Error> {
        let Some(vm) = find_vm(hypervisor, name)?.filter(Vm::is_alive) else {
            return Err(self.not_running(hypervisor, name)?);
        };
        if vm.state() == Some(VmState::Paused) {
            return Err(Error::Paused(name.to_owned()));
        }
        match patiently(|| hypervisor.vm_pause(vm.handle())) {
            Ok(()) => Ok(Reply::Done),
            Err(Status::WrongState) => Err(Error::NotRunning(name.to_owned())),
            Err(status) => Err(vm.failed(Step::Pause, status)),
        }
    }

    /// Lets a paused VM go on.
    pub(super) fn resume<H: Hypervisor>(&mut self, hypervisor: &mut H, name: &str) -> Result<Reply, Error> {
        let Some(vm) = find_vm(hypervisor, name)?.filter(Vm::is_alive) else {
            return Err(self.not_running(hypervisor, name)?);
        };
        match patiently(|| hypervisor.vm_resume(vm.handle())) {
            Ok(()) => Ok(Reply::Done),
            Err(Status::WrongState) => Err(Error::NotPaused(name.to_owned())),
            Err(status) => Err(vm.failed(Step::Resume, status)),
        }
    }

    /// Stops all VMs, the one that has run for the shortest time first, then powers the board off or resets it. A guest cannot be
    /// asked to leave by itself: its machine has no power key. So none is waited for.
    pub(super) fn end_board<H: Hypervisor>(&mut self, hypervisor: &mut H, power: BoardPower) -> Result<Reply, Error> {
        let mut alive: Vec<Vm> = vms(hypervisor)?.into_iter().filter(Vm::is_alive).collect();
        alive.sort_by_key(Vm::uptime);
        for vm in alive {
            // Whatever is wrong with one of them, the board ends.
            if let Err(status) = builder::stop(hypervisor, vm.handle()) {
                log::warn!("{}", vm.failed(Step::Stop, status));
            }
        }
        let kind = match power {
            BoardPower::Off => ConfigKind::ShutDown,
            BoardPower::Reset => ConfigKind::Reset,
        };
        hypervisor.hv_config(kind).map_err(|status| Error::Call { call: "hv_config", status })?;
        Ok(Reply::Done)
    }

    /// The error for a VM that does not run, or does not exist.
    pub(super) fn not_running<H: Hypervisor>(&mut self, hypervisor: &mut H, name: &str) -> Result<Error, Error> {
        let known = self.find(hypervisor, name)?.is_some() || find_vm(hypervisor, name)?.is_some();
        Ok(if known { Error::NotRunning(name.to_owned()) } else { Error::NoSuchVm(name.to_owned()) })
    }
}

const fn policy(spec: &VmSpec) -> Policy {
    Policy { restart: spec.restart, limit: spec.restart_limit }
}
