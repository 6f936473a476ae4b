#!/bin/bash
# Records the conformance suite over NFS and has tshark take every packet apart: nothing may be
# malformed, and nearly all must have been understood as RPC.
#   dissector_test.sh CONFORMANCE_NFS_TEST
set -euo pipefail
program=$1

# In a network of its own, where nothing else is on loopback.
if [ "${2:-}" != inside ]; then
  exec unshare --net "$0" "$program" inside
fi
ip link set lo up
work=$(mktemp -d /dev/shm/prism-dissector-XXXXXX)
trap 'rm -rf "$work"' EXIT

tshark -q -i lo -f tcp -B 256 -w "$work/capture" 2> "$work/log" &
capture=$!
for _ in $(seq 100); do
  [ -s "$work/capture" ] && break
  sleep 0.1
done
TMPDIR=/dev/shm "$program" > "$work/suite" || { tail -n 40 "$work/suite"; exit 1; }
sleep 2  # what the kernel still has of the capture
kill -INT "$capture"
wait "$capture" || { cat "$work/log"; exit 1; }

# Every port as RPC: the clients' privileged ones belong to other protocols too.
count() { tshark -r "$work/capture" -d tcp.port==1-65535,rpc -2 -Y "$1" 2> /dev/null | wc -l; }
calls=$(count 'rpc.msgtyp == 0')
replies=$(count 'rpc.msgtyp == 1')
nfs=$(count nfs)
malformed=$(count '_ws.malformed')
echo "calls $calls, replies $replies, packets of NFS $nfs, malformed $malformed"
[ "$malformed" -eq 0 ] || {
  tshark -r "$work/capture" -d tcp.port==1-65535,rpc -2 -Y '_ws.malformed' 2> /dev/null | head -20
  exit 1
}
[ "$calls" -gt 10000 ] && [ "$nfs" -gt 10000 ] && [ "$replies" -ge $((calls * 99 / 100)) ]
