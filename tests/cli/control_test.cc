// The control socket over the reference model: every verb, bad input, limits, and what becomes of
// an import whose client goes.
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <functional>
#include <thread>

#include "server/control_server.h"
#include "tests/cli/support.h"
#include "tests/support/eventually.h"
#include "tools/prism/control_client.h"

namespace prism::tool {
namespace {

using nlohmann::json;
using test::Eventually;

class ControlTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(server_.Bind(path_));
    server_.Start();
  }
  ControlClient Connect() {
    auto client = ControlClient::Connect(path_);
    EXPECT_TRUE(client) << client.error().message;
    return std::move(*client);
  }
  // A connection that says what it likes.
  UniqueFd ConnectRaw() {
    UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path_.copy(address.sun_path, sizeof address.sun_path - 1);
    EXPECT_EQ(connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    return fd;
  }
  // What a client that says this hears before the server is done with it, or the first line.
  static std::string Say(int fd, const std::string& bytes) {
    size_t sent = 0;
    while (sent < bytes.size()) {
      const ssize_t part = send(fd, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
      if (part <= 0) break;
      sent += part;
    }
    std::string heard;
    char byte;
    while (recv(fd, &byte, 1, 0) == 1 && byte != '\n') heard += byte;
    return heard;
  }
  std::vector<std::string> Names() {
    std::vector<std::string> names;
    for (const fs::VolumeInfo& volume : host_.List()) names.push_back(volume.name);
    std::sort(names.begin(), names.end());
    return names;
  }

  TemporaryDirectory directory_;
  const std::string path_ = directory_ / "control.sock";
  model::ModelHost host_;
  server::ControlServer server_{{host_, "/lane/path", {}}};
};

TEST_F(ControlTest, EveryVerbWorks) {
  ControlClient client = Connect();
  EXPECT_EQ(TextIn(client.Call("ping")->result, "vrpc"), "/lane/path");
  auto created = client.Call("create", {{"name", "base"}});
  ASSERT_TRUE(created) << created.error().message;
  EXPECT_EQ(TextIn(created->result, "name"), "base");
  auto clones = client.Call("clone", {{"source", "base"}, {"targets", {"a", "b"}}});
  ASSERT_TRUE(clones);
  EXPECT_EQ(clones->result.size(), 2u);
  EXPECT_GT(clones->server_us, 0);
  EXPECT_EQ(TextIn(client.Call("show", {{"name", "a"}, {"exclusive", true}})->result, "parent"),
            "base");
  ASSERT_TRUE(client.Call("rename", {{"from", "a"}, {"to", "c"}}));
  EXPECT_EQ(client.Call("list")->result.size(), 3u);
  ASSERT_TRUE(client.Call("destroy", {{"names", {"base", "b"}}}));
  EXPECT_EQ(NumberIn(client.Call("stat")->result, "volumes"), 1u);
  EXPECT_EQ(client.Call("lanes")->result, json::array());
  EXPECT_EQ(Names(), std::vector<std::string>{"c"});
}

TEST_F(ControlTest, ErrorsKeepTheirCodes) {
  ControlClient client = Connect();
  EXPECT_EQ(client.Call("show", {{"name", "absent"}}).error().code, Err::kNoEntry);
  ASSERT_TRUE(client.Call("create", {{"name", "v"}}));
  EXPECT_EQ(client.Call("create", {{"name", "v"}}).error().code, Err::kExists);
  EXPECT_EQ(client.Call("create", {{"name", "../v"}}).error().code, Err::kInvalid);
  EXPECT_EQ(client.Call("clone", {{"source", "v"}, {"targets", {"x", "v"}}}).error().code,
            Err::kExists);
  EXPECT_EQ(Names(), std::vector<std::string>{"v"}) << "half of a clone was made";
}

TEST_F(ControlTest, BadRequestsAreAnsweredAndTheConnectionGoesOn) {
  UniqueFd fd = ConnectRaw();
  const std::vector<std::string> bad = {
      "",
      "nonsense",
      "[1,2]",
      "42",
      "{}",
      R"({"verb":7})",
      R"({"verb":"fly"})",
      R"({"verb":"create"})",
      R"({"verb":"create","name":7})",
      R"({"verb":"create","name":"x","extra":1})",
      R"({"verb":"create","name":"x","importing":"yes"})",
      R"({"verb":"create","name":")" + std::string(5000, 'n') + R"("})",
      R"({"verb":"clone","source":"x","targets":[]})",
      R"({"verb":"clone","source":"x","targets":"y"})",
      R"({"verb":"clone","source":"x","targets":[1]})",
      R"({"verb":"destroy","names":{"a":"b"}})",
      R"({"verb":"publish","name":"x"})",
      R"({"verb":"attach","vm":"v"})",
      R"({"verb":"attach","vm":"v","volumes":["x"],"lanes":-1})",
      R"({"verb":"attach","vm":"v","volumes":["x"],"lanes":1.5})",
      R"({"verb":"attach","vm":"v","volumes":["x"],"uid":"root"})",
      R"({"verb":"attach","vm":"v","volumes":["x"],"payload_bytes":4294967296})",
      R"({"verb":"detach","vm":["v"]})",
      R"({"verb":"create","name":"x\u0000y"})",
      "{\"verb\":\"show\",\"name\":\"\xff\xfe\"}",
      std::string(900000, '['),
  };
  for (const std::string& line : bad) {
    const json answer = json::parse(Say(fd.get(), line + "\n"), nullptr, false);
    ASSERT_TRUE(answer.is_object()) << line.substr(0, 80);
    EXPECT_FALSE(FlagIn(answer, "ok")) << line.substr(0, 80);
    EXPECT_NE(TextIn(answer, "message"), "") << line.substr(0, 80);
  }
  EXPECT_TRUE(FlagIn(json::parse(Say(fd.get(), "{\"verb\":\"ping\"}\n")), "ok"));
  EXPECT_TRUE(Names().empty());
}

TEST_F(ControlTest, TooManyNamesAreRefused) {
  json names = json::array();
  for (int i = 0; i < 10001; ++i) names.push_back("n" + std::to_string(i));
  ControlClient client = Connect();
  EXPECT_EQ(client.Call("destroy", {{"names", names}}).error().code, Err::kInvalid);
}

TEST_F(ControlTest, AnEndlessLineIsCutOff) {
  UniqueFd fd = ConnectRaw();
  EXPECT_NE(Say(fd.get(), std::string(3 << 20, ' ')).find("too-big"), std::string::npos);
  char byte;
  EXPECT_LE(recv(fd.get(), &byte, 1, 0), 0) << "the connection stayed";
}

TEST_F(ControlTest, SeveralRequestsInOnePacketAreAnsweredInOrder) {
  UniqueFd fd = ConnectRaw();
  EXPECT_NE(Say(fd.get(), "{\"verb\":\"ping\"}\nbad\n{\"verb\":\"li").find("prismd"),
            std::string::npos);
  EXPECT_NE(Say(fd.get(), "").find("invalid"), std::string::npos);
  EXPECT_NE(Say(fd.get(), "st\"}\n").find("\"ok\":true"), std::string::npos);
}

TEST_F(ControlTest, ConnectionsAreBounded) {
  std::vector<UniqueFd> held;
  for (size_t i = 0; i < server::kControlConnectionsMax; ++i) {
    held.push_back(ConnectRaw());
    ASSERT_NE(Say(held.back().get(), "{\"verb\":\"ping\"}\n").find("prismd"), std::string::npos);
  }
  UniqueFd extra = ConnectRaw();
  EXPECT_NE(Say(extra.get(), "").find("too many"), std::string::npos);
  held.pop_back();
  EXPECT_TRUE(Eventually([&] {
    UniqueFd fd = ConnectRaw();
    return Say(fd.get(), "{\"verb\":\"ping\"}\n").find("prismd") != std::string::npos;
  }));
}

TEST_F(ControlTest, AnImportGoesWithItsConnection) {
  ASSERT_TRUE(host_.Create("other", true));
  {
    ControlClient client = Connect();
    ASSERT_TRUE(client.Call("create", {{"name", "half"}, {"importing", true}}));
    ASSERT_TRUE(client.Call("create", {{"name", "whole"}, {"importing", true}}));
    ASSERT_TRUE(client.Call("create", {{"name", "plain"}}));
    ASSERT_TRUE(client.Call("publish", {{"name", "whole"}}));
    EXPECT_EQ(Names(), (std::vector<std::string>{"half", "other", "plain", "whole"}));
  }
  EXPECT_TRUE(Eventually([&] { return Names().size() == 3; }));
  EXPECT_EQ(Names(), (std::vector<std::string>{"other", "plain", "whole"}));
}

TEST_F(ControlTest, OnlyItsOwnConnectionPublishesAnImport) {
  ControlClient owner = Connect(), other = Connect();
  ASSERT_TRUE(owner.Call("create", {{"name", "v"}, {"importing", true}}));
  EXPECT_EQ(other.Call("publish", {{"name", "v"}}).error().code, Err::kInvalid);
  EXPECT_TRUE(owner.Call("publish", {{"name", "v"}}));
}

TEST_F(ControlTest, StoppingEndsConnectionsAndTheirImports) {
  ControlClient client = Connect();
  ASSERT_TRUE(client.Call("create", {{"name", "half"}, {"importing", true}}));
  server_.Stop();
  EXPECT_EQ(client.Call("ping").error().code, Err::kDisconnected);
  EXPECT_TRUE(Names().empty());
  EXPECT_NE(access(path_.c_str(), F_OK), 0) << "the socket file stayed";
  EXPECT_EQ(ControlClient::Connect(path_).error().code, Err::kDisconnected);
}

TEST_F(ControlTest, TheSocketIsPrivate) {
  struct stat st = {};
  ASSERT_EQ(stat(path_.c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 0600u);
}

TEST_F(ControlTest, ALiveServerIsNotReplaced) {
  server::ControlServer second{{host_, "", {}}};
  Outcome<void> bound = second.Bind(path_);
  ASSERT_FALSE(bound);
  EXPECT_EQ(bound.error().code, Err::kBusy);
  second.Stop();
  EXPECT_TRUE(Connect().Call("ping")) << "the first server was harmed";
}

TEST_F(ControlTest, WhatADeadServerLeftIsReplaced) {
  const std::string path = directory_ / "new/stale.sock";  // the directory is made
  ASSERT_EQ(mkdir((directory_ / "new").c_str(), 0755), 0);
  {
    UniqueFd dead(socket(AF_UNIX, SOCK_STREAM, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    ASSERT_EQ(bind(dead.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  }
  server::ControlServer second{{host_, "", {}}};
  Outcome<void> bound = second.Bind(path);
  EXPECT_TRUE(bound) << bound.error().message;
  second.Start();
}

TEST_F(ControlTest, AFileThatIsNoSocketIsNotReplaced) {
  std::ofstream(directory_ / "file") << "precious";
  server::ControlServer second{{host_, "", {}}};
  EXPECT_EQ(second.Bind(directory_ / "file").error().code, Err::kExists);
  EXPECT_EQ(second.Bind(std::string(200, 'p')).error().code, Err::kNameTooLong);
}

}  // namespace
}  // namespace prism::tool
