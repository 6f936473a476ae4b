// Who may use an export, and as whom: the rules of one volume, in the words of exports(5).
//
// A rule is CLIENT(OPTION,...): CLIENT an address, a network (10.0.0.0/24, fd00::/8) or *; options
//   rw (default) | ro
//   no_root_squash (default) | root_squash | all_squash, anonuid=N and anongid=N (65534)
//   secure (default): only from ports below 1024 | insecure
// The first rule whose CLIENT fits decides; none: refused. Unlike in exports(5) root is not
// squashed by default, because a VM is root on the file system that is its own; who may come at all
// is decided by CLIENT and port.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "fs/base/failure.h"
#include "server/rpc/program.h"

namespace prism::nfs3 {

struct AccessRule {
  enum class Squash : uint8_t { kNone, kRoot, kAll };
  std::array<uint8_t, 16> network{};  // IPv4 as ::ffff:a.b.c.d
  uint32_t prefix_bits = 0;           // of the 128
  bool read_only = false;
  Squash squash = Squash::kNone;
  uint32_t anon_uid = rpc::kNobody;
  uint32_t anon_gid = rpc::kNobody;
  bool secure = true;

  bool Fits(const rpc::PeerAddress& peer) const;
  std::string Client() const;  // "10.0.0.0/24"
  std::string Text() const;    // in full; ParseRule reads it again
};

// kInvalid, with words that say what is wrong.
Outcome<AccessRule> ParseRule(std::string_view text);

class AccessRules {
 public:
  static constexpr size_t kRulesMax = 256;

  // Rules separated by white space. Empty: the default.
  static Outcome<AccessRules> Parse(std::string_view text);
  // Loopback, from privileged ports: who is root on the server's host. Guests, by a bridge or by
  // QEMU's user networking, and unprivileged users of the host are refused.
  static AccessRules Default();

  // The rule that lets this peer in; nullptr: it is refused.
  const AccessRule* Find(const rpc::PeerAddress& peer) const;
  const std::vector<AccessRule>& rules() const { return rules_; }
  std::string Text() const;

 private:
  std::vector<AccessRule> rules_;
};

// The identity that a rule leaves to these credentials.
struct Identity {
  uint32_t uid = rpc::kNobody;
  uint32_t gid = rpc::kNobody;
  std::array<uint32_t, rpc::kAuthGroupsMax> groups{};
  size_t group_count = 0;
};
Identity Squash(const AccessRule& rule, const rpc::Credentials& credentials);

}  // namespace prism::nfs3
