#!/bin/bash
# Gives btrfs, XFS, overlayfs, qcow2 and Prism one and the same tree, and measures clones of it.
#
#   tests/bench/fleet_bench.sh BUILD_DIR [--tree DIR | --files N] [--keep | --make] [OPTION...]
#
# The tree: DIR (a Debian root, say), or N small files, by default 100,000; and one file of 64 MiB.
# --keep leaves the file systems that it makes, and the next run with the same tree takes them: a
# million files take minutes. --make only makes them. The other options are fleet_bench's. Needs
# root, btrfs-progs, xfsprogs and qemu-utils. Works below $PRISM_BENCH_DIR, in a mount and a process
# namespace of its own: nothing stays mounted or running.
#
# Each file system is in a file of the same disk, through a loop with direct I/O, so that what has
# to be on the disk is. Prism's store, overlayfs and the qcow2 images are on one ext4.
set -euo pipefail
source "$(dirname "$0")/server.sh"
outside=$bench_dir/fleet
work=$outside/work

arguments=("$@")
build=$(realpath "$1")
prism=$build/tools/prism
shift

if [ "${1:-}" = --restart ]; then
  server_pid=$(cat "$work/disk/server-pid")
  stop_server
  start_server "$work/disk"
  exit 0
fi

tree= files=100000 keep=false make=false others=()
while [ $# -gt 0 ]; do
  case "$1" in
    --tree) tree=$(realpath "$2") && shift ;;
    --files) files=$2 && shift ;;
    --keep) keep=true ;;
    --make) keep=true make=true ;;
    *) others+=("$1") ;;
  esac
  shift
done
what=${tree:-$files}

if [ "${PRISM_FLEET_BENCH_INSIDE:-}" != yes ]; then
  if [ "$(cat "$outside/holds" 2> /dev/null)" != "$what" ]; then
    rm -rf "$outside"
    mkdir -p "$outside"
  fi
  status=0
  PRISM_FLEET_BENCH_INSIDE=yes unshare --mount --pid --fork --kill-child --mount-proc \
    "$0" "${arguments[@]}" || status=$?
  if ! $keep || [ "$status" -ne 0 ]; then rm -rf "$outside"; fi
  exit "$status"
fi

trap 'stop_server' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# mount_image NAME: the file system in NAME.image at work/NAME.
mount_image() {
  local device
  mkdir -p "$work/$1"
  device=$(losetup --direct-io=on --show -f "$outside/$1.image")
  mount "$device" "$work/$1"
  losetup -d "$device" # goes with the mount, and that with our namespace
}

fill() {
  if [ -n "$tree" ]; then
    cp -a "$tree/." "$1"
  else
    "$build/tests/bench/fleet_bench" --make-tree "$1" --files "$files"
  fi
  cp "$outside/large" "$1/fleet-large"
}

mkdir -p "$work/prism"
if [ ! -f "$outside/holds" ]; then
  echo "  making the trees" >&2
  for system in disk btrfs xfs; do truncate -s 24G "$outside/$system.image"; done
  mkfs.ext4 -q -F -N 4000000 -E lazy_itable_init=0,lazy_journal_init=0 "$outside/disk.image"
  mkfs.btrfs -q "$outside/btrfs.image" > /dev/null 2>&1
  mkfs.xfs -q "$outside/xfs.image"
  for system in disk btrfs xfs; do mount_image "$system"; done
  head -c 64M /dev/urandom > "$outside/large"
  btrfs subvolume create "$work/btrfs/base" > /dev/null
  mkdir "$work/disk/lower" "$work/xfs/base"
  fill "$work/disk/lower"
  fill "$work/btrfs/base" &
  fill "$work/xfs/base"
  wait $!
  truncate -s 12G "$work/disk/base.raw"
  mkfs.ext4 -q -F -N 2000000 "$work/disk/base.raw"
  mkdir "$work/base"
  mount -o loop "$work/disk/base.raw" "$work/base"
  fill "$work/base"
  umount "$work/base"
  start_server "$work/disk"
  "$prism" import -q "dir:$work/disk/lower" base > /dev/null
  stop_server
  sync
  echo "$what" > "$outside/holds"
else
  for system in disk btrfs xfs; do mount_image "$system"; done
fi
! $make || exit 0
rm -rf "$work/disk/overlay" "$work/disk/qcow2"

printf '#!/bin/sh\nexec %q %q --restart\n' "$(realpath "$0")" "$build" > "$work/restart-prism"
chmod +x "$work/restart-prism"
start_server "$work/disk"
"$build/tests/bench/fleet_bench" --work "$work" --prism "$prism" \
  --control "$PRISM_CONTROL" "${others[@]}"
server_pid=$(cat "$work/disk/server-pid")
