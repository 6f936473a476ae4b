// What a volume may grow to.
#include <fmt/format.h>

#include <memory>

#include "tools/prism/ask.h"
#include "tools/prism/format.h"
#include "tools/prism/size.h"

namespace prism::tool {
namespace {

using nlohmann::json;

struct QuotaOptions {
  std::string name, bytes, inodes, request_key;
  bool exclusive = false;
  bool whole = false;
};

std::string Bound(uint64_t bound, const std::string& text) { return bound == 0 ? "none" : text; }

Outcome<CommandResult> Quota(const CommonOptions& common, const QuotaOptions& options) {
  json request = {{"name", options.name}};
  if (!options.bytes.empty()) {
    PRISM_ASSIGN(request["bytes"], ParseBound(options.bytes));
  }
  if (!options.inodes.empty()) {
    PRISM_ASSIGN(request["inodes"], ParseBound(options.inodes));
  }
  if (options.exclusive || options.whole) request["exclusive"] = options.exclusive;
  if (!options.request_key.empty()) request["request_key"] = options.request_key;
  PRISM_ASSIGN(Reply reply, Ask(common, "quota", std::move(request)));
  const json& quota = reply.result;
  const uint64_t bytes = NumberIn(quota, "bytes");
  const uint64_t inodes = NumberIn(quota, "inodes");
  Table table({{""}, {"USED", true}, {"QUOTA", true}});
  table.Add({FlagIn(quota, "exclusive") ? "bytes since it was made" : "bytes",
             Bytes(NumberIn(quota, "used_bytes")), Bound(bytes, Bytes(bytes))});
  table.Add({"inodes", Count(NumberIn(quota, "used_inodes")), Bound(inodes, Count(inodes))});
  std::string text = table.Format();
  if (IsBeingCounted(quota)) text += "USED is at most that: the files are still being counted\n";
  return ResultOf(reply, std::move(text));
}

}  // namespace

void AddQuotaVerb(CLI::App& app, const CommonOptions& common, Command& chosen) {
  auto options = std::make_shared<QuotaOptions>();
  CLI::App* quota = app.add_subcommand("quota", "show, or set, what a volume may grow to");
  quota->add_option("NAME", options->name, "a volume")->required();
  quota->add_option("--bytes", options->bytes, "20G, or none");
  quota->add_option("--inodes", options->inodes, "files of any kind: 1M, or none");
  CLI::Option* exclusive = quota->add_flag("--exclusive", options->exclusive,
                                           "the bytes are of what came since the volume was made");
  quota->add_flag("--whole", options->whole, "the bytes are of all that it holds")
      ->excludes(exclusive);
  quota->add_option("--request-key", options->request_key,
                    "a name for this request: done once, however often it is repeated");
  quota->callback([&chosen, &common, options] {
    chosen = [&common, options] { return Quota(common, *options); };
  });
}

}  // namespace prism::tool
