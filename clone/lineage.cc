#include "clone/lineage.h"

namespace prism::clone {

Lineage Continue(Lineage past, Place place) {
  past.push_back(place);
  if (past.size() > kLineageMax) past.erase(past.begin());
  return past;
}

std::optional<Place> CommonPlace(const Lineage& a, const Lineage& b) {
  for (auto place = a.rbegin(); place != a.rend(); ++place)
    for (const Place& other : b)
      if (other.line == place->line) return Place{place->line, std::min(place->at, other.at)};
  return std::nullopt;
}

bool DescendsFrom(const Lineage& lineage, Place place) {
  return std::any_of(lineage.begin(), lineage.end(), [&](const Place& other) {
    return other.line == place.line && other.at >= place.at;
  });
}

}  // namespace prism::clone
