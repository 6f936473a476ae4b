#!/bin/bash
# Starts Prism's NFS server and nfs-ganesha beside it, measures both, and takes everything away.
#
#   tests/bench/nfs_bench.sh BUILD_DIR [--ganesha-only | --prism-only] [nfs_bench's options]
#
# Needs root, nfs-ganesha-vfs and rpcbind. Works below $PRISM_BENCH_DIR, in a network, a mount and
# a process namespace of its own: no port or portmapper of the host is used, and nothing is left.
#
# Both servers are on one fresh ext4 in a file there, because it must have a journal: on an ext4
# without one, synchronous directories are not flushed to the disk, and Ganesha's rows would be of
# calls that are less durable than Prism's.
set -euo pipefail
source "$(dirname "$0")/server.sh"
source "$(dirname "$0")/nfs_servers.sh"
outside=$bench_dir/nfs
work=$outside/disk

if [ "${PRISM_NFS_BENCH_INSIDE:-}" != yes ]; then
  rm -rf "$outside"
  mkdir -p "$work"
  truncate -s 12G "$outside/image"
  mkfs.ext4 -q -F -E lazy_itable_init=0,lazy_journal_init=0 "$outside/image"
  status=0
  PRISM_NFS_BENCH_INSIDE=yes unshare --net --mount --pid --fork --kill-child --mount-proc \
    "$0" "$@" || status=$?
  rm -f "$outside/image"
  [ "$status" -ne 0 ] || rm -rf "$outside"
  exit "$status"
fi

build=$(realpath "$1")
shift
prism=$build/tools/prism

start_prism() {
  start_server "$work" --nfs "127.0.0.1:$prism_port"
  echo "$server_pid" > "$work/pids-prism"
}

# The running driver calls this program again to restart a server with cold caches.
case "${1:-}" in
  --restart-ganesha)
    stop_ganesha "$work"
    drop_caches
    start_ganesha "$work"
    exit 0
    ;;
  --restart-prism)
    server_pid=$(cat "$work/server-pid")
    stop_server
    drop_caches
    start_prism
    exit 0
    ;;
esac

# shellcheck disable=SC2317
clean_up() {
  local status=$?
  trap - EXIT INT TERM
  stop_ganesha "$work"
  [ ! -f "$work/server-pid" ] || server_pid=$(cat "$work/server-pid")
  stop_server
  [ -z "$rpcbind_pid" ] || end_process "$rpcbind_pid"
  # What helps to see why it failed, if there is any; the status says that it did.
  [ "$status" -eq 0 ] || cp "$work"/*.log "$outside" || true
  exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

servers=(ganesha prism)
case "${1:-}" in
  --ganesha-only) servers=(ganesha) && shift ;;
  --prism-only) servers=(prism) && shift ;;
esac

device=$(losetup --direct-io=on --show -f "$outside/image")
mount "$device" "$work" && losetup -d "$device" # goes with the mount, and that with our namespace
ip link set lo up
mount -t tmpfs tmpfs /run
mkdir /run/ganesha
arguments=()
for server in "${servers[@]}"; do
  printf '#!/bin/sh\nexec %q %q --restart-%s\n' "$(realpath "$0")" "$build" "$server" \
    > "$work/restart-$server"
  chmod +x "$work/restart-$server"
  if [ "$server" = ganesha ]; then
    mkdir -p "$work/export/durable"
    chattr +D "$work/export/durable" # ext4 writes changes of this directory before it returns
    write_ganesha_config "$work"
    start_rpcbind "$work"
    start_ganesha "$work"
    arguments+=(--server "ganesha:$ganesha_port:$((ganesha_port + 1)):$work/export")
  else
    start_prism
    "$prism" create volume > /dev/null
    arguments+=(--server "prism:$prism_port:$prism_port:/volume")
  fi
done
"$build/tests/bench/nfs_bench" "${arguments[@]}" --hooks "$work" "$@"
