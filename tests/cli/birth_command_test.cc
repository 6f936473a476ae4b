// Identities at birth, seals and request keys through the real programs; and kill -9 in between.
#include <gtest/gtest.h>

#include <csignal>
#include <fstream>
#include <set>
#include <thread>

#include "tests/cli/live_server.h"
#include "tools/prism/command.h"

namespace prism::tool {
namespace {

using nlohmann::json;

bool Has(const std::string& text, const std::string& words) {
  return text.find(words) != std::string::npos;
}

class BirthCommandTest : public testing::Test {
 protected:
  // A root file system as far as identities go.
  void MakeRoot() {
    ASSERT_EQ(
        Shell("mkdir -p " + tree_ + "/etc/ssh " + tree_ + "/var/log/journal/old && cd " + tree_ +
              " && echo 0123456789abcdef0123456789abcdef > etc/machine-id && "
              "echo base > etc/hostname && echo key > etc/ssh/ssh_host_ed25519_key")
            .exit_code,
        0);
  }
  // What `file` of a volume says, by an export.
  std::string FileOf(const LiveServer& server, const std::string& volume, const std::string& file) {
    const std::string copy = directory_ / ("copy-" + volume);
    Shell("rm -rf " + copy);
    EXPECT_EQ(server.Prism("export -q " + volume + " dir:" + copy).exit_code, kExitDone);
    return Shell("cat " + copy + "/" + file).output;
  }

  TemporaryDirectory directory_;
  const std::string tree_ = directory_ / "tree";
};

TEST_F(BirthCommandTest, EachCloneIsAnotherMachine) {
  MakeRoot();
  LiveServer server(directory_.path());
  ASSERT_EQ(server.Prism("import -q dir:" + tree_ + " base").exit_code, kExitDone);
  ASSERT_EQ(server.Prism("clone base 'web-{1..20}' --identity").exit_code, kExitDone);
  std::set<std::string> ids, keys;
  for (int i = 1; i <= 20; ++i) {
    const std::string name = "web-" + std::to_string(i);
    ids.insert(FileOf(server, name, "etc/machine-id"));
    keys.insert(Shell("cat " + directory_ / ("copy-" + name) + "/etc/ssh/*_key").output);
    EXPECT_EQ(Shell("cat " + directory_ / ("copy-" + name) + "/etc/hostname").output, name + "\n");
  }
  EXPECT_EQ(ids.size(), 20u);
  EXPECT_EQ(keys.size(), 20u);
  EXPECT_EQ(FileOf(server, "base", "etc/hostname"), "base\n");
  EXPECT_EQ(server.Json("show web-7")["result"]["parent"], "base");

  const std::string rules = directory_ / "rules.toml";
  std::ofstream(rules) << "[[rule]]\nname='r'\ndo='write'\npaths=['/etc/hostname']\n"
                          "content='vm {name}'\n";
  ASSERT_EQ(server.Prism("clone base own --identity-rules " + rules).exit_code, kExitDone);
  EXPECT_EQ(FileOf(server, "own", "etc/hostname"), "vm own");
  std::ofstream(rules) << "[[rule]]\nname='r'\ndo='write'\n";
  ShellResult refused = server.Prism("clone base x --identity-rules " + rules);
  EXPECT_EQ(refused.exit_code, kExitFailed);
  EXPECT_TRUE(Has(refused.output, "line 1")) << refused.output;
  EXPECT_EQ(server.Prism("clone base y web-1 --identity").exit_code, kExitExists);
  EXPECT_FALSE(Has(server.Names(), "x") || Has(server.Names(), "y"));
}

TEST_F(BirthCommandTest, ACloneThatCannotGetItsIdentityIsNotThere) {
  MakeRoot();
  ASSERT_EQ(Shell("mkdir " + tree_ + "/etc/x && mv " + tree_ + "/etc/machine-id " + tree_ +
                  "/etc/x && mv " + tree_ + "/etc/x " + tree_ + "/etc/machine-id")
                .exit_code,
            0);
  LiveServer server(directory_.path());
  ASSERT_EQ(server.Prism("import -q dir:" + tree_ + " base").exit_code, kExitDone);
  ShellResult failed = server.Prism("clone base a b --identity");
  EXPECT_EQ(failed.exit_code, kExitFailed);
  EXPECT_TRUE(Has(failed.output, "/etc/machine-id")) << failed.output;
  EXPECT_EQ(server.Names(), "base");
}

TEST_F(BirthCommandTest, AComposedVolumeIsAnotherMachineBeforeItIsThere) {
  MakeRoot();
  Shell("mkdir -p " + directory_ / "tools/opt" + " && echo tool > " + directory_ / "tools/opt/x");
  LiveServer server(directory_.path());
  ASSERT_EQ(server.Prism("import -q dir:" + tree_ + " base").exit_code, kExitDone);
  ASSERT_EQ(server.Prism("import -q dir:" + directory_ / "tools" + " tools").exit_code, kExitDone);
  const std::string compose = "compose new --from base --graft tools:/opt=/opt,ro --identity";
  ASSERT_EQ(server.Prism(compose + " --request-key k").exit_code, kExitDone);
  EXPECT_EQ(server.Prism(compose + " --request-key k").exit_code, kExitDone) << "the same again";
  EXPECT_EQ(FileOf(server, "new", "etc/hostname"), "new\n");
  EXPECT_EQ(FileOf(server, "new", "opt/x"), "tool\n");
  EXPECT_NE(FileOf(server, "new", "etc/machine-id"), FileOf(server, "base", "etc/machine-id"));
  EXPECT_EQ(FileOf(server, "base", "etc/hostname"), "base\n");
  EXPECT_EQ(server.Json("fsck")["result"]["damages"], json::array());

  const std::string rules = directory_ / "rules.toml";
  std::ofstream(rules) << "[[rule]]\nname='r'\ndo='write'\npaths=['/etc/hostname']\n"
                          "content='vm {name}'\n";
  ASSERT_EQ(server.Prism("compose own --from base --identity-rules " + rules).exit_code, kExitDone);
  EXPECT_EQ(FileOf(server, "own", "etc/hostname"), "vm own");
  // What came read-only stays so, and then there is nothing.
  const ShellResult refused = server.Prism("compose x --graft base:/etc=/etc,ro --identity");
  EXPECT_EQ(refused.exit_code, kExitFailed);
  EXPECT_TRUE(Has(refused.output, "/etc/")) << refused.output;
  EXPECT_EQ(server.Names(), "base new own tools");
  EXPECT_EQ(server.Json("fsck")["result"]["damages"], json::array());
}

// Whenever the server is killed: all of them with their identities, or none of them.
TEST_F(BirthCommandTest, KilledOnTheWayAllAreThereOrNone) {
  MakeRoot();
  for (int i = 0; i < 200; ++i) std::ofstream(tree_ + "/" + std::to_string(i)) << i;
  {
    LiveServer server(directory_.path());
    ASSERT_EQ(server.Prism("import -q dir:" + tree_ + " base").exit_code, kExitDone);
  }
  int born = 0, unborn = 0;
  for (int delay_ms : {1, 3, 6, 10, 15, 25, 40, 60, 90, 400}) {
    auto server = std::make_unique<LiveServer>(directory_.path());
    const std::string clone = server->Command("clone base 'c{1..60}' --identity --request-key k" +
                                              std::to_string(delay_ms)) +
                              " > /dev/null 2>&1";
    std::thread client([&] { Shell(clone); });
    std::this_thread::sleep_for(std::chrono::milliseconds(delay_ms));
    server->Stop(SIGKILL);
    client.join();
    server = std::make_unique<LiveServer>(directory_.path());
    const json list = server->Json("list")["result"];
    ASSERT_TRUE(list.size() == 1 || list.size() == 61) << list.size() << " after " << delay_ms;
    ++(list.size() == 1 ? unborn : born);
    // Repeated, it is done once, and all have what they should.
    ASSERT_EQ(Shell(clone).exit_code, 0);
    EXPECT_EQ(server->Json("list")["result"].size(), 61u);
    for (const char* name : {"c1", "c60"})
      EXPECT_EQ(FileOf(*server, name, "etc/hostname"), std::string(name) + "\n");
    ASSERT_EQ(server->Prism("destroy 'c{1..60}'").exit_code, kExitDone);
  }
  EXPECT_GT(born, 0);
  EXPECT_GT(unborn, 0);
}

TEST_F(BirthCommandTest, ASealRefusesListsAndThenHolds) {
  MakeRoot();
  ASSERT_EQ(Shell("mkdir " + tree_ + "/root && cd " + tree_ +
                  "/root && echo 'secret word' > .bash_history && echo A=1 > .env")
                .exit_code,
            0);
  LiveServer server(directory_.path());
  ASSERT_EQ(server.Prism("import -q dir:" + tree_ + " base").exit_code, kExitDone);
  ShellResult refused = server.Prism("seal base");
  EXPECT_EQ(refused.exit_code, kExitFailed);
  for (const char* words : {"/root/.bash_history", "shell-history", "/root/.env",
                            "/etc/ssh/ssh_host_ed25519_key", "/etc/machine-id"})
    EXPECT_TRUE(Has(refused.output, words)) << refused.output;
  EXPECT_FALSE(Has(refused.output, "secret word"));
  json answer = server.Json("seal base");
  EXPECT_EQ(answer["ok"], false);
  EXPECT_EQ(answer["result"]["findings"].size(), 4u);
  EXPECT_EQ(answer["result"]["sealed"], false);
  EXPECT_EQ(server.Json("show base")["result"]["read_only"], false);
  EXPECT_EQ(server.Prism("seal base --allow no-such-rule").exit_code, kExitFailed);

  const std::string allow =
      "--allow /root/.env --allow shell-history --allow ssh-host-key "
      "--allow machine-id";
  EXPECT_EQ(server.Prism("seal base --check " + allow).exit_code, kExitDone);
  EXPECT_EQ(server.Json("show base")["result"]["sealed"], false);
  ASSERT_EQ(server.Prism("seal base " + allow).exit_code, kExitDone);
  EXPECT_EQ(server.Json("show base")["result"]["sealed"], true);
  EXPECT_EQ(server.Json("show base")["result"]["read_only"], true);
  EXPECT_TRUE(Has(server.Prism("list").output, "base (sealed)"));
  EXPECT_EQ(server.Prism("seal base").exit_code, kExitDone) << "sealing twice";
  EXPECT_EQ(server.Prism("seal absent").exit_code, kExitNotFound);
  ASSERT_EQ(server.Prism("snapshot base@s").exit_code, kExitDone);
  EXPECT_EQ(server.Prism("rollback base@s").exit_code, kExitFailed);
  ASSERT_EQ(server.Prism("clone base web --identity").exit_code, kExitDone);
  EXPECT_EQ(server.Json("show web")["result"]["read_only"], false);
  EXPECT_EQ(server.Prism("rename base golden").exit_code, kExitDone);
  EXPECT_EQ(server.Prism("destroy -r golden").exit_code, kExitDone);
}

TEST_F(BirthCommandTest, RulesArePrinted) {
  LiveServer server(directory_.path());
  for (const char* kind : {"identity", "seal"})
    EXPECT_TRUE(Has(server.Prism(std::string("rules ") + kind).output, "[[rule]]"));
  EXPECT_EQ(server.Prism("rules nothing").exit_code, kExitUsage);
  // What is printed is what is built in.
  Shell(server.Command("rules seal") + " > " + directory_ / "seal.toml");
  ASSERT_EQ(server.Prism("create v").exit_code, kExitDone);
  EXPECT_EQ(server.Prism("seal v --rules " + directory_ / "seal.toml").exit_code, kExitDone);
}

TEST_F(BirthCommandTest, EveryVerbIsDoneOnceByItsKey) {
  LiveServer server(directory_.path());
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(server.Prism("create a --request-key k1").exit_code, kExitDone);
    EXPECT_EQ(server.Prism("rename a b --request-key k2").exit_code, kExitDone);
    EXPECT_EQ(server.Prism("hold b t --request-key k3").exit_code, kExitDone);
    EXPECT_EQ(server.Prism("release b t --request-key k4").exit_code, kExitDone);
    EXPECT_EQ(server.Prism("clone b c --identity --request-key k5").exit_code, kExitDone);
    EXPECT_EQ(server.Prism("seal c --request-key k6").exit_code, kExitDone);
  }
  EXPECT_EQ(server.Names(), "b c");
  EXPECT_EQ(server.Prism("create x --request-key k1").exit_code, kExitFailed) << "another request";
}

}  // namespace
}  // namespace prism::tool
