// Writers, clones, destroys, checkpoints and the reaper at once. Plan: each thread works on volumes
// of its own descent, cloning others' now and then; meanwhile checkpoints run back to back; at the
// end every volume equals its model and destroying all leaves an empty store.
#include <atomic>
#include <random>
#include <thread>

#include "cow/extent.h"
#include "tests/engine/store_fixture.h"

namespace prism::testing {
namespace {

using cow::ItemType;
using cow::Key;
using cow::MakeKey;

class ConcurrencyTest : public StoreFixture {
 protected:
  void SetUp() override {
    node_cache_bytes_ = 512 * 1024;
    StoreFixture::SetUp();
  }

  // One thread's life: its own volume, which it changes, replaces by a clone of itself, and checks.
  void Work(int thread, int steps) {
    std::mt19937_64 random(static_cast<uint64_t>(thread));
    std::string name = fmt::format("t{}-0", thread);
    auto volume = CloneOf("base", name);
    Contents model = Dump(*volume);
    for (int step = 1; step <= steps; ++step) {
      std::vector<cow::ChunkPin> pins;
      std::vector<std::pair<Key, std::string>> writes;
      for (int i = 0; i < 8; ++i) {
        uint64_t ino = 1 + random() % 2000;
        // Few distinct contents: threads meet on the same chunks, which come and go.
        std::string data(1 + random() % 30, static_cast<char>(random() % 4));
        auto pin = catalog_->engine().chunks().Put(std::as_bytes(std::span(data)));
        ASSERT_TRUE(pin.has_value());
        writes.emplace_back(MakeKey(ItemType::kExtent, ino, 0),
                            cow::EncodeExtent({cow::Piece{0, 1, 0, pin->id()}}));
        pins.push_back(std::move(*pin));
      }
      auto transaction = volume->Write();
      for (auto& [key, value] : writes) {
        if (random() % 3 == 0) {
          transaction->Erase(key);
          model.erase({key.hi, key.lo});
        } else {
          model[{key.hi, key.lo}] = value;
          transaction->Put(key, value);
        }
      }
      ASSERT_TRUE(transaction->Commit().has_value());
      pins.clear();
      if (step % 10 == 0) {
        std::string next = fmt::format("t{}-{}", thread, step);
        auto clone = CloneOf(name, next);
        ASSERT_TRUE(catalog_->Destroy({name}));
        volume = clone;
        name = next;
      }
      if (step % 50 == 0) {
        ASSERT_EQ(Dump(*volume), model) << name;
      }
    }
    ASSERT_EQ(Dump(*volume), model) << name;
    ASSERT_TRUE(catalog_->Destroy({name}));
  }
};

TEST_F(ConcurrencyTest, EverythingAtOnceStaysExact) {
  auto base = Create("base");
  for (uint64_t ino = 1; ino <= 2000; ++ino)
    PutOne(*base, MakeKey(ItemType::kInode, ino), std::string(50, 'b'));
  std::atomic<bool> stop{false};
  std::thread checkpoints([&] {
    while (!stop) {
      ASSERT_TRUE(catalog_->engine().Checkpoint());
    }
  });
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) threads.emplace_back([this, t] { Work(t, 2000); });
  for (std::thread& thread : threads) thread.join();
  stop = true;
  checkpoints.join();
  ASSERT_TRUE(catalog_->Destroy({"base"}));
  base.reset();
  ASSERT_TRUE(catalog_->engine().Drain());
  EXPECT_EQ(catalog_->engine().nodes().live_count(), 0u);
  EXPECT_EQ(catalog_->engine().chunks().count(), 0u);
  EXPECT_EQ(catalog_->engine().stored_bytes(), 0u);
}

}  // namespace
}  // namespace prism::testing
