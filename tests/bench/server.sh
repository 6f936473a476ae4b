# Sourced by benchmarks that need a running server. `build` is the build directory.
bench_dir=${PRISM_BENCH_DIR:-/var/tmp/prism-bench}
prism=${build:-}/tools/prism
server_pid=

# start_server DIR [OPTION...]: prismd with the options, on the store in DIR; DIR/server-pid,
# DIR/pids-prism and DIR/prismd.log are its process and log.
start_server() {
  export PRISM_CONTROL=$1/control.sock
  "$build/server/prismd" --store "$1/store" --control "$PRISM_CONTROL" "${@:2}" \
    >> "$1/prismd.log" 2>&1 &
  server_pid=$!
  echo "$server_pid" > "$1/server-pid"
  pids_file=$1/pids-prism
  local tries
  for ((tries = 0; tries < 600; ++tries)); do
    "$prism" ping > /dev/null 2>&1 && return 0
    kill -0 "$server_pid" 2> /dev/null || break
    sleep 0.05
  done
  echo "the server did not start: see $1/prismd.log" >&2
  return 1
}

stop_server() {
  [ -n "$server_pid" ] || return 0
  kill -TERM "$server_pid" 2> /dev/null || true
  local tries
  for ((tries = 0; tries < 600; ++tries)); do
    kill -0 "$server_pid" 2> /dev/null || break
    sleep 0.05
  done
  kill -KILL "$server_pid" 2> /dev/null || true
  server_pid=
}

# mount_prism VOLUME DIR: served by a process of ours, whose CPU time can be read.
mount_prism() {
  "$prism" mount -f "$1" "$2" >> "$2.log" 2>&1 &
  echo "$server_pid $!" > "$pids_file"
  local tries
  for ((tries = 0; tries < 600; ++tries)); do
    mountpoint -q "$2" && return 0
    sleep 0.05
  done
  echo "the mount did not come up: see $2.log" >&2
  return 1
}

unmount_prism() {
  mountpoint -q "$1" || return 0
  "$prism" umount "$1" > /dev/null || umount -l "$1"
}
