// Descriptors outlive a killed server: how they are packed, and with a service manager. In the
// holder process: holder_test.cc.
#include "server/fd_store.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <filesystem>

#include "server/fd_message.h"
#include "tests/cli/support.h"
#include "tests/server/channel.h"

namespace prism::server {
namespace {

using tool::TemporaryDirectory;

size_t OpenDescriptors() {
  size_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd"))
    ++count;
  return count;
}

TEST(FdPackTest, OrderAndNumberAreKeptHoweverOftenItIsRead) {
  for (size_t count : {1, 249, 250, 251, 600, 1024}) {
    const UniqueFd memory = Memory("x");
    std::vector<UniqueFd> events;
    std::vector<int> fds;
    for (size_t i = 0; i < count; ++i) {
      if (i == count / 2) {
        fds.push_back(memory.get());
        continue;
      }
      events.emplace_back(::eventfd(static_cast<unsigned>(i), EFD_NONBLOCK));
      fds.push_back(events.back().get());
    }
    const size_t open_before = OpenDescriptors();
    {
      auto pack = PackFds("a note", fds);
      ASSERT_TRUE(pack) << pack.error().message;
      events.clear();
      for (int round = 0; round < 2; ++round) {
        auto content = UnpackFds(pack->get());
        ASSERT_TRUE(content) << content.error().message;
        EXPECT_EQ(content->note, "a note");
        ASSERT_EQ(content->fds.size(), count);
        EXPECT_EQ(InodeOf(content->fds[count / 2].get()), InodeOf(memory.get()));
        for (size_t i = 1; i < count; ++i) {
          if (i == count / 2) continue;
          eventfd_t value = 0;  // what it was made with, put back for the next round
          ASSERT_EQ(::eventfd_read(content->fds[i].get(), &value), 0);
          ASSERT_EQ(value, i);
          ASSERT_EQ(::eventfd_write(content->fds[i].get(), value), 0);
        }
      }
    }
    EXPECT_EQ(OpenDescriptors(), open_before - (count - 1));
  }
}

TEST(FdPackTest, WhatIsNoPackIsRefused) {
  const UniqueFd event(::eventfd(0, 0));
  EXPECT_EQ(UnpackFds(event.get()).error().code, Err::kCorrupt);
  EXPECT_EQ(UnpackFds(-1).error().code, Err::kCorrupt);
  const int fd = event.get();
  const std::vector<std::string> firsts = {"x",
                                           "PFD1",
                                           std::string("PFD1\2\0\0\0", 8),
                                           std::string("PFD1\0\0\0\0", 8),
                                           std::string("PFD1\xff\xff\xff\xff", 8),
                                           std::string("PFD2\1\0\0\0", 8),
                                           std::string(9000, 'x')};
  for (const std::string& first : firsts) {
    int pair[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    UniqueFd pack(pair[0]), in(pair[1]);
    EXPECT_EQ(UnpackFds(pack.get()).error().code, Err::kCorrupt) << "empty, and still open";
    const size_t open_before = OpenDescriptors();
    ASSERT_TRUE(SendFds(in.get(), first, {&fd, 1}));
    EXPECT_FALSE(UnpackFds(pack.get())) << first.substr(0, 8);
    EXPECT_EQ(OpenDescriptors(), open_before);
  }
}

// A service manager, as far as it matters: a datagram socket.
class SystemdTest : public testing::Test {
 protected:
  void SetUp() override {
    manager_ = UniqueFd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path_.copy(address.sun_path, sizeof address.sun_path - 1);
    ASSERT_EQ(::bind(manager_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    ::setenv("NOTIFY_SOCKET", path_.c_str(), 1);
  }
  void TearDown() override {
    for (const char* name : {"NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"})
      ::unsetenv(name);
  }
  FdMessage Receive() {
    auto message = ReceiveFds(manager_.get(), 4096, MSG_DONTWAIT);
    return message ? std::move(*message) : FdMessage{};
  }

  TemporaryDirectory directory_;
  const std::string path_ = directory_ / "notify";
  UniqueFd manager_;
};

TEST_F(SystemdTest, DescriptorsAreStoredAndComeBack) {
  const Channel a("first"), b("second");
  std::vector<UniqueFd> stored;
  {
    std::unique_ptr<FdStore> store = OpenSystemdFdStore();
    ASSERT_TRUE(store->Put("vm-a", "note a", a.fds()));
    ASSERT_TRUE(store->Put("vm-b", "note b", b.fds()));
  }
  for (const char* name : {"vm-a", "vm-b"}) {
    EXPECT_EQ(Receive().bytes, fmt::format("FDSTOREREMOVE=1\nFDNAME=prism.{}", name));
    FdMessage store = Receive();
    EXPECT_EQ(store.bytes, fmt::format("FDSTORE=1\nFDNAME=prism.{}\nFDPOLL=0", name));
    ASSERT_EQ(store.fds.size(), 1u);
    stored.push_back(std::move(store.fds[0]));
  }

  // The next server, started as sd_listen_fds(3) says, in another order and with more.
  const ino_t first = InodeOf(a.memory.get()), second = InodeOf(b.memory.get());
  const pid_t server = ::fork();
  if (server == 0) {
    const UniqueFd more(::eventfd(0, 0));
    int order[] = {stored[1].get(), more.get(), stored[0].get(), more.get()};
    for (int& fd : order) fd = ::fcntl(fd, F_DUPFD, 100);
    for (int i = 0; i < 4; ++i) ::dup2(order[i], 3 + i);
    ::setenv("LISTEN_FDS", "4", 1);
    ::setenv("LISTEN_PID", std::to_string(::getpid()).c_str(), 1);
    ::setenv("LISTEN_FDNAMES", "prism.vm-b:other:prism.vm-a:prism.bad", 1);
    std::unique_ptr<FdStore> store = OpenSystemdFdStore();
    std::vector<FdStore::Entry> entries = store->TakeAll();
    const bool right = entries.size() == 2 && entries[0].name == "vm-b" &&
                       entries[1].name == "vm-a" && entries[0].content.note == "note b" &&
                       entries[1].content.fds.size() == 3 &&
                       InodeOf(entries[1].content.fds[1].get()) == first &&
                       InodeOf(entries[0].content.fds[1].get()) == second &&
                       store->TakeAll().empty() && ::getenv("LISTEN_FDS") == nullptr;
    if (right) store->Remove("vm-a");
    ::_exit(right ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(server, &status, 0), server);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(Receive().bytes, "FDSTOREREMOVE=1\nFDNAME=other");
  EXPECT_EQ(Receive().bytes, "FDSTOREREMOVE=1\nFDNAME=prism.bad");
  EXPECT_EQ(Receive().bytes, "FDSTOREREMOVE=1\nFDNAME=prism.vm-a");
}

TEST_F(SystemdTest, OnlyAServiceThatSystemdStartedUsesItsStore) {
  const Channel channel("x");
  ::setenv("SYSTEMD_EXEC_PID", std::to_string(::getpid()).c_str(), 1);
  ASSERT_TRUE(OpenFdStore(directory_ / "control.sock")->Put("vm", "", channel.fds()));
  EXPECT_EQ(Receive().bytes, "FDSTOREREMOVE=1\nFDNAME=prism.vm");
  // With the environment of another process of the service, it is the holder, which this test does
  // not have beside it.
  ::setenv("SYSTEMD_EXEC_PID", "1", 1);
  while (!Receive().bytes.empty()) continue;
  auto put = OpenFdStore(directory_ / "control.sock")->Put("vm", "", channel.fds());
  ASSERT_FALSE(put);
  EXPECT_NE(put.error().message.find("prismd-holder"), std::string::npos) << put.error().message;
  EXPECT_EQ(Receive().bytes, "");
  ::unsetenv("SYSTEMD_EXEC_PID");
}

}  // namespace
}  // namespace prism::server
