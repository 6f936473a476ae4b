// Requests with keys: done once, answered alike, also after crashes; and how many are remembered.
#include "clone/request_table.h"

#include "tests/engine/store_fixture.h"

namespace prism::testing {
namespace {

using Texts = std::vector<std::string>;

class RequestTest : public StoreFixture {
 protected:
  clone::Request Name(const std::string& key, const Texts& arguments) {
    return clone::NameRequest(key, "verb", arguments).value();
  }
  Outcome<std::vector<clone::CatalogEntry>> CloneOnce(const std::string& key,
                                                      const Texts& targets) {
    return catalog_->Clone("a", targets, Name(key, targets));
  }
  static Texts NamesOf(const std::vector<clone::CatalogEntry>& entries) {
    Texts names;
    for (const auto& entry : entries)
      names.push_back(entry.row.name + " " + std::to_string(entry.row.id));
    return names;
  }
};

TEST_F(RequestTest, IsDoneOnceAndAnsweredAlike) {
  Create("a");
  auto first = CloneOnce("key", {"b", "c"});
  ASSERT_TRUE(first.has_value());
  EXPECT_EQ(catalog_->Clone("a", {"b"}).error().code, Err::kExists) << "without a key";
  for (int round = 0; round < 4; ++round) {
    auto again = CloneOnce("key", {"b", "c"});
    ASSERT_TRUE(again.has_value()) << again.error().message;
    EXPECT_EQ(NamesOf(*again), NamesOf(*first));
    EXPECT_EQ(again->front().row.created_sec, first->front().row.created_sec);
    EXPECT_EQ(again->front().row.parent, "a");
    EXPECT_EQ(CloneOnce("key", {"b"}).error().code, Err::kInvalid) << "another request";
    EXPECT_EQ(catalog_->List().size(), round < 2 ? 3u : 2u);
    if (round == 1) {
      ASSERT_TRUE(catalog_->Destroy({"b"}));
    }
    if (round == 0) CrashAndReopen();  // the record is in the journal
    if (round == 2) Reopen();          // ... and in a checkpoint
  }
}

TEST_F(RequestTest, EveryVerbThatTakesOne) {
  auto volume = Create("a");
  auto snapshot = catalog_->Snapshot({"a@x"}, 0, Name("s", {"a@x"}));
  ASSERT_TRUE(snapshot.has_value());
  PutOne(*volume, cow::MakeKey(cow::ItemType::kInode, 5), "later");
  ASSERT_TRUE(catalog_->Rollback("a@x", Name("r", {"a@x"})));
  const Lsn written = PutOne(*volume, cow::MakeKey(cow::ItemType::kInode, 5), "later still");
  ASSERT_TRUE(catalog_->engine().journal().WaitDurable(written));
  CrashAndReopen();
  ASSERT_TRUE(catalog_->Rollback("a@x", Name("r", {"a@x"})));
  EXPECT_EQ(Dump(*Find("a")).size(), 1u) << "rolled back once more";
  EXPECT_EQ(NamesOf(*catalog_->Snapshot({"a@x"}, 0, Name("s", {"a@x"}))), NamesOf(*snapshot));
  ASSERT_TRUE(catalog_->Destroy({"a"}, true, Name("d", {"a"})));
  Create("a");
  ASSERT_TRUE(catalog_->Destroy({"a"}, true, Name("d", {"a"})));
  EXPECT_NE(Find("a"), nullptr) << "destroyed once more";
}

TEST_F(RequestTest, TheOldestAreForgotten) {
  clone::RequestTable table;
  for (size_t i = 0; i <= clone::kRequestsMax; ++i) table.Add({std::to_string(i), i, {}, {}}, 1);
  EXPECT_EQ(table.Find("0"), nullptr);
  ASSERT_NE(table.Find("1"), nullptr);
  EXPECT_EQ(table.Find("1")->checksum, 1u);
  clone::VolumeRow large;
  large.name = std::string(1 << 20, 'n');
  for (int i = 0; i < 10; ++i) table.Add({"large" + std::to_string(i), 0, {large}, {}}, 1);
  EXPECT_EQ(table.Find("large2"), nullptr);
  EXPECT_EQ(table.Find("1000"), nullptr);
  EXPECT_NE(table.Find("large9"), nullptr);
}

TEST_F(RequestTest, DamagedRecordsAndLongKeysAreRefused) {
  EXPECT_EQ(clone::NameRequest(std::string(129, 'k'), "v", {}).error().code, Err::kInvalid);
  EXPECT_TRUE(clone::NameRequest("", "v", {}).value().key.empty());
  clone::RequestRecord record{"key", 7, {}, "inner"};
  const std::string payload = record.Encode().substr(1);
  EXPECT_EQ(clone::RequestRecord::Decode(payload)->done, "inner");
  for (size_t length = 0; length < payload.size() - 5; ++length)
    EXPECT_FALSE(clone::RequestRecord::Decode(payload.substr(0, length)).has_value());
}

}  // namespace
}  // namespace prism::testing
