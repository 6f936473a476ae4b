// A check's report as both `prism fsck` and the server's control socket tell it
// (server/PROTOCOL.md).
#pragma once

#include <nlohmann/json.hpp>

#include "cow/check_report.h"

namespace prism::fs {

inline nlohmann::json JsonOf(const cow::CheckReport& report) {
  return {{"damage_count", report.damage_count},
          {"damages", report.damages},
          {"volumes", report.volumes},
          {"inodes", report.inodes},
          {"nodes", report.nodes},
          {"chunks", report.chunks},
          {"data_bytes", report.data_bytes},
          {"journal_records", report.journal_records},
          {"journal_included", report.journal_included}};
}

}  // namespace prism::fs
