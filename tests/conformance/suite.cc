#include "tests/conformance/suite.h"

namespace prism::conformance {

Caller User(uint32_t uid, std::span<const uint32_t> groups) {
  return Caller{.uid = uid, .gid = uid, .groups = groups, .check_permission = true};
}

std::string Pattern(size_t size, uint32_t seed) {
  std::string bytes(size, '\0');
  uint64_t state = seed * 2654435761u + 1;
  for (char& byte : bytes) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    byte = static_cast<char>(1 + (state >> 33) % 255);
  }
  return bytes;
}

void Conformance::ExpectChanged(const Attr& after, const Attr& before, At at) {
  if (!Can(Feature::kChangeNumber)) return;
  EXPECT_GT(after.change, before.change) << "at line " << at.line();
}

Result<fs::EntryResult> Conformance::Create(InodeId dir, std::string_view name, FileType type,
                                            uint32_t mode, const Caller& caller) {
  CreateArgs args;
  args.parent = dir;
  args.name = name;
  args.type = type;
  args.mode = mode;
  if (type == FileType::kSymlink) args.symlink_target = "target";
  return fs_->Create(caller, args);
}

InodeId Conformance::MakeFile(InodeId dir, std::string_view name, std::string_view data,
                              uint32_t mode, At at) {
  InodeId ino = Must(Create(dir, name, FileType::kRegular, mode), at).attr.ino;
  for (size_t done = 0; done < data.size(); done += fs::kIoMax)
    WriteAt(ino, done, data.substr(done, fs::kIoMax), at);
  return ino;
}

InodeId Conformance::MakeDir(InodeId dir, std::string_view name, uint32_t mode, At at) {
  return Must(Create(dir, name, FileType::kDirectory, mode), at).attr.ino;
}

InodeId Conformance::MakeOwned(InodeId dir, std::string_view name, FileType type, uint32_t mode,
                               uint32_t uid, uint32_t gid, At at) {
  InodeId ino = Must(Create(dir, name, type, mode), at).attr.ino;
  Chown(ino, uid, gid, at);
  Chmod(ino, mode, at);
  return ino;
}

Attr Conformance::GetAttr(InodeId ino, At at) { return Must(fs_->Getattr(kKernel, ino), at); }

void Conformance::Chmod(InodeId ino, uint32_t mode, At at) {
  SetAttr changes;
  changes.mode = mode;
  Must(fs_->Setattr(kKernel, ino, changes), at);
}

void Conformance::Chown(InodeId ino, uint32_t uid, uint32_t gid, At at) {
  SetAttr changes;
  changes.uid = uid;
  changes.gid = gid;
  Must(fs_->Setattr(kKernel, ino, changes), at);
}

void Conformance::SetTimes(InodeId ino, Timespec atime, Timespec mtime, At at) {
  SetAttr changes;
  changes.atime = atime;
  changes.mtime = mtime;
  Must(fs_->Setattr(kKernel, ino, changes), at);
}

void Conformance::WriteAt(InodeId ino, uint64_t offset, std::string_view data, At at) {
  fs::WriteArgs args;
  args.ino = ino;
  args.offset = offset;
  args.data = AsBytes(data);
  fs::WriteResult result = Must(fs_->Write(kKernel, args), at);
  EXPECT_EQ(result.length, data.size()) << "at line " << at.line();
  if (!data.empty()) {
    EXPECT_EQ(result.offset, offset) << "at line " << at.line();
  }
}

void Conformance::Truncate(InodeId ino, uint64_t size, At at) {
  SetAttr changes;
  changes.size = size;
  Must(fs_->Setattr(kKernel, ino, changes), at);
}

std::string Conformance::ReadAt(InodeId ino, uint64_t offset, size_t length, At at) {
  std::string buffer(length, '?');
  fs::ReadResult result =
      Must(fs_->Read(kKernel, ino, offset, std::as_writable_bytes(std::span(buffer))), at);
  EXPECT_LE(result.length, length) << "at line " << at.line();
  buffer.resize(result.length);
  return buffer;
}

std::string Conformance::ReadAll(InodeId ino, At at) {
  std::string all;
  while (true) {
    std::string piece = ReadAt(ino, all.size(), fs::kIoMax, at);
    if (piece.empty()) return all;
    all += piece;
  }
}

InodeId Conformance::Find(InodeId dir, std::string_view name, At at) {
  return Must(fs_->Lookup(kKernel, dir, name), at).attr.ino;
}

Err Conformance::WriteErr(const Caller& caller, InodeId ino, uint64_t offset,
                          std::string_view data) {
  fs::WriteArgs args;
  args.ino = ino;
  args.offset = offset;
  args.data = AsBytes(data);
  return ErrOf(fs_->Write(caller, args));
}

std::map<std::string, InodeId> Conformance::List(InodeId dir, At at) {
  std::map<std::string, InodeId> names;
  uint64_t cookie = 0;
  while (true) {
    size_t seen = 0;
    auto result = fs_->Readdir(kKernel, dir, cookie, false, [&](const fs::DirEntry& entry) {
      bool fresh = names.emplace(entry.name, entry.ino).second;
      EXPECT_TRUE(fresh) << "listed twice: " << entry.name;
      cookie = entry.cookie;
      ++seen;
      return true;
    });
    bool eof = Must(std::move(result), at).eof;
    if (eof || seen == 0) return names;
  }
}

}  // namespace prism::conformance
