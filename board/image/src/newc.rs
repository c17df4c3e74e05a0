//! Writing cpio archives in the "newc" format (cpio(5), "New ASCII Format").
//!
//! A header of 110 bytes, the name with its NUL, zeroes up to a multiple of 4, the data, zeroes up
//! to a multiple of 4. Everything that differs between runs (times, owners, inodes of the host) is
//! fixed, so that the same input gives the same archive.

/// Bytes of a header.
pub(crate) const HEADER_SIZE: usize = 110;

/// A regular file, for [`Member::mode`].
pub(crate) const REGULAR: u32 = 0o100000;
/// A directory.
pub(crate) const DIRECTORY: u32 = 0o040000;
/// A symbolic link; its data is the target.
pub(crate) const SYMLINK: u32 = 0o120000;
/// A character device.
pub(crate) const CHARACTER: u32 = 0o020000;
/// A block device.
pub(crate) const BLOCK: u32 = 0o060000;

/// One entry.
pub(crate) struct Member<'a> {
    /// Path, without a leading `/`.
    pub(crate) name: &'a str,
    /// Kind and permissions.
    pub(crate) mode: u32,
    /// Major and minor number of a device, else 0.
    pub(crate) device: (u32, u32),
    /// The contents.
    pub(crate) data: &'a [u8],
}

/// An archive under construction.
#[derive(Default)]
pub(crate) struct Writer {
    out: Vec<u8>,
    members: u32,
}

impl Writer {
    /// Bytes so far, a multiple of 4: where the next header goes.
    pub(crate) fn offset(&self) -> usize {
        self.out.len()
    }

    /// Appends `member` with a name field of exactly its name and one NUL.
    ///
    /// `false` if its data is longer than the format's 32-bit size field can say.
    #[must_use]
    pub(crate) fn push(&mut self, member: &Member<'_>) -> bool {
        self.push_with_name_size(member, member.name.len() + 1)
    }

    /// Appends `member` with a name field of `name_size` bytes, filled up with NULs. Readers end a
    /// name at the first NUL, so this moves the data and changes nothing else.
    #[must_use]
    pub(crate) fn push_with_name_size(&mut self, member: &Member<'_>, name_size: usize) -> bool {
        debug_assert!(name_size > member.name.len());
        let (Ok(file_size), Ok(name_field)) = (u32::try_from(member.data.len()), u32::try_from(name_size)) else {
            return false;
        };
        self.members += 1;
        let links = if member.mode & 0o170000 == DIRECTORY { 2 } else { 1 };
        // magic, then: inode, mode, uid, gid, links, mtime, file size, device of the file system
        // (major, minor), device (major, minor), name size, checksum (0 in this variant).
        self.out.extend_from_slice(b"070701");
        let (major, minor) = member.device;
        let fields = [self.members, member.mode, 0, 0, links, 0, file_size, 0, 0, major, minor, name_field, 0];
        for field in fields {
            self.out.extend_from_slice(format!("{field:08X}").as_bytes());
        }
        let name_end = self.out.len() + name_size;
        self.out.extend_from_slice(member.name.as_bytes());
        self.out.resize(name_end, 0);
        self.align();
        self.out.extend_from_slice(member.data);
        self.align();
        true
    }

    /// Ends the archive.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        let trailer = Member { name: TRAILER, mode: 0, device: (0, 0), data: &[] };
        let fits = self.push(&trailer);
        debug_assert!(fits);
        self.out
    }

    fn align(&mut self) {
        self.out.resize(self.out.len().next_multiple_of(4), 0);
    }
}

/// The name that ends an archive.
pub(crate) const TRAILER: &str = "TRAILER!!!";
