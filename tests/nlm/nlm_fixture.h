// A server of NLM and NSM over an engine of its own, and the machines that are its clients: each
// has a loopback address of its own, and may serve the callbacks of locks.
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/nlm/nlm_service.h"
#include "server/rpc/server.h"
#include "tests/rpc/raw_client.h"
#include "tests/support/result.h"
#include "tests/support/temp_dir.h"

namespace prism::nlm {

// What a client's lockd, statd and portmapper hear, at one port.
class ClientPrograms {
 public:
  struct Granted {
    std::string cookie, caller_name, handle, oh;
    bool exclusive = false;
    uint32_t svid = 0;
    uint64_t offset = 0, length = 0;
  };
  struct Notice {
    std::string name;
    uint32_t state = 0;
  };
  struct Result {
    uint32_t procedure = 0;
    std::string cookie;
    uint32_t status = 0;
  };
  explicit ClientPrograms(const std::string& ip, uint16_t port = 0);

  uint16_t port() const { return server_->address().port; }
  std::vector<Granted> granted();
  std::vector<Notice> notices();
  std::vector<Result> results();
  void AnswerGranted(uint32_t status);

 private:
  struct State;
  class Portmapper;
  class Lockd;
  class Statd;
  std::shared_ptr<State> state_;
  std::unique_ptr<rpc::RpcServer> server_;
};

struct LockSpec {
  std::string cookie = "cookie";
  bool block = false;
  bool exclusive = true;
  std::string caller = "client";
  std::string oh = "owner";
  uint32_t svid = 1;
  uint64_t offset = 0;
  uint64_t length = 0;
  bool reclaim = false;
};

struct TestAnswer {
  uint32_t status = 0;
  Holder holder;
};

class NlmTest : public ::testing::Test {
 protected:
  void SetUp() override;
  void TearDown() override;

  // A run of the server; what was on disk stays.
  void Start(uint32_t grace_ms = 60'000);
  void Stop();
  void Restart(uint32_t grace_ms = 60'000) {
    Stop();
    Start(grace_ms);
  }

  rpc::Bytes ArgsOf(uint32_t procedure, const LockSpec& spec);
  // The status, or nothing: no answer that is one.
  std::optional<uint32_t> Call(uint32_t procedure, const LockSpec& spec,
                               const std::string& ip = "127.0.0.2");
  std::optional<rpc::RawReply> Raw(uint32_t program, uint32_t procedure, rpc::Bytes args,
                                   const std::string& ip = "127.0.0.2");
  uint32_t Lock(const LockSpec& spec, const std::string& ip = "127.0.0.2") {
    return Call(NLMPROC4_LOCK, spec, ip).value_or(99);
  }
  uint32_t Unlock(const LockSpec& spec, const std::string& ip = "127.0.0.2") {
    return Call(NLMPROC4_UNLOCK, spec, ip).value_or(99);
  }
  TestAnswer Test(const LockSpec& spec, const std::string& ip = "127.0.0.2");
  void Notify(const std::string& name, const std::string& ip = "127.0.0.2",
              uint32_t program = kNsmProgram);
  // By a mount: its status.
  Err MountLocks(fs::LockKind kind, fs::LockType type, bool wait = false);

  uint16_t callback_port_ = 1;  // of all machines' portmappers; nobody listens at 1
  uint32_t granted_retry_ms_ = 50;
  uint32_t granted_attempts_ = 3;
  std::string rules_ = "*(rw,insecure)";
  test::TempDir directory_;
  std::unique_ptr<fs::Host> host_;
  std::unique_ptr<nfs3::Exports> exports_;
  std::unique_ptr<nfs3::HandleCodec> handles_;
  std::unique_ptr<NlmService> service_;
  std::unique_ptr<rpc::RpcServer> server_;
  std::shared_ptr<fs::FileSystem> mount_;
  VolumeId volume_ = 0;
  InodeId ino_ = 0;
  std::string handle_;
};

}  // namespace prism::nlm
