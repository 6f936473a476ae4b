// What RFC 1813 says of single procedures, field by field.
#include "tests/nfs/nfs_fixture.h"

namespace prism::nfs3 {
namespace {

class ProceduresTest : public NfsFixture {
 protected:
  // Makes a change in `dir` and looks at the wcc_data of it: true before, true after.
  void ExpectDirWcc(uint32_t procedure, const Bytes& args, std::string_view dir,
                    bool makes_something) {
    SCOPED_TRACE(procedure);
    const Fattr before = client_.Getattr(dir);
    Results results = client_.Nfs(procedure, args);
    ASSERT_EQ(results.status(), NFS3_OK);
    if (makes_something) {
      auto handle = results.GetPostOpHandle();
      auto attr = results.GetPostOp();
      ASSERT_TRUE(handle && attr);
      EXPECT_EQ(client_.Getattr(*handle), *attr);
    }
    ExpectTrue(results.GetWcc(), before, dir);
    EXPECT_TRUE(results.Finished());
  }
  void ExpectTrue(const Wcc& wcc, const Fattr& before, std::string_view handle) {
    ASSERT_TRUE(wcc.before && wcc.after);
    EXPECT_EQ(*wcc.before, PreOf(before));
    EXPECT_EQ(*wcc.after, client_.Getattr(handle));
  }
  Results Setattr(std::string_view file, uint32_t mode, std::optional<Time> guard) {
    Args args = Args().Text(file).Sattr(mode).U32(guard.has_value());
    if (guard) args.U32(guard->sec).U32(guard->nsec);
    return client_.Nfs(NFSPROC3_SETATTR, args);
  }
  Results Write(std::string_view file, uint64_t offset, std::string_view data, uint32_t stable) {
    return client_.Nfs(NFSPROC3_WRITE, Args()
                                           .Text(file)
                                           .U64(offset)
                                           .U32(static_cast<uint32_t>(data.size()))
                                           .U32(stable)
                                           .Text(data));
  }
  Results Exclusive(std::string_view name, uint64_t verifier) {
    return client_.Nfs(NFSPROC3_CREATE, Where(root_, name).U32(2).U64(verifier));
  }

  Client client_ = Connect();
};

TEST_F(ProceduresTest, EveryChangeOfADirectoryTellsItBeforeAndAfter) {
  const std::string dir = client_.Mkdir(root_, "dir");
  const std::string file = client_.Create(root_, "file");
  ExpectDirWcc(NFSPROC3_CREATE, Where(dir, "unchecked").U32(0).Sattr(0600), dir, true);
  ExpectDirWcc(NFSPROC3_CREATE, Where(dir, "guarded").U32(1).Sattr(0600), dir, true);
  ExpectDirWcc(NFSPROC3_CREATE, Where(dir, "exclusive").U32(2).U64(77), dir, true);
  ExpectDirWcc(NFSPROC3_MKDIR, Where(dir, "sub").Sattr(0700), dir, true);
  ExpectDirWcc(NFSPROC3_SYMLINK, Where(dir, "link").Sattr().Text("target"), dir, true);
  ExpectDirWcc(NFSPROC3_MKNOD, Where(dir, "fifo").U32(7).Sattr(0600), dir, true);
  ExpectDirWcc(NFSPROC3_MKNOD, Where(dir, "socket").U32(6).Sattr(0600), dir, true);
  ExpectDirWcc(NFSPROC3_MKNOD, Where(dir, "device").U32(4).Sattr(0600).U32(1).U32(3), dir, true);
  ExpectDirWcc(NFSPROC3_REMOVE, Where(dir, "fifo"), dir, false);
  ExpectDirWcc(NFSPROC3_RMDIR, Where(dir, "sub"), dir, false);

  const Fattr before = client_.Getattr(dir);
  Results linked = client_.Nfs(NFSPROC3_LINK, Args().Text(file).Text(dir).Text("hard"));
  ASSERT_EQ(linked.status(), NFS3_OK);
  EXPECT_EQ(linked.GetPostOp(), client_.Getattr(file));
  ExpectTrue(linked.GetWcc(), before, dir);
  EXPECT_TRUE(linked.Finished());

  const Fattr from_before = client_.Getattr(root_), to_before = client_.Getattr(dir);
  Results renamed =
      client_.Nfs(NFSPROC3_RENAME, Args().Text(root_).Text("file").Text(dir).Text("moved"));
  ASSERT_EQ(renamed.status(), NFS3_OK);
  ExpectTrue(renamed.GetWcc(), from_before, root_);
  ExpectTrue(renamed.GetWcc(), to_before, dir);
  EXPECT_TRUE(renamed.Finished());
}

TEST_F(ProceduresTest, ChangesOfAFileTellItBeforeAndAfter) {
  const std::string file = client_.Create(root_, "file");
  Fattr before = client_.Getattr(file);
  Results written = Write(file, 0, "data", 0);
  ASSERT_EQ(written.status(), NFS3_OK);
  ExpectTrue(written.GetWcc(), before, file);
  EXPECT_EQ(written.in().U32(), 4u);

  before = client_.Getattr(file);
  Results set = Setattr(file, 0400, {});
  ASSERT_EQ(set.status(), NFS3_OK);
  ExpectTrue(set.GetWcc(), before, file);
  EXPECT_TRUE(set.Finished());

  Results committed = client_.Nfs(NFSPROC3_COMMIT, Args().Text(file).U64(0).U32(0));
  ASSERT_EQ(committed.status(), NFS3_OK);
  ExpectTrue(committed.GetWcc(), client_.Getattr(file), file);
}

TEST_F(ProceduresTest, FailuresTellTheDirectoryAsItIs) {
  client_.Mkdir(root_, "dir");
  for (auto [procedure, args] : {std::pair<uint32_t, Args>{NFSPROC3_REMOVE, Where(root_, "none")},
                                 {NFSPROC3_REMOVE, Where(root_, "dir")},
                                 {NFSPROC3_RMDIR, Where(root_, "none")},
                                 {NFSPROC3_MKDIR, Where(root_, "dir").Sattr(0755)},
                                 {NFSPROC3_CREATE, Where(root_, "dir").U32(1).Sattr(0644)}}) {
    Results results = client_.Nfs(procedure, args);
    EXPECT_NE(results.status(), NFS3_OK);
    EXPECT_EQ(results.GetWcc().after, client_.Getattr(root_)) << procedure;
    EXPECT_TRUE(results.Finished());
  }
  Results lookup = client_.Nfs(NFSPROC3_LOOKUP, Where(root_, "none"));
  EXPECT_EQ(lookup.status(), NFS3ERR_NOENT);
  EXPECT_EQ(lookup.GetPostOp(), client_.Getattr(root_));
}

TEST_F(ProceduresTest, AGuardedSetattrIsRefusedWhenTheFileHasChanged) {
  const std::string file = client_.Create(root_, "file");
  const Time old = client_.Getattr(file).ctime;
  EXPECT_EQ(Setattr(file, 0600, old).status(), NFS3_OK);
  Results refused = Setattr(file, 0640, old);
  EXPECT_EQ(refused.status(), NFS3ERR_NOT_SYNC);
  EXPECT_EQ(refused.GetWcc().after, client_.Getattr(file));
  EXPECT_EQ(client_.Getattr(file).mode, 0600u);
  EXPECT_EQ(Setattr(file, 0644, client_.Getattr(file).ctime).status(), NFS3_OK);
}

TEST_F(ProceduresTest, AnExclusiveCreateMayBeSentAgainAlsoAfterARestart) {
  Results first = Exclusive("file", 0x1234567890);
  ASSERT_EQ(first.status(), NFS3_OK);
  const std::string handle = first.GetPostOpHandle().value_or("");
  Results second = Exclusive("file", 0x1234567890);
  ASSERT_EQ(second.status(), NFS3_OK);
  EXPECT_EQ(second.GetPostOpHandle(), handle);
  EXPECT_EQ(Exclusive("file", 0x1234567891).status(), NFS3ERR_EXIST);
  Restart();
  client_ = Connect();
  Results third = Exclusive("file", 0x1234567890);
  ASSERT_EQ(third.status(), NFS3_OK);
  EXPECT_EQ(third.GetPostOpHandle(), handle);
  EXPECT_EQ(Exclusive("file", 0x1234567891).status(), NFS3ERR_EXIST);
}

TEST_F(ProceduresTest, TheWriteVerifierStaysWhereNothingWasLost) {
  const std::string file = client_.Create(root_, "file");
  auto verifier_of_write = [&](uint32_t stable) {
    Results results = Write(file, 0, "data", stable);
    EXPECT_EQ(results.status(), NFS3_OK);
    results.GetWcc();
    results.in().U32();
    EXPECT_GE(results.in().U32(), stable) << "committed at least as asked for";
    return results.in().U64();
  };
  auto verifier_of_commit = [&] {
    Results results = client_.Nfs(NFSPROC3_COMMIT, Args().Text(file).U64(0).U32(0));
    EXPECT_EQ(results.status(), NFS3_OK);
    results.GetWcc();
    return results.in().U64();
  };
  const uint64_t verifier = verifier_of_write(0);
  EXPECT_EQ(verifier_of_write(1), verifier);
  EXPECT_EQ(verifier_of_write(2), verifier);
  EXPECT_EQ(verifier_of_commit(), verifier);
  Restart();
  client_ = Connect();
  EXPECT_EQ(verifier_of_commit(), verifier) << "a clean stop has saved everything";
}

TEST_F(ProceduresTest, FsinfoAndPathconfTellWhatHolds) {
  Results info = client_.Nfs(NFSPROC3_FSINFO, Args().Text(root_));
  ASSERT_EQ(info.status(), NFS3_OK);
  EXPECT_TRUE(info.GetPostOp());
  const uint32_t rtmax = info.in().U32();
  info.in().U64();
  const uint32_t wtmax = info.in().U32();
  info.in().U64();
  info.in().U32();
  const uint64_t size_max = info.in().U64();
  info.in().U64();
  EXPECT_EQ(info.in().U32(), 0x1bu);  // LINK | SYMLINK | HOMOGENEOUS | CANSETTIME
  EXPECT_TRUE(info.Finished());

  const std::string file = client_.Create(root_, "file");
  EXPECT_EQ(Write(file, 0, std::string(wtmax, 'x'), 0).status(), NFS3_OK);
  Results read = client_.Nfs(NFSPROC3_READ, Args().Text(file).U64(0).U32(rtmax));
  ASSERT_EQ(read.status(), NFS3_OK);
  read.GetPostOp();
  EXPECT_EQ(read.in().U32(), rtmax);
  auto resize = [&](uint64_t size) {
    return client_.StatusOf(NFSPROC3_SETATTR, Args().Text(file).Sattr({}, size).U32(0));
  };
  EXPECT_EQ(resize(size_max), NFS3_OK);
  EXPECT_EQ(resize(size_max + 1), NFS3ERR_FBIG);

  Results conf = client_.Nfs(NFSPROC3_PATHCONF, Args().Text(root_));
  ASSERT_EQ(conf.status(), NFS3_OK);
  EXPECT_TRUE(conf.GetPostOp());
  EXPECT_GE(conf.in().U32(), 65000u);
  const uint32_t name_max = conf.in().U32();
  EXPECT_TRUE(conf.in().Bool()) << "no_trunc";
  EXPECT_TRUE(conf.in().Bool()) << "chown_restricted";
  EXPECT_FALSE(conf.in().Bool()) << "case_insensitive";
  EXPECT_TRUE(conf.in().Bool()) << "case_preserving";
  EXPECT_TRUE(conf.Finished());
  client_.Create(root_, std::string(name_max, 'n'));
  EXPECT_EQ(client_.StatusOf(NFSPROC3_CREATE,
                             Where(root_, std::string(name_max + 1, 'n')).U32(1).Sattr(0644)),
            NFS3ERR_NAMETOOLONG);
}

TEST_F(ProceduresTest, NamesThatAreNoneAreRefused) {
  using std::string_literals::operator""s;
  for (const std::string& name : {"a/b"s, "/"s, "a\0b"s, "\0"s, ""s, "."s, ".."s}) {
    const uint32_t made = client_.StatusOf(NFSPROC3_CREATE, Where(root_, name).U32(1).Sattr(0644));
    EXPECT_TRUE(made == NFS3ERR_INVAL || made == NFS3ERR_EXIST) << name << ": " << made;
    EXPECT_EQ(client_.StatusOf(NFSPROC3_MKDIR, Where(root_, name).Sattr(0755)), made);
    EXPECT_NE(client_.StatusOf(NFSPROC3_REMOVE, Where(root_, name)), NFS3_OK);
    EXPECT_NE(client_.StatusOf(NFSPROC3_RMDIR, Where(root_, name)), NFS3_OK);
  }
  for (size_t length : {256, 1000, 4000}) {
    const std::string name(length, 'n');
    EXPECT_EQ(client_.StatusOf(NFSPROC3_LOOKUP, Where(root_, name)), NFS3ERR_NAMETOOLONG);
    EXPECT_EQ(client_.StatusOf(NFSPROC3_MKDIR, Where(root_, name).Sattr(0755)),
              NFS3ERR_NAMETOOLONG);
  }
  EXPECT_EQ(client_.Getattr(root_).size, 0u);
}

TEST_F(ProceduresTest, SymlinkTargetsAreKeptUpTo4095Bytes) {
  const std::string longest(4095, 't');
  Results made = client_.Nfs(NFSPROC3_SYMLINK, Where(root_, "l").Sattr().Text(longest));
  ASSERT_EQ(made.status(), NFS3_OK);
  Results read = client_.Nfs(NFSPROC3_READLINK, Args().Text(made.GetPostOpHandle().value_or("")));
  ASSERT_EQ(read.status(), NFS3_OK);
  read.GetPostOp();
  EXPECT_EQ(read.in().String(5000), longest);
  EXPECT_EQ(
      client_.StatusOf(NFSPROC3_SYMLINK, Where(root_, "m").Sattr().Text(std::string(4096, 't'))),
      NFS3ERR_NAMETOOLONG);
  EXPECT_EQ(client_.StatusOf(NFSPROC3_SYMLINK, Where(root_, "m").Sattr().Text("")), NFS3ERR_INVAL);
}

TEST_F(ProceduresTest, ArgumentsThatCannotBeDecodedAreGarbage) {
  const std::string file = client_.Create(root_, "file");
  constexpr uint32_t kGarbageArgs = 4;  // RFC 5531, accept_stat
  const std::pair<uint32_t, Args> kBad[] = {
      {NFSPROC3_GETATTR, Args()},
      {NFSPROC3_GETATTR, Args().Text(std::string(65, 'h'))},
      {NFSPROC3_GETATTR, Args().U32(0xffffffff)},
      {NFSPROC3_GETATTR, Args().Text(file).U32(0)},
      {NFSPROC3_CREATE, Where(root_, "f").U32(3).Sattr(0644)},
      {NFSPROC3_CREATE, Where(root_, "f").U32(1)},
      {NFSPROC3_SETATTR, Args().Text(file).Sattr(0644).U32(2)},
      {NFSPROC3_WRITE, Args().Text(file).U64(0).U32(1).U32(3).Text("x")},
      {NFSPROC3_WRITE, Args().Text(file).U64(0).U32(4).U32(0).U32(0x7fffffff)},
      {NFSPROC3_LOOKUP, Args().Text(root_).U32(5).U32(0)},
  };
  for (const auto& [procedure, args] : kBad) {
    auto reply = client_.Call(kNfsProgram, procedure, args);
    ASSERT_TRUE(reply) << procedure;
    EXPECT_EQ(reply->stat, 0u);
    EXPECT_EQ(reply->detail, kGarbageArgs) << procedure;
  }
  // MKNOD of what it cannot make has a status of its own.
  EXPECT_EQ(client_.StatusOf(NFSPROC3_MKNOD, Where(root_, "f").U32(1)), NFS3ERR_BADTYPE);
  EXPECT_EQ(client_.StatusOf(NFSPROC3_MKNOD, Where(root_, "f").U32(99)), NFS3ERR_BADTYPE);
}

TEST_F(ProceduresTest, ReadsTellTheirEnd) {
  const std::string file = client_.Create(root_, "file");
  EXPECT_EQ(Write(file, 0, "0123456789", 2).status(), NFS3_OK);
  auto read = [&](uint64_t offset, uint32_t count) {
    Results results = client_.Nfs(NFSPROC3_READ, Args().Text(file).U64(offset).U32(count));
    EXPECT_EQ(results.status(), NFS3_OK);
    EXPECT_TRUE(results.GetPostOp());
    const uint32_t length = results.in().U32();
    const bool eof = results.in().Bool();
    const std::string data(results.in().String(1 << 20));
    EXPECT_TRUE(results.Finished());
    EXPECT_EQ(data.size(), length);
    return data + (eof ? "|" : "");
  };
  EXPECT_EQ(read(0, 4), "0123");
  EXPECT_EQ(read(0, 10), "0123456789|");
  EXPECT_EQ(read(7, 100), "789|");
  EXPECT_EQ(read(10, 1), "|");
  EXPECT_EQ(read(~uint64_t{0}, 5), "|");
  EXPECT_EQ(read(3, 0), "");
  EXPECT_EQ(read(0, 0xffffffff), "0123456789|");
}

TEST_F(ProceduresTest, NullAnswersAndUnknownProceduresDoNot) {
  for (uint32_t program : {kNfsProgram, kMountProgram}) {
    auto reply = client_.Call(program, 0, Bytes());
    ASSERT_TRUE(reply);
    EXPECT_TRUE(reply->success());
    EXPECT_TRUE(reply->body.empty());
    reply = client_.Call(program, 22, Bytes());
    ASSERT_TRUE(reply);
    EXPECT_EQ(reply->detail, 3u) << "PROC_UNAVAIL";
  }
}

}  // namespace
}  // namespace prism::nfs3
