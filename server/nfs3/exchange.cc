#include "server/nfs3/exchange.h"

namespace prism::nfs3 {

bool Exchange::Decoded() {
  if (args.Finished()) return true;
  reply_.SetGarbageArgs();
  return false;
}

std::optional<Target> Exchange::Resolve(std::span<const std::byte> handle) {
  const std::optional<FileId> id = services_.handles.Decode(handle);
  if (!id) {
    Fail(NFS3ERR_BADHANDLE);
    return std::nullopt;
  }
  auto exported = services_.exports.Find(id->volume);
  if (!exported) {
    Fail(exported.error());
    return std::nullopt;
  }
  const AccessRule* rule = (*exported)->rules.Find(call_.peer);
  if (rule == nullptr) {
    Fail(NFS3ERR_ACCES);
    return std::nullopt;
  }
  Target target;
  target.volume = id->volume;
  target.ino = id->ino;
  target.read_only = rule->read_only;
  target.identity = Squash(*rule, call_.credentials);
  target.exported = std::move(*exported);
  if (!first_) first_ = target;
  return target;
}

std::optional<Target> Exchange::ResolveToChange(std::span<const std::byte> handle) {
  std::optional<Target> target = Resolve(handle);
  if (target && target->read_only) {
    Fail(NFS3ERR_ROFS);
    return std::nullopt;
  }
  return target;
}

// With the attributes as they are now, where they can be had: clients drop what they have cached of
// an object that a failure tells nothing about.
void Exchange::Fail(Nfsstat3 status) {
  out.Truncate(begin_);
  out.U32(status);
  Result<fs::Attr> attr = prism::Fail(prism::Err::kStale);
  const bool wanted = failure_body_ != FailureBody::kNothing && status != NFS3ERR_STALE;
  if (first_ && wanted) attr = first_->fs().Getattr(first_->Caller(), first_->ino);
  PutFailureBody(out, failure_body_, first_ ? first_->volume : 0, attr ? &*attr : nullptr);
}

fs::Caller Exchange::GuardedCaller(const Target& target) const {
  fs::Caller caller = target.Caller();
  caller.request = &request_;
  return caller;
}

std::optional<InodeId> Exchange::DoneBefore(const Target& target) const {
  Result<InodeId> done = target.fs().FindDone(request_);
  if (!done) return std::nullopt;
  return *done;
}

void PutFailureBody(rpc::XdrWriter& out, FailureBody body, VolumeId volume, const fs::Attr* attr) {
  switch (body) {
    case FailureBody::kNothing:
      return;
    case FailureBody::kPostOp:
      return PutPostOp(out, volume, attr);
    case FailureBody::kWcc:
      return PutWccAfter(out, volume, attr);
    case FailureBody::kTwoWcc:
      PutWccAfter(out, volume, attr);
      return PutWccAfter(out, volume, nullptr);
    case FailureBody::kPostOpAndWcc:
      PutPostOp(out, volume, attr);
      return PutWccAfter(out, volume, nullptr);
  }
}

}  // namespace prism::nfs3
