#include "vrpc/client.h"

#include <pthread.h>

#include <algorithm>
#include <cstring>

#include "vrpc/channel.h"
#include "vrpc/handshake.h"
#include "vrpc/messages.h"
#include "vrpc/segment.h"

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
Result<Reply> Decode(Channel& channel, std::string_view body) {
  Reply reply{};
  Decoder decoder(body);
  decoder.Get(reply);
  if (decoder.Finished()) return reply;
  channel.Break("a reply is malformed");
  return Fail(Err::kProtocol);
}

bool TooManyGroups(const fs::Caller& caller) { return caller.groups.size() > fs::kGroupsMax; }

// A call without a payload in either direction.
template <typename Reply, typename Request>
Result<Reply> Call(Channel& channel, Op op, const fs::Caller& caller, const Request& request) {
  if (TooManyGroups(caller)) return Fail(Err::kInvalid);
  Channel::Borrowed queue(channel);
  if (!queue.ok()) return Fail(Err::kDisconnected);
  PRISM_ASSIGN(auto reply, queue.Exchange(op, caller, Encode(request), 0));
  return Decode<Reply>(channel, reply.body);
}

template <typename Request>
Status CallStatus(Channel& channel, Op op, const fs::Caller& caller, const Request& request) {
  PRISM_TRY((Call<Nothing>(channel, op, caller, request)));
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

Outcome<std::shared_ptr<Client>> Client::Connect(const std::string& lane_path,
                                                 const ConnectOptions& options) {
  if (options.volume.empty() || options.volume.size() > kVolumeNameMax)
    return Explain(Err::kInvalid, "a volume's name has 1 to {} bytes", kVolumeNameMax);
  Deadline deadline =
      std::chrono::steady_clock::now() + std::chrono::milliseconds(options.timeout_ms);
  PRISM_ASSIGN(UniqueFd socket, ConnectTo(lane_path, deadline));
  Hello hello{};
  hello.magic = kHelloMagic;
  hello.version_min = kVersion;
  hello.version_max = kVersion;
  hello.flags = options.importing ? kHelloImporting : 0;
  hello.queues = std::min(options.queues, kQueuesMax);
  hello.volume_bytes = static_cast<uint32_t>(options.volume.size());
  std::memcpy(hello.volume, options.volume.data(), options.volume.size());
  PRISM_ASSIGN(Welcome welcome, Greet(socket.get(), hello, deadline));
  PRISM_ASSIGN(Segment segment, Segment::Open(std::move(welcome.segment), welcome.segment_bytes));
  if (segment.geometry().queues != welcome.fds.doorbells.size())
    return Explain(Err::kProtocol, "the server's segment has {} queues, its answer {}",
                   segment.geometry().queues, welcome.fds.doorbells.size());
  return std::shared_ptr<Client>(new Client(std::make_shared<Channel>(
      std::move(socket), std::move(segment), std::move(welcome.fds), options.spin_us_max)));
}

Client::Client(std::shared_ptr<Channel> channel) : channel_(std::move(channel)) {
  watcher_ = std::thread([channel = channel_] { channel->Watch(); });
  ::pthread_setname_np(watcher_.native_handle(), "vrpc-watcher");
}

Client::~Client() {
  channel_->SetListener(nullptr);
  channel_->Close();
  // The disconnect callback may be what destroys us.
  if (watcher_.get_id() == std::this_thread::get_id())
    watcher_.detach();
  else
    watcher_.join();
}

void Client::SetDisconnectCallback(std::function<void()> callback) {
  channel_->SetDisconnectCallback(std::move(callback));
}
bool Client::connected() const { return !channel_->dead(); }
void Client::Disconnect() { channel_->Close(); }
void Client::SetListener(fs::EventListener* listener) { channel_->SetListener(listener); }

Status Client::Null() { return CallStatus(*channel_, Op::kNull, {}, Nothing{}); }

Result<fs::StatfsResult> Client::Statfs(const fs::Caller& caller) {
  return Call<fs::StatfsResult>(*channel_, Op::kStatfs, caller, Nothing{});
}

Result<fs::EntryResult> Client::Lookup(const fs::Caller& caller, InodeId dir,
                                       std::string_view name) {
  return Call<fs::EntryResult>(*channel_, Op::kLookup, caller, NameRequest{dir, CutName(name)});
}

Result<fs::Attr> Client::Getattr(const fs::Caller& caller, InodeId ino) {
  return Call<fs::Attr>(*channel_, Op::kGetattr, caller, InoRequest{ino});
}

Result<fs::Change> Client::Setattr(const fs::Caller& caller, InodeId ino,
                                   const fs::SetAttr& changes) {
  return Call<fs::Change>(*channel_, Op::kSetattr, caller, SetattrRequest{ino, changes});
}

Result<uint32_t> Client::Access(const fs::Caller& caller, InodeId ino, uint32_t mask) {
  PRISM_ASSIGN(AccessReply reply,
               Call<AccessReply>(*channel_, Op::kAccess, caller, AccessRequest{ino, mask}));
  return reply.granted;
}

Result<std::string> Client::Readlink(const fs::Caller& caller, InodeId ino) {
  PRISM_ASSIGN(ReadlinkReply reply,
               Call<ReadlinkReply>(*channel_, Op::kReadlink, caller, InoRequest{ino}));
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
  Channel::Borrowed queue(*channel_);
  if (!queue.ok()) return Fail(Err::kDisconnected);
  ReadRequest request{ino, offset, static_cast<uint32_t>(length)};
  PRISM_ASSIGN(auto reply, queue.Exchange(Op::kRead, caller, Encode(request), 0));
  PRISM_ASSIGN(fs::ReadResult result, Decode<fs::ReadResult>(*channel_, reply.body));
  if (result.length > length || result.length != reply.payload_bytes) {
    channel_->Break("a reply has more data than was asked for");
    return Fail(Err::kProtocol);
  }
  visitor(result, queue.payload().first(result.length));
  return result;
}

Result<fs::WriteResult> Client::Write(const fs::Caller& caller, const fs::WriteArgs& args) {
  if (TooManyGroups(caller) || args.data.size() > fs::kIoMax) return Fail(Err::kInvalid);
  Channel::Borrowed queue(*channel_);
  if (!queue.ok()) return Fail(Err::kDisconnected);
  if (!args.data.empty()) std::memcpy(queue.payload().data(), args.data.data(), args.data.size());
  WriteRequest request{args.ino,       args.offset,    args.append,
                       args.append_at, args.stability, args.kill_privileges};
  PRISM_ASSIGN(auto reply, queue.Exchange(Op::kWrite, caller, Encode(request),
                                          static_cast<uint32_t>(args.data.size())));
  PRISM_ASSIGN(fs::WriteResult result, Decode<fs::WriteResult>(*channel_, reply.body));
  if (result.length > args.data.size()) {
    channel_->Break("a reply claims more data than was sent");
    return Fail(Err::kProtocol);
  }
  return result;
}

Result<fs::EntryResult> Client::Create(const fs::Caller& caller, const fs::CreateArgs& args) {
  if (TooManyGroups(caller)) return Fail(Err::kInvalid);
  auto data = args.data.first(std::min(args.data.size(), fs::kInitialDataMax + 1));
  std::string xattrs;
  AppendXattrs(xattrs, args.xattrs);
  if (data.size() + xattrs.size() > channel_->payload_bytes_max()) return Fail(Err::kTooBig);
  Channel::Borrowed queue(*channel_);
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
  return Decode<fs::EntryResult>(*channel_, reply.body);
}

Result<fs::EntryResult> Client::Link(const fs::Caller& caller, InodeId ino, InodeId dir,
                                     std::string_view name) {
  return Call<fs::EntryResult>(*channel_, Op::kLink, caller, LinkRequest{ino, dir, CutName(name)});
}

Result<fs::RemoveResult> Client::Unlink(const fs::Caller& caller, InodeId dir,
                                        std::string_view name) {
  return Call<fs::RemoveResult>(*channel_, Op::kUnlink, caller, NameRequest{dir, CutName(name)});
}

Result<fs::RemoveResult> Client::Rmdir(const fs::Caller& caller, InodeId dir,
                                       std::string_view name) {
  return Call<fs::RemoveResult>(*channel_, Op::kRmdir, caller, NameRequest{dir, CutName(name)});
}

Result<fs::RenameResult> Client::Rename(const fs::Caller& caller, InodeId from_dir,
                                        std::string_view from_name, InodeId to_dir,
                                        std::string_view to_name, uint32_t flags) {
  return Call<fs::RenameResult>(
      *channel_, Op::kRename, caller,
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
      Channel::Borrowed queue(*channel_);
      if (!queue.ok()) return Fail(Err::kDisconnected);
      ReaddirRequest request{dir, cookie, with_attr, visits_left, bytes_max};
      PRISM_ASSIGN(auto reply, queue.Exchange(Op::kReaddir, caller, Encode(request), 0));
      PRISM_ASSIGN(header, Decode<ReaddirReply>(*channel_, reply.body));
      if (header.entries > visits_left || reply.payload_bytes > bytes_max) {
        channel_->Break("a listing is larger than was asked for");
        return Fail(Err::kProtocol);
      }
      entries = FetchString(queue.payload().first(reply.payload_bytes));
    }
    Decoder decoder(entries);
    for (uint32_t i = 0; i < header.entries; ++i) {
      fs::DirEntry entry;
      fs::Attr attr;
      if (!ReadDirEntry(decoder, entry, attr)) {
        channel_->Break("a listing is malformed");
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
  return CallStatus(*channel_, Op::kFsync, caller, FsyncRequest{ino, data_only});
}

Status Client::Sync(const fs::Caller& caller) {
  return CallStatus(*channel_, Op::kSync, caller, Nothing{});
}

Result<std::string> Client::Getxattr(const fs::Caller& caller, InodeId ino, std::string_view name) {
  if (TooManyGroups(caller)) return Fail(Err::kInvalid);
  Channel::Borrowed queue(*channel_);
  if (!queue.ok()) return Fail(Err::kDisconnected);
  PRISM_ASSIGN(auto reply,
               queue.Exchange(Op::kGetxattr, caller, Encode(NameRequest{ino, CutName(name)}), 0));
  PRISM_TRY(Decode<Nothing>(*channel_, reply.body));
  return FetchString(queue.payload().first(reply.payload_bytes));
}

Status Client::Setxattr(const fs::Caller& caller, InodeId ino, std::string_view name,
                        std::string_view value, fs::XattrMode mode) {
  if (TooManyGroups(caller)) return Fail(Err::kInvalid);
  Channel::Borrowed queue(*channel_);
  if (!queue.ok()) return Fail(Err::kDisconnected);
  value = Cut(value, fs::kXattrValueMax + 1);
  if (!value.empty()) std::memcpy(queue.payload().data(), value.data(), value.size());
  SetxattrRequest request{ino, CutName(name), mode};
  PRISM_ASSIGN(auto reply, queue.Exchange(Op::kSetxattr, caller, Encode(request),
                                          static_cast<uint32_t>(value.size())));
  PRISM_TRY(Decode<Nothing>(*channel_, reply.body));
  return {};
}

Result<std::vector<std::string>> Client::Listxattr(const fs::Caller& caller, InodeId ino) {
  if (TooManyGroups(caller)) return Fail(Err::kInvalid);
  std::string bytes;
  ListxattrReply header;
  {
    Channel::Borrowed queue(*channel_);
    if (!queue.ok()) return Fail(Err::kDisconnected);
    PRISM_ASSIGN(auto reply, queue.Exchange(Op::kListxattr, caller, Encode(InoRequest{ino}), 0));
    PRISM_ASSIGN(header, Decode<ListxattrReply>(*channel_, reply.body));
    bytes = FetchString(queue.payload().first(reply.payload_bytes));
  }
  std::vector<std::string> names;
  if (ReadNames(bytes, header.names, names)) return names;
  channel_->Break("a list of names is malformed");
  return Fail(Err::kProtocol);
}

Status Client::Removexattr(const fs::Caller& caller, InodeId ino, std::string_view name) {
  return CallStatus(*channel_, Op::kRemovexattr, caller, NameRequest{ino, CutName(name)});
}

Result<fs::Change> Client::Fallocate(const fs::Caller& caller, InodeId ino, fs::FallocateMode mode,
                                     uint64_t offset, uint64_t length) {
  return Call<fs::Change>(*channel_, Op::kFallocate, caller,
                          FallocateRequest{ino, mode, offset, length});
}

Result<uint64_t> Client::Seek(const fs::Caller& caller, InodeId ino, uint64_t offset,
                              fs::SeekWhence whence) {
  PRISM_ASSIGN(OffsetReply reply,
               Call<OffsetReply>(*channel_, Op::kSeek, caller, SeekRequest{ino, offset, whence}));
  return reply.value;
}

Result<uint64_t> Client::CopyRange(const fs::Caller& caller, InodeId from, uint64_t from_offset,
                                   InodeId to, uint64_t to_offset, uint64_t length) {
  PRISM_ASSIGN(OffsetReply reply,
               Call<OffsetReply>(*channel_, Op::kCopyRange, caller,
                                 CopyRangeRequest{from, from_offset, to, to_offset, length}));
  return reply.value;
}

Status Client::Release(const fs::Caller& caller, InodeId ino) {
  return CallStatus(*channel_, Op::kRelease, caller, InoRequest{ino});
}

Status Client::Lock(const fs::Caller& caller, const fs::LockArgs& args) {
  LockRequest request{args};
  request.args.owner = Cut(args.owner, kWireLockOwnerMax);
  return CallStatus(*channel_, Op::kLock, caller, request);
}

Result<std::optional<fs::LockHolder>> Client::TestLock(const fs::Caller& caller,
                                                       const fs::LockArgs& args) {
  LockRequest request{args};
  request.args.owner = Cut(args.owner, kWireLockOwnerMax);
  PRISM_ASSIGN(TestLockReply reply, Call<TestLockReply>(*channel_, Op::kTestLock, caller, request));
  return std::move(reply.holder);
}

Status Client::CancelLock(const fs::Caller& caller, uint64_t cookie) {
  return CallStatus(*channel_, Op::kCancelLock, caller, CancelLockRequest{cookie});
}

Status Client::DropLocks(const fs::Caller& caller, InodeId ino, std::string_view owner_prefix) {
  return CallStatus(*channel_, Op::kDropLocks, caller,
                    DropLocksRequest{ino, Cut(owner_prefix, kWireLockOwnerMax)});
}

}  // namespace prism::vrpc
