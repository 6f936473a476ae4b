#include "tests/nlm/nlm_fixture.h"

namespace prism::nlm {

struct ClientPrograms::State {
  std::mutex mutex;
  uint16_t port = 0;
  uint32_t answer = NLM4_GRANTED;
  std::vector<Granted> granted;
  std::vector<Notice> notices;
  std::vector<Result> results;
};

class ClientPrograms::Portmapper : public rpc::Program {
 public:
  explicit Portmapper(std::shared_ptr<State> state) : state_(std::move(state)) {}
  uint32_t number() const override { return 100000; }
  uint32_t version() const override { return 2; }
  std::string_view name() const override { return "portmapper"; }
  std::span<const rpc::Procedure> procedures() const override {
    static constexpr rpc::Procedure kRows[] = {{"NULL"}, {}, {}, {"GETPORT"}};
    return kRows;
  }
  void Run(uint32_t, const rpc::Call&, rpc::Reply& reply) override {
    std::lock_guard lock(state_->mutex);
    reply.out().U32(state_->port);
  }
  void Refuse(uint32_t, Err, rpc::Reply&) override {}

 private:
  std::shared_ptr<State> state_;
};

class ClientPrograms::Lockd : public rpc::Program {
 public:
  explicit Lockd(std::shared_ptr<State> state) : state_(std::move(state)) {
    for (uint32_t i = 0; i < procedures_.size(); ++i) procedures_[i] = {"any"};
  }
  uint32_t number() const override { return kNlmProgram; }
  uint32_t version() const override { return kNlmVersion; }
  std::string_view name() const override { return "lockd"; }
  std::span<const rpc::Procedure> procedures() const override { return procedures_; }
  void Run(uint32_t procedure, const rpc::Call& call, rpc::Reply& reply) override {
    rpc::XdrReader in(call.args);
    const std::string cookie = StringOf(in.Opaque(kStringMax));
    std::lock_guard lock(state_->mutex);
    if (procedure != NLMPROC4_GRANTED) {
      state_->results.push_back({procedure, cookie, in.U32()});
      return;
    }
    Granted granted{.cookie = cookie};
    granted.exclusive = in.Bool();
    granted.caller_name = in.String(kStringMax);
    granted.handle = StringOf(in.Opaque(kStringMax));
    granted.oh = StringOf(in.Opaque(kStringMax));
    granted.svid = in.U32();
    granted.offset = in.U64();
    granted.length = in.U64();
    if (!in.Finished()) return reply.SetGarbageArgs();
    state_->granted.push_back(granted);
    reply.out().String(cookie);
    reply.out().U32(state_->answer);
  }
  void Refuse(uint32_t, Err, rpc::Reply&) override {}

 private:
  std::shared_ptr<State> state_;
  std::array<rpc::Procedure, kNlmProcedures> procedures_;
};

class ClientPrograms::Statd : public rpc::Program {
 public:
  explicit Statd(std::shared_ptr<State> state) : state_(std::move(state)) {}
  uint32_t number() const override { return kNsmProgram; }
  uint32_t version() const override { return kNsmVersion; }
  std::string_view name() const override { return "statd"; }
  std::span<const rpc::Procedure> procedures() const override {
    static constexpr rpc::Procedure kRows[] = {{"NULL"}, {}, {}, {}, {}, {}, {"NOTIFY"}};
    return kRows;
  }
  void Run(uint32_t, const rpc::Call& call, rpc::Reply& reply) override {
    rpc::XdrReader in(call.args);
    Notice notice;
    notice.name = in.String(kStringMax);
    notice.state = in.U32();
    if (!in.Finished()) return reply.SetGarbageArgs();
    std::lock_guard lock(state_->mutex);
    state_->notices.push_back(notice);
  }
  void Refuse(uint32_t, Err, rpc::Reply&) override {}

 private:
  std::shared_ptr<State> state_;
};

ClientPrograms::ClientPrograms(const std::string& ip, uint16_t port)
    : state_(std::make_shared<State>()) {
  rpc::RpcOptions options;
  options.listen = ip + ":" + std::to_string(port);
  options.workers = 2;
  options.programs = {std::make_shared<Portmapper>(state_), std::make_shared<Lockd>(state_),
                      std::make_shared<Statd>(state_)};
  server_ = test::Must(rpc::RpcServer::Start(std::move(options)));
  std::lock_guard lock(state_->mutex);
  state_->port = server_->address().port;
}

std::vector<ClientPrograms::Granted> ClientPrograms::granted() {
  std::lock_guard lock(state_->mutex);
  return state_->granted;
}
std::vector<ClientPrograms::Notice> ClientPrograms::notices() {
  std::lock_guard lock(state_->mutex);
  return state_->notices;
}
std::vector<ClientPrograms::Result> ClientPrograms::results() {
  std::lock_guard lock(state_->mutex);
  return state_->results;
}
void ClientPrograms::AnswerGranted(uint32_t status) {
  std::lock_guard lock(state_->mutex);
  state_->answer = status;
}

void NlmTest::SetUp() {
  Start();
  volume_ = test::Must(host_->Create("volume", false)).id;
  test::Must(exports_->SetRules("volume", rules_));
  mount_ = test::Must(host_->Attach("volume", false));
  ino_ = test::Must(mount_->Create({}, {.parent = kRootInode, .name = "f", .mode = 0666})).attr.ino;
  const nfs3::HandleBytes handle = handles_->Encode({volume_, ino_});
  handle_ = StringOf(handle);
}

void NlmTest::TearDown() { Stop(); }

void NlmTest::Start(uint32_t grace_ms) {
  fs::HostOptions options;
  options.directory = directory_.Path("store");
  options.node_cache_bytes = options.chunk_cache_bytes = uint64_t{32} << 20;
  host_ = test::Must(fs::Host::Open(options));
  exports_ = std::make_unique<nfs3::Exports>(*host_);
  handles_ = test::Must(nfs3::HandleCodec::Open(*host_));
  NlmOptions nlm;
  nlm.locks.grace_ms = grace_ms;
  nlm.locks.granted_retry_ms = granted_retry_ms_;
  nlm.locks.granted_attempts = granted_attempts_;
  nlm.callbacks.portmap_port = callback_port_;
  nlm.callbacks.timeout_ms = 1000;
  service_ = test::Must(NlmService::Open({*host_, *exports_, *handles_}, nlm));
  rpc::RpcOptions rpc;
  rpc.listen = "127.0.0.1:0";
  rpc.workers = 4;
  rpc.programs = service_->Programs();
  server_ = test::Must(rpc::RpcServer::Start(std::move(rpc)));
  service_->Begin();
  auto mounted = host_->Attach("volume", false);
  if (mounted) mount_ = std::move(*mounted);
}

void NlmTest::Stop() {
  server_.reset();
  service_.reset();
  mount_.reset();
  handles_.reset();
  exports_.reset();
  host_.reset();
}

rpc::Bytes NlmTest::ArgsOf(uint32_t procedure, const LockSpec& spec) {
  rpc::Bytes args;
  rpc::XdrWriter out(args);
  if (procedure >= NLMPROC4_TEST_MSG && procedure <= NLMPROC4_UNLOCK_MSG) procedure -= 5;
  if (procedure == NLMPROC4_NM_LOCK) procedure = NLMPROC4_LOCK;
  out.String(spec.cookie);
  if (procedure == NLMPROC4_LOCK || procedure == NLMPROC4_CANCEL) out.Bool(spec.block);
  if (procedure != NLMPROC4_UNLOCK) out.Bool(spec.exclusive);
  out.String(spec.caller);
  out.String(handle_);
  out.String(spec.oh);
  out.U32(spec.svid);
  out.U64(spec.offset);
  out.U64(spec.length);
  if (procedure == NLMPROC4_LOCK) {
    out.Bool(spec.reclaim);
    out.U32(1);
  }
  return args;
}

std::optional<rpc::RawReply> NlmTest::Raw(uint32_t program, uint32_t procedure, rpc::Bytes args,
                                          const std::string& ip) {
  rpc::RawClient client = rpc::RawClient::From(ip, server_->address());
  static std::atomic<uint32_t> xid = 1000;
  rpc::CallSpec call{.xid = ++xid,
                     .program = program,
                     .version = program == kNlmProgram ? kNlmVersion : kNsmVersion,
                     .procedure = procedure,
                     .flavor = 1,
                     .credentials = rpc::AuthSys(0, 0, {}, "machine"),
                     .args = std::move(args)};
  return client.Call(call);
}

std::optional<uint32_t> NlmTest::Call(uint32_t procedure, const LockSpec& spec,
                                      const std::string& ip) {
  const auto reply = Raw(kNlmProgram, procedure, ArgsOf(procedure, spec), ip);
  if (!reply || !reply->success()) return std::nullopt;
  rpc::XdrReader in(reply->body);
  if (StringOf(in.Opaque(kStringMax)) != spec.cookie) return std::nullopt;
  const uint32_t status = in.U32();
  return in.Finished() ? std::optional(status) : std::nullopt;
}

TestAnswer NlmTest::Test(const LockSpec& spec, const std::string& ip) {
  TestAnswer answer{.status = 99, .holder = {}};
  const auto reply = Raw(kNlmProgram, NLMPROC4_TEST, ArgsOf(NLMPROC4_TEST, spec), ip);
  if (!reply || !reply->success()) return answer;
  rpc::XdrReader in(reply->body);
  in.Opaque(kStringMax);
  const uint32_t status = in.U32();
  if (status == NLM4_DENIED) {
    answer.holder.exclusive = in.Bool();
    answer.holder.svid = in.U32();
    answer.holder.oh = StringOf(in.Opaque(kStringMax));
    answer.holder.offset = in.U64();
    answer.holder.length = in.U64();
  }
  if (in.Finished()) answer.status = status;
  return answer;
}

void NlmTest::Notify(const std::string& name, const std::string& ip, uint32_t program) {
  rpc::Bytes args;
  rpc::XdrWriter out(args);
  out.String(name);
  out.U32(7);
  const auto reply =
      Raw(program, program == kNsmProgram ? uint32_t{SM_NOTIFY} : uint32_t{NLMPROC4_FREE_ALL},
          std::move(args), ip);
  ASSERT_TRUE(reply && reply->success() && reply->body.empty());
}

Err NlmTest::MountLocks(fs::LockKind kind, fs::LockType type, bool wait) {
  fs::LockArgs args{.ino = ino_, .kind = kind, .type = type, .owner = "mount"};
  args.wait = wait;
  args.cookie = 1;
  return test::ErrOf(mount_->Lock({}, args));
}

}  // namespace prism::nlm
