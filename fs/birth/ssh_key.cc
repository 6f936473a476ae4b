#include "fs/birth/ssh_key.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <sys/random.h>

#include <memory>
#include <vector>

namespace prism::birth {
namespace {

using KeyPtr = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;
using BignumPtr = std::unique_ptr<BIGNUM, decltype(&BN_clear_free)>;

constexpr char kMagic[] = "openssh-key-v1";  // with its NUL
constexpr size_t kBlock = 8;                 // what the private part is padded to
constexpr size_t kColumns = 70;

void PutNumber(std::string& out, uint32_t number) {
  for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(number >> shift);
}

void PutText(std::string& out, std::string_view text) {
  PutNumber(out, static_cast<uint32_t>(text.size()));
  out += text;
}

// RFC 4251, section 5: a positive number whose first bit is set gets a zero before it.
void PutBignum(std::string& out, std::string bytes) {
  bytes.erase(0, std::min(bytes.find_first_not_of('\0'), bytes.size()));
  if (!bytes.empty() && (bytes[0] & 0x80) != 0) bytes.insert(bytes.begin(), '\0');
  PutText(out, bytes);
}

std::string Base64(std::string_view bytes) {
  std::string text(4 * ((bytes.size() + 2) / 3) + 1, '\0');
  const int length = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()),
                                     reinterpret_cast<const unsigned char*>(bytes.data()),
                                     static_cast<int>(bytes.size()));
  text.resize(static_cast<size_t>(length));
  return text;
}

struct Parts {
  std::string name;    // "ssh-ed25519"
  std::string open;    // the fields of the public key behind the name
  std::string secret;  // those of the private key behind the name
};

Outcome<Parts> MakeEd25519() {
  KeyPtr key(EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519"), &EVP_PKEY_free);
  std::string open(32, '\0'), secret(32, '\0');
  size_t open_size = open.size(), secret_size = secret.size();
  if (!key ||
      EVP_PKEY_get_raw_public_key(key.get(), reinterpret_cast<unsigned char*>(open.data()),
                                  &open_size) != 1 ||
      EVP_PKEY_get_raw_private_key(key.get(), reinterpret_cast<unsigned char*>(secret.data()),
                                   &secret_size) != 1)
    return Explain(Err::kIo, "OpenSSL made no Ed25519 key");
  Parts parts{"ssh-ed25519", {}, {}};
  PutText(parts.open, open);
  PutText(parts.secret, open);
  PutText(parts.secret, secret + open);
  OPENSSL_cleanse(secret.data(), secret.size());
  return parts;
}

Outcome<Parts> MakeEcdsa() {
  KeyPtr key(EVP_EC_gen("P-256"), &EVP_PKEY_free);
  unsigned char* point = nullptr;
  const size_t point_size = key ? EVP_PKEY_get1_encoded_public_key(key.get(), &point) : 0;
  const std::string open(reinterpret_cast<char*>(point), point_size);
  OPENSSL_free(point);
  BIGNUM* number = nullptr;
  if (open.empty() || EVP_PKEY_get_bn_param(key.get(), OSSL_PKEY_PARAM_PRIV_KEY, &number) != 1)
    return Explain(Err::kIo, "OpenSSL made no ECDSA key");
  const BignumPtr secret(number, &BN_clear_free);
  std::string bytes(static_cast<size_t>(BN_num_bytes(secret.get())), '\0');
  BN_bn2bin(secret.get(), reinterpret_cast<unsigned char*>(bytes.data()));
  Parts parts{"ecdsa-sha2-nistp256", {}, {}};
  PutText(parts.open, "nistp256");
  PutText(parts.open, open);
  parts.secret = parts.open;
  PutBignum(parts.secret, std::move(bytes));
  return parts;
}

}  // namespace

Outcome<SshKey> MakeSshKey(SshKeyType type, std::string_view comment) {
  PRISM_ASSIGN(const Parts parts, type == SshKeyType::kEd25519 ? MakeEd25519() : MakeEcdsa());
  uint32_t check = 0;
  if (::getrandom(&check, sizeof check, 0) != sizeof check)
    return Explain(Err::kIo, "no random numbers");
  std::string open;
  PutText(open, parts.name);
  open += parts.open;
  std::string secret;
  PutNumber(secret, check);
  PutNumber(secret, check);
  PutText(secret, parts.name);
  secret += parts.secret;
  PutText(secret, comment);
  for (char pad = 1; secret.size() % kBlock != 0; ++pad) secret += pad;
  std::string file(kMagic, sizeof kMagic);
  PutText(file, "none");  // cipher
  PutText(file, "none");  // key derivation
  PutText(file, "");      // and its options
  PutNumber(file, 1);     // keys
  PutText(file, open);
  PutText(file, secret);
  SshKey key;
  key.private_text = "-----BEGIN OPENSSH PRIVATE KEY-----\n";
  const std::string text = Base64(file);
  for (size_t at = 0; at < text.size(); at += kColumns)
    key.private_text += text.substr(at, kColumns) + "\n";
  key.private_text += "-----END OPENSSH PRIVATE KEY-----\n";
  key.public_text = fmt::format("{} {} {}\n", parts.name, Base64(open), comment);
  return key;
}

}  // namespace prism::birth
