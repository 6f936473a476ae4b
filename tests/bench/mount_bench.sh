#!/bin/bash
# Prepares what mount_bench compares, runs it, and takes everything away again.
#
#   tests/bench/mount_bench.sh BUILD_DIR [--quick]
#
# Needs root (drop_caches, mounts), bindfs and /dev/fuse. Works below $PRISM_BENCH_DIR.
set -euo pipefail
build=$(realpath "$1")
shift
source "$(dirname "$0")/server.sh"
work=$bench_dir/mount
bindfs_pid=

# shellcheck disable=SC2317
clean_up() {
  local status=$?
  trap - EXIT INT TERM
  unmount_prism "$work/prism"
  mountpoint -q "$work/bindfs" && umount "$work/bindfs"
  [ -z "$bindfs_pid" ] || wait "$bindfs_pid" 2> /dev/null || true
  stop_server
  [ "$status" -ne 0 ] || rm -rf "$work"
  exit "$status"
}

# The running driver calls this program again to restart the server and the mount.
if [ "${1:-}" = --restart ]; then
  server_pid=$(cat "$work/server-pid")
  unmount_prism "$work/prism"
  stop_server
  start_server "$work"
  mount_prism volume "$work/prism"
  exit 0
fi

for mounted in "$work/prism" "$work/bindfs"; do
  if mountpoint -q "$mounted" 2> /dev/null; then umount "$mounted"; fi
done
rm -rf "$work"
mkdir -p "$work"/{host,below,bindfs,prism}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

printf '#!/bin/sh\nexec %q %q --restart\n' "$(realpath "$0")" "$build" > "$work/restart-prism"
chmod +x "$work/restart-prism"
bindfs -f "$work/below" "$work/bindfs" &
bindfs_pid=$!
echo "$bindfs_pid" > "$work/pids-bindfs"
until mountpoint -q "$work/bindfs"; do sleep 0.05; done
start_server "$work"
"$prism" create volume > /dev/null
mount_prism volume "$work/prism"
"$build/tests/bench/mount_bench" --host "$work/host" --bindfs "$work/bindfs" \
  --prism "$work/prism" --hooks "$work" "$@"
server_pid=$(cat "$work/server-pid")
