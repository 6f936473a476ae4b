#include "server/nlm/nlm_service.h"

#include <arpa/inet.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>

#include "server/rpc/socket.h"

namespace prism::nlm {
namespace {

constexpr uint32_t kNotifyAttempts = 5;

std::string HostName() {
  char name[256] = {};
  if (::gethostname(name, sizeof name - 1) != 0) return "localhost";
  return name;
}

// As that machine sees us: most watch an address, not a name.
std::string OwnAddressToward(const rpc::PeerAddress& peer) {
  const UniqueFd fd(::socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const int off = 0;
  sockaddr_in6 address{};
  address.sin6_family = AF_INET6;
  address.sin6_port = htons(kNsmProgram % 1000);  // nothing is sent
  std::memcpy(&address.sin6_addr, peer.ip.data(), peer.ip.size());
  socklen_t size = sizeof address;
  if (!fd || ::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off) != 0 ||
      ::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), size) != 0 ||
      ::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0)
    return {};
  rpc::PeerAddress own;
  std::memcpy(own.ip.data(), &address.sin6_addr, own.ip.size());
  return own.Text();
}

}  // namespace

Outcome<std::unique_ptr<NlmService>> NlmService::Open(const nfs3::Services& services,
                                                      const NlmOptions& options) {
  PRISM_ASSIGN(auto hosts, HostTable::Open(services.host));
  return std::unique_ptr<NlmService>(new NlmService(services, options, std::move(hosts)));
}

NlmService::NlmService(const nfs3::Services& services, const NlmOptions& options,
                       std::unique_ptr<HostTable> hosts)
    : options_(options),
      hosts_(std::move(hosts)),
      callbacks_(options.callbacks),
      locks_(services, *hosts_, callbacks_, options.locks) {}

NlmService::~NlmService() { callbacks_.Stop(); }

std::vector<std::shared_ptr<rpc::Program>> NlmService::Programs() {
  return {std::make_shared<NlmProgram>(locks_, callbacks_),
          std::make_shared<NsmProgram>(locks_, hosts_->state())};
}

void NlmService::Begin() {
  if (hosts_->to_notify().empty()) return;
  spdlog::info("NLM: {} machines had locks: they may reclaim them for {} ms",
               hosts_->to_notify().size(), options_.locks.grace_ms);
  for (const Machine& machine : hosts_->to_notify())
    callbacks_.Run(machine.address, std::chrono::milliseconds(0),
                   [this, &machine] { Notify(machine, 1); });
  callbacks_.Run({}, std::chrono::milliseconds(options_.locks.grace_ms),
                 [this] { hosts_->ForgetOld(); });
}

void NlmService::Notify(const Machine& machine, uint32_t attempt) {
  bool told = false;
  for (const std::string& name : {OwnAddressToward(machine.address), HostName()}) {
    if (name.empty()) continue;
    std::vector<std::byte> args;
    rpc::XdrWriter out(args);
    out.String(name);
    out.U32(hosts_->state());
    if (callbacks_.Call(machine.address, {kNsmProgram, kNsmVersion, SM_NOTIFY}, args))
      told = true;
    else
      break;  // what is not there now is not there for the other name
  }
  if (told) return;
  if (attempt == kNotifyAttempts) {
    spdlog::info("NLM: '{}' at {} cannot be told of the restart", machine.name,
                 machine.address.Text());
    return;
  }
  const std::chrono::milliseconds wait(options_.locks.grace_ms / (2 * kNotifyAttempts));
  callbacks_.Run(machine.address, wait,
                 [this, &machine, attempt] { Notify(machine, attempt + 1); });
}

}  // namespace prism::nlm
