// The real server killed under its clients, who go on with the same connections' requests; and
// libnfs's utilities against it.
#include <arpa/inet.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <thread>

#include "tests/cli/live_server.h"
#include "tests/nfs/nfs_fixture.h"

namespace prism::nfs3 {
namespace {

using tool::LiveServer;

// A port that was free just now.
uint16_t FreePort() {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  EXPECT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&address), length), 0);
  EXPECT_EQ(getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length), 0);
  close(fd);
  return ntohs(address.sin_port);
}

class LiveTest : public ::testing::Test {
 protected:
  LiveTest() {
    Start();
    EXPECT_EQ(server_->Prism("create volume").exit_code, 0);
    EXPECT_EQ(server_->Prism("access volume '127.0.0.1(insecure)'").exit_code, 0);
    Results results = Connect().Mount(1, Args().Text("/volume"));
    EXPECT_EQ(results.status(), NFS3_OK);
    root_ = results.GetHandle();
  }
  void Start() {
    server_ =
        std::make_unique<LiveServer>(directory_.path(), fmt::format("--nfs 127.0.0.1:{}", port_));
  }
  void Kill() { EXPECT_EQ(server_->Stop(SIGKILL), 128 + SIGKILL); }
  void KillAndStart() {
    Kill();
    Start();
  }
  Client Connect() { return Client(*rpc::ParseEndpoint(fmt::format("127.0.0.1:{}", port_))); }
  // A connection once there is a server to take it.
  Client ConnectAgain() {
    EXPECT_TRUE(rpc::Soon([&] { return Connect().raw().connected(); }));
    return Connect();
  }
  Results Write(Client& client, std::string_view file, std::string_view data, uint32_t stable) {
    const auto count = static_cast<uint32_t>(data.size());
    return client.Nfs(NFSPROC3_WRITE, Args().Text(file).U64(0).U32(count).U32(stable).Text(data));
  }
  uint64_t Commit(Client& client, std::string_view file) {
    Results results = client.Nfs(NFSPROC3_COMMIT, Args().Text(file).U64(0).U32(0));
    EXPECT_EQ(results.status(), NFS3_OK);
    results.GetWcc();
    return results.in().U64();
  }
  std::string Read(Client& client, std::string_view file) {
    Results results = client.Nfs(NFSPROC3_READ, Args().Text(file).U64(0).U32(65536));
    EXPECT_EQ(results.status(), NFS3_OK);
    results.GetPostOp();
    results.in().U64();
    return std::string(results.in().String(65536));
  }
  static uint64_t VerifierOf(Results results) {
    EXPECT_EQ(results.status(), NFS3_OK);
    results.GetWcc();
    results.in().U64();  // count, committed
    return results.in().U64();
  }
  std::string Url(const std::string& path) const {
    return fmt::format("'nfs://127.0.0.1/volume/{}?version=3&nfsport={}&mountport={}'", path, port_,
                       port_);
  }

  test::TempDir directory_;
  const uint16_t port_ = FreePort();
  std::unique_ptr<LiveServer> server_;
  std::string root_;
};

TEST_F(LiveTest, AnsweredRequestsOfAKilledServerAreAnsweredAlike) {
  Client client = Connect();
  client.Create(root_, "removed");
  client.Create(root_, "renamed");
  const std::string linked = client.Create(root_, "linked");
  const std::pair<uint32_t, Args> kRequests[] = {
      {NFSPROC3_CREATE, Where(root_, "created").U32(1).Sattr(0640)},
      {NFSPROC3_MKDIR, Where(root_, "made").Sattr(0750)},
      {NFSPROC3_REMOVE, Where(root_, "removed")},
      {NFSPROC3_RENAME, Args().Text(root_).Text("renamed").Text(root_).Text("moved")},
      {NFSPROC3_LINK, Args().Text(linked).Text(root_).Text("hard")},
  };
  uint32_t xid = 9000;
  for (const auto& [procedure, args] : kRequests)
    EXPECT_EQ(client.Nfs(procedure, args, ++xid).status(), NFS3_OK) << procedure;
  const std::string created = client.Lookup(root_, "created");
  KillAndStart();
  Client again = ConnectAgain();
  xid = 9000;
  for (const auto& [procedure, args] : kRequests)
    EXPECT_EQ(again.Nfs(procedure, args, ++xid).status(), NFS3_OK) << procedure;
  EXPECT_EQ(again.Lookup(root_, "created"), created);
  EXPECT_EQ(again.Getattr(linked).nlink, 2u);
  for (const auto& [procedure, args] : kRequests)
    EXPECT_NE(again.Nfs(procedure, args).status(), NFS3_OK) << "under a new number " << procedure;
}

// The reply may be lost with the server; whether it was done or not, it is done once.
TEST_F(LiveTest, RequestsInFlightOfAKilledServerAreDoneOnce) {
  for (uint32_t round = 0; round < 4; ++round) {
    SCOPED_TRACE(round);
    Client client = ConnectAgain();
    const std::string name = fmt::format("file-{}", round);
    client.Create(root_, name);
    rpc::CallSpec spec;
    spec.xid = 9500 + round;
    spec.program = kNfsProgram;
    spec.procedure = NFSPROC3_REMOVE;
    spec.flavor = 1;
    spec.credentials = rpc::AuthSys(0, 0, {}, "test");
    spec.args = Where(root_, name);
    EXPECT_TRUE(client.raw().SendCall(spec));
    std::this_thread::sleep_for(std::chrono::microseconds(300 * round));
    KillAndStart();
    Client again = ConnectAgain();
    EXPECT_EQ(again.Nfs(NFSPROC3_REMOVE, Where(root_, name), spec.xid).status(), NFS3_OK);
    EXPECT_EQ(again.StatusOf(NFSPROC3_LOOKUP, Where(root_, name)), NFS3ERR_NOENT);
  }
}

TEST_F(LiveTest, WhatWasAnsweredIsThereAfterAKill) {
  Client client = Connect();
  const std::string file = client.Create(root_, "file");
  EXPECT_EQ(Write(client, file, "stable data", 2).status(), NFS3_OK);
  const std::string committed = client.Create(root_, "committed");
  EXPECT_EQ(Write(client, committed, "committed data", 0).status(), NFS3_OK);
  Commit(client, committed);
  EXPECT_EQ(client.StatusOf(NFSPROC3_SETATTR, Args().Text(file).Sattr(0604).U32(0)), NFS3_OK);
  KillAndStart();
  Client again = ConnectAgain();
  EXPECT_EQ(Read(again, file), "stable data");
  EXPECT_EQ(again.Getattr(file).mode, 0604u);
  EXPECT_EQ(Read(again, committed), "committed data");
}

TEST_F(LiveTest, TheWriteVerifierChangesWhenUnstableDataMayBeLost) {
  Client client = Connect();
  const std::string file = client.Create(root_, "file");
  const uint64_t verifier = VerifierOf(Write(client, file, "unstable", 0));
  KillAndStart();
  Client again = ConnectAgain();
  EXPECT_NE(Commit(again, file), verifier) << "the client must send its data again";
}

TEST_F(LiveTest, AnAcknowledgedCommitsVerifierHeldForItsWrites) {
  Client client = Connect();
  const std::string file = client.Create(root_, "file");
  for (int i = 0; i < 20; ++i) {
    const std::string data = fmt::format("version {}", i);
    const uint64_t verifier = VerifierOf(Write(client, file, data, 0));
    EXPECT_EQ(Commit(client, file), verifier);
  }
  KillAndStart();
  Client again = ConnectAgain();
  EXPECT_EQ(Read(again, file), "version 19");
}

// What one side has done the other sees; what a mount's kernel has cached goes when NFS changes it.
TEST_F(LiveTest, AMountAndAClientSeeOneFileSystem) {
  if (geteuid() != 0) GTEST_SKIP() << "mounting needs root";
  const std::string mount = directory_.Path("mount");
  ASSERT_EQ(mkdir(mount.c_str(), 0755), 0);
  const tool::ShellResult mounted = server_->Prism("mount volume " + mount);
  ASSERT_EQ(mounted.exit_code, 0) << mounted.output;
  auto in_mount = [&](const std::string& command) {
    return tool::Shell("cd " + mount + " && " + command).output;
  };
  Client client = Connect();
  EXPECT_EQ(in_mount("ls"), "");  // its kernel knows an empty directory
  const std::string file = client.Create(root_, "file");
  EXPECT_EQ(Write(client, file, "one", 2).status(), NFS3_OK);
  EXPECT_TRUE(rpc::Soon([&] { return in_mount("ls; cat file") == "file\none"; }));
  EXPECT_EQ(Write(client, file, "two", 0).status(), NFS3_OK);
  EXPECT_TRUE(rpc::Soon([&] { return in_mount("cat file") == "two"; })) << in_mount("cat file");
  // A mount writes through, so the other direction has nothing to wait for.
  EXPECT_EQ(in_mount("printf three > file; mkdir dir; mv file dir/moved"), "");
  const std::string moved = client.Lookup(client.Lookup(root_, "dir"), "moved");
  EXPECT_EQ(moved, file);
  EXPECT_EQ(Read(client, moved), "three");
  EXPECT_EQ(in_mount("stat -c %s dir/moved"), "5\n");
  EXPECT_EQ(client.StatusOf(NFSPROC3_REMOVE, Where(client.Lookup(root_, "dir"), "moved")), NFS3_OK);
  EXPECT_TRUE(
      rpc::Soon([&] { return in_mount("ls dir; test -e dir/moved && echo is there") == ""; }));
  EXPECT_EQ(server_->Prism("umount " + mount).exit_code, 0);
}

TEST_F(LiveTest, TheUtilitiesOfLibnfsWork) {
  if (geteuid() != 0) GTEST_SKIP() << "they come from a privileged port or not at all";
  const std::string source = directory_.Path("source");
  const std::string copy = directory_.Path("copy");
  EXPECT_EQ(tool::Shell("head -c 3000000 /dev/urandom > " + source).exit_code, 0);
  EXPECT_EQ(Connect().StatusOf(NFSPROC3_MKDIR, Where(root_, "dir").Sattr(0755)), NFS3_OK);
  tool::ShellResult result = tool::Shell("nfs-cp " + source + " " + Url("dir/file"));
  EXPECT_EQ(result.exit_code, 0) << result.output;
  result =
      tool::Shell("nfs-cat " + Url("dir/file") + " > " + copy + " && cmp " + source + " " + copy);
  EXPECT_EQ(result.exit_code, 0) << result.output;
  result = tool::Shell("rm -f " + copy + " && nfs-cp " + Url("dir/file") + " " + copy + " && cmp " +
                       source + " " + copy);
  EXPECT_EQ(result.exit_code, 0) << result.output;
  result = tool::Shell("nfs-ls " + Url("dir"));
  EXPECT_EQ(result.exit_code, 0) << result.output;
  EXPECT_NE(result.output.find("3000000"), std::string::npos) << result.output;
  EXPECT_NE(result.output.find("file"), std::string::npos) << result.output;
}

}  // namespace
}  // namespace prism::nfs3
