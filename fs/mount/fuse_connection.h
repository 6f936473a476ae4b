// libfuse's session object for one mount: options, features, notices. Internal to fs/mount.
#pragma once

#include <atomic>
#include <memory>
#include <span>
#include <string>

#include "fs/base/failure.h"
#include "fs/mount/fuse_ops.h"
#include "fs/mount/mount_session.h"
#include "fs/mount/worker.h"

namespace prism::mount {

class FuseConnection {
 public:
  // Mounts. `context` becomes the userdata of the operations and outlives the connection.
  static Outcome<std::unique_ptr<FuseConnection>> Mount(const SessionOptions& options,
                                                        MountContext& context);
  ~FuseConnection();
  FuseConnection(const FuseConnection&) = delete;
  FuseConnection& operator=(const FuseConnection&) = delete;

  std::unique_ptr<Worker> NewWorker();
  // Runs one request that the calling thread's Worker has received.
  void Process(std::span<std::byte> request);

  // INIT: chooses features and time-outs from what the kernel offers.
  void Agree(fuse_conn_info& info, MountContext& context);

  // Notices to the kernel; what it does not know is skipped. They may wait for requests in service.
  void DropInode(InodeId ino);
  void DropAttributes(InodeId ino);
  void DropEntry(InodeId dir, const std::string& name);
  void DropAllEntries();
  // Returns when all that the kernel had asked has been taken by a worker, or after a second.
  void WaitTaken();

 private:
  explicit FuseConnection(fuse_session* session) : session_(session) {}

  fuse_session* session_;
  std::atomic<uint32_t> agreed_{0};
};

}  // namespace prism::mount
