// Forest::DiffTrees against comparing all items, while trees split, merge, shrink and grow.
#include <random>

#include "tests/engine/store_fixture.h"

namespace prism::testing {
namespace {

using cow::ItemType;
using cow::MakeKey;

class TreeDiffTest : public StoreFixture {
 protected:
  void Change(clone::Volume& volume, int count, uint64_t keys) {
    auto transaction = volume.Write();
    for (int i = 0; i < count; ++i) {
      const cow::Key key = MakeKey(ItemType::kInode, 1 + random_() % keys);
      if (random_() % 3 == 0)
        transaction->Erase(key);
      else
        transaction->Put(key, std::string(random_() % 400, static_cast<char>('a' + random_() % 3)));
    }
    ASSERT_TRUE(transaction->Commit().has_value());
  }
  // Returns the nodes visited.
  uint64_t Compare(const std::string& a, const std::string& b) {
    const Contents items_a = Dump(*Find(a)), items_b = Dump(*Find(b));
    std::map<Contents::key_type, std::pair<std::string, std::string>> expected, found;
    for (const auto& [key, value] : items_a)
      if (auto other = items_b.find(key); other == items_b.end() || other->second != value)
        expected[key] = {"=" + value, other == items_b.end() ? "" : "=" + other->second};
    for (const auto& [key, value] : items_b)
      if (!items_a.contains(key)) expected[key] = {"", "=" + value};
    auto pins = catalog_->Pin({a, b});
    EXPECT_TRUE(pins.has_value());
    std::pair<uint64_t, uint64_t> last{0, 0};
    auto visited =
        catalog_->Diff((*pins)[0], (*pins)[1],
                       [&](cow::Key key, const std::string_view* x, const std::string_view* y) {
                         const std::pair at{key.hi, key.lo};
                         EXPECT_LT(last, at) << "not in order";
                         last = at;
                         found[at] = {x == nullptr ? "" : "=" + std::string(*x),
                                      y == nullptr ? "" : "=" + std::string(*y)};
                         return true;
                       });
    catalog_->Unpin(*pins);
    EXPECT_TRUE(visited.has_value());
    EXPECT_EQ(found, expected);
    return visited.value_or(0);
  }

  std::mt19937_64 random_{3};
};

TEST_F(TreeDiffTest, AgainstAllItems) {
  for (uint64_t keys : {5, 300, 20000}) {
    const std::string base = "base" + std::to_string(keys);
    auto volume = Create(base);
    for (int round = 0; round < 12; ++round) {
      const std::string copy = base + "-" + std::to_string(round);
      auto other = CloneOf(base, copy);
      const int changes = round % 3 == 0 ? 2000 : 5;
      Change(*volume, changes, keys);
      if (round % 2 == 0) Change(*other, changes, keys);
      Compare(base, copy);
      Compare(copy, base);
      if (round > 3) Compare(base + "-1", copy);
      if (round == 6) {
        ASSERT_TRUE(catalog_->engine().Checkpoint());
      }
    }
  }
  Create("empty");
  Compare("empty", "base300");
  Compare("base20000", "empty");
  EXPECT_EQ(Compare("empty", "empty"), 0u);
}

TEST_F(TreeDiffTest, TenChangesCostTheirPathsWhateverTheSize) {
  auto volume = Create("a");
  for (uint64_t at = 1; at <= 200000;) {
    auto transaction = volume->Write();
    for (int i = 0; i < 1000; ++i, ++at)
      transaction->Put(MakeKey(ItemType::kInode, at), std::string(100, 'x'));
    ASSERT_TRUE(transaction->Commit().has_value());
  }
  CloneOf("a", "b");
  for (uint64_t i = 1; i <= 10; ++i) PutOne(*volume, MakeKey(ItemType::kInode, i * 19000), "y");
  EXPECT_LE(Compare("a", "b"), 2u * (1 + 10 * 3)) << "twice the paths, of at most four nodes";
}

TEST_F(TreeDiffTest, PinsAreHiddenAndGoneAfterACrash) {
  auto volume = Create("a");
  auto pins = catalog_->Pin({"a", "a"});
  ASSERT_TRUE(pins.has_value());
  EXPECT_EQ(catalog_->List().size(), 1u);
  EXPECT_EQ(catalog_->Find((*pins)[0].row.name).error().code, Err::kNoEntry);
  EXPECT_TRUE((*pins)[0].volume->read_only());
  PutOne(*volume, MakeKey(ItemType::kInode, 1), "x");
  EXPECT_TRUE(Dump(*(*pins)[0].volume).empty()) << "it changed while it was held still";
  ASSERT_TRUE(catalog_->engine().Checkpoint());
  pins->clear();
  CrashAndReopen();
  EXPECT_EQ(catalog_->List().size(), 1u);
  ASSERT_TRUE(catalog_->Destroy({"a"}));
  ASSERT_TRUE(catalog_->engine().Drain());
  EXPECT_EQ(catalog_->engine().nodes().live_count(), 0u);
}

}  // namespace
}  // namespace prism::testing
