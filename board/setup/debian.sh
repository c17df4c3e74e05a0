#!/bin/bash
# Fetches the guest's Debian: kernel, virtio modules and busybox of bookworm for arm64.
#
# Everything goes to .cache/debian, through apt in a tree of its own, so that signatures are
# checked by apt and the machine's own packages are not touched. Once there, nothing is fetched.
#
#   .cache/debian/vmlinuz             the kernel, a plain arm64 Image
#   .cache/debian/modules/*.ko        virtio and what drives its consoles, disks, network cards, entropy device and balloon
#   .cache/debian/busybox             statically linked
#   .cache/debian/packages            what it was taken from
set -euo pipefail
# shellcheck source=board/setup/common.sh
. "$(dirname "$0")/common.sh"
# What a caller pipes in is for the board, and not to be eaten here.
exec </dev/null

SUITE=bookworm
KERNEL=linux-image-cloud-arm64
BUSYBOX=busybox-static
MODULES=(drivers/virtio/virtio drivers/virtio/virtio_ring drivers/virtio/virtio_mmio drivers/char/virtio_console
    drivers/block/virtio_blk net/core/failover drivers/net/net_failover drivers/net/virtio_net
    drivers/char/hw_random/virtio-rng drivers/virtio/virtio_balloon)

cache=$PWD/.cache
tree=$cache/apt
partial=$cache/debian.partial
result=$cache/debian

# pick PATTERN NAME: gives the one file that matches a name of its own.
pick() {
    local file
    file=$(compgen -G "$1" | head -n 1) || true
    [ -s "$file" ] || die "Debian's packages lack $1"
    ln "$file" "$2"
}

# The modules of the unpacked kernel in the current directory, as far as they are not picked yet.
pick_modules() {
    local module
    mkdir -p modules
    for module in "${MODULES[@]}"; do
        [ -s "modules/${module##*/}.ko" ] ||
            pick "linux-image-*/lib/modules/*/kernel/$module.ko" "modules/${module##*/}.ko"
    done
}

mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9
# The directory appears under its name when it is complete, never before. One of an earlier release may lack modules.
if [ -d "$result" ]; then
    cd "$result"
    pick_modules
    exit 0
fi

command -v apt-get >/dev/null || die "the guest's kernel is fetched with apt, and this machine has none"
read_os
mirror=$(debian_mirror) || die "no Debian mirror in this machine's apt sources; the guest's kernel comes from one"
keyring=$(debian_keyring) || die "the package debian-archive-keyring is not installed"

# Sets up apt's tree: the machine's own settings for downloads (proxies and the like), nothing else of it.
prepare_tree() {
    rm -rf "$partial"
    mkdir -p "$partial" "$tree"/{lists/partial,archives/partial,etc}
    : >"$tree/status"
    echo "deb [signed-by=$keyring] $mirror $SUITE main" >"$tree/etc/sources.list"
    {
        apt-config dump Acquire | grep -v '^Acquire::IndexTargets'
        cat <<END
Dir::State "$tree";
Dir::State::lists "$tree/lists";
Dir::State::status "$tree/status";
Dir::Cache "$tree";
Dir::Cache::archives "$tree/archives";
Dir::Etc::main "/dev/null";
Dir::Etc::parts "/dev/null";
Dir::Etc::sourcelist "$tree/etc/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
APT::Architecture "arm64";
APT::Architectures { "arm64"; };
APT::Sandbox::User "$(id -un)";
APT::Update::Error-Mode "any";
Acquire::Languages "none";
END
    } >"$tree/apt.conf"
    export APT_CONFIG=$tree/apt.conf
}

# The package that the metapackage stands for.
real_kernel() {
    apt-cache depends --important "$KERNEL" | sed -n 's/^ *Depends: \(linux-image-[0-9][^ ]*\)$/\1/p' | head -n 1 || true
}

# unpack PACKAGE... from the debs in the current directory, one directory each.
unpack() {
    local package deb name
    for package in "$@"; do
        deb=$(echo "$package"_*_arm64.deb)
        name=${deb%_arm64.deb}
        dpkg-deb -x "$deb" "$name" || die "$deb cannot be unpacked"
        rm "$deb"
        echo "$name" >>packages
    done
}

say "fetching Debian $SUITE's arm64 kernel and busybox from $mirror (about 40 MB, once; kept in .cache/debian)"
prepare_tree
apt-get update || die "$mirror cannot be reached or its signature is wrong; the first run needs the network"
kernel=$(real_kernel)
[ -n "$kernel" ] || die "$SUITE at $mirror has no $KERNEL for arm64"
cd "$partial"
apt-get download "$kernel" "$BUSYBOX" || die "$mirror gave no $kernel or $BUSYBOX; see above"
say "unpacking $kernel"
unpack "$kernel" "$BUSYBOX"
pick "linux-image-*/boot/vmlinuz-*" vmlinuz
[ "$(tail -c +57 vmlinuz | head -c 4)" = "ARMd" ] || die "$kernel: vmlinuz is no plain arm64 Image"
pick_modules
pick "$BUSYBOX*/bin/busybox" busybox
mv -T "$partial" "$result"
rm -rf "$tree"
say "Debian is ready: $(tr '\n' ' ' <"$result/packages")"
