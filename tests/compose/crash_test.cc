// A server that is killed while it composes: each volume is there as a whole, or not at all.
#include <sys/wait.h>
#include <unistd.h>
#include <csignal>
#include <random>

#include "tests/compose/fixture.h"

namespace prism::compose {
namespace {

class ComposeCrash : public Compose {
 protected:
  static std::vector<ComposeRule> Rules() {
    return {Graft("s", "/a", "/b"),
            Exclude("/deep/file-*"),
            Empty("/a/sub"),
            Volatile("/tmp"),
            Graft("s", "/deep", "/x/y"),
            Graft("s", "/b/secret", "/x/y/er/secret")};
  }

  // Composes and destroys, in a process of its own, until it is killed. Returns when the first
  // volume has been made.
  pid_t Start(int round) {
    host_.reset();
    int ready[2];
    EXPECT_EQ(::pipe(ready), 0);
    const pid_t pid = ::fork();
    if (pid != 0) {
      char byte;
      ::close(ready[1]);
      EXPECT_EQ(::read(ready[0], &byte, 1), 1) << "it made none";
      ::close(ready[0]);
      return pid;
    }
    Open();
    for (int i = 0;; ++i) {
      if (i == 1 && ::write(ready[1], "", 1) != 1) ::_exit(1);
      const std::string name = "n" + std::to_string(round) + "-" + std::to_string(i);
      if (!Make(name, "s", Rules())) ::_exit(1);
      if (i % 3 == 1 && !host_->Destroy({name})) ::_exit(1);
    }
  }
};

TEST_F(ComposeCrash, WholeOrAbsent) {
  MakeSource("s");
  Must(Make("whole", "s", Rules()));
  const auto expected = Attach("whole").Describe("");
  std::mt19937 random(7);
  int found = 0;
  uint64_t replayed = 0;
  for (int round = 0; round < 8; ++round) {
    const pid_t pid = Start(round);
    ASSERT_GT(pid, 0);
    ::usleep(random() % 300'000);
    ASSERT_EQ(::kill(pid, SIGKILL), 0);
    int status = 0;
    ASSERT_EQ(::waitpid(pid, &status, 0), pid);
    ASSERT_TRUE(WIFSIGNALED(status)) << "it ended by itself: " << status;
    replayed += ExpectWhole().journal_records;
    Open();
    std::vector<std::string> names;
    for (const fs::VolumeInfo& volume : host_->List()) {
      EXPECT_FALSE(volume.importing) << volume.name;
      if (volume.name == "s" || volume.name == "whole") continue;
      EXPECT_EQ(Attach(volume.name).Describe(""), expected) << volume.name;
      names.push_back(volume.name);
    }
    found += static_cast<int>(names.size());
    if (!names.empty()) Must(host_->Destroy(names));
  }
  EXPECT_GE(found, 8);
  EXPECT_GT(replayed, 100u);
  Must(host_->Destroy({"s", "whole"}));
  Must(host_->Drain());
  EXPECT_EQ(host_->Stats().stored_bytes, 0u);
  EXPECT_EQ(host_->Stats().nodes, 0u);
}

}  // namespace
}  // namespace prism::compose
