#include <array>
#include <cstring>
#include <vector>

#include "fs/mount/fuse_ops.h"
#include "fs/mount/fuse_reply.h"
#include "fs/mount/worker.h"

namespace prism::mount {
namespace {

constexpr uint64_t kDotCookie = 1;
constexpr uint64_t kDotDotCookie = 2;
constexpr uint64_t kCookieMax = uint64_t{1} << 63;  // off_t is signed

// plus: the records have places for attributes, which are filled in behind the first `bare` ones.
struct Form {
  bool plus = false;
  uint32_t bare = ListingAdvice::kAll;
};

// One reply of READDIR or READDIRPLUS while it is being filled.
class Listing {
 public:
  Listing(fuse_req_t req, InodeId dir, size_t size, Form form)
      : req_(req), context_(ContextOf(req)), dir_(dir), plus_(form.plus) {
    std::span<std::byte> buffer = Worker::Current()->io_buffer();
    buffer_ = reinterpret_cast<char*>(buffer.data());
    size_ = std::min(size, buffer.size());
  }

  // "." and "..", which are no reference: the kernel ignores their attributes.
  bool AddDot(const char* name, InodeId ino, uint64_t cookie) {
    fuse_entry_param entry = {};
    entry.attr.st_ino = ino;
    entry.attr.st_mode = S_IFDIR;
    return Append(name, entry, cookie);
  }

  bool Add(const fs::DirEntry& dir_entry) {
    if (dir_entry.name.size() > fs::kNameMax || dir_entry.cookie <= kDotDotCookie ||
        dir_entry.cookie >= kCookieMax || !IsValidInode(dir_entry.ino)) {
      failed_ = true;
      return false;
    }
    std::array<char, fs::kNameMax + 1> name;
    std::memcpy(name.data(), dir_entry.name.data(), dir_entry.name.size());
    name[dir_entry.name.size()] = '\0';
    fuse_entry_param entry = {};
    if (dir_entry.attr != nullptr) {
      entry = EntryOf(context_, *dir_entry.attr);
      entry.entry_timeout = EntryTimeout(context_, dir_, dir_entry.name);
      entry.ino = dir_entry.ino;
    }
    entry.attr.st_ino = dir_entry.ino;
    entry.attr.st_mode |= entry.attr.st_mode == 0 ? TypeBits(dir_entry.type) : 0;
    return Append(name.data(), entry, dir_entry.cookie);
  }

  // Sends what has been gathered; nothing at all is the end of the directory.
  void Reply() {
    if (fuse_reply_buf(req_, buffer_, used_) == 0) return;
    for (InodeId ino : counted()) Forget(context_, ino, 1);
  }
  // Sends an error instead.
  void Abandon(Err err) {
    for (InodeId ino : counted()) Forget(context_, ino, 1);
    ReplyError(req_, err);
  }

  bool failed() const { return failed_; }
  bool empty() const { return used_ == 0; }

  static void BeginCounting() { counted().clear(); }

 private:
  // The inodes of this reply that are references of the kernel now; one reply per thread at a time.
  static std::vector<InodeId>& counted() {
    thread_local std::vector<InodeId> inodes;
    return inodes;
  }

  bool Append(const char* name, const fuse_entry_param& entry, uint64_t cookie) {
    off_t offset = static_cast<off_t>(cookie);
    char* at = buffer_ + used_;
    size_t room = size_ - used_;
    size_t need = plus_ ? fuse_add_direntry_plus(req_, at, room, name, &entry, offset)
                        : fuse_add_direntry(req_, at, room, name, &entry.attr, offset);
    if (need > room) return false;
    used_ += need;
    if (plus_ && entry.ino != 0) {
      context_.lookups.Add(entry.ino);
      counted().push_back(entry.ino);
    }
    return true;
  }

  fuse_req_t req_;
  MountContext& context_;
  InodeId dir_;
  bool plus_;
  char* buffer_;
  size_t size_;
  size_t used_ = 0;
  bool failed_ = false;
};

void List(fuse_req_t req, InodeId dir, size_t size, uint64_t cookie, Form form) {
  MountContext& context = ContextOf(req);
  fs::Caller caller = CallerOf(req);
  Listing::BeginCounting();
  Listing listing(req, dir, size, form);
  bool room = true;
  if (cookie < kDotCookie) room = listing.AddDot(".", dir, kDotCookie);
  if (cookie < kDotDotCookie && room) {
    auto parent = context.fs.Lookup(caller, dir, "..");
    if (!parent) return listing.Abandon(parent.error());
    room = listing.AddDot("..", parent->attr.ino, kDotDotCookie);
  }
  if (cookie <= kDotDotCookie) cookie = 0;
  // The file system may stop early; an empty reply would mean the end.
  uint32_t bare_left = form.bare;
  while (room) {
    uint64_t before = cookie;
    const bool with_attr = bare_left == 0;
    bool turns = false;  // from bare entries to others
    auto result =
        context.fs.Readdir(caller, dir, cookie, with_attr, [&](const fs::DirEntry& entry) {
          if (!listing.Add(entry)) return room = false;
          cookie = entry.cookie;
          turns = !with_attr && --bare_left == 0;
          return !turns;
        });
    if (!result) return listing.Abandon(result.error());
    if (listing.failed()) return listing.Abandon(Err::kProtocol);
    if (turns) continue;
    if (result->eof || !listing.empty() || cookie == before) break;
  }
  context.own_changes.Forget(dir);  // its time of access
  listing.Reply();
}

void Readdir(fuse_req_t req, fuse_ino_t dir, size_t size, off_t offset, fuse_file_info*) {
  ContextOf(req).listings.GoOn(dir, ListingAdvice::Clock::now());
  List(req, dir, size, static_cast<uint64_t>(offset), Form{});
}

// Beyond the start the kernel asks for attributes only after look-ups in this directory.
void Readdirplus(fuse_req_t req, fuse_ino_t dir, size_t size, off_t offset, fuse_file_info*) {
  uint32_t bare = offset == 0 ? ContextOf(req).listings.Begin(dir, ListingAdvice::Clock::now()) : 0;
  List(req, dir, size, static_cast<uint64_t>(offset), Form{.plus = true, .bare = bare});
}

}  // namespace

void InstallListOps(fuse_lowlevel_ops& ops) {
  ops.readdir = Readdir;
  ops.readdirplus = Readdirplus;
}

}  // namespace prism::mount
