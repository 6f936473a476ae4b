// A server and clients in this process, over a socket in a directory of the test's own.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <chrono>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>

#include "tests/vrpc/echo_fs.h"
#include "vrpc/client.h"
#include "vrpc/server.h"
#include "vrpc/sockets.h"

namespace prism::vrpc {

class LaneFixture : public testing::Test {
 protected:
  LaneFixture() {
    char pattern[] = "/tmp/prism-vrpc-XXXXXX";
    directory_ = ::mkdtemp(pattern);
  }
  ~LaneFixture() override {
    for (const auto& echo : echoes()) echo->Unblock();
    server_.reset();
    std::filesystem::remove_all(directory_);
  }

  std::string path() const { return LanePathFor(directory_ + "/control"); }

  // Each lane gets an EchoFs of its own; echo() is the latest. Volume "absent" does not exist.
  Opener EchoOpener() {
    return [this](const OpenRequest& request) -> Outcome<std::shared_ptr<fs::FileSystem>> {
      if (request.volume == "absent") return Explain(Err::kNoEntry, "no volume 'absent'");
      last_importing_ = request.importing;
      auto echo = std::make_shared<EchoFs>();
      std::lock_guard lock(echoes_mutex_);
      echoes_.push_back(echo);
      return echo;
    };
  }
  // With a general port.
  void StartServer(const ServerOptions& options = {}) {
    auto server = Server::Start(options);
    ASSERT_TRUE(server) << server.error().message;
    server_ = std::move(*server);
    auto added = AddPort("general", path());
    ASSERT_TRUE(added) << added.error().message;
  }
  Outcome<void> AddPort(const std::string& name, const std::string& at) {
    return server_->AddPort({.name = name, .path = at, .uid = ::geteuid(), .opener = EchoOpener()});
  }

  Outcome<std::shared_ptr<Client>> TryConnect(ConnectOptions options = {}) {
    if (options.volume.empty()) options.volume = "v";
    return Client::Connect(path(), options);
  }
  std::shared_ptr<Client> Connect(ConnectOptions options = {}) {
    auto client = TryConnect(std::move(options));
    EXPECT_TRUE(client) << client.error().message;
    return client ? *client : nullptr;
  }

  // Lives as long as its lane.
  EchoFs* echo() {
    std::lock_guard lock(echoes_mutex_);
    return echoes_.back().lock().get();
  }

  // Those whose lanes live, in the order of their coming.
  std::vector<std::shared_ptr<EchoFs>> echoes() {
    std::vector<std::shared_ptr<EchoFs>> live;
    std::lock_guard lock(echoes_mutex_);
    for (const auto& weak : echoes_)
      if (auto echo = weak.lock()) live.push_back(std::move(echo));
    return live;
  }

  // Polls, for what other threads do soon.
  template <typename Condition>
  static bool Soon(Condition condition, std::chrono::milliseconds limit = std::chrono::seconds(5)) {
    auto end = std::chrono::steady_clock::now() + limit;
    while (!condition()) {
      if (std::chrono::steady_clock::now() > end) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return true;
  }

  std::string directory_;
  std::mutex echoes_mutex_;
  std::vector<std::weak_ptr<EchoFs>> echoes_;
  std::atomic<bool> last_importing_ = false;
  std::unique_ptr<Server> server_;
};

}  // namespace prism::vrpc
