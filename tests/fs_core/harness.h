// A VolumeFs over the volume in memory, and short ways to use it.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <string_view>

#include "cow/extent.h"
#include "fs/core/volume_core.h"
#include "tests/fs_core/fake_volume.h"

namespace prism::fs::testing {

inline std::span<const std::byte> Bytes(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

// Bytes that differ from place to place, and from seed to seed.
inline std::string Pattern(size_t length, uint32_t seed) {
  std::string text(length, '\0');
  uint32_t state = seed * 2654435761u + 1;
  for (char& c : text) {
    state = state * 1664525u + 1013904223u;
    c = static_cast<char>((state >> 24) | 1);
  }
  return text;
}

class FsTest : public ::testing::Test {
 protected:
  static constexpr uint64_t kBudget = uint64_t{64} << 20;

  void SetUp() override { Open(); }
  void TearDown() override {
    if (core_ == nullptr) return;
    fs_.reset();
    ASSERT_TRUE(core_->Flush());
    for (bool more = true; more;) {
      auto reaped = core_->ReapOrphans();
      ASSERT_TRUE(reaped);
      more = *reaped;
    }
    CheckAll();
    EXPECT_EQ(core_->dirty_bytes(), 0u);
    EXPECT_EQ(budget_.bytes(), 0u);
  }

  void Open() {
    ASSERT_TRUE(FormatVolume(*volume_));
    core_ = VolumeCore::Open(volume_, store_, budget_, CoreOptions{7});
    fs_ = core_->Attach();
  }

  // Items, totals, and the references that the store counted.
  void CheckAll() {
    EXPECT_EQ(Verify(*volume_, volume_->Usage()), "");
    std::map<ChunkId, int64_t> expected;
    for (const auto& [key, value] : volume_->items()) {
      if (key.type() != cow::ItemType::kExtent) continue;
      const auto pieces = cow::DecodeExtent(value);
      for (const cow::Piece& piece : *pieces) ++expected[piece.chunk];
    }
    if (clones_ == 0) {
      EXPECT_EQ(store_.References(), expected);
    }
    EXPECT_EQ(store_.pins(), 0u);
  }

  InodeId Make(std::string_view name, FileType type = FileType::kRegular,
               InodeId parent = kRootInode) {
    CreateArgs args;
    args.parent = parent;
    args.name = name;
    args.type = type;
    args.mode = 0755;
    if (type == FileType::kSymlink) args.symlink_target = "target";
    auto made = fs_->Create(root_, args);
    EXPECT_TRUE(made) << (made ? "" : NameOf(made.error()));
    return made ? made->attr.ino : 0;
  }
  void Write(InodeId ino, uint64_t offset, std::string_view text) {
    while (!text.empty()) {
      WriteArgs args;
      args.ino = ino;
      args.offset = offset;
      args.data = Bytes(text.substr(0, kIoMax));
      auto written = fs_->Write(root_, args);
      ASSERT_TRUE(written) << NameOf(written.error());
      ASSERT_GT(written->length, 0u);
      text.remove_prefix(written->length);
      offset += written->length;
    }
  }
  std::string Read(InodeId ino, uint64_t offset, size_t length) {
    std::string text;
    while (text.size() < length) {
      std::string part(std::min<size_t>(length - text.size(), kIoMax), 'x');
      auto read =
          fs_->Read(root_, ino, offset + text.size(), std::as_writable_bytes(std::span(part)));
      EXPECT_TRUE(read) << (read ? "" : NameOf(read.error()));
      if (!read || read->length == 0) break;
      text += part.substr(0, read->length);
      if (read->eof) break;
    }
    return text;
  }
  std::string ReadAll(InodeId ino) { return Read(ino, 0, size_t{64} << 20); }
  Attr Stat(InodeId ino) {
    auto attr = fs_->Getattr(root_, ino);
    EXPECT_TRUE(attr) << (attr ? "" : NameOf(attr.error()));
    return attr.value_or(Attr{});
  }
  void Truncate(InodeId ino, uint64_t size) {
    SetAttr changes;
    changes.size = size;
    auto change = fs_->Setattr(root_, ino, changes);
    ASSERT_TRUE(change) << NameOf(change.error());
    EXPECT_EQ(change->after.size, size);
  }
  void Flush() { ASSERT_TRUE(core_->Flush()); }
  void Remove(std::string_view name, InodeId parent = kRootInode) {
    auto removed = fs_->Unlink(root_, parent, name);
    ASSERT_TRUE(removed) << NameOf(removed.error());
    if (removed->removed.nlink > 0) return;
    ASSERT_TRUE(fs_->Release(root_, removed->removed.ino));
  }
  std::vector<cow::Piece> Pieces(InodeId ino, uint64_t block) {
    auto found = volume_->items().find(cow::MakeKey(cow::ItemType::kExtent, ino, block));
    if (found == volume_->items().end()) return {};
    return *cow::DecodeExtent(found->second);
  }

  const Caller root_;
  FakeStore store_;
  DirtyBudget budget_{kBudget};
  std::shared_ptr<FakeVolume> volume_ = std::make_shared<FakeVolume>(store_);
  std::shared_ptr<VolumeCore> core_;
  std::shared_ptr<FileSystem> fs_;
  int clones_ = 0;
};

}  // namespace prism::fs::testing
