// Where chunk bytes are put.
#include <gtest/gtest.h>

#include <array>
#include <filesystem>
#include <string>

#include "cow/segment_store.h"

namespace prism::testing {
namespace {

using cow::Extent;
using cow::SegmentStore;

TEST(SegmentTest, SegmentsThatAreFreeInTooSmallPiecesAreLeftAlone) {
  std::string directory =
      (std::filesystem::temp_directory_path() / "prism-segments-XXXXXX").string();
  ASSERT_NE(::mkdtemp(directory.data()), nullptr);
  {
    SegmentStore segments(directory);
    constexpr uint32_t kUnits = SegmentStore::kSegmentBytes / SegmentStore::kUnitBytes;
    for (uint32_t segment = 1; segment <= 3; ++segment)
      for (uint32_t unit = 0; unit < kUnits; unit += 8)
        ASSERT_TRUE(segments.MarkUsed({segment, unit, 4 * SegmentStore::kUnitBytes}).has_value());
    const std::string large(64 << 10, 'l');
    const std::string small(4 << 10, 's');
    const std::array<std::string_view, 3> contents = {large, small, large};
    auto written = segments.Write(contents, true);
    ASSERT_TRUE(written.has_value());
    for (const Extent& extent : *written) EXPECT_EQ(extent.segment, 4u);
    std::string back(large.size(), '?');
    std::array<cow::SegmentRead, 1> read = {
        {{written->back(), 0, std::as_writable_bytes(std::span(back))}}};
    ASSERT_TRUE(segments.Read(read).has_value());
    EXPECT_EQ(back, large);
  }
  std::filesystem::remove_all(directory);
}

// Space that was given back is not there before the last descriptor is closed.
TEST(SegmentTest, NobodyHoldsASegmentThatHasGone) {
  std::string directory =
      (std::filesystem::temp_directory_path() / "prism-segments-XXXXXX").string();
  ASSERT_NE(::mkdtemp(directory.data()), nullptr);
  {
    SegmentStore segments(directory);
    const std::string large(64 << 10, 'l');
    auto written = segments.Write(std::array<std::string_view, 1>{large}, true);
    ASSERT_TRUE(written.has_value());
    ASSERT_TRUE(segments.Sync().has_value());
    segments.Free(*written);
    EXPECT_TRUE(std::filesystem::is_empty(directory));
    for (const auto& open : std::filesystem::directory_iterator("/proc/self/fd")) {
      std::error_code closed;  // the iterator's own
      const std::string path = std::filesystem::read_symlink(open, closed).string();
      EXPECT_FALSE(path.starts_with(directory)) << path;
    }
  }
  std::filesystem::remove_all(directory);
}

}  // namespace
}  // namespace prism::testing
