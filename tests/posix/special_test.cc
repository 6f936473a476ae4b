// Devices, fifos, sockets; locks; extended attributes and ACLs.
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>

#include <algorithm>
#include <cstring>

#include "tests/posix/posix.h"

namespace prism::posix {
namespace {

constexpr uid_t kAlice = 61001, kBob = 61002;

class SpecialTest : public Posix {
 protected:
  int SetXattr(const std::string& path, const std::string& name, const std::string& value,
               int flags = 0) {
    return lsetxattr(path.c_str(), name.c_str(), value.data(), value.size(), flags);
  }
  std::string GetXattr(const std::string& path, const std::string& name) {
    std::string value(65536, '\0');
    ssize_t size = lgetxattr(path.c_str(), name.c_str(), value.data(), value.size());
    EXPECT_GE(size, 0) << name << ": " << std::strerror(errno);
    value.resize(size < 0 ? 0 : size);
    return value;
  }
  std::vector<std::string> Names(const std::string& path) {
    char buffer[65536];
    ssize_t size = llistxattr(path.c_str(), buffer, sizeof buffer);
    EXPECT_GE(size, 0);
    std::vector<std::string> names;
    for (ssize_t at = 0; at < size; at += names.back().size() + 1) names.push_back(buffer + at);
    std::erase(names, "security.selinux");
    std::sort(names.begin(), names.end());
    return names;
  }
};

TEST_F(SpecialTest, DevicesKeepTheirNumbers) {
  NEEDS_ROOT();
  std::string path = Path("dev");
  EXPECT_CALL(mknod(path.c_str(), S_IFCHR | 0620, makedev(1, 3)));
  struct stat attr = Stat(path);
  EXPECT_TRUE(S_ISCHR(attr.st_mode));
  EXPECT_EQ(major(attr.st_rdev), 1u);
  EXPECT_EQ(minor(attr.st_rdev), 3u);
  EXPECT_CALL(mknod(Path("block").c_str(), S_IFBLK | 0600, makedev(259, 70000)));
  EXPECT_EQ(minor(Stat(Path("block")).st_rdev), 70000u);
  EXPECT_ERRNO(EEXIST, mknod(path.c_str(), S_IFCHR | 0600, makedev(1, 3)));
  std::string dir = MakeDir("d", 0777);
  EXPECT_EQ(
      ErrnoName(RunAs(
          kBob,
          [&] { return ERRNO_OF(mknod((dir + "/x").c_str(), S_IFCHR | 0600, makedev(1, 3))); })),
      "EPERM");
}

TEST_F(SpecialTest, MknodMakesPlainFiles) {
  EXPECT_CALL(mknod(Path("f").c_str(), S_IFREG | 0640, 0));
  EXPECT_TRUE(S_ISREG(Stat(Path("f")).st_mode));
  Append(Path("f"), "data");
  EXPECT_EQ(Contents(Path("f")), "data");
}

TEST_F(SpecialTest, FifosConnectProcesses) {
  std::string path = Path("fifo");
  EXPECT_CALL(mkfifo(path.c_str(), 0600));
  EXPECT_TRUE(S_ISFIFO(Stat(path).st_mode));
  pid_t child = fork();
  if (child == 0) {
    int fd = open(path.c_str(), O_WRONLY);
    _exit(write(fd, "through", 7) == 7 ? 0 : 1);
  }
  Fd fd(open(path.c_str(), O_RDONLY));
  char buffer[16] = {};
  EXPECT_EQ(read(fd.get(), buffer, sizeof buffer), 7);
  EXPECT_STREQ(buffer, "through");
  int status = 1;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
}

TEST_F(SpecialTest, SocketsAreBoundAndReached) {
  // The path of a socket is short: go there.
  Fd dir(open(Path().c_str(), O_RDONLY | O_DIRECTORY)), old(open(".", O_RDONLY | O_DIRECTORY));
  EXPECT_CALL(fchdir(dir.get()));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strcpy(address.sun_path, "socket");
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  Fd server(socket(AF_UNIX, SOCK_STREAM, 0)), client(socket(AF_UNIX, SOCK_STREAM, 0));
  EXPECT_CALL(bind(server.get(), generic, sizeof address));
  EXPECT_CALL(listen(server.get(), 1));
  EXPECT_CALL(connect(client.get(), generic, sizeof address));
  EXPECT_TRUE(S_ISSOCK(Stat(Path("socket")).st_mode));
  EXPECT_ERRNO(EADDRINUSE,
               bind(Fd(socket(AF_UNIX, SOCK_STREAM, 0)).get(), generic, sizeof address));
  EXPECT_CALL(fchdir(old.get()));
}

TEST_F(SpecialTest, FlockExcludesOtherProcesses) {
  std::string path = MakeFile("f");
  Fd fd(open(path.c_str(), O_RDWR));
  auto try_lock = [&](int kind) {
    return ErrnoName(
        InChild([&] { return ERRNO_OF(flock(open(path.c_str(), O_RDWR), kind | LOCK_NB)); }));
  };
  EXPECT_CALL(flock(fd.get(), LOCK_EX));
  EXPECT_EQ(try_lock(LOCK_EX), "EAGAIN");
  EXPECT_EQ(try_lock(LOCK_SH), "EAGAIN");
  EXPECT_CALL(flock(fd.get(), LOCK_SH));
  EXPECT_EQ(try_lock(LOCK_SH), "success");
  EXPECT_EQ(try_lock(LOCK_EX), "EAGAIN");
  EXPECT_CALL(flock(fd.get(), LOCK_UN));
  EXPECT_EQ(try_lock(LOCK_EX), "success");
}

TEST_F(SpecialTest, RecordLocksExcludeOtherProcessesByRange) {
  std::string path = MakeFile("f", Pattern(100));
  Fd fd(open(path.c_str(), O_RDWR));
  auto range = [](short type, off_t start, off_t length) {
    struct flock lock {};
    lock.l_type = type;
    lock.l_whence = SEEK_SET;
    lock.l_start = start;
    lock.l_len = length;
    return lock;
  };
  auto try_lock = [&](short type, off_t start, off_t length) {
    return ErrnoName(InChild([&] {
      struct flock lock = range(type, start, length);
      return ERRNO_OF(fcntl(open(path.c_str(), O_RDWR), F_SETLK, &lock));
    }));
  };
  struct flock lock = range(F_WRLCK, 10, 20);
  EXPECT_CALL(fcntl(fd.get(), F_SETLK, &lock));
  EXPECT_EQ(try_lock(F_WRLCK, 15, 1), "EAGAIN");
  EXPECT_EQ(try_lock(F_RDLCK, 0, 0), "EAGAIN");
  EXPECT_EQ(try_lock(F_WRLCK, 30, 10), "success");
  lock = range(F_UNLCK, 10, 5);
  EXPECT_CALL(fcntl(fd.get(), F_SETLK, &lock));
  EXPECT_EQ(try_lock(F_WRLCK, 10, 5), "success");
  EXPECT_EQ(try_lock(F_WRLCK, 10, 6), "EAGAIN");
  pid_t self = getpid();
  EXPECT_EQ(InChild([&] {
              struct flock asked = range(F_WRLCK, 0, 0);
              if (fcntl(open(path.c_str(), O_RDWR), F_GETLK, &asked) != 0) return errno;
              return asked.l_type == F_WRLCK && asked.l_start == 15 && asked.l_pid == self ? 0 : 1;
            }),
            0);
}

TEST_F(SpecialTest, OpenFileDescriptionLocksWork) {
  std::string path = MakeFile("f");
  Fd one(open(path.c_str(), O_RDWR)), two(open(path.c_str(), O_RDWR));
  struct flock lock {};
  lock.l_type = F_WRLCK;
  EXPECT_CALL(fcntl(one.get(), F_OFD_SETLK, &lock));
  EXPECT_ERRNO(EAGAIN, fcntl(two.get(), F_OFD_SETLK, &lock));
  one.Close();
  EXPECT_CALL(fcntl(two.get(), F_OFD_SETLK, &lock));
}

TEST_F(SpecialTest, XattrsAreSetReadListedAndRemoved) {
  std::string path = MakeFile("f");
  EXPECT_CALL(SetXattr(path, "user.a", "1"));
  EXPECT_CALL(SetXattr(path, "user.b", ""));
  EXPECT_EQ(GetXattr(path, "user.a"), "1");
  EXPECT_EQ(GetXattr(path, "user.b"), "");
  EXPECT_EQ(Names(path), (std::vector<std::string>{"user.a", "user.b"}));
  EXPECT_ERRNO(EEXIST, SetXattr(path, "user.a", "2", XATTR_CREATE));
  EXPECT_ERRNO(ENODATA, SetXattr(path, "user.c", "2", XATTR_REPLACE));
  EXPECT_CALL(SetXattr(path, "user.a", Pattern(2000), XATTR_REPLACE));
  EXPECT_EQ(GetXattr(path, "user.a"), Pattern(2000));
  char small[10];
  EXPECT_ERRNO(ERANGE, getxattr(path.c_str(), "user.a", small, sizeof small));
  EXPECT_EQ(getxattr(path.c_str(), "user.a", nullptr, 0), 2000);
  EXPECT_ERRNO(ERANGE, listxattr(path.c_str(), small, 3));
  EXPECT_EQ(listxattr(path.c_str(), nullptr, 0), 14);
  EXPECT_CALL(removexattr(path.c_str(), "user.a"));
  EXPECT_ERRNO(ENODATA, removexattr(path.c_str(), "user.a"));
  EXPECT_ERRNO(ENODATA, getxattr(path.c_str(), "user.a", small, sizeof small));
}

TEST_F(SpecialTest, XattrLimitsAndNamespaces) {
  std::string path = MakeFile("f");
  std::string longest = "user." + std::string(250, 'n');
  EXPECT_CALL(SetXattr(path, longest, "v"));
  EXPECT_EQ(GetXattr(path, longest), "v");
  EXPECT_ERRNO(ERANGE, SetXattr(path, longest + "n", "v"));
  EXPECT_ERRNO(E2BIG, SetXattr(path, "user.big", std::string(65537, 'x')));
  EXPECT_ERRNO(EOPNOTSUPP, SetXattr(path, "unknown.x", "v"));
  EXPECT_ERRNO(EOPNOTSUPP, SetXattr(path, "nodot", "v"));
  EXPECT_CALL(symlink("f", Path("l").c_str()));
  EXPECT_ERRNO(EPERM, SetXattr(Path("l"), "user.x", "v"));
}

TEST_F(SpecialTest, TrustedXattrsAreRoots) {
  NEEDS_ROOT();
  std::string path = MakeFile("f", {}, 0666);
  EXPECT_CALL(SetXattr(path, "trusted.x", "v"));
  EXPECT_EQ(GetXattr(path, "trusted.x"), "v");
  char buffer[10];
  EXPECT_EQ(
      ErrnoName(RunAs(
          kBob,
          [&] { return ERRNO_OF(getxattr(path.c_str(), "trusted.x", buffer, sizeof buffer)); })),
      "ENODATA");
  EXPECT_EQ(ErrnoName(RunAs(kBob, [&] { return ERRNO_OF(SetXattr(path, "trusted.x", "w")); })),
            "EPERM");
}

// POSIX ACLs in the kernel's form.
struct AclWriter {
  std::string bytes{"\2\0\0\0", 4};
  AclWriter& Add(uint16_t tag, uint16_t perm, uint32_t id = 0xffffffff) {
    bytes.append(reinterpret_cast<const char*>(&tag), 2);
    bytes.append(reinterpret_cast<const char*>(&perm), 2);
    bytes.append(reinterpret_cast<const char*>(&id), 4);
    return *this;
  }
};

constexpr char kAccessAcl[] = "system.posix_acl_access";
constexpr char kDefaultAcl[] = "system.posix_acl_default";

TEST_F(SpecialTest, AclsAreEnforcedAndFollowTheMode) {
  NEEDS_ROOT();
  std::string path = MakeFile("f", "data", 0600);
  EXPECT_CALL(chown(path.c_str(), kAlice, kAlice));
  std::string acl = AclWriter().Add(1, 6).Add(2, 7, kBob).Add(4, 0).Add(16, 4).Add(32, 0).bytes;
  EXPECT_CALL(SetXattr(path, kAccessAcl, acl));
  EXPECT_EQ(Stat(path).st_mode & 0777, 0640u);
  auto open_as_bob = [&](int flags) {
    return ErrnoName(RunAs(kBob, [&] { return ERRNO_OF(open(path.c_str(), flags)); }));
  };
  EXPECT_EQ(open_as_bob(O_RDONLY), "success");
  EXPECT_EQ(open_as_bob(O_WRONLY), "EACCES") << "masked";
  EXPECT_CALL(chmod(path.c_str(), 0660));
  EXPECT_EQ(open_as_bob(O_WRONLY), "success");
  EXPECT_EQ(GetXattr(path, kAccessAcl),
            AclWriter().Add(1, 6).Add(2, 7, kBob).Add(4, 0).Add(16, 6).Add(32, 0).bytes);
  EXPECT_CALL(removexattr(path.c_str(), kAccessAcl));
  EXPECT_EQ(open_as_bob(O_RDONLY), "EACCES");
}

TEST_F(SpecialTest, DefaultAclsAreInheritedWithoutUmask) {
  std::string dir = MakeDir("d");
  std::string acl = AclWriter().Add(1, 7).Add(2, 6, kBob).Add(4, 5).Add(16, 7).Add(32, 5).bytes;
  EXPECT_CALL(SetXattr(dir, kDefaultAcl, acl));
  umask(077);
  MakeFile("d/f", {}, 0664);
  MakeDir("d/s", 0750);
  umask(0);
  EXPECT_EQ(Stat(dir + "/f").st_mode & 07777, 0664u);
  EXPECT_EQ(GetXattr(dir + "/f", kAccessAcl),
            AclWriter().Add(1, 6).Add(2, 6, kBob).Add(4, 5).Add(16, 6).Add(32, 4).bytes);
  EXPECT_EQ(GetXattr(dir + "/s", kDefaultAcl), acl);
  EXPECT_EQ(Stat(dir + "/s").st_mode & 07777, 0750u);
}

TEST_F(SpecialTest, MalformedAclsAreRefused) {
  std::string path = MakeFile("f");
  EXPECT_ERRNO(EINVAL, SetXattr(path, kAccessAcl, AclWriter().Add(1, 7).bytes));
  EXPECT_ERRNO(EINVAL, SetXattr(path, kAccessAcl, AclWriter().Add(1, 7).bytes.substr(0, 9)));
  EXPECT_ERRNO(EACCES,
               SetXattr(path, kDefaultAcl, AclWriter().Add(1, 7).Add(4, 5).Add(32, 5).bytes));
}

}  // namespace
}  // namespace prism::posix
