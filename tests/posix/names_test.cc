// Names, links, renames, directories.
#include <dirent.h>
#include <linux/fs.h>
#include <sys/syscall.h>

#include <cstdio>
#include <set>

#include "tests/posix/posix.h"

namespace prism::posix {
namespace {

class NamesTest : public Posix {
 protected:
  int Rename(std::string_view from, std::string_view to, unsigned flags = 0) {
    return static_cast<int>(
        syscall(SYS_renameat2, AT_FDCWD, Path(from).c_str(), AT_FDCWD, Path(to).c_str(), flags));
  }
};

TEST_F(NamesTest, NamesOf255BytesWorkAnd256AreTooLong) {
  std::string longest(255, 'n'), beyond(256, 'n');
  MakeFile(longest);
  EXPECT_EQ(List(Path()), std::vector<std::string>{longest});
  EXPECT_ERRNO(ENAMETOOLONG, open(Path(beyond).c_str(), O_CREAT | O_WRONLY, 0644));
  EXPECT_ERRNO(ENAMETOOLONG, mkdir(Path(beyond).c_str(), 0755));
  EXPECT_ERRNO(ENAMETOOLONG, access(Path(beyond).c_str(), F_OK));
  EXPECT_ERRNO(ENAMETOOLONG, rename(Path(longest).c_str(), Path(beyond).c_str()));
}

TEST_F(NamesTest, EveryByteButSlashAndNulMayBeInAName) {
  std::set<std::string> expected;
  for (int byte = 1; byte < 256; ++byte) {
    if (byte == '/') continue;
    std::string name = std::string("x") + static_cast<char>(byte);
    MakeFile(name);
    expected.insert(name);
  }
  std::vector<std::string> found = List(Path());
  EXPECT_EQ(std::set<std::string>(found.begin(), found.end()), expected);
}

TEST_F(NamesTest, WhatIsMissingOrNoDirectoryIsSaidSo) {
  MakeFile("f");
  EXPECT_ERRNO(ENOENT, open(Path("missing").c_str(), O_RDONLY));
  EXPECT_ERRNO(ENOENT, open(Path("missing/f").c_str(), O_CREAT | O_WRONLY, 0644));
  EXPECT_ERRNO(ENOTDIR, open(Path("f/x").c_str(), O_RDONLY));
  EXPECT_ERRNO(ENOTDIR, open(Path("f/").c_str(), O_RDONLY));
  EXPECT_ERRNO(ENOTDIR, open(Path("f").c_str(), O_RDONLY | O_DIRECTORY));
  EXPECT_ERRNO(EISDIR, open(Path().c_str(), O_WRONLY));
}

TEST_F(NamesTest, MissingNamesCanBeMadeAfterTheyWereLookedUp) {
  EXPECT_ERRNO(ENOENT, access(Path("f").c_str(), F_OK));
  MakeFile("f");
  EXPECT_CALL(access(Path("f").c_str(), F_OK));
  EXPECT_CALL(unlink(Path("f").c_str()));
  EXPECT_ERRNO(ENOENT, access(Path("f").c_str(), F_OK));
}

TEST_F(NamesTest, MkdirAndRmdir) {
  MakeDir("d");
  EXPECT_ERRNO(EEXIST, mkdir(Path("d").c_str(), 0755));
  MakeFile("d/f");
  EXPECT_ERRNO(ENOTEMPTY, rmdir(Path("d").c_str()));
  EXPECT_ERRNO(ENOTDIR, rmdir(Path("d/f").c_str()));
  EXPECT_ERRNO(EISDIR, unlink(Path("d").c_str()));
  EXPECT_ERRNO(EINVAL, rmdir(Path("d/.").c_str()));
  EXPECT_ERRNO(ENOTEMPTY, rmdir(Path("d/..").c_str()));
  EXPECT_CALL(unlink(Path("d/f").c_str()));
  EXPECT_CALL(rmdir(Path("d").c_str()));
  EXPECT_ERRNO(ENOENT, rmdir(Path("d").c_str()));
}

TEST_F(NamesTest, DirectoriesCountTheirSubdirectoriesAsLinks) {
  MakeDir("d");
  EXPECT_EQ(Stat(Path("d")).st_nlink, 2u);
  MakeDir("d/a");
  MakeDir("d/b");
  MakeFile("d/f");
  EXPECT_EQ(Stat(Path("d")).st_nlink, 4u);
  EXPECT_CALL(rmdir(Path("d/a").c_str()));
  EXPECT_EQ(Stat(Path("d")).st_nlink, 3u);
  MakeDir("e");
  EXPECT_EQ(Rename("d/b", "e/b"), 0);
  EXPECT_EQ(Stat(Path("d")).st_nlink, 2u);
  EXPECT_EQ(Stat(Path("e")).st_nlink, 3u);
}

TEST_F(NamesTest, ARemovedWorkingDirectoryTakesNothing) {
  MakeDir("d");
  Fd dir(open(Path("d").c_str(), O_RDONLY | O_DIRECTORY));
  EXPECT_CALL(rmdir(Path("d").c_str()));
  EXPECT_ERRNO(ENOENT, openat(dir.get(), "f", O_CREAT | O_WRONLY, 0644));
  EXPECT_ERRNO(ENOENT, mkdirat(dir.get(), "d", 0755));
  struct stat attr {};
  EXPECT_CALL(fstat(dir.get(), &attr));
  EXPECT_EQ(attr.st_nlink, 0u);
}

TEST_F(NamesTest, HardLinksAreOneFile) {
  std::string one = MakeFile("one", "data"), two = Path("two");
  EXPECT_CALL(link(one.c_str(), two.c_str()));
  EXPECT_EQ(Stat(one).st_ino, Stat(two).st_ino);
  EXPECT_EQ(Stat(one).st_nlink, 2u);
  Append(two, "-more");
  EXPECT_EQ(Contents(one), "data-more");
  EXPECT_CALL(chmod(one.c_str(), 0600));
  EXPECT_EQ(Stat(two).st_mode & 07777, 0600u);
  EXPECT_ERRNO(EEXIST, link(one.c_str(), two.c_str()));
  EXPECT_CALL(unlink(one.c_str()));
  EXPECT_EQ(Stat(two).st_nlink, 1u);
  EXPECT_EQ(Contents(two), "data-more");
  MakeDir("d");
  EXPECT_ERRNO(EPERM, link(Path("d").c_str(), Path("e").c_str()));
  EXPECT_ERRNO(ENOENT, link(Path("missing").c_str(), Path("e").c_str()));
}

TEST_F(NamesTest, SymlinksKeepTheirTarget) {
  MakeFile("f", "data");
  EXPECT_CALL(symlink("f", Path("l").c_str()));
  EXPECT_EQ(Contents(Path("l")), "data");
  EXPECT_TRUE(S_ISLNK(Stat(Path("l")).st_mode));
  EXPECT_EQ(Stat(Path("l")).st_size, 1);
  char buffer[5000];
  EXPECT_EQ(readlink(Path("l").c_str(), buffer, sizeof buffer), 1);
  std::string target(4095, 't');
  EXPECT_CALL(symlink(target.c_str(), Path("longest").c_str()));
  EXPECT_EQ(readlink(Path("longest").c_str(), buffer, sizeof buffer), 4095);
  EXPECT_EQ(std::string(buffer, 4095), target);
  EXPECT_ERRNO(ENAMETOOLONG, symlink(std::string(4096, 't').c_str(), Path("more").c_str()));
  EXPECT_ERRNO(ENOENT, symlink("", Path("empty").c_str()));
  EXPECT_ERRNO(EEXIST, symlink("x", Path("l").c_str()));
  EXPECT_ERRNO(EINVAL, readlink(Path("f").c_str(), buffer, sizeof buffer));
}

TEST_F(NamesTest, SymlinksInCirclesAreLoops) {
  EXPECT_CALL(symlink("b", Path("a").c_str()));
  EXPECT_CALL(symlink("a", Path("b").c_str()));
  EXPECT_ERRNO(ELOOP, open(Path("a").c_str(), O_RDONLY));
  EXPECT_ERRNO(ELOOP, open(Path("a").c_str(), O_RDONLY | O_NOFOLLOW));
}

TEST_F(NamesTest, RenameReplacesFilesAndEmptyDirectories) {
  MakeFile("a", "new");
  MakeFile("b", "old");
  EXPECT_EQ(Rename("a", "b"), 0);
  EXPECT_EQ(Contents(Path("b")), "new");
  EXPECT_FALSE(Exists(Path("a")));
  MakeDir("d");
  MakeDir("e");
  MakeFile("d/f");
  EXPECT_EQ(Rename("d", "e"), 0);
  EXPECT_TRUE(Exists(Path("e/f")));
  MakeDir("g");
  EXPECT_ERRNO(ENOTEMPTY, Rename("g", "e"));
}

TEST_F(NamesTest, RenameRefusesWhatDoesNotFit) {
  MakeFile("f");
  MakeDir("d");
  MakeDir("d/sub");
  EXPECT_ERRNO(EISDIR, Rename("f", "d/sub"));
  EXPECT_ERRNO(ENOTDIR, Rename("d", "f"));
  EXPECT_ERRNO(EINVAL, Rename("d", "d/x"));
  EXPECT_ERRNO(EINVAL, Rename("d", "d/sub/x"));
  EXPECT_ERRNO(ENOTEMPTY, Rename("d/sub", "d"));
  EXPECT_ERRNO(ENOENT, Rename("missing", "x"));
  EXPECT_ERRNO(ENOENT, Rename("f", "missing/x"));
  EXPECT_ERRNO(ENOTDIR, Rename("f", "f/x"));
}

TEST_F(NamesTest, RenameBetweenLinksOfOneFileDoesNothing) {
  MakeFile("a");
  EXPECT_CALL(link(Path("a").c_str(), Path("b").c_str()));
  EXPECT_EQ(Rename("a", "b"), 0);
  EXPECT_TRUE(Exists(Path("a")));
  EXPECT_TRUE(Exists(Path("b")));
}

TEST_F(NamesTest, RenameFlags) {
  MakeFile("a", "A");
  MakeFile("b", "B");
  MakeDir("d");
  MakeFile("d/f");
  EXPECT_ERRNO(EEXIST, Rename("a", "b", RENAME_NOREPLACE));
  EXPECT_EQ(Rename("a", "c", RENAME_NOREPLACE), 0);
  EXPECT_EQ(Rename("c", "b", RENAME_EXCHANGE), 0);
  EXPECT_EQ(Contents(Path("b")), "A");
  EXPECT_EQ(Contents(Path("c")), "B");
  EXPECT_EQ(Rename("b", "d", RENAME_EXCHANGE), 0);
  EXPECT_EQ(Contents(Path("d")), "A");
  EXPECT_TRUE(Exists(Path("b/f")));
  EXPECT_ERRNO(ENOENT, Rename("b", "missing", RENAME_EXCHANGE));
  EXPECT_ERRNO(EINVAL, Rename("b", "x", RENAME_NOREPLACE | RENAME_EXCHANGE));
}

TEST_F(NamesTest, AnOpenFileSurvivesBeingReplaced) {
  MakeFile("a", "new");
  MakeFile("b", "old");
  Fd fd(open(Path("b").c_str(), O_RDONLY));
  EXPECT_EQ(Rename("a", "b"), 0);
  char buffer[4] = {};
  EXPECT_EQ(read(fd.get(), buffer, 3), 3);
  EXPECT_STREQ(buffer, "old");
}

TEST_F(NamesTest, LargeDirectoriesAreListedWhole) {
  MakeDir("d");
  std::set<std::string> expected;
  for (int i = 0; i < 2000; ++i) {
    expected.insert("entry-with-a-longer-name-" + std::to_string(i));
    MakeFile("d/entry-with-a-longer-name-" + std::to_string(i));
  }
  std::vector<std::string> found = List(Path("d"));
  EXPECT_EQ(found.size(), expected.size());
  EXPECT_EQ(std::set<std::string>(found.begin(), found.end()), expected);
}

TEST_F(NamesTest, RemovingWhileListingMeetsEveryEntryOnce) {
  MakeDir("d");
  for (int i = 0; i < 1500; ++i) MakeFile("d/f" + std::to_string(i));
  DIR* dir = opendir(Path("d").c_str());
  ASSERT_NE(dir, nullptr);
  int removed = 0;
  while (dirent* entry = readdir(dir)) {
    std::string name = entry->d_name;
    if (name == "." || name == "..") continue;
    EXPECT_CALL(unlink(Path("d/" + name).c_str()));
    ++removed;
  }
  closedir(dir);
  EXPECT_EQ(removed, 1500);
  EXPECT_CALL(rmdir(Path("d").c_str()));
}

TEST_F(NamesTest, SeekdirGoesBackToAnEntry) {
  for (int i = 0; i < 300; ++i) MakeFile("f" + std::to_string(i));
  DIR* dir = opendir(Path().c_str());
  ASSERT_NE(dir, nullptr);
  for (int i = 0; i < 150; ++i) readdir(dir);
  long place = telldir(dir);
  dirent* entry = readdir(dir);
  ASSERT_NE(entry, nullptr);
  std::string next = entry->d_name;
  while (readdir(dir) != nullptr) {
  }
  seekdir(dir, place);
  entry = readdir(dir);
  ASSERT_NE(entry, nullptr);
  EXPECT_EQ(entry->d_name, next);
  rewinddir(dir);
  int count = 0;
  while (readdir(dir) != nullptr) ++count;
  EXPECT_EQ(count, 302);
  closedir(dir);
}

TEST_F(NamesTest, ListingsTellTypesAndInodes) {
  MakeFile("file");
  MakeDir("dir");
  EXPECT_CALL(symlink("x", Path("link").c_str()));
  EXPECT_CALL(mkfifo(Path("fifo").c_str(), 0600));
  DIR* dir = opendir(Path().c_str());
  ASSERT_NE(dir, nullptr);
  while (dirent* entry = readdir(dir)) {
    std::string name = entry->d_name;
    if (name == "." || name == "..") continue;
    struct stat attr = Stat(Path(name));
    EXPECT_EQ(entry->d_ino, attr.st_ino) << name;
    EXPECT_TRUE(entry->d_type == DT_UNKNOWN || entry->d_type == IFTODT(attr.st_mode)) << name;
  }
  closedir(dir);
}

}  // namespace
}  // namespace prism::posix
