// A request that is sent again gets the first answer: on the same connection, on another, and after
// the server has been restarted.
#include <functional>

#include "tests/nfs/nfs_fixture.h"

namespace prism::nfs3 {
namespace {

struct Case {
  const char* name;
  uint32_t procedure;
  std::function<Args(const std::string& root)> args;
  uint32_t otherwise;  // what the same request is answered under another number
};

const Case kCases[] = {
    {"Remove", NFSPROC3_REMOVE, [](auto& root) { return Where(root, "file"); }, NFS3ERR_NOENT},
    {"Rmdir", NFSPROC3_RMDIR, [](auto& root) { return Where(root, "dir"); }, NFS3ERR_NOENT},
    {"Create", NFSPROC3_CREATE, [](auto& root) { return Where(root, "new").U32(1).Sattr(0640); },
     NFS3ERR_EXIST},
    {"Mkdir", NFSPROC3_MKDIR, [](auto& root) { return Where(root, "new").Sattr(0750); },
     NFS3ERR_EXIST},
    {"Symlink", NFSPROC3_SYMLINK,
     [](auto& root) { return Where(root, "new").Sattr().Text("target"); }, NFS3ERR_EXIST},
    {"Mknod", NFSPROC3_MKNOD, [](auto& root) { return Where(root, "new").U32(7).Sattr(0600); },
     NFS3ERR_EXIST},
    {"Rename", NFSPROC3_RENAME,
     [](auto& root) { return Args().Text(root).Text("file").Text(root).Text("moved"); },
     NFS3ERR_NOENT},
};

class ReplayTest : public NfsFixture, public ::testing::WithParamInterface<Case> {
 protected:
  ReplayTest() {
    Client client = Connect();
    file_ = client.Create(root_, "file");
    client.Mkdir(root_, "dir");
  }
  Args ArgsNow() { return GetParam().args(root_); }
  uint32_t Send(uint32_t xid) {
    return Connect().Nfs(GetParam().procedure, ArgsNow(), xid).status();
  }
  // The handle of what was made, if this makes something.
  std::string Made(uint32_t xid) {
    Results results = Connect().Nfs(GetParam().procedure, ArgsNow(), xid);
    EXPECT_EQ(results.status(), NFS3_OK);
    return results.GetPostOpHandle().value_or("none");
  }
  bool Makes() const { return GetParam().otherwise == NFS3ERR_EXIST; }

  std::string file_;
};

INSTANTIATE_TEST_SUITE_P(, ReplayTest, ::testing::ValuesIn(kCases),
                         [](const auto& chosen) { return std::string(chosen.param.name); });

TEST_P(ReplayTest, OnTheSameConnectionTheAnswerIsTheSameToTheByte) {
  Client client = Connect();
  auto first = client.Call(kNfsProgram, GetParam().procedure, ArgsNow(), 7001);
  auto second = client.Call(kNfsProgram, GetParam().procedure, ArgsNow(), 7001);
  ASSERT_TRUE(first && second);
  EXPECT_EQ(first->word(), NFS3_OK);
  EXPECT_EQ(first->body, second->body);
}

TEST_P(ReplayTest, OnAnotherConnectionTheAnswerIsTheSameToTheByte) {
  Client one = Connect(), two = Connect();
  auto first = one.Call(kNfsProgram, GetParam().procedure, ArgsNow(), 7002);
  one.raw().Close();
  auto second = two.Call(kNfsProgram, GetParam().procedure, ArgsNow(), 7002);
  ASSERT_TRUE(first && second);
  EXPECT_EQ(first->word(), NFS3_OK);
  EXPECT_EQ(first->body, second->body);
}

TEST_P(ReplayTest, ARequestOfAnotherNumberIsAnotherRequest) {
  EXPECT_EQ(Send(7003), NFS3_OK);
  EXPECT_EQ(Send(7004), GetParam().otherwise);
  EXPECT_EQ(Send(7003), NFS3_OK);
}

TEST_P(ReplayTest, AfterARestartItStillSucceeds) {
  const std::string made = Makes() ? Made(7005) : "";
  if (!Makes()) {
    EXPECT_EQ(Send(7005), NFS3_OK);
  }
  Restart();
  if (Makes()) {
    EXPECT_EQ(Made(7005), made);
  } else {
    EXPECT_EQ(Send(7005), NFS3_OK);
  }
  EXPECT_EQ(Send(7006), GetParam().otherwise);
}

TEST_P(ReplayTest, AnotherUsersRequestOfTheSameNumberIsAnother) {
  EXPECT_EQ(Send(7007), NFS3_OK);
  Client other = Connect();
  other.Become({.uid = 1000, .gid = 1000});
  EXPECT_NE(other.Nfs(GetParam().procedure, ArgsNow(), 7007).status(), NFS3_OK);
}

class LinkReplayTest : public NfsFixture {};

TEST_F(LinkReplayTest, OnAnotherConnectionAndAfterARestart) {
  const std::string file = Connect().Create(root_, "file");
  const Args args = Args().Text(file).Text(root_).Text("hard");
  EXPECT_EQ(Connect().Nfs(NFSPROC3_LINK, args, 7101).status(), NFS3_OK);
  EXPECT_EQ(Connect().Nfs(NFSPROC3_LINK, args, 7101).status(), NFS3_OK);
  EXPECT_EQ(Connect().Nfs(NFSPROC3_LINK, args, 7102).status(), NFS3ERR_EXIST);
  Restart();
  EXPECT_EQ(Connect().Nfs(NFSPROC3_LINK, args, 7101).status(), NFS3_OK);
  EXPECT_EQ(Connect().Getattr(file).nlink, 2u);
}

TEST_F(LinkReplayTest, ARemovalIsNotDoneTwiceWhenTheNameIsThereAgain) {
  Connect().Create(root_, "file");
  const Args args = Where(root_, "file");
  EXPECT_EQ(Connect().Nfs(NFSPROC3_REMOVE, args, 7201).status(), NFS3_OK);
  const std::string again = Connect().Create(root_, "file");
  EXPECT_EQ(Connect().Nfs(NFSPROC3_REMOVE, args, 7201).status(), NFS3_OK);
  EXPECT_EQ(Connect().Lookup(root_, "file"), again);
  Restart();
  EXPECT_EQ(Connect().Nfs(NFSPROC3_REMOVE, args, 7201).status(), NFS3_OK);
  EXPECT_EQ(Connect().Lookup(root_, "file"), again);
}

}  // namespace
}  // namespace prism::nfs3
