#include "tests/merge/merge_fixture.h"

#include <set>

namespace prism::mergetest {

using test::Must;

namespace {

std::span<const std::byte> AsBytes(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

}  // namespace

void MergeTest::Open() {
  fs::HostOptions options;
  options.directory = directory_.Path("store");
  options.flush_interval_ms = 50;
  host_ = Must(fs::Host::Open(options));
}

std::shared_ptr<fs::FileSystem> MergeTest::Attach(const std::string& volume) {
  return Must(host_->Attach(volume, false));
}

MergeTest::Place MergeTest::PlaceOf(fs::FileSystem& volume, const std::string& path) {
  Place place{kRootInode, path.substr(1)};
  for (size_t slash; (slash = place.name.find('/')) != std::string::npos;) {
    place.dir = Must(volume.Lookup(kAll, place.dir, place.name.substr(0, slash))).attr.ino;
    place.name = place.name.substr(slash + 1);
  }
  return place;
}

InodeId MergeTest::Find(const std::string& volume, const std::string& path) {
  if (path == "/") return kRootInode;
  auto files = Attach(volume);
  const Place place = PlaceOf(*files, path);
  return Must(files->Lookup(kAll, place.dir, place.name)).attr.ino;
}

bool MergeTest::Exists(const std::string& volume, const std::string& path) {
  return Read(volume).contains(path);
}

InodeId MergeTest::Put(const std::string& volume, const std::string& path, std::string_view data,
                       fs::FileType type) {
  auto files = Attach(volume);
  const Place place = PlaceOf(*files, path);
  fs::CreateArgs args;
  args.parent = place.dir;
  args.name = place.name;
  args.type = type;
  args.mode = 0755;
  if (type == fs::FileType::kSymlink) args.symlink_target = data;
  const InodeId ino = Must(files->Create(kAll, args)).attr.ino;
  if (type == fs::FileType::kRegular && !data.empty()) Write(volume, path, data);
  return ino;
}

void MergeTest::Write(const std::string& volume, const std::string& path, std::string_view data) {
  auto files = Attach(volume);
  fs::SetAttr cut;
  cut.size = 0;
  const InodeId ino = Find(volume, path);
  Must(files->Setattr(kAll, ino, cut));
  fs::WriteArgs args;
  args.ino = ino;
  args.data = AsBytes(data);
  Must(files->Write(kAll, args));
}

void MergeTest::Replace(const std::string& volume, const std::string& path, std::string_view data) {
  const std::string other = path + ".new";
  auto files = Attach(volume);
  const fs::Attr old = Must(files->Getattr(kAll, Find(volume, path)));
  Put(volume, other, data);
  fs::SetAttr owner;
  owner.uid = old.uid;
  owner.mode = old.mode;
  Must(files->Setattr(kAll, Find(volume, other), owner));
  Move(volume, other, path);
}

void MergeTest::Own(const std::string& volume, const std::string& path, uint32_t uid) {
  fs::SetAttr changes;
  changes.uid = uid;
  Must(Attach(volume)->Setattr(kAll, Find(volume, path), changes));
}

void MergeTest::Move(const std::string& volume, const std::string& from, const std::string& to) {
  auto files = Attach(volume);
  const Place a = PlaceOf(*files, from), b = PlaceOf(*files, to);
  Must(files->Rename(kAll, a.dir, a.name, b.dir, b.name, 0));
}

void MergeTest::Link(const std::string& volume, const std::string& from, const std::string& to) {
  auto files = Attach(volume);
  const Place place = PlaceOf(*files, to);
  Must(files->Link(kAll, Find(volume, from), place.dir, place.name));
}

void MergeTest::Remove(const std::string& volume, const std::string& path) {
  auto files = Attach(volume);
  const Place place = PlaceOf(*files, path);
  const auto type = Must(files->Getattr(kAll, Find(volume, path))).type;
  if (type == fs::FileType::kDirectory)
    Must(files->Rmdir(kAll, place.dir, place.name));
  else
    Must(files->Unlink(kAll, place.dir, place.name));
}

fs::MergeReport MergeTest::Rebase(const std::string& volume, const std::string& onto,
                                  const fs::MergeOptions& options) {
  return Must(host_->Rebase({volume}, onto, options)).front();
}

void MergeTest::CheckConsistent(const std::string& volume) {
  Must(host_->Drain());
  Must(host_->Flush());
  const Files files = Read(volume);
  std::map<InodeId, uint32_t> links;
  std::map<std::string, std::pair<uint64_t, uint32_t>> directories;  // entries, directories
  uint64_t bytes = 0;
  for (const auto& [path, file] : files) {
    if (++links[file.attr.ino] == 1) bytes += file.attr.used_bytes;
    if (path == "/") continue;
    const size_t slash = path.rfind('/');
    auto& above = directories[slash == 0 ? "/" : path.substr(0, slash)];
    ++above.first;
    above.second += file.attr.type == fs::FileType::kDirectory;
  }
  for (const auto& [path, file] : files) {
    if (file.attr.type != fs::FileType::kDirectory) {
      EXPECT_EQ(file.attr.nlink, links[file.attr.ino]) << volume << path;
      continue;
    }
    EXPECT_EQ(file.attr.size, directories[path].first * 32) << volume << path;
    EXPECT_EQ(file.attr.nlink, 2 + directories[path].second) << volume << path;
    EXPECT_EQ(links[file.attr.ino], 1u) << volume << path;
  }
  const fs::VolumeInfo info = Must(host_->Show(volume));
  EXPECT_EQ(info.inodes, links.size()) << volume;
  EXPECT_EQ(info.logical_bytes, bytes) << volume;
}

void MergeTest::ExpectSame(const std::string& a, const std::string& b) {
  const Files first = Read(a), second = Read(b);
  for (const auto& [path, file] : first) {
    auto found = second.find(path);
    if (found == second.end()) {
      ADD_FAILURE() << path << " is in " << a << " only";
      continue;
    }
    EXPECT_TRUE(difftest::SameContent(file, found->second)) << path;
    if (file.attr.type == fs::FileType::kDirectory) {
      EXPECT_EQ(file.attr.uid, found->second.attr.uid) << path;
    } else {
      EXPECT_TRUE(difftest::SameAttributes(file, found->second)) << path;
    }
    EXPECT_EQ(file.attr.ino, found->second.attr.ino) << path;
  }
  for (const auto& [path, file] : second)
    EXPECT_TRUE(first.contains(path)) << path << " is in " << b << " only";
}

}  // namespace prism::mergetest
