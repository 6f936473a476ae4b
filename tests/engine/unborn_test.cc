// Volumes that come into being in two steps, seals, and what is left of both by a crash.
#include <algorithm>

#include "tests/engine/store_fixture.h"

namespace prism::testing {
namespace {

using Texts = std::vector<std::string>;
using Entries = std::vector<clone::CatalogEntry>;

class UnbornTest : public StoreFixture {
 protected:
  static clone::Request Named(const std::string& key, const Texts& arguments) {
    return clone::NameRequest(key, "verb", arguments).value();
  }
  Texts Names() {
    Texts names;
    for (const auto& entry : catalog_->List()) names.push_back(entry.row.name);
    return names;
  }
  Entries Unborn(const std::string& source, size_t count) {
    auto entries = catalog_->CloneUnborn(source, count);
    EXPECT_TRUE(entries.has_value());
    return *entries;
  }
  static cow::Key KeyOf(uint64_t ino) { return cow::MakeKey(cow::ItemType::kInode, ino); }
  std::string ValueOf(const std::string& volume, uint64_t ino) {
    return Dump(*Find(volume)).at({KeyOf(ino).hi, KeyOf(ino).lo});
  }
  uint64_t LiveNodes() {
    EXPECT_TRUE(catalog_->engine().Drain());
    return catalog_->engine().nodes().live_count();
  }
};

TEST_F(UnbornTest, NobodySeesTheUnborn) {
  auto source = Create("a");
  PutOne(*source, KeyOf(5), "shared");
  Entries unborn = Unborn("a", 2);
  PutOne(*unborn[0].volume, KeyOf(6), "of the first");
  PutOne(*unborn[1].volume, KeyOf(6), "of the second");
  EXPECT_EQ(Names(), Texts{"a"});
  EXPECT_EQ(catalog_->Find(unborn[0].row.name).error().code, Err::kNoEntry);
  EXPECT_EQ(catalog_->Clone(unborn[0].row.name, {"x"}).error().code, Err::kNoEntry);
  EXPECT_EQ(catalog_->Destroy({unborn[0].row.name}).error().code, Err::kNoEntry);

  EXPECT_EQ(catalog_->Reveal(unborn, {"b", "a"}).error().code, Err::kExists);
  EXPECT_EQ(catalog_->Reveal(unborn, {"b", "b"}).error().code, Err::kExists);
  EXPECT_EQ(Names(), Texts{"a"}) << "half of them was revealed";
  auto born = catalog_->Reveal(unborn, {"b", "c"});
  ASSERT_TRUE(born.has_value());
  EXPECT_EQ(Names(), (Texts{"a", "b", "c"}));
  EXPECT_EQ((*born)[1].row.parent, "a");
  EXPECT_FALSE((*born)[1].row.importing);
  EXPECT_EQ(ValueOf("c", 6), "of the second");
  EXPECT_EQ(Dump(*Find("a")).size(), 1u);
}

TEST_F(UnbornTest, ACrashLeavesAllOrNothing) {
  PutOne(*Create("a"), KeyOf(5), "shared");
  const uint64_t nodes = LiveNodes();
  for (const bool checkpoint : {false, true}) {
    for (const bool revealed : {false, true}) {
      Entries unborn = Unborn("a", 3);
      for (const auto& entry : unborn) PutOne(*entry.volume, KeyOf(6), "own");
      if (checkpoint) {
        ASSERT_TRUE(catalog_->engine().Checkpoint());
      }
      const std::string key = checkpoint ? "k1" : "k2";
      if (revealed) {
        ASSERT_TRUE(catalog_->Reveal(unborn, {"b", "c", "d"}, Named(key, {"b"})));
      }
      cow::Journal& journal = catalog_->engine().journal();
      ASSERT_TRUE(journal.WaitDurable(journal.last_lsn()));
      unborn.clear();
      CrashAndReopen();
      EXPECT_EQ(Names(), revealed ? (Texts{"a", "b", "c", "d"}) : Texts{"a"});
      if (revealed) {
        EXPECT_EQ(ValueOf("d", 6), "own");
        auto again = catalog_->Reveal({}, {"b", "c", "d"}, Named(key, {"b"}));
        ASSERT_TRUE(again.has_value());
        EXPECT_EQ(again->size(), 3u) << "the answer was not kept";
        ASSERT_TRUE(catalog_->Destroy({"b", "c", "d"}));
      }
      EXPECT_EQ(LiveNodes(), nodes) << "something of the unborn is left";
    }
  }
}

TEST_F(UnbornTest, ASealIsForGoodAndForTheVolumeAlone) {
  auto volume = Create("a");
  PutOne(*volume, KeyOf(5), "before");
  auto pins = catalog_->Pin({"a"});
  ASSERT_TRUE(pins.has_value());
  PutOne(*volume, KeyOf(5), "changed");
  EXPECT_EQ(catalog_->Seal(pins->front()).error().code, Err::kAgain) << "it is another";
  catalog_->Unpin(*pins);
  ASSERT_TRUE(catalog_->Snapshot({"a@x"}, 0));
  pins = catalog_->Pin({"a"});
  ASSERT_TRUE(catalog_->Seal(pins->front(), Named("k", {"a"})));
  catalog_->Unpin(*pins);
  pins->clear();
  for (int round = 0; round < 3; ++round) {
    volume = Find("a");
    EXPECT_TRUE(volume->read_only());
    EXPECT_TRUE(catalog_->Find("a")->row.sealed);
    auto transaction = volume->Write();
    transaction->Put(KeyOf(5), "late");
    EXPECT_EQ(transaction->Commit().error(), Err::kReadOnly);
    transaction.reset();
    EXPECT_EQ(catalog_->Rollback("a@x").error().code, Err::kReadOnly);
    EXPECT_TRUE(catalog_->Seal({nullptr, {}}, Named("k", {"a"})).has_value()) << "done already";
    auto clone = CloneOf("a", "c" + std::to_string(round));
    EXPECT_FALSE(clone->read_only());
    PutOne(*clone, KeyOf(5), "of the clone");
    volume.reset();
    clone.reset();
    if (round == 0) CrashAndReopen();
    if (round == 1) Reopen();
  }
  EXPECT_EQ(ValueOf("a", 5), "changed");
  ASSERT_TRUE(catalog_->Rename("a", "b"));
  ASSERT_TRUE(catalog_->Destroy({"b"}, true));
}

TEST_F(UnbornTest, TheVerbsThatHadNoKeys) {
  Create("a");
  const auto hold = [&] { return catalog_->Hold("a", "t", Named("h", {"t"})); };
  ASSERT_TRUE(hold());
  ASSERT_TRUE(catalog_->Release("a", "t"));
  EXPECT_EQ(hold()->row.holds, Texts{"t"}) << "the first answer";
  EXPECT_EQ(catalog_->Find("a")->row.holds, Texts{}) << "held once more";
  ASSERT_TRUE(catalog_->Release("a", "t", Named("r", {"t"})));
  ASSERT_TRUE(catalog_->Hold("a", "t"));
  ASSERT_TRUE(catalog_->Release("a", "t", Named("r", {"t"})));
  EXPECT_EQ(catalog_->Find("a")->row.holds, Texts{"t"}) << "released once more";
  const auto rename = [&] { return catalog_->Rename("a", "b", Named("n", {"a", "b"})); };
  ASSERT_TRUE(rename());
  Create("a");
  CrashAndReopen();
  EXPECT_EQ(rename()->row.name, "b");
  EXPECT_EQ(Names(), (Texts{"a", "b"}));
  EXPECT_EQ(catalog_->Hold("a", "u", Named("n", {"u"})).error().code, Err::kInvalid);
}

TEST_F(UnbornTest, DamagedRecordsAreRefused) {
  const std::string payload = clone::RevealRecord{{{3, "name"}}}.Encode().substr(1);
  EXPECT_EQ(clone::RevealRecord::Decode(payload)->volumes.front().second, "name");
  const std::string seal = clone::SealRecord{7}.Encode().substr(1);
  EXPECT_EQ(clone::SealRecord::Decode(seal)->volume, 7u);
  for (size_t length = 1; length < payload.size(); ++length)
    EXPECT_FALSE(clone::RevealRecord::Decode(payload.substr(0, length)).has_value());
  for (size_t length = 0; length < seal.size(); ++length)
    EXPECT_FALSE(clone::SealRecord::Decode(seal.substr(0, length)).has_value());
}

}  // namespace
}  // namespace prism::testing
