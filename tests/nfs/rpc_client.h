// libnfs's raw API made synchronous: one connection to a server, one call at a time. An RPC and XDR
// implementation that shares nothing with ours.
#pragma once

// libnfs's headers build on each other:
// clang-format off
#include <cstdint>
#include <nfsc/libnfs-zdr.h>
#include <nfsc/libnfs.h>
#include <nfsc/libnfs-raw.h>
#include <nfsc/libnfs-raw-mount.h>
#include <nfsc/libnfs-raw-nfs.h>
// clang-format on

#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "fs/base/failure.h"
#include "fs/base/function_ref.h"

namespace prism::test {

struct RpcIdentity {  // of AUTH_SYS
  uint32_t uid = 0;
  uint32_t gid = 0;
  std::span<const uint32_t> groups = {};
};

// THREADS: any; one call at a time.
class RpcClient {
 public:
  // Of a program and version on 127.0.0.1:port, whose NULL must answer. As root, the connection
  // comes from a privileged port.
  static Outcome<std::unique_ptr<RpcClient>> Connect(uint16_t port, int program, int version);
  ~RpcClient();

  // Who asks from now on; at first root.
  void Become(const RpcIdentity& identity);
  // The number of the next call: to send one twice.
  void SetNextXid(uint32_t xid);

  // Sends a call by `start`, one of libnfs's rpc_*_async with its callback and closure, and hands
  // its results to `take`, which alone may look at them. kDisconnected: the connection broke,
  // kTimedOut: no reply in ten seconds, kProtocol: the server did not accept the call (message:
  // libnfs's words).
  template <typename Results>
  Outcome<void> Call(FunctionRef<int(rpc_context*, rpc_cb, void*)> start,
                     FunctionRef<void(Results&)> take) {
    return Run(start, [&](void* results) { take(*static_cast<Results*>(results)); });
  }
  // For the procedures that take a structure.
  template <typename Arguments, typename Results>
  Outcome<void> CallWith(int (*start)(rpc_context*, rpc_cb, Arguments*, void*),
                         Arguments& arguments, FunctionRef<void(Results&)> take) {
    return Call<Results>([&](rpc_context* rpc, rpc_cb done,
                             void* closure) { return start(rpc, done, &arguments, closure); },
                         take);
  }

 private:
  struct Pending;

  explicit RpcClient(rpc_context* rpc);
  Outcome<void> Run(FunctionRef<int(rpc_context*, rpc_cb, void*)> start,
                    FunctionRef<void(void*)> take);
  static void Done(rpc_context* rpc, int status, void* data, void* closure);

  std::mutex mutex_;
  rpc_context* rpc_;
  std::vector<std::unique_ptr<Pending>> calls_;  // that have begun; the last is under way
};

// The handle that MNT gives for a path ("/volume").
Outcome<std::string> MountExport(uint16_t port, const std::string& path);

// Handles are strings here; this lends one to libnfs.
inline nfs_fh3 HandleOf(const std::string& bytes) {
  nfs_fh3 handle;
  handle.data.data_len = static_cast<u_int>(bytes.size());
  handle.data.data_val = const_cast<char*>(bytes.data());
  return handle;
}
inline std::string HandleOf(const nfs_fh3& handle) {
  return {handle.data.data_val, handle.data.data_len};
}

inline diropargs3 DirOp(const std::string& dir, const std::string& name) {
  return {.dir = HandleOf(dir), .name = const_cast<char*>(name.c_str())};
}

}  // namespace prism::test
