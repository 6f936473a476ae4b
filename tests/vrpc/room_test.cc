// Who may have how many channels and descriptors of a server, and what it does without any left.
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <csignal>
#include <fstream>

#include "tests/support/processor_time.h"
#include "tests/vrpc/lane_fixture.h"
#include "tests/vrpc/raw_lane.h"

namespace prism::vrpc {
namespace {

using namespace std::chrono_literals;

constexpr char kFill = 'f';  // takes all descriptors
constexpr char kFree = 'e';  // gives some back

// The other end is asked for one thing at a time.
struct Talk {
  Talk() { PRISM_CHECK(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0); }
  ~Talk() {
    for (int end : ends) ::close(end);
  }
  char Hear(int end) {
    char byte = 0;
    return ::recv(ends[end], &byte, 1, 0) == 1 ? byte : 0;
  }
  void Say(int end, char byte) { ::send(ends[end], &byte, 1, MSG_NOSIGNAL); }
  char Ask(char byte) {
    Say(0, byte);
    return Hear(0);
  }

  int ends[2];
};

class RoomTest : public LaneFixture {
 protected:
  std::string vm() const { return directory_ + "/vm"; }
  std::string log() const { return directory_ + "/log"; }
  void StartWithMachine(const ServerOptions& options) {
    StartServer(options);
    auto added = server_->AddPort(
        {.name = "vm", .path = vm(), .uid = ::geteuid(), .opener = EchoOpener(), .single = true});
    ASSERT_TRUE(added) << added.error().message;
  }
  // Before any thread or connection, which it would have a copy of; it ends with this process.
  static pid_t Fork() {
    const pid_t child = ::fork();
    PRISM_CHECK(child >= 0);
    if (child == 0) ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    return child;
  }
  // Another process which, once it is told to, says how many of `tries` connections it gets, and
  // keeps them until it is told to end.
  static pid_t ForkClient(Talk& talk, const std::string& path, int tries) {
    pid_t child = Fork();
    if (child != 0) return child;
    talk.Hear(1);
    std::vector<std::shared_ptr<Client>> clients;
    for (int i = 0; i < tries; ++i)
      if (auto client = Client::Connect(path, {.volume = "v"})) clients.push_back(*client);
    talk.Say(1, static_cast<char>('0' + clients.size()));
    talk.Hear(1);
    ::_exit(0);
  }
  // A server with few descriptors, which logs to log().
  pid_t ForkServer(Talk& talk, rlim_t descriptors) {
    pid_t child = Fork();
    if (child != 0) return child;
    const rlimit limit{descriptors, descriptors};
    const int out = ::open(log().c_str(), O_CREAT | O_WRONLY | O_APPEND, 0600);
    if (::setrlimit(RLIMIT_NOFILE, &limit) != 0 || ::dup2(out, STDOUT_FILENO) < 0) ::_exit(2);
    StartWithMachine({.workers = 2});
    talk.Say(1, 'r');
    std::vector<UniqueFd> taken;
    for (char asked; (asked = talk.Hear(1)) != 0; talk.Say(1, asked)) {
      if (asked == kFree) taken.clear();
      while (asked == kFill) {
        UniqueFd fd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
        if (!fd) break;
        taken.push_back(std::move(fd));
      }
    }
    ::_exit(0);
  }
  size_t LinesWith(const std::string& text) const {
    std::ifstream file(log());
    size_t count = 0;
    for (std::string line; std::getline(file, line);) count += line.find(text) != std::string::npos;
    return count;
  }
};

TEST_F(RoomTest, ClientsOfAGeneralPortTakeNothingFromMachinesNorOneProcessAll) {
  Talk talk;
  const pid_t child = ForkClient(talk, path(), 3);
  StartWithMachine({.workers = 2, .channels_max = 4});
  auto first = Connect();
  auto second = Connect();
  EXPECT_EQ(TryConnect().error().code, Err::kAgain) << "more than half for one process";
  EXPECT_EQ(talk.Ask('g'), '2');
  first.reset();
  // The general port is full again, and the machine comes in.
  EXPECT_TRUE(Soon([&] {
    auto next = TryConnect();
    if (next) first = *next;
    return next.has_value();
  }));
  EXPECT_EQ(TryConnect().error().code, Err::kAgain);
  {
    RawLane lane = RawLane::Open(vm());
    EXPECT_EQ(TryConnect().error().code, Err::kAgain);
    second.reset();
    // Nor does it take anything from them.
    EXPECT_TRUE(Soon([&] { return TryConnect().has_value(); }));
  }
  talk.Say(0, 'x');
  EXPECT_EQ(::waitpid(child, nullptr, 0), child);
}

TEST_F(RoomTest, ClientsOfAGeneralPortLeaveDescriptorsToMachines) {
  Talk others[3];
  std::vector<pid_t> clients;
  for (Talk& other : others) clients.push_back(ForkClient(other, path(), 2));
  Talk talk;
  const pid_t child = ForkServer(talk, 150);  // 75 for three of 20 each
  ASSERT_EQ(talk.Hear(0), 'r');
  auto ours = Connect();
  EXPECT_EQ(TryConnect().error().code, Err::kAgain);
  std::string got;
  for (Talk& other : others) got += other.Ask('g');
  EXPECT_EQ(got, "110");
  RawLane lane = RawLane::Open(vm());
  for (Talk& other : others) other.Say(0, 'x');
  for (pid_t client : clients) EXPECT_EQ(::waitpid(client, nullptr, 0), client);
  ::kill(child, SIGKILL);
  EXPECT_EQ(::waitpid(child, nullptr, 0), child);
}

TEST_F(RoomTest, WithoutDescriptorsItServesWhoIsThereAndTakesOthersLater) {
  Talk talk;
  const pid_t child = ForkServer(talk, 150);
  ASSERT_EQ(talk.Hear(0), 'r');
  RawLane lane = RawLane::Open(vm());
  ASSERT_EQ(talk.Ask(kFill), kFill);
  const auto before = ProcessorTime(child);
  auto late = ConnectTo(path(), InSeconds(5));
  ASSERT_TRUE(late);
  EXPECT_TRUE(Soon([&] { return LinesWith("cannot accept") > 0; }));
  std::this_thread::sleep_for(1500ms);
  EXPECT_LE(LinesWith("cannot accept"), 15u) << "of thirty attempts";
  EXPECT_LT(ProcessorTime(child) - before, 150ms);
  lane.Submit(0, {0, lane.Compose(0, 0, ""), 0, 0});
  EXPECT_EQ(lane.FirstReply(0), 0);
  ASSERT_EQ(talk.Ask(kFree), kFree);
  auto greeting = ReceiveMessage(late->get(), InSeconds(5));
  EXPECT_TRUE(greeting && greeting->value == kIvshmemVersion);
  ::kill(child, SIGKILL);
  EXPECT_EQ(::waitpid(child, nullptr, 0), child);
}

}  // namespace
}  // namespace prism::vrpc
