//! The boot archive: newc with each member's data on a page, so that EL2 can map members in place.
//!
//! A member's data is moved to the next page by lengthening its own name field with NULs; plain
//! `cpio` and Linux read such an archive as any other.

use crate::error::{Error, Result};
use crate::newc::{HEADER_SIZE, Member, REGULAR, TRAILER, Writer};

/// Where data starts: a multiple of this.
pub(crate) const PAGE: usize = 4096;
/// Linux passes over members with a longer name field (PATH_MAX).
const NAME_FIELD_MAX: usize = 4096;
/// Names are kept short, so that one filler is always enough to get below [`NAME_FIELD_MAX`].
const NAME_MAX: usize = 63;
/// Start of the names of empty members that only take up space.
const FILLER: &str = ".pad";

/// A member to be: name and contents.
pub(crate) type NamedData = (String, Vec<u8>);

/// Builds the archive.
pub(crate) fn build(members: &[NamedData]) -> Result<Vec<u8>> {
    let mut writer = Writer::default();
    let mut fillers = 0;
    for (index, (name, data)) in members.iter().enumerate() {
        let fail = |problem| Error::Member { name: name.clone(), problem };
        check_name(name).map_err(fail)?;
        if members[..index].iter().any(|(earlier, _)| earlier == name) {
            return Err(fail("is given twice"));
        }
        if name_field(writer.offset(), name) > NAME_FIELD_MAX {
            let filler = format!("{FILLER}{fillers}");
            fillers += 1;
            let fits = writer.push(&file(&filler, &[]));
            debug_assert!(fits);
        }
        let field = name_field(writer.offset(), name);
        if !writer.push_with_name_size(&file(name, data), field) {
            return Err(fail("is 4 GiB or longer"));
        }
    }
    Ok(writer.finish())
}

/// Bytes of the name field that put the data of the member whose header is at `offset` on a page.
fn name_field(offset: usize, name: &str) -> usize {
    let name_start = offset + HEADER_SIZE;
    (name_start + name.len() + 1).next_multiple_of(PAGE) - name_start
}

fn file<'a>(name: &'a str, data: &'a [u8]) -> Member<'a> {
    Member { name, mode: REGULAR | 0o644, device: (0, 0), data }
}

fn check_name(name: &str) -> std::result::Result<(), &'static str> {
    if name.is_empty() || name.len() > NAME_MAX {
        return Err("a name has 1 to 63 characters");
    }
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-+".contains(&byte)) {
        return Err("a name consists of letters, digits and `._-+`");
    }
    if name == TRAILER || name.starts_with(FILLER) {
        return Err("this name has a meaning in the archive itself");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
