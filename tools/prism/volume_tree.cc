#include "tools/prism/volume_tree.h"

#include <fmt/format.h>

#include <map>
#include <vector>

#include "tools/prism/control_client.h"
#include "tools/prism/format.h"

namespace prism::tool {
namespace {

using nlohmann::json;

struct Node {
  std::string text;
  std::vector<uint64_t> children;  // by id
};

std::string TextOf(const json& volume) {
  std::string text = Printable(TextIn(volume, "name"));
  text += fmt::format("  {}", LocalTime(static_cast<int64_t>(NumberIn(volume, "created_sec"))));
  if (FlagIn(volume, "importing")) text += ", importing";
  if (const json holds = volume.value("holds", json::array()); !holds.empty()) text += ", held";
  if (NumberIn(volume, "attached") > 0) text += ", in use";
  return text;
}

// Volumes can be rebased on what was made of them: of such a circle the oldest is drawn first.
bool BeginsCircle(const std::map<uint64_t, uint64_t>& parents, uint64_t id) {
  uint64_t at = id;
  for (size_t steps = 0; steps < parents.size(); ++steps) {
    const auto found = parents.find(at);
    if (found == parents.end() || found->second < id) return false;
    if (found->second == id) return true;
    at = found->second;
  }
  return false;
}

std::map<uint64_t, Node> NodesOf(const json& volumes, std::vector<uint64_t>& roots) {
  std::map<uint64_t, Node> nodes;
  for (const json& volume : volumes)
    if (volume.is_object()) nodes[NumberIn(volume, "id")].text = TextOf(volume);
  const auto known = nodes;
  std::map<uint64_t, uint64_t> parents;
  for (const json& volume : volumes)
    if (volume.is_object()) parents[NumberIn(volume, "id")] = NumberIn(volume, "parent_id");
  for (const json& volume : volumes) {
    if (!volume.is_object()) continue;
    const uint64_t id = NumberIn(volume, "id");
    const uint64_t parent = NumberIn(volume, "parent_id");
    if (parent == 0 || BeginsCircle(parents, id)) {
      roots.push_back(id);
      continue;
    }
    if (!known.contains(parent) && nodes[parent].children.empty()) {
      nodes[parent].text = fmt::format("({}: gone)", Printable(TextIn(volume, "parent")));
      roots.push_back(parent);
    }
    nodes[parent].children.push_back(id);
  }
  return nodes;
}

}  // namespace

std::string DrawTree(const json& volumes) {
  struct Step {
    uint64_t id;
    std::string indent;  // of its children
    size_t next = 0;     // the child to draw next
  };
  std::vector<uint64_t> roots;
  const std::map<uint64_t, Node> nodes = NodesOf(volumes, roots);
  std::string text;
  for (uint64_t root : roots) {
    text += nodes.at(root).text + "\n";
    std::vector<Step> path{{root, ""}};
    while (!path.empty()) {
      Step& step = path.back();
      const std::vector<uint64_t>& children = nodes.at(step.id).children;
      if (step.next == children.size()) {
        path.pop_back();
        continue;
      }
      const uint64_t child = children[step.next++];
      const bool last = step.next == children.size();
      text += step.indent + (last ? "└─ " : "├─ ") + nodes.at(child).text + "\n";
      path.push_back({child, step.indent + (last ? "   " : "│  ")});
    }
  }
  return text;
}

}  // namespace prism::tool
