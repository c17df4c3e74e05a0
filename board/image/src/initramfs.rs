//! A Linux initramfs from a manifest, owned by root and with device nodes, built without being root.
//!
//! One entry a line, `#` starts a comment, modes are octal, sources are relative to the working
//! directory:
//!
//! ```text
//! dir     /proc        755
//! file    /init        755  guest-virtio/hvctl/init
//! symlink /bin/sh      busybox
//! nod     /dev/console 600  c 5 1
//! ```
//!
//! Linux drops an entry without a word if its directory was not made before it, so that is an error.

use crate::error::{Error, Result};
use crate::file::Input;
use crate::newc::{BLOCK, CHARACTER, DIRECTORY, Member, REGULAR, SYMLINK, Writer};
use std::collections::BTreeMap;
use std::path::Path;

/// One line, read.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    /// Path without its leading `/`.
    path: String,
    mode: u32,
    device: (u32, u32),
    content: Content,
}

#[derive(Debug, PartialEq, Eq)]
enum Content {
    /// Nothing, or a link's target.
    Inline(String),
    /// The contents of this host file.
    From(String),
}

/// Builds the initramfs that `manifest` describes.
pub(crate) fn build(manifest: &Input) -> Result<Vec<u8>> {
    let text = String::from_utf8_lossy(&manifest.bytes);
    let mut writer = Writer::default();
    let mut kinds = BTreeMap::new();
    for (index, line) in text.lines().enumerate() {
        let fail = |problem: String| Error::Manifest { path: manifest.path.clone(), line: index + 1, problem };
        let line = line.split('#').next().unwrap_or_default();
        let words: Vec<_> = line.split_whitespace().collect();
        if words.is_empty() {
            continue;
        }
        let entry = parse(&words).map_err(fail)?;
        check_place(&kinds, &entry.path).map_err(fail)?;
        let data = match &entry.content {
            Content::Inline(target) => target.clone().into_bytes(),
            Content::From(source) => Input::read(Path::new(source)).map_err(|error| fail(error.to_string()))?.bytes,
        };
        let member = Member { name: &entry.path, mode: entry.mode, device: entry.device, data: &data };
        if !writer.push(&member) {
            return Err(fail("the file is 4 GiB or longer".into()));
        }
        kinds.insert(entry.path, entry.mode & 0o170000);
    }
    Ok(writer.finish())
}

fn parse(words: &[&str]) -> std::result::Result<Entry, String> {
    let entry = |path: &str, mode, device, content| Ok(Entry { path: relative(path)?, mode, device, content });
    let nothing = || Content::Inline(String::new());
    match *words {
        ["dir", path, mode] => entry(path, DIRECTORY | octal(mode)?, (0, 0), nothing()),
        ["file", path, mode, source] => entry(path, REGULAR | octal(mode)?, (0, 0), Content::From(source.into())),
        ["symlink", path, target] => entry(path, SYMLINK | 0o777, (0, 0), Content::Inline(target.into())),
        ["nod", path, mode, kind, major, minor] => {
            let kind = match kind {
                "c" => CHARACTER,
                "b" => BLOCK,
                other => return Err(format!("device kind `{other}`, `c` or `b` is known")),
            };
            entry(path, kind | octal(mode)?, (number(major)?, number(minor)?), nothing())
        }
        [kind, ..] => Err(format!(
            "`{kind}` with {} arguments; known: dir PATH MODE, file PATH MODE SOURCE, \
             symlink PATH TARGET, nod PATH MODE c|b MAJOR MINOR",
            words.len() - 1
        )),
        [] => Err("nothing".into()),
    }
}

fn relative(path: &str) -> std::result::Result<String, String> {
    let rest = path.strip_prefix('/').unwrap_or_default();
    let plain = rest.split('/').all(|part| !matches!(part, "" | "." | ".."));
    if plain { Ok(rest.into()) } else { Err(format!("`{path}` is no plain absolute path")) }
}

fn octal(text: &str) -> std::result::Result<u32, String> {
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o7777 => Ok(mode),
        _ => Err(format!("`{text}` is no octal mode up to 7777")),
    }
}

fn number(text: &str) -> std::result::Result<u32, String> {
    text.parse().map_err(|_| format!("`{text}` is no device number"))
}

/// An entry needs a directory to be in, and a name that is free.
fn check_place(kinds: &BTreeMap<String, u32>, path: &str) -> std::result::Result<(), String> {
    if kinds.contains_key(path) {
        return Err(format!("`/{path}` is there already"));
    }
    match path.rsplit_once('/') {
        Some((parent, _)) if kinds.get(parent) != Some(&DIRECTORY) => {
            Err(format!("no `dir /{parent}` comes before `/{path}`"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
