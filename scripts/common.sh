# Shared by the scripts in this directory (sourced, never run): where things are, and how a script speaks.
# shellcheck shell=bash
set -euo pipefail
export LC_ALL=C
# Plain users often lack the directories of mke2fs, debootstrap and setcap.
export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
target=${CARGO_TARGET_DIR:-$root/target}
export runtime_dir=$root/runtime images_dir=$target/test-images

say() { printf '%s: %s\n' "$(basename -- "$0" .sh)" "$*" >&2; }
die() { say "error: $*"; exit 1; }

# Runs a command as root: directly, or through sudo.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo -- "$@"
    else
        die "\`$*\` needs root, and sudo is not installed: run it as root, then start again"
    fi
}

# remove_tree PATH...: deletes directories in which somebody may still be at work for a moment, such as a box's process whose
# owner has just ended.
remove_tree() {
    local tries
    for ((tries = 0; tries < 300; tries++)); do
        if rm -rf -- "$@" 2>/dev/null; then return; fi
        sleep 0.1
    done
    rm -rf -- "$@"
}

# install_file SOURCE DEST MODE: replaces DEST by rename, and only when it differs, since a running box may have it open.
install_file() {
    if [ -f "$2" ] && cmp -s -- "$1" "$2"; then return; fi
    mkdir -p -- "$(dirname -- "$2")"
    cp -- "$1" "$2.new.$$"
    chmod "$3" "$2.new.$$"
    mv -f -- "$2.new.$$" "$2"
}

# The repository of this machine's Debian release, one URI, as apt itself is configured (either file format); empty on
# a machine without one. The project names no mirror of its own.
debian_uri() {
    local codename
    command -v apt-get >/dev/null || return 0
    codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    # shellcheck disable=SC2016  # the $(...) are apt's own format
    apt-get indextargets --no-release-info --format '$(TARGET_OF) $(RELEASE) $(COMPONENT) $(REPO_URI)' \
        'Created-By: Packages' 2>/dev/null \
        | awk -v codename="$codename" '
            $1 == "deb" && $3 == "main" && ($2 == codename || $2 ~ /^(old)?stable$|^testing$/) && !uri { uri = $4 }
            END { if (uri) print uri }'
}

# Installs these packages, if any, where there is an apt-get; else says what to install.
install_packages() {
    [ $# -gt 0 ] || return 0
    command -v apt-get >/dev/null || die "install $*, then start again"
    DEBIAN_FRONTEND=noninteractive as_root apt-get -q install -y --no-install-recommends "$@" >&2
}
