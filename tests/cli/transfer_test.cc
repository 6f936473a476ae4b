// Import and export keep everything, in every combination, judged by other programs (rsync, find,
// getfattr, GNU tar). Needs root: owners, devices, privileged attributes.
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <unistd.h>

#include "tests/cli/support.h"

namespace prism::tool {
namespace {

// A tree with one of everything. $1: where.
constexpr const char* kBuildTree = R"sh(
set -e
mkdir -p "$1" && cd "$1"
mkdir -m 1777 sticky && mkdir -m 2775 setgid && mkdir -p a/b/c empty unreadable wide
chmod 000 unreadable
echo hello > a/file; printf x > a/one; : > a/none
head -c 65536 /dev/urandom > a/inline-limit; head -c 65537 /dev/urandom > a/over-limit
head -c 5000000 /dev/urandom > a/large
touch "a/ name with spaces" "a/$(printf 'new\nline')" "a/$(printf 'inv\377alid')" a/ümlaut
touch a/"$(head -c 255 /dev/zero | tr '\0' n)"
cp /bin/true suid && chown 12345:54321 suid && chmod 6755 suid
cp /bin/true capable && setcap cap_net_raw+ep capable
chown 4000000000:4000000001 a/one
ln a/file a/b/second-name; ln a/file a/b/c/third-name; ln a/large large-again
ln -s a/file link; ln -s /nowhere/at/all dangling; ln -s .. up; chown -h 77:88 link
ln -s "$(head -c 4000 /dev/zero | tr '\0' l)" long-link; ln link link-again
mknod char c 5 300; mknod block b 259 70000; mkfifo -m 640 fifo; ln fifo fifo-again
python3 -c "import socket; socket.socket(socket.AF_UNIX).bind('socket')"
truncate -s 100G hole; truncate -s 10M data-then-hole
echo start | dd of=data-then-hole conv=notrunc status=none
dd if=/dev/urandom of=islands bs=64K count=1 seek=16 status=none
dd if=/dev/urandom of=islands bs=64K count=2 seek=160 conv=notrunc status=none
truncate -s 60000 small-hole; echo x >> small-hole
for i in $(seq 700); do echo $i > wide/$i; done
deep=.; for i in $(seq 60); do deep=$deep/d$i; done; mkdir -p $deep; echo deep > $deep/file
setfattr -n user.empty a/file; setfattr -n user.text -v hello a
setfattr -n trusted.secret -v 0x00ff0a3d a/file
setfattr -h -n trusted.onlink -v x link
setfattr -n user.big -v "$(head -c 3000 /dev/zero | tr '\0' b)" a/one
mkdir acls; echo > acls/before; setfacl -m u:1001:rw,g:1002:x,m::r acls/before
setfacl -d -m u:1003:rwx,g::r acls; echo > acls/inherited; mkdir acls/sub; setfacl -b acls/sub
touch -d '2001-02-03 04:05:06.123456789' a/file; touch -d '1960-01-01 00:00:00.5' a/one
touch -d '2100-01-01 00:00:00.999999999' a/none; touch -h -d '1999-12-31 23:59:59.000000001' link
touch -a -d '1995-05-05 05:05:05.050505050' suid
touch -d '2005-05-05 05:05:05.555555555' a/b a wide acls . $deep
)sh";

// Everything that find can see; directories and symlinks without atime, which looking at them
// changes.
constexpr const char* kList = R"sh(cd "$1" && find . -type d -printf '%P %y %m %U:%G %T@\n' )sh"
                              R"sh(-o -type l -printf '%P %y %m %U:%G %n %T@ %l\n' )sh"
                              R"sh(-o -printf '%P %y %m %U:%G %n %s %T@ %A@\n' | sort)sh";

std::string Script(const char* script, const std::string& argument) {
  return "bash -c '" +
         [&] {
           std::string quoted;
           for (const char* at = script; *at; ++at)
             quoted += *at == '\'' ? "'\\''" : std::string(1, *at);
           return quoted;
         }() +
         "' script '" + argument + "'";
}

std::string Sh(const std::string& command) {
  ShellResult result = Shell(command);
  EXPECT_EQ(result.exit_code, 0) << command << "\n" << result.output;
  return result.output;
}

class TransferTest : public testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "needs root, to import owners and devices";
    source_ = directory_ / "source";
    Sh(Script(kBuildTree, source_));
  }

  TransferReport Import(fs::FileSystem& volume, const std::string& path) {
    Progress progress(Progress::Style::kSilent, "import");
    Outcome<void> outcome = ImportDirectory(volume, path, {}, progress);
    EXPECT_TRUE(outcome) << outcome.error().message;
    return progress.Finish();
  }
  TransferReport Export(fs::FileSystem& volume, const std::string& path) {
    Progress progress(Progress::Style::kSilent, "export");
    Outcome<void> outcome = ExportDirectory(volume, path, progress);
    EXPECT_TRUE(outcome) << outcome.error().message;
    return progress.Finish();
  }
  TransferReport ImportArchive(fs::FileSystem& volume, const std::string& path) {
    Progress progress(Progress::Style::kSilent, "import");
    Outcome<void> outcome = ImportTar(volume, path, progress);
    EXPECT_TRUE(outcome) << outcome.error().message;
    return progress.Finish();
  }
  TransferReport ExportArchive(fs::FileSystem& volume, const std::string& path) {
    Progress progress(Progress::Style::kSilent, "export");
    Outcome<void> outcome = ExportTar(volume, path, progress);
    EXPECT_TRUE(outcome) << outcome.error().message;
    return progress.Finish();
  }

  void ExpectIdentical(const std::string& expected, const std::string& actual) {
    EXPECT_EQ(Sh("rsync -aHAXn --delete --itemize-changes " + expected + "/ " + actual + "/"), "");
    const char* dump = R"sh(cd "$1" && getfattr -hR -d -m - . ; getfacl -pRn .)sh";
    for (const char* script : {kList, dump}) {
      Sh(Script(script, expected) + " > " + directory_ / "expected");
      Sh(Script(script, actual) + " > " + directory_ / "actual");
      EXPECT_EQ(Sh("diff " + directory_ / "expected" + " " + directory_ / "actual"), "");
    }
  }

  TemporaryDirectory directory_;
  std::string source_;
};

TEST_F(TransferTest, DirectoryRoundTripIsIdentical) {
  const std::string before = Sh(Script(kList, source_));
  ModelVolume volume;
  TransferReport in = Import(*volume, source_);
  EXPECT_EQ(in.warnings, 0u);
  EXPECT_EQ(in.hard_links, 5u);  // second-name, third-name, large-again, link-again, fifo-again
  TransferReport out = Export(*volume, directory_ / "copy");
  EXPECT_EQ(out.warnings, 0u);
  EXPECT_EQ(std::make_tuple(in.files, in.directories, in.others, in.hard_links, in.bytes),
            std::make_tuple(out.files, out.directories, out.others, out.hard_links, out.bytes));
  ExpectIdentical(source_, directory_ / "copy");
  EXPECT_EQ(before, Sh(Script(kList, source_))) << "the import changed its source";
}

TEST_F(TransferTest, HolesStayHoles) {
  ModelVolume volume;
  Import(*volume, source_);
  EXPECT_EQ(Find(*volume, "hole")->size, uint64_t{100} << 30);
  EXPECT_EQ(Find(*volume, "hole")->used_bytes, 0u);
  EXPECT_EQ(Find(*volume, "islands")->used_bytes, 3u * 65536);
  const InodeId islands = Find(*volume, "islands")->ino;
  EXPECT_EQ(volume->Seek(kRootCaller, islands, 0, fs::SeekWhence::kData), 16u * 65536);
  Export(*volume, directory_ / "copy");
  EXPECT_EQ(Sh("stat -c %b " + directory_ / "copy/hole"), "0\n");
  EXPECT_EQ(Sh("stat -c %b " + directory_ / "copy/islands"), "384\n");
}

TEST_F(TransferTest, TarRoundTripIsIdenticalButForTheSocket) {
  ModelVolume first, second;
  Import(*first, source_);
  TransferReport out = ExportArchive(*first, directory_ / "volume.tar");
  EXPECT_EQ(out.warnings, 1u);  // the socket
  EXPECT_EQ(ImportArchive(*second, directory_ / "volume.tar").warnings, 0u);
  Export(*second, directory_ / "copy");
  Sh("rm " + directory_ / "source/socket && touch -d '2005-05-05 05:05:05.555555555' " + source_);
  ExpectIdentical(source_, directory_ / "copy");
  EXPECT_EQ(Sh("stat -c %b " + directory_ / "copy/islands"), "384\n");
}

TEST_F(TransferTest, GnuTarReadsWhatIsExported) {
  ModelVolume volume;
  Import(*volume, source_);
  ExportArchive(*volume, directory_ / "volume.tar");
  Sh("mkdir " + directory_ / "copy" +
     " && tar --numeric-owner --acls --xattrs "
     "--xattrs-include='*' -xpf " +
     directory_ / "volume.tar" + " -C " + directory_ / "copy");
  Sh("rm " + directory_ / "source/socket && touch -d '2005-05-05 05:05:05.555555555' " + source_);
  EXPECT_EQ(Sh("rsync -aHAXn --delete --itemize-changes " + source_ + "/ " + directory_ / "copy/"),
            "");
}

TEST_F(TransferTest, WhatGnuTarWritesIsReadWithAnyCompression) {
  // Neither sockets nor further names of FIFOs have a form in what GNU tar writes.
  Sh("rm " + directory_ / "source/socket" + " " + directory_ / "source/fifo-again");
  for (const char* compression : {"cat", "gzip -1", "xz -0", "zstd -1", "bzip2 -1", "lz4 -1"}) {
    SCOPED_TRACE(compression);
    const std::string copy = directory_ / "copy", archive = directory_ / "tree.tar";
    Sh("rm -rf " + copy +
       " && tar --format=pax --acls --xattrs --xattrs-include='*' --sparse "
       "--atime-preserve=system -cf - -C " +
       source_ + " . | " + compression + " > " + archive);
    ModelVolume volume;
    EXPECT_EQ(ImportArchive(*volume, archive).warnings, 0u);
    Export(*volume, copy);
    EXPECT_EQ(Sh("rsync -aHAXn --delete --itemize-changes " + source_ + "/ " + copy + "/"), "");
  }
}

TEST_F(TransferTest, OtherFileSystemsBelowAreLeftOutUnlessAskedFor) {
  const std::string inner = source_ + "/empty";
  ASSERT_EQ(mount("none", inner.c_str(), "tmpfs", 0, nullptr), 0);
  Shell("echo inside > " + inner + "/file");
  ModelVolume without, with;
  Import(*without, source_);
  Progress progress(Progress::Style::kSilent, "import");
  ImportOptions options;
  options.cross_file_systems = true;
  Outcome<void> outcome = ImportDirectory(*with, source_, options, progress);
  umount(inner.c_str());
  ASSERT_TRUE(outcome) << outcome.error().message;
  EXPECT_EQ(Find(*without, "empty")->type, fs::FileType::kDirectory);
  EXPECT_EQ(Find(*without, "empty/file").error(), Err::kNoEntry);
  EXPECT_EQ(Content(*with, "empty/file"), "inside\n");
}

TEST_F(TransferTest, ExportRefusesADirectoryWithContents) {
  ModelVolume volume;
  Progress progress(Progress::Style::kSilent, "export");
  Outcome<void> outcome = ExportDirectory(*volume, source_, progress);
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().code, Err::kNotEmpty);
}

TEST_F(TransferTest, AFailedTarExportLeavesNoFile) {
  ModelVolume volume;
  Import(*volume, source_);
  Sh("mkdir " + directory_ / "small" + " && mount -t tmpfs -o size=1m none " +
     directory_ / "small");
  Progress progress(Progress::Style::kSilent, "export");
  Outcome<void> outcome = ExportTar(*volume, directory_ / "small/volume.tar", progress);
  const std::string left = Shell("ls -A " + directory_ / "small").output;
  Sh("umount " + directory_ / "small");
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().code, Err::kNoSpace) << outcome.error().message;
  EXPECT_EQ(left, "");
}

TEST_F(TransferTest, ASourceThatIsNotADirectoryIsAnError) {
  ModelVolume volume;
  Progress progress(Progress::Style::kSilent, "import");
  EXPECT_EQ(ImportDirectory(*volume, source_ + "/a/file", {}, progress).error().code,
            Err::kNotDirectory);
  EXPECT_EQ(ImportDirectory(*volume, source_ + "/absent", {}, progress).error().code,
            Err::kNoEntry);
}

}  // namespace
}  // namespace prism::tool
