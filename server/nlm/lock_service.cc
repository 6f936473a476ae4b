#include "server/nlm/lock_service.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstring>

namespace prism::nlm {
namespace {

constexpr size_t kMachineBytes = sizeof(uint64_t);
constexpr size_t kOwnerHead = kMachineBytes + sizeof(uint32_t);
static_assert(kOwnerHead + kStringMax <= fs::kLockOwnerMax);

std::string MachineBytes(uint64_t machine) {
  return std::string(reinterpret_cast<const char*>(&machine), sizeof machine);
}

std::string OwnerOf(uint64_t machine, uint32_t svid, std::span<const std::byte> oh) {
  std::string owner = MachineBytes(machine);
  owner.append(reinterpret_cast<const char*>(&svid), sizeof svid);
  return owner.append(StringOf(oh));
}

}  // namespace

// Our client of one volume.
class LockService::Volume : public fs::EventListener {
 public:
  Volume(LockService& service, std::shared_ptr<fs::FileSystem> file_system)
      : service_(service), fs_(std::move(file_system)) {
    fs_->SetListener(this);
  }
  ~Volume() override { fs_->SetListener(nullptr); }

  fs::FileSystem& fs() const { return *fs_; }
  void OnEvent(const fs::Event& event) override {
    if (event.kind == fs::Event::Kind::kLockGranted) service_.OnGranted(event.cookie);
  }

 private:
  LockService& service_;
  const std::shared_ptr<fs::FileSystem> fs_;
};

fs::FileSystem& LockService::Target::fs() const { return volume->fs(); }

fs::Caller LockService::Target::Caller() const {
  return {.uid = identity.uid,
          .gid = identity.gid,
          .groups = std::span(identity.groups.data(), identity.group_count),
          .check_permission = true};
}

LockService::LockService(const nfs3::Services& services, HostTable& hosts, CallbackPool& callbacks,
                         const LockOptions& options)
    : services_(services),
      hosts_(hosts),
      callbacks_(callbacks),
      options_(options),
      grace_end_(std::chrono::steady_clock::now() +
                 std::chrono::milliseconds(hosts.to_notify().empty() ? 0 : options.grace_ms)) {}

LockService::~LockService() = default;

Result<std::shared_ptr<LockService::Volume>> LockService::FindVolume(VolumeId id) {
  {
    std::lock_guard lock(mutex_);
    auto found = volumes_.find(id);
    if (found != volumes_.end()) return found->second;
  }
  auto attached = services_.host.AttachNetwork(id);
  if (!attached)
    return Fail(attached.error().code == Err::kNoEntry ? Err::kStale : attached.error().code);
  auto made = std::make_shared<Volume>(*this, std::move(*attached));
  std::lock_guard lock(mutex_);
  return volumes_.try_emplace(id, made).first->second;
}

Nlm4Status LockService::Resolve(const rpc::Call& call, std::span<const std::byte> handle,
                                Target& target) {
  const auto id = services_.handles.Decode(handle);
  if (!id) return NLM4_STALE_FH;
  const auto exported = services_.exports.Find(id->volume);
  if (!exported) return StatusOf(exported.error());
  const nfs3::AccessRule* rule = (*exported)->rules.Find(call.peer);
  if (rule == nullptr) return NLM4_FAILED;
  auto volume = FindVolume(id->volume);
  if (!volume) return StatusOf(volume.error());
  target.volume = std::move(*volume);
  target.volume_id = id->volume;
  target.ino = id->ino;
  target.read_only = rule->read_only;
  target.identity = nfs3::Squash(*rule, call.credentials);
  const auto attr = target.fs().Getattr(target.Caller(), target.ino);
  if (attr) return NLM4_GRANTED;
  std::shared_ptr<Volume> gone;
  if (attr.error() == Err::kStale && !target.fs().Statfs(fs::Caller{})) {
    std::lock_guard lock(mutex_);  // the volume is gone, not just the file
    auto found = volumes_.find(id->volume);
    if (found != volumes_.end()) gone = std::move(found->second), volumes_.erase(found);
  }
  return StatusOf(attr.error());
}

Nlm4Status LockService::Test(const rpc::Call& call, const LockCall& request, Holder& holder) {
  Target target;
  if (Nlm4Status status = Resolve(call, request.lock.handle, target)) return status;
  if (InGrace()) return NLM4_DENIED_GRACE_PERIOD;
  fs::LockArgs args{.ino = target.ino, .kind = fs::LockKind::kNetwork};
  args.type = request.exclusive ? fs::LockType::kExclusive : fs::LockType::kShared;
  if (!RangeOf(request.lock, args)) return NLM4_FBIG;
  const uint64_t machine = hosts_.Find(call.peer, request.lock.caller_name);
  const std::string owner = OwnerOf(machine, request.lock.svid, request.lock.oh);
  args.owner = owner;
  auto found = target.fs().TestLock(target.Caller(), args);
  if (!found) return StatusOf(found.error());
  if (!*found) return NLM4_GRANTED;
  const fs::LockHolder& in_the_way = **found;
  holder.exclusive = in_the_way.type == fs::LockType::kExclusive;
  holder.offset = in_the_way.start;
  holder.length = in_the_way.length;
  holder.svid = in_the_way.pid;
  if (in_the_way.own_client && in_the_way.owner.size() >= kOwnerHead)
    holder.oh = in_the_way.owner.substr(kOwnerHead);
  return NLM4_DENIED;
}

Nlm4Status LockService::Lock(const rpc::Call& call, const LockCall& request) {
  Target target;
  if (Nlm4Status status = Resolve(call, request.lock.handle, target)) return status;
  if (InGrace() != request.reclaim) return NLM4_DENIED_GRACE_PERIOD;
  if (request.exclusive && target.read_only) return NLM4_ROFS;
  fs::LockArgs args{.ino = target.ino, .kind = fs::LockKind::kNetwork};
  args.type = request.exclusive ? fs::LockType::kExclusive : fs::LockType::kShared;
  args.reclaim = request.reclaim ? fs::Reclaim::kYes : fs::Reclaim::kNo;
  if (!RangeOf(request.lock, args)) return NLM4_FBIG;
  const Result<uint64_t> machine = hosts_.Register(call.peer, request.lock.caller_name);
  if (!machine) return StatusOf(machine.error());
  const std::string owner = OwnerOf(*machine, request.lock.svid, request.lock.oh);
  args.owner = owner;
  args.pid = request.lock.svid;
  if (request.block) return LockBlocking(call, request, target, args, *machine);
  const Status status = target.fs().Lock(target.Caller(), args);
  return StatusOf(status ? Err::kOk : status.error());
}

Nlm4Status LockService::LockBlocking(const rpc::Call& call, const LockCall& request,
                                     const Target& target, fs::LockArgs args, uint64_t machine) {
  auto pending = std::make_shared<Pending>();
  pending->machine = machine;
  pending->volume = target.volume;
  pending->owner = args.owner;
  pending->args = args;
  pending->args.owner = pending->owner;
  pending->peer = call.peer;
  pending->told = {.cookie = StringOf(request.cookie),
                   .exclusive = request.exclusive,
                   .caller_name = std::string(request.lock.caller_name),
                   .handle = StringOf(request.lock.handle),
                   .oh = StringOf(request.lock.oh),
                   .svid = request.lock.svid,
                   .offset = request.lock.offset,
                   .length = request.lock.length};
  uint64_t cookie = 0;
  {
    std::lock_guard lock(mutex_);
    if (const uint64_t same = FindPending(machine, target.volume.get(), args)) {
      if (!pending_.at(same)->granted) return NLM4_BLOCKED;
      pending_.erase(same);  // it knows now: nobody else has to tell it
      return NLM4_GRANTED;
    }
    const auto of_address = std::count_if(pending_.begin(), pending_.end(), [&](const auto& item) {
      return item.second->peer.ip == call.peer.ip;
    });
    if (pending_.size() >= kPendingMax || of_address >= kPendingPerAddressMax)
      return NLM4_DENIED_NOLOCKS;
    cookie = next_cookie_++;
    pending_.emplace(cookie, pending);
  }
  args.wait = true;
  args.cookie = cookie;
  const Status status = target.fs().Lock(target.Caller(), args);
  if (!status && status.error() == Err::kAgain) return NLM4_BLOCKED;
  TakePending(cookie);
  return StatusOf(status ? Err::kOk : status.error());
}

uint64_t LockService::FindPending(uint64_t machine, const Volume* volume,
                                  const fs::LockArgs& args) const {
  for (const auto& [cookie, pending] : pending_) {
    const fs::LockArgs& other = pending->args;
    if (pending->machine == machine && pending->volume.get() == volume && other.ino == args.ino &&
        other.type == args.type && other.start == args.start && other.length == args.length &&
        pending->owner == args.owner)
      return cookie;
  }
  return 0;
}

std::shared_ptr<LockService::Pending> LockService::TakePending(uint64_t cookie) {
  std::lock_guard lock(mutex_);
  auto found = pending_.find(cookie);
  if (found == pending_.end()) return nullptr;
  auto pending = std::move(found->second);
  pending_.erase(found);
  return pending;
}

void LockService::OnGranted(uint64_t cookie) {
  rpc::PeerAddress peer;
  {
    std::lock_guard lock(mutex_);
    auto found = pending_.find(cookie);
    if (found == pending_.end()) return;
    found->second->granted = true;
    peer = found->second->peer;
  }
  // If there is no room the client will ask.
  callbacks_.Run(peer, std::chrono::milliseconds(0), [this, cookie] { Deliver(cookie, 1); });
}

void LockService::Deliver(uint64_t cookie, uint32_t attempt) {
  std::vector<std::byte> args;
  rpc::PeerAddress peer;
  {
    std::lock_guard lock(mutex_);
    auto found = pending_.find(cookie);
    if (found == pending_.end()) return;
    rpc::XdrWriter out(args);
    PutGranted(out, found->second->told);
    peer = found->second->peer;
  }
  const auto reply = callbacks_.Call(peer, {kNlmProgram, kNlmVersion, NLMPROC4_GRANTED}, args);
  if (reply) {
    rpc::XdrReader in(*reply);
    in.Opaque(kStringMax);
    const uint32_t status = in.U32();
    if (in.Finished() && status == NLM4_GRANTED) {
      TakePending(cookie);
      return;
    }
    if (in.Finished() && status != NLM4_DENIED_GRACE_PERIOD) return GiveBack(cookie);
  }
  const std::chrono::milliseconds wait(options_.granted_retry_ms);
  if (attempt >= options_.granted_attempts) {
    spdlog::info("NLM: {} cannot be told that it has a lock ({}): it is given back", peer.Text(),
                 reply ? "it is in grace" : NameOf(reply.error()));
    return GiveBack(cookie);
  }
  callbacks_.Run(peer, wait, [this, cookie, attempt] { Deliver(cookie, attempt + 1); });
}

void LockService::GiveBack(uint64_t cookie) {
  const auto pending = TakePending(cookie);
  if (pending == nullptr) return;
  fs::LockArgs args = pending->args;
  args.type = fs::LockType::kUnlock;
  (void)pending->volume->fs().Lock(fs::Caller{}, args);
}

Nlm4Status LockService::Cancel(const rpc::Call& call, const LockCall& request) {
  Target target;
  if (Nlm4Status status = Resolve(call, request.lock.handle, target)) return status;
  fs::LockArgs args{.ino = target.ino, .kind = fs::LockKind::kNetwork};
  args.type = request.exclusive ? fs::LockType::kExclusive : fs::LockType::kShared;
  if (!RangeOf(request.lock, args)) return NLM4_FBIG;
  const uint64_t machine = hosts_.Find(call.peer, request.lock.caller_name);
  const std::string owner = OwnerOf(machine, request.lock.svid, request.lock.oh);
  args.owner = owner;
  uint64_t cookie = 0;
  {
    std::lock_guard lock(mutex_);
    cookie = FindPending(machine, target.volume.get(), args);
  }
  if (cookie == 0) return NLM4_DENIED;
  const Status canceled = target.fs().CancelLock(target.Caller(), cookie);
  if (canceled)
    TakePending(cookie);
  else
    GiveBack(cookie);  // it has been granted meanwhile
  return NLM4_GRANTED;
}

Nlm4Status LockService::Unlock(const rpc::Call& call, const LockCall& request) {
  Target target;
  if (Nlm4Status status = Resolve(call, request.lock.handle, target)) return status;
  fs::LockArgs args{.ino = target.ino, .kind = fs::LockKind::kNetwork};
  args.type = fs::LockType::kUnlock;
  if (!RangeOf(request.lock, args)) return NLM4_FBIG;
  const uint64_t machine = hosts_.Find(call.peer, request.lock.caller_name);
  if (machine == 0) return NLM4_GRANTED;
  const std::string owner = OwnerOf(machine, request.lock.svid, request.lock.oh);
  args.owner = owner;
  const Status status = target.fs().Lock(target.Caller(), args);
  return StatusOf(status ? Err::kOk : status.error());
}

Nlm4Status LockService::Share(const rpc::Call& call, const ShareCall& request) {
  Target target;
  if (Nlm4Status status = Resolve(call, request.handle, target)) return status;
  if (InGrace() != request.reclaim) return NLM4_DENIED_GRACE_PERIOD;
  const Result<uint64_t> machine = hosts_.Register(call.peer, request.caller_name);
  if (!machine) return StatusOf(machine.error());
  const Status status = shares_.Set({target.volume_id, target.ino}, *machine, StringOf(request.oh),
                                    request.access, request.mode);
  return StatusOf(status ? Err::kOk : status.error());
}

Nlm4Status LockService::Unshare(const rpc::Call& call, const ShareCall& request) {
  Target target;
  if (Nlm4Status status = Resolve(call, request.handle, target)) return status;
  const uint64_t machine = hosts_.Find(call.peer, request.caller_name);
  shares_.Remove({target.volume_id, target.ino}, machine, StringOf(request.oh));
  return NLM4_GRANTED;
}

void LockService::FreeAll(const rpc::PeerAddress& peer, std::string_view name) {
  for (const uint64_t machine : hosts_.Forget(peer, name)) {
    shares_.Drop(machine);
    std::vector<std::shared_ptr<Volume>> volumes;
    {
      std::lock_guard lock(mutex_);
      std::erase_if(pending_, [&](const auto& item) { return item.second->machine == machine; });
      for (const auto& [id, volume] : volumes_) volumes.push_back(volume);
    }
    for (const auto& volume : volumes)
      (void)volume->fs().DropLocks(fs::Caller{}, 0, MachineBytes(machine));
    spdlog::info("NLM: '{}' at {} has restarted or freed all: its locks are gone", name,
                 peer.Text());
  }
}

}  // namespace prism::nlm
