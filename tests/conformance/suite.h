// The fixture of the conformance suite: one empty volume, one client, and short words for what the
// tests do most.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <source_location>
#include <string>
#include <string_view>
#include <vector>

#include "tests/conformance/driver.h"
#include "tests/support/print.h"
#include "tests/support/result.h"

namespace prism::conformance {

using fs::Attr;
using fs::Caller;
using fs::CreateArgs;
using fs::FallocateMode;
using fs::FileSystem;
using fs::FileType;
using fs::SeekWhence;
using fs::SetAttr;
using fs::Timespec;
using fs::XattrMode;
using test::ErrOf;
using test::Must;

inline constexpr Caller kKernel{};  // root, and the kernel has checked
inline constexpr Caller kRoot{.check_permission = true};
// Somebody whose permissions are checked; his group has his number.
Caller User(uint32_t uid, std::span<const uint32_t> groups = {});

// The answer to what no correct caller says, such as a value outside of an enumeration: kInvalid,
// or kProtocol where it does not even get through the channel.
inline bool IsMalformed(Err err) { return err == Err::kInvalid || err == Err::kProtocol; }

inline std::span<const std::byte> AsBytes(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}
// Bytes without zeros that differ from place to place and from seed to seed.
std::string Pattern(size_t size, uint32_t seed = 0);

// At the beginning of a test that makes no sense without it.
#define NEEDS(feature) \
  if (!Can(Feature::feature)) GTEST_SKIP() << "this way to the volume has no " #feature

class Conformance : public ::testing::Test {
 protected:
  using At = std::source_location;

  Conformance() : driver_(MakeDriver()), fs_(driver_->Attach(kVolume)) {}

  bool Can(Feature feature) const { return driver_->Can(feature); }
  // `after` is a later state of the same inode: its change number has grown, where there is one.
  void ExpectChanged(const Attr& after, const Attr& before, At at = At::current());

  // Anything that can be made; errors are the caller's to look at.
  Result<fs::EntryResult> Create(InodeId dir, std::string_view name,
                                 FileType type = FileType::kRegular, uint32_t mode = 0644,
                                 const Caller& caller = kKernel);
  // These must succeed.
  InodeId MakeFile(InodeId dir, std::string_view name, std::string_view data = {},
                   uint32_t mode = 0644, At at = At::current());
  InodeId MakeDir(InodeId dir, std::string_view name, uint32_t mode = 0755, At at = At::current());
  InodeId MakeOwned(InodeId dir, std::string_view name, FileType type, uint32_t mode, uint32_t uid,
                    uint32_t gid, At at = At::current());
  Attr GetAttr(InodeId ino, At at = At::current());
  void Chmod(InodeId ino, uint32_t mode, At at = At::current());
  void Chown(InodeId ino, uint32_t uid, uint32_t gid, At at = At::current());
  void SetTimes(InodeId ino, Timespec atime, Timespec mtime, At at = At::current());
  void WriteAt(InodeId ino, uint64_t offset, std::string_view data, At at = At::current());
  void Truncate(InodeId ino, uint64_t size, At at = At::current());

  std::string ReadAt(InodeId ino, uint64_t offset, size_t length, At at = At::current());
  std::string ReadAll(InodeId ino, At at = At::current());
  Err LookupErr(InodeId dir, std::string_view name, const Caller& caller = kKernel) {
    return ErrOf(fs_->Lookup(caller, dir, name));
  }
  InodeId Find(InodeId dir, std::string_view name, At at = At::current());
  bool Exists(InodeId dir, std::string_view name) { return LookupErr(dir, name) == Err::kOk; }
  Err WriteErr(const Caller& caller, InodeId ino, uint64_t offset, std::string_view data);
  // Everything a listing returns, call by call until its end.
  std::map<std::string, InodeId> List(InodeId dir, At at = At::current());

  std::unique_ptr<Driver> driver_;
  std::shared_ptr<FileSystem> fs_;
};

}  // namespace prism::conformance
