#include "tests/cli/support.h"

#include <gtest/gtest.h>
#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

namespace prism::tool {

TemporaryDirectory::TemporaryDirectory() {
  // Not /tmp by default: it may be a tmpfs, which has no user attributes on older kernels.
  const char* base = std::getenv("PRISM_TEST_DIR");
  path_ = std::string(base ? base : "/var/tmp") + "/prism-test-XXXXXX";
  if (!mkdtemp(path_.data())) ADD_FAILURE() << "cannot make " << path_;
}

TemporaryDirectory::~TemporaryDirectory() {
  std::error_code error;
  std::filesystem::remove_all(path_, error);
}

ShellResult Shell(const std::string& command) {
  ShellResult result;
  FILE* pipe = popen(("{ " + command + "\n} 2>&1").c_str(), "r");
  if (!pipe) return result;
  std::array<char, 4096> buffer;
  size_t got;
  while ((got = fread(buffer.data(), 1, buffer.size(), pipe)) > 0)
    result.output.append(buffer.data(), got);
  const int status = pclose(pipe);
  result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return result;
}

ModelVolume::ModelVolume() : host_(std::make_unique<model::ModelHost>()) {
  EXPECT_TRUE(host_->Create("test", false));
  file_system_ = *host_->Attach("test", false);
}

Result<fs::Attr> Find(fs::FileSystem& volume, std::string_view path) {
  PRISM_ASSIGN(fs::Attr attr, volume.Getattr(kRootCaller, kRootInode));
  while (!path.empty()) {
    const std::string_view part = path.substr(0, path.find('/'));
    path.remove_prefix(std::min(path.size(), part.size() + 1));
    PRISM_ASSIGN(fs::EntryResult found, volume.Lookup(kRootCaller, attr.ino, part));
    attr = found.attr;
  }
  return attr;
}

std::string Content(fs::FileSystem& volume, std::string_view path) {
  Result<fs::Attr> attr = Find(volume, path);
  if (!attr) return "(absent)";
  std::string content(attr->size, '\0');
  size_t done = 0;
  while (done < content.size()) {
    auto rest = std::as_writable_bytes(std::span(content)).subspan(done);
    auto read =
        volume.Read(kRootCaller, attr->ino, done, rest.first(std::min(rest.size(), fs::kIoMax)));
    if (!read || read->length == 0) return "(unreadable)";
    done += read->length;
  }
  return content;
}

}  // namespace prism::tool
