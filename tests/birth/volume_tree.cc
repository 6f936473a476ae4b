#include "tests/birth/volume_tree.h"

#include <gtest/gtest.h>

#include "fs/birth/volume_path.h"

namespace prism::birth {

VolumeTree::VolumeTree() {
  EXPECT_TRUE(host_.Create("v", false));
  fs_ = *host_.Attach("v", false);
}

InodeId VolumeTree::DirOf(std::string_view path) {
  InodeId dir = kRootInode;
  for (size_t at = 0, end; (end = path.find('/', at)) != path.npos; at = end + 1) {
    const std::string name(path.substr(at, end - at));
    if (name.empty()) continue;
    auto found = fs_->Lookup(kSystem, dir, name);
    if (!found) {
      fs::CreateArgs args;
      args.parent = dir;
      args.name = name;
      args.type = fs::FileType::kDirectory;
      args.mode = 0755;
      found = fs_->Create(kSystem, args);
    }
    EXPECT_TRUE(found) << path;
    dir = found->attr.ino;
  }
  return dir;
}

void VolumeTree::Put(std::string_view path, std::string_view content) {
  const std::string name(path.substr(path.rfind('/') + 1));
  const InodeId dir = DirOf(path);
  (void)fs_->Unlink(kSystem, dir, name);
  fs::CreateArgs args;
  args.parent = dir;
  args.name = name;
  args.mode = 0640;
  auto made = fs_->Create(kSystem, args);
  ASSERT_TRUE(made) << path;
  for (size_t at = 0; at < content.size(); at += fs::kIoMax) {
    fs::WriteArgs write;
    write.ino = made->attr.ino;
    write.offset = at;
    write.data = std::as_bytes(std::span(content.substr(at, fs::kIoMax)));
    ASSERT_TRUE(fs_->Write(kSystem, write));
  }
}

void VolumeTree::PutLink(std::string_view path, std::string_view target) {
  const std::string name(path.substr(path.rfind('/') + 1));
  fs::CreateArgs args;
  args.parent = DirOf(path);
  args.name = name;
  args.type = fs::FileType::kSymlink;
  args.symlink_target = target;
  ASSERT_TRUE(fs_->Create(kSystem, args)) << path;
}

fs::Attr VolumeTree::AttrOf(std::string_view path) {
  auto place = Walk(*fs_, path, false);
  return place && place->attr ? *place->attr : fs::Attr{};
}

std::string VolumeTree::Get(std::string_view path) {
  const fs::Attr attr = AttrOf(path);
  if (attr.ino == 0) return "(none)";
  if (attr.type != fs::FileType::kRegular) return "(other)";
  std::string content(attr.size, '\0');
  auto read = fs_->Read(kSystem, attr.ino, 0, std::as_writable_bytes(std::span(content)));
  EXPECT_TRUE(read);
  return content;
}

}  // namespace prism::birth
