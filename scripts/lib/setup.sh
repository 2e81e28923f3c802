# Shared by the scripts beside this folder: installs what is missing and builds. Sourced by bash, from the project's root.

# step NAME COMMAND...: runs a command quietly; shows its output only when it fails, and its time.
step() {
  local name=$1 started=$SECONDS log
  shift
  log=$(mktemp)
  if "$@" >"$log" 2>&1; then
    printf '%-34s ok  %3d s\n' "$name" $((SECONDS - started))
    rm -f "$log"
  else
    local code=$?
    printf '%-34s FAILED\n' "$name"
    cat "$log"
    rm -f "$log"
    return $code
  fi
}

# need_tools COMMAND:PACKAGE...: installs the Debian packages whose commands are missing; fails when one still is.
need_tools() {
  local pair missing=() still=()
  PATH=$PATH:/usr/sbin:/sbin
  for pair in "$@"; do command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}"); done
  if [ ${#missing[@]} -gt 0 ]; then
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
      echo "missing packages: ${missing[*]} (install them, or run this as root on Debian)" >&2
      return 1
    fi
    step "install ${missing[*]}" install_packages "${missing[@]}" || return 1
  fi
  for pair in "$@"; do command -v "${pair%%:*}" >/dev/null || still+=("${pair%%:*}"); done
  if [ ${#still[@]} -gt 0 ]; then
    echo "still missing: ${still[*]}" >&2
    return 1
  fi
}

install_packages() {
  local policy=/usr/sbin/policy-rc.d code=0
  # The tests start their own servers; installing must not start services on this host.
  if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' >$policy
    chmod +x $policy
  else
    policy=
  fi
  { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -yq --no-install-recommends "$@"; } || code=$?
  [ -z "$policy" ] || rm -f "$policy"
  return $code
}

need_node() {
  node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 20 || (a === 20 && b >= 19) ? 0 : 1)' 2>/dev/null || {
    echo 'Node.js 20.19 or later is needed' >&2
    return 1
  }
}

# Installs the npm packages when they are missing or older than the lock file.
need_packages() {
  local stamp=node_modules/.lock-sha256 now
  now=$(sha256sum package-lock.json)
  [ "$(cat $stamp 2>/dev/null)" = "$now" ] && return 0
  step 'npm ci' npm ci --no-audit --no-fund || return 1
  echo "$now" >$stamp
}

# Builds the addon when its sources are newer than it is, and always the program.
build_all() {
  local addon=build/Release/mptcpnet.node prefix
  prefix=$(dirname "$(dirname "$(readlink -f "$(command -v node)")")")
  # Headers beside the interpreter need no download.
  [ -e "$prefix/include/node/node_api.h" ] && export npm_config_nodedir=$prefix
  if [ ! -e $addon ] || [ -n "$(find native binding.gyp package-lock.json -newer $addon -print -quit)" ]; then
    step 'build the addon' npm run --silent native || return 1
  fi
  step 'build the program' npm run --silent build
}
