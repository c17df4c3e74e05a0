//! A spec becomes a VM, in privileged calls; or nothing is left of it.

use alloc::borrow::ToOwned;
use alloc::vec::Vec;

use chacha20::ChaCha20Rng;
use chacha20::rand_core::{Rng, SeedableRng};
use hv_abi::archive::Archive;
use hv_abi::call::{COPY_MAX, DeviceKind, DiskPart, Grants};
use hv_abi::guest_map::RAM_BASE;
use hv_abi::handle::Label;
use hv_abi::message::{CpuShare, ImageFormat, VmSpec};
use hv_abi::{Status, VmHandle};

use crate::disks;
use crate::error::Error;
use crate::hypervisor::Hypervisor;
use crate::image::LinuxImage;
use crate::nics;
use crate::plan::{Extent, LoadPlan, Payload, PlanError, Sizes, plan};
use crate::share;
use crate::shared;
use crate::spec::{self, SpecError};
use crate::tree::{self, GuestSeed};

/// RAM that a plan keeps for the tree. A tree with the longest command line and eight vCPUs takes half of it.
pub const TREE_ROOM: u64 = 8 * 1024;

/// What was being done when a privileged call failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// `vm_create`.
    Create,
    /// `vm_memory`.
    Memory,
    /// `vm_copy_in`, of the image, the initrd or the device tree.
    Copy(&'static str),
    /// `vm_device`.
    Device(DeviceKind),
    /// `vm_grant`.
    Grant,
    /// `vm_sched`.
    Share,
    /// `vm_share`.
    Shared,
    /// `vcpu_init`.
    Vcpu,
    /// `vm_start`.
    Start,
    /// `vm_stop`.
    Stop,
    /// `vm_destroy`.
    Destroy,
    /// `vm_pause`.
    Pause,
    /// `vm_resume`.
    Resume,
}

impl core::fmt::Display for Step {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Create => f.write_str("vm_create"),
            Self::Memory => f.write_str("vm_memory"),
            Self::Copy(what) => write!(f, "vm_copy_in of the {what}"),
            Self::Device(DeviceKind::Mailbox) => f.write_str("vm_device (mailbox)"),
            Self::Device(DeviceKind::ManagementPorts) => f.write_str("vm_device (management ports)"),
            Self::Device(DeviceKind::Watchdog) => f.write_str("vm_device (watchdog)"),
            Self::Device(DeviceKind::StolenTime) => f.write_str("vm_device (stolen time)"),
            Self::Device(DeviceKind::Disk) => f.write_str("vm_device (disk)"),
            Self::Device(DeviceKind::Balloon) => f.write_str("vm_device (balloon)"),
            Self::Device(DeviceKind::Nic) => f.write_str("vm_device (network card)"),
            Self::Device(DeviceKind::Entropy) => f.write_str("vm_device (entropy device)"),
            Self::Device(DeviceKind::DiskLimits) => f.write_str("vm_device (limits of a disk)"),
            Self::Grant => f.write_str("vm_grant"),
            Self::Share => f.write_str("vm_sched"),
            Self::Shared => f.write_str("vm_share"),
            Self::Vcpu => f.write_str("vcpu_init"),
            Self::Start => f.write_str("vm_start"),
            Self::Stop => f.write_str("vm_stop"),
            Self::Destroy => f.write_str("vm_destroy"),
            Self::Pause => f.write_str("vm_pause"),
            Self::Resume => f.write_str("vm_resume"),
        }
    }
}

/// Fresh random bytes for each boot of a guest, from this life's seed.
pub struct Seeds(Option<ChaCha20Rng>);

impl Seeds {
    /// A generator over `seed`; none where the board gave no seed, which is all zeroes.
    pub fn new(seed: [u8; 32]) -> Self {
        let given = seed.iter().any(|&byte| byte != 0);
        Self(given.then(|| ChaCha20Rng::from_seed(seed)))
    }

    /// A number for the partition itself.
    pub(crate) fn number(&mut self) -> Option<u64> {
        self.0.as_mut().map(ChaCha20Rng::next_u64)
    }

    fn next(&mut self) -> Option<GuestSeed> {
        let generator = self.0.as_mut()?;
        let mut seed = GuestSeed { kaslr: generator.next_u64(), rng: [0; 32] };
        generator.fill_bytes(&mut seed.rng);
        Some(seed)
    }
}

/// A guest's parts, found and placed, before EL2 hears of it.
struct Parts<'a> {
    label: Label,
    grants: Grants,
    image: &'a [u8],
    initrd: &'a [u8],
    plan: LoadPlan,
    disks: Vec<DiskPart>,
}

/// Whether a spec could be started: its values, its members, and that all of it fits.
///
/// # Errors
/// The first thing that is wrong.
pub fn check(archive: Archive<'_>, spec: &VmSpec) -> Result<(), Error> {
    prepare(archive, spec).map(|_| ())
}

/// Builds and starts a VM. Where a step fails, what was built of it is destroyed.
///
/// # Errors
/// What is wrong with the spec, or the step that failed.
pub fn start<H: Hypervisor>(
    hypervisor: &mut H,
    archive: Archive<'_>,
    seeds: &mut Seeds,
    spec: &VmSpec,
) -> Result<VmHandle, Error> {
    let mut parts = prepare(archive, spec)?;
    parts.disks = disks::resolve(hypervisor, spec)?;
    let tree = tree::build(spec, parts.grants, parts.plan.initrd, seeds.next());
    if tree.len() as u64 > parts.plan.tree.size {
        return Err(Error::Plan { name: spec.name.clone(), error: PlanError::Tree(tree.len() as u64) });
    }
    let vm = hypervisor.vm_create(parts.label, spec.vcpus).map_err(|status| step(spec, Step::Create, status))?;
    let mut build = Build { hypervisor, spec, vm };
    match build.fill(&parts, &tree) {
        Ok(()) => Ok(vm),
        Err(error) => {
            if let Err(status) = destroy(hypervisor, vm) {
                log::error!("vm {:?}: vm_destroy of what was built: {status}", spec.name);
            }
            Err(error)
        }
    }
}

/// Stops a VM, waiting out `AGAIN`: EL2 lets others run in between, and ends this life if it never ends.
///
/// # Errors
/// EL2's status.
pub fn stop<H: Hypervisor>(hypervisor: &mut H, vm: VmHandle) -> Result<(), Status> {
    patiently(|| hypervisor.vm_stop(vm))
}

/// Destroys a VM, waiting out `AGAIN` in the same way.
///
/// # Errors
/// EL2's status.
pub fn destroy<H: Hypervisor>(hypervisor: &mut H, vm: VmHandle) -> Result<(), Status> {
    patiently(|| hypervisor.vm_destroy(vm))
}

/// Makes a call until EL2 answers something else than `AGAIN`.
///
/// # Errors
/// EL2's status.
pub(crate) fn patiently(mut call: impl FnMut() -> Result<(), Status>) -> Result<(), Status> {
    loop {
        match call() {
            Err(Status::Again) => {}
            answer => return answer,
        }
    }
}

fn step(spec: &VmSpec, step: Step, status: Status) -> Error {
    Error::Step { name: spec.name.clone(), step, status }
}

fn prepare<'a>(archive: Archive<'a>, spec: &VmSpec) -> Result<Parts<'a>, Error> {
    let refuse = |error| Error::Spec { name: spec.name.clone(), error };
    spec::check(spec).map_err(refuse)?;
    let label = Label::new(&spec.name).ok_or_else(|| refuse(SpecError::Name))?;
    let grants = spec::grants(&spec.grants).map_err(refuse)?;
    let image = member(archive, spec, "image", &spec.image)?;
    let initrd = match &spec.initrd {
        Some(name) => member(archive, spec, "initrd", name)?,
        None => &[],
    };
    let payload = match spec.format {
        ImageFormat::Raw { load_address } => Payload::Raw { load_address },
        ImageFormat::Linux => Payload::Linux(LinuxImage::parse(image).map_err(|error| Error::Image {
            name: spec.name.clone(),
            member: spec.image.clone(),
            error,
        })?),
    };
    let sizes = Sizes { image: image.len() as u64, tree: TREE_ROOM, initrd: initrd.len() as u64 };
    let plan = plan(spec.memory, payload, sizes).map_err(|error| Error::Plan { name: spec.name.clone(), error })?;
    Ok(Parts { label, grants, image, initrd, plan, disks: Vec::new() })
}

fn member<'a>(archive: Archive<'a>, spec: &VmSpec, role: &'static str, name: &str) -> Result<&'a [u8], Error> {
    let found =
        archive.find(name).map_err(|_| Error::NoMember { name: spec.name.clone(), role, member: name.to_owned() })?;
    Ok(found.data)
}

/// A VM that EL2 has and that was not started yet.
struct Build<'a, H> {
    hypervisor: &'a mut H,
    spec: &'a VmSpec,
    vm: VmHandle,
}

impl<H: Hypervisor> Build<'_, H> {
    /// Everything from `vm_memory` to `vm_start`.
    fn fill(&mut self, parts: &Parts<'_>, tree: &[u8]) -> Result<(), Error> {
        self.memory()?;
        let plan = &parts.plan;
        self.copy("image", plan.image.start, parts.image)?;
        if let Some(Extent { start, .. }) = plan.initrd {
            self.copy("initrd", start, parts.initrd)?;
        }
        self.copy("device tree", plan.tree.start, tree)?;
        self.devices(parts.grants)?;
        self.disks(&parts.disks)?;
        self.nics()?;
        for (name, region) in self.spec.shared.iter().filter_map(shared::region) {
            let answer = self.hypervisor.vm_share(self.vm, name, region);
            self.result(Step::Shared, answer)?;
        }
        if self.spec.cpu != CpuShare::default() {
            share::set(self.hypervisor, self.vm, &self.spec.name, &self.spec.cpu)?;
        }
        let (vm, entry, x0) = (self.vm, plan.image.start, plan.tree.start);
        let answer = self.hypervisor.vcpu_init(vm, entry, x0);
        self.result(Step::Vcpu, answer)?;
        let answer = self.hypervisor.vm_start(vm);
        self.result(Step::Start, answer)
    }

    fn memory(&mut self) -> Result<(), Error> {
        let mut done = 0;
        while done < self.spec.memory {
            let left = self.spec.memory - done;
            let answer = self.hypervisor.vm_memory(self.vm, RAM_BASE + done, left);
            // More than was asked is no answer; it must not take this loop past its end.
            done += self.result(Step::Memory, answer)?.min(left);
        }
        Ok(())
    }

    fn copy(&mut self, what: &'static str, target: u64, bytes: &[u8]) -> Result<(), Error> {
        let mut done = 0;
        while let Some(left) = bytes.get(done..).filter(|left| !left.is_empty()) {
            let piece = &left[..left.len().min(COPY_MAX as usize)];
            let place = target + done as u64;
            let answer = self.hypervisor.vm_copy_in(self.vm, place, piece);
            let copied = self.result(Step::Copy(what), answer)?;
            done += piece.len().min(copied as usize);
        }
        Ok(())
    }

    fn devices(&mut self, grants: Grants) -> Result<(), Error> {
        self.device(DeviceKind::StolenTime, 0)?;
        if self.spec.watchdog {
            self.device(DeviceKind::Watchdog, 0)?;
        }
        if self.spec.rng {
            self.device(DeviceKind::Entropy, 0)?;
        }
        if let Some(guarantee) = self.spec.guarantee {
            self.device(DeviceKind::Balloon, guarantee)?;
        }
        if grants == Grants::NONE {
            return Ok(());
        }
        self.device(DeviceKind::Mailbox, 0)?;
        if self.spec.ports != 0 {
            self.device(DeviceKind::ManagementPorts, u64::from(self.spec.ports))?;
        }
        let answer = self.hypervisor.vm_grant(self.vm, grants);
        self.result(Step::Grant, answer)
    }

    fn device(&mut self, kind: DeviceKind, parameter: u64) -> Result<(), Error> {
        let answer = self.hypervisor.vm_device(self.vm, kind, [parameter, 0, 0]);
        self.result(Step::Device(kind), answer)
    }

    fn disks(&mut self, parts: &[DiskPart]) -> Result<(), Error> {
        for part in parts {
            let answer = self.hypervisor.vm_device(self.vm, DeviceKind::Disk, part.to_registers());
            self.result(Step::Device(DeviceKind::Disk), answer)?;
        }
        for limits in disks::limits(&self.spec.disks) {
            let answer = self.hypervisor.vm_device(self.vm, DeviceKind::DiskLimits, limits.to_registers());
            self.result(Step::Device(DeviceKind::DiskLimits), answer)?;
        }
        Ok(())
    }

    fn nics(&mut self) -> Result<(), Error> {
        for port in nics::ports(self.spec) {
            let answer = self.hypervisor.vm_device(self.vm, DeviceKind::Nic, port.to_registers());
            self.result(Step::Device(DeviceKind::Nic), answer)?;
        }
        Ok(())
    }

    fn result<T>(&self, at: Step, answer: Result<T, Status>) -> Result<T, Error> {
        answer.map_err(|status| step(self.spec, at, status))
    }
}

#[cfg(test)]
mod tests;
