// Random changes on a family of clones against std::maps; destroyed in any order, the store ends
// empty. Plan: 1. random puts, erasures, range erasures, clones and destroys, with chunk
// references;
// 2. checkpoints, reopenings and crashes in between; 3. compare every volume; 4. destroy all,
// count.
#include <random>

#include "cow/extent.h"
#include "tests/engine/store_fixture.h"

namespace prism::testing {
namespace {

using cow::ItemType;
using cow::Key;
using cow::MakeKey;

class ForestTest : public StoreFixture {
 protected:
  struct Model {
    Contents contents;
  };

  void Run(uint64_t seed, int steps, bool restarts) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937_64 random(seed);
    std::map<std::string, Contents> models;
    int next_name = 0;
    models["v0"];
    Create("v0");
    for (int step = 0; step < steps; ++step) {
      auto it = models.begin();
      std::advance(it, random() % models.size());
      const std::string name = it->first;
      int dice = static_cast<int>(random() % 100);
      if (dice < 80) {
        Change(random, name, it->second);
      } else if (dice < 88 && models.size() < 12) {
        std::string target = "v" + std::to_string(++next_name);
        CloneOf(name, target);
        models[target] = it->second;
      } else if (dice < 92 && models.size() > 1) {
        ASSERT_TRUE(catalog_->Destroy({name}));
        models.erase(it);
      } else if (dice < 96) {
        ASSERT_TRUE(catalog_->engine().Checkpoint());
      } else if (restarts && dice < 98) {
        Lsn last = catalog_->engine().journal().last_lsn();
        ASSERT_TRUE(catalog_->engine().journal().WaitDurable(last));
        CrashAndReopen();
      } else if (restarts) {
        Reopen();
      }
      if (step % 200 == 199) Compare(models);
    }
    Compare(models);
    ExpectEmptyAfterDestroying(models);
  }

  void Change(std::mt19937_64& random, const std::string& name, Contents& model) {
    std::shared_ptr<clone::Volume> volume = Find(name);
    ASSERT_NE(volume, nullptr);
    std::vector<cow::ChunkPin> pins;
    auto transaction = std::unique_ptr<cow::WriteTransaction>();
    struct Write {
      Key key;
      std::string value;
    };
    std::vector<Write> writes;
    int count = 1 + static_cast<int>(random() % 20);
    for (int i = 0; i < count; ++i) {
      uint64_t ino = 1 + random() % 500;
      if (random() % 3 == 0) {
        std::string data(1 + random() % 5000, static_cast<char>(random() % 40));
        auto pin = catalog_->engine().chunks().Put(std::as_bytes(std::span(data)));
        ASSERT_TRUE(pin.has_value());
        cow::Piece piece{0, 2, 0, pin->id()};
        writes.push_back(
            {MakeKey(ItemType::kExtent, ino, random() % 4), cow::EncodeExtent({piece})});
        pins.push_back(std::move(*pin));
      } else {
        size_t size = random() % 50 == 0 ? random() % 20000 : random() % 300;
        writes.push_back({MakeKey(ItemType::kInode, ino, random() % 3),
                          std::string(size, static_cast<char>('a' + random() % 26))});
      }
    }
    transaction = volume->Write();
    if (random() % 4 == 0) {
      uint64_t from = random() % 500;
      Key first = MakeKey(random() % 2 ? ItemType::kInode : ItemType::kExtent, from);
      Key last = first;
      last.hi += random() % 100;
      transaction->EraseRange(first, last);
      model.erase(model.lower_bound({first.hi, first.lo}), model.lower_bound({last.hi, last.lo}));
    }
    for (Write& write : writes) {
      if (random() % 4 == 0) {
        transaction->Erase(write.key);
        model.erase({write.key.hi, write.key.lo});
      } else {
        model[{write.key.hi, write.key.lo}] = write.value;
        transaction->Put(write.key, write.value);
      }
    }
    ASSERT_TRUE(transaction->Commit().has_value());
  }

  void Compare(const std::map<std::string, Contents>& models) {
    for (const auto& [name, model] : models) {
      std::shared_ptr<clone::Volume> volume = Find(name);
      ASSERT_NE(volume, nullptr) << name;
      ASSERT_EQ(Dump(*volume), model) << name;
    }
  }

  void ExpectEmptyAfterDestroying(const std::map<std::string, Contents>& models) {
    for (const auto& [name, model] : models) ASSERT_TRUE(catalog_->Destroy({name}));
    ASSERT_TRUE(catalog_->engine().Drain());
    ExpectEmpty();
    Reopen();
    ExpectEmpty();
  }

  void ExpectEmpty() {
    EXPECT_EQ(catalog_->engine().nodes().live_count(), 0u);
    EXPECT_EQ(catalog_->engine().chunks().count(), 0u);
    EXPECT_EQ(catalog_->engine().stored_bytes(), 0u);
    for (cow::Table table : {cow::Table::kNode, cow::Table::kRef, cow::Table::kChunk,
                             cow::Table::kFingerprint, cow::Table::kVolume}) {
      int rows = 0;
      ASSERT_TRUE(catalog_->engine().kv().Scan(table, [&](auto, auto) {
        ++rows;
        return true;
      }));
      EXPECT_EQ(rows, 0) << "table " << static_cast<int>(table);
    }
    EXPECT_TRUE(std::filesystem::is_empty(directory_ + "/store/segments"));
  }
};

TEST_F(ForestTest, RandomFamilyEqualsModelsAndEndsEmpty) {
  for (uint64_t seed = 1; seed <= 3; ++seed) Run(seed, 600, false);
}

TEST_F(ForestTest, RandomFamilySurvivesRestartsAndCrashes) {
  for (uint64_t seed = 100; seed <= 102; ++seed) Run(seed, 400, true);
}

class TinyCacheTest : public ForestTest {
 protected:
  void SetUp() override {
    node_cache_bytes_ = 64 * 1024;
    ForestTest::SetUp();
  }
};

TEST_F(TinyCacheTest, RandomFamilyEqualsModelsWhenNodesComeAndGo) {
  for (uint64_t seed = 200; seed <= 201; ++seed) Run(seed, 400, true);
}

}  // namespace
}  // namespace prism::testing
