// What people do with a file system, by the programs that they do it with.
#include <sys/stat.h>
#include <unistd.h>

#include "tests/mount/mount_fixture.h"

namespace prism::mount {
namespace {

class ToolsTest : public MountTest {
 protected:
  // A tree with one of everything, on the mount.
  void MakeTree(const std::string& name) {
    ASSERT_EQ(Shell("set -e; mkdir " + Path(name) + "; cd " + Path(name) + R"sh(
      mkdir -p dir/sub empty; echo text >dir/file; ln dir/file dir/sub/hard; ln -s dir/file soft
      ln -s /nowhere dangling; mkfifo fifo; mknod char c 1 3; mknod block b 7 200
      python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("socket")'
      truncate -s 5M sparse; printf data | dd of=sparse bs=1 seek=3000000 conv=notrunc status=none
      head -c 3000000 /dev/urandom >random; chmod 4755 random; chown 1000:1001 random
      chmod 1777 empty; chmod 2750 dir/sub; setfattr -n user.note -v hello dir/file
      setfacl -m u:1000:rw,g:5:r dir/file; setfacl -d -m u:7:rx dir
      cp /bin/true capable; setcap cap_net_raw+ep capable
      touch -d '2001-02-03 04:05:06.123456789' dir/file; touch -hd '1999-01-01' soft
      touch -d '1980-01-01 00:00:00.5' dir/sub dir)sh"),
              0);
  }
  void ExpectSame(const std::string& left, const std::string& right) {
    std::string output;
    ASSERT_EQ(
        Shell("rsync -aHAXn --delete --itemize-changes " + left + "/ " + right + "/", &output), 0);
    EXPECT_EQ(output, "");
    ASSERT_EQ(
        Shell("diff -r --no-dereference -x fifo -x char -x block -x socket " + left + " " + right,
              &output),
        0)
        << output;
  }
};

TEST_F(ToolsTest, CpKeepsEverything) {
  MakeTree("tree");
  ASSERT_EQ(Shell("cp -a --sparse=always " + Path("tree") + " " + Path("copy")), 0);
  ExpectSame(Path("tree"), Path("copy"));
  struct stat st;
  ASSERT_EQ(stat(Path("copy/sparse").c_str(), &st), 0);
  EXPECT_LT(st.st_blocks * 512, 1 << 20);
}

TEST_F(ToolsTest, RsyncKeepsEverything) {
  MakeTree("tree");
  ASSERT_EQ(Shell("rsync -aHAXS " + Path("tree") + "/ " + Path("copy") + "/"), 0);
  ExpectSame(Path("tree"), Path("copy"));
}

TEST_F(ToolsTest, TarThereAndBackKeepsEverything) {
  MakeTree("tree");
  ASSERT_EQ(Shell("cd " + Path("") +
                  " && tar --xattrs --xattrs-include='*' --acls -S -cf t.tar -C " + Path("tree") +
                  " --exclude=socket . && mkdir copy && tar --xattrs "
                  "--xattrs-include='*' --acls -xpf t.tar -C copy && rm tree/socket"),
            0);
  ASSERT_EQ(Shell("touch -r " + Path("tree") + " " + Path("copy")), 0);
  ExpectSame(Path("tree"), Path("copy"));
}

TEST_F(ToolsTest, GitWorks) {
  std::string output;
  ASSERT_EQ(Shell("set -e; mkdir " + Path("repo") + "; cd " + Path("repo") + R"sh(
      export HOME=$PWD GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a
      export GIT_COMMITTER_EMAIL=a@b
      git init -q .; for d in 1 2 3 4 5 6 7 8; do mkdir $d
        for i in $(seq 100); do echo "$d $i" >$d/$i; done; done
      git add .; git commit -qm one; git rm -rq 3; echo more >>4/7; git commit -qam two
      git checkout -q HEAD~1; test -f 3/50; git gc -q; git fsck --full; git status --porcelain)sh",
                  &output),
            0)
      << output;
}

TEST_F(ToolsTest, ParallelStormsOfSmallFiles) {
  ASSERT_EQ(Shell("cd " + Path("") + R"sh(
      storm() { mkdir w$1 && cd w$1 && for r in 1 2 3; do
          for i in $(seq 200); do echo "$1 $r $i" >f$i.tmp && mv f$i.tmp f$i || exit 1; done
          test "$(cat f* | sort | md5sum)" = "$(for i in $(seq 200); do echo "$1 $r $i"; done |
              sort | md5sum)" || exit 2
          rm -f f1??; done; }
      pids=; for w in 1 2 3 4; do (storm $w) & pids="$pids $!"; done
      for p in $pids; do wait $p || exit $?; done; test "$(ls w* | grep -c f)" = 400)sh"),
            0);
  ASSERT_EQ(Shell("rm -r " + Path("w?")), 0);
  EXPECT_TRUE(Eventually([&] { return session().known_inodes() == 0; }))
      << session().known_inodes();
}

TEST_F(ToolsTest, ProgramsRunFromTheMount) {
  ASSERT_EQ(Shell("cp /bin/ls /usr/bin/python3 " + Path("") + " && " + Path("ls") +
                  " / >/dev/null && " + Path("python3") + " -c 'print(1)' >/dev/null"),
            0);
  // A running program may not be written.
  ASSERT_EQ(Shell("cp /bin/sleep " + Path("sleep")), 0);
  std::string output;
  EXPECT_EQ(Shell(Path("sleep") + " 1 & sleep 0.2; (echo x >>" + Path("sleep") +
                      ") 2>&1 | grep -q 'Text file busy'",
                  &output),
            0);
}

TEST_F(ToolsTest, SqliteKeepsADatabase) {
  ASSERT_EQ(Shell("cd " + Path("") + R"sh( && python3 -c '
import sqlite3
for mode in ("delete", "wal"):
    db = sqlite3.connect(mode + ".db")
    db.execute("pragma journal_mode=" + mode)
    db.execute("create table t(a integer primary key, b text)")
    for i in range(50):
        with db:
            db.executemany("insert into t(b) values(?)", [("x" * 100,)] * 20)
    db.close()
    db = sqlite3.connect(mode + ".db")
    assert db.execute("select count(*) from t").fetchone()[0] == 1000
    assert db.execute("pragma integrity_check").fetchone()[0] == "ok"
    db.close()')sh"),
            0);
}

}  // namespace
}  // namespace prism::mount
