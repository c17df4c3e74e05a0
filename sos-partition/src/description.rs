//! System description to guests' specs.
//!
//! The description is the boot archive's member `system.dtb`; its bindings are in `dts/bindings`.
//! What the bindings do not know is an error that names node and property, so that a misspelled
//! property never goes unnoticed. Of `/service-partition` EL2 reads the properties, but for those of its network.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use dtoolkit::fdt::{Fdt, FdtNode, FdtProperty};
use dtoolkit::{Node, Property};
use hv_abi::message::{ImageFormat, MissedPolicy, RestartPolicy, VmSpec};

use crate::shared::SharedError;
use crate::spec::{self, SpecError};

mod disks;
mod network;
mod nics;
mod problem;
mod share;
mod shared;

pub use network::NetworkSpec;
use nics::Networks;
pub use problem::PropertyProblem;
use shared::Regions;

/// The member of the boot archive that holds the description.
pub const FILE: &str = "system.dtb";
/// Most bytes that a description has.
pub const SIZE_MAX: usize = 64 * 1024;
/// Most guests in a description.
pub const GUESTS_MAX: usize = 64;

/// What is wrong with the description, and where.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DescriptionError {
    /// The archive has none.
    #[error("{FILE} is not in the boot archive")]
    Missing,
    /// More bytes than a description may have.
    #[error("{FILE}: {0} bytes, at most {SIZE_MAX}")]
    TooBig(usize),
    /// Not a device tree.
    #[error("{FILE}: no valid device tree: {0}")]
    Tree(String),
    /// A node that must be there.
    #[error("{FILE}: {0}: node is missing")]
    NodeMissing(&'static str),
    /// A node that no binding knows.
    #[error("{FILE}: {0}: unknown node")]
    UnknownNode(String),
    /// A node twice.
    #[error("{FILE}: {0}: node is there twice")]
    NodeTwice(String),
    /// More networks than EL2 has.
    #[error("{FILE}: /networks: more than 7 networks without uplink")]
    TooManyNetworks,
    /// A second network with the board's network card.
    #[error("{FILE}: {0}: another network has the uplink")]
    UplinkTwice(String),
    /// More guests than [`GUESTS_MAX`].
    #[error("{FILE}: /guests: more than {GUESTS_MAX} guests")]
    TooManyGuests,
    /// Something about a property.
    #[error("{FILE}: {node}: property {property:?}: {problem}")]
    Property {
        /// Path of its node.
        node: String,
        /// Its name.
        property: String,
        /// What is wrong with it.
        problem: PropertyProblem,
    },
    /// A guest with a value that is not allowed.
    #[error("{FILE}: {node}: {error}")]
    Spec {
        /// Path of its node.
        node: String,
        /// What is wrong.
        error: SpecError,
    },
}

type Result<T> = core::result::Result<T, DescriptionError>;

/// What a description says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Description {
    /// The guests, in its order.
    pub guests: Vec<VmSpec>,
    /// The service partition's place in a network, where it has one.
    pub network: Option<NetworkSpec>,
}

/// Reads a description.
///
/// # Errors
/// The first thing that is wrong.
pub fn parse(dtb: &[u8]) -> Result<Description> {
    if dtb.len() > SIZE_MAX {
        return Err(DescriptionError::TooBig(dtb.len()));
    }
    let tree = Fdt::new(dtb).map_err(|error| DescriptionError::Tree(format!("{error}")))?;
    let root = tree.root();
    let mut reader = Reader::new("/", &root);
    reader.constant("compatible", "dormouse,system")?;
    reader.optional_string("model")?;
    reader.finish()?;
    let (mut partition, mut guests, mut regions, mut networks) = (None, None, None, None);
    for node in root.children() {
        let place = match node.name() {
            "service-partition" => &mut partition,
            "guests" => &mut guests,
            "shared-memory" => &mut regions,
            "networks" => &mut networks,
            name => return Err(DescriptionError::UnknownNode(path("/", name))),
        };
        if place.replace(node).is_some() {
            return Err(DescriptionError::NodeTwice(path("/", node.name())));
        }
    }
    let regions = regions.map_or_else(|| Ok(Regions::default()), |node| Regions::parse(&node))?;
    let networks = networks.map_or_else(|| Ok(Networks::default()), |node| Networks::parse(&node))?;
    let partition = partition.ok_or(DescriptionError::NodeMissing("/service-partition"))?;
    let network = parse_partition(&partition, &networks)?;
    let guests = guests.map_or(Ok(Vec::new()), |node| parse_guests(&node, regions, &networks))?;
    Ok(Description { guests, network })
}

/// The properties of the service partition's node, which EL2 reads and checks.
const PARTITION: [&str; 13] = [
    "image",
    "memory",
    "idle-timeout-ms",
    "boot-timeout-ms",
    "max-busy-ms",
    "power",
    "core-cpu",
    "core-lend",
    "wakes-per-minute",
    "wake-burst",
    "when-idle",
    "console-escape",
    "console-first",
];

fn parse_partition(node: &FdtNode<'_>, networks: &Networks) -> Result<Option<NetworkSpec>> {
    let mut reader = Reader::new("/service-partition", node);
    reader.constant("compatible", "dormouse,service-partition")?;
    for name in PARTITION {
        reader.take(name)?;
    }
    let network = network::parse(&mut reader, networks)?;
    reader.finish()?;
    no_children("/service-partition", node)?;
    Ok(network)
}

fn parse_guests(node: &FdtNode<'_>, mut regions: Regions, networks: &Networks) -> Result<Vec<VmSpec>> {
    Reader::new("/guests", node).finish()?;
    let mut guests: Vec<VmSpec> = Vec::new();
    for child in node.children() {
        let guest = path("/guests/", child.name());
        if guests.len() == GUESTS_MAX {
            return Err(DescriptionError::TooManyGuests);
        }
        if guests.iter().any(|earlier| earlier.name == child.name()) {
            return Err(DescriptionError::NodeTwice(guest));
        }
        let mut spec = parse_guest(&guest, &child, &regions, networks)?;
        let refuse = |error: SharedError| DescriptionError::Spec { node: guest.clone(), error: error.into() };
        regions.number(&mut spec).map_err(refuse)?;
        guests.push(spec);
    }
    Ok(guests)
}

fn parse_guest(at: &str, node: &FdtNode<'_>, regions: &Regions, networks: &Networks) -> Result<VmSpec> {
    let [disks, nics] = children(at, node, ["disks", "nics"])?;
    let mut reader = Reader::new(at, node);
    reader.constant("compatible", "dormouse,guest")?;
    let memory = reader.required("memory")?;
    let image = reader.required("image")?;
    let spec = VmSpec {
        name: node.name().to_owned(),
        memory: reader.u64(&memory)?,
        vcpus: reader.small("vcpus", 1, SpecError::Vcpus)?,
        image: reader.string(&image)?.to_owned(),
        format: parse_format(&mut reader)?,
        initrd: reader.optional_string("initrd")?,
        bootargs: reader.optional_string("bootargs")?.unwrap_or_default(),
        autostart: reader.flag("autostart")?,
        grants: reader.strings("grants")?,
        ports: reader.small("ports", 0, SpecError::Ports)?,
        watchdog: reader.flag("watchdog")?,
        cpu: share::parse(&mut reader)?,
        restart: parse_restart(&mut reader)?,
        restart_limit: reader.u32("restart-limit")?.unwrap_or(0),
        shared: regions.of_guest(&mut reader)?,
        disks: disks.map_or(Ok(Vec::new()), |(path, node)| disks::parse(&path, &node))?,
        nics: nics.map_or(Ok(Vec::new()), |(path, node)| nics::parse(&path, &node, networks))?,
        rng: reader.flag("rng")?,
        guarantee: reader.take("memory-guarantee")?.map(|found| reader.u64(&found)).transpose()?,
        memory_missed: parse_missed(&mut reader)?,
    };
    reader.finish()?;
    spec::check(&spec).map_err(|error| reader.spec(error))?;
    Ok(spec)
}

fn parse_format(reader: &mut Reader<'_>) -> Result<ImageFormat> {
    let format = reader.optional_string("image-format")?;
    let address = reader.take("load-address")?;
    match (format.as_deref(), address) {
        (None | Some("linux"), None) => Ok(ImageFormat::Linux),
        (None | Some("linux"), Some(found)) => Err(reader.problem(found.name(), PropertyProblem::NotForLinux)),
        (Some("raw"), Some(found)) => Ok(ImageFormat::Raw { load_address: reader.u64(&found)? }),
        (Some("raw"), None) => Err(reader.problem("load-address", PropertyProblem::Missing)),
        (Some(_), _) => Err(reader.problem("image-format", PropertyProblem::NotFormat)),
    }
}

fn parse_restart(reader: &mut Reader<'_>) -> Result<RestartPolicy> {
    let policy = reader.optional_string("restart")?;
    match policy.as_deref() {
        None | Some("never") => Ok(RestartPolicy::Never),
        Some("on-failure") => Ok(RestartPolicy::OnFailure),
        Some("always") => Ok(RestartPolicy::Always),
        Some(_) => Err(reader.problem("restart", PropertyProblem::NotRestart)),
    }
}

fn parse_missed(reader: &mut Reader<'_>) -> Result<MissedPolicy> {
    let policy = reader.optional_string("memory-missed")?;
    match policy.as_deref() {
        None | Some("refuse") => Ok(MissedPolicy::Refuse),
        Some("pause") => Ok(MissedPolicy::Pause),
        Some("kill") => Ok(MissedPolicy::Kill),
        Some(_) => Err(reader.problem("memory-missed", PropertyProblem::NotMissed)),
    }
}

/// The children of these names, with their paths; there may be no other.
fn children<'t, const N: usize>(
    at: &str,
    node: &FdtNode<'t>,
    names: [&str; N],
) -> Result<[Option<(String, FdtNode<'t>)>; N]> {
    let mut found = [const { None }; N];
    for child in node.children() {
        let path = format!("{at}/{}", child.name());
        let Some(index) = names.iter().position(|name| *name == child.name()) else {
            return Err(DescriptionError::UnknownNode(path));
        };
        if found[index].is_some() {
            return Err(DescriptionError::NodeTwice(path));
        }
        found[index] = Some((path, child));
    }
    Ok(found)
}

fn no_children(at: &str, node: &FdtNode<'_>) -> Result<()> {
    match node.children().next() {
        None => Ok(()),
        Some(child) => Err(DescriptionError::UnknownNode(format!("{at}/{}", child.name()))),
    }
}

fn path(parent: &str, name: &str) -> String {
    format!("{parent}{name}")
}

/// A node whose properties are taken one by one; what is left at the end is unknown.
struct Reader<'a> {
    path: &'a str,
    left: Vec<FdtProperty<'a>>,
}

impl<'a> Reader<'a> {
    fn new(path: &'a str, node: &FdtNode<'a>) -> Self {
        let mut left = Vec::with_capacity(16);
        left.extend(node.properties());
        Self { path, left }
    }

    fn problem(&self, property: &str, problem: PropertyProblem) -> DescriptionError {
        DescriptionError::Property { node: self.path.to_owned(), property: property.to_owned(), problem }
    }

    fn spec(&self, error: SpecError) -> DescriptionError {
        DescriptionError::Spec { node: self.path.to_owned(), error }
    }

    fn take(&mut self, name: &str) -> Result<Option<FdtProperty<'a>>> {
        let Some(index) = self.left.iter().position(|found| found.name() == name) else {
            return Ok(None);
        };
        let found = self.left.remove(index);
        if self.left.iter().any(|other| other.name() == name) {
            return Err(self.problem(name, PropertyProblem::Twice));
        }
        Ok(Some(found))
    }

    fn required(&mut self, name: &str) -> Result<FdtProperty<'a>> {
        self.take(name)?.ok_or_else(|| self.problem(name, PropertyProblem::Missing))
    }

    fn constant(&mut self, name: &'static str, value: &'static str) -> Result<()> {
        let found = self.required(name)?;
        if self.string(&found)? == value {
            Ok(())
        } else {
            Err(self.problem(name, PropertyProblem::NotConstant(value)))
        }
    }

    fn u64(&self, found: &FdtProperty<'_>) -> Result<u64> {
        let bytes = found.value().try_into();
        bytes.map(u64::from_be_bytes).map_err(|_| self.problem(found.name(), PropertyProblem::NotU64))
    }

    fn u32(&mut self, name: &str) -> Result<Option<u32>> {
        let Some(found) = self.take(name)? else {
            return Ok(None);
        };
        let number = found.value().try_into().map(u32::from_be_bytes);
        number.map(Some).map_err(|_| self.problem(name, PropertyProblem::NotU32))
    }

    /// A 32-bit number whose allowed values fit a byte; `refuse` makes the error for one that does not.
    fn small(&mut self, name: &str, default: u8, refuse: fn(u32) -> SpecError) -> Result<u8> {
        let Some(number) = self.u32(name)? else {
            return Ok(default);
        };
        u8::try_from(number).map_err(|_| self.spec(refuse(number)))
    }

    fn string<'p>(&self, found: &'p FdtProperty<'_>) -> Result<&'p str> {
        let (last, text) = found.value().split_last().unwrap_or((&1, &[]));
        let text = core::str::from_utf8(text).ok();
        text.filter(|text| *last == 0 && !text.contains('\0'))
            .ok_or_else(|| self.problem(found.name(), PropertyProblem::NotString))
    }

    fn optional_string(&mut self, name: &str) -> Result<Option<String>> {
        self.take(name)?.map(|found| self.string(&found).map(str::to_owned)).transpose()
    }

    fn strings(&mut self, name: &str) -> Result<Vec<String>> {
        let Some(found) = self.take(name)? else {
            return Ok(Vec::new());
        };
        let list = found.value().split_last().and_then(|(last, text)| {
            let text = core::str::from_utf8(text).ok()?;
            (*last == 0).then(|| text.split('\0').map(str::to_owned).collect())
        });
        list.ok_or_else(|| self.problem(name, PropertyProblem::NotStrings))
    }

    fn flag(&mut self, name: &str) -> Result<bool> {
        match self.take(name)? {
            None => Ok(false),
            Some(found) if found.value().is_empty() => Ok(true),
            Some(_) => Err(self.problem(name, PropertyProblem::NotFlag)),
        }
    }

    fn finish(&self) -> Result<()> {
        match self.left.first() {
            None => Ok(()),
            Some(found) => Err(self.problem(found.name(), PropertyProblem::Unknown)),
        }
    }
}

#[cfg(test)]
mod tests;
