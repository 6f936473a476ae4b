#include "fs/base/error.h"

#include <array>
#include <cerrno>

#include "fs/base/check.h"

namespace prism {
namespace {

struct Row {
  Err err;
  int error_number;
  std::string_view name;
};

constexpr std::array<Row, kErrCount> kRows = {{
    {Err::kOk, 0, "ok"},
    {Err::kPerm, EPERM, "not-permitted"},
    {Err::kNoEntry, ENOENT, "no-entry"},
    {Err::kIo, EIO, "io"},
    {Err::kCorrupt, EIO, "corrupt"},
    {Err::kAccess, EACCES, "access"},
    {Err::kExists, EEXIST, "exists"},
    {Err::kNotDirectory, ENOTDIR, "not-directory"},
    {Err::kIsDirectory, EISDIR, "is-directory"},
    {Err::kInvalid, EINVAL, "invalid"},
    {Err::kTooLarge, EFBIG, "too-large"},
    {Err::kNoSpace, ENOSPC, "no-space"},
    {Err::kQuota, EDQUOT, "quota"},
    {Err::kReadOnly, EROFS, "read-only"},
    {Err::kTooManyLinks, EMLINK, "too-many-links"},
    {Err::kNameTooLong, ENAMETOOLONG, "name-too-long"},
    {Err::kNotEmpty, ENOTEMPTY, "not-empty"},
    {Err::kStale, ESTALE, "stale"},
    {Err::kNoAttribute, ENODATA, "no-attribute"},
    {Err::kRange, ERANGE, "range"},
    {Err::kNotSupported, EOPNOTSUPP, "not-supported"},
    {Err::kBusy, EBUSY, "busy"},
    {Err::kAgain, EAGAIN, "again"},
    {Err::kNoSuchExtent, ENXIO, "no-such-extent"},
    {Err::kTooBig, E2BIG, "too-big"},
    {Err::kLoop, ELOOP, "loop"},
    {Err::kDisconnected, ENOTCONN, "disconnected"},
    {Err::kTimedOut, ETIMEDOUT, "timed-out"},
    {Err::kProtocol, EPROTO, "protocol"},
    {Err::kNotSync, ECANCELED, "not-in-sync"},
    {Err::kDeadlock, EDEADLK, "deadlock"},
    {Err::kNoLocks, ENOLCK, "no-locks"},
}};

constexpr bool RowsAreInOrder() {
  for (size_t i = 0; i < kRows.size(); ++i)
    if (static_cast<size_t>(kRows[i].err) != i) return false;
  return true;
}
static_assert(RowsAreInOrder());

}  // namespace

int ErrnoOf(Err err) { return kRows[static_cast<uint8_t>(err)].error_number; }

Err ErrFromErrno(int error_number) {
  PRISM_CHECK(error_number != 0);
  for (const Row& row : kRows)
    if (row.error_number == error_number) return row.err;
  return Err::kIo;
}

std::string_view NameOf(Err err) { return kRows[static_cast<uint8_t>(err)].name; }

}  // namespace prism
