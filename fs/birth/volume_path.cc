#include "fs/birth/volume_path.h"

#include <fnmatch.h>

#include <algorithm>

namespace prism::birth {
namespace {

constexpr size_t kPartsMax = 1 << 16;  // of a path, with those of the symlinks on its way
constexpr size_t kBatch = 512;

void Split(std::string_view path, std::vector<std::string>& parts) {
  while (!path.empty()) {
    const std::string_view part = path.substr(0, path.find('/'));
    path.remove_prefix(std::min(path.size(), part.size() + 1));
    if (!part.empty() && part != ".") parts.emplace_back(part);
  }
}

struct Entry {
  std::string name;
  InodeId ino = 0;
  bool is_directory = false;
};

// The entries after `cookie`, which moves on; none: there are no more.
Result<std::vector<Entry>> ListSome(fs::FileSystem& volume, InodeId dir, uint64_t& cookie) {
  std::vector<Entry> entries;
  PRISM_TRY(volume.Readdir(kSystem, dir, cookie, false, [&](const fs::DirEntry& entry) {
    entries.push_back({std::string(entry.name), entry.ino, entry.type == fs::FileType::kDirectory});
    cookie = entry.cookie;
    return entries.size() < kBatch;
  }));
  return entries;
}

Result<Place> WalkFrom(fs::FileSystem& volume, InodeId dir, std::string_view path,
                       bool follow_last) {
  std::vector<std::string> parts;
  Split(path, parts);
  std::reverse(parts.begin(), parts.end());  // the next one is the last
  int links = 0;
  while (!parts.empty()) {
    const std::string part = std::move(parts.back());
    parts.pop_back();
    const bool last = parts.empty();
    Result<fs::EntryResult> found = volume.Lookup(kSystem, dir, part);
    if (!found && found.error() == Err::kNoEntry && last) return Place{dir, part, std::nullopt};
    if (!found) return Fail(found.error());
    if (found->attr.type == fs::FileType::kSymlink && (!last || follow_last)) {
      if (++links > kLinksMax) return Fail(Err::kLoop);
      PRISM_ASSIGN(const std::string target, volume.Readlink(kSystem, found->attr.ino));
      std::vector<std::string> more;
      Split(target, more);
      if (parts.size() + more.size() > kPartsMax) return Fail(Err::kNameTooLong);
      parts.insert(parts.end(), more.rbegin(), more.rend());
      if (target.starts_with('/')) dir = kRootInode;
      continue;
    }
    if (last && part != "..") return Place{dir, part, found->attr};
    if (found->attr.type != fs::FileType::kDirectory) return Fail(Err::kNotDirectory);
    dir = found->attr.ino;
  }
  PRISM_ASSIGN(const fs::Attr attr, volume.Getattr(kSystem, dir));
  return Place{dir, {}, attr};
}

Status MatchIn(fs::FileSystem& volume, InodeId dir, const std::string& pattern,
               std::vector<std::string>& names) {
  for (uint64_t cookie = 0;;) {
    PRISM_ASSIGN(const std::vector<Entry> entries, ListSome(volume, dir, cookie));
    if (entries.empty()) return {};
    for (const Entry& entry : entries)
      if (::fnmatch(pattern.c_str(), entry.name.c_str(), FNM_PERIOD) == 0)
        names.push_back(entry.name);
    if (names.size() > kMatchesMax) return Fail(Err::kTooBig);
  }
}

}  // namespace

bool IsAbsence(Err err) {
  return err == Err::kNoEntry || err == Err::kNotDirectory || err == Err::kLoop ||
         err == Err::kNameTooLong;
}

bool IsPattern(std::string_view text) { return text.find_first_of("*?[") != text.npos; }

Result<Place> Walk(fs::FileSystem& volume, std::string_view path, bool follow_last) {
  return WalkFrom(volume, kRootInode, path, follow_last);
}

Result<std::vector<Place>> Expand(fs::FileSystem& volume, std::string_view pattern,
                                  bool follow_last) {
  if (!IsPattern(pattern)) {
    PRISM_ASSIGN(Place place, Walk(volume, pattern, follow_last));
    return std::vector<Place>{std::move(place)};
  }
  std::vector<std::string> parts;
  Split(pattern, parts);
  std::vector<Place> places;
  std::vector<InodeId> dirs{kRootInode};
  for (size_t i = 0; i < parts.size(); ++i) {
    const bool last = i + 1 == parts.size();
    std::vector<InodeId> next;
    for (const InodeId dir : dirs) {
      std::vector<std::string> names{parts[i]};
      if (IsPattern(parts[i])) {
        names.clear();
        PRISM_TRY(MatchIn(volume, dir, parts[i], names));
      }
      for (const std::string& name : names) {
        Result<Place> place = WalkFrom(volume, dir, name, !last || follow_last);
        if (!place && IsAbsence(place.error())) continue;  // as for a shell
        if (!place) return Fail(place.error());
        if (!place->attr) continue;
        if (last)
          places.push_back(std::move(*place));
        else if (place->attr->type == fs::FileType::kDirectory)
          next.push_back(place->attr->ino);
      }
      if (next.size() + places.size() > kMatchesMax) return Fail(Err::kTooBig);
    }
    dirs = std::move(next);
  }
  return places;
}

Status RemoveAll(fs::FileSystem& volume, const Place& place) {
  if (!place.attr) return {};
  if (place.name.empty()) return Fail(Err::kBusy);  // the root, or a path that ends in ".."
  if (place.attr->type != fs::FileType::kDirectory) {
    PRISM_TRY(volume.Unlink(kSystem, place.dir, place.name));
    return {};
  }
  struct Level {
    InodeId parent;
    std::string name;
    InodeId ino;
  };
  // A directory is looked at again when those below it are gone, until it is empty.
  std::vector<Level> levels{{place.dir, place.name, place.attr->ino}};
  while (!levels.empty()) {
    const Level top = levels.back();
    uint64_t cookie = 0;
    PRISM_ASSIGN(const std::vector<Entry> entries, ListSome(volume, top.ino, cookie));
    if (entries.empty()) {
      PRISM_TRY(volume.Rmdir(kSystem, top.parent, top.name));
      levels.pop_back();
    }
    for (const Entry& entry : entries) {
      if (entry.is_directory)
        levels.push_back({top.ino, entry.name, entry.ino});
      else
        PRISM_TRY(volume.Unlink(kSystem, top.ino, entry.name));
    }
  }
  return {};
}

Status PutFile(fs::FileSystem& volume, const Place& place, std::string_view content,
               uint32_t mode) {
  if (!place.attr) {
    fs::CreateArgs args;
    args.parent = place.dir;
    args.name = place.name;
    args.mode = mode;
    args.initial.mode = mode;
    args.initial.uid = args.initial.gid = 0;
    args.data = std::as_bytes(std::span(content));
    PRISM_TRY(volume.Create(kSystem, args));
    return {};
  }
  if (place.attr->type == fs::FileType::kDirectory) return Fail(Err::kIsDirectory);
  if (place.attr->type != fs::FileType::kRegular) return Fail(Err::kInvalid);
  fs::SetAttr empty;
  empty.size = 0;
  PRISM_TRY(volume.Setattr(kSystem, place.attr->ino, empty));
  if (content.empty()) return {};
  fs::WriteArgs write;
  write.ino = place.attr->ino;
  write.data = std::as_bytes(std::span(content));
  PRISM_TRY(volume.Write(kSystem, write));
  return {};
}

}  // namespace prism::birth
