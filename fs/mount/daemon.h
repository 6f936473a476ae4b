// A service that starts in the foreground, so that its caller hears of failure, and goes on in the
// background. Internal to fs/mount.
#pragma once

#include <functional>
#include <string>

#include "fs/base/failure.h"

namespace prism::mount {

// Calls `on_live` when it serves, and returns when it has ended.
using Service = std::function<Outcome<void>(const std::function<void()>& on_live)>;

// Forks. The child leaves the terminal and the directory, logs to log_path (empty: syslog), runs
// the service and ends with status 0, or 1 and the failure in the log. The parent returns Ok when
// the child is live, or the child's failure, or that it died before. REQUIRES: this process has one
// thread.
Outcome<void> RunInBackground(const std::string& log_path, const Service& service);

}  // namespace prism::mount
