// `prism attach`, `detach`, `vms` and `lanes` on a real server, with a real QEMU at the other end.
#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <functional>
#include <thread>

#include "server/fd_message.h"
#include "tests/cli/live_server.h"
#include "tests/support/eventually.h"
#include "tools/prism/command.h"
#include "tools/prism/vm_device.h"
#include "vrpc/socket_endpoint.h"

namespace prism::tool {
namespace {

using nlohmann::json;
using test::Eventually;

TEST(VmDeviceTest, WhatQemuAndLibvirtAreTold) {
  const VmDevice plain{"vm-1", "/run/prism/vms/vm-1/lane.sock", 20};
  EXPECT_EQ(QemuArguments(plain),
            (std::vector<std::string>{
                "-chardev", "socket,id=prism-vm-1,path=/run/prism/vms/vm-1/lane.sock", "-device",
                "ivshmem-doorbell,chardev=prism-vm-1,vectors=20"}));
  EXPECT_EQ(LibvirtXml(plain),
            "<shmem name='prism-vm-1' role='peer'>\n"
            "  <model type='ivshmem-doorbell'/>\n"
            "  <server path='/run/prism/vms/vm-1/lane.sock'/>\n"
            "  <msi vectors='20' ioeventfd='on'/>\n"
            "</shmem>\n");
  const VmDevice odd{"v", "/a,b/<'&>/lane.sock", 3};
  EXPECT_EQ(QemuArguments(odd)[1], "socket,id=prism-v,path=/a,,b/<'&>/lane.sock");
  EXPECT_NE(LibvirtXml(odd).find("path='/a,b/&lt;&apos;&amp;>/lane.sock'"), std::string::npos);
  EXPECT_EQ(ShellWord("plain-1.2=x,y/z"), "plain-1.2=x,y/z");
  for (const std::string& word :
       {std::string(""), std::string("a b"), std::string("it's $HOME"), std::string("-x;`id`\n*")})
    EXPECT_EQ(Shell("printf %s " + ShellWord(word)).output, word);
}

// A QEMU whose machine never runs: its devices are there all the same.
class Qemu {
 public:
  Qemu(const json& arguments, const std::string& log) {
    std::string command =
        "exec qemu-system-x86_64 -M q35 -accel tcg -m 32 -S -nodefaults "
        "-no-user-config -display none -monitor stdio";
    for (const json& argument : arguments) command += " " + ShellWord(argument.get<std::string>());
    int in[2];
    EXPECT_EQ(::pipe2(in, O_CLOEXEC), 0);
    pid_ = ::fork();
    if (pid_ == 0) {
      ::dup2(in[0], 0);
      command += " >" + log + " 2>&1";
      ::execl("/bin/sh", "sh", "-c", command.c_str(), nullptr);
      ::_exit(127);
    }
    ::close(in[0]);
    monitor_ = in[1];
  }
  ~Qemu() {
    ::close(monitor_);
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  Qemu(const Qemu&) = delete;
  Qemu& operator=(const Qemu&) = delete;

  void Say(const std::string& line) {
    EXPECT_EQ(::write(monitor_, (line + "\n").data(), line.size() + 1), ssize_t(line.size() + 1));
  }
  pid_t pid() const { return pid_; }

 private:
  pid_t pid_ = -1;
  int monitor_ = -1;
};

class AttachCommandTest : public testing::Test {
 protected:
  std::string Read(const std::string& path) const {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  // Descriptors of a process that are eventfds.
  static size_t Eventfds(pid_t pid) {
    size_t count = 0;
    std::error_code error;
    for (const auto& entry :
         std::filesystem::directory_iterator(fmt::format("/proc/{}/fd", pid), error))
      count += std::filesystem::read_symlink(entry.path(), error) == "anon_inode:[eventfd]";
    return count;
  }

  TemporaryDirectory directory_;
};

TEST_F(AttachCommandTest, EveryVerb) {
  LiveServer server(directory_.path());
  ASSERT_EQ(server.Prism("create a").exit_code, kExitDone);
  ASSERT_EQ(server.Prism("create b").exit_code, kExitDone);
  EXPECT_EQ(server.Prism("vms").output, "no machine is attached\n");

  const std::string socket = directory_ / "vms/vm-1/lane.sock";
  ShellResult text = server.Prism("attach vm-1 --volume a");
  ASSERT_EQ(text.exit_code, kExitDone) << text.output;
  EXPECT_NE(text.output.find("  -chardev socket,id=prism-vm-1,path=" + socket +
                             " -device ivshmem-doorbell,chardev=prism-vm-1,vectors=20\n"),
            std::string::npos)
      << text.output;
  EXPECT_NE(text.output.find("prism-mount --lane auto a /mnt"), std::string::npos);
  EXPECT_NE(text.output.find("  boot=prism prism.volume=a\n"), std::string::npos);
  text = server.Prism("attach vm-1 --volume b --vmm libvirt");
  EXPECT_NE(text.output.find("<server path='" + socket + "'/>"), std::string::npos) << text.output;

  const json attached =
      server.Json("attach vm-2 --volume a --volume b --lanes 2 --queues 1 --payload 2M");
  EXPECT_EQ(attached["result"]["vectors"], 4);
  EXPECT_EQ(attached["result"]["payload_bytes"], 2 << 20);
  EXPECT_EQ(attached["result"]["uid"], ::geteuid());
  EXPECT_EQ(attached["result"]["volumes"], json({"a", "b"}));
  EXPECT_EQ(attached["qemu"][0], "-chardev");
  EXPECT_EQ(attached["kernel"], "boot=prism prism.volume=a");
  EXPECT_EQ(server.Json("list")["result"][0]["vms"], json({"vm-1", "vm-2"}));
  EXPECT_NE(server.Prism("list").output.find("vm-1 vm-2"), std::string::npos);
  EXPECT_NE(server.Prism("show b").output.find("vm-1 vm-2"), std::string::npos);
  EXPECT_EQ(server.Json("vms")["result"].size(), 2u);

  EXPECT_EQ(server.Prism("attach vm-1 --volume absent").exit_code, kExitNotFound);
  EXPECT_EQ(server.Prism("attach vm-1 --volume a --lanes 9").exit_code, kExitExists);
  EXPECT_EQ(server.Prism("attach vm-1").exit_code, kExitUsage);
  EXPECT_EQ(server.Prism("attach ../vm --volume a").exit_code, kExitFailed);
  EXPECT_EQ(server.Prism("attach vm --volume a --user no-such-user").exit_code, kExitNotFound);
  EXPECT_EQ(server.Prism("attach vm --volume a --payload 100G").exit_code, kExitFailed);
  EXPECT_EQ(server.Prism("detach absent").exit_code, kExitNotFound);

  EXPECT_EQ(server.Prism("detach vm-1 --volume a").exit_code, kExitDone);
  EXPECT_EQ(server.Json("list")["result"][0]["vms"], json({"vm-2"}));
  EXPECT_EQ(server.Prism("detach vm-1").exit_code, kExitDone);
  EXPECT_FALSE(std::filesystem::exists(directory_ / "vms/vm-1"));
  EXPECT_EQ(server.Prism("detach vm-1").exit_code, kExitNotFound);
}

TEST_F(AttachCommandTest, AttachmentsAreInTheStore) {
  {
    LiveServer server(directory_.path());
    ASSERT_EQ(server.Prism("create a").exit_code, kExitDone);
    ASSERT_EQ(server.Prism("attach vm-1 --volume a --queues 2").exit_code, kExitDone);
    EXPECT_EQ(server.Stop(SIGKILL), 128 + SIGKILL);
  }
  const std::string elsewhere = directory_ / "else where";
  LiveServer server(directory_.path(), "--vm-directory '" + elsewhere + "'");
  const json vms = server.Json("vms")["result"];
  ASSERT_EQ(vms.size(), 1u);
  EXPECT_EQ(vms[0]["queues"], 2);
  EXPECT_EQ(vms[0]["socket"], elsewhere + "/vm-1/lane.sock");
  EXPECT_TRUE(std::filesystem::is_socket(elsewhere + "/vm-1/lane.sock"));
  EXPECT_EQ(server.Prism("attach vm-2 --volume a").exit_code, kExitDone);
  EXPECT_EQ(server.Prism("destroy a").exit_code, kExitDone);
  EXPECT_EQ(server.Json("vms")["result"][0]["volumes"], json::array());
}

// As under systemd: descriptors go to the service manager, and come back as LISTEN_FDS.
TEST_F(AttachCommandTest, AServiceManagerKeepsTheLanes) {
  const std::string notify = directory_ / "notify";
  const UniqueFd manager(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  notify.copy(address.sun_path, sizeof address.sun_path - 1);
  ASSERT_EQ(::bind(manager.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  UniqueFd stored;  // what the manager keeps, as sd_notify(3) says
  const auto receive = [&](std::string_view wanted) {
    return Eventually([&] {
      auto message = server::ReceiveFds(manager.get(), 4096, MSG_DONTWAIT);
      if (!message) return false;
      if (message->bytes == "FDSTORE=1\nFDNAME=prism.vm-1\nFDPOLL=0" && message->fds.size() == 1)
        stored = std::move(message->fds[0]);
      if (message->bytes == "FDSTOREREMOVE=1\nFDNAME=prism.vm-1") stored.Reset();
      return message->bytes.starts_with(wanted);
    });
  };

  ASSERT_LT(::fcntl(9, F_GETFD), 0) << "taken";
  const std::string environment = "SYSTEMD_EXEC_PID=$$ NOTIFY_SOCKET=" + notify;
  auto prismd = std::make_unique<LiveServer>(directory_.path(), "", environment);
  EXPECT_TRUE(receive("READY=1"));
  ASSERT_EQ(prismd->Prism("create a").exit_code, kExitDone);
  ASSERT_EQ(prismd->Prism("attach vm-1 --volume a").exit_code, kExitDone);
  auto channel =
      vrpc::SocketEndpoint::Connect(directory_ / "vms/vm-1/lane.sock",
                                    std::chrono::steady_clock::now() + std::chrono::seconds(5));
  ASSERT_TRUE(channel) << channel.error().message;
  EXPECT_TRUE(receive("FDSTORE=1"));
  ASSERT_TRUE(stored);
  for (int signal : {SIGKILL, SIGTERM}) {
    prismd->Stop(signal);
    if (signal == SIGTERM) {
      EXPECT_TRUE(receive("STOPPING=1"));
    }
    ASSERT_TRUE(stored) << "a stop gave it up";
    // The shell knows descriptors of one digit only.
    const UniqueFd inherited(::dup2(stored.get(), 9));
    prismd.reset();
    prismd = std::make_unique<LiveServer>(
        directory_.path(), "",
        "exec 3<&9 9<&-; LISTEN_FDS=1 LISTEN_PID=$$ LISTEN_FDNAMES=prism.vm-1 " + environment);
    ASSERT_TRUE(receive("READY=1"));
    EXPECT_EQ(prismd->Json("vms")["result"][0]["pid"], ::getpid()) << prismd->Log();
    char byte;
    EXPECT_LT(::recv((*channel)->lifeline(), &byte, 1, MSG_DONTWAIT), 0) << "the channel ended";
  }
  EXPECT_FALSE(std::filesystem::exists(directory_ / "control.sock.holder"));
  ASSERT_EQ(prismd->Prism("detach vm-1").exit_code, kExitDone);
  EXPECT_TRUE(receive("FDSTOREREMOVE=1"));
  EXPECT_FALSE(stored);
}

TEST_F(AttachCommandTest, APathThatIsNoSocketsIsExplained) {
  const std::string deep = directory_ / std::string(80, 'd');
  LiveServer server(directory_.path(), "--vm-directory " + deep);
  ASSERT_EQ(server.Prism("create a").exit_code, kExitDone);
  ShellResult result = server.Prism("attach vm-1 --volume a");
  EXPECT_EQ(result.exit_code, kExitFailed);
  EXPECT_NE(result.output.find("--vm-directory"), std::string::npos) << result.output;
}

TEST_F(AttachCommandTest, AMachineGoesOnWhenTheServerIsKilledOrRestarted) {
  if (Shell("command -v qemu-system-x86_64").exit_code != 0)
    GTEST_SKIP() << "needs QEMU (tools/setup)";
  auto server = std::make_unique<LiveServer>(directory_.path());
  ASSERT_EQ(server->Prism("create a").exit_code, kExitDone);
  const json attached = server->Json("attach vm-1 --volume a");
  const std::string log = directory_ / "qemu.log";
  Qemu qemu(attached["qemu"], log);
  ASSERT_TRUE(Eventually([&] { return Read(log).find("(qemu)") != std::string::npos; }))
      << Read(log);
  // It took the segment as its device's memory, and all vectors both ways.
  qemu.Say("info pci");
  EXPECT_TRUE(Eventually([&] {
    return Read(log).find("PCI device 1af4:1110") != std::string::npos;
  })) << Read(log);
  EXPECT_TRUE(Eventually([&] { return Eventfds(qemu.pid()) >= 2 * 20; })) << Eventfds(qemu.pid());
  EXPECT_TRUE(Eventually([&] {
    return std::filesystem::exists(directory_ / "control.sock.holder");
  })) << server->Log();

  EXPECT_EQ(server->Json("vms")["result"][0]["pid"], qemu.pid());
  EXPECT_EQ(server->Json("vms")["result"][0]["process"], "qemu-system-x86");
  for (int signal : {SIGKILL, SIGTERM, SIGKILL}) {
    server->Stop(signal);
    server.reset();
    std::filesystem::remove(directory_ / "log");
    server = std::make_unique<LiveServer>(directory_.path());
    EXPECT_NE(server->Log().find("the lane of vm-1 goes on"), std::string::npos) << server->Log();
    EXPECT_EQ(server->Json("vms")["result"][0]["pid"], qemu.pid());
  }
  EXPECT_EQ(Read(log).find("hangup"), std::string::npos) << Read(log);

  // Another QEMU finds it taken, and no holder stays behind once it is detached.
  EXPECT_EQ(server->Prism("detach vm-1").exit_code, kExitDone);
  EXPECT_TRUE(
      Eventually([&] { return !std::filesystem::exists(directory_ / "control.sock.holder"); }));
}

}  // namespace
}  // namespace prism::tool
