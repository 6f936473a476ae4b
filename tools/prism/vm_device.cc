#include "tools/prism/vm_device.h"

#include <fmt/format.h>

namespace prism::tool {
namespace {

// Within an option, QEMU takes ",," for a comma.
std::string QemuValue(const std::string& value) {
  std::string out;
  for (char c : value) out.append(c == ',' ? 2 : 1, c);
  return out;
}

std::string XmlAttribute(const std::string& value) {
  std::string out;
  for (char c : value) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '\'':
        out += "&apos;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

}  // namespace

std::vector<std::string> QemuArguments(const VmDevice& device) {
  return {"-chardev",
          fmt::format("socket,id=prism-{},path={}", device.vm, QemuValue(device.socket_path)),
          "-device",
          fmt::format("ivshmem-doorbell,chardev=prism-{},vectors={}", device.vm, device.vectors)};
}

std::string LibvirtXml(const VmDevice& device) {
  return fmt::format(
      "<shmem name='prism-{}' role='peer'>\n"
      "  <model type='ivshmem-doorbell'/>\n"
      "  <server path='{}'/>\n"
      "  <msi vectors='{}' ioeventfd='on'/>\n"
      "</shmem>\n",
      device.vm, XmlAttribute(device.socket_path), device.vectors);
}

std::string KernelArguments(const std::string& volume) {
  return "boot=prism prism.volume=" + volume;
}

std::string ShellWord(const std::string& word) {
  constexpr std::string_view kPlain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_=+./:,@%";
  if (!word.empty() && word.find_first_not_of(kPlain) == word.npos) return word;
  std::string out = "'";
  for (char c : word) {
    if (c == '\'') out += "'\\'";
    out += c;
  }
  return out + "'";
}

}  // namespace prism::tool
