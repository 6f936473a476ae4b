// Lanes that begin, end, fail and are refused; many threads; events.
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "tests/vrpc/lane_fixture.h"

namespace prism::vrpc {
namespace {

using namespace std::chrono_literals;

class LifecycleTest : public LaneFixture {};

class Recorder : public fs::EventListener {
 public:
  void OnEvent(const fs::Event& event) override {
    std::lock_guard lock(mutex_);
    events_.push_back(event);
  }
  std::vector<fs::Event> Take() {
    std::lock_guard lock(mutex_);
    return std::exchange(events_, {});
  }
  size_t size() {
    std::lock_guard lock(mutex_);
    return events_.size();
  }

 private:
  std::mutex mutex_;
  std::vector<fs::Event> events_;
};

TEST_F(LifecycleTest, LanesAreListedAndLetGo) {
  StartServer();
  int before = EchoFs::alive;
  auto client = Connect({.volume = "vol", .importing = true, .queues = 3});
  ASSERT_NE(client, nullptr);
  EXPECT_TRUE(last_importing_);
  EXPECT_TRUE(client->Null());
  EXPECT_EQ(client->Getattr({}, EchoFs::kStaleInode).error(), Err::kStale);
  std::vector<std::byte> data(1000);
  EXPECT_TRUE(client->Write({}, {.ino = 1, .data = data}));
  auto lanes = server_->Lanes();
  ASSERT_EQ(lanes.size(), 1u);
  EXPECT_EQ(lanes[0].volume, "vol");
  EXPECT_TRUE(lanes[0].importing);
  EXPECT_EQ(lanes[0].pid, ::getpid());
  EXPECT_EQ(lanes[0].uid, ::getuid());
  EXPECT_EQ(lanes[0].calls, 3u);
  EXPECT_EQ(lanes[0].errors, 1u);
  EXPECT_EQ(lanes[0].written_bytes, 1000u);
  EXPECT_EQ(EchoFs::alive, before + 1);
  client.reset();
  EXPECT_TRUE(Soon([&] { return EchoFs::alive == before && server_->Lanes().empty(); }));
}

TEST_F(LifecycleTest, TheSocketIsTheOwnersAlone) {
  StartServer();
  struct stat status {};
  ASSERT_EQ(::stat(path().c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
  auto second = AddPort("second", path());
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Err::kBusy);
  EXPECT_EQ(AddPort("general", directory_ + "/other").error().code, Err::kExists);
  server_->Stop();
  EXPECT_NE(::stat(path().c_str(), &status), 0);
}

TEST_F(LifecycleTest, AStaleSocketFileIsReplacedButNothingElse) {
  StartServer();
  // What a killed server leaves: a socket file without a listener.
  std::string stale = directory_ + "/stale";
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  stale.copy(address.sun_path, sizeof address.sun_path - 1);
  int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
  ASSERT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ::close(fd);
  auto fresh = AddPort("fresh", stale);
  EXPECT_TRUE(fresh) << fresh.error().message;
  std::string file = directory_ + "/file";
  ::close(::open(file.c_str(), O_CREAT | O_WRONLY, 0600));
  auto refused = AddPort("file", file);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Err::kExists);
}

TEST_F(LifecycleTest, RefusalsComeInWords) {
  auto nobody = TryConnect();
  ASSERT_FALSE(nobody);
  EXPECT_EQ(nobody.error().code, Err::kDisconnected);
  StartServer({.channels_max = 1});
  auto absent = TryConnect({.volume = "absent"});
  ASSERT_FALSE(absent);
  EXPECT_EQ(absent.error().code, Err::kNoEntry);
  EXPECT_EQ(absent.error().message, "no volume 'absent'");
  EXPECT_EQ(TryConnect({.volume = std::string(129, 'v')}).error().code, Err::kInvalid);
  auto first = Connect();
  auto second = TryConnect();
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Err::kAgain);
  first.reset();
  EXPECT_TRUE(Soon([&] { return TryConnect().has_value(); }));
}

TEST_F(LifecycleTest, ServerStopEndsAllCalls) {
  StartServer();
  auto client = Connect();
  std::atomic<int> called_back = 0;
  client->SetDisconnectCallback([&] { ++called_back; });
  EchoFs* blocking = echo();
  // Two blocked calls, and eight more threads that ask all the time.
  std::vector<std::thread> threads;
  std::atomic<int> disconnected = 0;
  for (int i = 0; i < 10; ++i) {
    threads.emplace_back([&, i] {
      for (;;) {
        Status status = client->Fsync({}, i < 2 ? EchoFs::kBlockingInode : 1, false);
        if (status) continue;
        EXPECT_EQ(status.error(), Err::kDisconnected);
        ++disconnected;
        return;
      }
    });
  }
  blocking->AwaitBlocked(2);
  std::thread stopper([&] { server_->Stop(); });
  // The calls end although the server's side of two of them has not.
  EXPECT_TRUE(Soon([&] { return disconnected == 10; }));
  EXPECT_TRUE(Soon([&] { return called_back == 1; }));
  blocking->Unblock();
  stopper.join();
  for (std::thread& thread : threads) thread.join();
  EXPECT_FALSE(client->connected());
  EXPECT_EQ(client->Null().error(), Err::kDisconnected);
  EXPECT_EQ(client->Readdir({}, 1, 0, false, [](const fs::DirEntry&) { return true; }).error(),
            Err::kDisconnected);
  std::atomic<bool> late = false;
  client->SetDisconnectCallback([&] { late = true; });
  EXPECT_TRUE(late);
}

TEST_F(LifecycleTest, OneLaneCanBeDropped) {
  StartServer();
  auto first = Connect();
  auto second = Connect();
  auto lanes = server_->Lanes();
  ASSERT_EQ(lanes.size(), 2u);
  EXPECT_TRUE(server_->Drop(std::min(lanes[0].id, lanes[1].id)));
  EXPECT_FALSE(server_->Drop(123456));
  EXPECT_TRUE(Soon([&] { return !first->connected(); }));
  EXPECT_EQ(first->Null().error(), Err::kDisconnected);
  EXPECT_TRUE(second->Null());
}

TEST_F(LifecycleTest, TheCallbackMayDestroyTheClient) {
  StartServer();
  auto client = Connect();
  std::atomic<bool> gone = false;
  auto* raw = client.get();
  auto holder = std::make_shared<std::shared_ptr<Client>>(std::move(client));
  raw->SetDisconnectCallback([&gone, holder] {
    holder->reset();
    gone = true;
  });
  server_->Stop();
  EXPECT_TRUE(Soon([&] { return gone.load(); }));
}

TEST_F(LifecycleTest, DisconnectIsNotReportedBack) {
  StartServer();
  auto client = Connect();
  std::atomic<bool> called = false;
  client->SetDisconnectCallback([&] { called = true; });
  std::thread blocked([&] {
    EXPECT_EQ(client->Fsync({}, EchoFs::kBlockingInode, false).error(), Err::kDisconnected);
  });
  echo()->AwaitBlocked(1);
  client->Disconnect();
  blocked.join();
  echo()->Unblock();
  client.reset();
  EXPECT_FALSE(called);
}

TEST_F(LifecycleTest, AKilledClientIsNoticed) {
  StartServer();
  int before = EchoFs::alive;
  pid_t child = ::fork();
  if (child == 0) {
    auto client = TryConnect();
    if (client)
      for (;;)
        if (!(*client)->Null()) break;
    ::_exit(1);
  }
  ASSERT_GT(child, 0);
  EXPECT_TRUE(Soon([&] {
    auto lanes = server_->Lanes();
    return lanes.size() == 1 && lanes[0].calls > 100;
  }));
  EXPECT_EQ(EchoFs::alive, before + 1);
  ::kill(child, SIGKILL);
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_TRUE(WIFSIGNALED(status));
  EXPECT_TRUE(Soon([&] { return EchoFs::alive == before && server_->Lanes().empty(); }));
  auto next = Connect();
  EXPECT_TRUE(next->Null());
}

TEST_F(LifecycleTest, AKilledServerIsNoticed) {
  pid_t child = ::fork();
  if (child == 0) {
    StartServer();
    ::pause();
    ::_exit(0);
  }
  ASSERT_GT(child, 0);
  std::shared_ptr<Client> client;
  ASSERT_TRUE(Soon([&] {
    auto connected = TryConnect();
    if (connected) client = *connected;
    return connected.has_value();
  }));
  std::atomic<bool> called_back = false;
  client->SetDisconnectCallback([&] { called_back = true; });
  std::atomic<bool> ended = false;
  std::thread blocked([&] {
    EXPECT_EQ(client->Fsync({}, EchoFs::kBlockingInode, false).error(), Err::kDisconnected);
    ended = true;
  });
  std::this_thread::sleep_for(20ms);
  EXPECT_FALSE(ended);
  ::kill(child, SIGKILL);
  EXPECT_TRUE(Soon([&] { return ended && called_back; }, 1000ms));
  blocked.join();
  ::waitpid(child, nullptr, 0);
}

TEST_F(LifecycleTest, BlockedCallsDoNotStarveOtherLanes) {
  StartServer({.workers = 4});
  auto slow = Connect();
  EchoFs* slow_echo = echo();
  auto fast = Connect();
  std::vector<std::thread> blocked;
  for (int i = 0; i < 3; ++i)
    blocked.emplace_back([&] { EXPECT_TRUE(slow->Fsync({}, EchoFs::kBlockingInode, false)); });
  slow_echo->AwaitBlocked(3);
  for (int i = 0; i < 1000; ++i) ASSERT_TRUE(fast->Null());
  slow_echo->Unblock();
  for (std::thread& thread : blocked) thread.join();
}

TEST_F(LifecycleTest, MoreBusyQueuesThanWorkersAllProgress) {
  StartServer({.workers = 1});
  constexpr int kLanes = 4;
  std::vector<std::shared_ptr<Client>> clients;
  for (int i = 0; i < kLanes; ++i) clients.push_back(Connect());
  std::atomic<bool> stop = false;
  std::vector<std::atomic<uint64_t>> calls(kLanes);
  std::vector<std::thread> threads;
  for (int i = 0; i < kLanes; ++i)
    threads.emplace_back([&, i] {
      while (!stop) {
        ASSERT_TRUE(clients[i]->Null());
        ++calls[i];
      }
    });
  EXPECT_TRUE(Soon(
      [&] { return std::all_of(calls.begin(), calls.end(), [](auto& c) { return c > 200; }); }));
  stop = true;
  for (std::thread& thread : threads) thread.join();
}

TEST_F(LifecycleTest, ManyThreadsShareFewQueues) {
  StartServer();
  auto client = Connect({.queues = 2});
  std::vector<std::thread> threads;
  for (uint32_t t = 0; t < 12; ++t)
    threads.emplace_back([&, t] {
      std::vector<std::byte> buffer(512);
      for (uint32_t i = 0; i < 300; ++i) {
        InodeId ino = t * 1000 + i + 1;
        auto attr = client->Getattr({.uid = t}, ino);
        ASSERT_TRUE(attr || ino == EchoFs::kStaleInode);
        if (attr) {
          ASSERT_EQ(*attr, EchoAttr(ino));
        }
        auto read = client->Read({}, 512, ino, buffer);
        ASSERT_TRUE(read);
        for (size_t b = 0; b < buffer.size(); ++b)
          ASSERT_EQ(buffer[b], static_cast<std::byte>((ino + b) * 7));
      }
    });
  for (std::thread& thread : threads) thread.join();
}

TEST_F(LifecycleTest, EventsArriveInOrder) {
  StartServer();
  auto client = Connect();
  Recorder recorder;
  client->SetListener(&recorder);
  using Kind = fs::Event::Kind;
  echo()->Send({Kind::kInode, 5, ""});
  echo()->Send({Kind::kEntry, 6, std::string(fs::kNameMax, 'n')});
  std::this_thread::sleep_for(5ms);  // the watcher sleeps again
  echo()->Send({Kind::kOrphaned, 7, ""});
  echo()->Send({Kind::kAll, 0, ""});
  echo()->Send({Kind::kLockGranted, 8, "", ~uint64_t{0} - 1});
  ASSERT_TRUE(Soon([&] { return recorder.size() == 5; }));
  auto events = recorder.Take();
  EXPECT_EQ(events[0].kind, Kind::kInode);
  EXPECT_EQ(events[0].ino, 5u);
  EXPECT_EQ(events[1].kind, Kind::kEntry);
  EXPECT_EQ(events[1].name, std::string(fs::kNameMax, 'n'));
  EXPECT_EQ(events[2].kind, Kind::kOrphaned);
  EXPECT_EQ(events[3].kind, Kind::kAll);
  EXPECT_EQ(events[4].kind, Kind::kLockGranted);
  EXPECT_EQ(events[4].ino, 8u);
  EXPECT_EQ(events[4].cookie, ~uint64_t{0} - 1);
  EXPECT_EQ(events[4].name, "");
  client->SetListener(nullptr);
  echo()->Send({Kind::kInode, 5, ""});
  std::this_thread::sleep_for(20ms);
  EXPECT_EQ(recorder.size(), 0u);
}

// Holds up the watcher, so that the event ring fills.
class SlowRecorder : public Recorder {
 public:
  void OnEvent(const fs::Event& event) override {
    while (held_) std::this_thread::sleep_for(1ms);
    Recorder::OnEvent(event);
  }
  std::atomic<bool> held_ = true;
};

TEST_F(LifecycleTest, LostEventsBecomeAllAndOrphansAndLocksAreKept) {
  StartServer();
  auto client = Connect();
  SlowRecorder recorder;
  client->SetListener(&recorder);
  using Kind = fs::Event::Kind;
  constexpr InodeId kEvents = 3000, kOrphan = 1'000'000;
  for (InodeId i = 1; i <= kEvents; ++i) echo()->Send({Kind::kInode, i, ""});
  echo()->Send({Kind::kOrphaned, kOrphan, ""});
  echo()->Send({Kind::kLockGranted, kOrphan, "", 5});
  recorder.held_ = false;
  std::vector<fs::Event> events;
  auto seen = [&](Kind kind, InodeId ino) {
    for (fs::Event& event : recorder.Take()) events.push_back(std::move(event));
    return std::any_of(events.begin(), events.end(),
                       [&](const fs::Event& e) { return e.kind == kind && e.ino == ino; });
  };
  EXPECT_TRUE(Soon([&] { return seen(Kind::kAll, 0); }));
  EXPECT_FALSE(seen(Kind::kInode, kEvents));  // it really was too much
  EXPECT_TRUE(client->Null());                // any request brings the orphan along
  EXPECT_TRUE(Soon([&] { return seen(Kind::kOrphaned, kOrphan); }));
  EXPECT_TRUE(Soon([&] { return seen(Kind::kLockGranted, kOrphan); }));
  client->SetListener(nullptr);
}

}  // namespace
}  // namespace prism::vrpc
