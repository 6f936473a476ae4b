// A directory of a test's own, removed with all it contains.
#pragma once

#include <string>

namespace prism::test {

class TempDir {
 public:
  TempDir();  // below $TMPDIR or /tmp
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  const std::string& path() const { return path_; }
  std::string Path(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

}  // namespace prism::test
