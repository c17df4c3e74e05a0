//! The hostile guest's mix of operations beside a witness and Debian, and what all three must have to say afterwards.

use crate::description::ALL_GRANTS;
use crate::{Board, Description, Guest, Shell, System, seconds};
use serde_json::Value;
use std::path::PathBuf;
use std::time::Duration;

/// MD5 of `seq 1000`, with a newline behind each number.
pub const SUM: &str = "53d025127ae99ab79e8502aae2d9bea6";
/// Lines of EL2's log that a guest may cause by what it does, its start and end included.
const LINES_MAX: usize = 16;

/// Who has the console when the guest that had it has ended.
const LOG: &str = "[console: dormouse log]";

/// A run of the mix.
#[derive(Clone, Debug)]
pub struct Mix {
    /// What decides the operations.
    pub seed: u32,
    /// How many.
    pub operations: u64,
    /// vCPUs of the hostile guest.
    pub vcpus: u32,
    /// vCPUs of Debian.
    pub linux: u32,
    /// What it may ask; with grants it has a mailbox and a management port.
    pub grants: &'static [&'static str],
    /// By how many milliseconds the witness's timer may be late.
    pub late_ms: u32,
    /// How long it may all take.
    pub time: Duration,
}

impl Mix {
    /// A mix by three vCPUs with every grant, which takes less than a minute or so.
    pub fn new(seed: u32, operations: u64) -> Self {
        Self {
            seed,
            operations,
            vcpus: 3,
            linux: 2,
            grants: ALL_GRANTS,
            late_ms: seconds(5).as_millis() as u32,
            time: seconds(360),
        }
    }

    /// Debian, the witness, and the hostile guest, which starts when it is told to.
    pub fn system(&self) -> System {
        let hostile = Guest::bare("hostile", &self.bootargs()).vcpus(self.vcpus).manual();
        let hostile = Guest { grants: self.grants, ports: u32::from(!self.grants.is_empty()), ..hostile };
        let hostile = hostile.having("rng;").having(DISK).having(&card("66"));
        let witness = Guest::bare("witness", &format!("seed={} limit-ms={}", self.seed, self.late_ms));
        let witness = Guest { grants: &["info"], ..witness.vcpus(2).memory(32 << 20) };
        let debian = Guest::debian(self.linux);
        let debian = Guest { bootargs: format!("{} net.eth0=10.6.6.1/24", debian.bootargs), ..debian };
        let description = Description::with("debian", debian.having(&card("01"))).and("witness", witness);
        System::new(&description.and("hostile", hostile).network("arena", ""))
    }

    fn bootargs(&self) -> String {
        format!("phases=mix seed={} ops={}", self.seed, self.operations)
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// If anybody but the hostile guest itself has noticed.
    pub fn run(&self, board: Board) {
        let mut scene = Scene::begin(Board { seed: self.seed, ..board }, self);
        let done = format!("HOSTILE done mix {} ", self.operations);
        let said = scene.shell.run.expect(&done, self.time);
        // Few operations may not come to what only some of the vCPUs do.
        let many = self.operations >= 10_000;
        let kinds = said.lines().filter_map(|line| line.strip_prefix("HOSTILE kind "));
        let counts = kinds.map(|kind| kind.rsplit(' ').next().map(str::trim)).collect::<Vec<_>>();
        assert!(!many || counts.iter().all(|count| *count != Some("0")), "a kind was left out: {said}");
        assert!(!counts.is_empty(), "{said}");
        for device in ["disk", "net"] {
            assert!(!many || count_of(&said, device) >= self.operations / 10, "a tenth is about a {device}: {said}");
        }
        assert_eq!(scene.shell.run.expect_vm_end("hostile", seconds(30)), "powered off");
        scene.shell.run.expect(LOG, seconds(30));
        scene.shell.run.expect_log("vm hostile: memory returned", seconds(30));
        let drive = std::fs::read(&scene.drive).expect("the drive");
        let arrived = scene.neighbour_got();
        println!("{arrived} frames arrived");
        assert!(!many || arrived > 0, "none of its frames was a good one");
        let written = drive.chunks(512).zip(untouched().chunks(512)).filter(|(now, before)| now != before).count();
        println!("{written} sectors written");
        assert!(!many || written > 0, "none of its writes to the disk was a good one");
        scene.end();
    }

    /// Starts it again and again; each time it ends by itself, as `ends` say one after the other, in the middle of what all
    /// its vCPUs do.
    ///
    /// # Panics
    /// As [`Mix::run`].
    pub fn end_abruptly(&self, board: Board, ends: &[(&str, &str)]) {
        let mut scene = Scene::boot(Board { seed: self.seed, ..board }, self);
        for (i, (end, how)) in ends.iter().enumerate() {
            let bootargs = format!("{} end={end} abrupt={}", self.bootargs(), 1000 + 777 * i);
            let create = format!("hvctl vm create h{i} --from hostile --bootargs '{bootargs}'");
            scene.shell.command(&create).ok();
            scene.shell.command(&format!("hvctl vm start h{i}")).ok();
            assert_eq!(&scene.shell.run.expect_vm_end(&format!("h{i}"), self.time), how);
            scene.shell.run.expect_log(&format!("vm h{i}: memory returned"), seconds(30));
            scene.shell.command(&format!("hvctl vm destroy h{i}")).ok();
        }
        scene.end();
    }

    /// Runs it, and destroys it after some operations, when all its vCPUs are at work.
    ///
    /// # Panics
    /// As [`Mix::run`].
    pub fn run_and_destroy(&self, board: Board, some: u64) {
        let mut scene = Scene::begin(Board { seed: self.seed, ..board }, self);
        scene.shell.run.expect(&format!("HOSTILE mix {some} "), self.time);
        scene.focus("debian");
        scene.shell.command("hvctl vm destroy hostile").ok();
        assert_eq!(scene.shell.run.expect_vm_end("hostile", seconds(30)), "stopped");
        scene.shell.run.expect_log("vm hostile: memory returned", seconds(30));
        scene.end();
    }

    /// Runs it for so many seconds, beside Debian with load on all its CPUs, which come and go meanwhile.
    ///
    /// # Panics
    /// As [`Mix::run`]; if a timer of Debian was lost, or Debian complains.
    pub fn run_beside_load(&self, board: Board, time: u64) {
        let mut scene = Scene::begin(Board { seed: self.seed, ..board }, self);
        scene.shell.run.expect("HOSTILE mix ", self.time);
        scene.focus("debian");
        for part in [LOAD, HOTPLUG, BEATS] {
            scene.shell.command(part).ok();
        }
        for _ in 0..time.div_ceil(10) {
            scene.shell.command("sleep 10").ok();
        }
        let late = scene.shell.command("hvctl vm show hostile | grep -c running");
        assert_eq!(late.status, 0, "the hostile guest was there all the time: {}", late.output);
        scene.shell.command("hvctl vm destroy hostile").ok();
        scene.debian_kept_time(self.late_ms);
        scene.end();
    }
}

const MIB: usize = 1 << 20;
/// The hostile guest's disk: two of the drive's four MiB.
const DISK: &str =
    "disks { d { compatible = \"dormouse,disk\"; first-sector = /bits/ 64 <2048>; sectors = /bits/ 64 <4096>; }; };";

/// A network card in a network of its own and its neighbour's.
fn card(last: &str) -> String {
    let mac = format!("mac-address = [02 00 00 00 00 {last}];");
    format!("nics {{ eth0 {{ compatible = \"dormouse,nic\"; network = \"arena\"; {mac} }}; }};")
}

/// How many operations of a kind the guest says it has done.
fn count_of(said: &str, kind: &str) -> u64 {
    let line = said.lines().find_map(|line| line.strip_prefix("HOSTILE kind ")?.strip_prefix(kind)?.strip_prefix(' '));
    line.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}

/// What is on the drive at first.
fn untouched() -> Vec<u8> {
    (0..4 * MIB).map(|at| (at / 512 * 7 + at % 253) as u8).collect()
}

/// Each of Debian's CPUs has something to compute.
const LOAD: &str = "for i in $(seq $(nproc)); do (until [ -e /stop ]; do :; done) & done";
/// All its CPUs but the first go off and come on, with all that runs on them.
const HOTPLUG: &str = "(cd /sys/devices/system/cpu; until [ -e /stop ]; do for on in 0 1; do for cpu in cpu[1-9]; do \
                       echo $on >$cpu/online || touch /unplugged; done; done; echo; done >/cycles) &";
/// The time, as often as a timer brings it.
const BEATS: &str = "(until [ -e /stop ]; do cut -d' ' -f1 /proc/uptime; usleep 50000; done >/beats) &";
/// What Linux says when a timer or a CPU was lost.
const COMPLAINTS: &str =
    "dmesg | grep -iE 'stall|lockup|hung|blocked for|unstable|nohz|stuck|failed to come|bug:|warning:'";

/// A board on which a mix runs.
struct Scene {
    shell: Shell,
    /// Rows of `hv info` before.
    memory: Value,
    /// The file that is the board's drive.
    drive: PathBuf,
}

impl Scene {
    /// Boots Debian and the witness, and gives both something to do.
    fn boot(board: Board, mix: &Mix) -> Self {
        let system = mix.system();
        let drive = system.directory().join("drive.raw");
        std::fs::write(&drive, untouched()).expect("a drive");
        let mut shell = Shell::enter(board.drive(&drive).boot(&system));
        shell.await_off();
        let memory = shell.memory();
        shell.command("(until [ -e /stop ]; do seq 1000 | md5sum; done | sort | uniq -c >/sums; touch /summed) &").ok();
        Self { shell, memory, drive }
    }

    /// As [`Scene::boot`], and starts the hostile guest, which gets the console.
    fn begin(board: Board, mix: &Mix) -> Self {
        let mut scene = Self::boot(board, mix);
        scene.shell.command("hvctl vm start hostile").ok();
        scene.focus("hostile");
        scene
    }

    fn focus(&mut self, name: &str) {
        self.shell.run.focus(name);
    }

    /// The hostile guest has ended: nobody else has noticed, and what it had came back.
    fn end(mut self) {
        self.focus("debian");
        self.debian_is_well();
        self.all_came_back();
        self.log_is_short();
        self.others_sectors_are_untouched();
        self.witness_is_content();
    }

    /// Frames that came to Debian, which gets the console.
    fn neighbour_got(&mut self) -> u64 {
        self.focus("debian");
        let said = self.shell.command("cat /sys/class/net/eth0/statistics/rx_packets").ok();
        said.trim().parse().expect("a number")
    }

    /// What of the drive the hostile guest does not have is as it was.
    fn others_sectors_are_untouched(&self) {
        let (before, after) = (untouched(), std::fs::read(&self.drive).expect("the drive"));
        assert!(before[..MIB] == after[..MIB] && before[3 * MIB..] == after[3 * MIB..]);
    }

    fn debian_is_well(&mut self) {
        self.shell.command("touch /stop; until [ -e /summed ]; do sleep 0.1; done").ok();
        let sums = self.shell.command("cat /sums").ok();
        let words = sums.split_whitespace().collect::<Vec<_>>();
        assert!(matches!(words[..], [_, SUM, "-"]), "{sums}");
        let list = self.shell.hvctl("vm list");
        let runs = |vm: &Value| vm["name"] == "debian" && vm["state"] == "running";
        assert!(list.as_array().is_some_and(|list| list.iter().any(runs)), "{list}");
    }

    /// No timer was lost, its CPUs came and went, and it has nothing to say about that.
    fn debian_kept_time(&mut self, late_ms: u32) {
        self.shell.command("touch /stop; wait").ok();
        let beats = self.shell.command("cat /beats").ok();
        let beats = beats.lines().filter_map(|beat| beat.parse::<f64>().ok()).collect::<Vec<_>>();
        let gaps = beats.iter().zip(beats.iter().skip(1)).map(|(before, after)| after - before);
        let longest = gaps.fold(0.0, f64::max);
        assert!(longest * 1000.0 <= f64::from(late_ms), "{longest} s without a beat");
        let cycles = self.shell.command("wc -l </cycles").ok().trim().parse::<u32>().unwrap_or(0);
        println!("{} beats, the longest wait {longest} s; {cycles} times off and on", beats.len());
        assert!(cycles > 0 && beats.len() > 10, "{cycles} {}", beats.len());
        assert_eq!(self.shell.command("ls /unplugged").status, 1, "a CPU did not come or go");
        let complaints = self.shell.command(COMPLAINTS);
        assert_eq!(complaints.status, 1, "{}", complaints.output);
    }

    fn all_came_back(&mut self) {
        let off = self.shell.await_off();
        assert_eq!((&off["failures"], &off["frames"]), (&0.into(), &0.into()), "{off}");
        assert_eq!(self.shell.memory(), self.memory, "memory afterwards, and before");
    }

    fn log_is_short(&self) {
        let log = self.shell.run.log.text();
        assert!(!log.contains(crate::run::FATAL), "{log}");
        let caused = log.lines().filter(|line| line.contains("vm hostile: ")).count();
        assert!(caused <= LINES_MAX, "{caused} lines about the hostile guest: {log}");
    }

    fn witness_is_content(&mut self) {
        let run = &mut self.shell.run;
        run.focus("witness");
        run.send("e");
        let verdict = run.expect_line("WITNESS ", seconds(30));
        println!("{verdict}");
        assert!(verdict.starts_with("WITNESS ok "), "{verdict}");
        assert_eq!(run.expect_vm_end("witness", seconds(30)), "powered off");
    }
}
