// Looks through a whole file system for what must not be shared.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "fs/base/failure.h"
#include "fs/birth/secret_patterns.h"
#include "fs/contract/file_system.h"

namespace prism::birth {

inline constexpr size_t kFindingsMax = 10000;
inline constexpr size_t kFindingBytesMax = size_t{8} << 20;  // of the paths of all findings
inline constexpr size_t kSecretBytesMax = 8192;  // longer matches may go unseen, in large files
inline constexpr size_t kPathBytesMax = 65536;   // of a file that can be looked at

// Never what was found: a report is read by more people than the secret.
struct Finding {
  std::string path;
  size_t rule = 0;    // of the patterns
  uint64_t line = 0;  // of the file, from 1, where it is for the first time; 0: the file itself
};

struct SealReport {
  std::vector<Finding> findings;  // each rule once for each file, in the order of the walk
  uint64_t more_findings = 0;     // beyond these bounds
  uint64_t files = 0;             // looked at
  uint64_t bytes = 0;             // of them read
};

// A file with several names is looked at under the first for its content. Symlinks are looked at as
// such, holes are skipped; memory does not grow with files or their sizes, only with the depth of
// directories. What cannot be read or is too deep is a failure: nothing is passed over.
Outcome<SealReport> CheckForSecrets(fs::FileSystem& cut, const SecretPatterns& patterns);

}  // namespace prism::birth
