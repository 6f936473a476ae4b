#include "fs/birth/seal_rules.h"

namespace prism::birth {

std::string_view DefaultSealRules() {
  return R"toml(# What `prism seal` refuses to find in a volume.
#
# A rule has a name, and in `says` what was found. With `content`, regular expressions (RE2; ^ and $
# are at lines), files are looked at for any of them: those that `paths` name, or all, but for
# `except`. With `paths` alone, the file itself is what must not be there, unless it is empty. In
# paths `*` and `?` match within a part, `**` any number of parts.

[[rule]]
name = "private-key"
says = "a private key"
content = [
  '''-----BEGIN [A-Z0-9 ]*PRIVATE KEY[A-Z ]*-----\s+(?:[A-Za-z-]+: .*\s+)*[A-Za-z0-9+/=]{16}''',
  '''-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY-----\\n[A-Za-z0-9+/=]{16}''',
  '''^PuTTY-User-Key-File-[123]: ''',
]

[[rule]]
name = "ssh-host-key"
says = "the key of one host"
paths = ["/etc/ssh/ssh_host_*_key", "/etc/dropbear/*_host_key"]

[[rule]]
name = "machine-id"
says = "the id of one machine"
paths = ["/etc/machine-id", "/var/lib/dbus/machine-id"]
content = ['''^[0-9a-f]{32}$''']

[[rule]]
name = "random-seed"
says = "random numbers that each clone would begin with"
paths = [
  "/var/lib/systemd/random-seed", "/var/lib/urandom/random-seed",
  "/var/lib/systemd/credential.secret",
]

[[rule]]
name = "shell-history"
says = "what somebody has typed"
paths = [
  "**/.bash_history", "**/.zsh_history", "**/.zhistory", "**/.ash_history", "**/.sh_history",
  "**/.history", "**/fish_history", "**/.python_history", "**/.node_repl_history",
  "**/.mysql_history", "**/.psql_history", "**/.sqlite_history", "**/.rediscli_history",
]

[[rule]]
name = "env-file"
says = "an environment, where secrets are kept"
paths = ["**/.env", "**/.env.*", "**/.envrc"]
except = ["**/.env.example", "**/.env.sample", "**/.env.template", "**/.env.dist"]

[[rule]]
name = "netrc"
says = "passwords for servers"
paths = ["**/.netrc", "**/_netrc", "**/.git-credentials", "**/.pgpass", "**/.my.cnf"]

[[rule]]
name = "password-hash"
says = "the password of an account"
paths = ["/etc/shadow", "/etc/shadow-", "/etc/gshadow", "/etc/gshadow-"]
content = ['''^[^:\n]+:!?\$''', '''^[^:\n]+:[./0-9A-Za-z]{13}:''']

[[rule]]
name = "cloud-credentials"
says = "credentials for a cloud"
paths = [
  "**/.aws/credentials", "**/.aws/sso/cache/*", "**/.config/gcloud/credentials.db",
  "**/.config/gcloud/access_tokens.db", "**/.config/gcloud/application_default_credentials.json",
  "**/.config/gcloud/legacy_credentials/**", "**/.azure/accessTokens.json",
  "**/.azure/msal_token_cache*", "**/.config/doctl/config.yaml", "**/.config/hcloud/cli.toml",
  "**/.terraform.d/credentials.tfrc.json", "**/.vault-token", "**/.kube/config", "**/.boto",
  "**/.s3cfg",
]

[[rule]]
name = "registry-credentials"
says = "credentials for a registry"
paths = [
  "**/.docker/config.json", "**/.config/containers/auth.json", "**/.npmrc", "**/.pypirc",
  "**/.gem/credentials", "**/.cargo/credentials", "**/.cargo/credentials.toml",
  "/etc/apt/auth.conf", "/etc/apt/auth.conf.d/*",
]
content = [
  '''"auth"\s*:\s*"[^"]''', '''_auth(?:Token)?\s*=''', '''^\s*password[ \t:=]''', '''^machine ''',
  '''token\s*=''', ''':rubygems_api_key:''',
]

[[rule]]
name = "token"
says = "an access key or token of a service"
content = [
  '''\b(?:AKIA|ASIA)[A-Z2-7]{16}\b''',
  '''\bgh[pousr]_[A-Za-z0-9]{36}''',
  '''\bgithub_pat_[A-Za-z0-9_]{82}''',
  '''\bglpat-[A-Za-z0-9_-]{20}''',
  '''\bxox[abprs]-[0-9]{8,}-[A-Za-z0-9-]{10}''',
  '''\bAIza[A-Za-z0-9_-]{35}\b''',
  '''\b[sr]k_live_[A-Za-z0-9]{24}''',
  '''\bnpm_[A-Za-z0-9]{36}\b''',
  '''\bpypi-AgEIcHlwaS5vcmc[A-Za-z0-9_-]{50}''',
]

[[rule]]
name = "network-secret"
says = "a key or password for a network"
paths = [
  "/etc/wireguard/*", "/etc/NetworkManager/system-connections/*", "/etc/netplan/*",
  "/etc/wpa_supplicant/*.conf",
]
content = ['''^\s*"?(?:PrivateKey|PresharedKey|psk|password|wep-key[0-9])"?\s*[=:]\s*\S''']

[[rule]]
name = "instance-data"
says = "what one machine was started with"
paths = [
  "/var/lib/cloud/instances/*/user-data.txt*", "/var/lib/cloud/instances/*/cloud-config.txt",
  "/var/lib/cloud/instances/*/obj.pkl",
]
)toml";
}

}  // namespace prism::birth
