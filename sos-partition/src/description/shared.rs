//! The node `shared-memory`, and the properties of guests that name its regions.

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;

use dtoolkit::Node;
use dtoolkit::fdt::FdtNode;
use hv_abi::guest_map::SHARED_USERS;
use hv_abi::message::{SharedMemory, VmSpec};

use super::{DescriptionError, Reader, Result, no_children, path};
use crate::shared::{self, SharedError};

/// Regions, and how many guests had each so far.
#[derive(Default)]
pub(super) struct Regions(Vec<(SharedMemory, u8)>);

impl Regions {
    /// Those of the node.
    pub(super) fn parse(node: &FdtNode<'_>) -> Result<Self> {
        Reader::new("/shared-memory", node).finish()?;
        let mut regions = Vec::new();
        for child in node.children() {
            let at = path("/shared-memory/", child.name());
            if regions.iter().any(|(other, _): &(SharedMemory, u8)| other.name == child.name()) {
                return Err(DescriptionError::NodeTwice(at));
            }
            no_children(&at, &child)?;
            let mut reader = Reader::new(&at, &child);
            reader.constant("compatible", "dormouse,shared-memory")?;
            let size = reader.required("size")?;
            let bytes = reader.u64(&size)?;
            reader.finish()?;
            let region = SharedMemory { name: child.name().to_owned(), bytes, writable: false, number: 0 };
            let problem = SharedError::Region(region.name.clone());
            shared::region(&region).ok_or_else(|| reader.spec(problem.into()))?;
            regions.push((region, 0));
        }
        Ok(Self(regions))
    }

    /// What a guest has: first those that it may write to.
    pub(super) fn of_guest(&self, reader: &mut Reader<'_>) -> Result<Vec<SharedMemory>> {
        let mut shared = Vec::new();
        for (property, writable) in [("shared-memory", true), ("shared-memory-read-only", false)] {
            for name in reader.strings(property)? {
                let region = self.0.iter().find(|(region, _)| region.name == name);
                let (region, _) = region.ok_or_else(|| reader.spec(SharedError::Unknown(name).into()))?;
                shared.push(SharedMemory { writable, ..region.clone() });
            }
        }
        Ok(shared)
    }

    /// Numbers a guest among those that have its regions, by the order of the description.
    pub(super) fn number(&mut self, spec: &mut VmSpec) -> core::result::Result<(), SharedError> {
        for own in &mut spec.shared {
            for (region, count) in self.0.iter_mut().filter(|(region, _)| region.name == own.name) {
                if usize::from(*count) == SHARED_USERS {
                    return Err(SharedError::TooManyUsers(String::from(&*region.name)));
                }
                own.number = *count;
                *count += 1;
            }
        }
        Ok(())
    }
}
