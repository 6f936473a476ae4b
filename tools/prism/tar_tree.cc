#include "tools/prism/tar_tree.h"

#include "tools/prism/format.h"
#include "tools/prism/transfer.h"

namespace prism::tool {
namespace {

constexpr size_t kPathBytesMax = 1 << 16;
constexpr size_t kRememberedMax = 1 << 18;  // directories; beyond, they are looked up again

std::string KeyOf(InodeId dir, std::string_view name) {
  std::string key(reinterpret_cast<const char*>(&dir), sizeof dir);
  key += name;
  return key;
}

}  // namespace

Outcome<std::vector<std::string_view>> TarTree::Split(std::string_view path) {
  if (path.size() > kPathBytesMax)
    return Explain(Err::kNameTooLong, "the path has {} bytes, more than {}", path.size(),
                   kPathBytesMax);
  std::vector<std::string_view> parts;
  while (!path.empty()) {
    const std::string_view part = path.substr(0, path.find('/'));
    path.remove_prefix(std::min(path.size(), part.size() + 1));
    if (part.empty() || part == ".") continue;
    if (part == "..")
      return Explain(Err::kInvalid, "the path has '..', which could lead out of the volume");
    if (part.size() > fs::kNameMax)
      return Explain(Err::kNameTooLong, "a name has {} bytes, more than {}", part.size(),
                     fs::kNameMax);
    parts.push_back(part);
  }
  return parts;
}

Outcome<InodeId> TarTree::Step(InodeId dir, std::string_view name, bool make) {
  auto known = directories_.find(KeyOf(dir, name));
  if (known != directories_.end()) return known->second;
  Result<fs::EntryResult> found = target_.Lookup(kRootCaller, dir, name);
  if (!found && found.error() == Err::kNoEntry && make) {
    fs::CreateArgs args;
    args.parent = dir;
    args.name = name;
    args.type = fs::FileType::kDirectory;
    args.mode = 0755;
    args.initial.mode = 0755;
    found = target_.Create(kRootCaller, args);
  }
  if (!found) return ExplainErr(found.error(), fmt::format("cannot enter {}", Printable(name)));
  if (found->attr.type == fs::FileType::kSymlink)
    return Explain(Err::kLoop, "the path goes through {}, a symlink, which is not followed",
                   Printable(name));
  if (found->attr.type != fs::FileType::kDirectory)
    return Explain(Err::kNotDirectory, "the path goes through {}, which is not a directory",
                   Printable(name));
  Remember({dir, std::string(name)}, found->attr.ino);
  return found->attr.ino;
}

Outcome<std::optional<TarTree::Place>> TarTree::Find(std::string_view path) {
  PRISM_ASSIGN(std::vector<std::string_view> parts, Split(path));
  if (parts.empty()) return std::nullopt;
  InodeId dir = kRootInode;
  for (size_t i = 0; i + 1 < parts.size(); ++i) {
    PRISM_ASSIGN(dir, Step(dir, parts[i], true));
  }
  return Place{dir, std::string(parts.back())};
}

Outcome<InodeId> TarTree::FindExisting(std::string_view path) {
  PRISM_ASSIGN(std::vector<std::string_view> parts, Split(path));
  if (parts.empty()) return Explain(Err::kIsDirectory, "a hard link to the root");
  InodeId dir = kRootInode;
  for (size_t i = 0; i + 1 < parts.size(); ++i) {
    PRISM_ASSIGN(dir, Step(dir, parts[i], false));
  }
  Result<fs::EntryResult> found = target_.Lookup(kRootCaller, dir, parts.back());
  if (!found && found.error() == Err::kNoEntry)
    return Explain(Err::kNoEntry, "a hard link to {}, which the archive has not brought",
                   Printable(path));
  if (!found) return ExplainErr(found.error(), fmt::format("cannot find {}", Printable(path)));
  if (found->attr.type == fs::FileType::kDirectory)
    return Explain(Err::kIsDirectory, "a hard link to {}, a directory", Printable(path));
  return found->attr.ino;
}

Outcome<std::optional<InodeId>> TarTree::FindDirectory(const Place& place) {
  auto known = directories_.find(KeyOf(place.dir, place.name));
  if (known != directories_.end()) return known->second;
  Result<fs::EntryResult> found = target_.Lookup(kRootCaller, place.dir, place.name);
  if (!found && found.error() == Err::kNoEntry) return std::nullopt;
  if (!found) return ExplainErr(found.error(), "cannot look it up");
  if (found->attr.type != fs::FileType::kDirectory) return std::nullopt;
  Remember(place, found->attr.ino);
  return found->attr.ino;
}

void TarTree::Remember(const Place& place, InodeId ino) {
  if (directories_.size() >= kRememberedMax) directories_.clear();
  directories_[KeyOf(place.dir, place.name)] = ino;
}

Outcome<InodeId> TarTree::Remove(const Place& place) {
  Result<fs::RemoveResult> removed = target_.Unlink(kRootCaller, place.dir, place.name);
  if (!removed && removed.error() == Err::kIsDirectory) {
    directories_.erase(KeyOf(place.dir, place.name));
    removed = target_.Rmdir(kRootCaller, place.dir, place.name);
  }
  if (!removed && removed.error() == Err::kNotEmpty)
    return Explain(Err::kNotEmpty, "it would replace a directory that has contents");
  if (!removed) return ExplainErr(removed.error(), "cannot replace what has this name");
  // Nobody here uses it any more; orphans need not wait for the end of the import.
  if (removed->removed.nlink == 0) (void)target_.Release(kRootCaller, removed->removed.ino);
  return removed->removed.ino;
}

}  // namespace prism::tool
