#include "server/nfs3/file_handle.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <sys/random.h>

#include <cstring>
#include <string>

#include "fs/base/check.h"

namespace prism::nfs3 {
namespace {

constexpr std::string_view kSetting = "nfs/handle-key";
constexpr uint8_t kHandleVersion = 1;

void PutU64(std::byte* at, uint64_t value) {
  value = __builtin_bswap64(value);
  std::memcpy(at, &value, sizeof value);
}

uint64_t GetU64(const std::byte* at) {
  uint64_t value;
  std::memcpy(&value, at, sizeof value);
  return __builtin_bswap64(value);
}

struct Free {
  void operator()(EVP_MAC_CTX* context) const { EVP_MAC_CTX_free(context); }
};
using MacContext = std::unique_ptr<EVP_MAC_CTX, Free>;

MacContext NewMacContext(size_t mac_bytes) {
  EVP_MAC* mac = EVP_MAC_fetch(nullptr, "SIPHASH", nullptr);
  PRISM_CHECK(mac != nullptr);
  MacContext context(EVP_MAC_CTX_new(mac));
  EVP_MAC_free(mac);
  PRISM_CHECK(context != nullptr);
  const OSSL_PARAM parameters[] = {OSSL_PARAM_construct_size_t(OSSL_MAC_PARAM_SIZE, &mac_bytes),
                                   OSSL_PARAM_construct_end()};
  PRISM_CHECK(EVP_MAC_CTX_set_params(context.get(), parameters) == 1);
  return context;
}

}  // namespace

Outcome<std::unique_ptr<HandleCodec>> HandleCodec::Open(fs::Host& host) {
  PRISM_ASSIGN(std::string key, host.Setting(kSetting));
  if (key.empty()) {
    key.resize(kKeySize);
    if (::getrandom(key.data(), key.size(), 0) != static_cast<ssize_t>(key.size()))
      return ExplainErrno(errno, "making the key of the file handles");
    PRISM_TRY(host.SetSetting(kSetting, key));
  }
  if (key.size() != kKeySize) return Explain(Err::kCorrupt, "the store's handle key is damaged");
  auto bytes = std::as_bytes(std::span(key)).first<kKeySize>();
  return std::unique_ptr<HandleCodec>(new HandleCodec(bytes));
}

HandleCodec::HandleCodec(std::span<const std::byte, kKeySize> key) {
  std::memcpy(key_.data(), key.data(), key.size());
}

HandleCodec::Mac HandleCodec::MacOf(std::span<const std::byte> bytes) const {
  // Keyed anew for each use, which costs half of copying a keyed one.
  thread_local const MacContext context = NewMacContext(kMacSize);
  Mac result;
  size_t size = 0;
  PRISM_CHECK(EVP_MAC_init(context.get(), key_.data(), key_.size(), nullptr) == 1);
  PRISM_CHECK(EVP_MAC_update(context.get(), reinterpret_cast<const unsigned char*>(bytes.data()),
                             bytes.size()) == 1);
  PRISM_CHECK(EVP_MAC_final(context.get(), reinterpret_cast<unsigned char*>(result.data()), &size,
                            result.size()) == 1);
  PRISM_CHECK(size == kMacSize);
  return result;
}

HandleBytes HandleCodec::Encode(FileId id) const {
  HandleBytes bytes{};
  bytes[0] = std::byte{kHandleVersion};
  PutU64(&bytes[4], id.volume);
  PutU64(&bytes[12], id.ino);
  const Mac mac = MacOf(std::span(bytes).first(kMacOffset));
  std::memcpy(&bytes[kMacOffset], mac.data(), kMacSize);
  return bytes;
}

std::optional<FileId> HandleCodec::Decode(std::span<const std::byte> bytes) const {
  if (bytes.size() != kHandleSize || bytes[0] != std::byte{kHandleVersion}) return std::nullopt;
  const Mac mac = MacOf(bytes.first(kMacOffset));
  if (CRYPTO_memcmp(mac.data(), &bytes[kMacOffset], kMacSize) != 0) return std::nullopt;
  return FileId{GetU64(&bytes[4]), GetU64(&bytes[12])};
}

}  // namespace prism::nfs3
