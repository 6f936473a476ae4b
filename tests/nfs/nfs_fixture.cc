#include "tests/nfs/nfs_fixture.h"

namespace prism::nfs3 {
namespace {

constexpr uint32_t kNothing = ~uint32_t{0};
constexpr uint32_t kMnt = 1;

Time ReadTime(XdrReader& in) {
  Time time;
  time.sec = in.U32();
  time.nsec = in.U32();
  return time;
}

}  // namespace

Fattr Results::GetFattr() {
  Fattr attr;
  for (uint32_t* field : {&attr.type, &attr.mode, &attr.nlink, &attr.uid, &attr.gid})
    *field = in_.U32();
  attr.size = in_.U64();
  attr.used = in_.U64();
  in_.U64();  // rdev
  attr.fsid = in_.U64();
  attr.fileid = in_.U64();
  attr.atime = ReadTime(in_);
  attr.mtime = ReadTime(in_);
  attr.ctime = ReadTime(in_);
  return attr;
}

std::optional<Fattr> Results::GetPostOp() {
  if (!in_.Bool()) return std::nullopt;
  return GetFattr();
}

Wcc Results::GetWcc() {
  Wcc wcc;
  if (in_.Bool()) {
    PreAttr before;
    before.size = in_.U64();
    before.mtime = ReadTime(in_);
    before.ctime = ReadTime(in_);
    wcc.before = before;
  }
  wcc.after = GetPostOp();
  return wcc;
}

std::string Results::GetHandle() { return std::string(in_.String(kFhSizeMax)); }

std::optional<std::string> Results::GetPostOpHandle() {
  if (!in_.Bool()) return std::nullopt;
  return GetHandle();
}

Args& Args::Sattr(std::optional<uint32_t> mode, std::optional<uint64_t> size) {
  out_.Bool(mode.has_value());
  if (mode) out_.U32(*mode);
  out_.Bool(false);
  out_.Bool(false);
  out_.Bool(size.has_value());
  if (size) out_.U64(*size);
  out_.U32(0);
  out_.U32(0);
  return *this;
}

uint32_t Client::next_xid_ = 1000;

std::optional<rpc::RawReply> Client::Call(uint32_t program, uint32_t procedure, const Bytes& args,
                                          std::optional<uint32_t> xid) {
  rpc::CallSpec spec;
  spec.xid = xid.value_or(++next_xid_);
  spec.program = program;
  spec.version = kVersion;
  spec.procedure = procedure;
  spec.flavor = 1;
  spec.credentials = rpc::AuthSys(user_.uid, user_.gid, user_.groups, "test");
  spec.args = args;
  auto reply = raw_.Call(spec);
  if (reply) {
    EXPECT_EQ(reply->xid, spec.xid);
  }
  return reply;
}

Results Client::Nfs(uint32_t procedure, const Bytes& args, std::optional<uint32_t> xid) {
  auto reply = Call(kNfsProgram, procedure, args, xid);
  if (!reply || !reply->success() || reply->body.size() < 4) {
    ADD_FAILURE() << "no results of procedure " << procedure;
    return Results(kNothing, {});
  }
  return Results(reply->word(), Bytes(reply->body.begin() + 4, reply->body.end()));
}

Results Client::Mount(uint32_t procedure, const Bytes& args) {
  auto reply = Call(kMountProgram, procedure, args);
  if (!reply || !reply->success()) {
    ADD_FAILURE() << "no results of MOUNT procedure " << procedure;
    return Results(kNothing, {});
  }
  if (procedure != kMnt) return Results(0, std::move(reply->body));
  return Results(reply->word(), Bytes(reply->body.begin() + 4, reply->body.end()));
}

Fattr Client::Getattr(std::string_view handle) {
  Results results = Nfs(NFSPROC3_GETATTR, Args().Text(handle));
  EXPECT_EQ(results.status(), NFS3_OK);
  Fattr attr = results.GetFattr();
  EXPECT_TRUE(results.Finished());
  return attr;
}

std::string Client::Lookup(std::string_view dir, std::string_view name) {
  Results results = Nfs(NFSPROC3_LOOKUP, Where(dir, name));
  EXPECT_EQ(results.status(), NFS3_OK) << name;
  return results.status() == NFS3_OK ? results.GetHandle() : "";
}

std::string Client::Create(std::string_view dir, std::string_view name) {
  Results results = Nfs(NFSPROC3_CREATE, Where(dir, name).U32(1).Sattr(0644));
  EXPECT_EQ(results.status(), NFS3_OK) << name;
  return results.GetPostOpHandle().value_or("");
}

std::string Client::Mkdir(std::string_view dir, std::string_view name) {
  Results results = Nfs(NFSPROC3_MKDIR, Where(dir, name).Sattr(0755));
  EXPECT_EQ(results.status(), NFS3_OK) << name;
  return results.GetPostOpHandle().value_or("");
}

NfsFixture::NfsFixture() {
  Open();
  test::Must(host_->Create(kVolume, false));
  // So that the tests need no privileged port.
  test::Must(exports_->SetRules(kVolume, "127.0.0.0/8(insecure)"));
  root_ = RootOf(kVolume);
}

void NfsFixture::Open() {
  fs::HostOptions options;
  options.directory = directory_.Path("store");
  options.node_cache_bytes = options.chunk_cache_bytes = uint64_t{32} << 20;
  host_ = test::Must(fs::Host::Open(options));
  exports_ = std::make_unique<Exports>(*host_);
  server::NfsOptions nfs_options;
  nfs_options.listen = "127.0.0.1:0";
  nfs_options.workers = 4;
  service_ = test::Must(server::NfsService::Start(*host_, *exports_, nfs_options));
}

void NfsFixture::Close() {
  service_.reset();
  exports_.reset();
  host_.reset();
}

void NfsFixture::Restart() {
  Close();
  Open();
}

std::string NfsFixture::RootOf(const std::string& volume) {
  Results results = Connect().Mount(kMnt, Args().Text("/" + volume));
  EXPECT_EQ(results.status(), NFS3_OK);
  return results.GetHandle();
}

}  // namespace prism::nfs3
