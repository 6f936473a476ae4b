#include "tools/prism-mount/tcp_mount.h"

#include <arpa/inet.h>
#include <sys/mount.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <fstream>
#include <iterator>

#include "fs/mount/mount_point.h"

namespace prism::guest {
namespace {

constexpr std::string_view kServerParameter = "prism.server=";

struct Address {
  std::string text;  // without brackets
  bool is_v6 = false;
  uint16_t port = 0;
};

Outcome<Address> ParseAddress(const std::string& server) {
  const auto refusal =
      Explain(Err::kInvalid, "'{}' is not ADDR:PORT, with a number as ADDR", server);
  const size_t colon = server.rfind(':');
  if (colon == server.npos) return refusal;
  Address address{.text = server.substr(0, colon)};
  if (address.text.starts_with('[') && address.text.ends_with(']')) {
    address.text = address.text.substr(1, address.text.size() - 2);
    address.is_v6 = true;
  }
  std::array<std::byte, sizeof(in6_addr)> parsed;
  if (inet_pton(address.is_v6 ? AF_INET6 : AF_INET, address.text.c_str(), parsed.data()) != 1)
    return refusal;
  const char* end = server.data() + server.size();
  auto [rest, error] = std::from_chars(server.data() + colon + 1, end, address.port);
  if (error != std::errc() || rest != end || address.port == 0) return refusal;
  return address;
}

std::string ReadFile(const std::string& path) {
  std::ifstream file(path);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

tl::unexpected<Failure> Refusal(int error, const TcpMountOptions& options,
                                const NfsSource& source) {
  std::string hint;
  if (error == ENODEV) hint = " (this kernel has no NFS client: modprobe nfsv3)";
  if (error == EACCES) hint = " (the server does not let this machine in: see prism access)";
  if (error != ENODEV && error != EACCES && error != ENOENT && options.share_locks)
    hint = " (locks over TCP need rpcbind and rpc.statd here; --local-locks does without)";
  auto refusal = ExplainErrno(error, fmt::format("cannot mount {} by NFS{}", source.source, hint));
  if (error == ECONNREFUSED || error == EHOSTUNREACH || error == ENETUNREACH || error == ETIMEDOUT)
    refusal.value().code = Err::kDisconnected;
  return refusal;
}

}  // namespace

std::string ServerOfCommandLine(std::string_view command_line) {
  size_t at = 0;
  while (at < command_line.size()) {
    size_t end = command_line.find_first_of(" \n", at);
    if (end == command_line.npos) end = command_line.size();
    std::string_view word = command_line.substr(at, end - at);
    if (word.starts_with(kServerParameter))
      return std::string(word.substr(kServerParameter.size()));
    at = end + 1;
  }
  return {};
}

Outcome<NfsSource> NfsSourceOf(const TcpMountOptions& options) {
  PRISM_ASSIGN(const Address address, ParseAddress(options.server));
  const std::string host = address.is_v6 ? "[" + address.text + "]" : address.text;
  const char* protocol = address.is_v6 ? "tcp6" : "tcp";
  return NfsSource{.source = fmt::format("{}:/{}", host, options.volume),
                   .options = fmt::format(
                       "vers=3,hard,proto={0},port={1},mountproto={0},mountport={1},addr={2}{3}",
                       protocol, address.port, address.text, options.share_locks ? "" : ",nolock")};
}

Outcome<void> MountByTcp(const TcpMountOptions& asked) {
  TcpMountOptions options = asked;
  if (options.server.empty()) options.server = ServerOfCommandLine(ReadFile("/proc/cmdline"));
  if (options.server.empty())
    return Explain(Err::kInvalid,
                   "there is no lane here, and for TCP nobody says where the server is: --server "
                   "ADDR:PORT, or prism.server=ADDR:PORT on the kernel's command line");
  PRISM_ASSIGN(const NfsSource source, NfsSourceOf(options));
  const unsigned long flags = options.read_only ? MS_RDONLY : 0;
  if (::mount(source.source.c_str(), options.directory.c_str(), "nfs", flags,
              source.options.c_str()) != 0)
    return Refusal(errno, options, source);
  return {};
}

bool IsTcpMount(const std::string& directory) {
  auto path = mount::ResolveDirectory(directory);
  if (!path) return false;
  auto found = mount::FindMount(*path);
  return found && *found && (*found)->type == "nfs";
}

Outcome<void> UnmountTcp(const std::string& directory) {
  PRISM_ASSIGN(const std::string path, mount::ResolveDirectory(directory));
  if (::umount2(path.c_str(), UMOUNT_NOFOLLOW) != 0)
    return ExplainErrno(errno, "unmounting " + path);
  return {};
}

}  // namespace prism::guest
