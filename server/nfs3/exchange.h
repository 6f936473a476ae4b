// One call under way, for the procedures.
#pragma once

#include <memory>
#include <optional>

#include "server/nfs3/codec.h"
#include "server/nfs3/exports.h"
#include "server/nfs3/file_handle.h"
#include "server/nfs3/types.h"
#include "server/rpc/program.h"

namespace prism::nfs3 {

// What follows the status of a failure.
enum class FailureBody : uint8_t { kNothing, kPostOp, kWcc, kTwoWcc, kPostOpAndWcc };

// The file that a handle names, and as whom this client uses it.
struct Target {
  std::shared_ptr<const Exports::Export> exported;
  VolumeId volume = 0;
  InodeId ino = 0;
  bool read_only = false;
  Identity identity;

  fs::FileSystem& fs() const { return *exported->fs; }
  // Valid while the Target stays where it is.
  fs::Caller Caller() const {
    return {.uid = identity.uid,
            .gid = identity.gid,
            .groups = std::span(identity.groups.data(), identity.group_count),
            .check_permission = true};
  }
};

struct Services {  // what all calls share
  fs::Host& host;
  Exports& exports;
  const HandleCodec& handles;
};

class Exchange {
 public:
  Exchange(Services& services, const rpc::Call& call, FailureBody failure_body, rpc::Reply& reply)
      : args(call.args),
        out(reply.out()),
        call_(call),
        request_{call.id.client, call.id.xid, call.id.checksum},
        services_(services),
        reply_(reply),
        begin_(out.size()),
        failure_body_(failure_body) {}

  rpc::XdrReader args;
  rpc::XdrWriter& out;

  // False: the arguments were not what the procedure takes, and the reply says so.
  bool Decoded();
  // nullopt: refused, and the reply says why. The first one found is whom failures tell about.
  std::optional<Target> Resolve(std::span<const std::byte> handle);
  // The same for what is about to be changed.
  std::optional<Target> ResolveToChange(std::span<const std::byte> handle);

  void Fail(Nfsstat3 status);
  void Fail(Err err) { Fail(StatusOf(err)); }

  // As target.Caller(), for the operations that must not be done twice.
  fs::Caller GuardedCaller(const Target& target) const;
  // Whether an earlier run of the server has done this call; which inode it was about.
  std::optional<InodeId> DoneBefore(const Target& target) const;
  // The reply waits until what has been done is on disk.
  void WaitDurable() { reply_.DurableAfter(services_.host.Mark()); }

  HandleBytes HandleOf(VolumeId volume, InodeId ino) const {
    return services_.handles.Encode({volume, ino});
  }
  uint64_t write_verifier() const { return services_.host.WriteVerifier(); }
  rpc::Reply& reply() { return reply_; }

 private:
  const rpc::Call& call_;
  const fs::RequestId request_;
  Services& services_;
  rpc::Reply& reply_;
  const size_t begin_;  // of the results in `out`
  const FailureBody failure_body_;
  std::optional<Target> first_;
};

// The empty body of a failure.
void PutFailureBody(rpc::XdrWriter& out, FailureBody body, VolumeId volume, const fs::Attr* attr);

}  // namespace prism::nfs3
