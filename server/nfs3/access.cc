#include "server/nfs3/access.h"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstring>

namespace prism::nfs3 {
namespace {

constexpr uint32_t kV4PrefixBits = 96;  // of ::ffff:0:0/96
constexpr uint16_t kPrivilegedPorts = 1024;

bool ParseNumber(std::string_view text, uint32_t max, uint32_t& value) {
  const char* end = text.data() + text.size();
  auto [rest, error] = std::from_chars(text.data(), end, value);
  return error == std::errc() && rest == end && !text.empty() && value <= max;
}

bool ParseAddress(const std::string& text, std::array<uint8_t, 16>& ip, bool& v4) {
  ip = {};
  if (::inet_pton(AF_INET, text.c_str(), &ip[12]) == 1) {
    ip[10] = ip[11] = 0xff;
    v4 = true;
    return true;
  }
  v4 = false;
  return ::inet_pton(AF_INET6, text.c_str(), ip.data()) == 1;
}

bool ParseClient(std::string_view text, AccessRule& rule) {
  if (text == "*") {
    rule.prefix_bits = 0;
    return true;
  }
  const size_t slash = text.find('/');
  bool v4 = false;
  if (!ParseAddress(std::string(text.substr(0, slash)), rule.network, v4)) return false;
  rule.prefix_bits = 128;
  if (slash == text.npos) return true;
  uint32_t bits = 0;
  if (!ParseNumber(text.substr(slash + 1), v4 ? 32 : 128, bits)) return false;
  rule.prefix_bits = v4 ? kV4PrefixBits + bits : bits;
  return true;
}

bool ParseOption(std::string_view option, AccessRule& rule) {
  if (option == "rw" || option == "ro") {
    rule.read_only = option == "ro";
  } else if (option == "no_root_squash") {
    rule.squash = AccessRule::Squash::kNone;
  } else if (option == "root_squash") {
    rule.squash = AccessRule::Squash::kRoot;
  } else if (option == "all_squash") {
    rule.squash = AccessRule::Squash::kAll;
  } else if (option == "secure" || option == "insecure") {
    rule.secure = option == "secure";
  } else if (option.starts_with("anonuid=")) {
    return ParseNumber(option.substr(8), UINT32_MAX, rule.anon_uid);
  } else if (option.starts_with("anongid=")) {
    return ParseNumber(option.substr(8), UINT32_MAX, rule.anon_gid);
  } else {
    return false;
  }
  return true;
}

}  // namespace

bool AccessRule::Fits(const rpc::PeerAddress& peer) const {
  const uint32_t bytes = prefix_bits / 8;
  if (std::memcmp(network.data(), peer.ip.data(), bytes) != 0) return false;
  const uint32_t rest = prefix_bits % 8;
  if (rest == 0) return true;
  const auto mask = static_cast<uint8_t>(0xff << (8 - rest));
  return (network[bytes] & mask) == (peer.ip[bytes] & mask);
}

std::string AccessRule::Client() const {
  if (prefix_bits == 0) return "*";
  const rpc::PeerAddress address{network, 0};
  const bool v4 = address.IsV4() && prefix_bits >= kV4PrefixBits;
  if (prefix_bits == 128) return address.Text();
  return fmt::format("{}/{}", address.Text(), v4 ? prefix_bits - kV4PrefixBits : prefix_bits);
}

std::string AccessRule::Text() const {
  const char* squashes[] = {"no_root_squash", "root_squash", "all_squash"};
  std::string text =
      fmt::format("{}({},{},{}", Client(), read_only ? "ro" : "rw",
                  squashes[static_cast<size_t>(squash)], secure ? "secure" : "insecure");
  if (anon_uid != rpc::kNobody) text += fmt::format(",anonuid={}", anon_uid);
  if (anon_gid != rpc::kNobody) text += fmt::format(",anongid={}", anon_gid);
  return text + ")";
}

Outcome<AccessRule> ParseRule(std::string_view text) {
  AccessRule rule;
  const size_t open = text.find('(');
  const std::string_view client = text.substr(0, open);
  if (!ParseClient(client, rule))
    return Explain(Err::kInvalid, "\"{}\" is no address, network or * (in \"{}\")", client, text);
  if (open == text.npos) return rule;
  if (!text.ends_with(')')) return Explain(Err::kInvalid, "\"{}\" lacks its \")\"", text);
  std::string_view options = text.substr(open + 1, text.size() - open - 2);
  while (!options.empty()) {
    const size_t comma = std::min(options.find(','), options.size());
    const std::string_view option = options.substr(0, comma);
    if (!ParseOption(option, rule))
      return Explain(Err::kInvalid,
                     "\"{}\" is no option (rw, ro, no_root_squash, root_squash, all_squash, "
                     "anonuid=N, anongid=N, secure, insecure)",
                     option);
    options.remove_prefix(std::min(comma + 1, options.size()));
  }
  return rule;
}

Outcome<AccessRules> AccessRules::Parse(std::string_view text) {
  AccessRules parsed;
  constexpr std::string_view kSpace = " \t\n\r";
  for (size_t at = text.find_first_not_of(kSpace); at != text.npos;) {
    const size_t end = std::min(text.find_first_of(kSpace, at), text.size());
    PRISM_ASSIGN(AccessRule rule, ParseRule(text.substr(at, end - at)));
    parsed.rules_.push_back(rule);
    if (parsed.rules_.size() > kRulesMax)
      return Explain(Err::kInvalid, "more than {} rules", kRulesMax);
    at = text.find_first_not_of(kSpace, end);
  }
  return parsed.rules_.empty() ? Default() : parsed;
}

AccessRules AccessRules::Default() {
  AccessRules rules;
  for (const char* client : {"127.0.0.0/8", "::1"}) rules.rules_.push_back(*ParseRule(client));
  return rules;
}

const AccessRule* AccessRules::Find(const rpc::PeerAddress& peer) const {
  for (const AccessRule& rule : rules_)
    if (rule.Fits(peer)) return rule.secure && peer.port >= kPrivilegedPorts ? nullptr : &rule;
  return nullptr;
}

std::string AccessRules::Text() const {
  std::string text;
  for (const AccessRule& rule : rules_) text += (text.empty() ? "" : " ") + rule.Text();
  return text;
}

Identity Squash(const AccessRule& rule, const rpc::Credentials& credentials) {
  Identity identity;
  identity.uid = rule.anon_uid;
  identity.gid = rule.anon_gid;
  if (!credentials.auth_sys || rule.squash == AccessRule::Squash::kAll) return identity;
  const bool root = rule.squash == AccessRule::Squash::kRoot;
  if (!root || credentials.uid != 0) identity.uid = credentials.uid;
  if (!root || credentials.gid != 0) identity.gid = credentials.gid;
  for (size_t i = 0; i < credentials.group_count; ++i)
    if (!root || credentials.groups[i] != 0)
      identity.groups[identity.group_count++] = credentials.groups[i];
  return identity;
}

}  // namespace prism::nfs3
