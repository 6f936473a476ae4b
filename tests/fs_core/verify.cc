// A checker of a volume's items.
#include <fmt/format.h>

#include "fs/core/volume_check.h"
#include "tests/fs_core/fake_volume.h"

namespace prism::fs::testing {

std::string Verify(const FakeVolume& volume, std::optional<cow::VolumeUsage> usage) {
  cow::CheckReport report;
  const std::unordered_set<ChunkId> no_bad_chunks;
  VolumeCheck check("under test", volume.hash_key(), no_bad_chunks, report);
  for (const auto& [key, value] : volume.items()) check.Add(key, value);
  check.Finish();
  if (usage && (usage->bytes != check.bytes() || usage->inodes != check.inodes()))
    report.Say("usage says {} bytes, {} inodes; there are {}, {}", usage->bytes, usage->inodes,
               check.bytes(), check.inodes());
  return fmt::format("{}", fmt::join(report.damages, "\n"));
}

}  // namespace prism::fs::testing
