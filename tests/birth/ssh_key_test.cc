// Keys that OpenSSH itself takes for its own.
#include "fs/birth/ssh_key.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace prism::birth {
namespace {

TEST(SshKeyTest, OpensshReadsThem) {
  ASSERT_EQ(std::system("command -v ssh-keygen > /dev/null"), 0) << "openssh-client is missing";
  std::string directory = (std::filesystem::temp_directory_path() / "prism-key-XXXXXX").string();
  ASSERT_NE(mkdtemp(directory.data()), nullptr);
  for (const SshKeyType type : {SshKeyType::kEd25519, SshKeyType::kEcdsa}) {
    // ECDSA's secret is a number of varying length.
    for (int i = 0; i < 20; ++i) {
      auto key = MakeSshKey(type, "root@web");
      ASSERT_TRUE(key);
      std::ofstream(directory + "/key") << key->private_text;
      ASSERT_EQ(chmod((directory + "/key").c_str(), 0600), 0);
      std::ofstream(directory + "/key.pub") << key->public_text;
      const std::string compare = "test \"$(ssh-keygen -y -P '' -f " + directory +
                                  "/key)\" = \"$(cat " + directory + "/key.pub)\"";
      EXPECT_EQ(std::system(compare.c_str()), 0);
      std::filesystem::remove(directory + "/key");
    }
  }
  std::filesystem::remove_all(directory);
}

TEST(SshKeyTest, NoTwoAreAlike) {
  EXPECT_NE(MakeSshKey(SshKeyType::kEd25519, "c")->public_text,
            MakeSshKey(SshKeyType::kEd25519, "c")->public_text);
}

}  // namespace
}  // namespace prism::birth
