//! QEMU's options: which board a test runs on.

use crate::artifact;
use crate::debugger::Debugger;
use crate::run::{Run, STAYS};
use crate::system::System;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Models of CPUs that everything is to run on.
pub const CPUS: [&str; 5] = ["cortex-a53", "cortex-a72", "cortex-a76", "neoverse-n1", "max"];

/// The model of tests that do not ask for one: `DORMOUSE_CPU`, or the second of [`CPUS`].
fn usual_cpu() -> String {
    std::env::var("DORMOUSE_CPU").unwrap_or_else(|_| CPUS[1].into())
}

/// What time is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Clock {
    /// The host's: CPUs run in parallel.
    Host,
    /// One instruction is one nanosecond, and idle time is skipped: runs repeat exactly.
    Instructions,
}

/// How the image is entered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Entry {
    /// At EL2.
    El2,
    /// At EL1: no virtualization.
    El1,
    /// At EL2 with x0 = 0: the image is put in memory without the Linux boot protocol.
    WithoutTree,
}

/// What a reset of the board does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reset {
    /// It ends QEMU.
    Ends,
    /// It starts the board again; RAM keeps what QEMU does not load anew.
    Restarts,
}

/// QEMU's `virt` board with EL2.
#[derive(Clone, Debug)]
pub struct Board {
    /// CPUs.
    pub cpus: u32,
    /// `-cpu`.
    pub cpu: String,
    /// MiB of RAM.
    pub memory: u32,
    /// What time is.
    pub clock: Clock,
    /// Where it starts.
    pub entry: Entry,
    /// The image that is entered.
    pub kernel: Option<PathBuf>,
    /// Kernel command line, for an image other than EL2's.
    pub append: Option<String>,
    /// `-seed`.
    pub seed: u32,
    /// What a reset does.
    pub reset: Reset,
    /// An SMMU is before PCI.
    pub smmu: bool,
    /// More of QEMU's options.
    pub more: Vec<String>,
}

impl Default for Board {
    fn default() -> Self {
        Self {
            cpus: 4,
            cpu: usual_cpu(),
            memory: 1024,
            clock: Clock::Host,
            entry: Entry::El2,
            kernel: None,
            append: None,
            seed: 1,
            reset: Reset::Ends,
            smmu: true,
            more: Vec::new(),
        }
    }
}

impl Board {
    /// The board of the figures: instructions are nanoseconds.
    pub fn counting(cpus: u32) -> Self {
        let cpu = format!("{},cntfrq=1000000000", usual_cpu());
        Self { cpus, cpu, clock: Clock::Instructions, ..Self::default() }
    }

    /// The same with another model of CPU.
    #[must_use]
    pub fn model(mut self, cpu: &str) -> Self {
        self.cpu = cpu.into();
        self
    }

    /// The same with `cpus` CPUs.
    #[must_use]
    pub fn cpus(mut self, cpus: u32) -> Self {
        self.cpus = cpus;
        self
    }

    /// The same with `memory` MiB of RAM.
    #[must_use]
    pub fn memory(mut self, memory: u32) -> Self {
        self.memory = memory;
        self
    }

    /// The same with another clock.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// The same with one more drive, of the bytes in `file`. Drives are numbered from the one that was added last: the first
    /// device gets QEMU's last virtio-mmio slot.
    #[must_use]
    pub fn drive(mut self, file: &Path) -> Self {
        let number = self.more.iter().filter(|option| *option == "-drive").count();
        let drive = format!("if=none,id=drive{number},format=raw,file={}", artifact::text(file));
        let device = format!("virtio-blk-device,drive=drive{number}");
        let options = ["-global", "virtio-mmio.force-legacy=false", "-drive", &drive, "-device", &device];
        self.more.extend(options.map(String::from));
        self
    }

    /// The same with a drive of the bytes in `file`, of whose writes and flushes QEMU keeps a log in the file `log` (its block
    /// driver blklogwrites). No other drive may be added.
    #[must_use]
    pub fn logged_drive(mut self, file: &Path, log: &Path) -> Self {
        let (file, log) = (artifact::text(file), artifact::text(log));
        let files = format!("file.driver=file,file.filename={file},log.driver=file,log.filename={log}");
        let node = format!("driver=blklogwrites,node-name=logged,{files}");
        let options = ["-global", "virtio-mmio.force-legacy=false", "-blockdev", &node, "-device"];
        self.more.extend(options.map(String::from));
        self.more.push("virtio-blk-device,drive=logged".into());
        self
    }

    /// The same with a network card on QEMU's user network, with these options of it.
    #[must_use]
    pub fn network(mut self, options: &str) -> Self {
        let network = format!("user,id=network{options}");
        let device = "virtio-net-device,netdev=network";
        let options = ["-global", "virtio-mmio.force-legacy=false", "-netdev", &network, "-device", device];
        self.more.extend(options.map(String::from));
        self
    }

    /// The same with one more drive and a network card on PCI, at the numbers 2 and 3, with these properties of the devices.
    #[must_use]
    pub fn pci(mut self, file: &Path, properties: &str) -> Self {
        let drive = format!("if=none,id=pci,format=raw,file={}", artifact::text(file));
        let disk = format!("virtio-blk-pci,drive=pci,addr=2{properties}");
        let card = format!("virtio-net-pci,netdev=network,romfile=,addr=3{properties}");
        let options = ["-drive", &drive, "-device", &disk, "-netdev", "user,id=network", "-device", &card];
        self.more.extend(options.map(String::from));
        self
    }

    /// The same without an SMMU.
    #[must_use]
    pub fn without_smmu(mut self) -> Self {
        self.smmu = false;
        self
    }

    /// The same, entered otherwise.
    #[must_use]
    pub fn entry(mut self, entry: Entry) -> Self {
        self.entry = entry;
        self
    }

    /// Boots `system`.
    pub fn boot(&self, system: &System) -> Run {
        self.boot_archive(system, &system.archive())
    }

    /// Boots `archive`, a file in the directory of `system`.
    pub fn boot_archive(&self, system: &System, archive: &Path) -> Run {
        let mut run = self.start(Some(archive));
        run.files = Some(system.keep());
        run
    }

    /// Boots `system` under a debugger: the board stands still until it lets it run.
    pub fn boot_debugged(&self, system: &System) -> (Run, Debugger) {
        let kernel = self.image();
        let (mut run, debugger) = Run::start_debugged(&self.arguments(&kernel, Some(&system.archive())), self.seed);
        run.files = Some(system.keep());
        (run, debugger)
    }

    /// Boots an image that needs no archive, made in the directory of `system`.
    pub fn boot_alone(&self, system: &System) -> Run {
        let mut run = self.start(None);
        run.files = Some(system.keep());
        run
    }

    /// Boots with `archive` as the initrd, or none.
    pub fn start(&self, archive: Option<&Path>) -> Run {
        let kernel = self.image();
        Run::start(&self.arguments(&kernel, archive), self.seed)
    }

    /// The same with another device tree: QEMU's own, as source, after `edit`. The file is one of `system`'s.
    #[must_use]
    pub fn tree(mut self, system: &System, edit: impl FnOnce(String) -> String) -> Self {
        let path = |name: &str| system.directory().join(name);
        let (own, source, edited) = (path("board.dtb"), path("board.dts"), path("edited.dtb"));
        let dump = format!("dumpdtb={}", artifact::text(&own));
        let arguments = self.arguments(&artifact::built("dormouse.img"), None);
        artifact::run(Command::new("qemu-system-aarch64").args(arguments).args(["-M", &dump]));
        let dtc = |from: &Path, to: &Path, forms: [&str; 2]| {
            let [input, output] = forms;
            let (from, to) = (artifact::text(from), artifact::text(to));
            artifact::run(Command::new("dtc").args(["-q", "-I", input, "-O", output, "-o", to, from]));
        };
        dtc(&own, &source, ["dtb", "dts"]);
        let text = std::fs::read_to_string(&source).expect("source of the tree");
        std::fs::write(&source, edit(text)).expect("edited source");
        dtc(&source, &edited, ["dts", "dtb"]);
        self.more.extend(["-dtb".into(), artifact::text(&edited).into()]);
        self
    }

    /// The image that it boots; with `DORMOUSE_STAYS`, and in counted instructions, the measuring one. Of several CPUs
    /// each counts what the others execute as well.
    fn image(&self) -> PathBuf {
        let measures = self.clock == Clock::Instructions && self.cpus == 1 && std::env::var_os(STAYS).is_some();
        let usual = || if measures { artifact::measuring_image() } else { artifact::built("dormouse.img") };
        self.kernel.clone().unwrap_or_else(usual)
    }

    /// QEMU's arguments, serial lines excepted.
    fn arguments(&self, kernel: &Path, archive: Option<&Path>) -> Vec<String> {
        let machine = match self.entry {
            Entry::El1 => "virt,gic-version=3",
            Entry::El2 | Entry::WithoutTree if !self.smmu => "virt,virtualization=on,gic-version=3",
            Entry::El2 | Entry::WithoutTree => "virt,virtualization=on,gic-version=3,iommu=smmuv3",
        };
        let mut arguments: Vec<String> = [
            "-M",
            machine,
            "-cpu",
            &self.cpu,
            "-smp",
            &self.cpus.to_string(),
            "-m",
            &self.memory.to_string(),
            "-seed",
            &self.seed.to_string(),
            "-nodefaults",
            "-display",
            "none",
        ]
        .map(String::from)
        .into();
        let mut add = |option: &str, value: &str| arguments.extend([option.into(), value.into()]);
        add("-action", if self.reset == Reset::Ends { "reboot=shutdown" } else { "reboot=reset" });
        if self.clock == Clock::Instructions {
            add("-icount", "shift=0,sleep=off");
        }
        let kernel = artifact::text(kernel);
        match self.entry {
            Entry::El1 | Entry::El2 => add("-kernel", kernel),
            // R hw/core/generic-loader: cpu-num sets the PC only.
            Entry::WithoutTree => {
                add("-device", &format!("loader,file={kernel},addr=0x40200000,force-raw=on,cpu-num=0"))
            }
        }
        if let Some(archive) = archive {
            add("-initrd", artifact::text(archive));
        }
        if let Some(append) = &self.append {
            add("-append", append);
        }
        arguments.extend(self.more.iter().cloned());
        arguments
    }
}
