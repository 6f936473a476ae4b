// Random changes on both sides: against the model where nothing is renamed, and by what must always
// hold where everything is.
//
// PRISM_MERGE_SEED and PRISM_MERGE_ROUNDS make other and longer runs.
#include <fmt/format.h>

#include <cstdlib>
#include <random>

#include "tests/merge/merge_fixture.h"
#include "tests/merge/path_model.h"

namespace prism::mergetest {
namespace {

using fs::FileType;
using fs::OnConflict;
using test::Must;

uint64_t FromEnvironment(const char* name, uint64_t otherwise) {
  const char* value = std::getenv(name);
  return value == nullptr ? otherwise : std::strtoull(value, nullptr, 10);
}

class RandomMergeTest : public MergeTest {
 protected:
  RandomMergeTest() { random_.seed(FromEnvironment("PRISM_MERGE_SEED", 1)); }
  uint64_t rounds() const { return FromEnvironment("PRISM_MERGE_ROUNDS", 25); }
  uint64_t Up(uint64_t end) { return random_() % end; }
  Tree TreeOf(const std::string& volume);
  void StepByPath(const std::string& volume, Tree& tree);
  void AnyStep(const std::string& volume);
  std::string Fresh() { return fmt::format("{}-{}", ++made_, std::string(Up(3) * 3000, 'x')); }

  std::mt19937_64 random_;
  uint64_t made_ = 0;
  // What one side did is sometimes done by the other too.
  std::string last_data_ = "first";
  uint32_t last_owner_ = 1;
};

Tree RandomMergeTest::TreeOf(const std::string& volume) {
  Tree tree;
  for (const auto& [path, file] : Read(volume))
    if (path != "/") tree[path] = {file.attr.type, file.content, file.attr.uid};
  return tree;
}

void RandomMergeTest::StepByPath(const std::string& volume, Tree& tree) {
  std::vector<std::string> directories{""}, files;
  for (const auto& [path, file] : tree) {
    if (file.type == FileType::kDirectory) directories.push_back(path);
    if (file.type == FileType::kRegular) files.push_back(path);
  }
  const std::string data = Up(4) == 0 ? last_data_ : (last_data_ = Fresh());
  const uint32_t owner = Up(4) == 0 ? last_owner_ : ++last_owner_;
  const std::string path = directories[Up(directories.size())] + fmt::format("/n{}", Up(7));
  const bool there = tree.contains(path);
  const uint64_t kind = Up(8);
  if (kind < 3) {
    if (there) return;
    const FileType type = kind == 0   ? FileType::kDirectory
                          : kind == 1 ? FileType::kSymlink
                                      : FileType::kRegular;
    const bool link = type == FileType::kSymlink;
    Put(volume, path, type == FileType::kDirectory ? "" : link ? data.substr(0, 50) : data, type);
  } else if (kind == 3) {
    if (there && tree.lower_bound(path + "/") == tree.lower_bound(path + "0")) Remove(volume, path);
  } else if (kind == 4) {
    if (there && tree[path].type != FileType::kSymlink) Own(volume, path, owner);
  } else if (!files.empty()) {
    const std::string& file = files[Up(files.size())];
    kind == 5 ? Replace(volume, file, data) : Write(volume, file, data);
  }
  tree = TreeOf(volume);
}

TEST_F(RandomMergeTest, AsTheModelSays) {
  uint64_t without = 0, conflicts = 0;
  Must(host_->Create("base", false));
  Tree tree;
  for (int i = 0; i < 60; ++i) StepByPath("base", tree);
  for (uint64_t round = 0; round < rounds() && !HasFailure(); ++round) {
    SCOPED_TRACE(
        fmt::format("PRISM_MERGE_SEED={} round {}", FromEnvironment("PRISM_MERGE_SEED", 1), round));
    const std::string old_base = fmt::format("base@o{}", round);
    const std::string new_base = fmt::format("base@n{}", round);
    const std::string own = fmt::format("own{}", round);
    const std::vector<std::string> copies = {own + "-mine", own + "-theirs"};
    Must(host_->Snapshot({old_base}, 0));
    Must(host_->Clone(old_base, {own}));
    const Tree base = TreeOf("base");
    Tree mine = base, theirs = base;
    const uint64_t steps = 1 + Up(12);
    for (uint64_t i = 0; i < steps; ++i) {
      StepByPath(own, mine);
      StepByPath("base", theirs);
    }
    Must(host_->Snapshot({new_base}, 0));
    Must(host_->Clone(own, copies));
    const ModelMerge model = MergeTrees(base, mine, theirs);
    const fs::MergeReport report = Rebase(own, new_base);
    std::set<std::string> conflict_paths;
    for (const auto& conflict : report.conflicts) conflict_paths.insert(conflict.path);
    EXPECT_EQ(conflict_paths, model.conflicts);
    EXPECT_EQ(report.done, model.conflicts.empty());
    EXPECT_TRUE(TreeOf(own) == (report.done ? model.result : mine));
    CheckConsistent(own);
    ++(report.done ? without : conflicts);
    for (OnConflict on_conflict : {OnConflict::kMine, OnConflict::kTheirs}) {
      const bool for_mine = on_conflict == OnConflict::kMine;
      const std::string& copy = copies[for_mine ? 0 : 1];
      EXPECT_TRUE(Rebase(copy, new_base, {.on_conflict = on_conflict, .from = old_base}).done);
      CheckConsistent(copy);
      const Tree result = TreeOf(copy);
      const Tree& side = for_mine ? mine : theirs;
      for (const std::string& path : model.conflicts) {
        EXPECT_EQ(result.contains(path), side.contains(path)) << path;
        if (result.contains(path) && side.contains(path)) {
          EXPECT_TRUE(result.at(path) == side.at(path)) << path;
        }
      }
    }
    Must(host_->Destroy({own, copies[0], copies[1]}, true));
  }
  EXPECT_GT(without, rounds() / 10);
  EXPECT_GT(conflicts, rounds() / 10);
}

// Names are few, so that they meet.
void RandomMergeTest::AnyStep(const std::string& volume) {
  auto files = Attach(volume);
  const Files all = Read(volume);
  auto pick = [&] { return std::next(all.begin(), static_cast<int64_t>(Up(all.size()))); };
  auto pick_dir = [&]() -> InodeId {
    for (int i = 0; i < 10; ++i)
      if (auto file = pick(); file->second.attr.type == FileType::kDirectory)
        return file->second.attr.ino;
    return kRootInode;
  };
  const auto file = pick();
  const std::string name = fmt::format("n{}", Up(6)), data = Fresh();
  const std::string& path = file->first;
  const size_t slash = path.rfind('/');
  const InodeId dir = all.at(slash == 0 ? "/" : path.substr(0, slash)).attr.ino;
  const std::string entry = path.substr(slash + 1);
  fs::CreateArgs create;
  create.parent = pick_dir();
  create.name = name;
  create.mode = 0755;
  fs::SetAttr changes;
  fs::WriteArgs write;
  write.ino = file->second.attr.ino;
  write.offset = Up(150000);
  write.data = std::as_bytes(std::span(data.data(), data.size()));
  switch (Up(9)) {
    case 0:
      return (void)files->Create(kAll, create);
    case 1:
      create.type = FileType::kDirectory;
      return (void)files->Create(kAll, create);
    case 2:
      return (void)files->Link(kAll, write.ino, pick_dir(), name);
    case 3:
    case 4:
      if (path == "/") return;
      return (void)files->Rename(kAll, dir, entry, pick_dir(), name,
                                 Up(3) == 0 ? fs::kRenameExchange : fs::kRenameNone);
    case 5:
      if (path == "/") return;
      if (file->second.attr.type == FileType::kDirectory)
        return (void)files->Rmdir(kAll, dir, entry);
      return (void)files->Unlink(kAll, dir, entry);
    case 6:
      return (void)files->Write(kAll, write);
    case 7:
      changes.uid = static_cast<uint32_t>(Up(1000));
      return (void)files->Setattr(kAll, write.ino, changes);
    default:
      return (void)files->Setxattr(kAll, write.ino, "user." + name, data.substr(0, 50),
                                   fs::XattrMode::kSet);
  }
}

TEST_F(RandomMergeTest, WhateverHappens) {
  Must(host_->Create("base", false));
  for (int i = 0; i < 60; ++i) AnyStep("base");
  for (uint64_t round = 0; round < rounds() && !HasFailure(); ++round) {
    SCOPED_TRACE(
        fmt::format("PRISM_MERGE_SEED={} round {}", FromEnvironment("PRISM_MERGE_SEED", 1), round));
    const std::string old_base = fmt::format("base@o{}", round);
    const std::string new_base = fmt::format("base@n{}", round);
    Must(host_->Snapshot({old_base}, 0));
    Must(host_->Clone(old_base, {"still", "mine", "theirs", "same"}));
    for (uint64_t i = 1 + Up(15); i > 0; --i) AnyStep("same");
    Must(host_->Destroy({"mine", "theirs"}));
    Must(host_->Clone("same", {"mine", "theirs", "own"}));
    for (uint64_t i = 1 + Up(15); i > 0; --i) AnyStep("base");
    Must(host_->Snapshot({new_base}, 0));
    // Without own changes it becomes the base; upon an equal base it stays what it is.
    EXPECT_TRUE(Rebase("still", new_base).done);
    ExpectSame("still", new_base);
    Must(host_->Clone(old_base, {"equal"}));
    EXPECT_TRUE(Rebase("same", "equal", {.on_conflict = OnConflict::kMine}).done);
    ExpectSame("same", "own");
    for (const std::string volume : {"mine", "theirs"}) {
      const auto side = volume == "mine" ? OnConflict::kMine : OnConflict::kTheirs;
      const fs::MergeReport report =
          Rebase(volume, new_base, {.on_conflict = side, .from = old_base});
      EXPECT_TRUE(report.done);
      CheckConsistent(volume);
      // What has come out is what it came from, counted from where it went.
      if (report.conflict_count == 0) {
        Must(host_->Snapshot({volume + "@out"}, 0));
        EXPECT_EQ(Must(host_->Diff(volume, volume + "@out", {})).changes.size(), 0u);
      }
    }
    Must(host_->Destroy({"still", "mine", "theirs", "same", "own", "equal"}, true));
  }
  Must(host_->Destroy({"base"}, true));
  Must(host_->Drain());
  EXPECT_EQ(host_->Stats().nodes, 0u);
  EXPECT_EQ(host_->Stats().chunks, 0u);
}

}  // namespace
}  // namespace prism::mergetest
