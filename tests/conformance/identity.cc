#include "tests/conformance/identity.h"

#include <linux/capability.h>
#include <sys/fsuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fs/base/check.h"

namespace prism::conformance {
namespace {

void SetIds(uint32_t uid, uint32_t gid, uint32_t saved_uid) {
  PRISM_CHECK(syscall(SYS_setresgid, gid, gid, gid) == 0);
  PRISM_CHECK(syscall(SYS_setresuid, uid, uid, saved_uid) == 0);
}

void SetGroups(std::span<const uint32_t> groups) {
  PRISM_CHECK(syscall(SYS_setgroups, groups.size(), groups.data()) == 0);
}

// Everything that is permitted, but for these.
void RaiseCapabilities(uint32_t without) {
  __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  __user_cap_data_struct sets[2] = {};
  PRISM_CHECK(syscall(SYS_capget, &header, sets) == 0);
  for (__user_cap_data_struct& set : sets) set.effective = set.permitted;
  sets[0].effective &= ~without;
  PRISM_CHECK(syscall(SYS_capset, &header, sets) == 0);
}

}  // namespace

Identity::Identity(const fs::Caller& caller, bool subject_to_kill) {
  SetGroups(caller.groups);
  if (caller.check_permission) {
    // The saved number is the way back, and no capability is in effect meanwhile.
    SetIds(caller.uid, caller.gid, 0);
    return;
  }
  setfsgid(caller.gid);
  setfsuid(caller.uid);
  RaiseCapabilities(subject_to_kill ? 1u << CAP_FSETID : 0);
}

Identity::~Identity() {
  PRISM_CHECK(syscall(SYS_setresuid, 0, 0, 0) == 0);
  SetIds(0, 0, 0);
  SetGroups({});
  RaiseCapabilities(0);
}

}  // namespace prism::conformance
