// Composed volumes: one cut of all their sources, the rules, and the maps that make them one.
#include <spdlog/spdlog.h>

#include <map>
#include <memory>
#include <set>

#include "fs/core/composed_map.h"
#include "fs/core/composer.h"
#include "fs/core/host_impl.h"

namespace prism::fs {
namespace {

using clone::CatalogEntry;
using clone::Composition;
using FrozenTrees = std::map<VolumeId, std::shared_ptr<const FrozenTree>>;

// Null: a part has gone with the volume itself.
std::unique_ptr<GraftedTree> TreeOf(clone::Catalog& catalog, const Composition& composition,
                                    FrozenTrees& known) {
  std::vector<GraftedTree::Graft> grafts;
  for (const clone::Graft& graft : composition.grafts) {
    std::shared_ptr<const FrozenTree>& tree = known[graft.part];
    if (tree == nullptr) {
      const std::optional<CatalogEntry> part = catalog.Part(graft.part);
      if (!part) return nullptr;
      auto below = TreeOf(catalog, part->row.composition, known);
      if (below == nullptr) return nullptr;
      auto made = std::make_shared<FrozenTree>();
      made->map = part->volume;
      made->view = part->volume->Read();
      made->grafts = std::move(*below);
      tree = std::move(made);
    }
    grafts.push_back({tree, graft.prefix, graft.prefixes, graft.read_only});
  }
  return std::make_unique<GraftedTree>(std::move(grafts));
}

// Null as above.
std::shared_ptr<ComposedMap> ComposedMapOf(clone::Catalog& catalog,
                                           const std::shared_ptr<clone::Volume>& volume,
                                           const Composition& composition, bool partial) {
  FrozenTrees known;
  auto tree = TreeOf(catalog, composition, known);
  if (tree == nullptr) return nullptr;
  return std::make_shared<ComposedMap>(volume, std::move(*tree), partial);
}

Outcome<void> CheckRules(const ComposeOptions& options) {
  if (options.base.empty() && options.rules.empty())
    return Explain(Err::kInvalid, "nothing to compose a volume of: name a base, or rules");
  if (options.rules.size() >= clone::kComposeRulesMax)
    return Explain(Err::kTooBig, "at most {} rules", clone::kComposeRulesMax - 1);
  for (const ComposeRule& rule : options.rules) {
    PRISM_TRY(SplitPath(rule.path));
    if (rule.kind == ComposeRule::Kind::kGraft) PRISM_TRY(SplitPath(rule.from));
  }
  return {};
}

clone::ComposePlan PlanOf(std::string_view name, const ComposeOptions& options) {
  clone::ComposePlan plan;
  plan.name = name;
  plan.from = options.base;
  if (!options.base.empty()) plan.rules.push_back("--from " + options.base);
  for (const ComposeRule& rule : options.rules) {
    if (rule.kind == ComposeRule::Kind::kGraft)
      plan.parts.push_back({rule.source, static_cast<uint32_t>(plan.rules.size()), rule.read_only});
    plan.rules.push_back(rule.Text());
  }
  return plan;
}

}  // namespace

std::string ComposeRule::Text() const {
  switch (kind) {
    case Kind::kGraft:
      return fmt::format("--graft {}:{}={}{}", source, from, path, read_only ? ",ro" : "");
    case Kind::kExclude:
      return "--exclude " + path;
    case Kind::kEmpty:
      return "--empty " + path;
    case Kind::kVolatile:
      return "--volatile " + path;
  }
  return {};
}

// A volume whose parts have gone has gone too, and says so by itself.
std::shared_ptr<cow::VolumeMap> HostImpl::MapOf(const std::shared_ptr<clone::Volume>& volume) {
  const Composition composition = volume->composition();
  if (composition.grafts.empty() && !composition.partial) return volume;
  auto map = ComposedMapOf(*catalog_, volume, composition, composition.partial);
  return map == nullptr ? std::shared_ptr<cow::VolumeMap>(volume) : map;
}

std::shared_ptr<cow::VolumeMap> HostImpl::OpenMapOf(const std::shared_ptr<clone::Volume>& volume) {
  std::shared_ptr<cow::VolumeMap> map = MapOf(volume);
  EmptyVolatile(*map, volume->id(), false);
  return map;
}

void HostImpl::EmptyVolatile(cow::VolumeMap& map, VolumeId id, bool all) {
  auto* composed = dynamic_cast<ComposedMap*>(&map);
  if (composed == nullptr) return;
  std::lock_guard lock(totals_mutex_);
  const Status emptied =
      Composer(*composed, id).EmptyVolatile(all, [&] { catalog_->SetUncounted(id); });
  if (emptied || emptied.error() == Err::kStale) return;
  spdlog::error("volume {}: its volatile directories cannot be emptied ({}); it is not shown", id,
                NameOf(emptied.error()));
  composed->Break(emptied.error());
}

uint64_t HostImpl::ReferencedBytes(const clone::VolumeRow& row) {
  uint64_t bytes = row.usage.chunk_bytes + row.usage.node_bytes;
  std::set<VolumeId> seen;
  std::vector<clone::Graft> left = row.composition.grafts;
  while (!left.empty()) {
    const VolumeId id = left.back().part;
    left.pop_back();
    if (!seen.insert(id).second) continue;
    const std::optional<CatalogEntry> part = catalog_->Part(id);
    if (!part) continue;  // the volume has just gone
    bytes += part->row.usage.chunk_bytes + part->row.usage.node_bytes;
    const std::vector<clone::Graft>& more = part->row.composition.grafts;
    left.insert(left.end(), more.begin(), more.end());
  }
  return bytes;
}

Outcome<bool> HostImpl::FollowRules(const CatalogEntry& entry, const ComposeOptions& options) {
  const Composition& composition = entry.row.composition;
  if (options.base.empty()) {
    if (Status formatted = FormatVolume(*entry.volume); !formatted)
      return Failed(formatted.error(), "making the root directory");
  }
  auto map = ComposedMapOf(*catalog_, entry.volume, composition, true);
  if (map == nullptr) return Explain(Err::kNoEntry, "the new volume was destroyed meanwhile");
  Composer composer(*map, entry.row.id);
  // Before anything else: nobody has looked yet.
  if (Status emptied = composer.EmptyVolatile(false, [] {}); !emptied)
    return Failed(emptied.error(), "emptying the base's volatile directories");
  if (Status hidden = composer.HideOrphans(); !hidden)
    return Failed(hidden.error(), "leaving out what is unlinked in the base");
  size_t grafted = composition.grafts.size();
  for (const ComposeRule& rule : options.rules) grafted -= rule.kind == ComposeRule::Kind::kGraft;
  for (size_t i = grafted; i < composition.grafts.size(); ++i)
    if (const auto part = catalog_->Part(composition.grafts[i].part)) OpenMapOf(part->volume);
  for (const ComposeRule& rule : options.rules) {
    switch (rule.kind) {
      case ComposeRule::Kind::kGraft: {
        const clone::Graft& graft = composition.grafts[grafted++];
        PRISM_ASSIGN(Found found, FindInPart(graft.part, rule.from));
        found.ino += InodeId{graft.prefix} << clone::kPrefixShift;
        PRISM_TRY(composer.Graft(found, rule.path));
        break;
      }
      case ComposeRule::Kind::kExclude:
        PRISM_TRY(composer.Exclude(rule.path));
        break;
      case ComposeRule::Kind::kEmpty:
      case ComposeRule::Kind::kVolatile:
        PRISM_TRY(composer.Empty(rule.path, rule.kind == ComposeRule::Kind::kVolatile));
        break;
    }
  }
  return composer.partial();
}

Outcome<Found> HostImpl::FindInPart(VolumeId id, std::string_view path) {
  const std::optional<CatalogEntry> part = catalog_->Part(id);
  if (!part) return Explain(Err::kNoEntry, "the new volume was destroyed meanwhile");
  const std::shared_ptr<cow::VolumeMap> map = MapOf(part->volume);
  auto view = map->Read();
  Outcome<Found> found = FindPath(*view, HashKeys(*map), path);
  if (!found)
    found.error().message = fmt::format("in \"{}\": {}", part->row.parent, found.error().message);
  return found;
}

Outcome<VolumeInfo> HostImpl::Compose(std::string_view name, const ComposeOptions& options,
                                      std::string_view request_key) {
  PRISM_TRY(CheckRules(options));
  const clone::ComposePlan plan = PlanOf(name, options);
  std::vector<std::string> arguments = plan.rules;
  arguments.emplace_back(name);
  if (options.preparation != nullptr) arguments.push_back(options.preparation->description);
  PRISM_ASSIGN(const clone::Request request, clone::NameRequest(request_key, "compose", arguments));
  PRISM_ASSIGN(const auto done, catalog_->FindDone(request));
  if (done) return InfoOf(done->front());
  CatalogEntry entry;
  {
    std::map<VolumeId, DataGate> gates;
    std::vector<std::string> sources;
    if (!plan.from.empty()) sources.push_back(plan.from);
    for (const clone::ComposePlan::Part& part : plan.parts) sources.push_back(part.source);
    for (const std::string& source : sources) {
      PRISM_ASSIGN(const CatalogEntry found, catalog_->Find(source));
      if (gates.contains(found.row.id)) continue;
      PRISM_ASSIGN(gates[found.row.id], GateOf(found.row.id));
    }
    PRISM_ASSIGN(entry, catalog_->Compose(plan));
  }
  Outcome<bool> partial = FollowRules(entry, options);
  if (partial && options.preparation != nullptr)
    if (const Outcome<void> prepared = Prepare(entry, name, *options.preparation); !prepared)
      partial = tl::unexpected(prepared.error());
  if (!partial) {
    DropCores({entry.row.id});
    (void)catalog_->Destroy({std::string(name)});
    return tl::unexpected(partial.error());
  }
  PRISM_ASSIGN(entry, catalog_->FinishCompose(entry.row.id, *partial, request));
  CoreOf(entry.volume);  // frees the files that were excluded, in the background
  return InfoOf(entry);
}

}  // namespace prism::fs
