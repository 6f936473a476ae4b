// Volumes out of parts of others, in the plainest way: each part is copied.
#include <fnmatch.h>

#include <algorithm>
#include <deque>

#include "clone/composition.h"
#include "fs/contract/limits.h"
#include "tests/model/model_host.h"
#include "tests/model/node.h"

namespace prism::model {
namespace {

constexpr size_t kPathMax = 4096;

using Path = std::vector<std::string>;
using Rule = fs::ComposeRule;

Outcome<Path> PathOf(std::string_view text) {
  if (text.empty() || text[0] != '/' || text.size() > kPathMax)
    return Explain(Err::kInvalid, "'{}' is no path", text);
  Path path;
  for (size_t at = 1, end = 0; at <= text.size(); at = end + 1) {
    end = std::min(text.find('/', at), text.size());
    if (end == at) continue;
    path.emplace_back(text.substr(at, end - at));
    if (Status good = fs::CheckName(path.back()); !good)
      return Explain(good.error(), "'{}' is no name", path.back());
  }
  return path;
}

Node* ChildOf(Volume& volume, const Node& dir, const std::string& name) {
  auto found = dir.entries.find(name);
  return found == dir.entries.end() ? nullptr : &volume.nodes.at(found->second.ino);
}

Outcome<Node*> Walk(Volume& volume, const Path& path) {
  Node* node = &volume.nodes.at(kRootInode);
  for (const std::string& name : path) {
    if (!node->is_directory()) return Explain(Err::kNotDirectory, "before '{}'", name);
    node = ChildOf(volume, *node, name);
    if (node == nullptr) return Explain(Err::kNoEntry, "there is no '{}'", name);
  }
  return node;
}

// A file or directory with all below it, by number, and how many names each has there.
std::map<InodeId, uint32_t> Below(Volume& volume, const Node& top) {
  std::map<InodeId, uint32_t> names{{top.ino, 1}};
  std::deque<const Node*> left{&top};
  while (!left.empty()) {
    for (const auto& [name, slot] : left.front()->entries) {
      const Node& node = volume.nodes.at(slot.ino);
      ++names[node.ino];
      if (node.is_directory()) left.push_back(&node);
    }
    left.pop_front();
  }
  return names;
}

void AddName(Node& dir, const std::string& name, Node& node) {
  const uint64_t cookie = ++dir.last_cookie;
  dir.entries[name] = {cookie, node.ino};
  dir.names_by_cookie[cookie] = name;
  if (node.is_directory()) {
    node.parent = dir.ino;
    ++dir.nlink;
  }
  TouchData(dir);
}

// With all below it, whose other names stay.
void CutOff(Volume& volume, Node& dir, const std::string& name) {
  Node& top = *ChildOf(volume, dir, name);
  const std::map<InodeId, uint32_t> gone = Below(volume, top);
  dir.names_by_cookie.erase(dir.entries.at(name).cookie);
  dir.entries.erase(name);
  if (top.is_directory()) --dir.nlink;
  TouchData(dir);
  for (const auto& [ino, names] : gone) {
    Node& node = volume.nodes.at(ino);
    if (node.is_directory() || node.nlink == names)
      volume.nodes.erase(ino);
    else
      node.nlink -= names;
  }
}

Node& MakeDirectory(World& world, Volume& volume, Node& dir, const std::string& name,
                    const Node* like) {
  Node made;
  made.ino = ++world.last_ino;
  made.type = fs::FileType::kDirectory;
  made.mode = 0755;
  if (like != nullptr) {
    made.mode = like->mode;
    made.uid = like->uid;
    made.gid = like->gid;
    made.xattrs = like->xattrs;
    made.access_acl = like->access_acl;
    made.default_acl = like->default_acl;
  }
  made.nlink = 2;
  made.atime = made.mtime = made.ctime = made.btime = Now();
  Node& node = volume.nodes[made.ino] = made;
  AddName(dir, name, node);
  return node;
}

Node& Replace(World& world, Volume& volume, Node& dir, const std::string& name) {
  const Node old = *ChildOf(volume, dir, name);
  CutOff(volume, dir, name);
  return MakeDirectory(world, volume, dir, name, &old);
}

// The directory of a path's last name; what is missing above it is made.
Outcome<Node*> PlaceOf(World& world, Volume& volume, const Path& path) {
  if (path.empty()) return Explain(Err::kInvalid, "the root stays");
  Node* dir = &volume.nodes.at(kRootInode);
  for (size_t i = 0; i + 1 < path.size(); ++i) {
    Node* next = ChildOf(volume, *dir, path[i]);
    if (next == nullptr) next = &MakeDirectory(world, volume, *dir, path[i], nullptr);
    if (!next->is_directory()) return Explain(Err::kNotDirectory, "'{}'", path[i]);
    dir = next;
  }
  return dir;
}

Outcome<void> Graft(World& world, Volume& volume, Volume& part, const Rule& rule) {
  PRISM_ASSIGN(const Path from, PathOf(rule.from));
  PRISM_ASSIGN(const Path path, PathOf(rule.path));
  PRISM_ASSIGN(const Node* top, Walk(part, from));
  PRISM_ASSIGN(Node * dir, PlaceOf(world, volume, path));
  if (ChildOf(volume, *dir, path.back()) != nullptr) CutOff(volume, *dir, path.back());
  const std::map<InodeId, uint32_t> names = Below(part, *top);
  std::map<InodeId, InodeId> number;
  for (const auto& [ino, count] : names) number[ino] = ++world.last_ino;
  for (const auto& [ino, count] : names) {
    Node node = part.nodes.at(ino);
    node.ino = number.at(ino);
    if (!node.is_directory()) node.nlink = count;
    if (ino != top->ino && node.is_directory()) node.parent = number.at(node.parent);
    for (auto& [name, slot] : node.entries) slot.ino = number.at(slot.ino);
    node.read_only = rule.read_only;
    volume.nodes[node.ino] = std::move(node);
  }
  AddName(*dir, path.back(), volume.nodes.at(number.at(top->ino)));
  return {};
}

void FindMatches(Volume& volume, Node& dir, const Path& pattern, size_t at,
                 std::vector<std::pair<InodeId, std::string>>& matches) {
  for (const auto& [name, slot] : dir.entries) {
    if (fnmatch(pattern[at].c_str(), name.c_str(), 0) != 0) continue;
    Node& node = volume.nodes.at(slot.ino);
    if (at + 1 == pattern.size())
      matches.emplace_back(dir.ino, name);
    else if (node.is_directory())
      FindMatches(volume, node, pattern, at + 1, matches);
  }
}

Outcome<void> Exclude(Volume& volume, const Rule& rule) {
  PRISM_ASSIGN(const Path pattern, PathOf(rule.path));
  if (pattern.empty()) return Explain(Err::kInvalid, "the root stays");
  if (std::find(pattern.begin(), pattern.end(), "**") != pattern.end())
    return Explain(Err::kInvalid, "'**' is refused");
  std::vector<std::pair<InodeId, std::string>> matches;
  FindMatches(volume, volume.nodes.at(kRootInode), pattern, 0, matches);
  for (const auto& [dir, name] : matches) CutOff(volume, volume.nodes.at(dir), name);
  return {};
}

Outcome<void> Empty(World& world, Volume& volume, const Rule& rule) {
  PRISM_ASSIGN(const Path path, PathOf(rule.path));
  PRISM_ASSIGN(Node * dir, PlaceOf(world, volume, path));
  const Node* there = ChildOf(volume, *dir, path.back());
  if (there != nullptr && !there->is_directory())
    return Explain(Err::kNotDirectory, "'{}'", path.back());
  const Node& made = there != nullptr ? Replace(world, volume, *dir, path.back())
                                      : MakeDirectory(world, volume, *dir, path.back(), nullptr);
  if (rule.kind == Rule::Kind::kVolatile) volume.volatiles.insert(made.ino);
  return {};
}

}  // namespace

void EmptyVolatiles(World& world, Volume& volume) {
  const std::set<InodeId> all = std::move(volume.volatiles);
  volume.volatiles.clear();
  for (InodeId ino : all) {
    auto found = volume.nodes.find(ino);
    if (found == volume.nodes.end() || found->second.nlink == 0) continue;
    Node& dir = volume.nodes.at(found->second.parent);
    for (const auto& [name, slot] : std::map(dir.entries)) {
      if (slot.ino != ino) continue;
      volume.volatiles.insert(Replace(world, volume, dir, name).ino);
      break;
    }
  }
}

Outcome<void> ModelHost::CheckRules(const fs::ComposeOptions& options) const {
  if (options.base.empty() && options.rules.empty())
    return Explain(Err::kInvalid, "nothing to compose of");
  for (const Rule& rule : options.rules) {
    PRISM_TRY(PathOf(rule.path));
    if (rule.kind == Rule::Kind::kGraft) PRISM_TRY(PathOf(rule.from));
  }
  if (!options.base.empty()) PRISM_TRY(Find(options.base));
  for (const Rule& rule : options.rules)
    if (rule.kind == Rule::Kind::kGraft) PRISM_TRY(Find(rule.source));
  return {};
}

// How many parts, and how deep within each other, the store can have.
Outcome<void> ModelHost::CountParts(Volume& volume, const fs::ComposeOptions& options) const {
  for (const Rule& rule : options.rules) {
    if (rule.kind != Rule::Kind::kGraft) continue;
    const auto source = *Find(rule.source);
    volume.depth = std::max(volume.depth, source->depth + 1);
    if (source->prefixes > clone::kPrefixesMax - volume.prefixes ||
        volume.depth > clone::kComposeDepthMax)
      return Explain(Err::kTooBig, "too many parts");
    volume.prefixes += source->prefixes;
  }
  return {};
}

Outcome<fs::VolumeInfo> ModelHost::Compose(std::string_view name, const fs::ComposeOptions& options,
                                           std::string_view) {
  std::lock_guard lock(world_->mutex);
  PRISM_TRY(CheckRules(options));
  PRISM_TRY(CheckNew(name));
  auto volume = std::make_shared<Volume>();
  MakeRoot(*volume);
  std::map<std::string, Volume> cut;  // of each source, without what a clone of it would lack
  auto take = [&](const std::string& source) -> Volume& {
    Volume& one = cut.try_emplace(source, **Find(source)).first->second;
    std::erase_if(one.nodes, [](const auto& item) { return item.second.nlink == 0; });
    EmptyVolatiles(*world_, one);
    return one;
  };
  if (!options.base.empty()) *volume = take(options.base);
  PRISM_TRY(CountParts(*volume, options));
  for (const Rule& rule : options.rules) {
    switch (rule.kind) {
      case Rule::Kind::kGraft:
        PRISM_TRY(Graft(*world_, *volume, take(rule.source), rule));
        break;
      case Rule::Kind::kExclude:
        PRISM_TRY(Exclude(*volume, rule));
        break;
      default:
        PRISM_TRY(Empty(*world_, *volume, rule));
    }
  }
  auto made = Copy(*volume, name);
  made->composed = true;
  made->parent = options.base;
  return Info(*made);
}

}  // namespace prism::model
