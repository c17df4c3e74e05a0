#!/bin/bash
# Starts the board: QEMU's virt machine with the images in build/.
#
#   run.sh            the console is this terminal, or whatever standard input and output are
#   run.sh gdb        QEMU waits for the debugger, which is started here; the console is a terminal
#                     of its own, whose name QEMU prints, and build/console.log
#
# QEMU_ARGS adds to QEMU's command line. HTTP_PORT (8080) is where the service partition's page is on this machine, or the next
# port that is free. The exit status is QEMU's, or 1 if EL2 gave up
# (`dormouse: fatal:` in the console's log).
set -euo pipefail
# shellcheck source=board/setup/common.sh
. "$(dirname "$0")/common.sh"

# Where QEMU puts an arm64 Image whose text_offset is 0 (hw/arm/boot.c).
LOAD_ADDRESS=0x40200000

# What guests write to the board's drive is kept from run to run.
DISK=.cache/disk.raw
DISK_SIZE=256M

# The service partition's page, from this machine only.
PAGE=10.0.2.100:80
HTTP_PORT=${HTTP_PORT:-8080}
# The first that nobody listens at.
while [ "$HTTP_PORT" -lt 65535 ] && (exec 3<>"/dev/tcp/127.0.0.1/$HTTP_PORT") 2>/dev/null; do
    HTTP_PORT=$((HTTP_PORT + 1))
done

log=build/console.log
board=(-M "virt,virtualization=on,gic-version=3,iommu=smmuv3" -cpu cortex-a72 -smp 4 -m 1G
    -nodefaults -display none -no-reboot
    -kernel build/dormouse.img -initrd build/demo.cpio
    -global virtio-mmio.force-legacy=false
    -drive "if=none,id=disk,format=raw,file=$DISK,discard=unmap" -device virtio-blk-device,drive=disk
    -netdev "user,id=net,hostfwd=tcp:127.0.0.1:$HTTP_PORT-$PAGE" -device virtio-net-device,netdev=net)

version=$(qemu_version)
version_at_least "$version" "$QEMU_MIN" || die "QEMU $QEMU_MIN or later is needed, found ${version:-none}: run \`make run\`, or mind PATH"
rm -f "$log"
if [ ! -e "$DISK" ]; then
    say "the board's drive is the file $DISK, $DISK_SIZE, as far as guests write to it; delete it for an empty one"
    truncate -s "$DISK_SIZE" "$DISK"
fi

say "the service partition's page is http://127.0.0.1:$HTTP_PORT/"

start_qemu() { # CONSOLE EXTRA...
    local console=$1
    shift
    # shellcheck disable=SC2086 # QEMU_ARGS is several words
    exec qemu-system-aarch64 "${board[@]}" -chardev "$console,logfile=$log" -serial chardev:console "$@" ${QEMU_ARGS:-}
}

if [ "${1:-}" = gdb ]; then
    say "QEMU waits for the debugger; the log of its console is $log"
    start_qemu "pty,id=console" -S -gdb tcp:127.0.0.1:1234 </dev/null &
    qemu=$!
    trap 'kill $qemu 2>/dev/null || true' EXIT
    gdb-multiarch -q build/hyp.elf -ex "symbol-file build/hyp.elf -o $LOAD_ADDRESS" \
        -ex "target remote 127.0.0.1:1234" -ex "thbreak *$LOAD_ADDRESS" -ex continue
    exit
fi

if [ -t 0 ] && [ -t 1 ]; then
    say "QEMU $version starts. Leave: Ctrl-A x.  Switch consoles (EL2, service partition, guests): Ctrl-]"
    # Keys like Ctrl-C belong to the guest.
    start_qemu "stdio,id=console,mux=on,signal=off" -mon chardev=console,mode=readline <&0 &
else
    say "QEMU $version starts; its console is standard input and output, Ctrl-] (0x1d) switches consoles"
    start_qemu "stdio,id=console" -monitor none <&0 &
fi
# A shell that runs QEMU in the foreground would act on a signal only after QEMU ends.
qemu=$!
trap 'kill $qemu 2>/dev/null || true' TERM INT HUP
status=0
wait $qemu || status=$?
# A wait that a signal cut short says nothing about QEMU.
while kill -0 $qemu 2>/dev/null; do
    wait $qemu || status=$?
done
if grep -aq '^dormouse: fatal:' "$log" 2>/dev/null; then
    exit 1
fi
exit $status
