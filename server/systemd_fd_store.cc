// The service manager's store: sd_notify(3), sd_listen_fds(3). It hands descriptors back in any
// order and all of a unit in one environment variable, so each entry is one descriptor (fd_pack.h).
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <systemd/sd-daemon.h>

#include <cstdlib>
#include <cstring>
#include <vector>

#include "server/fd_store.h"

namespace prism::server {
namespace {

constexpr std::string_view kPrefix = "prism.";  // of the names of our descriptors

class SystemdFdStore : public FdStore {
 public:
  SystemdFdStore() {
    char** names = nullptr;
    const int count = sd_listen_fds_with_names(1, &names);
    for (int i = 0; i < count; ++i) {
      UniqueFd fd(SD_LISTEN_FDS_START + i);
      const std::string name = names && names[i] ? names[i] : "";
      if (name.starts_with(kPrefix))
        stored_.push_back({name.substr(kPrefix.size()), std::move(fd)});
      else if (!name.empty())
        Forget(name);  // an older or newer version's
    }
    for (int i = 0; names && names[i]; ++i) std::free(names[i]);
    std::free(names);
  }

  Outcome<void> Put(const std::string& name, std::string_view note,
                    std::span<const int> fds) override {
    PRISM_ASSIGN(UniqueFd pack, PackFds(note, fds));
    Remove(name);
    // Without FDPOLL=0 it would be forgotten at once: a pack looks like a socket that has ended.
    const int fd = pack.get();
    const std::string state = fmt::format("FDSTORE=1\nFDNAME={}{}\nFDPOLL=0", kPrefix, name);
    const int sent = sd_pid_notify_with_fds(0, 0, state.c_str(), &fd, 1);
    if (sent < 0) return ExplainErrno(-sent, "the service manager took no descriptor");
    if (sent == 0) return Explain(Err::kNotSupported, "no service manager is there");
    return {};
  }

  void Remove(const std::string& name) override { Forget(std::string(kPrefix).append(name)); }

  std::vector<Entry> TakeAll() override {
    std::vector<Entry> entries;
    for (const Stored& stored : stored_) {
      Outcome<PackedFds> content = UnpackFds(stored.pack.get());
      if (content) {
        entries.push_back({stored.name, std::move(*content)});
        continue;
      }
      spdlog::warn("stored descriptors of {} are dropped: {}", stored.name,
                   content.error().message);
      Remove(stored.name);
    }
    stored_.clear();
    return entries;
  }

 private:
  struct Stored {
    std::string name;
    UniqueFd pack;
  };

  static void Forget(const std::string& full_name) {
    sd_notifyf(0, "FDSTOREREMOVE=1\nFDNAME=%s", full_name.c_str());
  }

  std::vector<Stored> stored_;  // until TakeAll
};

}  // namespace

std::unique_ptr<FdStore> OpenSystemdFdStore() { return std::make_unique<SystemdFdStore>(); }

}  // namespace prism::server
