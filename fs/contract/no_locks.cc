// What a FileSystem without locks answers.
#include "fs/contract/file_system.h"

namespace prism::fs {

Status FileSystem::Lock(const Caller&, const LockArgs&) { return Fail(Err::kNotSupported); }

Result<std::optional<LockHolder>> FileSystem::TestLock(const Caller&, const LockArgs&) {
  return Fail(Err::kNotSupported);
}

Status FileSystem::CancelLock(const Caller&, uint64_t) { return Fail(Err::kNotSupported); }

Status FileSystem::DropLocks(const Caller&, InodeId, std::string_view) {
  return Fail(Err::kNotSupported);
}

}  // namespace prism::fs
