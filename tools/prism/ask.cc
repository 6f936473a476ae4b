#include "tools/prism/ask.h"

#include <fmt/format.h>

#include <cerrno>
#include <fstream>

#include "tools/prism/format.h"

namespace prism::tool {

using nlohmann::json;

namespace {

constexpr size_t kRulesBytesMax = 65536;

}  // namespace

Outcome<Reply> Ask(const CommonOptions& common, std::string_view verb, json request) {
  PRISM_ASSIGN(ControlClient client, ControlClient::Connect(common.control_path));
  return client.Call(verb, std::move(request));
}

void AddRequestKey(CLI::App& verb, std::string& key) {
  verb.add_option("--request-key", key,
                  "a name for this request: done once, however often it is repeated");
}

json Keyed(json request, const std::string& key) {
  if (!key.empty()) request["request_key"] = key;
  return request;
}

Outcome<std::string> ReadRules(const std::string& path) {
  std::string rules(kRulesBytesMax + 1, '\0');
  std::ifstream file(path, std::ios::binary);
  if (!file) return ExplainErrno(errno, path);
  file.read(rules.data(), static_cast<std::streamsize>(rules.size()));
  if (file.bad()) return Explain(Err::kIo, "{} cannot be read", path);
  rules.resize(static_cast<size_t>(file.gcount()));
  if (rules.empty()) return Explain(Err::kInvalid, "{} is empty", path);
  if (rules.size() > kRulesBytesMax)
    return Explain(Err::kTooLarge, "{} has more than {} bytes", path, kRulesBytesMax);
  return rules;
}

CommandResult ResultOf(const Reply& reply, std::string text) {
  CommandResult result;
  result.json = {{"ok", true},
                 {"result", reply.result},
                 {"server_us", reply.server_us},
                 {"took_us", reply.took_us}};
  result.text = std::move(text);
  return result;
}

std::string Took(const Reply& reply) {
  return fmt::format("in {} (in the server: {})", Seconds(reply.took_us / 1e6),
                     Seconds(reply.server_us / 1e6));
}

}  // namespace prism::tool
