#include "clone/composition.h"

namespace prism::clone {

void PutComposition(ByteWriter& writer, const Composition& composition) {
  writer.Put(static_cast<uint32_t>(composition.rules.size()));
  if (!composition.composed()) return;
  for (const std::string& rule : composition.rules) writer.PutString(rule);
  writer.Put(composition.cut_sec);
  writer.Put(composition.cut_nsec);
  writer.Put(composition.depth);
  writer.Put(static_cast<uint8_t>(composition.partial));
  writer.Put(static_cast<uint8_t>(composition.uncounted));
  writer.Put(composition.made_from);
  writer.Put(composition.made_until);
  writer.Put(static_cast<uint32_t>(composition.grafts.size()));
  for (const Graft& graft : composition.grafts) {
    writer.Put(graft.part);
    writer.PutString(graft.source);
    writer.Put(graft.rule);
    writer.Put(graft.prefix);
    writer.Put(graft.prefixes);
    writer.Put(static_cast<uint8_t>(graft.read_only));
  }
}

Result<Composition> GetComposition(ByteReader& reader) {
  Composition composition;
  const uint32_t rules = reader.Get<uint32_t>();
  if (reader.failed() || rules > kComposeRulesMax) return Fail(Err::kCorrupt);
  if (rules == 0) return composition;
  for (uint32_t i = 0; i < rules && !reader.failed(); ++i)
    composition.rules.emplace_back(reader.GetString());
  composition.cut_sec = reader.Get<int64_t>();
  composition.cut_nsec = reader.Get<int64_t>();
  composition.depth = reader.Get<uint8_t>();
  composition.partial = reader.Get<uint8_t>() != 0;
  composition.uncounted = reader.Get<uint8_t>() != 0;
  composition.made_from = reader.Get<InodeId>();
  composition.made_until = reader.Get<InodeId>();
  for (uint32_t left = reader.Get<uint32_t>(); left > 0 && !reader.failed(); --left) {
    Graft graft;
    graft.part = reader.Get<VolumeId>();
    graft.source = reader.GetString();
    graft.rule = reader.Get<uint32_t>();
    graft.prefix = reader.Get<uint32_t>();
    graft.prefixes = reader.Get<uint32_t>();
    graft.read_only = reader.Get<uint8_t>() != 0;
    if (graft.part == 0 || graft.rule >= rules || graft.prefix != composition.prefixes() ||
        graft.prefixes == 0 || graft.prefixes > kPrefixesMax - graft.prefix)
      return Fail(Err::kCorrupt);
    composition.grafts.push_back(std::move(graft));
  }
  if (reader.failed() || composition.depth > kComposeDepthMax) return Fail(Err::kCorrupt);
  return composition;
}

}  // namespace prism::clone
