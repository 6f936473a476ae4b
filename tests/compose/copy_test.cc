// A part against `cp -a` of it, by the real cp, through real mounts, of everything that a file
// system can have: ACLs, devices, FIFOs, sockets, set-id bits, file capabilities, extended
// attributes, hard links, holes, and times to the nanosecond. Needs root and /dev/fuse.
#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <thread>

#include "clone/composition.h"
#include "tests/conformance/lane_server.h"
#include "tests/conformance/mounted_client.h"
#include "tests/model/acl.h"
#include "tests/support/result.h"
#include "vrpc/client.h"

namespace prism::compose {
namespace {

using conformance::MountedClient;
using test::Must;
using Rule = fs::ComposeRule;

class Copy : public ::testing::Test {
 protected:
  struct Mounted {
    std::string path;
    std::unique_ptr<MountedClient> client;
  };

  Mounted Mount(const std::string& volume) {
    vrpc::ConnectOptions options;
    options.volume = volume;
    Mounted mounted{server_.directory().Path(volume + ".mount"), nullptr};
    mounted.client = std::make_unique<MountedClient>(
        mounted.path, Must(vrpc::Client::Connect(server_.lane(), options)), volume);
    return mounted;
  }

  conformance::LaneServer server_;
};

void Shell(const std::string& command) { ASSERT_EQ(std::system(command.c_str()), 0) << command; }

void Write(const std::string& path, const std::string& text, off_t at = 0) {
  const UniqueFd fd(open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
  ASSERT_EQ(pwrite(fd.get(), text.data(), text.size(), at), static_cast<ssize_t>(text.size()));
}

void SetXattr(const std::string& path, const char* name, const std::string& value) {
  ASSERT_EQ(lsetxattr(path.c_str(), name, value.data(), value.size(), 0), 0) << path << name;
}

std::string AclFor(uint32_t uid) {
  using model::AclTag;
  return model::EncodeAcl({{AclTag::kUserObj, 7},
                           {AclTag::kUser, 5, uid},
                           {AclTag::kGroupObj, 4},
                           {AclTag::kGroup, 6, uid + 1},
                           {AclTag::kMask, 7},
                           {AclTag::kOther, 1}});
}

// cap_net_raw+ep, as linux/capability.h has it in an attribute.
std::string Capability() {
  std::string value(20, '\0');
  value[0] = 1;
  value[3] = 2;
  value[4 + 1] = 0x20;
  return value;
}

// Everything below a directory gets times of its own; directories last.
void SetTimes(const std::string& top) {
  std::vector<std::string> paths{top};
  for (const auto& entry : std::filesystem::recursive_directory_iterator(top))
    paths.push_back(entry.path());
  std::sort(paths.rbegin(), paths.rend());
  int64_t n = 0;
  for (const std::string& path : paths) {
    ++n;
    const timespec times[2] = {{1'000'000'000 + n, 123'456'789 + n}, {900'000'000 + n, n}};
    ASSERT_EQ(utimensat(AT_FDCWD, path.c_str(), times, AT_SYMLINK_NOFOLLOW), 0) << path;
  }
}

void Fill(const std::string& top) {
  for (const char* dir : {"/a", "/a/sub", "/a/empty", "/b"})
    ASSERT_EQ(mkdir((top + dir).c_str(), 0755), 0);
  const std::string a = top + "/a";
  Write(a + "/small", "small");
  Write(a + "/none", "");
  Write(a + "/big", std::string(300'001, 'b'));
  Write(a + "/holes", "middle", 1 << 20);
  Write(a + "/holes", "end", 3 << 20);
  Write(a + "/hole-at-end", "begin");
  ASSERT_EQ(truncate((a + "/hole-at-end").c_str(), 2 << 20), 0);
  ASSERT_EQ(truncate((a + "/none").c_str(), 1 << 20), 0);
  Write(top + "/b/outside", "nobody's business");
  for (const auto& [from, to] : {std::pair("/a/small", "/a/sub/small-too"),
                                 {"/a/big", "/a/big-too"},
                                 {"/b/outside", "/a/shared"},
                                 {"/a/holes", "/b/holes-too"}})
    ASSERT_EQ(link((top + from).c_str(), (top + to).c_str()), 0);
  ASSERT_EQ(mknod((a + "/char").c_str(), S_IFCHR | 0620, makedev(1, 3)), 0);
  ASSERT_EQ(mknod((a + "/block").c_str(), S_IFBLK | 0640, makedev(259, 65537)), 0);
  ASSERT_EQ(mknod((a + "/fifo").c_str(), S_IFIFO | 0600, 0), 0);
  ASSERT_EQ(mknod((a + "/socket").c_str(), S_IFSOCK | 0777, 0), 0);
  ASSERT_EQ(link((a + "/fifo").c_str(), (a + "/sub/fifo-too").c_str()), 0);
  ASSERT_EQ(symlink("../b/outside", (a + "/link").c_str()), 0);
  ASSERT_EQ(symlink("nowhere", (a + "/sub/dangling").c_str()), 0);
  ASSERT_EQ(lchown((a + "/link").c_str(), 12, 34), 0);
  ASSERT_EQ(chown((a + "/big").c_str(), 1000, 1001), 0);
  ASSERT_EQ(chmod((a + "/big").c_str(), 06755), 0);
  ASSERT_EQ(chown((a + "/sub").c_str(), 3, 4), 0);
  ASSERT_EQ(chmod((a + "/sub").c_str(), 03770), 0);
  SetXattr(a + "/small", "user.mark", "value");
  SetXattr(a + "/small", "user.long", std::string(3000, 'v'));
  SetXattr(a + "/sub", "trusted.dir", std::string("with\0zero", 9));
  SetXattr(a + "/small", "system.posix_acl_access", AclFor(1000));
  SetXattr(a + "/char", "system.posix_acl_access", AclFor(1002));
  SetXattr(a, "system.posix_acl_access", AclFor(1004));
  SetXattr(a, "system.posix_acl_default", AclFor(1006));
  SetXattr(a + "/big", "security.capability", Capability());
  SetTimes(top);
}

std::string Holes(const std::string& path, off_t size) {
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  std::string text;
  for (off_t at = 0; at < size;) {
    const off_t data = lseek(fd.get(), at, SEEK_DATA);
    if (data < 0) break;
    at = lseek(fd.get(), data, SEEK_HOLE);
    text += fmt::format(" [{},{})", data, at);
  }
  return text;
}

std::string Xattrs(const std::string& path) {
  std::string list(65536, '\0'), text;
  const ssize_t length = llistxattr(path.c_str(), list.data(), list.size());
  EXPECT_GE(length, 0) << path;
  std::vector<std::string> names;
  for (ssize_t at = 0; at < length; at += static_cast<ssize_t>(names.back().size()) + 1)
    names.emplace_back(list.c_str() + at);
  std::sort(names.begin(), names.end());
  for (const std::string& name : names) {
    std::string value(65536, '\0');
    const ssize_t size = lgetxattr(path.c_str(), name.c_str(), value.data(), value.size());
    EXPECT_GE(size, 0) << path << name;
    value.resize(static_cast<size_t>(std::max<ssize_t>(size, 0)));
    text += fmt::format(" {}={}", name, std::hash<std::string>()(value));
  }
  return text;
}

// All that can be said of a tree, by paths.
std::map<std::string, std::string> Describe(const std::string& top) {
  std::map<std::string, std::string> all;
  std::map<ino_t, std::string> first;
  std::vector<std::string> paths{top};
  if (std::filesystem::is_directory(std::filesystem::symlink_status(top)))
    for (const auto& entry : std::filesystem::recursive_directory_iterator(top))
      paths.push_back(entry.path());
  std::sort(paths.begin(), paths.end());
  for (const std::string& path : paths) {
    struct stat st = {};
    EXPECT_EQ(lstat(path.c_str(), &st), 0) << path;
    std::string text =
        fmt::format("mode {:o} {}:{} links {} rdev {:x} mtime {}.{}", st.st_mode, st.st_uid,
                    st.st_gid, st.st_nlink, st.st_rdev, st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
    if (!S_ISDIR(st.st_mode)) {
      const auto [file, is_new] = first.emplace(st.st_ino, path.substr(top.size()));
      text += fmt::format(" size {} same as {}", st.st_size, file->second);
      // Nobody has read it yet.
      if (is_new) text += fmt::format(" atime {}.{}", st.st_atim.tv_sec, st.st_atim.tv_nsec);
    }
    if (S_ISLNK(st.st_mode)) text += " -> " + std::filesystem::read_symlink(path).string();
    if (S_ISREG(st.st_mode)) {
      std::ifstream in(path, std::ios::binary);
      const std::string data{std::istreambuf_iterator<char>(in), {}};
      text += fmt::format(" content {}{}", std::hash<std::string>()(data), Holes(path, st.st_size));
    }
    all[path.substr(top.size())] = text + Xattrs(path);
  }
  return all;
}

TEST_F(Copy, APartIsWhatCpWouldHaveMadeOfItAtThatInstant) {
  fs::Host& host = server_.host();
  Must(host.Create("source", false));
  Must(host.Create("copy", false));
  Mounted source = Mount("source");
  Fill(source.path);
  ASSERT_FALSE(HasFatalFailure());
  sync();  // a cut has what the kernel has written
  std::atomic<bool> stop = false;
  std::thread writer([&] {  // the source is in use all the time
    for (int i = 0; !stop; ++i) Write(source.path + "/a/small", fmt::format("small {}", i));
  });
  Must(host.Snapshot({"source@then"}, 0));
  const std::vector<Rule> rules = {{Rule::Kind::kGraft, "source@then", "/a", "/etc/a"},
                                   {Rule::Kind::kGraft, "source@then", "/a/big", "/big"},
                                   {Rule::Kind::kGraft, "source@then", "/a/char", "/null"},
                                   {Rule::Kind::kGraft, "source@then", "/b", "/etc/b"}};
  Must(host.Compose("composed", {"", rules}));
  const Mounted then = Mount("source@then"), copy = Mount("copy"), composed = Mount("composed");
  ASSERT_EQ(mkdir((copy.path + "/etc").c_str(), 0755), 0);
  for (const Rule& rule : rules)
    Shell(fmt::format("cp -a '{}{}' '{}{}'", then.path, rule.from, copy.path, rule.path));
  stop = true;
  writer.join();
  for (const Rule& rule : rules) {
    const auto made = Describe(composed.path + rule.path);
    EXPECT_EQ(made, Describe(copy.path + rule.path)) << rule.path;
    EXPECT_GE(made.size(), 1u);
  }
  const auto made = Describe(composed.path + "/etc/a");
  EXPECT_EQ(made.size(), 18u);
  EXPECT_NE(made.at("").find("system.posix_acl_default"), std::string::npos);
  EXPECT_NE(made.at("/big").find("security.capability"), std::string::npos);
  EXPECT_NE(made.at("/shared").find("links 1"), std::string::npos);
  EXPECT_NE(made.at("/sub/fifo-too").find("same as /fifo"), std::string::npos);
}

void ListInodes(fs::FileSystem& volume, InodeId dir, std::set<InodeId>& inodes) {
  std::vector<InodeId> below;
  inodes.insert(dir);
  Must(volume.Readdir({}, dir, 0, false, [&](const fs::DirEntry& entry) {
    inodes.insert(entry.ino);
    if (entry.type == fs::FileType::kDirectory) below.push_back(entry.ino);
    return true;
  }));
  for (InodeId ino : below) ListInodes(volume, ino, inodes);
}

// A lane's inode numbers are whatever the machine behind it says.
TEST_F(Copy, NumbersOfWhatWasNotChosenAreStaleOverALane) {
  fs::Host& host = server_.host();
  Must(host.Create("source", false));
  Fill(Mount("source").path);
  const std::vector<Rule> rules = {{Rule::Kind::kGraft, "source", "/a", "/part"},
                                   {Rule::Kind::kExclude, {}, {}, "/a/s*"},
                                   {Rule::Kind::kExclude, {}, {}, "/b"}};
  const fs::VolumeInfo made = Must(host.Compose("composed", {"source", rules}));
  vrpc::ConnectOptions options;
  options.volume = "composed";
  const auto lane = Must(vrpc::Client::Connect(server_.lane(), options));
  std::set<InodeId> inside;
  ListInodes(*lane, kRootInode, inside);
  size_t reached = 0;
  for (InodeId prefix = 0; prefix < 4; ++prefix)
    for (VolumeId maker = 0; maker <= made.id; ++maker)
      for (InodeId number = 0; number < 40; ++number) {
        const InodeId ino =
            (prefix << clone::kPrefixShift) + (maker << clone::kInodeLineBits) + number;
        const bool is_inside = inside.contains(ino);
        reached += is_inside;
        EXPECT_EQ(lane->Getattr({}, ino).has_value(), is_inside) << ino;
        if (is_inside) continue;
        std::byte buffer[8];
        fs::SetAttr changes;
        changes.mode = 0777;
        EXPECT_EQ(test::ErrOf(lane->Read({}, ino, 0, buffer)), Err::kStale) << ino;
        EXPECT_EQ(test::ErrOf(lane->Lookup({}, ino, "small")), Err::kStale) << ino;
        EXPECT_EQ(test::ErrOf(lane->Link({}, ino, kRootInode, "stolen")), Err::kStale) << ino;
        EXPECT_EQ(test::ErrOf(lane->Setattr({}, ino, changes)), Err::kStale) << ino;
      }
  EXPECT_EQ(reached, inside.size());
  EXPECT_EQ(inside.size(), 26u);
}

}  // namespace
}  // namespace prism::compose
