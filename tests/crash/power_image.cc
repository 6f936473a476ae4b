#include "tests/crash/power_image.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>

#include "fs/base/check.h"
#include "tests/crash/worker.h"

namespace prism::crash {

bool PowerLogReader::Next() {
  if (log_.size() < sizeof record_) return false;
  std::memcpy(&record_, log_.data(), sizeof record_);
  bool has_data = record_.kind == PowerRecord::Kind::kMark ||
                  (record_.kind == PowerRecord::Kind::kWrite && !(record_.flags & kPowerZeros));
  uint64_t data_bytes = has_data ? record_.length : 0;
  std::string_view rest = log_.substr(sizeof record_);
  if (rest.size() < record_.path_bytes + record_.path2_bytes + data_bytes) return false;
  auto take = [&](uint64_t length) {
    std::string_view part = rest.substr(0, length);
    rest.remove_prefix(length);
    return part;
  };
  path_ = take(record_.path_bytes);
  path2_ = take(record_.path2_bytes);
  data_ = take(data_bytes);
  log_ = rest;
  return true;
}

PowerDisk::PowerDisk() : root_(std::make_shared<Node>()) { root_->directory = true; }

void PowerDisk::LoadSynced(const std::string& directory) { Load(*root_, directory); }

void PowerDisk::Load(Node& node, const std::string& directory) {
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    auto child = std::make_shared<Node>();
    child->directory = entry.is_directory();
    if (child->directory)
      Load(*child, entry.path());
    else
      child->synced.Write(0, ReadWholeFile(entry.path()));
    node.names[entry.path().filename()] = child;
  }
  node.synced_names = node.names;
}

PowerDisk::NodePtr PowerDisk::Find(std::string_view path) const {
  NodePtr node = root_;
  while (!path.empty() && node != nullptr) {
    size_t slash = path.find('/');
    std::string_view name = path.substr(0, slash);
    path = slash == path.npos ? std::string_view() : path.substr(slash + 1);
    if (name.empty()) continue;
    auto it = node->names.find(std::string(name));
    node = it == node->names.end() ? nullptr : it->second;
  }
  return node;
}

PowerDisk::NodePtr PowerDisk::ParentOf(std::string_view path, std::string& name) const {
  while (!path.empty() && path.back() == '/') path.remove_suffix(1);
  size_t slash = path.rfind('/');
  name = slash == path.npos ? path : path.substr(slash + 1);
  return Find(slash == path.npos ? std::string_view() : path.substr(0, slash));
}

void PowerDisk::AddName(Node& directory, NameChange change) {
  change.sequence = sequence_;
  if (!change.removed.empty()) directory.names.erase(change.removed);
  if (!change.added.empty()) directory.names[change.added] = change.node;
  directory.name_changes.push_back(std::move(change));
}

void PowerDisk::OnOpen(const PowerRecord& record, std::string_view path) {
  NodePtr node = Find(path);
  if (node == nullptr) {
    std::string name;
    NodePtr parent = ParentOf(path, name);
    PRISM_CHECK(parent != nullptr);
    node = std::make_shared<Node>();
    node->directory = (record.flags & kPowerDirectory) != 0;
    AddName(*parent, {0, {}, name, node});
  } else if (record.flags & kPowerTruncated) {
    node->changes.push_back({sequence_, PowerRecord::Kind::kTruncate, 0, 0, nullptr});
  }
  handles_[record.handle] = node;
}

void PowerDisk::OnRename(std::string_view from, std::string_view to) {
  NodePtr node = Find(from);
  if (node == nullptr) return;  // RocksDB's own log, which is written past the shim
  std::string from_name, to_name;
  NodePtr from_parent = ParentOf(from, from_name);
  NodePtr to_parent = ParentOf(to, to_name);
  if (from_parent == to_parent) return AddName(*from_parent, {0, from_name, to_name, node});
  AddName(*to_parent, {0, {}, to_name, node});
  AddName(*from_parent, {0, from_name, {}, nullptr});
}

void PowerDisk::Apply(const PowerRecord& record, std::string_view path, std::string_view path2,
                      std::string_view data) {
  ++sequence_;
  using Kind = PowerRecord::Kind;
  switch (record.kind) {
    case Kind::kOpen:
      return OnOpen(record, path);
    case Kind::kWrite:
    case Kind::kTruncate:
    case Kind::kZero:
    case Kind::kGrow: {
      Change change{sequence_, record.kind, record.offset, record.length, nullptr};
      if (!data.empty()) change.data = std::make_shared<const std::string>(data);
      handles_.at(record.handle)->changes.push_back(std::move(change));
      return;
    }
    case Kind::kSyncBegin:
      sync_begins_[record.offset] = sequence_;
      return;
    case Kind::kSyncEnd:
    case Kind::kSyncFailed:
      return Synced(*handles_.at(record.handle), sync_begins_.at(record.offset),
                    record.kind == Kind::kSyncFailed);
    case Kind::kRename:
      return OnRename(path, path2);
    case Kind::kUnlink:
    case Kind::kMkdir: {
      std::string name;
      NodePtr parent = ParentOf(path, name);
      if (record.kind == Kind::kUnlink) {
        if (parent->names.contains(name)) AddName(*parent, {0, name, {}, nullptr});
        return;
      }
      auto made = std::make_shared<Node>();
      made->directory = true;
      return AddName(*parent, {0, {}, name, made});
    }
    case Kind::kMark:
      return;
  }
}

void PowerDisk::ApplyChange(const Change& change, Content& content) {
  switch (change.kind) {
    case PowerRecord::Kind::kWrite:
      if (change.data != nullptr)
        content.Write(change.offset, *change.data);
      else
        content.Zero(change.offset, change.offset + change.length, true);
      return;
    case PowerRecord::Kind::kTruncate:
      return content.Truncate(change.offset);
    case PowerRecord::Kind::kZero:
      return content.Zero(change.offset, std::min(change.offset + change.length, content.size()),
                          false);
    case PowerRecord::Kind::kGrow:
      return content.Truncate(std::max(content.size(), change.offset));
    default:
      return;
  }
}

// failed: a failed sync leaves nothing behind that a later one would write.
void PowerDisk::Synced(Node& node, uint64_t before, bool failed) {
  auto end = std::find_if(node.changes.begin(), node.changes.end(),
                          [&](const Change& change) { return change.sequence >= before; });
  if (!failed)
    for (auto it = node.changes.begin(); it != end; ++it) ApplyChange(*it, node.synced);
  node.changes.erase(node.changes.begin(), end);
  if (failed) return;
  auto& names = node.name_changes;
  size_t done = 0;
  for (; done < names.size() && names[done].sequence < before; ++done) {
    if (!names[done].removed.empty()) node.synced_names.erase(names[done].removed);
    if (!names[done].added.empty()) node.synced_names[names[done].added] = names[done].node;
  }
  names.erase(names.begin(), names.begin() + static_cast<std::ptrdiff_t>(done));
}

// Each page (or sector) has seen a prefix of the changes; so has the size.
Content PowerDisk::Survivor(const Node& node, Loss loss, std::mt19937_64& rng) {
  Content content = node.synced;
  size_t count = node.changes.size();
  if (loss == Loss::kEverything || count == 0) return content;
  uint64_t granule = loss == Loss::kRandomSectors ? 512 : kPieceBytes;
  bool all = loss == Loss::kNothing;
  size_t size_cut = all ? count : rng() % (count + 1);
  std::map<uint64_t, size_t> cuts;
  for (size_t i = 0; i < count; ++i) {
    const Change& change = node.changes[i];
    if (all || change.kind != PowerRecord::Kind::kWrite) {
      if (all || i < size_cut) ApplyChange(change, content);
      continue;
    }
    for (uint64_t at = 0; at < change.length;) {
      uint64_t page = (change.offset + at) / granule;
      uint64_t length = std::min((page + 1) * granule - change.offset - at, change.length - at);
      auto [cut, fresh] = cuts.try_emplace(page, 0);
      if (fresh) cut->second = rng() % (count + 1);
      if (i < cut->second) {
        Change part = change;
        part.offset += at;
        part.length = length;
        if (change.data != nullptr)
          part.data = std::make_shared<const std::string>(change.data->substr(at, length));
        ApplyChange(part, content);
      }
      at += length;
    }
  }
  return content;
}

void PowerDisk::WriteDirectory(const Node& node, const std::string& path, Loss loss,
                               std::mt19937_64& rng) {
  std::filesystem::create_directories(path);
  auto names = node.synced_names;
  size_t count = node.name_changes.size();
  size_t kept = loss == Loss::kEverything ? 0
                : loss == Loss::kNothing  ? count
                                          : rng() % (count + 1);
  for (size_t i = 0; i < kept; ++i) {
    const NameChange& change = node.name_changes[i];
    if (!change.removed.empty()) names.erase(change.removed);
    if (!change.added.empty()) names[change.added] = change.node;
  }
  for (const auto& [name, child] : names) {
    std::string child_path = path + "/" + name;
    if (child->directory) {
      WriteDirectory(*child, child_path, loss, rng);
      continue;
    }
    Content content = Survivor(*child, loss, rng);
    int fd = ::open(child_path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    PRISM_CHECK(fd >= 0);
    PRISM_CHECK(::ftruncate(fd, static_cast<off_t>(content.size())) == 0);
    for (const auto& [number, piece] : content.pieces()) {
      uint64_t offset = number * kPieceBytes;
      size_t length = std::min(kPieceBytes, content.size() - offset);
      PRISM_CHECK(::pwrite(fd, piece->data(), length, static_cast<off_t>(offset)) ==
                  static_cast<ssize_t>(length));
    }
    ::close(fd);
  }
}

void PowerDisk::Materialize(const std::string& directory, Loss loss, std::mt19937_64& rng) const {
  std::filesystem::remove_all(directory);
  WriteDirectory(*root_, directory, loss, rng);
}

}  // namespace prism::crash
