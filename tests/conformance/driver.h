// What the conformance suite needs of an implementation. Each driver_*.cc defines MakeDriver() and
// is linked with the suite into an executable of its own.
#pragma once

#include <memory>

#include "fs/contract/file_system.h"
#include "fs/core/host.h"

namespace prism::conformance {

inline constexpr char kVolume[] = "under-test";

// What some way to a file system cannot say, because its protocol has no words for it, or because
// what is in between decides by itself. README.md gives the reason for each driver that lacks one.
enum class Feature {
  kAnyName,          // '/', NUL, "." and ".." where a name is meant
  kAnyNumber,        // offsets and cookies from 2^63 on
  kAnyValue,         // values outside of an enumeration
  kBirthTime,        // Attr::btime
  kBoundedIo,        // one Read or Write is one request, and refused over kIoMax
  kChangeNumber,     // Attr::change
  kCreateInOneStep,  // Create with initial state: all or nothing
  kDataOfAnyType,    // Read, Write, Seek, Fallocate of devices, FIFOs, sockets and symlinks
  kDataWithoutOpen,  // data belongs to its owner whatever its mode
  kEvents,           // SetListener
  kHoldsUnseen,      // a client holds orphans that it has never looked up
  kSymlinkMode,      // Setattr of it
  kUncached,         // every Read and Getattr is asked of the volume
  kUncheckedErrors,  // Exclusivity::kUnchecked that meets what is not a regular file
  kVerifier,         // Exclusivity::kVerified
};

class Driver {
 public:
  virtual ~Driver() = default;
  // In process, everything.
  virtual bool Can(Feature) const { return true; }
  // The store, which has an empty volume kVolume.
  virtual fs::Host& host() = 0;
  // A further client of a volume, speaking through the implementation under test. All clients are
  // gone before the driver goes.
  virtual std::shared_ptr<fs::FileSystem> Attach(std::string_view volume) = 0;
};

std::unique_ptr<Driver> MakeDriver();

}  // namespace prism::conformance
