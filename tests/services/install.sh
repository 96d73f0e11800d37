#!/usr/bin/env bash
# Fetches the real programs that the tests run against, each from its public registry, into one cache.
set -euo pipefail

cache=${AQUIFER_TEST_CACHE:-$HOME/.cache/aquifer-tests}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

minio_version=v0.0.0-20260212201848-7aac2a2c5b7c
confluent_kafka_version=2.16.1
ansible_core_version=2.19.14
ansible_lint_version=26.10.1
kafka_python_version=3.0.12
aiokafka_version=0.14.0
all_parts=(minio hdfs kafka python clients librdkafka kcat kerberos promtool faketime uml ansible hosts)

usage() {
  cat <<USAGE
usage: install.sh [--check] [PART ...]

Installs what the tests of Aquifer run against; without a PART all of them. What is
installed already is left alone.

  minio    MinIO, a real S3 store, built by 'go install' (about 6 minutes of CPU, once)
  hdfs     Apache Hadoop 3.4.3, NameNode and DataNode, jars from Maven Central (70 MB)
  kafka    Apache Kafka 4.3.1, broker and tools, jars from Maven Central (110 MB)
  python   a virtual environment with confluent-kafka $confluent_kafka_version from PyPI
  clients  another one with kafka-python $kafka_python_version and aiokafka $aiokafka_version
  librdkafka  the librdkafka inside confluent-kafka, to be linked by aquifer-bench (needs pkg-config)
  kcat     kcat from the distribution's packages (needs root, or sudo)
  faketime libfaketime, for clocks that jump, in the same way
  uml      User Mode Linux with dmsetup and kmod, for power cuts, in the same way; x86-64 only
  ansible  a virtual environment with ansible-core $ansible_core_version and ansible-lint from PyPI
  hosts    a Debian root that systemd-nspawn boots (310 MB), and systemd-nspawn, debootstrap and ssh from the
           distribution's packages (needs root, or sudo)
  kerberos krb5-kdc, krb5-admin-server and krb5-user from there, for HDFS with Kerberos (needs root, or sudo)
  promtool Prometheus' checker of metrics, out of the distribution's package, which is not installed

  --check  installs nothing; says what is missing, and fails if anything is
  --help   this text

Everything but the distribution's packages goes to \$AQUIFER_TEST_CACHE, now $cache
Needed on the machine: go 1.24 or newer for minio; Java 17 and Maven for hdfs and kafka; python3 with venv.
USAGE
}

say() { printf 'install.sh: %s\n' "$*"; }
fail() { say "$*" >&2; exit 1; }
need() { command -v "$1" >/dev/null || fail "$1 is missing: install $2, then run this again"; }

has_minio() { [ -x "$cache/minio/minio-$minio_version" ]; }
has_hdfs() { [ -f "$cache/hdfs/3.4.3/complete" ]; }
has_kafka() { [ -f "$cache/kafka/4.3.1/complete" ]; }
has_python() { [ -f "$cache/python/complete-confluent-kafka-$confluent_kafka_version" ]; }
# Through the link: a new Python environment asks for a new link.
has_librdkafka() { [ -e "$cache/librdkafka/librdkafka.so" ] && [ -f "$cache/librdkafka/rdkafka.pc" ]; }
has_clients() { [ -f "$cache/clients/complete-$kafka_python_version-$aiokafka_version" ]; }
has_kerberos() { PATH=$PATH:/usr/sbin command -v krb5kdc kadmin.local kinit | wc -l | grep -qx 3; }
has_promtool() { [ -x "$cache/promtool/promtool" ]; }
has_kcat() { command -v kcat >/dev/null; }
has_faketime() { compgen -G '/usr/lib/*/faketime/libfaketime.so.1' >/dev/null; }
has_uml() { [ "$(uname -m)" != x86_64 ] || { command -v linux.uml && command -v dmsetup && command -v insmod; } >/dev/null; }
has_ansible() { [ -f "$cache/ansible/complete-$ansible_core_version-$ansible_lint_version" ]; }
has_hosts() { [ -f "$cache/hosts/complete" ] && command -v systemd-nspawn ssh >/dev/null; }

install_minio() {
  need go "the Go toolchain (Debian: golang-go, or go.dev)"
  mkdir -p "$cache/minio"
  say "building MinIO $minio_version; this takes some minutes, once"
  GOBIN="$cache/minio" GOFLAGS=-trimpath nice go install -ldflags='-s -w' "github.com/minio/minio@$minio_version"
  mv "$cache/minio/minio" "$cache/minio/minio-$minio_version"
}

# install_jars NAME VERSION: the class path named by NAME/pom.xml, whole or not at all.
install_jars() {
  need java "a Java 17 runtime (Debian: openjdk-17-jre-headless)"
  need mvn "Maven (Debian: maven)"
  local directory=$cache/$1/$2
  rm -rf "$directory"
  mkdir -p "$directory"
  say "fetching the jars of $1 $2 from Maven Central"
  mvn -q -B -f "$here/$1/pom.xml" dependency:copy-dependencies -DincludeScope=runtime \
    -DoutputDirectory="$directory/lib"
  touch "$directory/complete"
}
install_hdfs() { install_jars hdfs 3.4.3; }
install_kafka() { install_jars kafka 4.3.1; }

install_python() {
  need python3 "Python 3 with venv (Debian: python3-venv)"
  say "installing confluent-kafka $confluent_kafka_version from PyPI"
  rm -rf "$cache/python"
  python3 -m venv "$cache/python"
  "$cache/python/bin/pip" install -q "confluent-kafka==$confluent_kafka_version"
  touch "$cache/python/complete-confluent-kafka-$confluent_kafka_version"
}

# The wheel carries a whole librdkafka: linking it spares a minute of compiling C on two cores.
install_librdkafka() {
  need pkg-config "pkg-config (Debian: pkg-config)"
  has_python || install_python
  local directory=$cache/librdkafka library version
  library=$(find "$cache/python/lib" -path '*/confluent_kafka.libs/librdkafka*.so*' -print -quit)
  [ -n "$library" ] || fail "confluent-kafka $confluent_kafka_version carries no librdkafka for this machine"
  version=$("$cache/python/bin/python" -c 'import confluent_kafka; print(confluent_kafka.libversion()[0])')
  rm -rf "$directory"
  mkdir -p "$directory"
  # By the name that the linker looks for, and by the one that the loader will.
  ln -s "$library" "$directory/librdkafka.so"
  ln -s "$library" "$directory/$(basename "$library")"
  printf 'Name: rdkafka\nDescription: librdkafka from confluent-kafka\nVersion: %s\nLibs: -L%s -lrdkafka\n' \
    "$version" "$directory" >"$directory/rdkafka.pc"
}

install_clients() {
  need python3 "Python 3 with venv (Debian: python3-venv)"
  say "installing kafka-python $kafka_python_version and aiokafka $aiokafka_version from PyPI"
  rm -rf "$cache/clients"
  python3 -m venv "$cache/clients"
  # lz4, python-snappy and zstandard: the codecs that both leave to others.
  "$cache/clients/bin/pip" install -q "kafka-python==$kafka_python_version" "aiokafka==$aiokafka_version" \
    lz4==4.4.5 python-snappy==0.7.3 zstandard==0.25.0
  touch "$cache/clients/complete-$kafka_python_version-$aiokafka_version"
}

root=()
[ "$(id -u)" = 0 ] || root=(sudo)

# install_packages NAME ...: from the distribution.
install_packages() {
  command -v apt-get >/dev/null || fail "install $* with this system's package manager, then run this again"
  say "installing $* from the distribution's packages"
  "${root[@]}" apt-get update -qq
  "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$@" >/dev/null
}
install_kcat() { install_packages kcat; }
install_kerberos() { install_packages krb5-kdc krb5-admin-server krb5-user; }
install_faketime() { install_packages libfaketime; }
install_uml() { install_packages user-mode-linux dmsetup kmod; }

install_ansible() {
  need python3 "Python 3 with venv (Debian: python3-venv)"
  say "installing ansible-core $ansible_core_version and ansible-lint from PyPI"
  rm -rf "$cache/ansible"
  python3 -m venv "$cache/ansible"
  "$cache/ansible/bin/pip" install -q "ansible-core==$ansible_core_version" "ansible-lint==$ansible_lint_version"
  touch "$cache/ansible/complete-$ansible_core_version-$ansible_lint_version"
}

# Whole or not at all; of the Debian that this machine runs, so that what was built here runs there.
install_hosts() {
  install_packages systemd-container debootstrap openssh-client
  local suite mirror directory=$cache/hosts
  suite=$(. /etc/os-release && [ "$ID" = debian ] && echo "$VERSION_CODENAME" || echo bookworm)
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Origin: Debian' "Codename: $suite" | head -n 1)
  "${root[@]}" rm -rf "$directory"
  mkdir -p "$directory"
  say "making a root of Debian $suite; this takes a minute or two, once"
  "${root[@]}" debootstrap --variant=minbase \
    --include=systemd,systemd-sysv,dbus,openssh-server,python3,iproute2,procps \
    "$suite" "$directory/root" ${mirror:+"$mirror"} >"$directory/log" || fail "debootstrap failed, see $directory/log"
  "${root[@]}" rm -rf "$directory/root/var/cache/apt" "$directory/root/usr/sbin/policy-rc.d"
  touch "$directory/complete"
}

# One program of a package with a daemon that nobody wants: taken out, not installed.
install_promtool() {
  command -v apt-get >/dev/null || fail "promtool is missing: put it into $cache/promtool"
  local unpacked
  unpacked=$(mktemp -d)
  say "fetching promtool from the distribution's package prometheus"
  (cd "$unpacked" && apt-get download -qq prometheus >/dev/null 2>&1 && dpkg-deb -x prometheus_*.deb .) \
    || fail "the package prometheus cannot be fetched: run apt-get update, or put promtool into $cache/promtool"
  mkdir -p "$cache/promtool"
  mv "$unpacked/usr/bin/promtool" "$cache/promtool/promtool"
  rm -rf "$unpacked"
}

check_only=
parts=()
for argument in "$@"; do
  case $argument in
    --help | -h) usage; exit 0 ;;
    --check) check_only=1 ;;
    minio | hdfs | kafka | python | clients | librdkafka | kcat | kerberos | promtool | faketime | uml | ansible | hosts) parts+=("$argument") ;;
    *) usage >&2; fail "unknown part or option '$argument'" ;;
  esac
done
[ ${#parts[@]} -gt 0 ] || parts=("${all_parts[@]}")

missing=0
for part in "${parts[@]}"; do
  if "has_$part"; then
    say "$part: installed"
  elif [ -n "$check_only" ]; then
    say "$part: missing"
    missing=1
  else
    # In a process of its own, which ends at the first error: what only some tests need may be missing, they are
    # skipped and counted then.
    set +e
    (set -e; "install_$part")
    failed=$?
    set -e
    case $failed/$part in
      0/*) ;;
      */kerberos | */promtool) say "$part: not installed, its tests will be skipped" && continue ;;
      *) exit 1 ;;
    esac
    "has_$part" || fail "$part did not install"
    say "$part: installed now"
  fi
done
exit "$missing"
