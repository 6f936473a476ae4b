#include "tools/prism/format.h"

#include <gtest/gtest.h>

namespace prism::tool {
namespace {

TEST(FormatTest, Numbers) {
  EXPECT_EQ(Bytes(0), "0 B");
  EXPECT_EQ(Bytes(1023), "1023 B");
  EXPECT_EQ(Bytes(1536), "1.5 KiB");
  EXPECT_EQ(Bytes((1 << 20) - 1), "1.0 MiB");
  EXPECT_EQ(Bytes(~uint64_t{0}), "16.0 EiB");
  EXPECT_EQ(Count(0), "0");
  EXPECT_EQ(Count(999), "999");
  EXPECT_EQ(Count(1234567), "1,234,567");
  EXPECT_EQ(Seconds(0.00008), "80 us");
  EXPECT_EQ(Seconds(2.5), "2.50 s");
  EXPECT_EQ(Seconds(200), "3 min 20 s");
}

TEST(FormatTest, HostileTextCannotReachTheTerminal) {
  EXPECT_EQ(Printable("plain ümlaut €"), "plain ümlaut €");
  EXPECT_EQ(Printable("\x1b[2J\r\n\x7f"), "\\x1b[2J\\x0d\\x0a\\x7f");
  EXPECT_EQ(Printable("\xff\xc2"), "\\xff\\xc2");
  EXPECT_EQ(Printable("\xc2\x9b"), "\\xc2\\x9b");           // C1 control: CSI
  EXPECT_EQ(Printable("\xc0\xaf"), "\\xc0\\xaf");           // overlong
  EXPECT_EQ(Printable("\xed\xa0\x80"), "\\xed\\xa0\\x80");  // surrogate
}

TEST(FormatTest, TablesAlign) {
  Table table({{"NAME"}, {"SIZE", true}});
  table.Add({"a", "1"});
  table.Add({"longer", "1000"});
  EXPECT_EQ(table.Format(), "NAME    SIZE\na          1\nlonger  1000\n");
}

}  // namespace
}  // namespace prism::tool
