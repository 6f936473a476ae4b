#include "tests/nfs/rpc_client.h"

#include <poll.h>

#include <chrono>
#include <functional>

#include "fs/base/check.h"

namespace prism::test {
namespace {

constexpr auto kTimeout = std::chrono::seconds(10);

}  // namespace

struct RpcClient::Pending {
  std::function<void(void*)> take;
  bool done = false;
  int status = RPC_STATUS_ERROR;
  std::string words;
};

Outcome<std::unique_ptr<RpcClient>> RpcClient::Connect(uint16_t port, int program, int version) {
  rpc_context* rpc = rpc_init_context();
  PRISM_CHECK(rpc != nullptr);
  std::unique_ptr<RpcClient> client(new RpcClient(rpc));
  client->Become({});
  PRISM_TRY(client->Run(
      [&](rpc_context* context, rpc_cb done, void* closure) {
        return rpc_connect_port_async(context, "127.0.0.1", port, program, version, done, closure);
      },
      [](void*) {}));
  return client;
}

RpcClient::RpcClient(rpc_context* rpc) : rpc_(rpc) {}

RpcClient::~RpcClient() {
  rpc_disconnect(rpc_, "done");
  rpc_destroy_context(rpc_);
}

void RpcClient::Become(const RpcIdentity& identity) {
  std::lock_guard lock(mutex_);
  rpc_set_auth(rpc_, libnfs_authunix_create("prism-test", identity.uid, identity.gid,
                                            static_cast<uint32_t>(identity.groups.size()),
                                            const_cast<uint32_t*>(identity.groups.data())));
}

void RpcClient::SetNextXid(uint32_t xid) {
  std::lock_guard lock(mutex_);
  rpc_set_next_xid(rpc_, xid);
}

void RpcClient::Done(rpc_context*, int status, void* data, void* closure) {
  auto& pending = *static_cast<Pending*>(closure);
  pending.done = true;
  pending.status = status;
  if (status == RPC_STATUS_SUCCESS) {
    pending.take(data);
  } else if (status == RPC_STATUS_ERROR && data != nullptr) {
    pending.words = static_cast<const char*>(data);
  }
}

Outcome<void> RpcClient::Run(FunctionRef<int(rpc_context*, rpc_cb, void*)> start,
                             FunctionRef<void(void*)> take) {
  std::lock_guard lock(mutex_);
  // libnfs knows it until it has called back, which after a failure may be at destruction.
  Pending* pending = calls_.emplace_back(std::make_unique<Pending>()).get();
  pending->take = take;
  if (start(rpc_, Done, pending) != 0)
    return Explain(Err::kDisconnected, "not sent: {}", rpc_get_error(rpc_));
  const auto end = std::chrono::steady_clock::now() + kTimeout;
  while (!pending->done) {
    pollfd poll_fd = {
        .fd = rpc_get_fd(rpc_), .events = static_cast<short>(rpc_which_events(rpc_)), .revents = 0};
    if (poll(&poll_fd, 1, 100) < 0) return ExplainErrno(errno, "poll");
    if (rpc_service(rpc_, poll_fd.revents) < 0 && !pending->done) {
      pending->take = [](void*) {};
      return Explain(Err::kDisconnected, "{}", rpc_get_error(rpc_));
    }
    if (std::chrono::steady_clock::now() < end) continue;
    pending->take = [](void*) {};
    return Explain(Err::kTimedOut, "no reply");
  }
  std::unique_ptr<Pending> owner = std::move(calls_.back());
  calls_.pop_back();
  if (pending->status == RPC_STATUS_SUCCESS) return {};
  return Explain(pending->status == RPC_STATUS_CANCEL ? Err::kDisconnected : Err::kProtocol,
                 "refused: {}", pending->words);
}

Outcome<std::string> MountExport(uint16_t port, const std::string& path) {
  PRISM_ASSIGN(auto client, RpcClient::Connect(port, MOUNT_PROGRAM, MOUNT_V3));
  std::string handle;
  mountstat3 status = MNT3_OK;
  PRISM_TRY(client->Call<mountres3>(
      [&](rpc_context* rpc, rpc_cb done, void* closure) {
        return rpc_mount3_mnt_async(rpc, done, const_cast<char*>(path.c_str()), closure);
      },
      [&](mountres3& results) {
        status = results.fhs_status;
        if (status != MNT3_OK) return;
        const fhandle3& found = results.mountres3_u.mountinfo.fhandle;
        handle.assign(found.fhandle3_val, found.fhandle3_len);
      }));
  if (status != MNT3_OK)
    return Explain(Err::kAccess, "MNT of {}: status {}", path, static_cast<int>(status));
  return handle;
}

}  // namespace prism::test
