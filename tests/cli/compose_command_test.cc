// `prism compose` and `prism explain` as their users see them.
#include <gtest/gtest.h>

#include "tests/cli/live_server.h"
#include "tools/prism/command.h"
#include "tools/prism/compose_rules.h"

namespace prism::tool {
namespace {

bool Has(const std::string& text, const std::string& words) {
  return text.find(words) != std::string::npos;
}

class ComposeCommandTest : public testing::Test {
 protected:
  TemporaryDirectory directory_;
  const std::string tree_ = directory_ / "tree";
};

TEST_F(ComposeCommandTest, ALifeOfAComposedVolume) {
  LiveServer server(directory_.path());
  Shell("mkdir -p " + tree_ + "/a/b " + tree_ + "/c && cd " + tree_ +
        " && echo one > a/one && ln a/one a/b/too && echo two > c/two && echo log > c/x.log");
  ASSERT_EQ(server.Prism("import -q dir:" + tree_ + " base").exit_code, kExitDone);
  ASSERT_EQ(server.Prism("snapshot base@then").exit_code, kExitDone);
  const std::string rules = " --graft base@then:/a=/x/a,ro --exclude 'c/*.log' --empty /x/log";
  const ShellResult made = server.Prism("compose new --from base" + rules + " --request-key k");
  ASSERT_EQ(made.exit_code, kExitDone) << made.output;
  EXPECT_TRUE(Has(made.output, "composed new by 3 rule(s)")) << made.output;
  EXPECT_EQ(server.Prism("compose new --from base" + rules + " --request-key k").exit_code,
            kExitDone);
  EXPECT_EQ(server.Prism("compose new --from base" + rules).exit_code, kExitExists);
  EXPECT_EQ(server.Names(), "base base@then new");
  ASSERT_EQ(server.Prism("export -q new dir:" + directory_ / "out").exit_code, kExitDone);
  Shell("cd " + tree_ + " && rm c/x.log && mkdir -p x/log && cp -a a x/a");
  EXPECT_EQ(Shell("rsync -aHAXn --omit-dir-times --delete --itemize-changes " + tree_ + "/ " +
                  directory_ / "out/")
                .output,
            "");
  const ShellResult explained = server.Prism("explain new /x/a/b");
  EXPECT_TRUE(Has(explained.output, "from base@then:/a/b,")) << explained.output;
  EXPECT_TRUE(Has(explained.output, "--graft base@then:/a=/x/a,ro (read-only)"));
  EXPECT_TRUE(Has(explained.output, "not changed since"));
  EXPECT_TRUE(Has(server.Prism("explain new /c/two").output, "--from base"));
  EXPECT_EQ(server.Json("explain new /x/log")["result"]["origins"][0]["rule"], "--empty /x/log");
  EXPECT_EQ(server.Prism("explain new /nowhere").exit_code, kExitNotFound);
}

TEST_F(ComposeCommandTest, RulesOfAFileComeFirstAndMistakesAreSaid) {
  LiveServer server(directory_.path());
  Shell("mkdir -p " + tree_ + "/a && echo one > " + tree_ + "/a/one");
  ASSERT_EQ(server.Prism("import -q dir:" + tree_ + " base").exit_code, kExitDone);
  const std::string file = directory_ / "rules.toml";
  Shell("printf '[[rule]]\\ngraft = \"base:/a\"\\npath = \"/q\"\\n' > " + file);
  ASSERT_EQ(server.Prism("compose new --rules " + file + " --exclude /q/one").exit_code, kExitDone);
  EXPECT_EQ(server.Prism("explain new /q/one").exit_code, kExitNotFound);
  EXPECT_EQ(server.Prism("explain new /q").exit_code, kExitDone);
  for (const char* wrong : {"--graft base", "--graft base:/a", "--graft base:/a=/", "",
                            "--graft base:/none=/x", "--rules /nowhere"})
    EXPECT_NE(server.Prism(std::string("compose other ") + wrong).exit_code, kExitDone) << wrong;
  EXPECT_EQ(server.Prism("compose other --graft none:/=/x").exit_code, kExitNotFound);
  EXPECT_EQ(server.Names(), "base new");
}

TEST(ComposeRulesTest, WhatIsNoRuleIsRefusedWithItsLine) {
  const auto message = [](std::string_view toml) {
    const auto parsed = ParseComposeRules(toml, "f");
    return parsed ? "good" : parsed.error().message;
  };
  EXPECT_EQ(message("from = \"a\"\n[[rule]]\nexclude = \"x\"\n[[rule]]\nvolatile = \"/t\"\n"),
            "good");
  EXPECT_TRUE(Has(message("\nfrom = 3"), "f, line 2"));
  EXPECT_TRUE(Has(message("[[rule]]\nempty = \"/x\"\nexclude = \"/y\""), "two rules"));
  EXPECT_TRUE(Has(message("[[rule]]\npath = \"/x\""), "line 1"));
  EXPECT_TRUE(Has(message("[[rule]]\ngraft = \"a:/b\""), "needs a path"));
  EXPECT_TRUE(Has(message("[[rule]]\nempty = \"/x\"\nread_only = true"), "alone"));
  EXPECT_TRUE(Has(message("[[rule]]\nempti = \"/x\""), "empti"));
  EXPECT_TRUE(Has(message("[[rule"), "line 1"));
  EXPECT_EQ((*ParseComposeRules("[[rule]]\ngraft = \"a:b\"\npath = \"c\"", "f")).rules.dump(),
            R"([{"from":"/b","path":"/c","rule":"graft","source":"a"}])");
}

}  // namespace
}  // namespace prism::tool
