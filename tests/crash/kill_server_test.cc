// The real server, killed under load: what it acknowledged to clients of VRPC and of a mount is
// there after a restart, clients end promptly, and nothing is left behind.
//
// PRISM_CRASH_SEED and PRISM_CRASH_ROUNDS make other and longer runs.
#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <memory>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

#include "tests/cli/live_server.h"
#include "tests/crash/executor.h"
#include "tests/crash/oracle.h"
#include "tests/crash/script.h"
#include "tests/crash/worker.h"
#include "tools/prism/control_client.h"
#include "vrpc/client.h"
#include "vrpc/sockets.h"

namespace prism::crash {
namespace {

using Clock = std::chrono::steady_clock;
using tool::LiveServer;
using tool::Shell;

constexpr auto kPromptly = std::chrono::seconds(5);

// The operations on volumes, by the control socket.
Status RunOnControl(tool::ControlClient& control, const Op& op) {
  Outcome<tool::Reply> reply = tool::Reply{};
  switch (op.kind) {
    case OpKind::kVolumeCreate:
      reply = control.Call("create", {{"name", op.path}});
      break;
    case OpKind::kVolumeClone:
      reply = control.Call("clone", {{"source", op.path}, {"targets", {op.other}}});
      break;
    case OpKind::kVolumeDestroy:
      reply = control.Call("destroy", {{"names", {op.path}}, {"recursive", true}});
      break;
    case OpKind::kVolumeSnapshot:
      reply = control.Call("snapshot", {{"names", {op.other}}});
      break;
    case OpKind::kVolumeRollback:
      reply = control.Call("rollback", {{"name", op.path}});
      break;
    case OpKind::kVolumeRename:
      reply = control.Call("rename", {{"from", op.path}, {"to", op.other}});
      break;
    default:
      std::this_thread::sleep_for(std::chrono::milliseconds(op.length));
  }
  return reply ? Status() : Status(Fail(reply.error().code));
}

// Threads in this process that work on the server until it dies.
class Clients {
 public:
  Clients(const std::string& control_path, const Script& script) : script_(script) {
    for (uint32_t i = 0; i < script.size(); ++i) {
      std::shared_ptr<vrpc::Client> client;
      if (!script[i].volume.empty()) {
        auto connected =
            vrpc::Client::Connect(vrpc::LanePathFor(control_path), {.volume = script[i].volume});
        EXPECT_TRUE(connected.has_value()) << connected.error().message;
        if (!connected) continue;
        client = *connected;
        clients_.push_back(client);
      }
      // Here, because a thread may begin after the server has been killed.
      auto control = tool::ControlClient::Connect(control_path);
      EXPECT_TRUE(control.has_value());
      if (!control) continue;
      controls_.push_back(std::make_unique<tool::ControlClient>(std::move(*control)));
      threads_.emplace_back(
          [this, i, client, raw = controls_.back().get()] { Work(i, client, *raw); });
    }
  }
  ~Clients() { Join(); }
  void Join() {
    for (std::thread& thread : threads_)
      if (thread.joinable()) thread.join();
  }

  size_t event_count() {
    std::lock_guard lock(mutex_);
    return events_.size();
  }
  bool working() const { return working_ > 0; }
  std::vector<Event> events() const { return events_; }
  const std::vector<std::shared_ptr<vrpc::Client>>& clients() const { return clients_; }

 private:
  void Work(uint32_t thread, const std::shared_ptr<vrpc::Client>& client,
            tool::ControlClient& control) {
    ++working_;
    const std::vector<Op>& ops = script_[thread].ops;
    for (uint32_t i = 0; i < ops.size(); ++i) {
      Tell({Event::Kind::kBegin, thread, i, 0});
      Status status = client ? Executor(*client).Run(ops[i]) : RunOnControl(control, ops[i]);
      Err error = status ? Err::kOk : status.error();
      Tell({Event::Kind::kEnd, thread, i, static_cast<uint32_t>(error)});
      if (status) continue;
      EXPECT_EQ(NameOf(error), NameOf(Err::kDisconnected)) << Describe(ops[i]);
      break;
    }
    --working_;
  }
  void Tell(const Event& event) {
    std::lock_guard lock(mutex_);
    events_.push_back(event);
  }

  const Script& script_;
  std::vector<std::shared_ptr<vrpc::Client>> clients_;
  std::vector<std::unique_ptr<tool::ControlClient>> controls_;
  std::vector<std::thread> threads_;
  std::atomic<int> working_{0};
  std::mutex mutex_;
  std::vector<Event> events_;  // guarded by mutex_ while the threads live
};

class KillServerTest : public ::testing::Test {
 protected:
  std::string Path(const std::string& name) const { return folder_.path() + "/" + name; }

  WorkerResult Dump(const std::string& mode) {
    WorkerOptions options;
    options.mode = mode;
    options.store = Path("store");
    options.folder = Path("work");
    options.seed = rng_();
    return RunWorker(options);
  }

  void OneRound() {
    LiveServer server(folder_.path(), "--flush-interval-ms 100 --checkpoint-interval-ms 200");
    ScriptOptions options;
    options.seed = rng_();
    options.ops_per_thread = 600;
    Script script = MakeScript(store_, options);
    for (Op& op : script.back().ops)  // not among the verbs of the control socket
      if (op.kind == OpKind::kCheckpoint || op.kind == OpKind::kFlush) op.kind = OpKind::kPause;
    Clients clients(Path("control.sock"), script);
    const size_t enough = 50 + rng_() % 3000;
    while (clients.event_count() < enough && clients.working())
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    const auto killed = Clock::now();
    EXPECT_EQ(server.Stop(SIGKILL), 128 + SIGKILL);
    clients.Join();
    EXPECT_LT(Clock::now() - killed, kPromptly) << "a client waits for a dead server";
    for (const auto& client : clients.clients()) {
      EXPECT_FALSE(client->connected());
      Status status = client->Null();
      EXPECT_TRUE(!status && status.error() == Err::kDisconnected);
    }
    WorkerResult dump = Dump("dump");
    ASSERT_TRUE(dump.good() && dump.errors.empty()) << dump.Describe();
    const std::vector<Event> events = clients.events();
    Oracle oracle(store_, script, events);
    for (const std::string& problem : oracle.Check(dump.found)) ADD_FAILURE() << problem;
    acknowledged_ += oracle.acknowledged();
    store_ = std::move(dump.found);
  }

  TemporaryFolder folder_;
  std::mt19937_64 rng_;
  Store store_;
  uint64_t acknowledged_ = 0;
};

TEST_F(KillServerTest, ClientsOfVrpc) {
  const uint64_t seed = FromEnvironment("PRISM_CRASH_SEED", 1);
  const uint64_t rounds = FromEnvironment("PRISM_CRASH_ROUNDS", 5);
  rng_.seed(seed);
  {
    LiveServer server(folder_.path());
    ASSERT_EQ(server.Prism("create a").exit_code, 0);
    ASSERT_EQ(server.Prism("create b").exit_code, 0);
  }
  store_ = {{"a", {}}, {"b", {}}};
  for (uint64_t round = 0; round < rounds && !HasFailure(); ++round) {
    SCOPED_TRACE(fmt::format("PRISM_CRASH_SEED={} round {}", seed, round));
    OneRound();
  }
  if (HasFailure()) return;
  WorkerResult emptied = Dump("empty");
  EXPECT_TRUE(emptied.good() && emptied.errors.empty()) << emptied.Describe();
  EXPECT_GT(acknowledged_, 0u);
  fmt::print("seed {}: {} operations had to survive\n", seed, acknowledged_);
}

// A writer in a mount: each file is written and synced under another name, then renamed.
class Writer {
 public:
  explicit Writer(std::string directory) : directory_(std::move(directory)) {
    thread_ = std::thread([this] { Work(); });
  }
  ~Writer() { Join(); }
  void Join() {
    if (thread_.joinable()) thread_.join();
  }
  int acknowledged() const { return acknowledged_; }

 private:
  void Work() {
    for (int i = 0; i < 1000000; ++i) {
      const std::string path = directory_ + "/" + std::to_string(i);
      int fd = ::open((path + ".new").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
      if (fd < 0) return;
      const std::string data = Payload(1000 + static_cast<uint64_t>(i), 10000);
      bool good = ::write(fd, data.data(), data.size()) == static_cast<ssize_t>(data.size()) &&
                  ::fsync(fd) == 0;
      ::close(fd);
      if (!good || ::rename((path + ".new").c_str(), path.c_str()) != 0) return;
      int directory = ::open(directory_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
      good = directory >= 0 && ::fsync(directory) == 0;
      if (directory >= 0) ::close(directory);
      if (!good) return;
      acknowledged_ = i + 1;
    }
  }

  const std::string directory_;
  std::atomic<int> acknowledged_{0};
  std::thread thread_;
};

TEST_F(KillServerTest, AMount) {
  if (::geteuid() != 0 || ::access("/dev/fuse", R_OK | W_OK) != 0)
    GTEST_SKIP() << "needs root and /dev/fuse";
  const std::string at = Path("mount");
  ASSERT_EQ(Shell("mkdir " + at).exit_code, 0);
  for (int round = 0; round < 3; ++round) {
    SCOPED_TRACE(fmt::format("round {}", round));
    const std::string volume = "v" + std::to_string(round);
    int acknowledged = 0;
    {
      LiveServer server(folder_.path());
      ASSERT_EQ(server.Prism("create " + volume).exit_code, 0);
      ASSERT_EQ(server.Prism("mount --wait-for-server 0 " + volume + " " + at).exit_code, 0);
      Writer writer(at);
      std::this_thread::sleep_for(std::chrono::milliseconds(300 + 200 * round));
      const auto killed = Clock::now();
      EXPECT_EQ(server.Stop(SIGKILL), 128 + SIGKILL);
      writer.Join();
      EXPECT_LT(Clock::now() - killed, kPromptly) << "a program in the mount hangs";
      acknowledged = writer.acknowledged();
      Shell("umount " + at + " 2>/dev/null || umount -l " + at + " 2>/dev/null");
      EXPECT_NE(Shell("mountpoint -q " + at).exit_code, 0) << "the mount is still there";
    }
    EXPECT_GT(acknowledged, 0);
    LiveServer server(folder_.path());
    ASSERT_EQ(server.Prism("mount " + volume + " " + at).exit_code, 0);
    for (int i = 0; i < acknowledged; ++i)
      EXPECT_EQ(ReadWholeFile(at + "/" + std::to_string(i)),
                Payload(1000 + static_cast<uint64_t>(i), 10000))
          << i << " of " << acknowledged;
    EXPECT_EQ(server.Prism("umount " + at).exit_code, 0);
  }
  // Neither a process of these servers nor of these mounts is left.
  EXPECT_EQ(Shell("pgrep -f " + folder_.path() + "/ | grep -v $$").output, "");
}

}  // namespace
}  // namespace prism::crash
