// Answers to the kernel, in its types. Internal to fs/mount.
#pragma once

#include <sys/stat.h>

#include "fs/mount/fuse_ops.h"

namespace prism::mount {

MountContext& ContextOf(fuse_req_t req);
// The identity that the kernel sent; groups are not needed where the kernel checks permission.
fs::Caller CallerOf(fuse_req_t req);

uint32_t TypeBits(fs::FileType type);  // S_IFMT
struct stat StatOf(const fs::Attr& attr);

void ReplyError(fuse_req_t req, Err err);
void ReplyStatus(fuse_req_t req, const Status& status);
void ReplyAttr(fuse_req_t req, const fs::Attr& attr);

// What the kernel learns with a name. The caller counts the reference (LookupTable::Add) first.
fuse_entry_param EntryOf(const MountContext& context, const fs::Attr& attr);
// How long the kernel may believe what it was told about a name, in seconds. In a machine's root,
// what its systemd asks while we are stopped (root_daemon.h) must not expire.
double EntryTimeout(const MountContext& context, InodeId dir, std::string_view name);
// Counts the reference, and takes it back if the kernel has withdrawn the request meanwhile.
void ReplyEntry(fuse_req_t req, const fs::Attr& attr, double timeout_s);
// "No such name", which the kernel may remember.
void ReplyNoEntry(fuse_req_t req, double timeout_s);
// The kernel gives back references; an orphan's last one releases it.
void Forget(MountContext& context, InodeId ino, uint64_t references);

// An inode number that the other end may send.
bool IsValidInode(InodeId ino);

}  // namespace prism::mount
