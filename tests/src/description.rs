//! System descriptions for tests, written as device tree source.

use std::fmt::Write;

/// A description: the service partition and the guests.
#[derive(Clone, Debug)]
pub struct Description {
    /// The service partition's node.
    pub partition: Partition,
    /// The guests, by name.
    pub guests: Vec<(String, Guest)>,
    /// Memory for guests to share, as source.
    pub regions: String,
    /// Networks, as source.
    pub networks: String,
}

/// The node `/service-partition`.
#[derive(Clone, Debug)]
pub struct Partition {
    /// Bytes of RAM.
    pub memory: u64,
    /// `idle-timeout-ms`.
    pub idle_timeout_ms: u32,
    /// `boot-timeout-ms`.
    pub boot_timeout_ms: u32,
    /// `max-busy-ms`.
    pub max_busy_ms: u32,
    /// `power`, and what goes with it, as source.
    pub power: &'static str,
    /// `when-idle`.
    pub when_idle: &'static str,
    /// `console-first`.
    pub console_first: Option<String>,
    /// `console-escape`.
    pub console_escape: u32,
    /// More properties, as source.
    pub more: String,
}

impl Default for Partition {
    fn default() -> Self {
        Self {
            memory: 4 << 20,
            idle_timeout_ms: 2000,
            boot_timeout_ms: 30_000,
            max_busy_ms: 10_000,
            power: "power = \"shared\";",
            when_idle: "poweroff",
            console_first: None,
            console_escape: 0x1d,
            more: String::new(),
        }
    }
}

/// A node below `/guests`.
#[derive(Clone, Debug)]
pub struct Guest {
    /// Bytes of RAM.
    pub memory: u64,
    /// vCPUs.
    pub vcpus: u32,
    /// Member of the archive.
    pub image: String,
    /// Load address of a raw image; a Linux Image without.
    pub load_address: Option<u64>,
    /// Member of the archive.
    pub initrd: Option<String>,
    /// Kernel command line.
    pub bootargs: String,
    /// Whether it starts at power-on: `autostart`.
    pub start: Start,
    /// What it may ask.
    pub grants: &'static [&'static str],
    /// Management ports.
    pub ports: u32,
    /// Whether it has a watchdog.
    pub watchdog: bool,
    /// More properties, as source.
    pub more: String,
    /// `restart`, and `restart-limit`.
    pub restart: Option<(&'static str, u32)>,
}

/// When a guest starts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Start {
    /// At power-on.
    Automatic,
    /// When asked to.
    Manual,
}

/// Every grant.
pub const ALL_GRANTS: &[&str] = &["manage", "info", "log", "consoles"];

impl Guest {
    /// Debian with a shell, all grants and four ports. Without KPTI, whose changes of ASID empty QEMU's TLB at each system
    /// call: all that it does takes a third of the time. `boot` and `demo` have it as it comes.
    pub fn debian(vcpus: u32) -> Self {
        Self {
            memory: 256 << 20,
            vcpus,
            image: "debian-vmlinuz".into(),
            load_address: None,
            initrd: Some("debian-initrd".into()),
            bootargs: "console=ttyAMA0 loglevel=4 kpti=off".into(),
            start: Start::Automatic,
            grants: ALL_GRANTS,
            ports: 4,
            watchdog: false,
            more: String::new(),
            restart: None,
        }
    }

    /// The bare-metal guest `name` with 64 MiB, without grants.
    pub fn bare(name: &str, bootargs: &str) -> Self {
        Self {
            memory: 64 << 20,
            vcpus: 1,
            image: format!("{name}.img"),
            load_address: None,
            initrd: None,
            bootargs: bootargs.into(),
            start: Start::Automatic,
            grants: &[],
            ports: 0,
            watchdog: false,
            more: String::new(),
            restart: None,
        }
    }

    /// A guest that does nothing, with 2 MiB, started by request only.
    pub fn idle() -> Self {
        let guest = Self::bare("idle", "").memory(2 << 20).manual();
        Self { image: "idle".into(), load_address: Some(0x4008_0000), ..guest }
    }

    /// The same with every grant; the ring needs no port.
    #[must_use]
    pub fn granted(mut self) -> Self {
        self.grants = ALL_GRANTS;
        self
    }

    /// The same with a watchdog.
    #[must_use]
    pub fn watched(mut self) -> Self {
        self.watchdog = true;
        self
    }

    /// The same with more properties, as source.
    #[must_use]
    pub fn having(mut self, properties: &str) -> Self {
        self.more.push_str(properties);
        self
    }

    /// The same, started again by this policy up to so many times in a row.
    #[must_use]
    pub fn restarts(mut self, policy: &'static str, limit: u32) -> Self {
        self.restart = Some((policy, limit));
        self
    }

    /// The same with `vcpus` vCPUs.
    #[must_use]
    pub fn vcpus(mut self, vcpus: u32) -> Self {
        self.vcpus = vcpus;
        self
    }

    /// The same with `memory` bytes.
    #[must_use]
    pub fn memory(mut self, memory: u64) -> Self {
        self.memory = memory;
        self
    }

    /// The same, started by request only.
    #[must_use]
    pub fn manual(mut self) -> Self {
        self.start = Start::Manual;
        self
    }

    fn write(&self, name: &str, out: &mut String) {
        line(out, &format!("{name} {{ compatible = \"dormouse,guest\";"));
        line(out, &format!("memory = /bits/ 64 <{:#x}>; vcpus = <{}>;", self.memory, self.vcpus));
        line(out, &format!("image = \"{}\";", self.image));
        match self.load_address {
            Some(address) => line(out, &format!("image-format = \"raw\"; load-address = /bits/ 64 <{address:#x}>;")),
            None => line(out, &format!("image-format = \"linux\"; bootargs = \"{}\";", self.bootargs)),
        }
        if let Some(initrd) = &self.initrd {
            line(out, &format!("initrd = \"{initrd}\";"));
        }
        if self.start == Start::Automatic {
            line(out, "autostart;");
        }
        if !self.grants.is_empty() {
            let grants = self.grants.iter().map(|grant| format!("\"{grant}\"")).collect::<Vec<_>>();
            line(out, &format!("grants = {};", grants.join(", ")));
        }
        if self.ports > 0 {
            line(out, &format!("ports = <{}>;", self.ports));
        }
        if self.watchdog {
            line(out, "watchdog;");
        }
        line(out, &self.more);
        if let Some((policy, limit)) = self.restart {
            line(out, &format!("restart = \"{policy}\"; restart-limit = <{limit}>;"));
        }
        line(out, "};");
    }
}

impl Description {
    /// A description with one guest, which has the console first.
    pub fn with(name: &str, guest: Guest) -> Self {
        let partition = Partition { console_first: Some(name.into()), ..Partition::default() };
        Self { partition, guests: vec![(name.into(), guest)], regions: String::new(), networks: String::new() }
    }

    /// The same with one more guest.
    #[must_use]
    pub fn and(mut self, name: &str, guest: Guest) -> Self {
        self.guests.push((name.into(), guest));
        self
    }

    /// The same with memory for guests to share.
    #[must_use]
    pub fn region(mut self, name: &str, bytes: u64) -> Self {
        let region = format!("{name} {{ compatible = \"dormouse,shared-memory\"; size = /bits/ 64 <{bytes:#x}>; }};\n");
        self.regions.push_str(&region);
        self
    }

    /// The same with a network, and properties of it.
    #[must_use]
    pub fn network(mut self, name: &str, properties: &str) -> Self {
        self.networks.push_str(&format!("{name} {{ compatible = \"dormouse,network\"; {properties} }};\n"));
        self
    }

    /// The same after `change` of the service partition's node.
    #[must_use]
    pub fn partition(mut self, change: impl FnOnce(&mut Partition)) -> Self {
        change(&mut self.partition);
        self
    }

    /// Device tree source.
    pub fn source(&self) -> String {
        let mut out = String::from("/dts-v1/;\n/ {\ncompatible = \"dormouse,system\";\n");
        let partition = &self.partition;
        line(&mut out, "service-partition { compatible = \"dormouse,service-partition\";");
        line(&mut out, &format!("image = \"sos.img\"; memory = /bits/ 64 <{:#x}>;", partition.memory));
        for (property, value) in [
            ("idle-timeout-ms", partition.idle_timeout_ms),
            ("boot-timeout-ms", partition.boot_timeout_ms),
            ("max-busy-ms", partition.max_busy_ms),
            ("console-escape", partition.console_escape),
        ] {
            line(&mut out, &format!("{property} = <{value}>;"));
        }
        line(&mut out, &format!("{} when-idle = \"{}\";", partition.power, partition.when_idle));
        if let Some(first) = &partition.console_first {
            line(&mut out, &format!("console-first = \"{first}\";"));
        }
        line(&mut out, &partition.more);
        line(&mut out, "};");
        if !self.regions.is_empty() {
            line(&mut out, &format!("shared-memory {{\n{}}};", self.regions));
        }
        if !self.networks.is_empty() {
            line(&mut out, &format!("networks {{\n{}}};", self.networks));
        }
        line(&mut out, "guests {");
        self.guests.iter().for_each(|(name, guest)| guest.write(name, &mut out));
        line(&mut out, "};\n};");
        out
    }
}

fn line(out: &mut String, text: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_names_every_property_that_was_set() {
        let guest = Guest::bare("tiny", "period-ms=5").vcpus(3).memory(2 << 20).granted();
        let source = Description::with("a", guest)
            .and("b", Guest::debian(1).manual().watched().restarts("always", 3))
            .partition(|partition| partition.idle_timeout_ms = 77)
            .source();
        for part in [
            "idle-timeout-ms = <77>;",
            "console-first = \"a\";",
            "memory = /bits/ 64 <0x200000>; vcpus = <3>;",
            "bootargs = \"period-ms=5\";",
            "grants = \"manage\", \"info\", \"log\", \"consoles\";",
            "initrd = \"debian-initrd\";",
            "restart = \"always\"; restart-limit = <3>;",
        ] {
            assert!(source.contains(part), "{part} in\n{source}");
        }
        assert_eq!(source.matches("autostart;").count(), 1);
        assert_eq!(source.matches("watchdog;").count(), 1);
    }
}
