// What a hostile guest can do with the device of its lane: everything that the device offers, by a
// program of its own that knows nothing of Prism's code. isolation_test.py runs it inside a guest.
//
//   device_attack CANARY COMMAND...
//
//   search      reads all BARs, and fails if the canary (another machine's, in hexadecimal) is
//   there registers   reads and writes each register of BAR 0 but the doorbell, and all of BAR 1
//   doorbells   rings every vector of every peer: 65,536 of either, in two sweeps
//   storm       rings peer 0 for two seconds, as fast as the machine can
//   rings       noise where the rings of the first lane are, ringing in between
//   scribble    writes all over BAR 2, ringing in between: zeros, ones, noise; then noise again at
//               its beginning, where the handshake is
//   restore     the first page of BAR 2 becomes again what it was when the program began
//
// Prints a line for each command that it has carried out.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

namespace {

constexpr size_t kPageBytes = 4096;
constexpr size_t kDoorbell = 12;  // offset in BAR 0

[[noreturn]] void Die(const std::string& what) {
  std::printf("%s: %s\n", what.c_str(), std::strerror(errno));
  std::exit(1);
}

std::string FindDevice() {
  for (const auto& entry : std::filesystem::directory_iterator("/sys/bus/pci/devices")) {
    std::string vendor, device;
    std::ifstream(entry.path() / "vendor") >> vendor;
    std::ifstream(entry.path() / "device") >> device;
    if (vendor == "0x1af4" && device == "0x1110") return entry.path();
  }
  Die("there is no device");
}

struct Bar {
  std::byte* base = nullptr;
  size_t bytes = 0;
};

Bar Map(const std::string& device, int number) {
  std::string path = device + "/resource" + std::to_string(number);
  int fd = open(path.c_str(), O_RDWR);
  struct stat status {};
  if (fd < 0 || fstat(fd, &status) != 0) Die(path);
  Bar bar{.bytes = static_cast<size_t>(status.st_size)};
  void* base = mmap(nullptr, bar.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (base == MAP_FAILED) Die(path);
  bar.base = static_cast<std::byte*>(base);
  return bar;
}

class Device {
 public:
  Device() {
    std::string device = FindDevice();
    std::ofstream(device + "/enable") << 1;
    for (int i = 0; i < 3; ++i) bars_[i] = Map(device, i);
    first_page_.assign(memory().base, memory().base + kPageBytes);
  }

  const Bar& memory() const { return bars_[2]; }
  const Bar& bar(int number) const { return bars_[number]; }

  template <typename Number>
  volatile Number& At(int number, size_t offset) {
    return *reinterpret_cast<volatile Number*>(bars_[number].base + offset);
  }
  void Ring(uint32_t peer, uint32_t vector) { At<uint32_t>(0, kDoorbell) = peer << 16 | vector; }
  void RingServer() {
    for (uint32_t vector = 0; vector < 256; ++vector) Ring(0, vector);
  }
  void Restore() { std::memcpy(memory().base, first_page_.data(), first_page_.size()); }

 private:
  Bar bars_[3];
  std::vector<std::byte> first_page_;
};

std::vector<std::byte> FromHexadecimal(const std::string& text) {
  std::vector<std::byte> bytes;
  for (size_t i = 0; i + 2 <= text.size(); i += 2)
    bytes.push_back(static_cast<std::byte>(std::stoul(text.substr(i, 2), nullptr, 16)));
  return bytes;
}

void Search(Device& device, const std::vector<std::byte>& canary) {
  for (int i = 0; i < 3; ++i) {
    const Bar& bar = device.bar(i);
    // BAR 0 and 1 are registers: by the word, as a processor that knows no better would.
    std::vector<std::byte> copy(bar.bytes);
    for (size_t at = 0; at + 4 <= bar.bytes; at += 4) {
      uint32_t word = device.At<uint32_t>(i, at);
      std::memcpy(copy.data() + at, &word, sizeof word);
    }
    if (memmem(copy.data(), copy.size(), canary.data(), canary.size()) != nullptr) {
      std::printf("BAR %d shows another machine's canary\n", i);
      std::exit(1);
    }
  }
}

// Words, bytes and halves; at the edges too.
void Registers(Device& device) {
  const Bar& registers = device.bar(0);
  for (uint32_t value : {0u, ~0u, 0x5a5a5a5au, 1u, 0x80000000u}) {
    for (size_t at = 0; at + 4 <= registers.bytes; at += 4) {
      if (at == kDoorbell) continue;
      [[maybe_unused]] uint32_t was = device.At<uint32_t>(0, at);
      device.At<uint32_t>(0, at) = value;
      device.At<uint16_t>(0, at + 2) = static_cast<uint16_t>(value);
      device.At<uint8_t>(0, at + 3) = static_cast<uint8_t>(value);
    }
    // The table of interrupts and what pends. Nothing comes of it while MSI-X is off, and with it
    // on the machine would write into its own memory.
    for (size_t at = 0; at + 4 <= device.bar(1).bytes; at += 4) {
      uint32_t was = device.At<uint32_t>(1, at);
      device.At<uint32_t>(1, at) = value;
      device.At<uint32_t>(1, at) = was;
    }
  }
}

void Doorbells(Device& device) {
  for (uint32_t peer = 0; peer < 65536; ++peer)
    for (uint32_t vector = 0; vector < 24; ++vector) device.Ring(peer, vector);
  for (uint32_t vector = 0; vector < 65536; ++vector)
    for (uint32_t peer : {0u, 1u, 2u, 3u, 65535u}) device.Ring(peer, vector);
}

uint64_t Storm(Device& device) {
  uint64_t rings = 0;
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(2);
  while (std::chrono::steady_clock::now() < end) {
    device.RingServer();
    rings += 256;
  }
  return rings;
}

uint64_t Noise() {
  static uint64_t state = 0x9e3779b97f4a7c15;
  state ^= state << 13;
  state ^= state >> 7;
  return state ^= state << 17;
}

// Of the memory from `begin` to `end`, one word after the other, with the rest as it was.
void Noise(Device& device, size_t begin, size_t end, int words, uint32_t vectors) {
  for (int i = 0; i < words; ++i) {
    const size_t at = begin + Noise() % (end - begin) / 4 * 4;
    device.At<uint32_t>(2, at) = static_cast<uint32_t>(i % 3 == 0 ? Noise() % 8 : Noise());
    if (i % 16 == 0) device.Ring(0, 1 + static_cast<uint32_t>(Noise() % vectors));
  }
}

// Behind the segment's and the lane's own page; the handshake goes on as it was.
void Rings(Device& device) { Noise(device, 2 * kPageBytes, 6 * kPageBytes, 20000, 4); }

void Scribble(Device& device) {
  const Bar& memory = device.memory();
  for (int value : {0x00, 0xff}) {
    std::memset(memory.base, value, memory.bytes);
    device.RingServer();
  }
  for (size_t at = 0; at + 8 <= memory.bytes; at += 8) device.At<uint64_t>(2, at) = Noise();
  device.RingServer();
  Noise(device, 0, std::min<size_t>(memory.bytes, 64 * kPageBytes), 20000, 24);
  device.RingServer();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  setvbuf(stdout, nullptr, _IOLBF, 0);
  const std::vector<std::byte> canary = FromHexadecimal(argv[1]);
  Device device;
  for (int i = 2; i < argc; ++i) {
    const std::string command = argv[i];
    if (command == "search") Search(device, canary);
    if (command == "registers") Registers(device);
    if (command == "doorbells") Doorbells(device);
    if (command == "storm") std::printf("rings: %ju\n", uintmax_t{Storm(device)});
    if (command == "rings") Rings(device);
    if (command == "scribble") Scribble(device);
    if (command == "restore") device.Restore();
    std::printf("%s\n", command.c_str());
  }
}
