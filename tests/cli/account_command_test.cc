// `prism quota`, and `prism fsck` with and without a server.
#include <gtest/gtest.h>

#include <filesystem>
#include <memory>

#include "tests/cli/live_server.h"
#include "tools/prism/command.h"

namespace prism::tool {
namespace {

bool Has(const std::string& text, const std::string& words) {
  return text.find(words) != std::string::npos;
}

TEST(AccountCommandTest, QuotasAreSetShownAndInherited) {
  TemporaryDirectory directory;
  LiveServer server(directory.path());
  ASSERT_EQ(server.Prism("create a").exit_code, kExitDone);
  EXPECT_TRUE(Has(server.Prism("quota a").output, "none"));
  ASSERT_EQ(server.Prism("quota a --bytes 20G --inodes 1M").exit_code, kExitDone);
  EXPECT_TRUE(Has(server.Prism("quota a").output, "20.0 GiB"));
  nlohmann::json quota = server.Json("quota a")["result"];
  EXPECT_EQ(quota["bytes"], uint64_t{20} << 30);
  EXPECT_EQ(quota["inodes"], 1 << 20);
  EXPECT_EQ(quota["exclusive"], false);
  EXPECT_EQ(quota["used_inodes"], 1);
  ASSERT_EQ(server.Prism("clone a b").exit_code, kExitDone);
  ASSERT_EQ(
      server.Prism("clone a c --quota-bytes 512K --quota-inodes none --quota-exclusive").exit_code,
      kExitDone);
  EXPECT_EQ(server.Json("show b")["result"]["quota_bytes"], uint64_t{20} << 30);
  quota = server.Json("quota c")["result"];
  EXPECT_EQ(quota["bytes"], 512 << 10);
  EXPECT_EQ(quota["inodes"], 0);
  EXPECT_EQ(quota["exclusive"], true);
  const std::string once = "quota a --bytes none --whole --request-key once";
  EXPECT_EQ(server.Json(once)["result"]["bytes"], 0);
  EXPECT_EQ(server.Prism("quota a --bytes 1T").exit_code, kExitDone);
  EXPECT_EQ(server.Json(once)["result"]["bytes"], 0);
  EXPECT_EQ(server.Json("quota a")["result"]["bytes"], uint64_t{1} << 40);
  EXPECT_EQ(server.Prism("quota none --bytes 1").exit_code, kExitNotFound);
  for (const char* wrong : {"1.5G", "-1", "G", "0", "99999999P", ""})
    EXPECT_NE(server.Prism(std::string("quota a --bytes '") + wrong + "x'").exit_code, kExitDone);
  ASSERT_EQ(server.Prism("snapshot a@s").exit_code, kExitDone);
  EXPECT_EQ(server.Prism("quota a@s --bytes 1").exit_code, kExitFailed);
}

TEST(AccountCommandTest, FsckOfAServerAndOfAStore) {
  TemporaryDirectory directory;
  const std::string store = directory / "store";
  {
    LiveServer server(directory.path());
    ASSERT_EQ(server.Prism("create a").exit_code, 0);
    ASSERT_EQ(server.Prism("clone a b c").exit_code, 0);
    const auto online = server.Prism("fsck --data");
    EXPECT_EQ(online.exit_code, 0);
    EXPECT_TRUE(Has(online.output, "3 volumes, 3 files, 1 nodes, 0 chunks")) << online.output;
    EXPECT_EQ(server.Json("fsck")["result"]["damage_count"], 0);
    EXPECT_EQ(server.Prism("fsck " + store).exit_code, 2) << "a server has it";
    EXPECT_EQ(server.Prism("fsck " + directory.path() + "/nothing").exit_code, 2);
  }
  const auto offline = Shell(std::string(PRISM_PATH) + " fsck " + store);
  EXPECT_EQ(offline.exit_code, 0);
  EXPECT_TRUE(Has(offline.output, "all is well")) << offline.output;
  EXPECT_EQ(Shell(std::string(PRISM_PATH) + " --control /nowhere fsck").exit_code, 2);
}

}  // namespace
}  // namespace prism::tool
