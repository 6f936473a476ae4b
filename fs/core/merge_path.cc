#include "fs/core/merge_path.h"

#include <algorithm>
#include <set>

#include "fs/core/directory.h"

namespace prism::fs {
namespace {

using cow::EndKey;
using cow::ItemType;
using cow::MakeKey;

struct Child {
  std::string name;
  InodeId ino = 0;
};

Result<std::vector<Child>> ChildrenOf(const cow::ReadView& view, InodeId dir) {
  std::vector<Child> children;
  Status decoded;
  PRISM_TRY(view.Scan(MakeKey(ItemType::kDirEntry, dir), EndKey(ItemType::kDirEntry, dir),
                      [&](cow::Key, std::string_view value) {
                        auto entry = DecodeEntry(value);
                        if (!entry) {
                          decoded = Fail(entry.error());
                          return false;
                        }
                        children.push_back({std::string(entry->name), entry->ino});
                        return true;
                      }));
  PRISM_TRY(decoded);
  return children;
}

Outcome<std::vector<std::string>> SplitPath(std::string_view path) {
  std::vector<std::string> names;
  if (path.empty() || path.front() != '/')
    return Explain(Err::kInvalid, "a path begins with '/', the volume's root");
  while (!path.empty()) {
    path.remove_prefix(std::min(path.size(), path.find_first_not_of('/')));
    const std::string name(path.substr(0, path.find('/')));
    path.remove_prefix(name.size());
    if (name == "." || name == "..")
      return Explain(Err::kInvalid, "a path from the volume's root has no \".\" and \"..\"");
    if (!name.empty()) names.push_back(name);
  }
  if (names.empty())
    return Explain(Err::kInvalid, "that is the whole volume: roll back without a path");
  return names;
}

}  // namespace

Outcome<void> PathChooser::Choose(std::string_view path) {
  PRISM_TRY(FindTops(path));
  if (Status chosen = ChooseAll(); !chosen)
    return Explain(chosen.error(), "comparing failed ({}): see the server's log",
                   NameOf(chosen.error()));
  return {};
}

Outcome<void> PathChooser::FindTops(std::string_view path) {
  PRISM_ASSIGN(std::vector<std::string> names, SplitPath(path));
  name_ = std::move(names.back());
  names.pop_back();
  for (Side side : {kMine, kTheirs}) {
    const char* where = side == kMine ? "the snapshot" : "the volume";
    parents_[side] = kRootInode;
    for (const std::string& name : names) {
      auto found = FindEntry(sides_.view(side), key_, parents_[side], name);
      if (!found || found->type != FileType::kDirectory)
        return Explain(Err::kNoEntry, "{} has no directory \"{}\" on the way to \"{}\"", where,
                       name, path);
      parents_[side] = found->ino;
    }
    auto found = FindEntry(sides_.view(side), key_, parents_[side], name_);
    if (found) tops_[side] = found->ino;
    if (!found && (side == kMine || found.error() != Err::kNoEntry))
      return Explain(found.error(), "{} has no \"{}\"", where, path);
  }
  return {};
}

// The tops themselves are inside.
Result<bool> PathChooser::IsInside(Side side, InodeId dir) {
  auto [found, is_new] = inside_[side].try_emplace(dir, false);
  if (!is_new) return found->second;
  PRISM_ASSIGN(const InodeRecord* record, sides_.Record(side, dir));
  if (tops_[side] == 0 || record == nullptr || record->attr.type != FileType::kDirectory)
    return false;
  PRISM_ASSIGN(const bool inside, IsWithin(sides_.view(side), dir, tops_[side]));
  return inside_[side][dir] = inside;
}

Result<bool> PathChooser::IsInside(Side side, const ParentName& name) {
  if (name.dir == parents_[side] && name.name == name_) return true;
  return IsInside(side, name.dir);
}

Status PathChooser::ChooseAll() {
  Set({parents_[kTheirs], name_}, tops_[kMine], tops_[kTheirs]);
  if (tops_[kTheirs] != tops_[kMine]) PRISM_TRY(Leave(tops_[kTheirs]));
  PRISM_TRY(Arrive(tops_[kMine]));
  for (const auto& [place, inodes] : sides_.Names())
    PRISM_TRY(ChooseName(place, inodes[kMine], inodes[kTheirs]));
  std::set<InodeId> files(sides_.touched(kMine).begin(), sides_.touched(kMine).end());
  for (const auto& [place, inodes] : choice_.names) files.insert(inodes[kMine]);
  for (InodeId ino : files) {
    PRISM_ASSIGN(const InodeRecord* record, sides_.Record(kMine, ino));
    if (record == nullptr || choice_.copies.contains(ino)) continue;
    PRISM_TRY(record->attr.type == FileType::kDirectory ? ChooseDirectory(ino) : ChooseFile(ino));
  }
  for (auto& [place, inodes] : choice_.names)
    if (auto copy = choice_.copies.find(inodes[kMine]); copy != choice_.copies.end())
      inodes[kMine] = copy->second;
  return {};
}

// One that differs, somewhere.
Status PathChooser::ChooseName(const PlaceName& place, InodeId mine, InodeId theirs) {
  PRISM_ASSIGN(const bool in_mine, IsInside(kMine, place.first));
  PRISM_ASSIGN(const bool in_theirs, IsInside(kTheirs, place.first));
  if (in_theirs) {
    Set(place, in_mine ? mine : 0, theirs);
    PRISM_TRY(Leave(theirs));
  } else if (in_mine) {
    PRISM_ASSIGN(const InodeRecord* record, sides_.Record(kTheirs, place.first));
    if (record != nullptr) return {};  // it is outside now: Arrive has made a copy
    Set(place, mine, 0);
  }
  return in_mine ? Arrive(mine) : Status();
}

// A directory of theirs that is not in the snapshot's place goes with all that is in it.
Status PathChooser::Leave(InodeId ino) {
  std::vector<InodeId> leaving{ino};
  while (!leaving.empty()) {
    const InodeId dir = leaving.back();
    leaving.pop_back();
    PRISM_ASSIGN(const bool in_theirs, IsInside(kTheirs, dir));  // so it is a directory
    PRISM_ASSIGN(const bool in_mine, IsInside(kMine, dir));
    if (!in_theirs || in_mine || !left_.insert(dir).second) continue;
    PRISM_ASSIGN(const std::vector<Child> children, ChildrenOf(sides_.view(kTheirs), dir));
    for (const Child& child : children) {
      Set({dir, child.name}, 0, child.ino);
      leaving.push_back(child.ino);
    }
  }
  return {};
}

// A directory of the snapshot that is now outside comes back as another one.
Status PathChooser::Arrive(InodeId ino) {
  std::vector<InodeId> arriving{ino};
  while (!arriving.empty()) {
    const InodeId dir = arriving.back();
    arriving.pop_back();
    PRISM_ASSIGN(const bool in_mine, IsInside(kMine, dir));
    PRISM_ASSIGN(const bool in_theirs, IsInside(kTheirs, dir));
    PRISM_ASSIGN(const InodeRecord* record, sides_.Record(kTheirs, dir));
    if (!in_mine || in_theirs || record == nullptr) continue;
    if (!choice_.copies.try_emplace(dir, next_).second) continue;
    const InodeId copy = next_++;
    PRISM_ASSIGN(const std::vector<Child> children, ChildrenOf(sides_.view(kMine), dir));
    for (const Child& child : children) {
      Set({copy, child.name}, child.ino, 0);
      arriving.push_back(child.ino);
    }
  }
  return {};
}

Status PathChooser::ChooseDirectory(InodeId ino) {
  PRISM_ASSIGN(const bool in_mine, IsInside(kMine, ino));
  PRISM_ASSIGN(const bool in_theirs, IsInside(kTheirs, ino));
  PRISM_ASSIGN(const InodeRecord* record, sides_.Record(kTheirs, ino));
  if (in_mine && (in_theirs || record == nullptr)) choice_.restored.insert(ino);
  return {};
}

Status PathChooser::ChooseFile(InodeId ino) {
  PRISM_ASSIGN(std::vector<ParentName> names, NamesOf(sides_.view(kMine), ino));
  const size_t all = names.size();
  Status failed;
  std::erase_if(names, [&](const ParentName& name) {
    auto inside = IsInside(kMine, name);
    if (!inside) failed = Fail(inside.error());
    return !inside || !*inside;
  });
  PRISM_TRY(failed);
  if (names.empty()) return {};
  PRISM_ASSIGN(const InodeRecord* record, sides_.Record(kTheirs, ino));
  bool outside = false;
  if (record != nullptr) {
    PRISM_ASSIGN(const std::vector<ParentName> present, NamesOf(sides_.view(kTheirs), ino));
    for (const ParentName& name : present) {
      PRISM_ASSIGN(const bool inside, IsInside(kTheirs, name));
      outside = outside || !inside;
    }
  }
  if (!outside) {
    choice_.restored.insert(ino);
    return {};
  }
  // One file by intention, inside and outside, stays that.
  PRISM_ASSIGN(const FileDelta delta, sides_.Compare(kMine, ino, kTheirs, ino));
  return delta.any() || names.size() == all ? Split(ino, names) : Status();
}

// Its names here get a file of their own.
Status PathChooser::Split(InodeId ino, const std::vector<ParentName>& names) {
  choice_.copies.emplace(ino, next_++);
  for (const ParentName& name : names) {
    PlaceName place{name.dir, name.name};
    if (name.dir == parents_[kMine] && name.name == name_) {
      place.first = parents_[kTheirs];
    } else if (auto copy = choice_.copies.find(name.dir); copy != choice_.copies.end()) {
      place.first = copy->second;
    }
    if (!choice_.names.contains(place)) Set(place, ino, ino);
  }
  return {};
}

}  // namespace prism::fs
