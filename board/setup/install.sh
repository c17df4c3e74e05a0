#!/bin/bash
# Installs what Dormouse needs and the machine lacks: Debian packages and Rust targets.
#
#   install.sh [rtos] [check] [gdb] [fuzz] [miri]
#
# Says what it will do and why before it changes anything. With nothing missing it is silent, and
# it uses the network only to install.
set -euo pipefail
# shellcheck source=board/setup/common.sh
. "$(dirname "$0")/common.sh"
# What a caller pipes in is for the board, and not to be eaten here.
exec </dev/null

RUST_TARGETS=(aarch64-unknown-none-softfloat aarch64-unknown-none aarch64-unknown-linux-musl)
RUST_COMPONENTS=(rustfmt clippy)
RUST_PINNED=$(sed -n 's/^channel = "\(.*\)"/\1/p' rust-toolchain.toml)
RUST_NIGHTLY=$(sed -n 's/^NIGHTLY := //p' Makefile)
BACKPORTS=/etc/apt/sources.list.d/dormouse-backports.list

packages=()
reasons=()

# need COMMAND PACKAGE REASON
need() {
    if ! command -v "$1" >/dev/null; then
        packages+=("$2")
        reasons+=("$2: $3")
    fi
}

find_missing() {
    local version group
    version=$(qemu_version)
    qemu=present
    if ! version_at_least "$version" "$QEMU_MIN"; then
        qemu=missing
        reasons+=("qemu-system-arm $QEMU_MIN or later: the board (found: ${version:-none})")
    fi
    need dtc device-tree-compiler "compiles the system description"
    need cpio cpio "tests read archives with it"
    need /usr/sbin/e2fsck e2fsprogs "tests check a guest's file system with it"
    need /usr/sbin/sfdisk fdisk "tests make partition tables with it"
    need make make "runs the build"
    need cc gcc "links the tools that run on this machine"
    need dpkg-deb dpkg "unpacks Debian's kernel"
    if ! [ -e /usr/include/stdlib.h ]; then
        packages+=(libc6-dev)
        reasons+=("libc6-dev: links the tools that run on this machine")
    fi
    for group in "$@"; do
        case $group in
        rtos)
            if ! echo '#include <stdlib.h>' | aarch64-linux-gnu-gcc -E - >/dev/null 2>&1; then
                packages+=(gcc-aarch64-linux-gnu libc6-dev-arm64-cross)
                reasons+=("gcc-aarch64-linux-gnu, libc6-dev-arm64-cross: compile FreeRTOS, a guest of the tests")
            fi
            ;;
        check)
            if ! /usr/bin/python3 -c 'import ensurepip, libfdt' 2>/dev/null; then
                packages+=(python3-venv python3-libfdt)
                reasons+=("python3-venv, python3-libfdt: check system descriptions against their bindings")
            fi
            need aarch64-linux-gnu-objdump binutils-aarch64-linux-gnu "disassembles the EL2 image"
            ;;
        gdb) need gdb-multiarch gdb-multiarch "the debugger" ;;
        fuzz) need c++ g++ "compiles libFuzzer" ;;
        miri) ;;
        *) die "install.sh: unknown group \`$group\`" ;;
        esac
    done
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    else
        sudo "$@"
    fi
}

apt_get() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 "$@"
}

# Whether apt would install a QEMU that is new enough; further arguments go to apt-cache.
qemu_candidate() {
    local version
    version=$(apt-cache "$@" policy qemu-system-arm 2>/dev/null | sed -n 's/^ *Candidate: \([0-9]*:\)\?//p')
    version_at_least "${version%%[!0-9.]*}" "$QEMU_MIN"
}

# Sets qemu_packages to what makes apt take a QEMU that is new enough, adding a source only if it must.
find_qemu() {
    local mirror keyring backports=$os_codename-backports
    qemu_packages=(qemu-system-arm)
    qemu_candidate && return
    # Only QEMU itself from there: what it shares with other packages stays the suite's own.
    qemu_packages=(qemu-system-{arm,common,data}"/$backports")
    qemu_candidate -t "$backports" && return
    mirror=$(debian_mirror) || die "no Debian mirror in this machine's apt sources; QEMU $QEMU_MIN or later has to come from one"
    keyring=$(debian_keyring) || die "the package debian-archive-keyring is not installed"
    say "$os_name has no QEMU $QEMU_MIN in its own suite; adding $BACKPORTS:"
    say "  $backports from $mirror (apt prefers nothing from there by itself)"
    echo "deb [signed-by=$keyring] $mirror $backports main" | as_root tee "$BACKPORTS" >/dev/null
    apt_get update || true
    qemu_candidate -t "$backports" || die "$backports at $mirror gives no QEMU $QEMU_MIN or later; network?"
}

install_packages() {
    read_os
    local list
    printf -v list '\n  %s' "${reasons[@]}"
    case $os_id:$os_codename in
    debian:bookworm | debian:trixie) ;;
    *) die "missing, and only installed by itself on Debian 12 and 13 (this is ${os_name}):$list" ;;
    esac
    if [ "$(id -u)" != 0 ] && ! command -v sudo >/dev/null; then
        die "missing; run this as root, or install sudo, or install by hand:$list"
    fi
    say "will install with apt, after reading the package lists anew:$list"
    # A source of the user's that cannot be reached need not be the one that matters.
    apt_get update || say "apt could not read all of its sources; going on with the others"
    if [ $qemu = missing ]; then
        find_qemu
        apt_get install -y --no-install-recommends "${qemu_packages[@]}" ||
            die "apt could not install QEMU; see above"
    fi
    if [ ${#packages[@]} != 0 ]; then
        apt_get install -y --no-install-recommends "${packages[@]}" || die "apt could not install everything; see above"
    fi
    local version
    version=$(qemu_version)
    version_at_least "$version" "$QEMU_MIN" ||
        die "$(command -v qemu-system-aarch64) is QEMU ${version:-unknown}, $QEMU_MIN or later is needed and installed elsewhere: mind PATH"
}

# missing_of INSTALLED WANTED... prints what of WANTED is no line of INSTALLED.
missing_of() {
    local installed=$1 wanted
    shift
    for wanted in "$@"; do
        grep -qx "$wanted\(-$(uname -m)-.*\)\?" <<<"$installed" || echo "$wanted"
    done
}

# The toolchain of rust-toolchain.toml. An installed `stable` of that very version serves as well, and saves a
# download. `rustup run` is asked, because any proxy would install what is absent without a word.
install_toolchain() {
    local overridden=no installed overrides stable
    # Read whole before they are searched: a list whose reader has left ends in an error.
    installed=$(rustup toolchain list)
    overrides=$(rustup override list)
    stable=$(rustup run stable rustc --version 2>/dev/null || true)
    if [ -n "${RUSTUP_TOOLCHAIN:-}" ] || grep -q "^$RUST_PINNED-" <<<"$installed"; then
        return
    fi
    if [[ $'\n'$overrides == *$'\n'"$(pwd -P)"[[:space:]]* ]]; then
        overridden=yes
    fi
    if [[ $stable == "rustc $RUST_PINNED "* ]]; then
        if [ $overridden = no ]; then
            say "will use the stable Rust toolchain in this folder (rustup override): it is the $RUST_PINNED of rust-toolchain.toml"
            rustup override set stable
        fi
        return
    fi
    if [ $overridden = yes ]; then
        say "will take back this folder's rustup override: it is not $RUST_PINNED any more"
        rustup override unset
    fi
    say "will install the Rust toolchain $RUST_PINNED by rustup: the compiler"
    rustup toolchain install "$RUST_PINNED" --profile minimal --no-self-update
}

install_rust() {
    local missing
    install_toolchain
    mapfile -t missing < <(missing_of "$(rustup target list --installed)" "${RUST_TARGETS[@]}")
    if [ ${#missing[@]} != 0 ]; then
        say "will add Rust targets by rustup: ${missing[*]}"
        rustup target add "${missing[@]}"
    fi
    mapfile -t missing < <(missing_of "$(rustup component list --installed)" "${RUST_COMPONENTS[@]}")
    if [ ${#missing[@]} != 0 ]; then
        say "will add Rust components by rustup: ${missing[*]}"
        rustup component add "${missing[@]}"
    fi
}

install_miri() {
    local installed
    installed=$(rustup toolchain list)
    if ! grep -q "^$RUST_NIGHTLY-" <<<"$installed"; then
        say "will install the Rust toolchain $RUST_NIGHTLY by rustup: miri, which finds undefined behavior, is part of it"
        rustup toolchain install "$RUST_NIGHTLY" --profile minimal --component miri,rust-src --no-self-update
    fi
}

if ! command -v rustup >/dev/null || ! command -v cargo >/dev/null; then
    die "rustup is missing; get it with: curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh"
fi
find_missing "$@"
if [ ${#reasons[@]} != 0 ]; then
    install_packages
fi
install_rust
case " $* " in
*" miri "*) install_miri ;;
esac
