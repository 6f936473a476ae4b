// Many at once are hashed as they are one by one.
#include "cow/content_hash.h"

#include <gtest/gtest.h>

#include <random>

namespace prism::cow {
namespace {

class ContentHashTest : public testing::Test {
 protected:
  ContentHashTest() : bytes_(size_t{1} << 20) {
    for (std::byte& byte : bytes_) byte = static_cast<std::byte>(random_());
  }
  void Check(const std::vector<std::span<const std::byte>>& contents) {
    const std::vector<ContentHash> hashes = HashContents(contents);
    ASSERT_EQ(hashes.size(), contents.size());
    for (size_t i = 0; i < contents.size(); ++i)
      ASSERT_EQ(hashes[i], HashContent(contents[i]))
          << i << " of " << contents.size() << ": " << contents[i].size() << " bytes";
  }
  std::span<const std::byte> Some(size_t size_bytes) {
    return std::span(bytes_).subspan(random_() % (bytes_.size() - size_bytes + 1), size_bytes);
  }

  std::mt19937 random_{1};
  std::vector<std::byte> bytes_;
};

TEST_F(ContentHashTest, AsManyOfTheSameSize) {
  for (size_t count = 0; count <= 40; ++count) {
    for (size_t size_bytes : {1, 55, 56, 63, 64, 65, 119, 120, 128, 4096, 65536}) {
      std::vector<std::span<const std::byte>> contents;
      for (size_t i = 0; i < count; ++i) contents.push_back(Some(size_bytes));
      ASSERT_NO_FATAL_FAILURE(Check(contents));
    }
  }
}

TEST_F(ContentHashTest, OfAllSizes) {
  for (int round = 0; round < 300; ++round) {
    const size_t max_bytes = round % 2 == 0 ? 300 : 65537;
    std::vector<std::span<const std::byte>> contents(random_() % 40);
    for (auto& content : contents) content = Some(random_() % max_bytes);
    ASSERT_NO_FATAL_FAILURE(Check(contents));
  }
}

}  // namespace
}  // namespace prism::cow
