// What is found in a volume that is to be shared, and what is not.
#include <gtest/gtest.h>

#include <algorithm>

#include "fs/birth/seal_check.h"
#include "fs/birth/ssh_key.h"
#include "fs/birth/volume_path.h"
#include "tests/birth/volume_tree.h"

namespace prism::birth {
namespace {

// "PATH:LINE RULE", in order.
std::vector<std::string> Check(VolumeTree& tree, const std::vector<std::string>& allowed = {},
                               std::string_view text = {}) {
  auto rules = ParseSealRules(text.empty() ? DefaultSealRules() : text);
  EXPECT_TRUE(rules) << rules.error().message;
  auto patterns = SecretPatterns::Make(*rules, allowed);
  EXPECT_TRUE(patterns) << patterns.error().message;
  auto report = CheckForSecrets(*tree, **patterns);
  EXPECT_TRUE(report) << report.error().message;
  std::vector<std::string> found;
  for (const Finding& finding : report->findings)
    found.push_back(finding.path + ":" + std::to_string(finding.line) + " " +
                    (*patterns)->rule(finding.rule).name);
  std::sort(found.begin(), found.end());
  return found;
}

using Found = std::vector<std::string>;

// In parts, so that this file is clean itself.
const std::string kBegin = "-----BEGIN ";
std::string Key() { return MakeSshKey(SshKeyType::kEd25519, "c")->private_text; }

TEST(SealTest, FindsKeysWhereverTheyAre) {
  VolumeTree tree;
  tree.Put("/home/u/.ssh/id_ed25519", Key());
  tree.Put("/srv/app/notes.txt", "first\nsecond\n" + Key());
  tree.Put("/srv/app/key.json",
           "{\"private_key\": \"" + kBegin + "PRIVATE KEY-----\\nMIIEvQIBADANBgkqhkiG9w0B\"}");
  tree.Put("/srv/app/old.pem", kBegin +
                                   "RSA PRIVATE KEY-----\r\nProc-Type: 4,ENCRYPTED\r\n"
                                   "DEK-Info: X,Y\r\n\r\nMIIEvQIBADANBgkqhkiG9w0B\r\n");
  tree.Put("/usr/lib/libssl.so", std::string(100, '\0') + kBegin + "PRIVATE KEY-----\0\0more");
  tree.Put("/usr/share/doc/x", "a key begins with " + kBegin + "PRIVATE KEY-----\nand so on");
  EXPECT_EQ(Check(tree),
            (Found{"/home/u/.ssh/id_ed25519:1 private-key", "/srv/app/key.json:1 private-key",
                   "/srv/app/notes.txt:3 private-key", "/srv/app/old.pem:1 private-key"}));
}

TEST(SealTest, FindsFilesThatAreSecretsThemselves) {
  VolumeTree tree;
  tree.Put("/root/.bash_history", "ls\n");
  tree.Put("/home/u/.zsh_history", "");  // empty
  tree.Put("/srv/app/.env", "A=b\n");
  tree.Put("/srv/app/.env.example", "A=\n");
  tree.Put("/root/.netrc", "machine x\n");
  tree.Put("/etc/ssh/ssh_host_rsa_key", "anything\n");
  tree.Put("/etc/machine-id", std::string(32, 'a') + "\n");
  tree.Put("/etc/shadow", "daemon:*:1::\nroot:$y$j9T$x:1::\n");
  tree.Put("/root/.aws/credentials", "x\n");
  tree.Put("/root/token",
           "t = ghp"
           "_" +
               std::string(36, 'x') + "\n");
  tree.PutLink("/srv/.env", "app/.env");  // not followed: it is found where it is
  EXPECT_EQ(Check(tree), (Found{"/etc/machine-id:1 machine-id", "/etc/shadow:2 password-hash",
                                "/etc/ssh/ssh_host_rsa_key:0 ssh-host-key",
                                "/root/.aws/credentials:0 cloud-credentials",
                                "/root/.bash_history:0 shell-history", "/root/.netrc:0 netrc",
                                "/root/token:1 token", "/srv/app/.env:0 env-file"}));
  tree.Put("/etc/machine-id", "uninitialized\n");
  EXPECT_EQ(Check(tree, {"password-hash", "shell-history", "/etc/ssh/*", "/srv/**", "token",
                         "/root/.*", "cloud-credentials"}),
            Found{});
}

TEST(SealTest, FindsWhatLiesAcrossThePiecesThatAreRead) {
  for (const size_t before : {fs::kIoMax - 200, fs::kIoMax - 20, fs::kIoMax, 3 * fs::kIoMax - 40}) {
    VolumeTree tree;
    std::string content(before, 'x');
    for (size_t i = 79; i < content.size(); i += 80) content[i] = '\n';
    content += "\n" + Key();
    const auto line = 1 + std::count(content.begin(), content.begin() + before + 1, '\n');
    tree.Put("/f", content);
    EXPECT_EQ(Check(tree), Found{"/f:" + std::to_string(line) + " private-key"}) << before;
  }
}

TEST(SealTest, HolesCostNothing) {
  VolumeTree tree;
  tree.Put("/f", "x");
  fs::SetAttr large;
  large.size = uint64_t{1} << 50;
  ASSERT_TRUE((*tree).Setattr(kSystem, tree.AttrOf("/f").ino, large));
  EXPECT_EQ(Check(tree), Found{});
}

TEST(SealTest, AFileOfSeveralNamesIsJudgedByEach) {
  VolumeTree tree;
  tree.Put("/a", "root:$y$x:\n");
  tree.MakeDirs("/etc");
  ASSERT_TRUE((*tree).Link(kSystem, tree.AttrOf("/a").ino, tree.AttrOf("/etc").ino, "shadow"));
  EXPECT_EQ(Check(tree), Found{"/etc/shadow:1 password-hash"});
}

TEST(SealTest, DeepAndWideTreesAreSeenWhole) {
  VolumeTree tree;
  std::string path;
  for (int i = 0; i < 200; ++i) path += "/d";
  tree.Put(path + "/.env", "x");
  for (int i = 0; i < 1300; ++i) tree.Put("/wide/" + std::to_string(i) + "/f", "x");
  tree.Put("/wide/777/.env", "x");
  EXPECT_EQ(Check(tree), (Found{path + "/.env:0 env-file", "/wide/777/.env:0 env-file"}));
}

TEST(SealTest, RulesAreData) {
  VolumeTree tree;
  tree.Put("/a/b/x.txt", "one\nneedle here\n");
  tree.Put("/a/x.txt", "needle\n");
  tree.Put("/a/y.txt", "needle\n");
  EXPECT_EQ(Check(tree, {}, R"(
[[rule]]
name = "n"
says = "a needle"
paths = ["/a/**"]
except = ["/a/y.*"]
content = ['^needle']
)"),
            (Found{"/a/b/x.txt:2 n", "/a/x.txt:1 n"}));
  auto rules = *ParseSealRules(DefaultSealRules());
  EXPECT_EQ(SecretPatterns::Make(rules, {"no-such-rule"}).error().code, Err::kInvalid);
  for (const char* bad :
       {"[[rule]]\nname='n'\nsays='s'\n", "[[rule]]\nname='n'\nsays='s'\ncontent=['(']\n",
        "[[rule]]\nname='/n'\nsays='s'\ncontent=['x']\n",
        "[[rule]]\nname='n'\nsays='s'\ncontent=['(?:x{1000}){1000}']\n"})
    EXPECT_EQ(ParseSealRules(bad).error().code, Err::kInvalid) << bad;
}

}  // namespace
}  // namespace prism::birth
