#include "server/control_fields.h"

#include <algorithm>

#include "server/control_verbs.h"

namespace prism::server {

using nlohmann::json;

namespace {

// Rules are files, and longer than other strings.
constexpr size_t kRulesMax = 65536;

bool IsText(const json& value) {
  return value.is_string() && value.get_ref<const std::string&>().size() <= kControlStringMax;
}

Outcome<void> CheckField(const Field& field, const json& value) {
  switch (field.type) {
    case FieldType::kText:
      if (IsText(value)) return {};
      return Explain(Err::kInvalid, "\"{}\" must be a string of at most {} bytes", field.name,
                     kControlStringMax);
    case FieldType::kRules:
      if (value.is_string() && value.get_ref<const std::string&>().size() <= kRulesMax) return {};
      return Explain(Err::kInvalid, "\"{}\" must be a string of at most {} bytes", field.name,
                     kRulesMax);
    case FieldType::kFlag:
      if (value.is_boolean()) return {};
      return Explain(Err::kInvalid, "\"{}\" must be true or false", field.name);
    case FieldType::kNumber:
      if (value.is_number_unsigned() && value.get<uint64_t>() <= INT64_MAX) return {};
      return Explain(Err::kInvalid, "\"{}\" must be a whole number, not negative", field.name);
    case FieldType::kObjects:
      if (value.is_array() && !value.empty() && value.size() <= kControlNamesMax &&
          std::all_of(value.begin(), value.end(), [](const json& v) { return v.is_object(); }))
        return {};
      return Explain(Err::kInvalid, "\"{}\" must be an array of 1 to {} objects", field.name,
                     kControlNamesMax);
    case FieldType::kTexts:
      if (value.is_array() && !value.empty() && value.size() <= kControlNamesMax &&
          std::all_of(value.begin(), value.end(), IsText))
        return {};
      return Explain(Err::kInvalid, "\"{}\" must be an array of 1 to {} strings", field.name,
                     kControlNamesMax);
  }
  return {};
}

}  // namespace

Outcome<void> CheckFields(std::string_view verb, const Fields& fields, const json& request) {
  size_t known = 1;  // "verb"
  for (const Field& field : fields) {
    if (field.name == nullptr) continue;
    const auto found = request.find(field.name);
    if (found == request.end()) {
      if (!field.required) continue;
      return Explain(Err::kInvalid, "{} needs \"{}\"", verb, field.name);
    }
    ++known;
    PRISM_TRY(CheckField(field, *found));
  }
  if (request.size() != known)
    return Explain(Err::kInvalid, "{} was given a field that it does not know", verb);
  return {};
}

std::string Text(const json& request, const char* field) {
  return request.contains(field) ? request.at(field).get<std::string>() : std::string();
}

std::vector<std::string> Texts(const json& request, const char* field) {
  if (!request.contains(field)) return {};
  return request.at(field).get<std::vector<std::string>>();
}

bool Flag(const json& request, const char* field) {
  return request.contains(field) && request.at(field).get<bool>();
}

uint64_t Number(const json& request, const char* field) {
  return request.contains(field) ? request.at(field).get<uint64_t>() : 0;
}

json Describe(const fs::VolumeInfo& volume) {
  return {{"id", volume.id},
          {"name", volume.name},
          {"parent", volume.parent},
          {"parent_id", volume.parent_id},
          {"snapshot_of", volume.snapshot_of},
          {"read_only", volume.snapshot_of != 0 || volume.sealed},
          {"sealed", volume.sealed},
          {"importing", volume.importing},
          {"consistency", volume.parent_id == 0 ? ""
                          : volume.flushed      ? "barrier"
                                                : "crash-consistent"},
          {"created_sec", volume.created_sec},
          {"expires_sec", volume.expires_sec},
          {"holds", volume.holds},
          {"inodes", volume.inodes},
          {"logical_bytes", volume.logical_bytes},
          {"quota_bytes", volume.quota.bytes},
          {"quota_inodes", volume.quota.inodes},
          {"quota_exclusive", volume.quota.exclusive},
          {"composed", volume.composed},
          {"counted", !volume.uncounted},
          {"attached", volume.attached}};
}

json Describe(const std::vector<fs::VolumeInfo>& volumes) {
  json result = json::array();
  for (const fs::VolumeInfo& volume : volumes) result.push_back(Describe(volume));
  return result;
}

}  // namespace prism::server
