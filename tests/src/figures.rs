//! The figures: names, limits, and the table that the documents show.

use std::fmt::Write;

/// What a figure may be.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Limit {
    /// No more.
    Most(f64),
    /// No less.
    Least(f64),
}

impl Limit {
    fn is_met(self, value: f64) -> bool {
        match self {
            Self::Most(limit) => value <= limit,
            Self::Least(limit) => value >= limit,
        }
    }

    /// What a value is that does not meet it.
    fn missed(self) -> String {
        match self {
            Self::Most(limit) => format!("above {}", number(limit)),
            Self::Least(limit) => format!("below {}", number(limit)),
        }
    }

    /// As the table has it: most is what it says where nothing is said.
    fn shown(self) -> String {
        match self {
            Self::Most(limit) => number(limit),
            Self::Least(limit) => format!("at least {}", number(limit)),
        }
    }
}

/// A figure, what it may be, and what others take for the same work.
#[derive(Clone, Copy, Debug)]
pub struct Figure {
    /// Name in the output.
    pub name: &'static str,
    /// What is measured.
    pub what: &'static str,
    /// What it may be.
    pub limit: Limit,
    /// Bao / Xen null / KVM nVHE.
    pub peers: &'static str,
}

const fn figure(name: &'static str, what: &'static str, limit: f64, peers: &'static str) -> Figure {
    Figure { name, what, limit: Limit::Most(limit), peers }
}

/// A figure that is the better the greater it is.
const fn share(name: &'static str, what: &'static str, limit: f64) -> Figure {
    Figure { name, what, limit: Limit::Least(limit), peers: "-" }
}

/// Every figure.
const FIGURES: &[Figure] = &[
    figure("psci_version", "PSCI_VERSION", 120.0, "211 / 486 / 1739"),
    figure("hvc_unknown", "an unknown SMCCC call", 140.0, "211 / 486 / 1739"),
    figure("doorbell", "mailbox doorbell with nothing to do", 200.0, "-"),
    figure("gicd_typer", "GICD_TYPER read", 170.0, "229 / 604 / 2482"),
    figure("sysreg_id", "ID register read", 140.0, "4 (untrapped) / 431 / 2030"),
    figure("uart_char", "PL011 character written", 250.0, "passed through / 634 / 6544"),
    figure("sgi_self", "SGI to self, until handler entry", 350.0, "797 / 1047 / 3245"),
    figure("vtimer", "virtual timer, deadline to handler entry, CPU busy", 165.0, "203 / 1091 / 3105"),
    figure("wfi_wake_alone", "WFI wake by the timer after 1 ms, vCPU alone", 190.0, "201 / 2976 / 8808"),
    figure("wfi_wake_shared", "the same on a CPU shared with another VM's sleeper", 500.0, "201 / 2976 / 8808"),
    figure("sgi_cross", "SGI to a busy vCPU on another CPU, one way", 600.0, "809 / 3332 / 11600"),
    figure("vcpu_switch", "WFI in VM A to the next instruction of VM B, which was preempted", 800.0, "-"),
    figure("pick_next_4", "end of a vCPU's turn to the next one's first instruction, 4 busy", 2500.0, "-"),
    figure("pick_next_64", "the same, 64 busy", 2500.0, "-"),
    figure("pick_next_256", "the same, 256 busy", 2500.0, "-"),
    figure("pick_next_spread", "the largest of these over the smallest", 1.2, "-"),
    figure("wake_idle", "wake of a sleeping vCPU by its physical timer on an idle CPU", 600.0, "-"),
    figure("pinned_exits", "exits of a guest that owns a CPU and computes, in a second", 0.0, "-"),
    figure("masked_max", "longest stay at EL2 without a look for interrupts", 8000.0, "-"),
    figure("idle_el2", "executed at EL2 in a second while 16 guests sleep", 0.0, "-"),
    figure("rt_jitter_pinned", "latest less earliest timer interrupt of 10,000, on a CPU of its own", 1000.0, "-"),
    figure("rt_jitter_reserved", "the same with a reservation, beside busy guests on one CPU", 12e3, "-"),
    figure(
        "boot_to_guest",
        "reset to the guest's first instruction, service partition's boot included",
        3e6,
        "1.83 M (static) / 66 M / 1169 M",
    ),
    figure("boot_to_linux", "the same for Debian's kernel", 15e6, "-"),
    figure("linux_init_ratio", "Debian to /init, against QEMU without EL2", 1.03, "1.03 / 1.10 / 1.37"),
    figure("el2_per_blk_qd1", "EL2's instructions for a read of 4 KiB, one at a time", 5e3, "-"),
    figure("el2_per_blk_qd32", "the same, 32 at once", 4e3, "-"),
    figure(
        "el2_per_frame",
        "EL2's instructions for a frame of 1,514 bytes to the board's card, one at a time",
        4e3,
        "-",
    ),
    figure("el2_per_frame_batch", "the same, 8 at once", 2.5e3, "-"),
    figure("http_cold_first_byte", "SYN to the first byte of HTTP's status line, partition off before", 4e6, "-"),
    share("blk_qd1_ratio", "4 KiB at random from and to a guest's disk, one at a time, against QEMU without EL2", 0.8),
    share("blk_qd32_ratio", "the same, 32 at once", 0.9),
    share("blk_seq_ratio", "1 MiB after the other from it", 0.95),
    share("net_g2g_tso_ratio", "a TCP stream between guests, against one to the host without EL2", 2.0),
    share("net_g2g_ratio", "the same, whole frames only", 1.0),
    share("net_out_ratio", "a TCP stream from a guest to the host, against QEMU without EL2", 0.9),
    share("net_rr_ratio", "bytes that are sent there and answered, one by one", 0.8),
    share("flood_guest_share", "two busy guests' rounds while one sends 10,000 SYNs a second, against none", 0.9),
    figure("sos_cold_vm_list", "doorbell to reply of `vm list`, partition off before", 500e3, "-"),
    figure("sos_warm_vm_list", "the same, partition on", 20e3, "-"),
    figure("frame_scrub", "a frame of an ended VM: scrubbed, cleaned to memory and returned", 200.0, "-"),
    figure("vm_cycle", "a bare-metal guest of 16 MiB defined, started and destroyed, its scrub included", 1e6, "-"),
    figure("sos_ram_on", "bytes of the service partition's frames, on", 8.0 * 1048576.0, "dom0: 512 MiB"),
    figure("sos_ram_off", "the same, off", 0.0, "-"),
    figure("sos_resident", "bytes that stay for it: image, notes, mailbox", 2.0 * 1048576.0, "-"),
    figure("el2_image", "bytes of the EL2 image's file", 256.0 * 1024.0, "94 KB / 1 MB / -"),
    figure("el2_ram", "bytes of RAM that EL2 keeps, one guest, 1 GiB", 3.0 * 1048576.0, "0.2 MB+ / 34 MB / -"),
];

/// Measured values by name.
#[derive(Default, Debug)]
pub struct Measured(Vec<(String, f64)>);

impl Measured {
    /// Takes a value.
    pub fn set(&mut self, name: &str, value: f64) {
        self.0.retain(|(known, _)| known != name);
        self.0.push((name.into(), value));
    }

    /// Takes every `BENCH <name> <value>` of `text`.
    pub fn read(&mut self, text: &str) {
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            if let (Some("BENCH"), Some(name), Some(value), None) =
                (words.next(), words.next(), words.next(), words.next())
                && let Ok(value) = value.parse()
            {
                self.set(name, value);
            }
        }
    }

    /// The value of `name`.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.0.iter().find(|(known, _)| known == name).map(|&(_, value)| value)
    }

    /// Figures that are missing or do not meet their limit.
    pub fn missed(&self) -> Vec<String> {
        FIGURES
            .iter()
            .filter_map(|figure| match self.get(figure.name) {
                Some(value) if figure.limit.is_met(value) => None,
                Some(value) => Some(format!("{}: {} is {}", figure.name, number(value), figure.limit.missed())),
                None => Some(format!("{}: not measured", figure.name)),
            })
            .collect()
    }

    /// Prints what was measured, of which `names` are to meet their limits.
    ///
    /// # Panics
    /// If one of them does not.
    pub fn require(&self, names: &[&str]) {
        print!("{}", self.lines());
        let missed = self.missed();
        let own = |line: &&String| names.iter().any(|name| line.starts_with(&format!("{name}: ")));
        let missed: Vec<_> = missed.iter().filter(own).collect();
        assert!(missed.is_empty(), "{missed:?}");
    }

    /// `BENCH` lines, in the order of the table.
    pub fn lines(&self) -> String {
        FIGURES
            .iter()
            .filter_map(|figure| Some(format!("BENCH {} {}\n", figure.name, number(self.get(figure.name)?))))
            .collect()
    }

    /// The table of the documents.
    pub fn table(&self) -> String {
        let mut out = String::from(
            "| metric | name | at most | measured | Bao / Xen null / KVM nVHE |\n| --- | --- | ---: | ---: | --- |\n",
        );
        for figure in FIGURES {
            let measured = self.get(figure.name).map_or_else(|| "-".into(), number);
            // Writing to a String cannot fail.
            let _ = writeln!(
                out,
                "| {} | `{}` | {} | {measured} | {} |",
                figure.what,
                figure.name,
                figure.limit.shown(),
                figure.peers
            );
        }
        out
    }
}

/// The median of three runs of the figure `name`, which are to agree.
///
/// # Panics
/// If they spread by more than 3 %: that is no figure.
pub fn median(name: &str, mut samples: [f64; 3]) -> f64 {
    samples.sort_by(f64::total_cmp);
    let [least, median, most] = samples;
    println!("STAT {name} {least} {median} {most}");
    assert!(most <= least * 1.03, "{name}: {samples:?} spread by more than 3 %");
    median
}

fn number(value: f64) -> String {
    if value.fract() == 0.0 { format!("{value}") } else { format!("{value:.3}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_above_its_limit_and_one_that_is_missing_are_both_told() {
        let mut measured = Measured::default();
        measured.read("noise\nBENCH psci_version 119\r\nBENCH doorbell 201\nBENCH broken x\n");
        let missed = measured.missed();
        assert!(!missed.iter().any(|line| line.starts_with("psci_version")));
        assert!(missed.contains(&"doorbell: 201 is above 200".to_owned()));
        assert!(missed.contains(&"vtimer: not measured".to_owned()));
        assert!(measured.table().contains("| `psci_version` | 120 | 119 |"));
        assert_eq!(measured.lines(), "BENCH psci_version 119\nBENCH doorbell 201\n");
    }

    #[test]
    fn a_share_below_its_limit_is_told_and_one_above_it_is_not() {
        let told = |value| {
            let mut measured = Measured::default();
            measured.set("flood_guest_share", value);
            assert!(measured.table().contains("| `flood_guest_share` | at least 0.900 |"));
            measured.missed().into_iter().find(|line| line.starts_with("flood_guest_share"))
        };
        assert_eq!(told(0.9), None);
        assert_eq!(told(0.75), Some("flood_guest_share: 0.750 is below 0.900".to_owned()));
    }
}
