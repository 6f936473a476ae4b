#include "server/rpc/portmap.h"

#include <netinet/in.h>
#include <spdlog/spdlog.h>

#include "server/rpc/socket.h"
#include "server/rpc/xdr.h"

namespace prism::rpc {
namespace {

constexpr uint32_t kPortmapProgram = 100000;
constexpr uint32_t kPortmapVersion = 2;
enum PortmapProcedure : uint32_t { kSet = 1, kUnset = 2, kGetPort = 3 };

std::vector<std::byte> EncodeMapping(const PortmapEntry& entry) {
  std::vector<std::byte> args;
  XdrWriter out(args);
  out.U32(entry.program);
  out.U32(entry.version);
  out.U32(IPPROTO_TCP);
  out.U32(entry.port);
  return args;
}

// Every answer used here is one word: a port or a truth value.
Result<uint32_t> DecodeWord(const Result<std::vector<std::byte>>& results) {
  if (!results) return Fail(results.error());
  XdrReader in(*results);
  const uint32_t word = in.U32();
  if (!in.Finished()) return Fail(Err::kProtocol);
  return word;
}

Deadline After(uint32_t timeout_ms) {
  return std::chrono::steady_clock::now() + std::chrono::milliseconds(timeout_ms);
}

bool SomebodyServes(const PortmapEntry& entry, uint16_t port, uint32_t timeout_ms) {
  PeerAddress address = *ParseEndpoint("127.0.0.1:0");
  address.port = port;
  const RemoteProcedure null{.program = entry.program, .version = entry.version, .procedure = 0};
  const auto answer = CallRemote(address, null, {}, After(timeout_ms));
  return answer || answer.error() != Err::kDisconnected;
}

}  // namespace

Result<uint16_t> PortmapGetPort(const PeerAddress& address, uint32_t program, uint32_t version,
                                Deadline deadline) {
  const RemoteProcedure procedure{kPortmapProgram, kPortmapVersion, kGetPort};
  const PortmapEntry entry{.program = program, .version = version};
  PRISM_ASSIGN(const uint32_t port,
               DecodeWord(CallRemote(address, procedure, EncodeMapping(entry), deadline)));
  if (port == 0) return Fail(Err::kNoEntry);
  if (port > UINT16_MAX) return Fail(Err::kProtocol);
  return static_cast<uint16_t>(port);
}

Outcome<std::unique_ptr<PortmapRegistration>> PortmapRegistration::Register(
    const std::vector<PortmapEntry>& entries, const PortmapOptions& options) {
  std::unique_ptr<PortmapRegistration> registration(new PortmapRegistration);
  registration->options_ = options;
  PRISM_ASSIGN(registration->address_, ParseEndpoint(options.address));
  for (const PortmapEntry& entry : entries) PRISM_TRY(registration->RegisterOne(entry));
  return registration;
}

Result<uint32_t> PortmapRegistration::Call(uint32_t procedure, const PortmapEntry& entry) const {
  const RemoteProcedure remote{kPortmapProgram, kPortmapVersion, procedure};
  const std::vector<std::byte> args = EncodeMapping(entry);
  if (!options_.socket_path.empty()) {
    const auto local = CallLocal(options_.socket_path, remote, args, After(options_.timeout_ms));
    if (local || local.error() != Err::kDisconnected) return DecodeWord(local);
  }
  return DecodeWord(CallRemote(address_, remote, args, After(options_.timeout_ms)));
}

Outcome<void> PortmapRegistration::RegisterOne(const PortmapEntry& entry) {
  const auto failed = [&](Err err) {
    const std::string_view hint = err == Err::kDisconnected ? "nobody answers; is rpcbind running?"
                                  : err == Err::kAccess ? "it refuses; run as root, at its own host"
                                                        : NameOf(err);
    return Explain(err, "cannot register program {} version {} with the portmapper at {}: {}",
                   entry.program, entry.version, options_.address, hint);
  };
  for (int tries = 0;; ++tries) {
    const Result<uint32_t> done = Call(kSet, entry);
    if (!done) return failed(done.error());
    if (*done != 0) break;
    const Result<uint32_t> port = Call(kGetPort, entry);
    if (!port) return failed(port.error());
    if (*port == entry.port) break;
    if (tries > 0 || *port > UINT16_MAX ||
        (*port != 0 && SomebodyServes(entry, static_cast<uint16_t>(*port), options_.timeout_ms)))
      return Explain(Err::kBusy,
                     "another server, at port {}, has registered program {} version {} with the "
                     "portmapper at {}: stop it, or serve without --portmap",
                     *port, entry.program, entry.version, options_.address);
    if (const Result<uint32_t> unset = Call(kUnset, entry); !unset) return failed(unset.error());
  }
  registered_.push_back(entry);
  return {};
}

PortmapRegistration::~PortmapRegistration() {
  for (const PortmapEntry& entry : registered_) {
    const Result<uint32_t> port = Call(kGetPort, entry);
    if (port && (*port != entry.port || Call(kUnset, entry))) continue;
    spdlog::warn("portmapper: program {} version {} could not be taken back", entry.program,
                 entry.version);
    if (!port && port.error() == Err::kTimedOut) return;
  }
}

}  // namespace prism::rpc
