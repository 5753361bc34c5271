#!/usr/bin/env bash
# Installs the Debian/Ubuntu packages that the build needs, if any is missing and root or sudo is at hand; else says
# exactly what to install.
#   setup_system.sh [more packages]
set -euo pipefail

packages=(
  g++ cmake ninja-build  # the build; AOTInductor needs g++ at export time as well
  libboost-dev           # Beast and Asio: the HTTP server
  nlohmann-json3-dev     # JSON: manifests and the wire
  libcli11-dev           # the server's command line
  libspdlog-dev          # its log
  libyaml-cpp-dev        # its configuration file
  libssl-dev             # TLS
  libgrpc++-dev protobuf-compiler-grpc libprotobuf-dev protobuf-compiler  # gRPC
  prometheus-cpp-dev     # metrics
  libxxhash-dev          # checksums of artifacts
  libgtest-dev           # C++ tests
  graphviz               # the program dot: recpile inspect --svg and --html lay out the DAG with it
  curl                   # a test speaks to the server with it, as the README does
  "$@"                   # what the caller needs besides
)

# A Python that was not built on this machine by hand needs its headers and venv from Debian too.
python=$(command -v python3.11 || command -v python3 || true)
if [[ -z "$python" ]]; then
  packages+=(python3 python3-venv python3-dev)
elif [[ "$(readlink -f "$python")" == /usr/bin/* ]]; then
  name=$("$python" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
  packages+=("$name-venv" "$name-dev")
fi

missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
done
if [[ ${#missing[@]} -eq 0 ]]; then exit 0; fi

if [[ $EUID -eq 0 ]]; then as_root=()
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then as_root=(sudo)
else
  echo "recpile needs packages that are not installed, and there is no root or password-free sudo to install them with." >&2
  echo "Run this, then make again:  sudo apt-get install ${missing[*]}" >&2
  exit 1
fi
echo "installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
