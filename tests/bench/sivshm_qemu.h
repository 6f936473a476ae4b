// Real QEMUs with an ivshmem-doorbell device each, and the first thing their guests would do with
// it. QEMU is as it comes, with TCG, but its processors stand still: the benchmark plays them over
// QEMU's qtest socket, so that no guest's kernel hides what the device's set-up takes.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "vrpc/segment.h"

namespace prism::bench {

struct Vm {
  std::string lane_path;
  std::string qtest_path;
  pid_t pid = 0;
};

// Starts them all, and ends each by its pid. Milliseconds from the first spawn until every one has
// had its first round trip with the manager: `ask` makes it, through the processor of that one.
struct QemuTimes {
  double up_ms = 0;    // all devices are there
  double done_ms = 0;  // all round trips
};
QemuTimes RunCentralVms(std::vector<Vm> vms, uint32_t vectors);
// The round trip is a whole Hello and its answer. geometry: of every VM's port.
QemuTimes RunDirectVms(std::vector<Vm> vms, const vrpc::Geometry& geometry);

}  // namespace prism::bench
