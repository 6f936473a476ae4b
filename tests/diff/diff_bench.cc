// How long a comparison takes: diff_bench FILES [CHANGES].
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "fs/core/host.h"
#include "tests/support/result.h"
#include "tests/support/temp_dir.h"

namespace {

using namespace prism;
using test::Must;
using Clock = std::chrono::steady_clock;

constexpr fs::Caller kAll{};

InodeId Make(fs::FileSystem& volume, InodeId dir, const std::string& name, fs::FileType type) {
  fs::CreateArgs args;
  args.parent = dir;
  args.name = name;
  args.type = type;
  args.mode = 0755;
  static const std::byte kBody[16] = {};
  if (type == fs::FileType::kRegular) args.data = kBody;
  return Must(volume.Create(kAll, args)).attr.ino;
}

}  // namespace

int main(int argc, char** argv) {
  const size_t files = argc > 1 ? std::strtoull(argv[1], nullptr, 0) : 100000;
  const size_t changes = argc > 2 ? std::strtoull(argv[2], nullptr, 0) : 10;
  test::TempDir directory;
  fs::HostOptions options;
  options.directory = directory.Path("store");
  auto host = Must(fs::Host::Open(options));
  Must(host->Create("a", false));
  auto volume = Must(host->Attach("a", false));
  std::vector<InodeId> made;
  InodeId dir = 0;
  for (size_t i = 0; i < files; ++i) {
    if (i % 1000 == 0)
      dir = Make(*volume, kRootInode, fmt::format("d{}", i), fs::FileType::kDirectory);
    made.push_back(Make(*volume, dir, fmt::format("f{}", i), fs::FileType::kRegular));
  }
  Must(host->Checkpoint());
  Must(host->Snapshot({"a@1"}, 0));
  for (size_t i = 0; i < changes; ++i) {
    fs::WriteArgs write;
    write.ino = made[i * files / changes];
    const std::byte byte{1};
    write.data = std::span(&byte, 1);
    Must(volume->Write(kAll, write));
  }
  Must(host->Flush());
  std::vector<double> took;
  uint64_t visited = 0;
  for (int i = 0; i < 21; ++i) {
    const auto start = Clock::now();
    const fs::DiffResult diff = Must(host->Diff("a@1", "a", {}));
    took.push_back(std::chrono::duration<double, std::milli>(Clock::now() - start).count());
    visited = diff.nodes_visited;
    if (diff.changed_data != changes) std::printf("wrong: %lu\n", diff.changed_data);
  }
  const double first = took.front();
  std::sort(took.begin(), took.end());
  std::printf("%zu files, %zu changes: first %.2f ms, median %.2f ms, longest %.2f ms, %lu nodes\n",
              files, changes, first, took[took.size() / 2], took.back(), visited);
  return 0;
}
