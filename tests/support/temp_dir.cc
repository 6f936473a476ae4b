#include "tests/support/temp_dir.h"

#include <cstdlib>
#include <filesystem>

#include "fs/base/check.h"

namespace prism::test {

TempDir::TempDir() {
  const char* base = std::getenv("TMPDIR");
  path_ = std::string(base != nullptr ? base : "/tmp") + "/prism-test-XXXXXX";
  PRISM_CHECK(mkdtemp(path_.data()) != nullptr);
}

TempDir::~TempDir() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

}  // namespace prism::test
