// The closed set of errors of the file-system contract, and the Result that carries them.
//
// Three classes of trouble are never mixed: a peer's bad input is one of these errors; stored bytes
// that do not verify are kCorrupt (with their name in the log); our own broken logic is
// PRISM_CHECK.
#pragma once

#include <cstdint>
#include <string_view>
#include <tl/expected.hpp>
#include <utility>

namespace prism {

enum class [[nodiscard]] Err : uint8_t{
    kOk = 0,        // never inside a Result; on the wire only
    kPerm,          // EPERM: only the owner or root may
    kNoEntry,       // ENOENT
    kIo,            // EIO: the medium failed
    kCorrupt,       // EIO: stored bytes did not verify
    kAccess,        // EACCES: permission bits or ACL deny it
    kExists,        // EEXIST
    kNotDirectory,  // ENOTDIR
    kIsDirectory,   // EISDIR
    kInvalid,       // EINVAL
    kTooLarge,      // EFBIG: beyond the largest file size
    kNoSpace,       // ENOSPC
    kQuota,         // EDQUOT
    kReadOnly,      // EROFS
    kTooManyLinks,  // EMLINK
    kNameTooLong,   // ENAMETOOLONG
    kNotEmpty,      // ENOTEMPTY
    kStale,         // ESTALE: the inode or its volume is gone
    kNoAttribute,   // ENODATA: no such extended attribute
    kRange,         // ERANGE: the caller's buffer is too small
    kNotSupported,  // EOPNOTSUPP
    kBusy,          // EBUSY
    kAgain,         // EAGAIN: would block; NFS says JUKEBOX
    kNoSuchExtent,  // ENXIO: SEEK_DATA/SEEK_HOLE beyond the last
    kTooBig,        // E2BIG: an extended attribute over the limit
    kLoop,          // ELOOP
    kDisconnected,  // ENOTCONN: the server or the peer has gone
    kTimedOut,      // ETIMEDOUT
    kProtocol,      // EPROTO: the peer sent what the protocol does not allow
    kNotSync,       // ECANCELED: the inode has changed since (SetAttr::if_ctime)
    kDeadlock,      // EDEADLK: waiting for this lock would wait for oneself
    kNoLocks,       // ENOLCK: too many locks
};
inline constexpr uint8_t kErrCount = static_cast<uint8_t>(Err::kNoLocks) + 1;

// The only mapping to errno values (positive).
int ErrnoOf(Err err);
// The reverse, for results of system calls: unknown values become kIo.
Err ErrFromErrno(int error_number);
// A short stable name, for logs and JSON: "no-entry".
std::string_view NameOf(Err err);

template <typename T>
using Result = tl::expected<T, Err>;
using Status = tl::expected<void, Err>;

inline tl::unexpected<Err> Fail(Err err) { return tl::unexpected<Err>(err); }

}  // namespace prism

// PRISM_TRY(expr): returns the error of a Status or Result from the enclosing function.
#define PRISM_TRY(expr)                                             \
  do {                                                              \
    auto&& prism_try_result = (expr);                               \
    if (!prism_try_result) [[unlikely]]                             \
      return ::tl::unexpected(std::move(prism_try_result).error()); \
  } while (0)

// PRISM_ASSIGN(declaration, expr): the value of a Result, or return its error.
#define PRISM_CONCAT_INNER(a, b) a##b
#define PRISM_CONCAT(a, b) PRISM_CONCAT_INNER(a, b)
#define PRISM_ASSIGN(declaration, expr) \
  PRISM_ASSIGN_NAMED(PRISM_CONCAT(prism_result_, __LINE__), declaration, expr)
#define PRISM_ASSIGN_NAMED(name, declaration, expr)   \
  auto name = (expr);                                 \
  if (!name) [[unlikely]]                             \
    return ::tl::unexpected(std::move(name).error()); \
  declaration = std::move(*name)
