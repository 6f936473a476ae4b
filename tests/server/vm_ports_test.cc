// Machines and their ports: what is attached is reached, and nothing else is, by nobody else.
#include "server/vm_ports.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <future>
#include <thread>

#include "server/vm_directory.h"
#include "tests/cli/support.h"
#include "tests/model/model_host.h"
#include "vrpc/client.h"
#include "vrpc/socket_endpoint.h"

namespace prism::server {
namespace {

constexpr uid_t kNobody = 65534;

// A service manager's store: it outlives servers.
class KeptFds : public FdStore {
 public:
  Outcome<void> Put(const std::string& name, std::string_view note,
                    std::span<const int> fds) override {
    PRISM_ASSIGN(packs_[name], PackFds(note, fds));
    return {};
  }
  void Remove(const std::string& name) override { packs_.erase(name); }
  std::vector<Entry> TakeAll() override {
    std::vector<Entry> entries;
    for (const auto& [name, pack] : packs_) entries.push_back({name, *UnpackFds(pack.get())});
    return entries;
  }
  size_t size() const { return packs_.size(); }
  void Replace(const std::string& name, UniqueFd pack) { packs_[name] = std::move(pack); }

 private:
  std::map<std::string, UniqueFd> packs_;
};

// An endpoint that several clients use, one after the other, as the mounts of one machine do.
class SharedEndpoint : public vrpc::Endpoint {
 public:
  explicit SharedEndpoint(std::shared_ptr<vrpc::Endpoint> of) : of_(std::move(of)) {}
  std::span<std::byte> memory() const override { return of_->memory(); }
  void RingServer(uint32_t vector) override { of_->RingServer(vector); }
  int EventFd(uint32_t vector) const override { return of_->EventFd(vector); }
  int lifeline() const override { return of_->lifeline(); }
  Outcome<uint32_t> ClaimLane(uint32_t lanes) override { return of_->ClaimLane(lanes); }

 private:
  std::shared_ptr<vrpc::Endpoint> of_;
};

class VmPortsTest : public testing::Test {
 protected:
  void SetUp() override {
    for (const char* name : {"base", "a", "b", "secret"}) ASSERT_TRUE(host_.Create(name, false));
    StartServer();
  }
  void TearDown() override { StopServer(); }

  void StartServer() {
    auto lanes = vrpc::Server::Start();
    ASSERT_TRUE(lanes) << lanes.error().message;
    lanes_ = std::move(*lanes);
    ports_ = std::make_unique<VmPorts>(host_, *lanes_, store_, vms_);
    auto restored = ports_->Restore();
    ASSERT_TRUE(restored) << restored.error().message;
  }
  void StopServer() {
    if (lanes_) lanes_->Stop();
    ports_.reset();
    lanes_.reset();
  }
  VmInfo Attach(const VmRequest& request) {
    auto info = ports_->Attach(request);
    EXPECT_TRUE(info) << info.error().message;
    return info ? *info : VmInfo{};
  }
  static Outcome<std::shared_ptr<vrpc::Client>> Connect(const std::string& path,
                                                        const std::string& volume) {
    vrpc::ConnectOptions options;
    options.volume = volume;
    options.timeout_ms = 5000;
    return vrpc::Client::Connect(path, options);
  }
  static Outcome<std::shared_ptr<vrpc::Client>> Connect(
      const std::shared_ptr<vrpc::Endpoint>& endpoint, const std::string& volume) {
    vrpc::ConnectOptions options;
    options.volume = volume;
    options.timeout_ms = 5000;
    return vrpc::Client::Connect(
        [&](vrpc::Deadline) -> Outcome<std::unique_ptr<vrpc::Endpoint>> {
          return std::make_unique<SharedEndpoint>(endpoint);
        },
        options);
  }
  static std::shared_ptr<vrpc::Endpoint> Endpoint(const std::string& path) {
    auto endpoint = vrpc::SocketEndpoint::Connect(
        path, std::chrono::steady_clock::now() + std::chrono::seconds(5));
    EXPECT_TRUE(endpoint) << endpoint.error().message;
    return endpoint ? std::shared_ptr<vrpc::Endpoint>(std::move(*endpoint)) : nullptr;
  }
  // Whether a channel's server has gone: its socket has ended.
  static bool Ended(const vrpc::Endpoint& endpoint) {
    char byte;
    return ::recv(endpoint.lifeline(), &byte, 1, MSG_DONTWAIT | MSG_PEEK) == 0;
  }
  static bool Works(fs::FileSystem& fs) { return fs.Getattr(fs::Caller{}, kRootInode).has_value(); }
  std::string Volumes(const std::string& vm) {
    std::string names;
    for (const VmInfo& info : ports_->List())
      if (info.name == vm)
        for (const std::string& volume : info.volumes) names += volume + " ";
    return names;
  }

  tool::TemporaryDirectory directory_;
  const std::string vms_ = directory_ / "vms";
  model::ModelHost host_;
  KeptFds store_;
  std::unique_ptr<vrpc::Server> lanes_;
  std::unique_ptr<VmPorts> ports_;
};

TEST_F(VmPortsTest, AnAttachedVolumeIsReachedAndNoOther) {
  const VmInfo vm = Attach({.vm = "vm-1", .volumes = {"a"}});
  EXPECT_EQ(vm.socket_path, vms_ + "/vm-1/lane.sock");
  EXPECT_EQ(vm.lanes, 4u);
  EXPECT_EQ(vm.queues, 4u);
  EXPECT_EQ(vm.vectors, 20u);
  EXPECT_TRUE(std::has_single_bit(vm.segment_bytes));
  {
    auto client = Connect(vm.socket_path, "a");
    ASSERT_TRUE(client) << client.error().message;
    EXPECT_TRUE(Works(**client));
  }
  const std::shared_ptr<vrpc::Endpoint> channel = Endpoint(vm.socket_path);
  // What is not attached is as absent as what does not exist, whatever is asked for.
  const std::string refusal = Connect(channel, "absent").error().message;
  for (const std::string& name :
       {std::string("secret"), std::string("b"), std::string("a\0", 2), std::string("a/../secret"),
        std::string("4"), std::string("A"), std::string(128, 'a'), std::string("\xff\xfe")}) {
    auto client = Connect(channel, name);
    ASSERT_FALSE(client) << name;
    EXPECT_EQ(client.error().code, Err::kNoEntry) << name;
    EXPECT_EQ(client.error().message, refusal);
  }
  vrpc::ConnectOptions importing;
  importing.volume = "a";
  importing.importing = true;
  auto refused = vrpc::Client::Connect(
      [&](vrpc::Deadline) -> Outcome<std::unique_ptr<vrpc::Endpoint>> {
        return std::make_unique<SharedEndpoint>(channel);
      },
      importing);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Err::kPerm);
  EXPECT_TRUE(Connect(channel, "a")) << "refusals have harmed the channel";
}

TEST_F(VmPortsTest, VolumesComeAndGoOneByOne) {
  const VmInfo vm = Attach({.vm = "vm-1", .volumes = {"a"}});
  const std::shared_ptr<vrpc::Endpoint> channel = Endpoint(vm.socket_path);
  EXPECT_FALSE(Connect(channel, "b"));
  EXPECT_EQ(Attach({.vm = "vm-1", .volumes = {"b", "a"}}).socket_path, vm.socket_path);
  EXPECT_EQ(Volumes("vm-1"), "b a ");
  auto b = Connect(channel, "b");
  ASSERT_TRUE(b) << b.error().message;
  EXPECT_EQ(ports_->Detach("vm-1", {"secret"}).error().code, Err::kNoEntry);
  EXPECT_EQ(ports_->Detach("vm-2", {}).error().code, Err::kNoEntry);
  // Its session ends, and it cannot be had again; the channel stays.
  ASSERT_TRUE(ports_->Detach("vm-1", {"b"}));
  EXPECT_EQ((*b)->Getattr(fs::Caller{}, kRootInode).error(), Err::kDisconnected);
  b->reset();
  EXPECT_FALSE(Connect(channel, "b"));
  EXPECT_FALSE(Ended(*channel));
  EXPECT_TRUE(Connect(channel, "a"));
  EXPECT_EQ(host_.Show("b")->attached, 0u);
}

TEST_F(VmPortsTest, DetachingTheMachineEndsItsChannelAndRemovesItsDirectory) {
  const VmInfo vm = Attach({.vm = "vm-1", .volumes = {"a"}});
  const VmInfo other = Attach({.vm = "vm-2", .volumes = {"a"}});
  const std::shared_ptr<vrpc::Endpoint> channel = Endpoint(vm.socket_path);
  auto client = Connect(channel, "a");
  ASSERT_TRUE(client);
  auto others = Connect(other.socket_path, "a");
  ASSERT_TRUE(others);
  EXPECT_EQ(store_.size(), 2u);
  ASSERT_TRUE(ports_->Detach("vm-1", {}));
  EXPECT_TRUE(Ended(*channel));
  EXPECT_FALSE(Works(**client));
  EXPECT_FALSE(std::filesystem::exists(vms_ + "/vm-1"));
  EXPECT_TRUE(Works(**others));
  EXPECT_EQ(store_.size(), 1u);
  EXPECT_EQ(host_.Setting("vm/vm-1"), "");
  EXPECT_EQ(ports_->List().size(), 1u);
  // The name is free again, for another kind of machine.
  EXPECT_EQ(Attach({.vm = "vm-1", .volumes = {"b"}, .lanes = 1, .queues = 2}).vectors, 3u);
}

TEST_F(VmPortsTest, AttachmentsFollowTheVolumeNotItsName) {
  const VmInfo vm = Attach({.vm = "vm-1", .volumes = {"a"}});
  const std::shared_ptr<vrpc::Endpoint> channel = Endpoint(vm.socket_path);
  const VolumeId id = host_.Show("a")->id;
  ASSERT_TRUE(host_.Rename("a", "renamed"));
  ASSERT_TRUE(host_.Rename("secret", "a"));
  EXPECT_EQ(Volumes("vm-1"), "renamed ");
  // The name in the machine's own configuration still finds it, and not who has that name now.
  for (const char* name : {"renamed", "a"}) {
    auto client = Connect(channel, name);
    ASSERT_TRUE(client) << client.error().message;
    EXPECT_EQ(host_.Show("renamed")->attached, 1u) << name;
    EXPECT_EQ(host_.Show("a")->attached, 0u) << name;
  }
  EXPECT_EQ(host_.Show("renamed")->id, id);
  // When both are attached, a name means whose it is.
  Attach({.vm = "vm-1", .volumes = {"a"}});
  auto client = Connect(channel, "a");
  ASSERT_TRUE(client);
  EXPECT_EQ(host_.Show("a")->attached, 1u);
  ASSERT_TRUE(ports_->Detach("vm-1", {"a"}));
  EXPECT_EQ(Volumes("vm-1"), "renamed ");
  ASSERT_TRUE(host_.Destroy({"renamed"}));
  EXPECT_EQ(Volumes("vm-1"), "");
  EXPECT_FALSE(Connect(channel, "renamed"));
}

TEST_F(VmPortsTest, WhatCannotBeIsRefusedAndLeavesNothing) {
  const auto code = [&](const VmRequest& request) {
    auto attached = ports_->Attach(request);
    EXPECT_FALSE(attached);
    return attached ? Err::kOk : attached.error().code;
  };
  for (const std::string& name :
       {std::string(), std::string("../x"), std::string("a/b"), std::string(".hidden"),
        std::string("-rf"), std::string("a b"), std::string("a\0b", 3), std::string(129, 'n')})
    EXPECT_EQ(code({.vm = name, .volumes = {"a"}}), Err::kInvalid) << name;
  EXPECT_EQ(code({.vm = std::string(120, 'n'), .volumes = {"a"}}), Err::kNameTooLong);
  EXPECT_EQ(code({.vm = "vm", .volumes = {"absent"}}), Err::kNoEntry);
  EXPECT_EQ(code({.vm = "vm", .volumes = {"a", "absent"}}), Err::kNoEntry);
  ASSERT_TRUE(host_.Create("half", true));
  EXPECT_EQ(code({.vm = "vm", .volumes = {"half"}}), Err::kBusy);
  EXPECT_EQ(code({.vm = "vm", .volumes = {"a"}, .uid = ~0u}), Err::kInvalid);
  EXPECT_EQ(code({.vm = "vm", .volumes = {"a"}, .lanes = 0}), Err::kInvalid);
  EXPECT_EQ(code({.vm = "vm", .volumes = {"a"}, .lanes = 64, .queues = 64}), Err::kInvalid);
  EXPECT_EQ(code({.vm = "vm", .volumes = {"a"}, .payload_bytes = 4096}), Err::kInvalid);
  EXPECT_EQ(code({.vm = "vm", .volumes = {"a"}, .payload_bytes = ~0u}), Err::kInvalid);
  EXPECT_TRUE(ports_->List().empty());
  EXPECT_TRUE(host_.Settings("vm/")->empty());
  EXPECT_TRUE(!std::filesystem::exists(vms_) || std::filesystem::is_empty(vms_));

  Attach({.vm = "vm", .volumes = {"a"}, .lanes = 2});
  EXPECT_EQ(code({.vm = "vm", .volumes = {"b"}, .lanes = 3}), Err::kExists);
  EXPECT_EQ(code({.vm = "vm", .volumes = {"b"}, .queues = 3}), Err::kExists);
  EXPECT_EQ(Volumes("vm"), "a ");
}

TEST_F(VmPortsTest, AttachmentsSurviveTheServer) {
  const VmInfo vm = Attach({.vm = "vm-1", .volumes = {"a", "b"}, .lanes = 2, .queues = 3});
  ASSERT_TRUE(host_.Rename("a", "renamed"));
  StopServer();
  EXPECT_FALSE(Connect(vm.socket_path, "b"));
  StartServer();
  const std::vector<VmInfo> list = ports_->List();
  ASSERT_EQ(list.size(), 1u);
  EXPECT_EQ(list[0].socket_path, vm.socket_path);
  EXPECT_EQ(list[0].vectors, 8u);
  EXPECT_EQ(Volumes("vm-1"), "renamed b ");
  EXPECT_TRUE(Connect(vm.socket_path, "a")) << "the name it was attached by";
}

TEST_F(VmPortsTest, AChannelSurvivesTheServer) {
  const VmInfo vm = Attach({.vm = "vm-1", .volumes = {"a"}});
  const std::shared_ptr<vrpc::Endpoint> channel = Endpoint(vm.socket_path);
  auto before = Connect(channel, "a");
  ASSERT_TRUE(before) << before.error().message;
  for (int i = 0; i < 3; ++i) {
    StopServer();
    // A call waits for the next server, which ends the session.
    auto waiting = std::async(std::launch::async, [&] {
      return (*before)->Getattr(fs::Caller{}, kRootInode).has_value();
    });
    EXPECT_FALSE(Ended(*channel));
    EXPECT_EQ(store_.size(), 1u) << "a stop is no detach";
    EXPECT_EQ(waiting.wait_for(std::chrono::milliseconds(100)), std::future_status::timeout);
    StartServer();
    EXPECT_FALSE(Ended(*channel));
    EXPECT_EQ(waiting.wait_for(std::chrono::seconds(10)), std::future_status::ready);
    before->reset();
    auto after = Connect(channel, "a");
    ASSERT_TRUE(after) << after.error().message;
    EXPECT_TRUE(Works(**after));
    after->reset();
    EXPECT_FALSE(Connect(channel, "secret"));
    before = Connect(channel, "a");
    ASSERT_TRUE(before);
  }
  ASSERT_TRUE(ports_->Detach("vm-1", {}));
  EXPECT_TRUE(Ended(*channel));
  EXPECT_EQ(store_.size(), 0u);
}

TEST_F(VmPortsTest, WhatDoesNotFitIsNotAdopted) {
  const VmInfo vm = Attach({.vm = "vm-1", .volumes = {"a"}});
  std::shared_ptr<vrpc::Endpoint> channel = Endpoint(vm.socket_path);
  ASSERT_TRUE(Connect(channel, "a"));
  std::vector<FdStore::Entry> kept = store_.TakeAll();
  ASSERT_EQ(kept.size(), 1u);
  const auto repack = [&](const std::string& note, size_t count, bool swapped) {
    std::vector<int> fds;
    for (size_t i = 0; i < count; ++i) fds.push_back(kept[0].content.fds[i].get());
    if (swapped) std::swap(fds[0], fds[1]);
    return *PackFds(note, fds);
  };
  const std::string note = kept[0].content.note;
  const size_t all = kept[0].content.fds.size();
  EXPECT_EQ(all, 2 + 2 * 20u);
  for (int i = 0; i < 4; ++i) {
    StopServer();
    if (i == 0) store_.Replace("vm-1", repack("vrpc 1", all, false));
    if (i == 1) store_.Replace("vm-1", repack(note, all - 1, false));
    if (i == 2) store_.Replace("vm-1", repack(note, all, true));
    if (i == 3) store_.Replace("vm-2", repack(note, all, false));
    StartServer();
    EXPECT_EQ(store_.size(), 0u) << i;
    EXPECT_TRUE(lanes_->Lanes().empty()) << i;
  }
  kept.clear();
  EXPECT_TRUE(Ended(*channel)) << "the machine is not told";
  EXPECT_TRUE(Connect(vm.socket_path, "a")) << "a new channel can be made";
}

TEST_F(VmPortsTest, BadRowsDoNotKeepTheServerFromStarting) {
  Attach({.vm = "good", .volumes = {"a"}});
  StopServer();
  for (const char* row : {"", "x", "[]", "{}", R"({"volumes":7})", R"({"volumes":[7],"uid":0})",
                          R"({"uid":0,"lanes":99,"queues":99,"payload_bytes":1,"volumes":[]})"}) {
    ASSERT_TRUE(host_.SetSetting("vm/bad", row));
    StartServer();
    EXPECT_EQ(ports_->List().size(), 1u) << row;
    EXPECT_EQ(Volumes("good"), "a ");
    StopServer();
  }
}

TEST_F(VmPortsTest, DirectoriesArePrivate) {
  const VmInfo vm = Attach({.vm = "vm-1", .volumes = {"a"}});
  struct stat st = {};
  ASSERT_EQ(::stat((vms_ + "/vm-1").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 0700u);
  ASSERT_EQ(::stat(vm.socket_path.c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 0600u);
  ASSERT_EQ(::stat(vms_.c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 0711u);
}

// Runs a function as another user; what it returns, 0 to 99.
template <typename Function>
int AsUser(uid_t uid, Function&& function) {
  const pid_t child = ::fork();
  if (child == 0) {
    if (::setresgid(uid, uid, uid) != 0 || ::setresuid(uid, uid, uid) != 0) ::_exit(100);
    ::_exit(function());
  }
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  return WEXITSTATUS(status);
}

int TryToConnect(const std::string& path) {
  const UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
    return errno == EACCES ? 1 : 2;
  int64_t version = -1;
  return ::recv(fd.get(), &version, sizeof version, MSG_WAITALL) == sizeof version && version == 0
             ? 0
             : 3;
}

TEST_F(VmPortsTest, OnlyItsUserConnects) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root, to be somebody else";
  ASSERT_EQ(::chmod(directory_.path().c_str(), 0755), 0);
  const VmInfo mine = Attach({.vm = "mine", .volumes = {"a"}});
  const VmInfo theirs = Attach({.vm = "theirs", .volumes = {"b"}, .uid = kNobody});
  EXPECT_EQ(AsUser(kNobody, [&] { return TryToConnect(theirs.socket_path); }), 0);
  EXPECT_EQ(AsUser(kNobody, [&] { return TryToConnect(mine.socket_path); }), 1);
  EXPECT_EQ(AsUser(kNobody - 1, [&] { return TryToConnect(theirs.socket_path); }), 1);
  // Even with the directories open, the socket is not.
  ASSERT_EQ(::chmod((vms_ + "/mine").c_str(), 0777), 0);
  EXPECT_EQ(AsUser(kNobody, [&] { return TryToConnect(mine.socket_path); }), 1);
  // And with that open too, the server looks who it is.
  ASSERT_EQ(::chmod(mine.socket_path.c_str(), 0777), 0);
  EXPECT_EQ(AsUser(kNobody, [&] { return TryToConnect(mine.socket_path); }), 3);
  StopServer();
  StartServer();
  EXPECT_EQ(AsUser(kNobody, [&] { return TryToConnect(theirs.socket_path); }), 0);
  EXPECT_EQ(AsUser(kNobody, [&] { return TryToConnect(mine.socket_path); }), 1);
}

TEST_F(VmPortsTest, WhatAUserPutsIntoHisDirectoryHarmsNobody) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root, to be somebody else";
  ASSERT_EQ(::chmod(directory_.path().c_str(), 0755), 0);
  const std::string precious = directory_ / "precious";
  std::ofstream(precious) << "x";
  ASSERT_EQ(::chmod(precious.c_str(), 0600), 0);
  const VmInfo vm = Attach({.vm = "vm", .volumes = {"a"}, .uid = kNobody});
  const auto untouched = [&] {
    struct stat st = {};
    return ::stat(precious.c_str(), &st) == 0 && st.st_uid == 0 && (st.st_mode & 07777) == 0600;
  };
  EXPECT_EQ(AsUser(kNobody,
                   [&] {
                     ::unlink(vm.socket_path.c_str());
                     return ::symlink(precious.c_str(), vm.socket_path.c_str());
                   }),
            0);
  StopServer();
  StartServer();
  EXPECT_TRUE(untouched());
  EXPECT_EQ(AsUser(kNobody, [&] { return TryToConnect(vm.socket_path); }), 0)
      << "the link was not replaced";
  // A directory in the place of the socket: this machine has no lane, the server has.
  EXPECT_EQ(AsUser(kNobody,
                   [&] {
                     ::unlink(vm.socket_path.c_str());
                     return ::mkdir(vm.socket_path.c_str(), 0700);
                   }),
            0);
  StopServer();
  StartServer();
  EXPECT_EQ(ports_->List().size(), 1u);
  EXPECT_FALSE(ports_->Attach({.vm = "vm", .volumes = {"b"}}));
  EXPECT_TRUE(ports_->Detach("vm", {}));
  EXPECT_TRUE(std::filesystem::exists(vm.socket_path)) << "not ours to remove";
  // The place of the machine's directory is not the user's to change.
  EXPECT_NE(AsUser(kNobody, [&] { return ::rename((vms_ + "/vm").c_str(), "/tmp/x") != 0; }), 0);
  EXPECT_TRUE(untouched());
}

TEST_F(VmPortsTest, AttachingAgainOpensAPortThatCouldNotBe) {
  const VmInfo vm = Attach({.vm = "vm", .volumes = {"a"}});
  StopServer();
  ASSERT_TRUE(std::filesystem::create_directory(vm.socket_path));
  StartServer();
  EXPECT_FALSE(Connect(vm.socket_path, "a"));
  EXPECT_FALSE(ports_->Attach({.vm = "vm", .volumes = {"a"}})) << "it still cannot";
  ASSERT_TRUE(std::filesystem::remove(vm.socket_path));
  Attach({.vm = "vm", .volumes = {"a"}});
  EXPECT_TRUE(Connect(vm.socket_path, "a"));
}

}  // namespace
}  // namespace prism::server
