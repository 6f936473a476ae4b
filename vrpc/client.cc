#include "vrpc/client.h"

#include <pthread.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "vrpc/doorbell.h"
#include "vrpc/handshake.h"
#include "vrpc/messages.h"
#include "vrpc/segment.h"
#include "vrpc/session.h"
#include "vrpc/socket_endpoint.h"

namespace prism::vrpc {
namespace {

// Batches of a directory listing: a small one first, because most callers stop early.
constexpr uint32_t kReaddirFirstBytes = 16 * 1024;
constexpr uint32_t kReaddirLargestBytes = 256 * 1024;

template <typename Request>
std::string_view Encode(const Request& request) {
  thread_local std::string body;
  body.clear();
  Encoder(body).Put(request);
  return body;
}

template <typename Reply>
Result<Reply> Decode(Session& session, std::string_view body) {
  Reply reply{};
  Decoder decoder(body);
  decoder.Get(reply);
  if (decoder.Finished()) return reply;
  session.Break("a reply is malformed");
  return Fail(Err::kProtocol);
}

bool TooManyGroups(const fs::Caller& caller) { return caller.groups.size() > fs::kGroupsMax; }

// A call without a payload in either direction.
template <typename Reply, typename Request>
Result<Reply> Call(Session& session, Op op, const fs::Caller& caller, const Request& request) {
  if (TooManyGroups(caller)) return Fail(Err::kInvalid);
  Session::Borrowed queue(session);
  if (!queue.ok()) return Fail(Err::kDisconnected);
  PRISM_ASSIGN(auto reply, queue.Exchange(op, caller, Encode(request), 0));
  return Decode<Reply>(session, reply.body);
}

template <typename Request>
Status CallStatus(Session& session, Op op, const fs::Caller& caller, const Request& request) {
  PRISM_TRY((Call<Nothing>(session, op, caller, request)));
  return {};
}

std::string_view Cut(std::string_view text, size_t max) { return text.substr(0, max); }
std::string_view CutName(std::string_view name) { return Cut(name, kWireNameMax); }

std::string FetchString(std::span<const std::byte> bytes) {
  std::string copy(bytes.size(), '\0');
  FetchOnce(copy.data(), bytes.data(), bytes.size());
  return copy;
}

}  // namespace

Outcome<std::shared_ptr<Client>> Client::Connect(const EndpointFactory& endpoints,
                                                 const ConnectOptions& options) {
  if (options.volume.empty() || options.volume.size() > kVolumeNameMax)
    return Explain(Err::kInvalid, "a volume's name has 1 to {} bytes", kVolumeNameMax);
  Deadline deadline =
      std::chrono::steady_clock::now() + std::chrono::milliseconds(options.timeout_ms);
  PRISM_ASSIGN(std::unique_ptr<Endpoint> endpoint, endpoints(deadline));
  std::span<std::byte> memory = endpoint->memory();
  PRISM_ASSIGN(Geometry geometry, CheckHeader(memory));
  PRISM_ASSIGN(uint32_t index, endpoint->ClaimLane(geometry.lanes));
  LaneMemory lane(memory.data(), geometry, index);
  Hello hello = HelloFor(options.volume);
  hello.flags = (options.importing ? kHelloImporting : 0u) | (options.resume ? kHelloResume : 0u) |
                (options.barriers ? kHelloBarriers : 0u) |
                (options.snapshots ? kHelloSnapshots : 0u);
  hello.queues = options.queues;
  hello.client = options.client != 0 ? options.client : RandomNumber();
  uint32_t vector = geometry.handshake_vector(index);
  Outcome<Answer> answer = SayHello(*endpoint, lane, vector, hello, deadline);
  if (!answer) {
    // A late answer must not begin a session that nobody has.
    if (answer.error().code == Err::kTimedOut)
      (void)SayBye(*endpoint, lane, vector, std::chrono::steady_clock::now());
    return tl::unexpected(std::move(answer.error()));
  }
  if (answer->queues == 0 || answer->queues > geometry.queues)
    return Explain(Err::kProtocol, "the server serves {} of {} queues", answer->queues,
                   geometry.queues);
  PRISM_ASSIGN(UniqueFd wake, MakeDoorbell());
  Session::Grant grant{
      .lane = lane, .index = index, .queues = answer->queues, .epoch = answer->epoch};
  auto session =
      std::make_shared<Session>(std::move(endpoint), grant, std::move(wake), options.spin_us_max);
  return std::shared_ptr<Client>(new Client(std::move(session), answer->durability_epoch));
}

Outcome<std::shared_ptr<Client>> Client::Connect(const std::string& lane_path,
                                                 const ConnectOptions& options) {
  return Connect(SocketEndpoint::FactoryFor(lane_path), options);
}

Client::Client(std::shared_ptr<Session> session, uint64_t durability_epoch)
    : session_(std::move(session)), durability_epoch_(durability_epoch) {
  watcher_ = std::thread([session = session_] { session->Watch(); });
  ::pthread_setname_np(watcher_.native_handle(), "vrpc-watcher");
}

Client::~Client() {
  session_->SetListener(nullptr);
  session_->Close();
  // The disconnect callback may be what destroys us.
  if (watcher_.get_id() == std::this_thread::get_id())
    watcher_.detach();
  else
    watcher_.join();
}

void Client::SetDisconnectCallback(std::function<void()> callback) {
  session_->SetDisconnectCallback(std::move(callback));
}
bool Client::connected() const { return !session_->dead(); }
void Client::Disconnect() { session_->Close(); }
void Client::SetListener(fs::EventListener* listener) { session_->SetListener(listener); }

Status Client::Null() { return CallStatus(*session_, Op::kNull, {}, Nothing{}); }

Result<fs::StatfsResult> Client::Statfs(const fs::Caller& caller) {
  return Call<fs::StatfsResult>(*session_, Op::kStatfs, caller, Nothing{});
}

Result<fs::EntryResult> Client::Lookup(const fs::Caller& caller, InodeId dir,
                                       std::string_view name) {
  return Call<fs::EntryResult>(*session_, Op::kLookup, caller, NameRequest{dir, CutName(name)});
}

Result<fs::Attr> Client::Getattr(const fs::Caller& caller, InodeId ino) {
  return Call<fs::Attr>(*session_, Op::kGetattr, caller, InoRequest{ino});
}

Result<fs::Change> Client::Setattr(const fs::Caller& caller, InodeId ino,
                                   const fs::SetAttr& changes) {
  return Call<fs::Change>(*session_, Op::kSetattr, caller, SetattrRequest{ino, changes});
}

Result<uint32_t> Client::Access(const fs::Caller& caller, InodeId ino, uint32_t mask) {
  PRISM_ASSIGN(AccessReply reply,
               Call<AccessReply>(*session_, Op::kAccess, caller, AccessRequest{ino, mask}));
  return reply.granted;
}

Result<std::string> Client::Readlink(const fs::Caller& caller, InodeId ino) {
  PRISM_ASSIGN(ReadlinkReply reply,
               Call<ReadlinkReply>(*session_, Op::kReadlink, caller, InoRequest{ino}));
  return std::move(reply.target);
}

Result<fs::ReadResult> Client::Read(const fs::Caller& caller, InodeId ino, uint64_t offset,
                                    std::span<std::byte> buffer) {
  return ReadInPlace(caller, ino, offset, buffer.size(),
                     [&](const fs::ReadResult&, std::span<const std::byte> bytes) {
                       FetchOnce(buffer.data(), bytes.data(), bytes.size());
                     });
}

Result<fs::ReadResult> Client::ReadInPlace(
    const fs::Caller& caller, InodeId ino, uint64_t offset, size_t length,
    FunctionRef<void(const fs::ReadResult&, std::span<const std::byte>)> visitor) {
  if (TooManyGroups(caller) || length > fs::kIoMax) return Fail(Err::kInvalid);
  Session::Borrowed queue(*session_);
  if (!queue.ok()) return Fail(Err::kDisconnected);
  ReadRequest request{ino, offset, static_cast<uint32_t>(length)};
  PRISM_ASSIGN(auto reply, queue.Exchange(Op::kRead, caller, Encode(request), 0));
  PRISM_ASSIGN(fs::ReadResult result, Decode<fs::ReadResult>(*session_, reply.body));
  if (result.length > length || result.length != reply.payload_bytes) {
    session_->Break("a reply has more data than was asked for");
    return Fail(Err::kProtocol);
  }
  std::span<const std::byte> bytes = queue.payload().first(result.length);
  if (!session_->memory_is_pages()) {
    thread_local std::vector<std::byte> copy(fs::kIoMax);
    FetchOnce(copy.data(), bytes.data(), bytes.size());
    bytes = std::span(copy).first(bytes.size());
  }
  visitor(result, bytes);
  return result;
}

Result<fs::WriteResult> Client::Write(const fs::Caller& caller, const fs::WriteArgs& args) {
  if (TooManyGroups(caller) || args.data.size() > fs::kIoMax) return Fail(Err::kInvalid);
  Session::Borrowed queue(*session_);
  if (!queue.ok()) return Fail(Err::kDisconnected);
  if (!args.data.empty()) std::memcpy(queue.payload().data(), args.data.data(), args.data.size());
  WriteRequest request{args.ino,       args.offset,    args.append,
                       args.append_at, args.stability, args.kill_privileges};
  PRISM_ASSIGN(auto reply, queue.Exchange(Op::kWrite, caller, Encode(request),
                                          static_cast<uint32_t>(args.data.size())));
  PRISM_ASSIGN(fs::WriteResult result, Decode<fs::WriteResult>(*session_, reply.body));
  if (result.length > args.data.size()) {
    session_->Break("a reply claims more data than was sent");
    return Fail(Err::kProtocol);
  }
  return result;
}

Result<fs::EntryResult> Client::Create(const fs::Caller& caller, const fs::CreateArgs& args) {
  if (TooManyGroups(caller)) return Fail(Err::kInvalid);
  auto data = args.data.first(std::min(args.data.size(), fs::kInitialDataMax + 1));
  std::string xattrs;
  AppendXattrs(xattrs, args.xattrs);
  if (data.size() + xattrs.size() > session_->payload_bytes_max()) return Fail(Err::kTooBig);
  Session::Borrowed queue(*session_);
  if (!queue.ok()) return Fail(Err::kDisconnected);
  std::byte* payload = queue.payload().data();
  if (!data.empty()) std::memcpy(payload, data.data(), data.size());
  std::memcpy(payload + data.size(), xattrs.data(), xattrs.size());
  CreateRequest request{.parent = args.parent,
                        .name = CutName(args.name),
                        .type = args.type,
                        .mode = args.mode,
                        .umask = args.umask,
                        .rdev_major = args.rdev_major,
                        .rdev_minor = args.rdev_minor,
                        .symlink_target = Cut(args.symlink_target, kWireSymlinkMax),
                        .exclusivity = args.exclusivity,
                        .verifier = args.verifier,
                        .initial = args.initial,
                        .data_bytes = static_cast<uint32_t>(data.size()),
                        .xattr_count = static_cast<uint32_t>(args.xattrs.size())};
  PRISM_ASSIGN(auto reply, queue.Exchange(Op::kCreate, caller, Encode(request),
                                          static_cast<uint32_t>(data.size() + xattrs.size())));
  return Decode<fs::EntryResult>(*session_, reply.body);
}

Result<fs::EntryResult> Client::Link(const fs::Caller& caller, InodeId ino, InodeId dir,
                                     std::string_view name) {
  return Call<fs::EntryResult>(*session_, Op::kLink, caller, LinkRequest{ino, dir, CutName(name)});
}

Result<fs::RemoveResult> Client::Unlink(const fs::Caller& caller, InodeId dir,
                                        std::string_view name) {
  return Call<fs::RemoveResult>(*session_, Op::kUnlink, caller, NameRequest{dir, CutName(name)});
}

Result<fs::RemoveResult> Client::Rmdir(const fs::Caller& caller, InodeId dir,
                                       std::string_view name) {
  return Call<fs::RemoveResult>(*session_, Op::kRmdir, caller, NameRequest{dir, CutName(name)});
}

Result<fs::RenameResult> Client::Rename(const fs::Caller& caller, InodeId from_dir,
                                        std::string_view from_name, InodeId to_dir,
                                        std::string_view to_name, uint32_t flags) {
  return Call<fs::RenameResult>(
      *session_, Op::kRename, caller,
      RenameRequest{from_dir, CutName(from_name), to_dir, CutName(to_name), flags});
}

Result<fs::ReaddirResult> Client::Readdir(const fs::Caller& caller, InodeId dir, uint64_t cookie,
                                          bool with_attr,
                                          FunctionRef<bool(const fs::DirEntry&)> visitor) {
  if (TooManyGroups(caller)) return Fail(Err::kInvalid);
  uint32_t bytes_max = kReaddirFirstBytes;
  uint32_t visits_left = fs::kReaddirEntriesMax;
  for (;;) {
    ReaddirReply header;
    std::string entries;
    {
      Session::Borrowed queue(*session_);
      if (!queue.ok()) return Fail(Err::kDisconnected);
      ReaddirRequest request{dir, cookie, with_attr, visits_left, bytes_max};
      PRISM_ASSIGN(auto reply, queue.Exchange(Op::kReaddir, caller, Encode(request), 0));
      PRISM_ASSIGN(header, Decode<ReaddirReply>(*session_, reply.body));
      if (header.entries > visits_left || reply.payload_bytes > bytes_max) {
        session_->Break("a listing is larger than was asked for");
        return Fail(Err::kProtocol);
      }
      entries = FetchString(queue.payload().first(reply.payload_bytes));
    }
    Decoder decoder(entries);
    for (uint32_t i = 0; i < header.entries; ++i) {
      fs::DirEntry entry;
      fs::Attr attr;
      if (!ReadDirEntry(decoder, entry, attr)) {
        session_->Break("a listing is malformed");
        return Fail(Err::kProtocol);
      }
      if (!visitor(entry)) return fs::ReaddirResult{.eof = false, .dir = header.dir};
      cookie = entry.cookie;
    }
    visits_left -= header.entries;
    // Nothing without an end would be a server that never gets anywhere.
    if (header.eof || header.entries == 0 || visits_left == 0)
      return fs::ReaddirResult{.eof = header.eof, .dir = header.dir};
    bytes_max = std::min(bytes_max * 4, kReaddirLargestBytes);
  }
}

Status Client::Fsync(const fs::Caller& caller, InodeId ino, bool data_only) {
  return CallStatus(*session_, Op::kFsync, caller, FsyncRequest{ino, data_only});
}

Status Client::Sync(const fs::Caller& caller) {
  return CallStatus(*session_, Op::kSync, caller, Nothing{});
}

Result<std::string> Client::Getxattr(const fs::Caller& caller, InodeId ino, std::string_view name) {
  if (TooManyGroups(caller)) return Fail(Err::kInvalid);
  Session::Borrowed queue(*session_);
  if (!queue.ok()) return Fail(Err::kDisconnected);
  PRISM_ASSIGN(auto reply,
               queue.Exchange(Op::kGetxattr, caller, Encode(NameRequest{ino, CutName(name)}), 0));
  PRISM_TRY(Decode<Nothing>(*session_, reply.body));
  return FetchString(queue.payload().first(reply.payload_bytes));
}

Status Client::Setxattr(const fs::Caller& caller, InodeId ino, std::string_view name,
                        std::string_view value, fs::XattrMode mode) {
  if (TooManyGroups(caller)) return Fail(Err::kInvalid);
  Session::Borrowed queue(*session_);
  if (!queue.ok()) return Fail(Err::kDisconnected);
  value = Cut(value, fs::kXattrValueMax + 1);
  if (!value.empty()) std::memcpy(queue.payload().data(), value.data(), value.size());
  SetxattrRequest request{ino, CutName(name), mode};
  PRISM_ASSIGN(auto reply, queue.Exchange(Op::kSetxattr, caller, Encode(request),
                                          static_cast<uint32_t>(value.size())));
  PRISM_TRY(Decode<Nothing>(*session_, reply.body));
  return {};
}

Result<std::vector<std::string>> Client::Listxattr(const fs::Caller& caller, InodeId ino) {
  if (TooManyGroups(caller)) return Fail(Err::kInvalid);
  std::string bytes;
  ListxattrReply header;
  {
    Session::Borrowed queue(*session_);
    if (!queue.ok()) return Fail(Err::kDisconnected);
    PRISM_ASSIGN(auto reply, queue.Exchange(Op::kListxattr, caller, Encode(InoRequest{ino}), 0));
    PRISM_ASSIGN(header, Decode<ListxattrReply>(*session_, reply.body));
    bytes = FetchString(queue.payload().first(reply.payload_bytes));
  }
  std::vector<std::string> names;
  if (ReadNames(bytes, header.names, names)) return names;
  session_->Break("a list of names is malformed");
  return Fail(Err::kProtocol);
}

Status Client::Removexattr(const fs::Caller& caller, InodeId ino, std::string_view name) {
  return CallStatus(*session_, Op::kRemovexattr, caller, NameRequest{ino, CutName(name)});
}

Result<fs::Change> Client::Fallocate(const fs::Caller& caller, InodeId ino, fs::FallocateMode mode,
                                     uint64_t offset, uint64_t length) {
  return Call<fs::Change>(*session_, Op::kFallocate, caller,
                          FallocateRequest{ino, mode, offset, length});
}

Result<uint64_t> Client::Seek(const fs::Caller& caller, InodeId ino, uint64_t offset,
                              fs::SeekWhence whence) {
  PRISM_ASSIGN(OffsetReply reply,
               Call<OffsetReply>(*session_, Op::kSeek, caller, SeekRequest{ino, offset, whence}));
  return reply.value;
}

Result<uint64_t> Client::CopyRange(const fs::Caller& caller, InodeId from, uint64_t from_offset,
                                   InodeId to, uint64_t to_offset, uint64_t length) {
  PRISM_ASSIGN(OffsetReply reply,
               Call<OffsetReply>(*session_, Op::kCopyRange, caller,
                                 CopyRangeRequest{from, from_offset, to, to_offset, length}));
  return reply.value;
}

Status Client::Release(const fs::Caller& caller, InodeId ino) {
  return CallStatus(*session_, Op::kRelease, caller, InoRequest{ino});
}

Result<InodeId> Client::FindDone(const fs::RequestId& request) {
  PRISM_ASSIGN(FindDoneReply reply,
               Call<FindDoneReply>(*session_, Op::kFindDone, {}, FindDoneRequest{request.number}));
  return reply.ino;
}

Status Client::AnswerBarrier(const fs::Caller& caller, uint64_t cookie, bool written) {
  return CallStatus(*session_, Op::kAnswerBarrier, caller, AnswerBarrierRequest{cookie, written});
}

Status Client::Lock(const fs::Caller& caller, const fs::LockArgs& args) {
  LockRequest request{args};
  request.args.owner = Cut(args.owner, kWireLockOwnerMax);
  return CallStatus(*session_, Op::kLock, caller, request);
}

Result<std::optional<fs::LockHolder>> Client::TestLock(const fs::Caller& caller,
                                                       const fs::LockArgs& args) {
  LockRequest request{args};
  request.args.owner = Cut(args.owner, kWireLockOwnerMax);
  PRISM_ASSIGN(TestLockReply reply, Call<TestLockReply>(*session_, Op::kTestLock, caller, request));
  return std::move(reply.holder);
}

Status Client::CancelLock(const fs::Caller& caller, uint64_t cookie) {
  return CallStatus(*session_, Op::kCancelLock, caller, CancelLockRequest{cookie});
}

Status Client::DropLocks(const fs::Caller& caller, InodeId ino, std::string_view owner_prefix) {
  return CallStatus(*session_, Op::kDropLocks, caller,
                    DropLocksRequest{ino, Cut(owner_prefix, kWireLockOwnerMax)});
}

}  // namespace prism::vrpc
