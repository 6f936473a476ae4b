// Machines that reach volumes through lanes of their own, and all lanes.
#include <fmt/format.h>
#include <pwd.h>

#include <charconv>
#include <map>
#include <memory>
#include <optional>

#include "tools/prism/ask.h"
#include "tools/prism/format.h"
#include "tools/prism/vm_device.h"

namespace prism::tool {
namespace {

using nlohmann::json;

struct AttachOptions {
  std::string vm;
  std::vector<std::string> volumes;
  std::string vmm = "qemu";
  std::string user;
  std::map<std::string, uint32_t> numbers;  // by their fields in the request
};

Outcome<uint32_t> UserId(const std::string& user) {
  uint32_t uid = 0;
  const auto [end, error] = std::from_chars(user.data(), user.data() + user.size(), uid);
  if (error == std::errc() && end == user.data() + user.size()) return uid;
  const passwd* entry = getpwnam(user.c_str());
  if (!entry) return Explain(Err::kNoEntry, "there is no user {}", Printable(user));
  return entry->pw_uid;
}

std::string UserName(uint64_t uid) {
  const passwd* entry = getpwuid(static_cast<uid_t>(uid));
  return entry ? entry->pw_name : std::to_string(uid);
}

std::string Words(const json& texts) {
  std::string words;
  if (texts.is_array())
    for (const json& text : texts)
      if (text.is_string())
        words += (words.empty() ? "" : " ") + Printable(text.get_ref<const std::string&>());
  return words;
}

std::string OrDash(std::string text) { return text.empty() ? "-" : text; }

std::string GuestLines(const VmDevice& device, const std::string& volume) {
  return fmt::format(
      "\nin the guest:\n"
      "  prism-mount --lane auto {0} /mnt\n"
      "as its root file system, on its kernel's command line (docs/GUESTS.md):\n"
      "  {2}\n"
      "for one mount of a process or a container, instead of a machine:\n"
      "  prism mount --socket {1} {0} /mnt\n",
      volume, ShellWord(device.socket_path), KernelArguments(volume));
}

Outcome<CommandResult> Attach(const CommonOptions& common, const AttachOptions& options) {
  json request = {{"vm", options.vm}, {"volumes", options.volumes}};
  for (const auto& [field, number] : options.numbers) request[field] = number;
  if (!options.user.empty()) {
    PRISM_ASSIGN(request["uid"], UserId(options.user));
  }
  PRISM_ASSIGN(Reply reply, Ask(common, "attach", std::move(request)));
  const VmDevice device{TextIn(reply.result, "name"), TextIn(reply.result, "socket"),
                        NumberIn(reply.result, "vectors")};
  const std::vector<std::string> arguments = QemuArguments(device);
  const std::string xml = LibvirtXml(device);
  std::string text = fmt::format("attached {} to {} {}\n\n", fmt::join(options.volumes, ", "),
                                 device.vm, Took(reply));
  const std::string user = UserName(NumberIn(reply.result, "uid"));
  if (options.vmm == "libvirt") {
    text += fmt::format("for libvirt, in <devices> (QEMU runs as {}):\n{}", user, xml);
  } else {
    text += fmt::format("for QEMU, run as {} on a machine with PCI (q35, pc; microvm,pcie=on):\n ",
                        user);
    for (const std::string& argument : arguments) text += " " + ShellWord(argument);
    text += "\n";
  }
  text += GuestLines(device, options.volumes.front());
  CommandResult result = ResultOf(reply, std::move(text));
  result.json["qemu"] = arguments;
  result.json["libvirt"] = xml;
  result.json["kernel"] = KernelArguments(options.volumes.front());
  return result;
}

Outcome<CommandResult> Detach(const CommonOptions& common, const AttachOptions& options) {
  json request = {{"vm", options.vm}};
  if (!options.volumes.empty()) request["volumes"] = options.volumes;
  PRISM_ASSIGN(Reply reply, Ask(common, "detach", std::move(request)));
  return ResultOf(reply,
                  options.volumes.empty()
                      ? fmt::format("detached {} {}\n", options.vm, Took(reply))
                      : fmt::format("detached {} from {} {}\n", fmt::join(options.volumes, ", "),
                                    options.vm, Took(reply)));
}

// "1234 qemu-system-x86"; "-": nobody.
std::string Process(const json& peer) {
  const uint64_t pid = NumberIn(peer, "pid");
  if (pid == 0) return "-";
  return fmt::format("{} {}", pid, Printable(TextIn(peer, "process")));
}

Outcome<CommandResult> Vms(const CommonOptions& common) {
  PRISM_ASSIGN(Reply reply, Ask(common, "vms"));
  Table table({{"VM"},
               {"VOLUMES"},
               {"USER"},
               {"PROCESS"},
               {"LANES", true},
               {"QUEUES", true},
               {"MEMORY", true},
               {"SOCKET"}});
  for (const json& vm : reply.result) {
    if (!vm.is_object()) continue;
    table.Add({Printable(TextIn(vm, "name")), OrDash(Words(vm.value("volumes", json::array()))),
               UserName(NumberIn(vm, "uid")), Process(vm), Count(NumberIn(vm, "lanes")),
               Count(NumberIn(vm, "queues")), Bytes(NumberIn(vm, "segment_bytes")),
               Printable(TextIn(vm, "socket"))});
  }
  return ResultOf(reply, table.empty() ? "no machine is attached\n" : table.Format());
}

std::string State(const json& lane) {
  if (FlagIn(lane, "importing")) return "importing";
  if (FlagIn(lane, "attached")) return "-";
  const std::string reason = Printable(TextIn(lane, "drop_reason"));
  return reason.empty() ? "ended" : "dropped: " + reason;
}

}  // namespace

Outcome<CommandResult> ListLanes(const CommonOptions& common) {
  PRISM_ASSIGN(Reply reply, Ask(common, "lanes"));
  Table table({{"VM"},
               {"LANE", true},
               {"VOLUME"},
               {"PROCESS"},
               {"QUEUES", true},
               {"WAITING", true},
               {"CALLS", true},
               {"ERRORS", true},
               {"READ", true},
               {"WRITTEN", true},
               {"SINCE"},
               {"ENDED"}});
  for (const json& lane : reply.result) {
    if (!lane.is_object()) continue;
    table.Add({OrDash(Printable(TextIn(lane, "vm"))), std::to_string(NumberIn(lane, "lane")),
               Printable(TextIn(lane, "volume")), Process(lane), Count(NumberIn(lane, "queues")),
               Count(NumberIn(lane, "waiting")), Count(NumberIn(lane, "calls")),
               Count(NumberIn(lane, "errors")), Bytes(NumberIn(lane, "read_bytes")),
               Bytes(NumberIn(lane, "written_bytes")),
               LocalTime(static_cast<int64_t>(NumberIn(lane, "connected_sec"))), State(lane)});
  }
  return ResultOf(reply, table.empty() ? "no lane is in use\n" : table.Format());
}

void AddVmVerbs(CLI::App& app, const CommonOptions& common, Command& chosen) {
  auto options = std::make_shared<AttachOptions>();
  auto add = [&](const char* verb, const char* help, auto run) {
    CLI::App* sub = app.add_subcommand(verb, help);
    sub->callback([&chosen, &common, options, run] {
      chosen = [&common, options, run] { return run(common, *options); };
    });
    return sub;
  };

  CLI::App* attach = add("attach", "give a virtual machine a lane to volumes of its own", Attach);
  attach->add_option("VM", options->vm, "its name here; one that is attached gets more volumes")
      ->required();
  attach->add_option("--volume", options->volumes, "the volumes, and no others")->required();
  attach->add_option("--vmm", options->vmm, "for whom to print what must be configured")
      ->check(CLI::IsMember({"qemu", "libvirt"}))
      ->capture_default_str();
  attach->add_option("--user", options->user,
                     "name or number of the user that the VMM runs as (the server's own)");
  const auto number = [&](const char* option, const char* field, const char* help) {
    attach->add_option_function<uint32_t>(
        option, [options, field](uint32_t value) { options->numbers[field] = value; }, help);
  };
  number("--lanes", "lanes", "mounts at the same time in the machine (4)");
  number("--queues", "queues", "calls at the same time in each mount (4)");
  attach
      ->add_option_function<uint64_t>(
          "--payload",
          [options](uint64_t value) {
            options->numbers["payload_bytes"] =
                static_cast<uint32_t>(std::min<uint64_t>(value, UINT32_MAX));
          },
          "bytes of one transfer at most; K, M (1M)")
      ->transform(CLI::AsSizeValue(false));

  CLI::App* detach = add("detach", "take it away again; the machine loses its lane", Detach);
  detach->add_option("VM", options->vm)->required();
  detach->add_option("--volume", options->volumes, "only these volumes; the lane stays for others");
  add("vms", "attached machines",
      [](auto& common_options, AttachOptions&) { return Vms(common_options); });
  add("lanes", "who works with which volume through shared memory",
      [](auto& common_options, AttachOptions&) { return ListLanes(common_options); });
}

}  // namespace prism::tool
