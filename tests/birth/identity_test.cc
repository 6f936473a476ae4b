// What a clone is given at birth, in volumes that are as they should be, and in hostile ones.
#include "fs/birth/identity.h"

#include <gtest/gtest.h>

#include <regex>

#include "tests/birth/volume_tree.h"

namespace prism::birth {
namespace {

void Give(VolumeTree& tree, std::string_view name, std::string_view rules = {}) {
  auto parsed = ParseIdentityRules(rules.empty() ? DefaultIdentityRules() : rules);
  ASSERT_TRUE(parsed) << parsed.error().message;
  auto given = GiveIdentity(*tree, name, *parsed);
  ASSERT_TRUE(given) << given.error().message;
}

Err RulesErr(std::string_view rules) {
  auto parsed = ParseIdentityRules(rules);
  return parsed ? Err::kOk : parsed.error().code;
}

TEST(IdentityTest, TheBuiltInRulesMakeAnotherMachine) {
  VolumeTree tree;
  const std::string old_id(32, 'a');
  tree.Put("/etc/machine-id", old_id + "\n");
  tree.PutLink("/var/lib/dbus/machine-id", "/etc/machine-id");
  tree.Put("/etc/hostname", "base\n");
  tree.Put("/var/lib/systemd/random-seed", std::string(512, 's'));
  tree.Put("/var/lib/cloud/instances/i-1/obj.pkl", "x");
  tree.PutLink("/var/lib/cloud/instance", "instances/i-1");
  tree.Put("/var/lib/cloud/seed/nocloud/meta-data", "kept");
  tree.Put("/var/lib/dhcp/dhclient.eth0.leases", "x");
  tree.Put("/var/log/journal/" + old_id + "/system.journal", "x");
  tree.Put("/etc/ssh/ssh_host_ed25519_key", "old");
  tree.Put("/etc/ssh/ssh_host_ed25519_key.pub", "old");
  tree.Put("/etc/ssh/ssh_host_rsa_key", "old");
  tree.Put("/etc/ssh/sshd_config", "kept");
  Give(tree, "web_1");

  const std::string id = tree.Get("/etc/machine-id");
  EXPECT_TRUE(std::regex_match(id, std::regex("[0-9a-f]{32}\n"))) << id;
  EXPECT_NE(id, old_id + "\n");
  EXPECT_EQ(tree.AttrOf("/etc/machine-id").mode, 0640u) << "a file stays what it is otherwise";
  EXPECT_EQ(tree.AttrOf("/var/lib/dbus/machine-id").type, fs::FileType::kSymlink);
  EXPECT_EQ(tree.Get("/etc/hostname"), "web-1\n");
  EXPECT_EQ(tree.Get("/var/lib/systemd/random-seed").size(), 512u);
  EXPECT_NE(tree.Get("/var/lib/systemd/random-seed"), std::string(512, 's'));
  EXPECT_EQ(tree.Get("/var/lib/cloud/instance"), "(none)");
  EXPECT_EQ(tree.Get("/var/lib/cloud/instances/i-1"), "(none)");
  EXPECT_EQ(tree.Get("/var/lib/cloud/seed/nocloud/meta-data"), "kept");
  EXPECT_EQ(tree.Get("/var/lib/dhcp/dhclient.eth0.leases"), "(none)");
  EXPECT_EQ(tree.Get("/var/log/journal"), "(other)");
  EXPECT_EQ(tree.Get("/var/log/journal/" + old_id), "(none)");
  EXPECT_EQ(tree.Get("/etc/ssh/ssh_host_ed25519_key").find("-----BEGIN OPENSSH"), 0u);
  EXPECT_EQ(tree.AttrOf("/etc/ssh/ssh_host_ed25519_key").mode, 0600u);
  EXPECT_EQ(tree.Get("/etc/ssh/ssh_host_ed25519_key.pub").find("ssh-ed25519 "), 0u);
  EXPECT_EQ(tree.Get("/etc/ssh/ssh_host_rsa_key"), "(none)");
  EXPECT_EQ(tree.Get("/etc/ssh/ssh_host_ecdsa_key"), "(none)") << "there was none";
  EXPECT_EQ(tree.Get("/etc/ssh/sshd_config"), "kept");

  VolumeTree empty;
  Give(empty, "x");
  EXPECT_EQ(empty.Get("/etc"), "(none)") << "what is not there is not made";
}

TEST(IdentityTest, NoLinkLeadsOutOrRound) {
  VolumeTree tree;
  tree.PutLink("/etc", "../../../../real");
  tree.Put("/real/machine-id", "old");
  tree.PutLink("/real/hostname", "/../../elsewhere/name");
  tree.MakeDirs("/elsewhere");
  tree.PutLink("/var", "/var");  // a circle
  Give(tree, "web");
  EXPECT_NE(tree.Get("/real/machine-id"), "old");
  EXPECT_EQ(tree.Get("/elsewhere/name"), "web\n") << "as a process in the volume would write it";

  VolumeTree odd;
  odd.Put("/etc", "a file");
  odd.PutLink("/var", std::string(4095, 'x'));
  Give(odd, "web");
  EXPECT_EQ(odd.Get("/etc"), "a file");

  VolumeTree directory;
  directory.MakeDirs("/etc/machine-id");
  auto given = GiveIdentity(*directory, "web", *ParseIdentityRules(DefaultIdentityRules()));
  ASSERT_FALSE(given) << "the clone would have the identity of the base";
  EXPECT_EQ(given.error().code, Err::kIsDirectory);
  EXPECT_NE(given.error().message.find("/etc/machine-id"), std::string::npos);
}

TEST(IdentityTest, RemovesTreesWhateverTheirDepth) {
  VolumeTree tree;
  std::string path = "/deep";
  for (int i = 0; i < 300; ++i) path += "/d";
  tree.Put(path + "/f", "x");
  for (int i = 0; i < 1500; ++i) tree.Put("/deep/wide/" + std::to_string(i), "x");
  Give(tree, "x", "[[rule]]\nname='r'\ndo='remove'\npaths=['/dee*']\n");
  EXPECT_EQ(tree.Get("/deep"), "(none)");
}

TEST(IdentityTest, RulesAreData) {
  VolumeTree tree;
  tree.Put("/a/old", "full");
  Give(tree, "web.1", R"(
[[rule]]
name = "one"
do = "write"
paths = ["/a/new", "/b/new"]
content = "{name} {hostname} {{x} {machine-id}\n"
if_missing = "create"
mode = 0o600
[[rule]]
name = "two"
do = "empty"
paths = ["/a/o?d"]
)");
  const std::string made = tree.Get("/a/new");
  EXPECT_TRUE(std::regex_match(made, std::regex("web\\.1 web-1 \\{x\\} [0-9a-f]{32}\n"))) << made;
  EXPECT_EQ(tree.AttrOf("/a/new").mode, 0600u);
  EXPECT_EQ(tree.Get("/b/new"), "(none)") << "no directory is made";
  EXPECT_EQ(tree.Get("/a/old"), "");
}

TEST(IdentityTest, BadRulesAreRefused) {
  const std::string begin = "[[rule]]\nname='r'\n";
  EXPECT_EQ(RulesErr(begin + "do='remove'\npaths=['/x']\n"), Err::kOk);
  for (const std::string& rest :
       {"", "do='remove'\n", "do='fly'\npaths=['/x']\n", "do='remove'\npaths='/x'\n",
        "do='remove'\npaths=[]\n", "do='remove'\npaths=[7]\n",
        "do='remove'\npaths=['/x']\nmispelt=1\n", "do='write'\npaths=['/x']\n",
        "do='write'\npaths=['/x']\ncontent='{nothing}'\n",
        "do='write'\npaths=['/x']\ncontent='x'\nif_missing='perhaps'\n",
        "do='write'\npaths=['/x']\nrandom_bytes=99999\n",
        "do='write'\npaths=['/x']\nrandom_bytes=-1\n"})
    EXPECT_EQ(RulesErr(begin + rest), Err::kInvalid) << rest;
  EXPECT_EQ(RulesErr("rule = 7\n"), Err::kInvalid);
  EXPECT_EQ(RulesErr("[[rule"), Err::kInvalid);
  EXPECT_EQ(RulesErr("\xff\xfe"), Err::kInvalid);
  EXPECT_EQ(RulesErr("x = " + std::string(60000, '[')), Err::kInvalid);
  EXPECT_EQ(RulesErr(std::string(70000, '#')), Err::kInvalid);
}

TEST(IdentityTest, HostNames) {
  EXPECT_EQ(HostNameOf("web_1.eu"), "web-1-eu");
  EXPECT_EQ(HostNameOf("_x_"), "x");
  EXPECT_EQ(HostNameOf(std::string(128, 'a')), std::string(63, 'a'));
  EXPECT_EQ(HostNameOf("___"), "localhost");
}

}  // namespace
}  // namespace prism::birth
