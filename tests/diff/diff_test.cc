// Host::Diff against reading everything, after random operations; and what it costs.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <random>
#include <set>

#include "fs/core/host.h"
#include "tests/diff/snapshot_of_files.h"
#include "tests/support/result.h"
#include "tests/support/temp_dir.h"

namespace prism::difftest {
namespace {

using fs::FileChange;
using test::Must;
using Kind = FileChange::Kind;

constexpr fs::Caller kAll{};

std::span<const std::byte> AsBytes(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

class DiffTest : public ::testing::Test {
 protected:
  DiffTest() {
    fs::HostOptions options;
    options.directory = directory_.Path("store");
    options.flush_interval_ms = 50;
    host_ = Must(fs::Host::Open(options));
    Must(host_->Create("a", false));
  }
  std::shared_ptr<fs::FileSystem> Attach(const std::string& name) {
    return Must(host_->Attach(name, false));
  }
  fs::DiffResult Diff(const std::string& a, const std::string& b, bool content = false) {
    return Must(host_->Diff(a, b, {.content = content}));
  }
  static InodeId Make(fs::FileSystem& volume, InodeId dir, const std::string& name,
                      fs::FileType type = fs::FileType::kRegular, std::string_view data = {}) {
    fs::CreateArgs args;
    args.parent = dir;
    args.name = name;
    args.type = type;
    args.mode = 0755;
    if (type == fs::FileType::kSymlink)
      args.symlink_target = data;
    else
      args.data = AsBytes(data);
    return Must(volume.Create(kAll, args)).attr.ino;
  }
  static void Write(fs::FileSystem& volume, InodeId ino, uint64_t offset, std::string_view data) {
    fs::WriteArgs args;
    args.ino = ino;
    args.offset = offset;
    args.data = AsBytes(data);
    Must(volume.Write(kAll, args));
  }
  // "+ /x", "R /x -> /y", "M /x" and so on.
  static std::vector<std::string> Lines(const fs::DiffResult& diff) {
    std::vector<std::string> lines;
    for (const FileChange& change : diff.changes) {
      if (change.kind == Kind::kAdded) lines.push_back("+ " + change.path);
      if (change.kind == Kind::kRemoved) lines.push_back("- " + change.path);
      if (change.kind == Kind::kRenamed) lines.push_back("R " + change.from + " -> " + change.path);
      if (change.kind == Kind::kChanged) lines.push_back((change.data ? "M " : "m ") + change.path);
    }
    return lines;
  }

  void RandomStep(fs::FileSystem& volume);
  void Check(const std::string& a, const std::string& b, bool content);

  test::TempDir directory_;
  std::unique_ptr<fs::Host> host_;
  std::mt19937_64 random_{7};
};

// Names are few, so that they are used again. What fails, fails.
void DiffTest::RandomStep(fs::FileSystem& volume) {
  const std::map<std::string, File> files = ReadFiles(volume);
  auto pick = [&] { return std::next(files.begin(), random_() % files.size()); };
  auto pick_dir = [&]() -> InodeId {
    for (int i = 0; i < 10; ++i)
      if (auto file = pick(); file->second.attr.type == fs::FileType::kDirectory)
        return file->second.attr.ino;
    return kRootInode;
  };
  auto entry = [&](const std::string& path) {
    const size_t slash = path.rfind('/');
    const std::string dir = slash == 0 ? "/" : path.substr(0, slash);
    return std::pair(files.at(dir).attr.ino, path.substr(slash + 1));
  };
  const std::string name = fmt::format("n{}", random_() % 6);
  const std::string data(random_() % 4 == 0 ? random_() % 200000 : random_() % 100,
                         static_cast<char>('a' + random_() % 26));
  auto file = pick();
  const InodeId ino = file->second.attr.ino;
  fs::CreateArgs create;
  create.parent = pick_dir();
  create.name = name;
  create.mode = 0755;
  fs::SetAttr changes;
  fs::WriteArgs write;
  write.ino = ino;
  write.offset = random_() % 150000;
  write.data = AsBytes(data);
  switch (random_() % 14) {
    case 0:
    case 1:
      create.data = AsBytes(std::string_view(data).substr(0, fs::kInitialDataMax));
      return (void)volume.Create(kAll, create);
    case 2:
      create.type = fs::FileType::kDirectory;
      return (void)volume.Create(kAll, create);
    case 3:
      create.type = fs::FileType::kSymlink;
      create.symlink_target = name;
      return (void)volume.Create(kAll, create);
    case 4:
      return (void)volume.Link(kAll, ino, pick_dir(), name);
    case 5:
    case 6:
      if (file->first == "/") return;
      return (void)volume.Rename(kAll, entry(file->first).first, entry(file->first).second,
                                 pick_dir(), name,
                                 random_() % 3 == 0 ? fs::kRenameExchange : fs::kRenameNone);
    case 7:
      if (file->first == "/") return;
      if (file->second.attr.type == fs::FileType::kDirectory)
        return (void)volume.Rmdir(kAll, entry(file->first).first, entry(file->first).second);
      return (void)volume.Unlink(kAll, entry(file->first).first, entry(file->first).second);
    case 8:
    case 9:
      return (void)volume.Write(kAll, write);
    case 10:
      changes.size = random_() % 150000;
      return (void)volume.Setattr(kAll, ino, changes);
    case 11:
      changes.mode = 0600 + random_() % 0100;
      return (void)volume.Setattr(kAll, ino, changes);
    case 12:
      return (void)volume.Setxattr(kAll, ino, "user." + name, data.substr(0, 50),
                                   fs::XattrMode::kSet);
    default:  // written again with what it has
      if (file->second.attr.type != fs::FileType::kRegular) return;
      write.offset = 0;
      write.data = AsBytes(std::string_view(file->second.content).substr(0, 100000));
      return (void)volume.Write(kAll, write);
  }
}

// Follows the list of changes from every file of `b` back to `a`: what it says must be so, and what
// it does not mention must be alike.
void DiffTest::Check(const std::string& name_a, const std::string& name_b, bool content) {
  const auto a = ReadFiles(*Attach(name_a)), b = ReadFiles(*Attach(name_b));
  const fs::DiffResult diff = Diff(name_a, name_b, content);
  std::map<std::string, const FileChange*> by_path;
  std::set<std::string> removed;
  for (const FileChange& change : diff.changes) {
    if (change.kind == Kind::kRemoved) {
      EXPECT_TRUE(a.contains(change.path)) << change.path;
      EXPECT_TRUE(removed.insert(change.path).second) << change.path;
      continue;
    }
    EXPECT_TRUE(b.contains(change.path)) << change.path;
    EXPECT_TRUE(by_path.emplace(change.path, &change).second) << change.path << " twice";
  }
  std::map<std::string, std::string> origin{{"/", "/"}};  // of paths in b, those in a
  std::set<std::string> seen{"/"};
  for (const auto& [path, file] : b) {
    auto found = by_path.find(path);
    const FileChange* change = found == by_path.end() ? nullptr : found->second;
    if (change != nullptr && change->kind == Kind::kAdded) {
      for (const std::string& gone : removed)
        EXPECT_FALSE(SameFile(a.at(gone), file)) << gone << " was renamed to " << path;
      continue;
    }
    std::string from = path;
    if (change != nullptr && change->kind == Kind::kRenamed) {
      from = change->from;
    } else if (path != "/") {
      const size_t slash = path.rfind('/');
      // Below a directory that is new by number, what has the old path is the old file.
      auto above = origin.find(slash == 0 ? "/" : path.substr(0, slash));
      if (above != origin.end())
        from = (above->second == "/" ? "" : above->second) + path.substr(slash);
    }
    if (!a.contains(from)) from = path;
    ASSERT_TRUE(a.contains(from)) << path << " is not said to be new";
    origin[path] = from;
    seen.insert(from);
    const bool data = change != nullptr && change->data;
    const bool attributes = change != nullptr && change->attributes;
    EXPECT_EQ(attributes, !SameAttributes(a.at(from), file)) << from << " -> " << path;
    if (content || !SameContent(a.at(from), file)) {
      EXPECT_EQ(data, !SameContent(a.at(from), file)) << from << " -> " << path;
    }
    if (change != nullptr && change->kind == Kind::kChanged) {
      EXPECT_TRUE(data || attributes) << path;
    }
    if (!content || !data || file.attr.type != fs::FileType::kRegular ||
        a.at(from).attr.type != file.attr.type)
      continue;
    // Equal outside of the ranges.
    std::string old_bytes = a.at(from).content, new_bytes = file.content;
    old_bytes.resize(std::max(old_bytes.size(), new_bytes.size()));
    new_bytes.resize(old_bytes.size());
    for (const fs::DataRange& range : change->ranges) {
      ASSERT_LE(range.offset + range.length, old_bytes.size());
      // Beyond the shorter one's end there may be zeros.
      if (range.offset + range.length <= std::min(change->old_size, change->new_size)) {
        EXPECT_NE(std::string_view(old_bytes).substr(range.offset, range.length),
                  std::string_view(new_bytes).substr(range.offset, range.length));
      }
      old_bytes.replace(range.offset, range.length, new_bytes, range.offset, range.length);
    }
    EXPECT_TRUE(old_bytes == new_bytes) << path;
  }
  for (const auto& [path, file] : a)
    EXPECT_EQ(removed.contains(path), !seen.contains(path)) << path;
}

TEST_F(DiffTest, AgainstReadingEverything) {
  auto a = Attach("a");
  for (int round = 0; round < 12; ++round) {
    for (int i = 0; i < 30; ++i) RandomStep(*a);
    const std::string snapshot = fmt::format("a@{}", round);
    const std::string clone = fmt::format("c{}", round);
    Must(host_->Snapshot({snapshot}, 0));
    Must(host_->Clone("a", {clone}));
    auto c = Attach(clone);
    for (int i = 0; i < 12; ++i) RandomStep(*a);
    for (int i = 0; i < 12; ++i) RandomStep(*c);
    if (round % 3 == 0) Must(host_->Checkpoint());
    for (bool content : {true, false}) {
      Check(snapshot, "a", content);
      Check("a", snapshot, content);
      Check("a", clone, content);
      if (round > 0) Check("a@0", clone, content);
      if (HasFailure()) return (void)(std::printf("round %d\n", round));
    }
  }
  EXPECT_TRUE(Diff("a", "a").changes.empty());
  EXPECT_EQ(Diff("a@3", "a@3").nodes_visited, 0u);
}

TEST_F(DiffTest, SaysWhatHappened) {
  auto a = Attach("a");
  InodeId dir = Make(*a, kRootInode, "dir", fs::FileType::kDirectory);
  for (int i = 0; i < 100; ++i) Make(*a, dir, fmt::format("f{}", i), fs::FileType::kRegular, "x");
  InodeId data = Make(*a, kRootInode, "data", fs::FileType::kRegular, std::string(5000, 'd'));
  Make(*a, kRootInode, "gone");
  InodeId replaced = Make(*a, kRootInode, "replaced", fs::FileType::kRegular, "old");
  Must(host_->Snapshot({"a@1"}, 0));
  Must(a->Rename(kAll, kRootInode, "dir", kRootInode, "moved", 0));
  Make(*a, dir, "new");
  Write(*a, data, 100, "changed");
  Must(a->Unlink(kAll, kRootInode, "gone"));
  Must(a->Unlink(kAll, kRootInode, "replaced"));
  Make(*a, kRootInode, "replaced", fs::FileType::kRegular, "new");
  (void)replaced;
  EXPECT_EQ(Lines(Diff("a@1", "a")),
            (std::vector<std::string>{"m /", "M /data", "- /gone", "R /dir -> /moved",
                                      "+ /moved/new", "M /replaced"}));
  const fs::DiffResult bytes = Diff("a@1", "a", true);
  EXPECT_EQ(bytes.changes[1].ranges, (std::vector<fs::DataRange>{{0, 4096}}));
  const fs::DiffResult few = Must(host_->Diff("a@1", "a", {.changes_max = 2}));
  EXPECT_TRUE(few.truncated);
  EXPECT_EQ(few.changes.size(), 2u);
  EXPECT_EQ(few.added + few.removed + few.renamed, 3u);
  EXPECT_EQ(host_->Diff("a", "none", {}).error().code, Err::kNoEntry);
  EXPECT_EQ(host_->List().size(), 2u) << "what held them still is gone";
}

// Nodes looked into: those on the way to the changes, on both sides.
TEST_F(DiffTest, TheCostIsThatOfTheChanges) {
  auto a = Attach("a");
  std::vector<InodeId> files;
  uint64_t cost = 0;
  for (int size : {1000, 10000, 100000}) {
    InodeId dir = 0;
    while (files.size() < static_cast<size_t>(size)) {
      if (files.size() % 1000 == 0)
        dir = Make(*a, kRootInode, fmt::format("d{}", files.size()), fs::FileType::kDirectory);
      files.push_back(Make(*a, dir, fmt::format("f{}", files.size()), fs::FileType::kRegular, "x"));
    }
    const std::string name = fmt::format("a@{}", size);
    Must(host_->Snapshot({name}, 0));
    for (int i = 0; i < 10; ++i)
      Write(*a, files[i * files.size() / 10], 0, fmt::format("{} {}", size, i));
    const fs::DiffResult diff = Diff(name, "a");
    EXPECT_EQ(diff.changed_data, 10u);
    if (size == 1000) cost = diff.nodes_visited;
    EXPECT_LE(diff.nodes_visited, 240u);
    std::printf("%d files: %lu nodes\n", size, diff.nodes_visited);
  }
  EXPECT_GT(cost, 0u);
}

}  // namespace
}  // namespace prism::difftest
