// Quotas and what trees hold: durable, inherited, and equal to a recount after every crash.
#include <random>

#include "cow/store_check.h"
#include "tests/engine/store_fixture.h"

namespace prism::testing {
namespace {

class QuotaTest : public StoreFixture {
 protected:
  cow::Quota QuotaOf(const std::string& name) {
    auto entry = catalog_->Find(name);
    EXPECT_TRUE(entry.has_value());
    return entry ? entry->row.quota : cow::Quota{};
  }

  // Rows of all volumes against their trees.
  void ExpectExact() {
    ASSERT_TRUE(catalog_->engine().Checkpoint());
    cow::CheckReport report;
    cow::StoreCheck check(catalog_->engine().kv(), directory_ + "/store/segments", nullptr, report);
    std::vector<cow::NodeId> roots;
    for (const clone::CatalogEntry& entry : catalog_->List()) roots.push_back(entry.row.root);
    ASSERT_TRUE(check.Recount(roots));
    for (const clone::CatalogEntry& entry : catalog_->List()) {
      cow::TreeUsage usage;
      EXPECT_TRUE(check.WalkTree(entry.row.name, entry.row.root, entry.row.own_from, usage,
                                 [](cow::Key, std::string_view) {}));
      EXPECT_EQ(usage.node_bytes, entry.row.usage.node_bytes) << entry.row.name;
      EXPECT_EQ(usage.inline_bytes, entry.row.usage.inline_bytes) << entry.row.name;
      EXPECT_EQ(usage.chunk_bytes, entry.row.usage.chunk_bytes) << entry.row.name;
      EXPECT_EQ(usage.own_chunk_bytes, entry.row.usage.own_chunk_bytes) << entry.row.name;
    }
    for (const std::string& damage : report.damages) ADD_FAILURE() << damage;
  }

  void ChangeSome(const std::string& name, std::mt19937_64& rng) {
    auto volume = Find(name);
    ASSERT_NE(volume, nullptr);
    std::vector<cow::ChunkPin> pins;
    auto transaction = volume->Write();
    for (int i = 0; i < 30; ++i) {
      const uint64_t ino = 1 + rng() % 400;
      const uint64_t kind = rng() % 8;
      if (kind == 0) transaction->Erase(cow::MakeKey(cow::ItemType::kExtent, ino, rng() % 4));
      if (kind == 1) transaction->Erase(cow::MakeKey(cow::ItemType::kInlineData, ino));
      if (kind == 2)
        transaction->Put(cow::MakeKey(cow::ItemType::kInlineData, ino),
                         std::string(1 + rng() % 2000, 'i'));
      if (kind == 3)
        transaction->Put(cow::MakeKey(cow::ItemType::kDirEntry, 1, ino), std::string(50, 'e'));
      if (kind < 4) continue;
      const std::string bytes(5000 + 4096 * (rng() % 10), static_cast<char>('a' + rng() % 26));
      auto pin = catalog_->engine().chunks().Put(std::as_bytes(std::span(bytes)));
      ASSERT_TRUE(pin.has_value());
      // Twice in the block: it counts once.
      transaction->Put(cow::MakeKey(cow::ItemType::kExtent, ino, rng() % 4),
                       cow::EncodeExtent({{0, 1, 0, pin->id(), pin->stored_kib()},
                                          {3, 1, 1, pin->id(), pin->stored_kib()}}));
      pins.push_back(std::move(*pin));
    }
    if (rng() % 10 == 0)
      transaction->EraseRange(cow::MakeKey(cow::ItemType::kDirEntry, 1),
                              cow::EndKey(cow::ItemType::kDirEntry, 1));
    ASSERT_TRUE(transaction->Commit());
  }
};

TEST_F(QuotaTest, IsDurableAndInherited) {
  Create("a");
  ASSERT_TRUE(catalog_->SetQuota("a", {.bytes = 1000, .inodes = 5}));
  ASSERT_TRUE(catalog_->SetQuota("a", {.exclusive = true}));
  CloneOf("a", "b");
  ASSERT_TRUE(catalog_->Clone("a", {"c"}, {}, {.bytes = 0, .inodes = 9}));
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(QuotaOf("a"), (cow::Quota{1000, 5, true}));
    EXPECT_EQ(QuotaOf("b"), (cow::Quota{1000, 5, true}));
    EXPECT_EQ(QuotaOf("c"), (cow::Quota{0, 9, true}));
    CrashAndReopen();
  }
}

TEST_F(QuotaTest, ARequestIsDoneOnce) {
  Create("a");
  const clone::Request request = *clone::NameRequest("key", "quota", {"a", "1"});
  ASSERT_TRUE(catalog_->SetQuota("a", {.bytes = 1}, request));
  ASSERT_TRUE(catalog_->SetQuota("a", {.bytes = 2}));
  CrashAndReopen();
  auto again = catalog_->SetQuota("a", {.bytes = 1}, request);
  ASSERT_TRUE(again);
  EXPECT_EQ(again->row.quota.bytes, 1u) << "the first answer";
  EXPECT_EQ(QuotaOf("a").bytes, 2u);
}

TEST_F(QuotaTest, WhatTreesHoldIsWhatARecountFinds) {
  std::mt19937_64 rng(7);
  Create("a");
  for (int i = 0; i < 40; ++i) ChangeSome("a", rng);
  ExpectExact();
  CloneOf("a", "b");
  EXPECT_EQ(catalog_->Find("b")->row.usage.own_chunk_bytes, 0u);
  ASSERT_TRUE(catalog_->Snapshot({"a@s"}, 0));
  for (int i = 0; i < 20; ++i) {
    ChangeSome("a", rng);
    ChangeSome("b", rng);
  }
  ExpectExact();
  ASSERT_TRUE(catalog_->Rollback("a@s"));
  for (int i = 0; i < 5; ++i) ChangeSome("a", rng);
  CrashAndReopen();
  ExpectExact();
  CrashAndReopen(Crash::kProcessKilled);
  for (int i = 0; i < 5; ++i) ChangeSome("b", rng);
  ExpectExact();
}

}  // namespace
}  // namespace prism::testing
