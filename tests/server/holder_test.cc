// The holder process keeps descriptors over the death of servers, and over what its peers do.
#include "server/holder.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <functional>
#include <random>
#include <thread>

#include "server/fd_message.h"
#include "server/fd_store.h"
#include "server/unix_listener.h"
#include "tests/cli/support.h"
#include "tests/server/channel.h"
#include "tests/support/eventually.h"
#include "tests/support/processor_time.h"

namespace prism::server {
namespace {

using test::Eventually;
using tool::TemporaryDirectory;

class HolderTest : public testing::Test {
 protected:
  void SetUp() override { store_ = OpenHolderFdStore(path_, PRISMD_HOLDER_PATH); }
  void TearDown() override {
    store_.reset();
    std::filesystem::remove_all(directory_.path());
    EXPECT_TRUE(Eventually([&] { return HolderPid() == 0; })) << "a holder was left behind";
  }

  // By its command line; 0: there is none.
  pid_t HolderPid() const {
    for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
      std::ifstream file(entry.path() / "cmdline");
      std::string program, path;
      if (std::getline(file, program, '\0') && std::getline(file, path, '\0') && path == path_)
        return std::stoi(entry.path().filename());
    }
    return 0;
  }
  UniqueFd ConnectRaw() const {
    UniqueFd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path_.copy(address.sun_path, sizeof address.sun_path - 1);
    const timeval timeout{5, 0};
    ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) fd.Reset();
    return fd;
  }
  std::string Names() const {
    std::string names;
    for (const FdStore::Entry& entry : OpenHolderFdStore(path_, "/nowhere")->TakeAll())
      names += entry.name + " ";
    return names;
  }

  TemporaryDirectory directory_;
  const std::string path_ = directory_ / "control.sock.holder";
  std::unique_ptr<FdStore> store_;
};

TEST_F(HolderTest, WhatAKilledServerHeldComesBack) {
  const Channel channel("the segment");
  const pid_t server = ::fork();
  if (server == 0) {
    Outcome<void> put = store_->Put("vm-1", "queues 4", channel.fds());
    ::raise(put ? SIGKILL : SIGTERM);
    ::_exit(1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(server, &status, 0), server);
  ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);

  for (int i = 0; i < 2; ++i) {  // taking does not take away
    std::vector<FdStore::Entry> entries = store_->TakeAll();
    ASSERT_EQ(entries.size(), 1u);
    EXPECT_EQ(entries[0].name, "vm-1");
    EXPECT_EQ(entries[0].content.note, "queues 4");
    ASSERT_EQ(entries[0].content.fds.size(), 3u);
    EXPECT_EQ(InodeOf(entries[0].content.fds[1].get()), InodeOf(channel.memory.get()));
    char bytes[16] = {};
    EXPECT_EQ(::pread(entries[0].content.fds[1].get(), bytes, sizeof bytes, 0), 11);
    EXPECT_STREQ(bytes, "the segment");
    // The socket is the same connection.
    EXPECT_EQ(::send(entries[0].content.fds[0].get(), "hi", 2, MSG_NOSIGNAL), 2);
    EXPECT_EQ(::recv(channel.peer.get(), bytes, sizeof bytes, 0), 2);
  }
  store_->Remove("vm-1");
  EXPECT_TRUE(Eventually([&] { return HolderPid() == 0; })) << "it holds nothing and stays";
  EXPECT_FALSE(std::filesystem::exists(path_));
  EXPECT_TRUE(store_->TakeAll().empty());
}

TEST_F(HolderTest, EntriesAreReplacedRemovedAndForgottenWithTheirPeers) {
  Channel a("a"), b("b"), c("c");
  ASSERT_TRUE(store_->Put("vm-a", "1", a.fds()));
  ASSERT_TRUE(store_->Put("vm-b", "2", b.fds()));
  const pid_t pid = HolderPid();
  ASSERT_TRUE(store_->Put("vm-b", "3", c.fds()));
  EXPECT_EQ(HolderPid(), pid) << "a second holder";
  std::vector<FdStore::Entry> entries = store_->TakeAll();
  ASSERT_EQ(entries.size(), 2u);
  EXPECT_EQ(entries[1].content.note, "3");
  EXPECT_EQ(InodeOf(entries[1].content.fds[1].get()), InodeOf(c.memory.get()));
  store_->Remove("absent");
  EXPECT_EQ(Names(), "vm-a vm-b ");
  // No server is needed to notice that a machine has gone.
  a.peer.Reset();
  EXPECT_TRUE(Eventually([&] { return Names() == "vm-b "; }));
  c.peer.Reset();
  EXPECT_TRUE(Eventually([&] { return HolderPid() == 0; }));
  ASSERT_TRUE(store_->Put("vm-b", "4", b.fds())) << "the next one starts a holder again";
  EXPECT_EQ(Names(), "vm-b ");
}

// A holder that is about to end takes nothing with it that was stored meanwhile.
TEST_F(HolderTest, StoringWhileItEndsSucceeds) {
  for (int i = 0; i < 60; ++i) {
    Channel first("first"), second("second");
    ASSERT_TRUE(store_->Put("vm", "1", first.fds()));
    first.peer.Reset();
    if (i % 2) store_->Remove("vm");
    if (i % 3) std::this_thread::sleep_for(std::chrono::microseconds(i * 20));
    Outcome<void> put = store_->Put("vm", "2", second.fds());
    ASSERT_TRUE(put) << put.error().message;
    std::vector<FdStore::Entry> entries = store_->TakeAll();
    ASSERT_EQ(entries.size(), 1u);
    EXPECT_EQ(entries[0].content.note, "2");
  }
}

TEST_F(HolderTest, ItGoesWithItsDirectory) {
  const Channel channel("x");
  ASSERT_TRUE(store_->Put("vm", "", channel.fds()));
  ASSERT_NE(HolderPid(), 0);
  std::filesystem::remove_all(directory_.path());
  EXPECT_TRUE(Eventually([&] { return HolderPid() == 0; }));
}

TEST_F(HolderTest, ItIsOutOfReachOfTheServersSignalsAndPipes) {
  const Channel channel("x");
  ASSERT_TRUE(store_->Put("vm", "", channel.fds()));
  const pid_t pid = HolderPid();
  ASSERT_NE(pid, 0);
  EXPECT_NE(::getsid(pid), ::getsid(0));
  for (int fd = 0; fd < 3; ++fd)
    EXPECT_EQ(
        std::filesystem::read_symlink("/proc/" + std::to_string(pid) + "/fd/" + std::to_string(fd)),
        "/dev/null");
  struct stat st = {};
  ASSERT_EQ(::stat(path_.c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 0600u);
}

TEST_F(HolderTest, HostileMessagesEndTheirConnectionAndNothingElse) {
  const Channel channel("kept");
  ASSERT_TRUE(store_->Put("kept", "", channel.fds()));
  const pid_t pid = HolderPid();
  std::mt19937 random(7);
  for (int i = 0; i < 2000; ++i) {
    const UniqueFd fd = ConnectRaw();
    ASSERT_TRUE(fd);
    std::string bytes(1 + random() % 200, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random());
    // Half of them are nearly right.
    if (i % 2) bytes[0] = static_cast<char>(1 + random() % 3);
    if (bytes.substr(1) == "kept") continue;
    const std::vector<int> fds(random() % 4, channel.event.get());
    ASSERT_TRUE(SendFds(fd.get(), bytes, fds));
    char answer[300];
    EXPECT_LT(::recv(fd.get(), answer, sizeof answer, 0), ssize_t(sizeof answer));
  }
  EXPECT_EQ(HolderPid(), pid);
  EXPECT_NE(Names().find("kept "), std::string::npos);
  // An entry needs a pack and a lifeline.
  const UniqueFd fd = ConnectRaw();
  const int event = channel.event.get();
  ASSERT_TRUE(SendFds(fd.get(), "\x01half", {&event, 1}));
  char code = 0;
  ASSERT_EQ(::recv(fd.get(), &code, 1, 0), 1);
  EXPECT_EQ(static_cast<Err>(code), Err::kInvalid);
  // What is no pack is stored, but dropped by the server that reads it.
  const int two[] = {event, event};
  ASSERT_TRUE(SendFds(fd.get(), "\x01nonsense", two));
  ASSERT_EQ(::recv(fd.get(), &code, 1, 0), 1);
  EXPECT_EQ(code, 0);
  EXPECT_EQ(store_->TakeAll().size(), 1u);
  EXPECT_EQ(Names(), "kept ");
}

TEST_F(HolderTest, EntriesAndConnectionsAreBounded) {
  const Channel channel("x");
  ASSERT_TRUE(store_->Put("first", "", channel.fds()));
  {
    std::vector<UniqueFd> held;
    for (size_t i = 0; i < kHolderConnectionsMax + 1; ++i) held.push_back(ConnectRaw());
    char byte;
    EXPECT_EQ(::recv(held.back().get(), &byte, 1, 0), 0) << "one more was served";
  }
  const UniqueFd fd = ConnectRaw();
  const int two[] = {channel.socket.get(), channel.socket.get()};
  char code = 0;
  for (size_t i = 1; i < kHolderEntriesMax; ++i) {
    ASSERT_TRUE(SendFds(fd.get(), "\x01n" + std::to_string(i), two));
    ASSERT_EQ(::recv(fd.get(), &code, 1, 0), 1);
    ASSERT_EQ(code, 0) << i;
  }
  EXPECT_EQ(store_->Put("one-more", "", channel.fds()).error().code, Err::kNoSpace);
  EXPECT_TRUE(store_->Put("first", "", channel.fds()));
}

// It goes on serving who is connected, at rest, and takes the next one when somebody goes.
TEST_F(HolderTest, RunningOutOfDescriptorsItWaits) {
  const pid_t starter = ::fork();
  if (starter == 0) {
    const rlimit limit{12, 12};
    ::setrlimit(RLIMIT_NOFILE, &limit);
    ::execl(PRISMD_HOLDER_PATH, PRISMD_HOLDER_PATH, path_.c_str(), nullptr);
    ::_exit(1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(starter, &status, 0), starter);
  ASSERT_EQ(status, 0);
  const Channel channel("x");
  ASSERT_TRUE(store_->Put("vm", "", channel.fds()));
  const pid_t pid = HolderPid();
  ASSERT_NE(pid, 0);
  const auto serves = [](const UniqueFd& fd, int timeout_ms) {
    char answer[300];
    pollfd ready{fd.get(), POLLIN, 0};
    return SendFds(fd.get(),
                   "\x02"
                   "absent",
                   {}) &&
           ::poll(&ready, 1, timeout_ms) == 1 && ::recv(fd.get(), answer, sizeof answer, 0) == 1;
  };
  std::vector<UniqueFd> held;
  do {
    ASSERT_LT(held.size(), kHolderConnectionsMax);
    held.push_back(ConnectRaw());
    ASSERT_TRUE(held.back());
  } while (serves(held.back(), 500));
  ASSERT_GT(held.size(), 1u);

  const auto before = ProcessorTime(pid);
  std::this_thread::sleep_for(std::chrono::seconds(1));
  EXPECT_LT(ProcessorTime(pid) - before, std::chrono::milliseconds(50)) << "it spins";
  EXPECT_TRUE(serves(held.front(), 5000));
  held.erase(held.begin());
  char answer[300];
  EXPECT_EQ(::recv(held.back().get(), answer, sizeof answer, 0), 1) << "who had to wait";
  held.clear();
  EXPECT_TRUE(Eventually([&] { return Names() == "vm "; }));
}

TEST_F(HolderTest, AnotherUserIsNotServed) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root, to be somebody else";
  const Channel channel("x");
  ASSERT_TRUE(store_->Put("vm", "", channel.fds()));
  ASSERT_EQ(::chmod(path_.c_str(), 0666), 0) << "so that only the holder's own check is left";
  ASSERT_EQ(::chmod(directory_.path().c_str(), 0711), 0);
  const pid_t other = ::fork();
  if (other == 0) {
    if (::setresuid(65534, 65534, 65534) != 0) ::_exit(2);
    const UniqueFd fd = ConnectRaw();
    if (!fd) ::_exit(3);
    SendFds(fd.get(), "\x03", {});
    char bytes[300];
    ::_exit(::recv(fd.get(), bytes, sizeof bytes, 0) > 0 ? 4 : 0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(other, &status, 0), other);
  EXPECT_EQ(WEXITSTATUS(status), 0);
  EXPECT_EQ(Names(), "vm ");
}

// Who listens there before the server does gets nothing of a machine's, and passes nothing off.
TEST_F(HolderTest, NothingIsGivenToAnotherUser) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root, to be somebody else";
  ASSERT_EQ(::chmod(directory_.path().c_str(), 0777), 0);
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  const pid_t other = ::fork();
  if (other == 0) {
    if (::setresuid(65534, 65534, 65534) != 0) ::_exit(2);
    UnixListener listener;
    if (!listener.Listen(path_, SOCK_SEQPACKET) || ::write(ready[1], "", 1) != 1) ::_exit(3);
    pollfd ask{listener.fd(), POLLIN, 0};
    for (int i = 0; i < 2 && ::poll(&ask, 1, 10000) == 1; ++i) {
      const UniqueFd fd(::accept(listener.fd(), nullptr, nullptr));
      if (auto request = ReceiveFds(fd.get(), 300)) ::_exit(4);
    }
    ::_exit(0);
  }
  char byte;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  const Channel channel("secret");
  EXPECT_EQ(store_->Put("vm", "", channel.fds()).error().code, Err::kPerm);
  EXPECT_TRUE(store_->TakeAll().empty());
  int status = 0;
  ASSERT_EQ(::waitpid(other, &status, 0), other);
  EXPECT_EQ(status, 0) << "it was asked, or given something";
  ::close(ready[0]);
  ::close(ready[1]);
}

TEST_F(HolderTest, WhatCannotBeStartedIsSaid) {
  const Channel channel("x");
  const auto put = [&](const std::string& path, const std::string& program) {
    return OpenHolderFdStore(path, program)->Put("vm", "", channel.fds()).error();
  };
  EXPECT_NE(put(path_, "/nowhere/holder").message.find("/nowhere/holder"), std::string::npos);
  EXPECT_EQ(put(path_, "/bin/false").code, Err::kIo);
  EXPECT_EQ(put("/" + std::string(120, 'p'), PRISMD_HOLDER_PATH).code, Err::kNameTooLong);
}

}  // namespace
}  // namespace prism::server
