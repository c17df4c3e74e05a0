//! A boot archive made for one test, in a directory of its own.

use crate::artifact::{self, text};
use crate::description::Description;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// The boot archive of a test and the directory with everything that was made for it.
#[derive(Debug)]
pub struct System {
    directory: Arc<Directory>,
    /// Members of the archive.
    members: Vec<(String, PathBuf)>,
}

/// wfi; b .-4 (Arm ARM C6.2).
const IDLE: [u32; 2] = [0xd503_207f, 0x17ff_ffff];

impl System {
    /// The archive for `description` with the shipped service partition and every image that the
    /// description names.
    pub fn new(description: &Description) -> Self {
        Self::with_partition(description, &artifact::built("sos.img"))
    }

    /// The same with another image of the service partition.
    pub fn with_partition(description: &Description, partition: &Path) -> Self {
        let mut system = Self::from_source(&description.source());
        system.member("sos.img", partition.into());
        for (_, guest) in &description.guests {
            for name in std::iter::once(&guest.image).chain(&guest.initrd) {
                if !system.members.iter().any(|(member, _)| member == name) {
                    let file = system.find(name);
                    system.member(name, file);
                }
            }
        }
        system
    }

    /// An archive with the description `source` and nothing else.
    pub fn from_source(source: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("dormouse-test-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&directory).expect("directory for a test");
        let mut system = Self { directory: Arc::new(Directory(directory)), members: Vec::new() };
        let tree = system.compile(source);
        system.member("system.dtb", tree);
        system
    }

    fn compile(&self, source: &str) -> PathBuf {
        let (input, output) = (self.directory.0.join("system.dts"), self.directory.0.join("system.dtb"));
        std::fs::write(&input, source).expect("system.dts");
        artifact::run(Command::new("dtc").args(["-q", "-O", "dtb", "-o", text(&output), text(&input)]));
        output
    }

    /// The file that a member of that name stands for.
    fn find(&self, name: &str) -> PathBuf {
        match name.strip_suffix(".img") {
            Some(guest) => artifact::guest(guest, &self.directory.0),
            None if name == "debian-vmlinuz" => artifact::kernel(),
            None if name == "idle" => self.file(name, &IDLE.map(u32::to_le_bytes).concat()),
            None => artifact::built(name),
        }
    }

    /// Adds modules of Debian's kernel, named as [`artifact::module`] does, to its initrd: they are in /lib/modules.
    pub fn add_modules(&mut self, names: &[&str]) {
        let mut list = String::from("dir /lib 755\ndir /lib/modules 755\n");
        for name in names {
            let file = artifact::module(name);
            let base = file.file_name().and_then(|base| base.to_str()).expect("name of a module");
            list += &format!("file /lib/modules/{base} 644 {}\n", text(&file));
        }
        let (list, more) = (self.file("modules.list", list.as_bytes()), self.directory.0.join("modules"));
        artifact::image_tool(&["initramfs", text(&list), text(&more)]);
        // Linux unpacks archives that follow each other, with zeroes between them (Documentation/driver-api/early-userspace).
        let mut initrd = std::fs::read(artifact::built("debian-initrd")).expect("debian-initrd");
        initrd.resize(initrd.len().next_multiple_of(4), 0);
        initrd.extend(std::fs::read(more).expect("archive of modules"));
        let initrd = self.file("debian-initrd", &initrd);
        self.member("debian-initrd", initrd);
    }

    /// Adds a member, or replaces one.
    pub fn member(&mut self, name: &str, file: PathBuf) {
        self.members.retain(|(member, _)| member != name);
        self.members.push((name.into(), file));
    }

    /// Takes a member out.
    pub fn remove(&mut self, name: &str) {
        self.members.retain(|(member, _)| member != name);
    }

    /// Writes a file into this system's directory.
    pub fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.directory.0.join(name);
        std::fs::write(&path, bytes).expect("file of a test");
        path
    }

    /// Writes the archive; its path.
    pub fn archive(&self) -> PathBuf {
        let out = self.directory.0.join("archive.cpio");
        let members = self.members.iter().map(|(name, file)| format!("{name}={}", text(file))).collect::<Vec<_>>();
        let mut arguments = vec!["archive", text(&out)];
        arguments.extend(members.iter().map(String::as_str));
        artifact::image_tool(&arguments);
        out
    }

    /// Writes the archive with `cpio`, which puts no member on a page; its path.
    pub fn plain_archive(&self) -> PathBuf {
        let directory = self.directory.0.join("members");
        std::fs::create_dir_all(&directory).expect("directory for members");
        let mut names = String::new();
        for (name, file) in &self.members {
            std::fs::copy(file, directory.join(name)).expect("member of an archive");
            names += &format!("{name}\n");
        }
        let list = self.file("members.list", names.as_bytes());
        let out = self.directory.0.join("plain.cpio");
        artifact::run(
            Command::new("cpio")
                .current_dir(&directory)
                .args(["-o", "-H", "newc", "--quiet", "-F", text(&out)])
                .stdin(std::fs::File::open(list).expect("list of members")),
        );
        out
    }

    /// The archive's bytes.
    pub fn bytes(&self) -> Vec<u8> {
        std::fs::read(self.archive()).expect("archive")
    }

    /// Where its files are.
    pub fn directory(&self) -> &Path {
        &self.directory.0
    }

    /// Keeps the directory for as long as the result lives: QEMU reads its files after it started.
    pub(crate) fn keep(&self) -> Arc<Directory> {
        Arc::clone(&self.directory)
    }
}

/// A directory that goes with its last user.
#[derive(Debug)]
pub(crate) struct Directory(PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        // What a failed test used stays, so that it can be repeated.
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}
