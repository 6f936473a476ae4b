// What one process leaves in the tail, and what the next one takes from it.
#include "cow/journal_tail.h"

#include <gtest/gtest.h>

#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/temp_dir.h"

namespace prism::cow {
namespace {

using Records = std::vector<std::pair<Lsn, std::string>>;

class JournalTailTest : public ::testing::Test {
 protected:
  Records Read(Lsn last) {
    JournalTail tail;
    tail.Open(path_);
    Records found;
    EXPECT_TRUE(tail.Visit(last, [&](Lsn lsn, std::string_view payload) -> Status {
      found.emplace_back(lsn, payload);
      return {};
    }));
    return found;
  }
  void Spoil(size_t at) {
    std::fstream file(path_, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(static_cast<std::streamoff>(at));
    const char old = static_cast<char>(file.get());
    file.seekp(static_cast<std::streamoff>(at));
    file.put(static_cast<char>(old ^ 1));
  }

  test::TempDir directory_;
  const std::string path_ = directory_.path() + "/tail";
};

TEST_F(JournalTailTest, KeepsWhatWasAppended) {
  {
    JournalTail tail;
    tail.Open(path_);
    tail.Append(6, "before Start: nothing");
    tail.Start(7);
    tail.Append(7, "seven");
    tail.Append(8, "");
    tail.Switch(9);
    tail.Append(9, "nine");
  }
  EXPECT_EQ(Read(6), (Records{{7, "seven"}, {8, ""}, {9, "nine"}}));
  EXPECT_EQ(Read(8), (Records{{9, "nine"}}));
  EXPECT_EQ(Read(9), Records());
  EXPECT_EQ(Read(5), Records()) << "record 6 is missing: what follows it must not be taken";
}

TEST_F(JournalTailTest, ForgetsWhatIsDurable) {
  JournalTail tail;
  tail.Open(path_);
  tail.Start(1);
  tail.Append(1, "a longer one that the next use of the area leaves behind");
  tail.Switch(2);
  tail.Append(2, "two");
  tail.Switch(3);
  tail.Append(3, "3");
  EXPECT_EQ(Read(0), Records());
  EXPECT_EQ(Read(1), (Records{{2, "two"}, {3, "3"}}));
  tail.Start(4);
  EXPECT_EQ(Read(1), Records());
}

TEST_F(JournalTailTest, StopsWhereItWasFull) {
  JournalTail tail;
  tail.Open(path_);
  tail.Start(1);
  const std::string big(JournalTail::kAreaBytes / 2, 'x');
  tail.Append(1, big);
  tail.Append(2, big);
  tail.Append(3, "it would fit, but cannot follow");
  EXPECT_EQ(Read(0).size(), 1u);
  tail.Switch(4);
  tail.Append(4, "four");
  EXPECT_EQ(Read(0).size(), 1u);
  EXPECT_EQ(Read(3), (Records{{4, "four"}}));
}

TEST_F(JournalTailTest, BelievesNoDamageAndNoOtherBoot) {
  {
    JournalTail tail;
    tail.Open(path_);
    tail.Start(1);
    tail.Append(1, "one");
    tail.Append(2, "two");
  }
  const size_t area = JournalTail::kAreaBytes;  // Start goes to the second one
  const size_t first = area + 64 + 20;
  Spoil(first + 3 + 20);
  EXPECT_EQ(Read(0), (Records{{1, "one"}}));
  Spoil(first);
  EXPECT_EQ(Read(0), Records());
  Spoil(first);
  EXPECT_EQ(Read(0).size(), 1u);
  Spoil(area + 24);  // the boot id
  EXPECT_EQ(Read(0), Records());
}

}  // namespace
}  // namespace prism::cow
