# What a guest does in its clone of the tree that mount_test.py makes: run in the guest by busybox's
# shell on the mount, and by the host's shell on a local file system, which says what must come out.
# Deterministic but for times; every check that fails ends it with a message.
set -eu
umask 022
check() { [ "$2" = "$3" ] || { echo "$1: '$2' instead of '$3'"; exit 1; }; }

# What the clone holds.
check "a file of the base" "$(cat etc/motd)" "welcome to the base"
check "a large file of the base" "$(sha256sum < lib/large | cut -c1-64)" "$LARGE_SHA256"
check "a symlink of the base" "$(readlink lib/alias)" "large"

# Names: create, rename onto, unlink, hard links, symlinks, directories.
mkdir -p work/deep/er/still
echo one > work/one
echo two > work/two
mv work/one work/two
check "renamed onto" "$(cat work/two)" one
[ ! -e work/one ]
ln work/two work/deep/hard
check "links" "$(stat -c %h work/two)" 2
rm work/two
check "through the other name" "$(cat work/deep/hard)" one
ln -s ../hard work/deep/er/soft
check "through a symlink" "$(cat work/deep/er/soft)" one
ln -s nowhere work/dangling
mv work/deep/er work/moved
rmdir work/moved/still
if rmdir work/moved 2> /dev/null; then echo "a directory with names in it was removed"; exit 1; fi
if mv work work/deep/inside 2> /dev/null; then echo "moved into itself"; exit 1; fi
name=$(printf '%0255d' 0)
echo long > "work/$name"
if { echo longer > "work/${name}0"; } 2> /dev/null; then echo "a name of 256 bytes"; exit 1; fi
echo 'ünïcode' > 'work/ä b	c'
mkfifo work/fifo
mknod work/null c 1 3

# Of the base: change, append, rename, remove.
echo more >> etc/motd
mv etc/hosts etc/hosts.old
mv share doc
rm -r doc/b
rm lib/alias
printf XYZ | dd of=lib/large bs=1 seek=500000 conv=notrunc 2> /dev/null

# Attributes.
chmod 4751 work/deep/hard
chown 1234:5678 'work/ä b	c'
chmod 1777 work/deep
touch -d '2001-02-03 04:05:06' work/moved
check "the time that was set" "$(stat -c %Y work/moved)" "$(date -d '2001-02-03 04:05:06' +%s)"

# Content: 4 MiB with a checksum, truncated down and up, a hole, an unlinked open file.
seq 1 1000000 | head -c 4194304 > work/content
check "4 MiB" "$(sha256sum < work/content | cut -c1-64)" "$CONTENT_SHA256"
cp work/content work/cut
truncate -s 1000001 work/cut
truncate -s 3000000 work/cut
check "after two truncates" "$(wc -c < work/cut)" 3000000
check "zeros" "$(tail -c +1000002 work/cut | tr -d '\0' | wc -c)" 0
truncate -s 100000000 work/sparse
printf end >> work/sparse
check "the hole takes no space" "$(($(du -k work/sparse | cut -f1) < 1000))" 1
exec 5> work/orphan 6< work/orphan
rm work/orphan
echo "still there" >&5
check "an unlinked open file" "$(cat <&6)" "still there"
exec 5>&- 6<&-

# A directory of 2,000 names, listed, halved, listed.
mkdir work/many
i=0
while [ $i -lt 2000 ]; do
  i=$((i + 1))
  : > work/many/name-$i
done
check "2,000 names" "$(ls work/many | sort -u | wc -l)" 2000
check "once each" "$(ls work/many | wc -l)" 2000
rm work/many/name-*[13579]
check "half of them" "$(ls work/many | wc -l)" 1000
check "and no other" "$(ls work/many | grep -c '[13579]$' || true)" 0

set -- $(df -Pk . | tail -1)
check "df: blocks, free, used" "$(($2 > 0 && $4 > 0 && $4 <= $2))" 1
echo "work done"
