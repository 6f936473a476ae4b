#include "server/lane_report.h"

#include <fmt/format.h>

#include <fstream>

namespace prism::server {

std::string ProcessName(pid_t pid) {
  std::string name;
  if (pid > 0) std::getline(std::ifstream(fmt::format("/proc/{}/comm", pid)), name);
  return name;
}

nlohmann::json DescribeLanes(const std::vector<vrpc::LaneInfo>& lanes) {
  nlohmann::json result = nlohmann::json::array();
  for (const vrpc::LaneInfo& lane : lanes)
    result.push_back({{"id", lane.id},
                      {"vm", lane.port == kHostPort ? "" : lane.port},
                      {"lane", lane.lane},
                      {"volume", lane.volume},
                      {"importing", lane.importing},
                      {"attached", lane.attached},
                      {"pid", lane.pid},
                      {"uid", lane.uid},
                      {"process", ProcessName(lane.pid)},
                      {"connected_sec", lane.connected_sec},
                      {"queues", lane.queues},
                      {"waiting", lane.waiting},
                      {"sessions", lane.sessions},
                      {"drops", lane.drops},
                      {"drop_reason", lane.drop_reason},
                      {"calls", lane.calls},
                      {"errors", lane.errors},
                      {"read_bytes", lane.read_bytes},
                      {"written_bytes", lane.written_bytes}});
  return result;
}

}  // namespace prism::server
