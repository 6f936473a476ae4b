#include "fs/core/composer.h"

#include <fnmatch.h>

#include <algorithm>

#include "clone/composition.h"
#include "fs/base/bytes.h"
#include "fs/contract/file_system.h"
#include "fs/contract/limits.h"
#include "fs/core/count_files.h"
#include "fs/core/diff_items.h"
#include "fs/core/directory_attr.h"
#include "fs/core/times.h"
#include "fs/core/xattr_items.h"

namespace prism::fs {
namespace {

using cow::ItemType;
using cow::MakeKey;

constexpr size_t kPathMax = 4096;
constexpr size_t kMatchesMax = 100'000;  // of one pattern
constexpr size_t kCutAtOnce = 256;

// With words of its own where the error is the rule's.
tl::unexpected<Failure> Wrong(Err err, std::string_view path, std::string_view at) {
  switch (err) {
    case Err::kNoEntry:
      return Explain(err, "\"{}\" does not exist: there is no \"{}\"", path, at);
    case Err::kNotDirectory:
      return Explain(err, "\"{}\": \"{}\" is no directory, and symlinks are not followed", path,
                     at);
    default:
      return Explain(err, "\"{}\" failed at \"{}\" ({}): see the server's log", path, at,
                     NameOf(err));
  }
}

bool HasWildcard(std::string_view name) { return name.find_first_of("*?[\\") != name.npos; }

}  // namespace

Outcome<std::vector<std::string_view>> SplitPath(std::string_view path) {
  if (path.empty() || path[0] != '/' || path.size() > kPathMax || path.find('\0') != path.npos)
    return Explain(Err::kInvalid, "\"{}\" is no absolute path of at most {} bytes",
                   path.substr(0, 100), kPathMax);
  std::vector<std::string_view> names;
  while (!path.empty()) {
    path.remove_prefix(std::min(path.find_first_not_of('/'), path.size()));
    const std::string_view name = path.substr(0, path.find('/'));
    path.remove_prefix(name.size());
    if (name.empty()) continue;
    if (Status good = CheckName(name); !good)
      return Explain(good.error(), "\"{}\" cannot be on a path here", name.substr(0, 100));
    names.push_back(name);
  }
  return names;
}

Outcome<Found> FindPath(const cow::ReadView& view, const HashKeys& keys, std::string_view path) {
  PRISM_ASSIGN(const std::vector<std::string_view> names, SplitPath(path));
  Found found;
  for (const std::string_view name : names) {
    if (found.type != FileType::kDirectory) return Wrong(Err::kNotDirectory, path, name);
    const auto entry = FindEntry(view, keys, found.ino, name);
    if (!entry) return Wrong(entry.error(), path, name);
    found = {entry->ino, entry->type};
  }
  const auto record = LoadInode(view, found.ino);
  if (!record) return Wrong(record.error(), path, path);
  return found;
}

// New, in `dir`, which the caller stores; as `like` is, if there is one.
Result<InodeId> Composer::MakeDirectory(cow::WriteTransaction& transaction, InodeRecord& dir,
                                        uint64_t cookie, std::string_view name,
                                        const InodeRecord* like) {
  const Timespec now = Now();
  InodeRecord made;
  made.attr.mode = like != nullptr ? like->attr.mode : 0755;
  made.attr.uid = like != nullptr ? like->attr.uid : 0;
  made.attr.gid = like != nullptr ? like->attr.gid : 0;
  made.attr.ino = transaction.AllocateInode();
  made.attr.type = FileType::kDirectory;
  made.attr.nlink = 2;
  made.attr.atime = made.attr.mtime = made.attr.ctime = made.attr.btime = now;
  made.attr.change = 1;
  if (like != nullptr) {
    std::vector<std::string> names;
    PRISM_TRY(
        ListXattrs(transaction, *like, [&](std::string_view xattr) { names.emplace_back(xattr); }));
    for (const std::string& xattr : names) {
      PRISM_ASSIGN(const auto value, LoadXattr(transaction, keys_, *like, xattr));
      if (value) PRISM_TRY(PutXattr(transaction, keys_, made, xattr, *value));
    }
  }
  StoreInode(transaction, made);
  transaction.AddUsage(1, 0);
  PutEntry(transaction, dir.attr.ino, cookie, made.attr.ino, FileType::kDirectory, name);
  PRISM_TRY(AddParent(transaction, made.attr.ino, FileType::kDirectory, dir.attr.ino, cookie));
  TouchDirectory(dir.attr, now, 1, 1);
  return made.attr.ino;
}

// The directory of a path's last name; what is missing above it is made.
Outcome<Composer::Place> Composer::FindPlace(cow::WriteTransaction& transaction,
                                             std::string_view path) {
  PRISM_ASSIGN(const std::vector<std::string_view> names, SplitPath(path));
  if (names.empty())
    return Explain(Err::kInvalid, "\"/\" cannot be replaced or emptied: choose another base");
  InodeId dir = kRootInode;
  for (size_t i = 0;; ++i) {
    auto record = LoadInode(transaction, dir);
    if (!record) return Wrong(record.error(), path, names[i]);
    auto probe = ProbeEntry(transaction, keys_, dir, names[i]);
    if (!probe) return Wrong(probe.error(), path, names[i]);
    if (!probe->found && probe->free_cookie == 0) return Wrong(Err::kNoSpace, path, names[i]);
    if (i + 1 == names.size()) return Place{*record, names[i], *probe};
    if (probe->found) {
      if (probe->found->type != FileType::kDirectory)
        return Wrong(Err::kNotDirectory, path, names[i]);
      dir = probe->found->ino;
      continue;
    }
    const auto made = MakeDirectory(transaction, *record, probe->free_cookie, names[i], nullptr);
    if (!made) return Wrong(made.error(), path, names[i]);
    StoreInode(transaction, *record);
    dir = *made;
  }
}

// The caller stores `dir`, and puts another entry there if it wants to.
Status Composer::CutOff(cow::WriteTransaction& transaction, InodeRecord& dir,
                        const FoundEntry& entry) {
  PRISM_ASSIGN(InodeRecord record, LoadInode(transaction, entry.ino));
  const bool directory = record.attr.type == FileType::kDirectory;
  EraseEntry(transaction, dir.attr.ino, entry.cookie);
  PRISM_TRY(RemoveParent(transaction, entry.ino, record.attr.type, dir.attr.ino, entry.cookie));
  const Timespec now = Now();
  TouchDirectory(dir.attr, now, -1, directory ? -1 : 0);
  const bool last = directory || record.attr.nlink == 1;
  if (directory && record.attr.size > 0) {
    partial_ = true;
  } else if (!last || map_.tree().Find(entry.ino) == nullptr) {  // a part has it for good
    if (last) record.flags |= kDying;                            // nobody has ever held it here
    DropLink(transaction, record, now);
  }
  map_.ForgetInside();
  return {};
}

Outcome<void> Composer::Graft(const Found& what, std::string_view target) {
  auto transaction = map_.WriteAnything();
  PRISM_ASSIGN(Place place, FindPlace(*transaction, target));
  auto link = [&]() -> Status {
    uint64_t cookie = place.probe.free_cookie;
    if (place.probe.found) {
      cookie = place.probe.found->cookie;
      PRISM_TRY(CutOff(*transaction, place.dir, *place.probe.found));
    }
    const InodeId dir = place.dir.attr.ino;
    PutEntry(*transaction, dir, cookie, what.ino, what.type, place.name);
    PRISM_TRY(AddParent(*transaction, what.ino, what.type, dir, cookie));
    TouchDirectory(place.dir.attr, Now(), 1, what.type == FileType::kDirectory ? 1 : 0);
    StoreInode(*transaction, place.dir);
    PRISM_TRY(transaction->Commit());
    return {};
  };
  if (const Status linked = link(); !linked) return Wrong(linked.error(), target, place.name);
  return {};
}

// The directory's own attributes stay.
Result<InodeId> Composer::Replace(cow::WriteTransaction& transaction, InodeRecord& dir,
                                  const FoundEntry& entry, std::string_view name) {
  PRISM_ASSIGN(const InodeRecord old, LoadInode(transaction, entry.ino));
  PRISM_TRY(CutOff(transaction, dir, entry));
  return MakeDirectory(transaction, dir, entry.cookie, name, &old);
}

Outcome<void> Composer::Empty(std::string_view path, bool is_volatile) {
  auto transaction = map_.WriteAnything();
  PRISM_ASSIGN(Place place, FindPlace(*transaction, path));
  const auto& found = place.probe.found;
  if (found && found->type != FileType::kDirectory)
    return Wrong(Err::kNotDirectory, path, place.name);
  auto empty = [&]() -> Status {
    InodeId made = 0;
    if (found) {
      PRISM_ASSIGN(made, Replace(*transaction, place.dir, *found, place.name));
    } else {
      PRISM_ASSIGN(made, MakeDirectory(*transaction, place.dir, place.probe.free_cookie, place.name,
                                       nullptr));
    }
    StoreInode(*transaction, place.dir);
    if (is_volatile) {
      std::string value;
      ByteWriter(value).Put(volume_);
      transaction->Put(MakeKey(ItemType::kVolatile, made), std::move(value));
      partial_ = true;  // will be cut off in clones
    }
    PRISM_TRY(transaction->Commit());
    return {};
  };
  if (const Status emptied = empty(); !emptied) return Wrong(emptied.error(), path, place.name);
  return {};
}

Outcome<void> Composer::FindMatches(const cow::ReadView& view, InodeId dir,
                                    std::span<const std::string_view> names,
                                    std::vector<Match>& matches) {
  std::vector<std::pair<FoundEntry, std::string>> here;
  const std::string pattern(names.front());
  if (!HasWildcard(pattern)) {
    const auto entry = FindEntry(view, keys_, dir, pattern);
    if (!entry && entry.error() == Err::kNoEntry) return {};
    if (!entry) return Wrong(entry.error(), pattern, pattern);
    here.emplace_back(*entry, pattern);
  } else {
    bool damaged = false;
    const Status scanned = view.Scan(
        MakeKey(ItemType::kDirEntry, dir), cow::EndKey(ItemType::kDirEntry, dir),
        [&](cow::Key key, std::string_view value) {
          const auto entry = DecodeEntry(value);
          damaged = !entry;
          if (damaged) return false;
          std::string name(entry->name);
          if (fnmatch(pattern.c_str(), name.c_str(), 0) == 0)
            here.emplace_back(FoundEntry{key.lo, entry->ino, entry->type}, std::move(name));
          return here.size() + matches.size() <= kMatchesMax;
        });
    if (damaged || !scanned)
      return Wrong(damaged ? Err::kCorrupt : scanned.error(), pattern, pattern);
  }
  for (auto& [entry, name] : here) {
    if (names.size() > 1) {
      if (entry.type == FileType::kDirectory)
        PRISM_TRY(FindMatches(view, entry.ino, names.subspan(1), matches));
    } else {
      matches.push_back({dir, std::move(name)});
    }
    if (matches.size() > kMatchesMax)
      return Explain(Err::kTooBig, "more than {} files match", kMatchesMax);
  }
  return {};
}

Outcome<void> Composer::Exclude(std::string_view pattern) {
  PRISM_ASSIGN(const std::vector<std::string_view> names, SplitPath(pattern));
  if (names.empty()) return Explain(Err::kInvalid, "\"/\" cannot be excluded: choose another base");
  if (std::find(names.begin(), names.end(), "**") != names.end())
    return Explain(Err::kInvalid, "\"{}\": \"**\" would have to list everything", pattern);
  std::vector<Match> matches;
  {
    auto view = map_.Read();
    PRISM_TRY(FindMatches(*view, kRootInode, names, matches));
  }
  for (size_t at = 0; at < matches.size();) {
    auto transaction = map_.WriteAnything();
    for (size_t some = 0; some < kCutAtOnce && at < matches.size(); ++some, ++at) {
      const Match& match = matches[at];
      auto cut = [&]() -> Status {
        PRISM_ASSIGN(InodeRecord dir, LoadInode(*transaction, match.dir));
        PRISM_ASSIGN(const FoundEntry entry, FindEntry(*transaction, keys_, match.dir, match.name));
        PRISM_TRY(CutOff(*transaction, dir, entry));
        StoreInode(*transaction, dir);
        return {};
      };
      if (const Status done = cut(); !done) return Wrong(done.error(), pattern, match.name);
    }
    if (const auto done = transaction->Commit(); !done)
      return Wrong(done.error(), pattern, pattern);
  }
  return {};
}

Status Composer::HideOrphans() {
  std::vector<InodeId> orphans;
  {
    auto view = map_.Read();
    PRISM_TRY(view->Scan(MakeKey(ItemType::kOrphan, 0), cow::EndKey(ItemType::kOrphan, kInodeMax),
                         [&](cow::Key key, std::string_view) {
                           orphans.push_back(key.ino());
                           return true;
                         }));
  }
  for (size_t at = 0; at < orphans.size();) {
    auto transaction = map_.WriteAnything();
    for (size_t some = 0; some < kCutAtOnce && at < orphans.size(); ++some, ++at) {
      auto record = LoadInodeEvenDying(*transaction, orphans[at]);
      if (!record && record.error() != Err::kStale) return Fail(record.error());
      if (!record || record->attr.nlink > 0) continue;
      record->flags |= kDying;
      StoreInode(*transaction, *record);
    }
    PRISM_TRY(transaction->Commit());
  }
  return {};
}

Status Composer::EmptyVolatile(bool all, FunctionRef<void()> before_losing) {
  std::vector<InodeId> stale;
  bool loses = false;
  {
    auto view = map_.Read();
    PRISM_TRY(view->Scan(MakeKey(ItemType::kVolatile, 0),
                         cow::EndKey(ItemType::kVolatile, clone::kNumberMax),
                         [&](cow::Key key, std::string_view value) {
                           if (all || ByteReader(value).Get<VolumeId>() != volume_)
                             stale.push_back(key.ino());
                           return true;
                         }));
    for (const InodeId ino : stale) {
      const auto old = LoadInode(*view, ino);
      loses = loses || (old && old->attr.nlink > 0 && old->attr.size > 0);
    }
  }
  if (stale.empty()) return {};
  if (loses) before_losing();
  auto transaction = map_.WriteAnything();
  for (const InodeId ino : stale) {
    transaction->Erase(MakeKey(ItemType::kVolatile, ino));
    const auto old = LoadInode(*transaction, ino);
    if (!old && old.error() != Err::kStale) return Fail(old.error());
    if (!old || old->attr.nlink == 0) continue;  // removed since
    // The volume's totals may have been counted already. What is empty is freed as any directory.
    if (old->attr.size > 0) {
      PRISM_ASSIGN(const cow::VolumeUsage gone, CountBelow(*transaction, ino));
      transaction->AddUsage(-static_cast<int64_t>(gone.inodes), -static_cast<int64_t>(gone.bytes));
    }
    PRISM_ASSIGN(const ParentName at, NameOfDirectory(*transaction, ino));
    PRISM_ASSIGN(InodeRecord dir, LoadInode(*transaction, at.dir));
    PRISM_ASSIGN(const InodeId made,
                 Replace(*transaction, dir, {at.cookie, ino, FileType::kDirectory}, at.name));
    StoreInode(*transaction, dir);
    std::string value;
    ByteWriter(value).Put(volume_);
    transaction->Put(MakeKey(ItemType::kVolatile, made), std::move(value));
  }
  PRISM_TRY(transaction->Commit());
  map_.ForgetInside();
  return {};
}

}  // namespace prism::fs
