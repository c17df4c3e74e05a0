use super::*;
use crate::testing::{Scratch, gnu_cpio, message, read_newc};

fn manifest(text: &str) -> Input {
    Input { path: "initramfs.list".into(), bytes: text.into() }
}

#[test]
fn gnu_cpio_sees_kinds_modes_owner_and_device_numbers() {
    let scratch = Scratch::new("initramfs");
    let source = scratch.0.join("source");
    std::fs::write(&source, "#!/bin/sh\n").unwrap();
    let text = format!(
        "# a comment\n\ndir /dev 755\nnod /dev/console 600 c 5 1\nfile /init 4755 {} # set-uid\nsymlink /sh bin/busybox\n",
        source.display()
    );
    let archive = build(&manifest(&text)).unwrap();
    let listed = gnu_cpio(&["-itv", "--quiet", "--numeric-uid-gid"], &archive, &scratch.0);
    let lines: Vec<Vec<&str>> = listed.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!((lines[0][0], lines[0].last()), ("drwxr-xr-x", Some(&"dev")));
    assert_eq!(lines[1][..6], ["crw-------", "1", "0", "0", "5,", "1"]);
    assert_eq!(lines[1].last(), Some(&"dev/console"));
    assert_eq!(lines[2][..5], ["-rwsr-xr-x", "1", "0", "0", "10"]);
    assert_eq!(lines[2].last(), Some(&"init"));
    assert_eq!(lines[3][0], "lrwxrwxrwx");
    assert_eq!(lines[3][lines[3].len() - 3..], ["sh", "->", "bin/busybox"]);
    assert_eq!(lines.len(), 4);
}

#[test]
fn contents_are_those_of_the_sources() {
    let scratch = Scratch::new("contents");
    let source = scratch.0.join("tool");
    std::fs::write(&source, [0xa5; 777]).unwrap();
    let text = format!("dir /bin 755\nfile /bin/tool 755 {}", source.display());
    let found = read_newc(&build(&manifest(&text)).unwrap());
    assert_eq!((found[1].name.as_str(), found[1].mode), ("bin/tool", 0o100755));
    assert_eq!(found[1].data, [0xa5; 777]);
}

#[test]
fn each_mistake_names_its_line() {
    let cases = [
        ("dir /a 755\nfile /a/b 755 /nonexistent", "initramfs.list:2: /nonexistent: cannot be read: "),
        ("file /init 755", "initramfs.list:1: `file` with 2 arguments; known: dir PATH MODE, "),
        ("link /a b", "initramfs.list:1: `link` with 2 arguments; known: "),
        ("dir a 755", "initramfs.list:1: `a` is no plain absolute path"),
        ("dir /a/../b 755", "initramfs.list:1: `/a/../b` is no plain absolute path"),
        ("dir / 755", "initramfs.list:1: `/` is no plain absolute path"),
        ("dir /a 799", "initramfs.list:1: `799` is no octal mode up to 7777"),
        ("dir /a 10000", "initramfs.list:1: `10000` is no octal mode up to 7777"),
        ("nod /c 600 x 5 1", "initramfs.list:1: device kind `x`, `c` or `b` is known"),
        ("nod /c 600 c 5 one", "initramfs.list:1: `one` is no device number"),
        ("dir /a 755\ndir /a 700", "initramfs.list:2: `/a` is there already"),
        ("nod /dev/console 600 c 5 1", "initramfs.list:1: no `dir /dev` comes before `/dev/console`"),
        ("symlink /a b\ndir /a/c 755", "initramfs.list:2: no `dir /a` comes before `/a/c`"),
    ];
    for (text, expected) in cases {
        let error = message(build(&manifest(text)));
        assert!(error.starts_with(expected), "{text:?} gave {error:?}");
    }
}

#[test]
fn mutated_manifests_give_an_archive_or_an_error() {
    let good = b"dir /dev 755\nnod /dev/console 600 c 5 1\nsymlink /bin sbin\ndir /x 7\n";
    let mut random = 0x2545_f491_4f6c_dd1du64;
    for _ in 0..20_000 {
        let mut text = good.to_vec();
        for _ in 0..3 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            text[(random % good.len() as u64) as usize] = (random >> 32) as u8;
        }
        if let Ok(archive) = build(&Input { path: "m".into(), bytes: text }) {
            read_newc(&archive);
        }
    }
}
