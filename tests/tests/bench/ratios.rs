//! A Linux guest's disk and network card against those of the same kernel on the same board without EL2.
//!
//! Both boards are there at a time, and one of them sleeps while the other is measured: one after the other, in pairs. A
//! figure is the median of the pairs' ratios; where these spread, there is none.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use dormouse_tests::figures::Measured;
use dormouse_tests::{Board, Description, Entry, Guest, Shell, System, artifact, seconds};

/// Pairs, and seconds of each run of one.
const PAIRS: usize = 7;
const TIME: u64 = 5;
/// Most between the quartiles of a figure's pairs.
const SPREAD_MAX: f64 = 0.1;
/// The kernel's command line on both boards.
const KERNEL: &str = "console=ttyAMA0 loglevel=4 iommu.passthrough=1 kpti=off net.eth0=10.0.2.21/24";
/// The server of a guest.
const INNER: &str = "10.7.0.2:5000";

const DISKS: [(&str, &str); 3] = [
    ("blk_qd1_ratio", "disk /dev/vda 4096 1 random"),
    ("blk_qd32_ratio", "disk /dev/vda 4096 32 random"),
    ("blk_seq_ratio", "disk /dev/vda 1048576 1 sequential"),
];

#[test]
#[ignore = "long; make bench runs it"]
fn a_guests_disk_is_not_much_slower_than_without_el2() {
    let mut measured = Measured::default();
    disks(&mut measured);
    measured.require(&DISKS.map(|(name, _)| name));
}

#[test]
#[ignore = "long; make bench runs it"]
fn a_guests_streams_to_the_world_are_not_much_slower_than_without_el2() {
    let mut measured = Measured::default();
    outside(&mut measured);
    measured.require(&["net_out_ratio", "net_rr_ratio"]);
}

#[test]
#[ignore = "long; make bench runs it"]
fn streams_between_guests_are_faster_than_to_the_host_without_el2() {
    let mut measured = Measured::default();
    between_guests(&mut measured);
    measured.require(&["net_g2g_tso_ratio", "net_g2g_ratio"]);
}

/// Disks that answer at once, so that what is compared is what lies between them and the guest.
pub(super) fn disks(measured: &mut Measured) {
    let mut board = Board::default().cpus(1);
    let drive = "null-co,node-name=null,size=1073741824,read-zeroes=on";
    let options = ["virtio-mmio.force-legacy=false", "-blockdev", drive, "-device", "virtio-blk-device,drive=null"];
    board.more.extend(["-global"].into_iter().chain(options).map(String::from));
    let guest = debian().having("disks { d { compatible = \"dormouse,disk\"; }; };");
    let mut pair = Pair::boot(&board, &Description::with("debian", guest));
    for (name, load) in DISKS {
        pair.compare(name, [load, load], measured);
    }
}

/// Through the board's card to a server of this machine, which is what the board without EL2 does as well.
pub(super) fn outside(measured: &mut Measured) {
    let board = Board::default().cpus(1).network("");
    let description = Description::with("debian", with_nic(debian(), "lan")).network("lan", "uplink;");
    let mut pair = Pair::boot(&board, &description);
    let server = serve();
    for (name, load) in [("net_out_ratio", "stream"), ("net_rr_ratio", "exchange")] {
        let load = format!("{load} {server}");
        pair.compare(name, [&load, &load], measured);
    }
}

/// Between two guests, against the board without EL2 to a server of this machine.
pub(super) fn between_guests(measured: &mut Measured) {
    let board = Board::default().cpus(2).network("");
    let at = |address: &str| {
        let guest = debian();
        let bootargs = guest.bootargs.replace("10.0.2.21", address);
        with_nic(Guest { bootargs, ..guest }, "inner")
    };
    let description = Description::with("a", at("10.7.0.1")).and("b", at("10.7.0.2")).network("inner", "");
    let mut pair = Pair::boot(&board, &description);
    pair.shells[0].run.focus("b");
    pair.shells[0].run.send("\n");
    // The other shell is in its loop already, and stays there.
    let [with, without] = pair.shells;
    let mut with = Shell::enter(with.run);
    with.command("(load serve 5000 &)").ok();
    with.run.focus("a");
    let mut pair = Pair { shells: [with, without], _system: pair._system };
    let (inner, outer) = (format!("stream {INNER}"), format!("stream {}", serve()));
    pair.compare("net_g2g_tso_ratio", [&inner, &outer], measured);
    // What QEMU's user network gives to the board has no segments to be cut at any time.
    pair.shells[0].command("load whole eth0").ok();
    pair.compare("net_g2g_ratio", [&inner, &outer], measured);
}

fn debian() -> Guest {
    Guest { initrd: Some("load-initrd".into()), bootargs: KERNEL.into(), ..Guest::debian(1) }
}

fn with_nic(guest: Guest, network: &str) -> Guest {
    guest.having(&format!("nics {{ eth0 {{ compatible = \"dormouse,nic\"; network = \"{network}\"; }}; }};"))
}

/// Takes all that is sent, or sends each byte back, as `load serve` does; its address for a guest of QEMU's user network.
fn serve() -> String {
    let server = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = server.local_addr().expect("its address").port();
    std::thread::spawn(move || {
        for stream in server.incoming().flatten() {
            std::thread::spawn(move || answer(stream));
        }
    });
    format!("10.0.2.2:{port}")
}

fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut kind, mut data) = ([0], vec![0; 256 << 10]);
    stream.read_exact(&mut kind)?;
    loop {
        let count = stream.read(&mut data)?;
        if count == 0 {
            return Ok(());
        }
        if kind == *b"r" {
            stream.write_all(&data[..count])?;
        }
    }
}

/// A board with EL2, and one without.
struct Pair {
    shells: [Shell; 2],
    _system: System,
}

impl Pair {
    /// Boots both; QEMU runs two boards at a time where the host has two CPUs.
    fn boot(board: &Board, description: &Description) -> Self {
        assert!(std::thread::available_parallelism().is_ok_and(|cpus| cpus.get() > 1), "a host with two CPUs");
        let mut system = System::from_source(&description.source());
        let initrd = artifact::initrd(system.directory(), &[("/bin/load", &artifact::program("load"))]);
        system.member("sos.img", artifact::built("sos.img"));
        system.member("debian-vmlinuz", artifact::kernel());
        system.member("load-initrd", initrd.clone());
        let with = Shell::enter(board.boot(&system));
        let (kernel, append) = (Some(artifact::kernel()), Some(KERNEL.into()));
        let bare = Board { entry: Entry::El1, kernel, append, ..board.clone() };
        let without = Shell::enter(bare.start(Some(&initrd)));
        Self { shells: [with, without], _system: system }
    }

    /// Sets the figure `name`: the first one's load over the second one's.
    fn compare(&mut self, name: &str, loads: [&str; 2], measured: &mut Measured) {
        let mut ratios = [0.0; PAIRS];
        for (number, ratio) in ratios.iter_mut().enumerate() {
            let mut values = [0.0; 2];
            // Who begins changes, so that what the host does in between counts against each as often.
            for board in [number % 2, 1 - number % 2] {
                values[board] = load(&mut self.shells[board], loads[board]);
            }
            *ratio = values[0] / values[1];
            println!("INFO {name} {:.1} {:.1} {ratio:.3}", values[0], values[1]);
        }
        ratios.sort_by(f64::total_cmp);
        // The second and the second to last of seven.
        let spread = ratios[PAIRS * 3 / 4] - ratios[PAIRS / 4];
        println!("BENCH {name}_iqr {spread:.3}");
        if spread <= SPREAD_MAX {
            measured.set(name, ratios[PAIRS / 2]);
        } else {
            println!("ERROR {name}: the pairs' quartiles are {spread:.3} apart: no figure");
        }
    }
}

/// What the program `load` says, in a second.
fn load(shell: &mut Shell, what: &str) -> f64 {
    let said = shell.command_within(&format!("load {what} {TIME}"), seconds(20 * TIME)).ok();
    let value = said.lines().find_map(|line| line.strip_prefix("LOAD ")).and_then(|value| value.trim().parse().ok());
    value.unwrap_or_else(|| panic!("{said}"))
}
