//! What the device tree says: vCPUs, memory, and the command line, whose words choose the tests.

use alloc::borrow::ToOwned;
use dtoolkit::fdt::{Fdt, FdtNode};
use dtoolkit::standard::NodeStandard as _;
use dtoolkit::{Node as _, Property as _};

/// The machine as its device tree describes it.
#[derive(Clone)]
pub struct Machine {
    /// vCPUs.
    pub vcpus: usize,
    /// First byte of RAM.
    pub ram_base: u64,
    /// Bytes of RAM.
    pub memory: u64,
    /// The command line.
    pub bootargs: &'static str,
    /// `kaslr-seed` of this boot.
    pub seed: Option<u64>,
    /// Whether the tree has a mailbox.
    pub mailbox: bool,
    /// The virtual counter when Rust code was entered.
    pub entry_count: u64,
}

impl Machine {
    /// Reads the tree at `address`; `entry_count` is the counter at entry.
    pub fn read(address: u64, entry_count: u64) -> Self {
        // SAFETY: the boot protocol puts a device tree there, and nothing writes to it later.
        let tree = unsafe { Fdt::from_raw(address as *const u8) }.expect("device tree in x0");
        let memory = tree.find_node("/memory").expect("node /memory");
        let region = memory.reg().ok().flatten().and_then(|mut regions| regions.next()).expect("/memory reg");
        let vcpus = tree.cpus().map_or(1, |cpus| cpus.children().filter(is_cpu).count());
        Self {
            vcpus: vcpus.clamp(1, crate::entry::CPUS_MAX),
            ram_base: region.address().expect("/memory address"),
            memory: region.size().expect("/memory size"),
            bootargs: bootargs(&tree).unwrap_or(""),
            seed: seed(&tree),
            mailbox: has_mailbox(tree),
            entry_count,
        }
    }

    /// The word of the command line that begins with `key=`, without that.
    pub fn option(&self, key: &str) -> Option<&'static str> {
        self.bootargs
            .split_ascii_whitespace()
            .filter_map(|word| word.split_once('='))
            .find_map(|(name, value)| (name == key).then_some(value))
    }

    /// The number of the option `key`, or `default`.
    pub fn number(&self, key: &str, default: u64) -> u64 {
        match self.option(key) {
            Some(text) => text.parse().unwrap_or_else(|_| panic!("{key}={text}: no number")),
            None => default,
        }
    }

    /// Whether the comma-separated option `key` names `item`; without the option everything is named.
    pub fn chooses(&self, key: &str, item: &str) -> bool {
        self.option(key).is_none_or(|list| list.split(',').any(|name| name == item))
    }
}

fn is_cpu(node: &FdtNode<'_>) -> bool {
    node.name().starts_with("cpu@")
}

fn bootargs(tree: &Fdt<'_>) -> Option<&'static str> {
    let chosen = tree.find_node("/chosen")?;
    let property = chosen.property("bootargs")?;
    let text = core::str::from_utf8(property.value()).ok()?;
    Some(text.trim_end_matches('\0').to_owned().leak())
}

fn seed(tree: &Fdt<'_>) -> Option<u64> {
    let property = tree.find_node("/chosen")?.property("kaslr-seed")?;
    Some(u64::from_be_bytes(property.value().try_into().ok()?))
}

fn has_mailbox(tree: Fdt<'_>) -> bool {
    let wanted = hv_abi::guest_map::MAILBOX_COMPATIBLE;
    tree.root()
        .children()
        .any(|node| node.is_compatible(wanted) || node.children().any(|child| child.is_compatible(wanted)))
}
