#include "tests/compose/fixture.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <chrono>
#include <thread>

#include "fs/core/store_check.h"

namespace prism::compose {
namespace {

std::span<const std::byte> Bytes(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

}  // namespace

Result<Attr> Tree::Stat(const std::string& path) {
  InodeId at = kRootInode;
  for (size_t begin = 1; begin < path.size();) {
    const size_t end = std::min(path.find('/', begin), path.size());
    PRISM_ASSIGN(const fs::EntryResult found,
                 files_->Lookup(kRoot, at, path.substr(begin, end - begin)));
    at = found.attr.ino;
    begin = end + 1;
  }
  return files_->Getattr(kRoot, at);
}

InodeId Tree::Ino(const std::string& path, At at) { return Must(Stat(path), at).ino; }

Result<std::pair<InodeId, std::string>> Tree::Parent(const std::string& path) {
  const size_t slash = path.rfind('/');
  PRISM_ASSIGN(const Attr dir, Stat(path.substr(0, slash)));
  return std::pair(dir.ino, path.substr(slash + 1));
}

InodeId Tree::MakeDir(const std::string& path, At at) {
  if (path.empty()) return kRootInode;
  if (const auto there = Stat(path)) return there->ino;
  const size_t slash = path.rfind('/');
  fs::CreateArgs args;
  args.parent = MakeDir(path.substr(0, slash), at);
  const std::string name = path.substr(slash + 1);
  args.name = name;
  args.type = FileType::kDirectory;
  args.mode = 0755;
  return Must(files_->Create(kRoot, args), at).attr.ino;
}

InodeId Tree::Write(const std::string& path, std::string_view data, uint64_t offset, At at) {
  const auto [dir, name] = Must(Parent(path), at);
  fs::CreateArgs create;
  create.parent = dir;
  create.name = name;
  create.mode = 0644;
  create.exclusivity = fs::Exclusivity::kUnchecked;
  const InodeId ino = Must(files_->Create(kRoot, create), at).attr.ino;
  fs::WriteArgs args;
  args.ino = ino;
  args.offset = offset;
  args.data = Bytes(data);
  Must(files_->Write(kRoot, args), at);
  return ino;
}

std::string Tree::Read(const std::string& path, At at) {
  const Attr attr = Must(Stat(path), at);
  std::string data(attr.size, '\0');
  for (size_t done = 0; done < data.size();) {
    const auto part = std::as_writable_bytes(std::span(data)).subspan(done);
    const auto read = Must(
        files_->Read(kRoot, attr.ino, done, part.first(std::min<size_t>(part.size(), 1 << 20))),
        at);
    if (read.length == 0) break;
    done += read.length;
  }
  return data;
}

void Tree::Symlink(const std::string& path, const std::string& target, At at) {
  const auto [dir, name] = Must(Parent(path), at);
  fs::CreateArgs args;
  args.parent = dir;
  args.name = name;
  args.type = FileType::kSymlink;
  args.symlink_target = target;
  Must(files_->Create(kRoot, args), at);
}

void Tree::Link(const std::string& from, const std::string& to, At at) {
  const auto [dir, name] = Must(Parent(to), at);
  Must(files_->Link(kRoot, Ino(from, at), dir, name), at);
}

Err Tree::Rename(const std::string& from, const std::string& to) {
  const auto a = Parent(from);
  const auto b = Parent(to);
  if (!a || !b) return Err::kNoEntry;
  return ErrOf(files_->Rename(kRoot, a->first, a->second, b->first, b->second, 0));
}

Err Tree::Unlink(const std::string& path) {
  const auto at = Parent(path);
  const auto attr = Stat(path);
  if (!at || !attr) return Err::kNoEntry;
  return attr->type == FileType::kDirectory ? ErrOf(files_->Rmdir(kRoot, at->first, at->second))
                                            : ErrOf(files_->Unlink(kRoot, at->first, at->second));
}

void Tree::Xattr(const std::string& path, const std::string& name, const std::string& value,
                 At at) {
  Must(files_->Setxattr(kRoot, Ino(path, at), name, value, fs::XattrMode::kSet), at);
}

std::vector<std::string> Tree::Names(const std::string& dir, At at) {
  std::vector<std::string> names;
  uint64_t cookie = 0;
  const InodeId ino = dir.empty() ? kRootInode : Ino(dir, at);
  for (bool eof = false; !eof;) {
    eof = Must(files_->Readdir(kRoot, ino, cookie, true,
                               [&](const fs::DirEntry& entry) {
                                 names.emplace_back(entry.name);
                                 cookie = entry.cookie;
                                 return true;
                               }),
               at)
              .eof;
    if (::testing::Test::HasFailure()) break;
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::string Tree::DescribeFile(const Attr& attr) {
  std::string text =
      fmt::format("type {} mode {:o} {}:{} links {} rdev {}:{}", static_cast<int>(attr.type),
                  attr.mode, attr.uid, attr.gid, attr.nlink, attr.rdev_major, attr.rdev_minor);
  if (attr.type != FileType::kDirectory)
    text += fmt::format(" size {} mtime {}.{}", attr.size, attr.mtime.sec, attr.mtime.nsec);
  if (attr.type == FileType::kSymlink) text += " -> " + Must(files_->Readlink(kRoot, attr.ino));
  if (attr.type == FileType::kRegular && attr.size > 0) {
    uint64_t at = 0;
    while (true) {  // where data begins
      const auto data = files_->Seek(kRoot, attr.ino, at, fs::SeekWhence::kData);
      if (!data) break;
      at = Must(files_->Seek(kRoot, attr.ino, *data, fs::SeekWhence::kHole));
      text += fmt::format(" [{},{})", *data, at);
      if (at >= attr.size) break;
    }
  }
  std::vector<std::string> xattrs = Must(files_->Listxattr(kRoot, attr.ino));
  std::sort(xattrs.begin(), xattrs.end());
  for (const std::string& name : xattrs)
    text += fmt::format(" {}={}", name,
                        std::hash<std::string>()(Must(files_->Getxattr(kRoot, attr.ino, name))));
  return text;
}

std::map<std::string, std::string> Tree::Describe(const std::string& dir, At at) {
  std::map<std::string, std::string> all;
  std::map<InodeId, std::string> first;  // names of one file
  std::vector<std::string> left{""};
  while (!left.empty()) {
    const std::string path = left.back();
    left.pop_back();
    for (const std::string& name : Names(dir + path, at)) {
      const std::string here = path + "/" + name;
      const Attr attr = Must(Stat(dir + here), at);
      std::string text = DescribeFile(attr);
      if (attr.type == FileType::kRegular)
        text += fmt::format(" content {}", std::hash<std::string>()(Read(dir + here, at)));
      if (attr.type == FileType::kDirectory)
        left.push_back(here);
      else if (attr.nlink > 1)
        text += " same as " + first.emplace(attr.ino, here).first->second;
      all[here] = text;
    }
  }
  return all;
}

std::map<InodeId, std::string> Tree::Inodes() {
  std::map<InodeId, std::string> inodes{{kRootInode, "/"}};
  std::vector<std::string> left{""};
  while (!left.empty()) {
    const std::string path = left.back();
    left.pop_back();
    for (const std::string& name : Names(path)) {
      const Attr attr = Must(Stat(path + "/" + name));
      const bool is_new = inodes.emplace(attr.ino, path + "/" + name).second;
      EXPECT_TRUE(is_new || attr.nlink > 1) << path << "/" << name << " and " << inodes[attr.ino];
      if (attr.type == FileType::kDirectory) left.push_back(path + "/" + name);
    }
  }
  return inodes;
}

void Compose::Open() {
  fs::HostOptions options;
  options.directory = directory_.Path("store");
  options.node_cache_bytes = options.chunk_cache_bytes = uint64_t{32} << 20;
  host_ = Must(fs::Host::Open(options));
}

void Compose::TearDown() {
  const cow::CheckReport report = Must(host_->Check(false));
  EXPECT_EQ(fmt::format("{}", fmt::join(report.damages, "\n")), "");
  host_.reset();
  ExpectWhole();
}

cow::CheckReport Compose::ExpectWhole(At at) {
  cow::CheckReport report = Must(fs::CheckStore(directory_.Path("store"), true), at);
  EXPECT_EQ(fmt::format("{}", fmt::join(report.damages, "\n")), "")
      << "after line " << at.line() << ", with " << report.journal_records << " records";
  EXPECT_TRUE(report.journal_included);
  return report;
}

void Compose::MakeSource(const std::string& name, const std::string& mark) {
  Create(name);
  Tree tree = Attach(name);
  for (const char* dir : {"/a", "/a/sub", "/b", "/deep/er", "/empty"}) tree.MakeDir(dir);
  tree.Write("/a/small", "small" + mark);
  tree.Write("/a/big", std::string(300'000, 'x') + mark);
  tree.Write("/a/sparse", "end" + mark, 1'000'000);
  tree.Write("/a/sub/file", "in sub" + mark);
  tree.Write("/b/secret", "nobody's business" + mark);
  tree.Write("/deep/er/file", "deep" + mark);
  tree.Symlink("/a/link", "../b/secret");
  tree.Link("/a/small", "/a/sub/small-too");  // inside of /a
  tree.Link("/b/secret", "/a/shared");        // and out of it
  tree.Link("/a/big", "/b/big-too");
  tree.Link("/b/big-too", "/deep/er/big-three");
  tree.Xattr("/a/small", "user.mark", "value" + mark);
  tree.Xattr("/a", "user.dir", "of a");
  for (int i = 0; i < 50; ++i) tree.Write("/deep/file-" + std::to_string(i), std::to_string(i));
}

fs::VolumeInfo Compose::Counted(const std::string& name, At at) {
  for (int i = 0; i < 200; ++i) {
    const fs::VolumeInfo info = Must(host_->Show(name), at);
    if (!info.uncounted) return info;
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  ADD_FAILURE_AT(at.file_name(), static_cast<int>(at.line())) << name << " is never counted";
  return {};
}

}  // namespace prism::compose
