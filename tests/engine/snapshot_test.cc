// Snapshots in the catalog: their cost, their names, what keeps them, and crashes.
#include "tests/engine/store_fixture.h"

namespace prism::testing {
namespace {

using cow::ItemType;
using cow::MakeKey;

constexpr cow::Key kKey = MakeKey(ItemType::kInode, 5);

class SnapshotTest : public StoreFixture {
 protected:
  uint64_t Records() { return catalog_->engine().journal().last_lsn(); }
  std::string Value(const std::string& name) {
    std::string value;
    auto volume = Find(name);
    if (volume == nullptr) return "no volume";
    auto found = volume->Read()->Get(kKey, value);
    return found && *found ? value : "no item";
  }
  std::vector<std::string> Names() {
    std::vector<std::string> names;
    for (const auto& entry : catalog_->List()) names.push_back(entry.row.name);
    return names;
  }
  static Err ErrOf(const auto& outcome) { return outcome ? Err::kOk : outcome.error().code; }
};

using Texts = std::vector<std::string>;

TEST_F(SnapshotTest, SeveralVolumesAreOneRecordAndNoNodeWhateverTheirSize) {
  Create("small");
  auto large = Create("large");
  for (int i = 0; i < 100; ++i) {
    auto transaction = large->Write();
    for (uint64_t ino = 1; ino <= 1000; ++ino)
      transaction->Put(MakeKey(ItemType::kInode, i * 1000 + ino), std::string(100, 'x'));
    ASSERT_TRUE(transaction->Commit());
  }
  const uint64_t records = Records(), nodes = catalog_->engine().nodes().live_count();
  const uint64_t bytes = catalog_->engine().journal().bytes_since_trim();
  ASSERT_TRUE(catalog_->Snapshot({"small@x", "large@x"}, 0));
  EXPECT_EQ(Records(), records + 1);
  EXPECT_EQ(catalog_->engine().nodes().live_count(), nodes);
  EXPECT_LT(catalog_->engine().journal().bytes_since_trim() - bytes, 200u);
  ASSERT_TRUE(catalog_->Rollback("large@x"));
  EXPECT_EQ(Records(), records + 2);
  EXPECT_EQ(catalog_->engine().nodes().live_count(), nodes);
}

TEST_F(SnapshotTest, NamesGoWithTheVolume) {
  Create("a");
  Create("b");
  ASSERT_TRUE(catalog_->Snapshot({"a@2", "a@1", "b@1"}, 0));
  ASSERT_TRUE(catalog_->Rename("a", "c"));
  EXPECT_EQ(Names(), (Texts{"b", "b@1", "c", "c@1", "c@2"}));
  ASSERT_TRUE(catalog_->Rename("c@2", "c@3"));
  EXPECT_EQ(ErrOf(catalog_->Rename("c@3", "c@1")), Err::kExists);
  EXPECT_EQ(ErrOf(catalog_->Rename("c@3", "b@3")), Err::kInvalid);
  EXPECT_EQ(ErrOf(catalog_->Rename("c@3", "d")), Err::kInvalid);
  EXPECT_EQ(ErrOf(catalog_->Rename("c", "d@3")), Err::kInvalid);
  EXPECT_EQ(ErrOf(catalog_->Rename("c", std::string(127, 'n'))), Err::kInvalid) << "with @1: 129";
  for (int round = 0; round < 2; ++round) {
    EXPECT_EQ(Names(), (Texts{"b", "b@1", "c", "c@1", "c@3"}));
    EXPECT_EQ(catalog_->Find("c@3")->row.parent, "a");
    EXPECT_EQ(catalog_->Find("c@3")->row.parent_id, catalog_->Find("c")->row.id);
    round == 0 ? CrashAndReopen() : Reopen();
  }
}

TEST_F(SnapshotTest, BadOnesAreRefusedAndNothingIsMade) {
  Create("a");
  ASSERT_TRUE(catalog_->Snapshot({"a@x"}, 0));
  for (const Texts& names : {Texts{"a"}, {"a@"}, {"@x"}, {"a@x@y"}, {"a@.x"}, {"a@y", "a@b/c"}})
    EXPECT_EQ(ErrOf(catalog_->Snapshot(names, 0)), Err::kInvalid) << names.back();
  EXPECT_EQ(ErrOf(catalog_->Snapshot({}, 0)), Err::kInvalid);
  EXPECT_EQ(ErrOf(catalog_->Snapshot({"a@" + std::string(127, 'l')}, 0)), Err::kInvalid);
  EXPECT_EQ(ErrOf(catalog_->Snapshot({"a@y", "none@y"}, 0)), Err::kNoEntry);
  EXPECT_EQ(ErrOf(catalog_->Snapshot({"a@y", "a@x"}, 0)), Err::kExists);
  EXPECT_EQ(ErrOf(catalog_->Snapshot({"a@y", "a@y"}, 0)), Err::kExists);
  EXPECT_EQ(ErrOf(catalog_->Rollback("a")), Err::kInvalid);
  EXPECT_EQ(ErrOf(catalog_->Rollback("a@none")), Err::kNoEntry);
  ASSERT_TRUE(catalog_->Create("importing", true));
  EXPECT_EQ(ErrOf(catalog_->Snapshot({"importing@x"}, 0)), Err::kBusy);
  EXPECT_EQ(Names(), (Texts{"a", "a@x", "importing"}));
}

TEST_F(SnapshotTest, RollbackSurvivesCrashesAndUsesNoNumberTwice) {
  auto volume = Create("a");
  PutOne(*volume, kKey, "first");
  ASSERT_TRUE(catalog_->Snapshot({"a@1"}, 0));
  {
    auto transaction = volume->Write();
    transaction->Put(kKey, "second");
    transaction->AllocateInode();
    ASSERT_TRUE(transaction->Commit());
  }
  const InodeId next = catalog_->Find("a")->row.next_ino;
  ASSERT_TRUE(catalog_->Snapshot({"a@2"}, 0));
  ASSERT_TRUE(catalog_->Rollback("a@1"));
  CrashAndReopen();
  EXPECT_EQ(Value("a"), "first");
  EXPECT_EQ(Value("a@2"), "second");
  EXPECT_EQ(catalog_->Find("a")->row.next_ino, next);
  PutOne(*Find("a"), kKey, "third");
  EXPECT_EQ(Value("a@1"), "first");
  ASSERT_TRUE(catalog_->engine().Checkpoint());
  ASSERT_TRUE(catalog_->Rollback("a@2"));
  CrashAndReopen();
  EXPECT_EQ(Value("a"), "second");
  EXPECT_EQ(Value("a@1"), "first");
  ASSERT_TRUE(catalog_->Destroy({"a"}, true));
  ASSERT_TRUE(catalog_->engine().Drain());
  EXPECT_EQ(catalog_->engine().nodes().live_count(), 0u);
}

TEST_F(SnapshotTest, AVolumeIsNotDestroyedWithoutItsSnapshots) {
  Create("a");
  ASSERT_TRUE(catalog_->Snapshot({"a@x", "a@y"}, 0));
  ASSERT_TRUE(catalog_->Clone("a@x", {"clone"}));
  EXPECT_EQ(ErrOf(catalog_->Destroy({"a"})), Err::kBusy);
  EXPECT_EQ(ErrOf(catalog_->Destroy({"a", "a@x"})), Err::kBusy);
  EXPECT_EQ(Names(), (Texts{"a", "a@x", "a@y", "clone"}));
  ASSERT_TRUE(catalog_->Destroy({"a@x"}));
  EXPECT_EQ(Names(), (Texts{"a", "a@y", "clone"}));
  ASSERT_TRUE(catalog_->Destroy({"a@y", "a"}));
  CrashAndReopen();
  EXPECT_EQ(Names(), (Texts{"clone"}));
  EXPECT_EQ(catalog_->Find("clone")->row.parent, "a@x");
  EXPECT_FALSE(catalog_->Find("clone")->volume->read_only());
}

TEST_F(SnapshotTest, HoldsKeepUntilReleased) {
  Create("a");
  ASSERT_TRUE(catalog_->Snapshot({"a@x"}, 0));
  ASSERT_TRUE(catalog_->Hold("a@x", "backup"));
  ASSERT_TRUE(catalog_->Hold("a@x", "backup")) << "no error";
  ASSERT_TRUE(catalog_->Hold("a@x", "audit"));
  EXPECT_EQ(ErrOf(catalog_->Hold("a@x", "no tag!")), Err::kInvalid);
  for (int round = 0; round < 2; ++round) {
    EXPECT_EQ(ErrOf(catalog_->Destroy({"a@x"})), Err::kBusy);
    EXPECT_EQ(ErrOf(catalog_->Destroy({"a"}, true)), Err::kBusy);
    EXPECT_EQ(catalog_->Find("a@x")->row.holds, (Texts{"backup", "audit"}));
    round == 0 ? CrashAndReopen() : Reopen();
  }
  ASSERT_TRUE(catalog_->Release("a@x", "backup"));
  EXPECT_EQ(ErrOf(catalog_->Destroy({"a@x"})), Err::kBusy);
  ASSERT_TRUE(catalog_->Release("a@x", "audit"));
  ASSERT_TRUE(catalog_->Release("a@x", "audit")) << "no error";
  ASSERT_TRUE(catalog_->Clone("a@x", {"b"}));
  EXPECT_TRUE(catalog_->Destroy({"a"}, true));
  for (size_t i = 0; i < clone::kHoldsMax; ++i)
    ASSERT_TRUE(catalog_->Hold("b", "tag" + std::to_string(i)));
  EXPECT_EQ(ErrOf(catalog_->Hold("b", "one-more")), Err::kNoSpace);
}

TEST_F(SnapshotTest, ExpiredOnesAreFoundUnlessHeld) {
  Create("a");
  ASSERT_TRUE(catalog_->Snapshot({"a@1", "a@2", "a@3"}, 1000));
  ASSERT_TRUE(catalog_->Snapshot({"a@later"}, 2000));
  ASSERT_TRUE(catalog_->Snapshot({"a@never"}, 0));
  ASSERT_TRUE(catalog_->Hold("a@2", "tag"));
  ASSERT_TRUE(catalog_->Clone("a@1", {"clone"}));
  for (int round = 0; round < 2; ++round) {
    EXPECT_EQ(catalog_->Expired(999, 100), Texts{});
    EXPECT_EQ(catalog_->Expired(1000, 100), (Texts{"a@1", "a@3"}));
    EXPECT_EQ(catalog_->Expired(1000, 1), Texts{"a@1"});
    EXPECT_EQ(catalog_->Expired(9999, 100), (Texts{"a@1", "a@3", "a@later"}));
    CrashAndReopen();
  }
  ASSERT_TRUE(catalog_->Destroy({"a@1"}));
  ASSERT_TRUE(catalog_->Release("a@2", "tag"));
  EXPECT_EQ(catalog_->Expired(1000, 100), (Texts{"a@2", "a@3"}));
}

// What several hold together comes back only when all of them go.
TEST_F(SnapshotTest, WhatGoesTogetherIsCountedTogether) {
  auto volume = Create("a");
  for (uint64_t ino = 1; ino <= 2000; ++ino)
    PutOne(*volume, MakeKey(ItemType::kInode, ino), std::string(100, 'x'));
  ASSERT_TRUE(catalog_->Snapshot({"a@x"}, 0));
  ASSERT_TRUE(catalog_->Clone("a", {"b"}));
  const uint64_t all = catalog_->engine().nodes().live_count();
  PutOne(*volume, MakeKey(ItemType::kInode, 7), "changed");
  auto nodes = [&](const Texts& names, bool recursive) -> uint64_t {
    auto entries = catalog_->WouldDestroy(names, recursive);
    EXPECT_TRUE(entries.has_value());
    auto counted = catalog_->CountExclusive(*entries);
    EXPECT_TRUE(counted.has_value());
    return counted->nodes;
  };
  EXPECT_EQ(nodes({"a@x"}, false), 0u);
  EXPECT_EQ(nodes({"b"}, false), 0u);
  EXPECT_EQ(nodes({"a@x", "b"}, false), catalog_->engine().nodes().live_count() - all)
      << "of the old tree, what the change has copied";
  EXPECT_EQ(nodes({"a", "b"}, true), catalog_->engine().nodes().live_count());
  const uint64_t expected = nodes({"a"}, true), live = catalog_->engine().nodes().live_count();
  ASSERT_TRUE(catalog_->Destroy({"a"}, true));
  ASSERT_TRUE(catalog_->engine().Drain());
  EXPECT_EQ(catalog_->engine().nodes().live_count(), live - expected);
}

TEST_F(SnapshotTest, RowsAreReadAsTheyWereWrittenAndNoOthers) {
  clone::VolumeRow row;
  row.name = "name";
  row.next_ino = 77;
  row.hash_key = {1, 2};
  row.holds = {"tag"};
  row.sealed = true;
  row.quota = {.bytes = 3, .inodes = 4, .exclusive = true};
  row.past = {{5, 6}};
  row.line = 7;
  row.composition.rules = {"--from base"};
  std::string bytes = row.Encode();
  auto read = clone::VolumeRow::Decode(9, bytes);
  ASSERT_TRUE(read.has_value());
  EXPECT_EQ(read->Encode(), bytes);
  EXPECT_EQ(read->past, row.past);
  EXPECT_EQ(read->composition, row.composition);
  for (size_t length = 0; length < bytes.size(); ++length)
    EXPECT_FALSE(clone::VolumeRow::Decode(9, bytes.substr(0, length)).has_value());
  for (char version : {0, 1, 2, 4}) {
    bytes[0] = version;
    EXPECT_FALSE(clone::VolumeRow::Decode(9, bytes).has_value());
  }
}

TEST_F(SnapshotTest, DamagedRecordsAreRefused) {
  clone::SnapshotRecord snapshot{1, 2, {{3, 4, "label"}, {5, 6, "other"}}};
  std::string payload = snapshot.Encode().substr(1);
  EXPECT_EQ(clone::SnapshotRecord::Decode(payload)->targets.size(), 2u);
  clone::KeepRecord keep{1, 2, {"a", "b"}};
  std::string kept = keep.Encode().substr(1);
  EXPECT_EQ(clone::KeepRecord::Decode(kept)->holds, (Texts{"a", "b"}));
  for (size_t length = 0; length < kept.size(); ++length)
    EXPECT_FALSE(clone::KeepRecord::Decode(kept.substr(0, length)).has_value());
  EXPECT_FALSE(clone::RollbackRecord::Decode("short").has_value());
  EXPECT_FALSE(clone::SnapshotRecord::Decode(payload + "x").has_value());
}

}  // namespace
}  // namespace prism::testing
