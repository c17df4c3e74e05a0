//! The node `disks` of a guest.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::vec::Vec;

use dtoolkit::Node;
use dtoolkit::fdt::FdtNode;
use hv_abi::message::DiskSpec;

use super::{Reader, Result, no_children};
use crate::disks::DiskError;

/// The disks in a guest's node `disks`.
pub(super) fn parse(path: &str, node: &FdtNode<'_>) -> Result<Vec<DiskSpec>> {
    Reader::new(path, node).finish()?;
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
    let disk = DiskSpec {
        name,
        drive,
        first: first?,
        sectors: sectors?,
        writable: !reader.flag("read-only")?,
        iops: reader.u32("max-iops")?.unwrap_or(0),
        kbytes_per_s: reader.u32("max-kbytes-per-s")?.unwrap_or(0),
        partition: reader.optional_string("partition")?,
    };
    reader.finish()?;
    Ok(disk)
}
