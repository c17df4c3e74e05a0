//! Requests to replies: what VMs there are, and what becomes of them.

mod change;
mod console;
mod crash;
mod devices;
mod lives;
mod memory;
mod network;
mod plug;

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use hv_abi::archive::Archive;
use hv_abi::call::ConfigKind;
use hv_abi::message::{Fault, Origin, Reply, Request, VmCreate, VmDetail, VmPhase, VmSet, VmSpec, VmSummary};
use hv_abi::record::VmState;

use crate::builder::{self, Seeds};
use crate::description::{self, Description, DescriptionError};
use crate::disks::has_partitions;
use crate::error::Error;
use crate::hypervisor::Hypervisor;
use crate::notes::{self, LastEnd};
use crate::service::Life;
use crate::share;
use crate::vm::{Vm, end_and_destroy, find_vm, summary, vms};
use devices::Devices;

/// What a life knows without asking: the boot archive, and random bytes. The description is read
/// from the archive when it is first needed.
pub struct Manager<'a> {
    archive: Archive<'a>,
    seeds: Seeds,
    ticks_per_second: u64,
    description: Option<Description>,
}

impl<'a> Manager<'a> {
    /// A manager over a boot archive that EL2 has checked.
    pub fn new(life: &Life<'a>) -> Self {
        let (archive, seeds) = (Archive::trusted(life.archive), Seeds::new(life.seed));
        Self { archive, seeds, ticks_per_second: life.ticks_per_second, description: None }
    }

    /// Answers a request that came at `now`.
    pub fn answer<H: Hypervisor>(&mut self, hypervisor: &mut H, request: Request, now: u64) -> Reply {
        let answer = match request {
            Request::VmList => self.list(hypervisor),
            Request::VmShow { name } => self.show(hypervisor, &name, now),
            Request::VmCreate(create) => self.create(hypervisor, create),
            Request::VmStart { name } => self.start(hypervisor, &name),
            Request::VmStop { name } => self.stop(hypervisor, &name),
            Request::VmDestroy { name } => self.destroy(hypervisor, &name),
            Request::Fault(fault) => inject(hypervisor, fault),
            Request::VmSet(change) => self.set(hypervisor, change),
            Request::VmDevice(set) => self.change(hypervisor, set, now),
            Request::VmReboot { name } => self.reboot(hypervisor, &name, now),
            Request::VmPause { name } => self.pause(hypervisor, &name),
            Request::VmResume { name } => self.resume(hypervisor, &name),
            Request::Board(power) => self.end_board(hypervisor, power),
            Request::VmAttach(disk) => plug::attach(hypervisor, &disk),
            Request::VmDetach(disk) => plug::detach(hypervisor, &disk),
            // It needs to be known who asks.
            Request::Console(_) => Err(Error::Request("without a port")),
        };
        answer.unwrap_or_else(|error| Reply::Error(error.failure()))
    }

    /// Starts the guests that are to start at power-on and do not run yet. A board that nothing can
    /// run on is powered off.
    pub fn power_on<H: Hypervisor>(&mut self, hypervisor: &mut H) {
        let started = self.autostart(hypervisor);
        if let Err(error) = &started {
            log::error!("{error}");
        } else {
            self.join_network(hypervisor);
        }
        if matches!(started, Err(_) | Ok(Autostart::AllFailed)) {
            log::error!("no guest could be started: powering off");
            if let Err(status) = hypervisor.hv_config(ConfigKind::PowerOff) {
                log::error!("hv_config: {status}");
            }
        }
    }

    fn autostart<H: Hypervisor>(&mut self, hypervisor: &mut H) -> Result<Autostart, Error> {
        let mut specs: Vec<VmSpec> = self.described()?.to_vec();
        let (mut tried, mut running) = (0, 0);
        // Those that wait for a drive hold up no others.
        let (later, first): (Vec<_>, Vec<_>) =
            specs.iter_mut().filter(|spec| spec.autostart).partition(|spec| has_partitions(spec));
        for spec in first.into_iter().chain(later) {
            tried += 1;
            notes::apply_grown(hypervisor, spec)?;
            match self.start_spec(hypervisor, spec) {
                Ok(()) => log::info!("vm {:?}: started", spec.name),
                Err(Error::Runs(_) | Error::Paused(_)) => {}
                Err(error) => {
                    log::error!("{error}");
                    continue;
                }
            }
            running += 1;
        }
        Ok(if tried != 0 && running == 0 { Autostart::AllFailed } else { Autostart::Done })
    }

    fn list<H: Hypervisor>(&mut self, hypervisor: &mut H) -> Result<Reply, Error> {
        let created = notes::created(hypervisor)?;
        let mut running = vms(hypervisor)?;
        let specs = self.described()?.iter().chain(&created);
        let mut lines: Vec<VmSummary> = specs
            .map(|spec| {
                let place = running.iter().position(|vm| vm.name() == spec.name);
                summary(spec, place.map(|place| running.swap_remove(place)).as_ref())
            })
            .collect();
        if lines.iter().any(|line| line.state == VmPhase::Defined) {
            let ends = notes::ends(hypervisor)?;
            lines.iter_mut().for_each(|line| show_restart(line, ends.iter().find(|end| end.name == line.name)));
        }
        // A VM whose spec is gone is still a VM.
        lines.extend(running.iter().map(Vm::summary));
        Ok(Reply::VmList(lines))
    }

    fn show<H: Hypervisor>(&mut self, hypervisor: &mut H, name: &str, now: u64) -> Result<Reply, Error> {
        let (mut spec, origin) = self.find(hypervisor, name)?.ok_or_else(|| Error::NoSuchVm(name.to_owned()))?;
        let vm = find_vm(hypervisor, name)?;
        if let Some(vm) = vm.as_ref().filter(|vm| vm.is_alive()) {
            spec.cpu = vm.cpu(hypervisor)?;
        }
        let devices = match &vm {
            Some(vm) => Devices::of(hypervisor, vm.handle(), &spec)?,
            None => Devices::default(),
        };
        let (disks, nics, links_down) = (devices.disks(&spec), devices.nics(&spec), devices.links_down(&spec));
        let balloon = match (&devices.balloon, &vm) {
            (Some(record), Some(vm)) => Some(memory::used(hypervisor, record, vm, self.clock(now))?),
            _ => None,
        };
        devices.limit(&mut spec);
        let end = notes::last_end(hypervisor, name)?;
        let mut summary = summary(&spec, vm.as_ref());
        show_restart(&mut summary, end.as_ref());
        Ok(Reply::Vm(Box::new(VmDetail {
            summary,
            spec,
            origin,
            last_end: end.as_ref().map(LastEnd::how),
            restarts: end.map_or(0, |end| end.restarts),
            crash: crash::of(hypervisor, name)?,
            disks,
            nics,
            links_down,
            balloon,
        })))
    }

    fn create<H: Hypervisor>(&mut self, hypervisor: &mut H, create: VmCreate) -> Result<Reply, Error> {
        let taken = self.find(hypervisor, &create.name)?.is_some() || find_vm(hypervisor, &create.name)?.is_some();
        if taken {
            return Err(Error::Exists(create.name));
        }
        let Some((from, _)) = self.find(hypervisor, &create.from)? else {
            return Err(Error::NoSuchGuest { name: create.name, from: create.from });
        };
        let spec = derive(from, create);
        builder::check(self.archive, &spec)?;
        notes::add_created(hypervisor, &spec)?;
        Ok(Reply::Done)
    }

    fn start<H: Hypervisor>(&mut self, hypervisor: &mut H, name: &str) -> Result<Reply, Error> {
        let (spec, _) = self.find(hypervisor, name)?.ok_or_else(|| Error::NoSuchVm(name.to_owned()))?;
        self.start_spec(hypervisor, &spec)?;
        Ok(Reply::Done)
    }

    fn start_spec<H: Hypervisor>(&mut self, hypervisor: &mut H, spec: &VmSpec) -> Result<(), Error> {
        if let Some(vm) = find_vm(hypervisor, &spec.name)? {
            match vm.state() {
                Some(VmState::Running) => return Err(Error::Runs(spec.name.clone())),
                Some(VmState::Paused) => return Err(Error::Paused(spec.name.clone())),
                Some(VmState::Stopped) => vm.record_end(hypervisor, vm.end()),
                _ => {}
            }
            // It ended, or an earlier life of this partition left half of it.
            vm.destroy(hypervisor)?;
        }
        self.cancel_restart(hypervisor, &spec.name)?;
        builder::start(hypervisor, self.archive, &mut self.seeds, spec)?;
        Ok(())
    }

    fn destroy<H: Hypervisor>(&mut self, hypervisor: &mut H, name: &str) -> Result<Reply, Error> {
        let vm = find_vm(hypervisor, name)?;
        let spec = self.find(hypervisor, name)?;
        if let Some(vm) = &vm {
            end_and_destroy(hypervisor, vm)?;
        }
        let was_due = self.cancel_restart(hypervisor, name)?;
        match (spec, vm) {
            (Some((_, Origin::Created)), _) => notes::forget(hypervisor, name)?,
            (Some((_, Origin::Description)), None) if !was_due => {
                return Err(Error::Described(name.to_owned()));
            }
            (None, None) => return Err(Error::NoSuchVm(name.to_owned())),
            (_, _) => {}
        }
        Ok(Reply::Done)
    }

    /// Changes what a VM's vCPUs get of the CPUs: of a VM that runs or is paused at once, of a created one for its next
    /// starts as well.
    fn set<H: Hypervisor>(&mut self, hypervisor: &mut H, change: VmSet) -> Result<Reply, Error> {
        let name = change.name.clone();
        let spec = self.find(hypervisor, &name)?;
        let vm = find_vm(hypervisor, &name)?.filter(Vm::is_alive);
        let before = match (&spec, &vm) {
            (_, Some(vm)) => vm.cpu(hypervisor)?,
            (Some((spec, Origin::Created)), None) => spec.cpu.clone(),
            (Some((_, Origin::Description)), None) => return Err(Error::SetDescribed(name)),
            (None, None) => return Err(Error::NoSuchVm(name)),
        };
        let share = before.changed(change);
        share::check(&share).map_err(|error| Error::Spec { name: name.clone(), error: error.into() })?;
        if let Some(vm) = &vm {
            share::set(hypervisor, vm.handle(), &name, &share)?;
        }
        if matches!(spec, Some((_, Origin::Created))) {
            notes::change_created(hypervisor, &name, |spec| spec.cpu = share.clone())?;
        }
        Ok(Reply::Done)
    }

    /// The spec with that name, and where it is from.
    fn find<H: Hypervisor>(&mut self, hypervisor: &mut H, name: &str) -> Result<Option<(VmSpec, Origin)>, Error> {
        if let Some(spec) = self.described()?.iter().find(|spec| spec.name == name) {
            let mut spec = spec.clone();
            notes::apply_grown(hypervisor, &mut spec)?;
            return Ok(Some((spec, Origin::Description)));
        }
        let created = notes::created(hypervisor)?;
        let found = created.into_iter().find(|spec| spec.name == name);
        Ok(found.map(|spec| (spec, Origin::Created)))
    }

    /// A time, and how fast it goes.
    const fn clock(&self, now: u64) -> Clock {
        Clock { now, ticks_per_second: self.ticks_per_second }
    }

    /// A number that nobody can guess; `None` where the board gave no seed.
    pub fn random(&mut self) -> Option<u64> {
        self.seeds.number()
    }

    /// The description's guests.
    fn described(&mut self) -> Result<&[VmSpec], Error> {
        Ok(&self.description()?.guests)
    }

    fn description(&mut self) -> Result<&Description, Error> {
        match &mut self.description {
            Some(description) => Ok(description),
            empty => {
                let member = self.archive.find(description::FILE);
                let dtb = member.map_err(|_| DescriptionError::Missing)?.data;
                Ok(empty.insert(description::parse(dtb)?))
            }
        }
    }
}

/// A time on the counter.
#[derive(Clone, Copy, Debug)]
struct Clock {
    now: u64,
    ticks_per_second: u64,
}

/// A VM that waits for its next life is not only defined.
fn show_restart(line: &mut VmSummary, end: Option<&LastEnd>) {
    if line.state == VmPhase::Defined && end.is_some_and(|end| end.due.is_some()) {
        line.state = VmPhase::Restarting;
    }
}

/// What became of the guests that start at power-on.
enum Autostart {
    /// There are none, or at least one runs.
    Done,
    /// There are some, and none runs.
    AllFailed,
}

/// The spec that `create` asks for.
fn derive(from: VmSpec, create: VmCreate) -> VmSpec {
    let grants: Vec<String> = create.grants.unwrap_or(from.grants);
    VmSpec {
        name: create.name,
        memory: create.memory.unwrap_or(from.memory),
        // What was guaranteed was a part of another size.
        guarantee: from.guarantee.filter(|_| create.memory.is_none_or(|memory| memory == from.memory)),
        vcpus: create.vcpus.unwrap_or(from.vcpus),
        image: create.image.unwrap_or(from.image),
        bootargs: create.bootargs.unwrap_or(from.bootargs),
        // Power-on belongs to the description; notes do not outlive it.
        autostart: false,
        // What is shared is shared by those that the description names, and a disk is one VM's.
        shared: Vec::new(),
        disks: Vec::new(),
        nics: Vec::new(),
        // Ports need a grant, and there is no option to take the copied ones away.
        ports: if grants.is_empty() { 0 } else { from.ports },
        grants,
        ..from
    }
}

fn inject<H: Hypervisor>(hypervisor: &mut H, fault: Fault) -> Result<Reply, Error> {
    match hypervisor.inject(fault) {
        Ok(()) => Ok(Reply::Done),
        Err(_) => Err(Error::NoFaults),
    }
}
