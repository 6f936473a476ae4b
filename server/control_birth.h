// The verbs of clones that are given something at their birth, and of volumes that are sealed.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "fs/birth/identity.h"
#include "server/control_fields.h"

namespace prism::server {

// What makes a new volume another machine; preparation() is of this object, and for as long.
class Identity {
 public:
  // Of a request with "identity"; nullopt: it has none.
  static Outcome<std::optional<Identity>> In(const nlohmann::json& request);

  Outcome<void> operator()(std::string_view target, fs::FileSystem& volume) const {
    return birth::GiveIdentity(volume, target, rules_);
  }
  fs::Preparation preparation() const { return {*this, description_}; }

 private:
  std::vector<birth::IdentityRule> rules_;
  std::string description_;
};

Outcome<nlohmann::json> Clone(ControlContext& context, const nlohmann::json& request);
std::span<const ContextVerb> BirthVerbs();

}  // namespace prism::server
