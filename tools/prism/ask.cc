#include "tools/prism/ask.h"

#include <fmt/format.h>

#include "tools/prism/format.h"

namespace prism::tool {

using nlohmann::json;

Outcome<Reply> Ask(const CommonOptions& common, std::string_view verb, json request) {
  PRISM_ASSIGN(ControlClient client, ControlClient::Connect(common.control_path));
  return client.Call(verb, std::move(request));
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
