// Who may do what: mode bits, POSIX ACLs, ownership and the sticky bit.
//
// Every Require* succeeds at once when the caller's permissions are not to be checked here.
#pragma once

#include <cstdint>

#include "cow/volume_map.h"
#include "fs/contract/file_system.h"
#include "fs/core/acl.h"
#include "fs/core/dir_cookie.h"
#include "fs/core/inode_record.h"

namespace prism::fs {

enum AccessBits : uint32_t { kMayExecute = 1, kMayWrite = 2, kMayRead = 4 };  // as access(2)

// The subset of `mask` that the caller is granted; always evaluates. For root: everything, but
// execution only where somebody may execute.
Result<uint32_t> GrantedAccess(const cow::ReadView& view, const HashKeys& key, const Caller& caller,
                               const InodeRecord& record, uint32_t mask);

// kAccess unless all of `want` is granted.
Status RequireAccess(const cow::ReadView& view, const HashKeys& key, const Caller& caller,
                     const InodeRecord& record, uint32_t want);

// The same for reading or writing the body of an open file, where no open is seen here: the owner
// may, whatever the mode says, as one who opened the file before a chmod or made it read-only; and
// who may execute may read (RFC 1813, section 4.4).
Status RequireBodyAccess(const cow::ReadView& view, const HashKeys& key, const Caller& caller,
                         const InodeRecord& record, uint32_t want);

// kPerm unless the caller owns the file or is root.
Status RequireOwner(const Caller& caller, const Attr& attr);

// kPerm if the directory is sticky and neither it nor the file is the caller's.
Status RequireUnsticky(const Caller& caller, const Attr& dir, const Attr& file);

// To take an entry of `file` away from `dir`: write and search, and the sticky bit.
Status RequireRemoval(const cow::ReadView& view, const HashKeys& key, const Caller& caller,
                      const InodeRecord& dir, const InodeRecord& file);

// May the caller do what only root may?
inline bool IsRoot(const Caller& caller) { return !caller.check_permission || caller.uid == 0; }
bool IsMember(const Caller& caller, uint32_t gid);

// Set-user-id, set-group-id and security.capability, as they stand after a change by somebody who
// may not keep them. True: something changed.
Result<bool> KillPrivileges(cow::WriteTransaction& transaction, const HashKeys& key,
                            InodeRecord& record);
bool HasPrivileges(const InodeRecord& record);

}  // namespace prism::fs
