# Sourced after server.sh: nfs-ganesha beside Prism's NFS server, on one disk and one loopback.
# Expects a network and a /run of our own: Ganesha ends without a portmapper on port 111.
ganesha_port=20049
prism_port=20051
rpcbind_pid=

# wait_for_port PORT PID LOG
wait_for_port() {
  local tries
  for ((tries = 0; tries < 600; ++tries)); do
    ss -Hltn "sport = :$1" | grep -q . && return 0
    kill -0 "$2" 2> /dev/null || break
    sleep 0.05
  done
  echo "nothing listens on port $1: see $3" >&2
  return 1
}

# end_process PID: by TERM, and by KILL if it takes longer than 30 s.
end_process() {
  kill -TERM "$1" 2> /dev/null || return 0
  local tries
  for ((tries = 0; tries < 600; ++tries)); do
    kill -0 "$1" 2> /dev/null || return 0
    sleep 0.05
  done
  kill -KILL "$1" 2> /dev/null || true # it may have ended by itself
}

start_rpcbind() {
  rpcbind -f >> "$1/rpcbind.log" 2>&1 &
  rpcbind_pid=$!
  wait_for_port 111 "$rpcbind_pid" "$1/rpcbind.log"
}

# Attributes and data cached as Ganesha does by default. Only NFSv3 over TCP, as Prism serves it;
# every client address and port may do everything, so no check costs more than in Prism.
write_ganesha_config() {
  cat > "$1/ganesha.conf" << CONFIG
NFS_CORE_PARAM {
  Protocols = 3;
  NFS_Port = $ganesha_port;
  MNT_Port = $((ganesha_port + 1));
  Enable_NLM = false;
  Enable_RQUOTA = false;
  Enable_UDP = false;
  mount_path_pseudo = false;
}
EXPORT {
  Export_Id = 1;
  Path = $1/export;
  Pseudo = /export;
  Protocols = 3;
  Transports = TCP;
  Access_Type = RW;
  Squash = No_Root_Squash;
  SecType = sys;
  PrivilegedPort = false;
  FSAL { Name = VFS; }
}
LOG { Default_Log_Level = WARN; }
CONFIG
}

# start_ganesha DIR: exports DIR/export; its process in DIR/pids-ganesha.
start_ganesha() {
  ganesha.nfsd -F -L "$1/ganesha.log" -f "$1/ganesha.conf" -p "$1/ganesha.pid" \
    >> "$1/ganesha.log" 2>&1 &
  echo $! > "$1/pids-ganesha"
  wait_for_port "$ganesha_port" $! "$1/ganesha.log"
  wait_for_port $((ganesha_port + 1)) $! "$1/ganesha.log"
}

stop_ganesha() {
  [ -f "$1/pids-ganesha" ] || return 0
  end_process "$(cat "$1/pids-ganesha")"
  rm -f "$1/pids-ganesha"
}

drop_caches() {
  sync
  echo 3 > /proc/sys/vm/drop_caches
}
