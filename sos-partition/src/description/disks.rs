//! The node `disks` of a guest.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::vec::Vec;

use dtoolkit::Node;
use dtoolkit::fdt::FdtNode;
use hv_abi::message::DiskSpec;

use super::{DescriptionError, Reader, Result, no_children};
use crate::disks::DiskError;

/// The disks of the guest at `at`, whose only child may be `disks`.
pub(super) fn parse(at: &str, guest: &FdtNode<'_>) -> Result<Vec<DiskSpec>> {
    let mut found = None;
    for child in guest.children() {
        let path = format!("{at}/{}", child.name());
        if child.name() != "disks" {
            return Err(DescriptionError::UnknownNode(path));
        }
        if found.replace(child).is_some() {
            return Err(DescriptionError::NodeTwice(path));
        }
    }
    let Some(node) = found else {
        return Ok(Vec::new());
    };
    let path = format!("{at}/disks");
    Reader::new(&path, &node).finish()?;
    node.children().map(|disk| parse_disk(&format!("{path}/{}", disk.name()), &disk)).collect()
}

fn parse_disk(at: &str, node: &FdtNode<'_>) -> Result<DiskSpec> {
    no_children(at, node)?;
    let mut reader = Reader::new(at, node);
    reader.constant("compatible", "dormouse,disk")?;
    let name = node.name().to_owned();
    let drive = reader.u32("drive")?.unwrap_or(0);
    let wrong = || reader.spec(DiskError::Drive(name.clone(), drive).into());
    let drive = u8::try_from(drive).map_err(|_| wrong())?;
    let [first, sectors] = ["first-sector", "sectors"].map(|property| {
        let found = reader.take(property)?;
        found.map_or(Ok(0), |found| reader.u64(&found))
    });
    let disk = DiskSpec { name, drive, first: first?, sectors: sectors?, writable: !reader.flag("read-only")? };
    reader.finish()?;
    Ok(disk)
}
