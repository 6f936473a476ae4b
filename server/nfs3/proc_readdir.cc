// READDIR, READDIRPLUS: RFC 1813, 3.3.16, 3.3.17.
//
// Cookies are the contract's: they belong to an entry for as long as it has its name, in a clone
// and after a restart too. So no cookie ever becomes invalid and the verifier is a constant, which
// says that a cookie was made by this way of numbering.
#include <algorithm>

#include "server/nfs3/program.h"

namespace prism::nfs3 {
namespace {

constexpr uint64_t kCookieVerifier = 0x707269736d2d3031;
constexpr uint64_t kSelfCookie = 1, kParentCookie = 2;  // "." and ".."
constexpr uint64_t kCookieEnd = uint64_t{1} << 63;
// Of READDIR3resok and of READDIRPLUS3resok, around the entries: status, attributes, verifier; the
// list's end and eof.
constexpr size_t kFrameSize = 4 + 4 + kFattrSize + kVerfSize + 4 + 4;

// What is reserved for a reply at once; longer ones grow.
constexpr size_t kReserveMax = 64 << 10;

struct Listing {
  VolumeId volume = 0;
  bool plus = false;
  size_t dir_bytes_left = 0;  // names and cookies (dircount); unlimited for READDIR
  size_t bytes_left = 0;      // everything
  size_t entries = 0;
};

constexpr size_t EntrySize(size_t name_bytes) {  // of an entry3, with what says that it follows
  return 4 + 8 + 4 + rpc::XdrPadded(name_bytes) + 8;
}
constexpr size_t kEntrySizeMax = EntrySize(fs::kNameMax);

// False: it does not fit.
bool PutEntry(Exchange& x, Listing& listing, std::string_view name, InodeId ino, uint64_t cookie,
              const fs::Attr* attr) {
  const size_t dir_size = EntrySize(name.size());
  size_t size = dir_size;
  if (listing.plus) size += 4 + kFattrSize + 4 + 4 + kHandleSize;
  if (size > listing.bytes_left) return false;
  // At least one entry, however small dircount is: maxcount is what must not be exceeded.
  if (dir_size > listing.dir_bytes_left && listing.entries > 0) return false;
  listing.bytes_left -= size;
  listing.dir_bytes_left -= std::min(dir_size, listing.dir_bytes_left);
  ++listing.entries;
  rpc::XdrBlock<kEntrySizeMax> entry;
  entry.Bool(true);
  entry.U64(ino);
  entry.String(name);
  entry.U64(cookie);
  x.out.Append(entry);
  if (!listing.plus) return true;
  PutPostOp(x.out, listing.volume, attr);
  rpc::XdrBlock<4 + 4 + kHandleSize> handle;
  handle.Bool(true);
  handle.Opaque(x.HandleOf(listing.volume, ino));
  x.out.Append(handle);
  return true;
}

// "." and ".."; false: they did not both fit.
Result<bool> PutDots(Exchange& x, const Target& dir, Listing& listing, uint64_t cookie) {
  for (uint64_t dot : {kSelfCookie, kParentCookie}) {
    if (cookie >= dot) continue;
    const std::string_view name = dot == kSelfCookie ? "." : "..";
    PRISM_ASSIGN(const fs::Attr self, dir.fs().Getattr(dir.Caller(), dir.ino));
    fs::Attr attr = self;
    if (dot == kParentCookie) {
      // Who may list a directory but not search it is not told its parent's attributes.
      const auto parent = dir.fs().Lookup(dir.Caller(), dir.ino, name);
      if (parent) attr = parent->attr;
    }
    if (!PutEntry(x, listing, name, attr.ino, dot, &attr)) return false;
  }
  return true;
}

// Entries after `cookie` as long as they fit. The end of the directory: eof.
Result<bool> PutEntries(Exchange& x, const Target& dir, Listing& listing, uint64_t cookie) {
  for (;;) {
    bool full = false;
    const auto visit = [&](const fs::DirEntry& entry) {
      if (!PutEntry(x, listing, entry.name, entry.ino, entry.cookie, entry.attr)) {
        full = true;
        return false;
      }
      cookie = entry.cookie;
      return true;
    };
    PRISM_ASSIGN(const fs::ReaddirResult read,
                 dir.fs().Readdir(dir.Caller(), dir.ino, cookie, listing.plus, visit));
    if (full) return false;
    if (read.eof) return true;
  }
}

Result<bool> PutList(Exchange& x, const Target& dir, Listing& listing, uint64_t cookie) {
  if (cookie < kParentCookie) {
    PRISM_ASSIGN(const bool fitted, PutDots(x, dir, listing, cookie));
    if (!fitted) return false;
  }
  return PutEntries(x, dir, listing, cookie <= kParentCookie ? 0 : cookie);
}

void List(Exchange& x, std::span<const std::byte> handle, uint64_t cookie, uint64_t verifier,
          Listing listing) {
  if (!x.Decoded()) return;
  const auto dir = x.Resolve(handle);
  if (!dir) return;
  if (cookie != 0 && verifier != kCookieVerifier) return x.Fail(NFS3ERR_BAD_COOKIE);
  if (cookie >= kCookieEnd) return x.Fail(NFS3ERR_BAD_COOKIE);
  if (listing.bytes_left < kFrameSize) return x.Fail(NFS3ERR_TOOSMALL);
  listing.bytes_left = std::min<size_t>(listing.bytes_left, kDirMax) - kFrameSize;
  listing.volume = dir->volume;
  const Result<fs::Attr> attr = dir->fs().Getattr(dir->Caller(), dir->ino);
  if (!attr) return x.Fail(attr.error());
  if (attr->type != fs::FileType::kDirectory) return x.Fail(NFS3ERR_NOTDIR);
  x.out.Reserve(std::min(kFrameSize + listing.bytes_left, kReserveMax));
  x.out.U32(NFS3_OK);
  PutPostOp(x.out, dir->volume, &*attr);
  x.out.U64(kCookieVerifier);
  const Result<bool> eof = PutList(x, *dir, listing, cookie);
  if (!eof) return x.Fail(eof.error());
  if (!*eof && listing.entries == 0) return x.Fail(NFS3ERR_TOOSMALL);
  x.out.Bool(false);
  x.out.Bool(*eof);
}

}  // namespace

void Readdir(Exchange& x) {
  const auto handle = GetHandle(x.args);
  const uint64_t cookie = x.args.U64();
  const uint64_t verifier = x.args.U64();
  Listing listing;
  listing.bytes_left = x.args.U32();
  listing.dir_bytes_left = SIZE_MAX;
  List(x, handle, cookie, verifier, listing);
}

void Readdirplus(Exchange& x) {
  const auto handle = GetHandle(x.args);
  const uint64_t cookie = x.args.U64();
  const uint64_t verifier = x.args.U64();
  Listing listing;
  listing.plus = true;
  listing.dir_bytes_left = x.args.U32();
  listing.bytes_left = x.args.U32();
  List(x, handle, cookie, verifier, listing);
}

}  // namespace prism::nfs3
