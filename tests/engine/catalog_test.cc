// Clones cost the same whatever they clone, and volumes come and go in any order.
#include <thread>

#include "cow/extent.h"
#include "tests/engine/store_fixture.h"

namespace prism::testing {
namespace {

using cow::ItemType;
using cow::MakeKey;

class CatalogTest : public StoreFixture {
 protected:
  void Fill(clone::Volume& volume, uint64_t items) {
    for (uint64_t at = 0; at < items;) {
      auto transaction = volume.Write();
      for (uint64_t end = std::min(items, at + 1000); at < end; ++at)
        transaction->Put(MakeKey(ItemType::kInode, at + 1), std::string(100, 'x'));
      ASSERT_TRUE(transaction->Commit().has_value());
    }
  }
  struct Cost {
    uint64_t records, journal_bytes, nodes;
    bool operator==(const Cost&) const = default;
  };
  Cost CloneCost(const std::string& source, const std::string& name) {
    cow::Engine& engine = catalog_->engine();
    Cost before{engine.journal().last_lsn(), engine.journal().bytes_since_trim(),
                engine.nodes().live_count()};
    CloneOf(source, name);
    return {engine.journal().last_lsn() - before.records,
            engine.journal().bytes_since_trim() - before.journal_bytes,
            engine.nodes().live_count() - before.nodes};
  }
};

TEST_F(CatalogTest, CloneWritesTheSameRecordWhateverTheSize) {
  auto small = Create("small");
  auto large = Create("large");
  Fill(*small, 10);
  Fill(*large, 100000);
  Cost of_small = CloneCost("small", "small-clone");
  Cost of_large = CloneCost("large", "large-clone");
  EXPECT_EQ(of_small.records, 1u);
  EXPECT_EQ(of_small.nodes, 0u);
  EXPECT_LT(of_small.journal_bytes, 128u);
  EXPECT_EQ(of_small, of_large);
}

TEST_F(CatalogTest, CloneCostDoesNotGrowWithDepth) {
  auto volume = Create("d0");
  Fill(*volume, 1000);
  Cost first = CloneCost("d0", "d00001");
  std::string source = "d00001";
  for (int depth = 2; depth <= 1000; ++depth) {
    std::string name = fmt::format("d{:05}", depth);
    ASSERT_EQ(CloneCost(source, name), first) << depth;
    source = name;
  }
  // Only the deepest and the first are left; both are whole, and each change stays its own.
  auto deepest = Find("d01000");
  PutOne(*deepest, MakeKey(ItemType::kInode, 5), "changed");
  std::vector<std::string> middle;
  for (int depth = 1; depth < 1000; ++depth) middle.push_back(fmt::format("d{:05}", depth));
  ASSERT_TRUE(catalog_->Destroy(middle));
  ASSERT_TRUE(catalog_->engine().Drain());
  EXPECT_EQ(Dump(*Find("d0")).size(), 1000u);
  Contents contents = Dump(*deepest);
  EXPECT_EQ(contents.size(), 1000u);
  cow::Key key = MakeKey(ItemType::kInode, 5);
  EXPECT_EQ((contents[{key.hi, key.lo}]), "changed");
}

TEST_F(CatalogTest, FirstWriteAfterCloneCopiesOnlyThePath) {
  auto base = Create("base");
  Fill(*base, 100000);
  auto copy = CloneOf("base", "copy");
  uint64_t before = catalog_->engine().nodes().live_count();
  PutOne(*copy, MakeKey(ItemType::kInode, 50000), "changed");
  uint64_t copied = catalog_->engine().nodes().live_count() - before;
  EXPECT_GE(copied, 2u);
  EXPECT_LE(copied, 4u);  // the height of the tree
  std::vector<clone::CatalogEntry> entries = {*catalog_->Find("copy")};
  auto exclusive = catalog_->CountExclusive(entries);
  ASSERT_TRUE(exclusive.has_value());
  EXPECT_EQ(exclusive->nodes, copied);
}

TEST_F(CatalogTest, BaseWithManyClonesIsDestroyedAtOnceAndClonesLiveOn) {
  auto base = Create("base");
  Fill(*base, 5000);
  std::vector<std::string> names;
  for (int i = 0; i < 1000; ++i) names.push_back(fmt::format("c{}", i));
  ASSERT_TRUE(catalog_->Clone("base", names));
  ASSERT_TRUE(catalog_->Destroy({"base"}));
  EXPECT_TRUE(base->destroyed());
  std::string value;
  EXPECT_EQ(base->Read()->Get(MakeKey(ItemType::kInode, 1), value).error(), Err::kStale);
  Reopen();
  EXPECT_EQ(Dump(*Find("c999")).size(), 5000u);
  names.pop_back();
  ASSERT_TRUE(catalog_->Destroy(names));
  ASSERT_TRUE(catalog_->engine().Drain());
  EXPECT_EQ(Dump(*Find("c999")).size(), 5000u);
  ASSERT_TRUE(catalog_->Destroy({"c999"}));
  ASSERT_TRUE(catalog_->engine().Drain());
  EXPECT_EQ(catalog_->engine().nodes().live_count(), 0u);
}

TEST_F(CatalogTest, CloningManyIsAllOrNothing) {
  Create("a");
  Create("b");
  auto failed = catalog_->Clone("a", {"c", "d", "b"});
  ASSERT_FALSE(failed.has_value());
  EXPECT_EQ(failed.error().code, Err::kExists);
  EXPECT_EQ(catalog_->List().size(), 2u);
  EXPECT_EQ(catalog_->Clone("a", {"c", "c"}).error().code, Err::kExists);
  EXPECT_EQ(catalog_->Clone("nobody", {"c"}).error().code, Err::kNoEntry);
  EXPECT_EQ(catalog_->Clone("a", {"bad/name"}).error().code, Err::kInvalid);
  EXPECT_EQ(catalog_->Clone("a", {}).error().code, Err::kInvalid);
}

TEST_F(CatalogTest, UnpublishedVolumesAreGoneAfterARestart) {
  ASSERT_TRUE(catalog_->Create("half", true).has_value());
  ASSERT_TRUE(catalog_->Create("whole", true).has_value());
  EXPECT_EQ(catalog_->Clone("whole", {"x"}).error().code, Err::kBusy);
  ASSERT_TRUE(catalog_->Publish("whole"));
  CrashAndReopen();
  EXPECT_EQ(Find("half"), nullptr);
  EXPECT_NE(Find("whole"), nullptr);
}

TEST_F(CatalogTest, WhatWasDurableSurvivesACrashAndTheRestIsAPrefix) {
  auto volume = Create("v");
  Lsn durable = 0;
  for (uint64_t i = 1; i <= 500; ++i) {
    Lsn lsn = PutOne(*volume, MakeKey(ItemType::kInode, i), std::to_string(i));
    if (i == 300) {
      ASSERT_TRUE(volume->WaitDurable(lsn));
      durable = i;
    }
  }
  volume.reset();
  CrashAndReopen();
  size_t found = Dump(*Find("v")).size();
  EXPECT_GE(found, durable);
  EXPECT_LE(found, 500u);
}

TEST_F(CatalogTest, EverythingSurvivesTheProcess) {
  auto volume = Create("v");
  for (uint64_t round = 1; round <= 3; ++round) {
    for (uint64_t i = 1; i <= 100; ++i)
      PutOne(*volume, MakeKey(ItemType::kInode, round * 1000 + i), std::to_string(i));
    volume.reset();
    CrashAndReopen(Crash::kProcessKilled);
    volume = Find("v");
    EXPECT_EQ(Dump(*volume).size(), round * 100);
  }
}

TEST_F(CatalogTest, TornJournalTailIsIgnoredAndWritingGoesOn) {
  auto volume = Create("v");
  for (uint64_t i = 1; i <= 10; ++i) {
    Lsn lsn = PutOne(*volume, MakeKey(ItemType::kInode, i), std::string(100, 'x'));
    ASSERT_TRUE(volume->WaitDurable(lsn));
  }
  volume.reset();
  std::filesystem::copy(directory_ + "/store", directory_ + "/torn",
                        std::filesystem::copy_options::recursive);
  catalog_.reset();
  std::filesystem::remove_all(directory_ + "/store");
  std::filesystem::rename(directory_ + "/torn", directory_ + "/store");
  std::filesystem::remove(directory_ + "/store/journal/tail");  // as after a power cut
  // Destroys the last record: some 190 bytes before the end of what was written.
  std::string path = directory_ + "/store/journal/00000001";
  std::string content(64 * 1024, '\0');
  FILE* file = std::fopen(path.c_str(), "r+");
  ASSERT_NE(file, nullptr);
  ASSERT_GT(std::fread(content.data(), 1, content.size(), file), 0u);
  long end = static_cast<long>(content.find_last_not_of('\0'));
  std::fseek(file, end - 5, SEEK_SET);
  std::fputs("torn", file);
  std::fclose(file);
  Open();
  EXPECT_EQ(Dump(*Find("v")).size(), 9u);
  PutOne(*Find("v"), MakeKey(ItemType::kInode, 77), "after");
  Reopen();
  EXPECT_EQ(Dump(*Find("v")).size(), 10u);
}

TEST_F(CatalogTest, SecondServerAndForeignDirectoriesAreRefused) {
  cow::EngineOptions options;
  options.directory = directory_ + "/store";
  auto second = clone::Catalog::Open(options);
  ASSERT_FALSE(second.has_value());
  EXPECT_EQ(second.error().code, Err::kBusy);
  options.directory = directory_;  // holds "store": not empty, no marker
  EXPECT_EQ(clone::Catalog::Open(options).error().code, Err::kInvalid);
  catalog_.reset();
  options.directory = directory_ + "/store";
  for (const char* other : {"prism store format 999\n", "prism store format 1\n"}) {
    FILE* marker = std::fopen((directory_ + "/store/PRISM").c_str(), "w");
    std::fputs(other, marker);
    std::fclose(marker);
    EXPECT_EQ(clone::Catalog::Open(options).error().code, Err::kNotSupported) << other;
  }
}

TEST_F(CatalogTest, DamagedChunkIsAnErrorAndNotWrongBytes) {
  std::string data(50000, 'q');
  for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<char>(i * 7919 >> 3);
  auto pin = catalog_->engine().chunks().Put(std::as_bytes(std::span(data)));
  ASSERT_TRUE(pin.has_value());
  auto volume = Create("v");
  PutOne(*volume, MakeKey(ItemType::kExtent, 2, 0), cow::EncodeExtent({{0, 13, 0, pin->id()}}));
  ChunkId id = pin->id();
  *pin = cow::ChunkPin();
  volume.reset();
  catalog_.reset();
  FILE* segment = std::fopen((directory_ + "/store/segments/00000001").c_str(), "r+");
  ASSERT_NE(segment, nullptr);
  std::fseek(segment, 1234, SEEK_SET);
  std::fputs("damage", segment);
  std::fclose(segment);
  Open();
  std::vector<std::byte> out(100);
  EXPECT_EQ(catalog_->engine().chunks().Read(id, 0, out).error(), Err::kCorrupt);
}

TEST_F(CatalogTest, EqualContentIsStoredOnceFromManyThreads) {
  std::vector<std::thread> threads;
  std::vector<std::vector<cow::ChunkPin>> pins(4);
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 200; ++i) {
        std::string data(4096 + i, static_cast<char>(i));
        auto pin = catalog_->engine().chunks().Put(std::as_bytes(std::span(data)));
        ASSERT_TRUE(pin.has_value());
        pins[t].push_back(std::move(*pin));
        if (t == 0 && i % 50 == 0) {
          ASSERT_TRUE(catalog_->engine().Checkpoint());
        }
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(catalog_->engine().chunks().count(), 200u);
  for (int i = 0; i < 200; ++i)
    for (int t = 1; t < 4; ++t) EXPECT_EQ(pins[t][i].id(), pins[0][i].id());
  pins.clear();
  ASSERT_TRUE(catalog_->engine().Drain());
  EXPECT_EQ(catalog_->engine().chunks().count(), 0u);
}

}  // namespace
}  // namespace prism::testing
