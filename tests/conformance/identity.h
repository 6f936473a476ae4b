// Another user for a moment, on the calling thread alone.
#pragma once

#include "fs/contract/file_system.h"

namespace prism::conformance {

// While it lives, the calling thread asks the kernel as this caller does: a checked caller has his
// numbers, his groups and, unless he is root, no capabilities; an unchecked one has his numbers and
// every capability, for nobody checks him. Other threads stay who they are (glibc's setuid changes
// them all; the system calls change one).
//
// REQUIRES: root. May not be nested.
class Identity {
 public:
  explicit Identity(const fs::Caller& caller) : Identity(caller, false) {}
  // subject_to_kill: without CAP_FSETID, so that writing and truncating takes set-id bits away.
  Identity(const fs::Caller& caller, bool subject_to_kill);
  ~Identity();
  Identity(const Identity&) = delete;
  Identity& operator=(const Identity&) = delete;
};

}  // namespace prism::conformance
