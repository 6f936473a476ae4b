#include "fs/base/check.h"

#include <spdlog/spdlog.h>

#include <cstdlib>

namespace prism {

void CheckFailed(const char* expression, const char* file, int line) {
  spdlog::critical("check failed: {} at {}:{}", expression, file, line);
  spdlog::default_logger()->flush();
  std::abort();
}

}  // namespace prism
