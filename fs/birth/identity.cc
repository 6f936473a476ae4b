#include "fs/birth/identity.h"

#include <sys/random.h>

#include <array>
#include <map>

#include "fs/birth/ssh_key.h"
#include "fs/birth/toml_reader.h"
#include "fs/birth/volume_path.h"

namespace prism::birth {
namespace {

constexpr size_t kContentMax = 4096;
constexpr size_t kRandomMax = 4096;
constexpr size_t kHostNameMax = 63;

using Words = std::map<std::string, std::string, std::less<>>;

const std::array<const char*, 4> kWords = {"name", "hostname", "machine-id", "uuid"};

// The text with its words replaced; {{ stands for one brace. kInvalid: a word that there is not.
Outcome<std::string> Fill(std::string_view text, const Words& words) {
  std::string filled;
  while (!text.empty()) {
    const size_t open = text.find('{');
    filled += text.substr(0, open);
    if (open == text.npos) break;
    text.remove_prefix(open + 1);
    if (text.starts_with('{')) {
      filled += '{';
      text.remove_prefix(1);
      continue;
    }
    const size_t close = text.find('}');
    const auto word = words.find(text.substr(0, close));
    if (close == text.npos || word == words.end())
      return Explain(Err::kInvalid, "there is no {{{}}}: content knows {{{}}}, and {{{{ for {{",
                     text.substr(0, std::min<size_t>(close, 32)), fmt::join(kWords, "}, {"));
    filled += word->second;
    text.remove_prefix(close + 1);
  }
  return filled;
}

Outcome<std::string> RandomBytes(size_t size) {
  std::string bytes(size, '\0');
  for (size_t at = 0; at < size;) {
    const ssize_t got = ::getrandom(bytes.data() + at, size - at, 0);
    if (got <= 0) return Explain(Err::kIo, "no random numbers");
    at += static_cast<size_t>(got);
  }
  return bytes;
}

// RFC 9562, section 5.4; machine-id(5) has the same form without hyphens.
Outcome<std::string> RandomUuid() {
  PRISM_ASSIGN(std::string bytes, RandomBytes(16));
  bytes[6] = static_cast<char>((bytes[6] & 0x0f) | 0x40);
  bytes[8] = static_cast<char>((bytes[8] & 0x3f) | 0x80);
  std::string text;
  for (size_t i = 0; i < bytes.size(); ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    text += fmt::format("{:02x}", static_cast<unsigned char>(bytes[i]));
  }
  return text;
}

Outcome<Words> WordsFor(std::string_view name) {
  Words words{{"name", std::string(name)}, {"hostname", HostNameOf(name)}};
  PRISM_ASSIGN(words["uuid"], RandomUuid());
  PRISM_ASSIGN(std::string id, RandomUuid());
  std::erase(id, '-');
  words["machine-id"] = std::move(id);
  return words;
}

Outcome<IdentityRule::Action> ActionOf(const std::string& word) {
  if (word == "remove") return IdentityRule::Action::kRemove;
  if (word == "empty") return IdentityRule::Action::kEmpty;
  if (word == "write") return IdentityRule::Action::kWrite;
  if (word == "ssh-host-keys") return IdentityRule::Action::kSshHostKeys;
  return Explain(Err::kInvalid, "\"do\" is one of remove, empty, write, ssh-host-keys, not \"{}\"",
                 word.substr(0, 32));
}

Outcome<IdentityRule> ReadRule(RuleReader& reader) {
  IdentityRule rule;
  rule.name = reader.Text("name", true);
  rule.paths = reader.Texts("paths", true);
  const std::string action = reader.Text("do", true);
  if (action == "write") {
    rule.content = reader.Text("content", false);
    rule.random_bytes = static_cast<uint32_t>(reader.Number("random_bytes", 0, kRandomMax));
    rule.mode = static_cast<uint32_t>(reader.Number("mode", 0644, 07777));
    const std::string missing = reader.Text("if_missing", false);
    rule.create = missing == "create";
    if (!missing.empty() && !rule.create && missing != "skip")
      return Explain(Err::kInvalid, "rule {}: \"if_missing\" is create or skip", rule.name);
    if (rule.content.empty() == (rule.random_bytes == 0) || rule.content.size() > kContentMax)
      return Explain(Err::kInvalid,
                     "rule {}: either \"content\", up to {} bytes, or \"random_bytes\"", rule.name,
                     kContentMax);
    Words words;
    for (const char* word : kWords) words[word];
    PRISM_TRY(Fill(rule.content, words));
  }
  PRISM_ASSIGN(rule.action, ActionOf(action));
  return rule;
}

// ssh_host_TYPE_key and what belongs to it, in one directory. Keys of the types that we make are
// replaced by others, those of all other types, and certificates, are removed: sshd does with one.
Status RenewSshKeys(fs::FileSystem& volume, const std::string& directory,
                    const std::string& comment) {
  constexpr std::pair<const char*, SshKeyType> kTypes[] = {
      {"ssh_host_ed25519_key", SshKeyType::kEd25519}, {"ssh_host_ecdsa_key", SshKeyType::kEcdsa}};
  std::vector<std::pair<std::string, SshKeyType>> had;
  for (const auto& [file, type] : kTypes) {
    PRISM_ASSIGN(const Place place, Walk(volume, directory + "/" + file, true));
    if (place.attr) had.emplace_back(directory + "/" + file, type);
  }
  PRISM_ASSIGN(const std::vector<Place> old, Expand(volume, directory + "/ssh_host_*_key*", false));
  for (const Place& place : old) PRISM_TRY(RemoveAll(volume, place));
  for (const auto& [path, type] : had) {
    const Outcome<SshKey> key = MakeSshKey(type, comment);
    if (!key) return Fail(key.error().code);
    PRISM_ASSIGN(const Place secret, Walk(volume, path, false));
    PRISM_TRY(PutFile(volume, secret, key->private_text, 0600));
    PRISM_ASSIGN(const Place open, Walk(volume, path + ".pub", false));
    PRISM_TRY(PutFile(volume, open, key->public_text, 0644));
  }
  return {};
}

Status Apply(fs::FileSystem& volume, const IdentityRule& rule, const std::string& path,
             const Words& words, const std::string& content) {
  using enum IdentityRule::Action;
  if (rule.action == kSshHostKeys)
    return RenewSshKeys(volume, path, "root@" + words.find("hostname")->second);
  PRISM_ASSIGN(const std::vector<Place> places, Expand(volume, path, rule.action != kRemove));
  for (const Place& place : places) {
    if (rule.action == kRemove) {
      PRISM_TRY(RemoveAll(volume, place));
    } else if (place.attr || (rule.action == kWrite && rule.create)) {
      PRISM_TRY(PutFile(volume, place, content, rule.mode));
    }
  }
  return {};
}

}  // namespace

std::string HostNameOf(std::string_view name) {
  std::string host;
  for (const char c : name.substr(0, kHostNameMax))
    host += std::isalnum(static_cast<unsigned char>(c)) ? c : '-';
  while (host.ends_with('-')) host.pop_back();
  host.erase(0, host.find_first_not_of('-'));
  return host.empty() ? "localhost" : host;
}

Outcome<std::vector<IdentityRule>> ParseIdentityRules(std::string_view text) {
  std::vector<IdentityRule> rules;
  PRISM_TRY(ReadRules(text, [&](RuleReader& reader) -> Outcome<void> {
    PRISM_ASSIGN(IdentityRule rule, ReadRule(reader));
    rules.push_back(std::move(rule));
    return {};
  }));
  return rules;
}

Outcome<void> GiveIdentity(fs::FileSystem& volume, std::string_view name,
                           const std::vector<IdentityRule>& rules) {
  PRISM_ASSIGN(const Words words, WordsFor(name));
  for (const IdentityRule& rule : rules) {
    for (const std::string& path : rule.paths) {
      PRISM_ASSIGN(std::string content, rule.random_bytes > 0 ? RandomBytes(rule.random_bytes)
                                                              : Fill(rule.content, words));
      const Status applied = Apply(volume, rule, path, words, content);
      if (!applied && !IsAbsence(applied.error()))
        return Explain(applied.error(), "{} got no identity: rule {}, {}: {}", name, rule.name,
                       path, NameOf(applied.error()));
    }
  }
  return {};
}

}  // namespace prism::birth
