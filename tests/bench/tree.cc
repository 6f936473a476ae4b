#include "tests/bench/tree.h"

#include <filesystem>
#include <fstream>

namespace prism::bench {
namespace {
constexpr const char* kMark = ".benchmark-store";
}

SmallTree MakeSmallTree(fs::FileSystem& file_system, uint64_t files, size_t data_bytes) {
  SmallTree tree;
  const fs::Caller root;
  Random random(files);
  std::vector<std::byte> data(data_bytes);
  for (uint64_t i = 0; i < files; ++i) {
    if (i % kFilesPerDir == 0) {
      std::string name = SmallTree::DirName(i);
      fs::CreateArgs args;
      args.parent = kRootInode;
      args.name = name;
      args.type = fs::FileType::kDirectory;
      args.mode = 0755;
      tree.dirs.push_back(Must(file_system.Create(root, args), "mkdir").attr.ino);
    }
    random.Fill(data.data(), data.size());
    std::string name = SmallTree::FileName(i);
    fs::CreateArgs args;
    args.parent = tree.dirs.back();
    args.name = name;
    args.mode = 0644;
    args.data = data;
    tree.files.push_back(Must(file_system.Create(root, args), "create").attr.ino);
  }
  return tree;
}

std::shared_ptr<fs::FileSystem> AttachTo(fs::Host& host, const std::string& volume) {
  return Must(host.Attach(volume, false), "attach");
}

std::string FreshStore(const std::string& directory) {
  namespace stdfs = std::filesystem;
  if (stdfs::exists(directory) && !stdfs::is_empty(directory) &&
      !stdfs::exists(stdfs::path(directory) / kMark))
    Die(directory + " exists and was not made by a benchmark: name another directory");
  stdfs::remove_all(directory);
  stdfs::create_directories(directory);
  std::ofstream(stdfs::path(directory) / kMark) << "made by tests/bench; may be deleted\n";
  return directory + "/store";
}

}  // namespace prism::bench
