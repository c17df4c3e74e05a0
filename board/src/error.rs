//! What can be wrong with a device tree, said with the names of the node and the property.

use core::fmt::{self, Write};

use arrayvec::ArrayString;
use dtoolkit::error::FdtParseError;
use hv_core::addr::Pa;
use thiserror::Error;

/// Longest path that an error quotes in full; a longer one ends in `...`.
const MAX_PATH: usize = 72;

/// The path of a node, for people to read.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct NodePath(ArrayString<MAX_PATH>);

impl NodePath {
    /// The path of the names from the root down, the root's own empty name left out.
    pub(crate) fn from_names<'a>(names: impl Iterator<Item = fdt::nodes::NodeName<'a>>) -> Self {
        let mut path = Self::default();
        for name in names {
            if write!(path.0, "/{name}").is_err() {
                path.cut();
                return path;
            }
        }
        if path.0.is_empty() {
            path.0.push('/');
        }
        path
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Replaces the end by dots. Node names are ASCII (the gate has checked that), so any cut is legal.
    fn cut(&mut self) {
        const DOTS: &str = "...";
        self.0.truncate(MAX_PATH - DOTS.len());
        self.0.push_str(DOTS);
    }
}

impl fmt::Display for NodePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for NodePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.0.as_str(), f)
    }
}

/// What is wrong with a property.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Fault {
    /// It is not there.
    #[error("is missing")]
    Missing,
    /// Its length does not fit what it holds.
    #[error("has {0} bytes, which is no whole number of entries")]
    Length(usize),
    /// It gives cells by a count that no address of this machine has.
    #[error("is {0} cells, more than an address has")]
    Cells(u32),
    /// A range in it passes the end of the address space.
    #[error("names a range that passes the end of the address space")]
    Wraps,
    /// Its address cannot be reached by the CPUs: a bus above it has no fitting `ranges`.
    #[error("names an address that no `ranges` of the buses above translates")]
    Unreachable,
    /// It has a value that the binding does not allow.
    #[error("has the value {0:#x}, which is not allowed here")]
    Value(u64),
    /// It has a word that the binding does not allow.
    #[error("has a value that is not known here")]
    Unknown,
}

/// Why a device tree is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TreeError {
    /// The first bytes are not those of a flattened device tree.
    #[error("device tree: magic {0:#010x} instead of 0xd00dfeed")]
    Magic(u32),
    /// The header's size is none that a tree can have (booting.rst of Linux: at most 2 MiB).
    #[error("device tree: its header says {0} bytes")]
    Size(u32),
    /// The blob's structure is damaged.
    #[error("device tree: {0}")]
    Damaged(FdtParseError),
    /// The structure block is damaged in a way that only the walk notices.
    #[error("device tree: the structure block is damaged")]
    Structure,
    /// Nodes are nested deeper than any board's.
    #[error("{path}: nodes are nested too deep")]
    Depth {
        /// The first node that lies too deep.
        path: NodePath,
    },
    /// A property is wrong.
    #[error("{path}: property `{property}` {fault}")]
    Property {
        /// The node.
        path: NodePath,
        /// The property.
        property: &'static str,
        /// What is wrong with it.
        fault: Fault,
    },
    /// There is more of something than EL2 has room for.
    #[error("{path}: more than {max} {what}")]
    TooMany {
        /// The node that is one too many.
        path: NodePath,
        /// What there is too much of.
        what: &'static str,
        /// How many there may be.
        max: usize,
    },
    /// Something that every board has is not described.
    #[error("device tree: no {0}")]
    Absent(&'static str),
    /// Two memory banks share an address.
    #[error("device tree: two memory banks hold {0}")]
    MemoryTwice(Pa),
    /// Two CPUs have one affinity.
    #[error("device tree: two CPUs have the affinity {0:#x}")]
    CpuTwice(u64),
    /// A range of `/memreserve/` passes the end of the address space.
    #[error("device tree: the memory reservation at {0} passes the end of the address space")]
    ReservationWraps(Pa),
}

#[cfg(test)]
mod tests {
    use super::*;
    use fdt::nodes::NodeName;

    #[test]
    fn a_path_names_each_node_and_the_root_is_a_slash() {
        let names = [NodeName::new("soc", None), NodeName::new("serial", Some("7e201000"))];
        let path = NodePath::from_names(names.into_iter());
        assert_eq!(path.as_str(), "/soc/serial@7e201000");
        assert_eq!(NodePath::from_names(core::iter::empty()).as_str(), "/");
    }

    #[test]
    fn a_path_too_long_ends_in_dots_and_keeps_its_start() {
        let name = NodeName::new("a-rather-long-name-of-a-node", Some("12345678"));
        let path = NodePath::from_names([name; 4].into_iter());
        assert!(path.as_str().len() <= MAX_PATH);
        assert!(path.as_str().starts_with("/a-rather-long-name-of-a-node@12345678/a-"));
        assert!(path.as_str().ends_with("..."));
    }

    #[test]
    fn a_property_error_reads_as_node_property_reason() {
        let path = NodePath::from_names([NodeName::new("memory", Some("40000000"))].into_iter());
        let error = TreeError::Property { path, property: "reg", fault: Fault::Length(7) };
        assert_eq!(
            error.to_string(),
            "/memory@40000000: property `reg` has 7 bytes, which is no whole number of entries"
        );
    }
}
