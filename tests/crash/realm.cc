#include "tests/crash/realm.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "fs/base/bytes.h"
#include "fs/base/check.h"

namespace prism::crash {
namespace {

std::string ParentOf(const std::string& path) {
  size_t slash = path.rfind('/');
  return slash == std::string::npos ? std::string() : path.substr(0, slash);
}

bool IsBelow(const std::string& path, const std::string& directory) {
  return path.size() > directory.size() && path.compare(0, directory.size(), directory) == 0 &&
         path[directory.size()] == '/';
}

}  // namespace

Object* Realm::Find(std::string_view path) {
  auto it = names.find(std::string(path));
  return it == names.end() ? nullptr : &objects.at(it->second);
}

bool Realm::IsEmptyDirectory(const std::string& path) const {
  auto next = names.upper_bound(path + "/");
  return next == names.end() || !IsBelow(next->first, path);
}

void Realm::TouchParent(const std::string& path) {
  if (Object* parent = Find(ParentOf(path))) parent->mtime.reset();
}

void Realm::AddName(const std::string& path, ObjectId id) {
  PRISM_CHECK(names.emplace(path, id).second);
  TouchParent(path);
}

void Realm::RemoveName(const std::string& path) {
  auto it = names.find(path);
  PRISM_CHECK(it != names.end());
  ObjectId id = it->second;
  names.erase(it);
  TouchParent(path);
  bool linked = std::any_of(names.begin(), names.end(), [&](auto& e) { return e.second == id; });
  if (!linked) objects.erase(id);
}

// `to` is free.
void Realm::Move(const std::string& from, const std::string& to) {
  std::vector<std::pair<std::string, ObjectId>> moved;
  for (auto it = names.begin(); it != names.end();) {
    if (it->first == from || IsBelow(it->first, from)) {
      moved.emplace_back(to + it->first.substr(from.size()), it->second);
      it = names.erase(it);
    } else {
      ++it;
    }
  }
  for (auto& [path, id] : moved) names[path] = id;
  TouchParent(from);
  TouchParent(to);
}

ObjectId Realm::Apply(const Op& op) {
  switch (op.kind) {
    case OpKind::kCreate:
    case OpKind::kMkdir:
    case OpKind::kSymlink:
    case OpKind::kFifo:
      return Create(op);
    case OpKind::kWrite:
    case OpKind::kWriteSync:
    case OpKind::kTruncate:
    case OpKind::kPunch:
    case OpKind::kZeroRange:
    case OpKind::kCopyRange:
      return ChangeData(op);
    case OpKind::kSetMode:
    case OpKind::kSetOwner:
    case OpKind::kSetMtime:
    case OpKind::kSetXattr:
    case OpKind::kRemoveXattr:
      ChangeAttributes(op, *Find(op.path));
      return 0;
    default:
      ChangeNames(op);
      return 0;
  }
}

ObjectId Realm::Create(const Op& op) {
  Object made;
  made.type = op.kind == OpKind::kCreate    ? fs::FileType::kRegular
              : op.kind == OpKind::kMkdir   ? fs::FileType::kDirectory
              : op.kind == OpKind::kSymlink ? fs::FileType::kSymlink
                                            : fs::FileType::kFifo;
  made.mode = op.mode;
  if (op.kind == OpKind::kSymlink) made.target = op.other;
  if (op.length > 0) made.content.Write(0, Payload(op.tag, op.length));
  ObjectId id = next_object++;
  objects[id] = std::move(made);
  AddName(op.path, id);
  return op.kind == OpKind::kCreate ? id : 0;
}

ObjectId Realm::ChangeData(const Op& op) {
  const std::string& path = op.kind == OpKind::kCopyRange ? op.other : op.path;
  Object& object = *Find(path);
  Content& content = object.content;
  const uint64_t end = op.offset + op.length;
  object.mtime.reset();
  switch (op.kind) {
    case OpKind::kTruncate:
      content.Truncate(op.offset);
      break;
    case OpKind::kPunch:
      content.Zero(op.offset, std::min(end, content.size()), false);
      break;
    case OpKind::kZeroRange:
      content.Zero(op.offset, end, true);
      break;
    case OpKind::kCopyRange:
      content.Write(op.tag, Find(op.path)->content.Read(op.offset, op.length));
      break;
    default:
      content.Write(op.offset, Payload(op.tag, op.length));
  }
  return names.at(path);
}

void Realm::ChangeNames(const Op& op) {
  switch (op.kind) {
    case OpKind::kRename: {
      ObjectId id = names.at(op.path);
      auto replaced = names.find(op.other);
      if (replaced != names.end() && replaced->second == id) return;  // links of one file: POSIX
      if (replaced != names.end()) RemoveName(op.other);
      return Move(op.path, op.other);
    }
    case OpKind::kExchange:
      Move(op.path, op.path + "#");
      Move(op.other, op.path);
      return Move(op.path + "#", op.other);
    case OpKind::kLink:
      return AddName(op.other, names.at(op.path));
    case OpKind::kUnlink:
    case OpKind::kRmdir:
      return RemoveName(op.path);
    default:
      return;
  }
}

void Realm::ChangeAttributes(const Op& op, Object& object) {
  switch (op.kind) {
    case OpKind::kSetMode:
      object.mode = op.mode;
      return;
    case OpKind::kSetOwner:
      object.uid = static_cast<uint32_t>(op.offset);
      object.gid = static_cast<uint32_t>(op.length);
      return;
    case OpKind::kSetMtime:
      object.mtime = fs::Timespec{static_cast<int64_t>(op.offset), op.mode};
      return;
    case OpKind::kSetXattr:
      object.xattrs[op.other] = Payload(op.tag, op.length);
      return;
    default:
      object.xattrs.erase(op.other);
  }
}

namespace {

std::string CompareObject(const Object& expected, const Object& found, uint32_t nlink) {
  if (expected.type != found.type) return "type";
  if (expected.mode != found.mode)
    return fmt::format("mode {:o}, found {:o}", expected.mode, found.mode);
  if (expected.uid != found.uid || expected.gid != found.gid)
    return fmt::format("owner {}:{}, found {}:{}", expected.uid, expected.gid, found.uid,
                       found.gid);
  if (nlink != found.nlink) return fmt::format("nlink {}, found {}", nlink, found.nlink);
  if (expected.target != found.target) return "symlink target";
  if (expected.xattrs != found.xattrs)
    return fmt::format("xattrs ({}, found {})", expected.xattrs.size(), found.xattrs.size());
  if (expected.mtime && expected.mtime != found.mtime)
    return fmt::format("mtime {}.{}, found {}.{}", expected.mtime->sec, expected.mtime->nsec,
                       found.mtime->sec, found.mtime->nsec);
  return {};
}

}  // namespace

std::string CompareMetadata(const Realm& expected, const Realm& found) {
  std::map<ObjectId, uint32_t> nlink;
  std::map<ObjectId, ObjectId> to_found;
  for (const auto& [path, id] : expected.names) {
    auto it = found.names.find(path);
    if (it == found.names.end()) return path + " is missing";
    auto [same, first] = to_found.emplace(id, it->second);
    if (!first && same->second != it->second) return path + " is not the same file as its link";
    bool directory = expected.objects.at(id).type == fs::FileType::kDirectory;
    nlink[id] += directory ? 2 : 1;
    auto parent = expected.names.find(ParentOf(path));
    if (directory && parent != expected.names.end()) ++nlink[parent->second];
  }
  if (found.names.size() != expected.names.size()) {
    for (const auto& [path, id] : found.names)
      if (!expected.names.contains(path)) return path + " should not be there";
  }
  for (const auto& [path, id] : expected.names) {
    std::string difference =
        CompareObject(expected.objects.at(id), found.objects.at(to_found.at(id)), nlink.at(id));
    if (!difference.empty()) return path + ": " + difference;
  }
  return {};
}

namespace {

void EncodeObject(const Object& object, ByteWriter& writer) {
  writer.Put(object.type);
  writer.Put(object.mode);
  writer.Put(object.uid);
  writer.Put(object.gid);
  writer.Put(object.nlink);
  writer.Put(object.mtime->sec);
  writer.Put(object.mtime->nsec);
  writer.PutString(object.target);
  writer.Put(static_cast<uint32_t>(object.xattrs.size()));
  for (const auto& [name, value] : object.xattrs) {
    writer.PutString(name);
    writer.PutString(value);
  }
  writer.Put(object.content.size());
  writer.Put(static_cast<uint32_t>(object.content.pieces().size()));
  for (const auto& [number, piece] : object.content.pieces()) {
    writer.Put(number);
    writer.PutBytes(*piece);
  }
}

Object DecodeObject(ByteReader& reader) {
  Object object;
  object.type = reader.Get<fs::FileType>();
  object.mode = reader.Get<uint32_t>();
  object.uid = reader.Get<uint32_t>();
  object.gid = reader.Get<uint32_t>();
  object.nlink = reader.Get<uint32_t>();
  fs::Timespec mtime;
  mtime.sec = reader.Get<int64_t>();
  mtime.nsec = reader.Get<uint32_t>();
  object.mtime = mtime;
  object.target = reader.GetString();
  for (uint32_t left = reader.Get<uint32_t>(); left > 0 && !reader.failed(); --left) {
    std::string name(reader.GetString());
    object.xattrs[name] = reader.GetString();
  }
  uint64_t size = reader.Get<uint64_t>();
  for (uint32_t left = reader.Get<uint32_t>(); left > 0 && !reader.failed(); --left) {
    uint64_t number = reader.Get<uint64_t>();
    object.content.Write(number * kPieceBytes, reader.GetBytes(kPieceBytes));
  }
  object.content.Truncate(size);
  return object;
}

}  // namespace

std::string EncodeStore(const Store& store) {
  std::string out;
  ByteWriter writer(out);
  for (const auto& [volume_name, volume] : store) {
    writer.PutString(volume_name);
    writer.Put(static_cast<uint32_t>(volume.size()));
    for (const auto& [realm_name, realm] : volume) {
      writer.PutString(realm_name);
      writer.Put(static_cast<uint32_t>(realm.names.size()));
      for (const auto& [path, id] : realm.names) {
        writer.PutString(path);
        writer.Put(id);
      }
      writer.Put(static_cast<uint32_t>(realm.objects.size()));
      for (const auto& [id, object] : realm.objects) {
        writer.Put(id);
        EncodeObject(object, writer);
      }
    }
  }
  return out;
}

bool DecodeStore(std::string_view bytes, Store& store) {
  ByteReader reader(bytes);
  while (reader.remaining() > 0) {
    Volume& volume = store[std::string(reader.GetString())];
    for (uint32_t left = reader.Get<uint32_t>(); left > 0 && !reader.failed(); --left) {
      Realm& realm = volume[std::string(reader.GetString())];
      for (uint32_t n = reader.Get<uint32_t>(); n > 0 && !reader.failed(); --n) {
        std::string path(reader.GetString());
        realm.names[path] = reader.Get<uint64_t>();
      }
      for (uint32_t n = reader.Get<uint32_t>(); n > 0 && !reader.failed(); --n) {
        ObjectId id = reader.Get<uint64_t>();
        realm.objects[id] = DecodeObject(reader);
        realm.next_object = std::max(realm.next_object, id + 1);
      }
    }
    if (reader.failed()) return false;
  }
  return true;
}

}  // namespace prism::crash
