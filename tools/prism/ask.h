// One question to the server and its answer, as most verbs are.
#pragma once

#include <string>
#include <string_view>

#include "tools/prism/command.h"
#include "tools/prism/control_client.h"

namespace prism::tool {

// One exchange on a connection of its own.
Outcome<Reply> Ask(const CommonOptions& common, std::string_view verb,
                   nlohmann::json request = nlohmann::json::object());

// --request-key of a verb that changes something; the request with it, if it was given.
void AddRequestKey(CLI::App& verb, std::string& key);
nlohmann::json Keyed(nlohmann::json request, const std::string& key);

// The rules in a file; kTooLarge: longer than the server takes.
Outcome<std::string> ReadRules(const std::string& path);

// The result, with the times that it took, and what people are told.
CommandResult ResultOf(const Reply& reply, std::string text);

// "in 1.2 ms (in the server: 83 us)"
std::string Took(const Reply& reply);

}  // namespace prism::tool
