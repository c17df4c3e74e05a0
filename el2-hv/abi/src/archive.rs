//! The boot archive: cpio, "newc" format, as Linux takes an initrd (Documentation/driver-api/early-userspace/buffer-format).
//!
//! Each member: a header of 110 ASCII characters (magic `070701`, thirteen numbers of eight hex
//! digits), the name with a NUL, padding to 4, the data, padding to 4. The member `TRAILER!!!` ends it.

use zerocopy::FromBytes;

/// Bytes of a member's header.
const HEADER: usize = 110;
/// Name of the last member.
const TRAILER: &str = "TRAILER!!!";

/// What is wrong with an archive, and where.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It ends inside a member.
    #[error("archive ends inside the member at byte {0}")]
    Short(usize),
    /// A member does not begin with `070701`.
    #[error("no cpio (newc) header at byte {0}")]
    Magic(usize),
    /// A number in a header is no hexadecimal number.
    #[error("damaged header at byte {0}")]
    Number(usize),
    /// A name that does not end where its header says, or is not UTF-8.
    #[error("damaged name in the member at byte {0}")]
    Name(usize),
    /// No trailer.
    #[error("archive has no trailer (TRAILER!!!)")]
    Trailer,
    /// The same name twice.
    #[error("member at byte {0} has the name of an earlier one")]
    Duplicate(usize),
    /// The member that was looked for is not there.
    #[error("archive has no such member")]
    Missing,
}

/// A file in the archive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Member<'a> {
    /// Its name.
    pub name: &'a str,
    /// Offset of its data in the archive.
    pub offset: usize,
    /// Its data.
    pub data: &'a [u8],
}

/// An archive whose structure was checked from the first member to the trailer.
#[derive(Clone, Copy, Debug)]
pub struct Archive<'a> {
    bytes: &'a [u8],
}

impl<'a> Archive<'a> {
    /// Checks the structure of `bytes`: every magic, number, length and name, no name twice, the trailer.
    ///
    /// # Errors
    /// The first thing that is wrong, with its place.
    pub fn check(bytes: &'a [u8]) -> Result<Self, ArchiveError> {
        let archive = Self { bytes };
        let mut at = 0;
        while let Some((member, next)) = member_at(bytes, at, whole_name)? {
            let twin = archive
                .members()
                .take_while(|earlier| earlier.offset < member.offset)
                .any(|earlier| earlier.name == member.name);
            if twin {
                return Err(ArchiveError::Duplicate(at));
            }
            at = next;
        }
        Ok(archive)
    }

    /// The archive in `bytes`, which [`Archive::check`] has passed before; damage ends the list of members early.
    pub const fn trusted(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// Its members.
    pub fn members(&self) -> impl Iterator<Item = Member<'a>> + use<'a> {
        let bytes = self.bytes;
        let mut at = 0;
        core::iter::from_fn(move || {
            let (member, next) = member_at(bytes, at, name).ok()??;
            at = next;
            Some(member)
        })
    }

    /// The member with that name.
    ///
    /// # Errors
    /// [`ArchiveError::Missing`].
    pub fn find(&self, name: &str) -> Result<Member<'a>, ArchiveError> {
        self.members().find(|member| member.name == name).ok_or(ArchiveError::Missing)
    }
}

/// The member at `at`, whose name `name` finds in its field, and the offset of the next; `None` at the trailer.
fn member_at(
    bytes: &[u8],
    at: usize,
    name: fn(&[u8]) -> Option<&str>,
) -> Result<Option<(Member<'_>, usize)>, ArchiveError> {
    if at >= bytes.len() {
        return Err(ArchiveError::Trailer);
    }
    let header = bytes.get(at..at + HEADER).ok_or(ArchiveError::Short(at))?;
    if !header.starts_with(b"070701") {
        return Err(ArchiveError::Magic(at));
    }
    let data_size = number(header, 6).ok_or(ArchiveError::Number(at))?;
    let name_size = number(header, 11).ok_or(ArchiveError::Number(at))?;
    let name_start = at + HEADER;
    let name_end = name_start.checked_add(name_size).ok_or(ArchiveError::Short(at))?;
    let name = name(bytes.get(name_start..name_end).ok_or(ArchiveError::Short(at))?).ok_or(ArchiveError::Name(at))?;
    if name == TRAILER {
        return Ok(None);
    }
    let offset = name_end.next_multiple_of(4);
    let end = offset.checked_add(data_size).ok_or(ArchiveError::Short(at))?;
    let data = bytes.get(offset..end).ok_or(ArchiveError::Short(at))?;
    Ok(Some((Member { name, offset, data }, end.next_multiple_of(4))))
}

/// Number `index` of a header: eight hex digits.
fn number(header: &[u8], index: usize) -> Option<usize> {
    let digits = header.get(6 + index * 8..)?.get(..8)?;
    digits.iter().try_fold(0usize, |value, &digit| {
        let digit = char::from(digit).to_digit(16)?;
        Some(value << 4 | digit as usize)
    })
}

/// Whether all bytes are zero. Names are padded by a page to align the data behind them: where words are aligned
/// they are looked at as such.
fn is_zero(bytes: &[u8]) -> bool {
    let (head, rest) = bytes.split_at(bytes.as_ptr().align_offset(8).min(bytes.len()));
    let (middle, tail) = rest.split_at(rest.len() & !7);
    match <[u64]>::ref_from_bytes(middle) {
        Ok(words) => words.iter().all(|&word| word == 0) && head.iter().chain(tail).all(|&byte| byte == 0),
        Err(_) => bytes.iter().all(|&byte| byte == 0),
    }
}

/// The name in its field: up to the first NUL.
fn name(field: &[u8]) -> Option<&str> {
    let end = field.iter().position(|&byte| byte == 0).filter(|&end| end != 0)?;
    core::str::from_utf8(&field[..end]).ok()
}

/// The same where behind it are only NULs, which a writer may use to align the data.
fn whole_name(field: &[u8]) -> Option<&str> {
    name(field).filter(|name| is_zero(&field[name.len()..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;
    use std::vec::Vec;

    /// A writer by the format's description, independent of the image tool.
    fn write(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut out = Vec::new();
        for (name, data) in members.iter().copied().chain([(TRAILER, &b""[..])]) {
            let numbers = [1, 0o100644, 0, 0, 1, 0, data.len(), 0, 0, 0, 0, name.len() + 1, 0];
            out.extend_from_slice(b"070701");
            numbers.iter().for_each(|number| out.extend_from_slice(format!("{number:08x}").as_bytes()));
            out.extend_from_slice(name.as_bytes());
            out.push(0);
            out.resize(out.len().next_multiple_of(4), 0);
            out.extend_from_slice(data);
            out.resize(out.len().next_multiple_of(4), 0);
        }
        out
    }

    #[test]
    fn members_are_found_with_their_data() {
        let bytes = write(&[("system.dtb", b"tree"), ("sos.img", b"image!"), ("empty", b"")]);
        let archive = Archive::check(&bytes).unwrap();
        let member = archive.find("sos.img").unwrap();
        assert_eq!(member.data, b"image!");
        assert_eq!(&bytes[member.offset..][..6], b"image!");
        assert_eq!(archive.members().count(), 3);
        assert_eq!(archive.find("nothing"), Err(ArchiveError::Missing));
    }

    #[test]
    fn each_damage_is_named_with_its_place() {
        let good = write(&[("a", b"12345"), ("b", b"6")]);
        let second = good.windows(6).enumerate().filter(|(_, w)| w == b"070701").nth(1).unwrap().0;
        let mut bad = good.clone();
        bad[second] = b'1';
        assert_eq!(Archive::check(&bad).err(), Some(ArchiveError::Magic(second)));
        let mut bad = good.clone();
        bad[second + 6 + 6 * 8] = b'x';
        assert_eq!(Archive::check(&bad).err(), Some(ArchiveError::Number(second)));
        let mut bad = good.clone();
        bad[second + 6 + 6 * 8] = b'7';
        assert_eq!(Archive::check(&bad).err(), Some(ArchiveError::Short(second)));
        assert_eq!(Archive::check(&good[..second]).err(), Some(ArchiveError::Trailer));
        assert_eq!(Archive::check(&good[..second + 50]).err(), Some(ArchiveError::Short(second)));
        assert_eq!(Archive::check(&[]).err(), Some(ArchiveError::Trailer));
        let mut bad = good;
        bad[second + HEADER + 1] = b'c';
        assert_eq!(Archive::check(&bad).err(), Some(ArchiveError::Name(second)));
        let twins = write(&[("a", b"1"), ("a", b"2")]);
        assert!(matches!(Archive::check(&twins), Err(ArchiveError::Duplicate(_))));
    }

    #[test]
    fn mutated_archives_never_give_data_outside_themselves() {
        let good = write(&[("system.dtb", &[7; 300]), ("sos.img", &[8; 1000]), ("x", b"y")]);
        let mut random = 0x1234_5678_9abc_def1u64;
        for _ in 0..50_000 {
            let mut bytes = good.clone();
            for _ in 0..4 {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                let place = (random % bytes.len() as u64) as usize;
                bytes[place] = (random >> 40) as u8;
            }
            bytes.truncate(bytes.len() - (random % 40) as usize);
            if let Ok(archive) = Archive::check(&bytes) {
                let members: std::vec::Vec<_> = archive.members().collect();
                for (i, member) in members.iter().enumerate() {
                    assert_eq!(&bytes[member.offset..member.offset + member.data.len()], member.data);
                    for other in &members[..i] {
                        assert!(other.offset + other.data.len() <= member.offset, "they overlap");
                        assert_ne!(other.name, member.name);
                    }
                }
            }
        }
    }
}
