# shellcheck shell=bash disable=SC2034
# Shared by the scripts of this folder; sourced, never run.

cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit
# Where rustup puts cargo, for shells that were started before rustup came.
PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin

# Oldest QEMU whose virt machine has all that the board needs (two UARTs with virtualization, SMMUv3 stage 2).
QEMU_MIN=9.0

say() { printf 'dormouse: %s\n' "$*"; }

die() {
    printf 'dormouse: %s\n' "$*" >&2
    exit 1
}

# Version of the installed QEMU, as 10.0.2; nothing if there is none.
qemu_version() {
    { qemu-system-aarch64 --version 2>/dev/null || true; } | sed -n 's/^QEMU emulator version \([0-9.]*\).*/\1/p'
}

# version_at_least HAVE WANT
version_at_least() {
    [ -n "$1" ] && [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]
}

# Sets os_id, os_codename and os_name from os-release.
read_os() {
    local ID="" VERSION_CODENAME="" PRETTY_NAME=""
    # shellcheck disable=SC1091
    . /etc/os-release 2>/dev/null || true
    os_id=$ID os_codename=$VERSION_CODENAME os_name=${PRETTY_NAME:-this system}
}

# The mirror that the machine's own apt sources name for Debian's main archive. apt itself reads
# the sources, in every form that it knows; the archive is the one with the release's own suite.
debian_mirror() {
    local uris suite found
    uris=$(apt-get update --print-uris 2>/dev/null | sed -n "s|^'\(.*\)/InRelease'.*|\1|p" | grep -v '^cdrom:')
    for suite in "$os_codename" stable oldstable; do
        found=$(sed -n "s|/dists/$suite\$||p" <<<"$uris" | head -n 1)
        if [ -n "$found" ]; then
            echo "$found"
            return
        fi
    done
    return 1
}

# The key that Debian's archives are signed with, as apt's Signed-By wants it.
debian_keyring() {
    local file
    for file in /usr/share/keyrings/debian-archive-keyring.{gpg,pgp}; do
        if [ -r "$file" ]; then
            echo "$file"
            return
        fi
    done
    return 1
}
