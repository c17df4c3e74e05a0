//! The one node of the system description that EL2 reads: the service partition's.
//!
//! A property that is not known is an error that names file, node and property: a misspelled
//! ceiling must not be a silent one. Everything else in the description is the service partition's matter, and so is what
//! the node says of that partition's network: it asks for a network card by a call of its own.

use dtoolkit::fdt::{Fdt, FdtNode};
use dtoolkit::{Node, Property};
use hv_abi::handle::Label;

use crate::addr::CpuId;
use crate::sched::MAX_CPUS;
use crate::sos::SosTimes;
use crate::sos::seat::Power;
use crate::sos::wakes::WakeRate;

/// A name out of a description, cut to what a message has room for.
pub type Name = arrayvec::ArrayString<48>;

/// The beginning of `text`.
fn short(text: &str) -> Name {
    let mut name = Name::new();
    for letter in text.chars() {
        if name.try_push(letter).is_err() {
            break;
        }
    }
    name
}

/// The member of the boot archive with the description.
pub const FILE: &str = "system.dtb";
/// `compatible` of the node.
pub const COMPATIBLE: &str = "dormouse,service-partition";
/// Least memory of the partition, and the unit of it: a stage-2 block.
pub const MEMORY_UNIT: u64 = 2 << 20;
/// Most memory of the partition.
pub const MEMORY_MAX: u64 = 64 << 20;

/// What the board does when its last guest is gone and the partition sleeps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WhenIdle {
    /// It stays on.
    Stay,
    /// It is powered off.
    PowerOff,
}

/// The node, checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ServicePartition<'a> {
    /// Member of the archive with its image.
    pub image: &'a str,
    /// Its RAM in bytes: a power of two of at least [`MEMORY_UNIT`].
    pub memory: u64,
    /// Its times.
    pub times: SosTimes,
    /// Where it runs.
    pub power: Power,
    /// How often a VM may wake it.
    pub wakes: WakeRate,
    /// What happens when nothing is left to do.
    pub when_idle: WhenIdle,
    /// The byte on the console that switches to the next one.
    pub console_escape: u8,
    /// The VM that gets the console first.
    pub console_first: Option<Label>,
}

/// What is wrong with the description. Names are those of the description.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DescriptionError {
    /// No device tree.
    #[error("{FILE}: not a valid device tree")]
    Tree,
    /// No node.
    #[error("{FILE}: no node has compatible = \"{COMPATIBLE}\"")]
    NoNode,
    /// More than one.
    #[error("{FILE}: more than one node has compatible = \"{COMPATIBLE}\"")]
    TwoNodes,
    /// A property that does not exist.
    #[error("{FILE}: /{node}: unknown property \"{property}\"")]
    Unknown {
        /// The node.
        node: Name,
        /// The property.
        property: Name,
    },
    /// A property with a value that is not allowed.
    #[error("{FILE}: /{node}: property \"{property}\" must be {wanted}")]
    Value {
        /// The node.
        node: Name,
        /// The property.
        property: Name,
        /// What it must be.
        wanted: &'static str,
    },
}

/// Milliseconds of a 32-bit property to nanoseconds.
const MS: u64 = 1_000_000;

impl<'a> ServicePartition<'a> {
    /// Reads the node out of a description.
    ///
    /// # Errors
    /// The first thing that is wrong, by name.
    pub fn read(blob: &'a [u8]) -> Result<Self, DescriptionError> {
        let tree = Fdt::new(blob).map_err(|_| DescriptionError::Tree)?;
        let mut nodes = tree.root().children().filter(|node| is_service_partition(*node));
        let node = nodes.next().ok_or(DescriptionError::NoNode)?;
        if nodes.next().is_some() {
            return Err(DescriptionError::TwoNodes);
        }
        let name = short(node.name());
        let mut image = None;
        let mut partition = Self {
            image: "",
            memory: MEMORY_UNIT * 2,
            times: SosTimes::DEFAULT,
            power: Power::default(),
            wakes: WakeRate::DEFAULT,
            when_idle: WhenIdle::Stay,
            console_escape: 0x1d,
            console_first: None,
        };
        for property in node.properties() {
            let value = property.value_as::<&'a [u8]>().unwrap_or_default();
            partition.take(name, property.name(), value, &mut image)?;
        }
        let missing = DescriptionError::Value {
            node: name,
            property: short("image"),
            wanted: "there: the name of a member of the archive",
        };
        partition.image = image.ok_or(missing)?;
        match partition.power {
            Power { core: false, cpu: Some(_), .. } => Err(not_shared(name, "core-cpu")),
            Power { core: false, lend: true, .. } => Err(not_shared(name, "core-lend")),
            _ => Ok(partition),
        }
    }

    /// Takes one property.
    fn take(
        &mut self,
        node: Name,
        property: &str,
        value: &'a [u8],
        image: &mut Option<&'a str>,
    ) -> Result<(), DescriptionError> {
        let wrong = |wanted| DescriptionError::Value { node, property: short(property), wanted };
        match property {
            // The partition checks the rest of them.
            "compatible" | "network" | "address" | "gateway" | "http-port" | "mac-address" => {}
            "image" => *image = Some(text(value).ok_or(wrong("a name"))?),
            "memory" => self.memory = memory(value).ok_or(wrong("64 bits: a power of two, 2 MiB to 64 MiB"))?,
            "idle-timeout-ms" => self.times.idle = milliseconds(value).ok_or(wrong("32 bits, 1 to 3600000"))?,
            "boot-timeout-ms" => self.times.boot = milliseconds(value).ok_or(wrong("32 bits, 1 to 3600000"))?,
            "max-busy-ms" => self.times.busy = milliseconds(value).ok_or(wrong("32 bits, 1 to 3600000"))?,
            "when-idle" => {
                self.when_idle = match text(value) {
                    Some("stay") => WhenIdle::Stay,
                    Some("poweroff") => WhenIdle::PowerOff,
                    _ => return Err(wrong("\"stay\" or \"poweroff\"")),
                }
            }
            "console-escape" => {
                let byte = number(value).and_then(|number| u8::try_from(number).ok());
                self.console_escape =
                    byte.filter(|byte| (1..=0x1f).contains(byte)).ok_or(wrong("a control character, 1 to 0x1f"))?;
            }
            "console-first" => {
                self.console_first = Some(text(value).and_then(Label::new).ok_or(wrong("a VM's name"))?);
            }
            _ => return self.take_power(node, property, value),
        }
        Ok(())
    }

    /// Takes one property that says where it runs, and how often it is woken.
    fn take_power(&mut self, node: Name, property: &str, value: &[u8]) -> Result<(), DescriptionError> {
        let wrong = |wanted| DescriptionError::Value { node, property: short(property), wanted };
        let within = |most| number(value).filter(|number| (1..=most).contains(number));
        match property {
            "power" => {
                self.power.core = match text(value) {
                    Some("shared") => false,
                    Some("core") => true,
                    _ => return Err(wrong("\"shared\" or \"core\"")),
                }
            }
            // Not the CPU that boots, to which a CPU that goes off leaves what was put off.
            "core-cpu" => {
                let cpu = within(MAX_CPUS as u32 - 1).ok_or(wrong("32 bits, 1 to 7"))?;
                self.power.cpu = Some(CpuId(cpu as u8));
            }
            "core-lend" if value.is_empty() => self.power.lend = true,
            "core-lend" => return Err(wrong("without a value")),
            "wakes-per-minute" => self.wakes.per_minute = within(60_000).ok_or(wrong("32 bits, 1 to 60000"))?,
            "wake-burst" => self.wakes.burst = within(1000).ok_or(wrong("32 bits, 1 to 1000"))?,
            _ => return Err(DescriptionError::Unknown { node, property: short(property) }),
        }
        Ok(())
    }
}

fn not_shared(node: Name, property: &str) -> DescriptionError {
    DescriptionError::Value { node, property: short(property), wanted: "together with power = \"core\"" }
}

fn is_service_partition(node: FdtNode<'_>) -> bool {
    let compatible = node.properties().find(|property| property.name() == "compatible");
    compatible.is_some_and(|property| text(property.value()) == Some(COMPATIBLE))
}

/// A single string.
fn text(value: &[u8]) -> Option<&str> {
    let (&last, text) = value.split_last()?;
    let plain = last == 0 && !text.is_empty() && !text.contains(&0);
    core::str::from_utf8(text).ok().filter(|_| plain)
}

/// A single 32-bit cell.
fn number(value: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(value.try_into().ok()?))
}

fn milliseconds(value: &[u8]) -> Option<u64> {
    number(value).filter(|ms| (1..=3_600_000).contains(ms)).map(|ms| u64::from(ms) * MS)
}

fn memory(value: &[u8]) -> Option<u64> {
    let bytes = u64::from_be_bytes(value.try_into().ok()?);
    (bytes.is_power_of_two() && (MEMORY_UNIT..=MEMORY_MAX).contains(&bytes)).then_some(bytes)
}

#[cfg(test)]
mod tests;
