// What the conformance suite needs of an implementation. Each driver_*.cc defines MakeDriver() and
// is linked with the suite into an executable of its own.
#pragma once

#include <memory>

#include "fs/contract/file_system.h"
#include "fs/core/host.h"

namespace prism::conformance {

inline constexpr char kVolume[] = "under-test";

class Driver {
 public:
  virtual ~Driver() = default;
  // The store, which has an empty volume kVolume.
  virtual fs::Host& host() = 0;
  // A further client of a volume, speaking through the implementation under test. All clients are
  // gone before the driver goes.
  virtual std::shared_ptr<fs::FileSystem> Attach(std::string_view volume) = 0;
};

std::unique_ptr<Driver> MakeDriver();

}  // namespace prism::conformance
