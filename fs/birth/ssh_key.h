// Host keys as ssh-keygen makes them: openssh-key-v1 (openssh: PROTOCOL.key), without a passphrase.
#pragma once

#include <string>
#include <string_view>

#include "fs/base/failure.h"

namespace prism::birth {

struct SshKey {
  std::string private_text;  // the file ssh_host_TYPE_key
  std::string public_text;   // the file ssh_host_TYPE_key.pub
};

enum class SshKeyType { kEd25519, kEcdsa };  // the latter over NIST P-256

Outcome<SshKey> MakeSshKey(SshKeyType type, std::string_view comment);

}  // namespace prism::birth
