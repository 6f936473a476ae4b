// The whole server: a store, its control socket and its lanes, from start to clean stop.
#pragma once

#include "server/options.h"

namespace prism::server {

// Serves until SIGTERM or SIGINT. Returns the exit code: 0, or 1 when it could not start.
// REQUIRES: the process has no other threads yet.
int RunDaemon(const Options& options);

}  // namespace prism::server
