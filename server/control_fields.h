// What the verbs of the control socket share: the fields of a request, and how a volume is told.
#pragma once

#include <array>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "fs/base/failure.h"
#include "fs/core/host.h"

namespace prism::server {

struct ControlContext;

enum class FieldType { kText, kTexts, kFlag, kNumber, kObjects, kRules };

struct Field {
  const char* name = nullptr;  // null: no field
  FieldType type = FieldType::kText;
  bool required = true;
};
using Fields = std::array<Field, 8>;

// A verb that needs nothing of its connection. The request has been checked against its fields.
struct ContextVerb {
  std::string_view name;
  Fields fields;
  Outcome<nlohmann::json> (*handler)(ControlContext& context, const nlohmann::json& request);
};

// kInvalid: a field is missing, unknown, of another type or too large.
Outcome<void> CheckFields(std::string_view verb, const Fields& fields,
                          const nlohmann::json& request);

// Of a checked request; absent: empty, false, 0.
std::string Text(const nlohmann::json& request, const char* field);
std::vector<std::string> Texts(const nlohmann::json& request, const char* field);
bool Flag(const nlohmann::json& request, const char* field);
uint64_t Number(const nlohmann::json& request, const char* field);

nlohmann::json Describe(const fs::VolumeInfo& volume);
nlohmann::json Describe(const std::vector<fs::VolumeInfo>& volumes);

}  // namespace prism::server
