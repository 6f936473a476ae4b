#include "tests/diff/snapshot_of_files.h"

#include <vector>

#include "tests/support/result.h"

namespace prism::difftest {
namespace {

using test::Must;

constexpr fs::Caller kAll{};

File ReadFile(fs::FileSystem& volume, const fs::Attr& attr) {
  File file{attr, {}, {}};
  if (attr.type == fs::FileType::kSymlink) file.content = Must(volume.Readlink(kAll, attr.ino));
  if (attr.type == fs::FileType::kRegular) {
    file.content.resize(attr.size);
    auto bytes = std::as_writable_bytes(std::span(file.content));
    for (uint64_t at = 0; at < attr.size;) {
      const auto part = bytes.subspan(at, std::min<uint64_t>(attr.size - at, fs::kIoMax));
      at += Must(volume.Read(kAll, attr.ino, at, part)).length;
    }
  }
  for (const std::string& name : Must(volume.Listxattr(kAll, attr.ino)))
    file.xattrs[name] = Must(volume.Getxattr(kAll, attr.ino, name));
  return file;
}

void ReadDirectory(fs::FileSystem& volume, InodeId dir, const std::string& path,
                   std::map<std::string, File>& files) {
  std::vector<std::pair<std::string, fs::Attr>> entries;
  uint64_t cookie = 0;
  for (bool eof = false; !eof;)
    eof = Must(volume.Readdir(kAll, dir, cookie, true, [&](const fs::DirEntry& entry) {
            entries.emplace_back(entry.name, *entry.attr);
            cookie = entry.cookie;
            return true;
          })).eof;
  for (const auto& [name, attr] : entries) {
    const std::string child = path + "/" + name;
    files[child] = ReadFile(volume, attr);
    if (attr.type == fs::FileType::kDirectory) ReadDirectory(volume, attr.ino, child, files);
  }
}

}  // namespace

std::map<std::string, File> ReadFiles(fs::FileSystem& volume) {
  std::map<std::string, File> files;
  files["/"] = ReadFile(volume, Must(volume.Getattr(kAll, kRootInode)));
  ReadDirectory(volume, kRootInode, "", files);
  return files;
}

bool SameContent(const File& a, const File& b) { return a.content == b.content; }

bool SameAttributes(const File& a, const File& b) {
  return a.attr.type == b.attr.type && a.attr.mode == b.attr.mode && a.attr.uid == b.attr.uid &&
         a.attr.gid == b.attr.gid && a.attr.mtime == b.attr.mtime && a.xattrs == b.xattrs;
}

bool SameFile(const File& a, const File& b) {
  return a.attr.ino == b.attr.ino && a.attr.type == b.attr.type && a.attr.btime == b.attr.btime;
}

}  // namespace prism::difftest
