#!/bin/bash
# Import rate of many small files and of a real tree, beside cp -a to ext4 and tar reading the same.
#
#   tests/bench/import_bench.sh BUILD_DIR [--quick]
#
# Every way runs in turn, several times; sources are in the page cache; each import goes to a new
# store. Works below $PRISM_BENCH_DIR. PRISM_BENCH_TREE: the real tree.
set -euo pipefail
build=$(realpath "$1")
source "$(dirname "$0")/server.sh"
work=$bench_dir/import
runs=5 dirs=40
if [ "${2:-}" = --quick ]; then runs=3 dirs=8; fi
quickstart_root=${PRISM_QUICKSTART_DIR:-/var/tmp/prism-quickstart}/debian-root
if [ -z "${PRISM_BENCH_TREE:-}" ]; then
  PRISM_BENCH_TREE=/usr/share
  [ ! -d "$quickstart_root" ] || PRISM_BENCH_TREE=$quickstart_root
fi

# shellcheck disable=SC2317
clean_up() {
  local status=$?
  trap - EXIT INT TERM
  stop_server
  [ "$status" -ne 0 ] || rm -rf "$work"
  exit "$status"
}

# 1,000 files a directory; the sizes of a directory's files are equal: 256 bytes to 16 KiB.
make_small_tree() {
  local dir size
  for ((dir = 0; dir < dirs; ++dir)); do
    size=$((256 << (dir % 7)))
    mkdir -p "$1/d$dir"
    head -c $((size * 1000)) /dev/urandom | split -b "$size" -a 3 - "$1/d$dir/f"
  done
}

now_us() { echo $(($(date +%s%N) / 1000)); }
server_cpu_us() { cat "/proc/$server_pid"/task/*/schedstat | awk '{t += $1} END {print int(t / 1000)}'; }
median() { sort -n | awk '{v[NR] = $1} END {print v[int((NR + 1) / 2)]}'; }

# measure KEY COMMAND...: adds "wall_us cpu_us" to the samples of KEY; CPU of the command and the
# server, if one runs.
measure() {
  local key=$1 start server=0 cpu
  shift
  [ -z "$server_pid" ] || server=$(server_cpu_us)
  start=$(now_us)
  cpu=$({ TIMEFORMAT='%3U %3S'; time "$@" > /dev/null 2>> "$work/errors"; } 2>&1 |
    awk '{print int(($1 + $2) * 1e6)}')
  local wall=$(($(now_us) - start))
  [ -z "$server_pid" ] || cpu=$((cpu + $(server_cpu_us) - server))
  echo "$wall $cpu" >> "$work/samples-$key"
}

import_once() {
  local key=$1 source=$2
  rm -rf "$work/served"
  mkdir -p "$work/served"
  start_server "$work/served"
  measure "$key" "$prism" import -q "$source" volume
  stop_server
}

copy_and_sync() {
  cp -a "$1" "$2"
  sync -f "$2"
}

# report KEY WHAT FILES BYTES
report() {
  local wall cpu
  wall=$(cut -d' ' -f1 "$work/samples-$1" | median)
  cpu=$(cut -d' ' -f2 "$work/samples-$1" | median)
  awk -v what="$2" -v wall="$wall" -v cpu="$cpu" -v files="$3" -v bytes="$4" 'BEGIN {
    printf "| %s | %.2f | %d | %.0f | %.2f | %.0f |\n", what, wall / 1e6, files / wall * 1e6,
           bytes / wall, cpu / 1e6, cpu / files }'
}

bench_tree() {
  local title=$1 tree=$2 run files bytes
  rm -f "$work"/samples-*
  tar -cf "$work/source.tar" -C "$tree" . 2>> "$work/errors"
  files=$(find "$tree" | wc -l)
  bytes=$(du -sb --apparent-size "$tree" | cut -f1)
  for ((run = 0; run < runs; ++run)); do
    echo "  $title: run $((run + 1)) of $runs" >&2
    measure tar sh -c "tar -cf - -C '$tree' . | cat"
    rm -rf "$work/copy"
    measure cp cp -a "$tree" "$work/copy"
    rm -rf "$work/copy"
    measure cp-sync copy_and_sync "$tree" "$work/copy"
    rm -rf "$work/copy"
    import_once import-dir "dir:$tree"
    import_once import-tar "tar:$work/source.tar"
  done
  printf '\n### Import: %s (%d entries, %d MB)\n\n' "$title" "$files" $((bytes / 1000000))
  echo '| way | seconds | files/s | MB/s | CPU s | CPU us a file |'
  echo '| --- | --- | --- | --- | --- | --- |'
  report import-dir "prism import dir: (durable)" "$files" "$bytes"
  report import-tar "prism import tar: (durable)" "$files" "$bytes"
  report cp "cp -a to ext4 (not synced)" "$files" "$bytes"
  report cp-sync "cp -a to ext4, then sync -f" "$files" "$bytes"
  report tar "tar reading it, nothing written" "$files" "$bytes"
}

rm -rf "$work"
mkdir -p "$work"
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
make_small_tree "$work/small"
bench_tree "generated files of 256 bytes to 16 KiB" "$work/small"
rm -rf "$work/small"
if [ "${2:-}" != --quick ]; then bench_tree "${PRISM_BENCH_TREE##*/}, a real tree" "$PRISM_BENCH_TREE"; fi
