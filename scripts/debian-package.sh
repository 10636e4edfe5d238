# Downloads single Debian packages without installing them (sourced after common.sh, never run).
# shellcheck shell=bash

# apt with one source, Debian's suite $1, and with its lists and cache in this directory: works for any user, installs
# nothing, and leaves the machine's own apt state alone.
private_apt() {
    local suite=$1 options='' keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    shift
    if [ -f "$keyring" ]; then options="[signed-by=$keyring] "; fi
    mkdir -p lists/partial cache/archives/partial
    echo "deb $options$uri $suite main" >boxlite.list
    apt-get -q -o Dir::Etc::sourcelist="$PWD/boxlite.list" -o Dir::Etc::sourceparts=/dev/null \
        -o Dir::State::lists="$PWD/lists" -o Dir::Cache="$PWD/cache" \
        -o APT::Sandbox::User="$(id -un)" -o Acquire::Languages=none "$@"
}

# download_from_suites PACKAGE SUITE...: puts PACKAGE's .deb into this directory, from the first of Debian's suites that
# has it; apt's words go to apt.log.
download_from_suites() {
    local package=$1 suite uri
    shift
    uri=$(debian_uri)
    if [ -z "$uri" ]; then return 1; fi
    for suite in "$@"; do
        rm -rf lists cache
        if private_apt "$suite" update >>apt.log 2>&1 && private_apt "$suite" download "$package" >>apt.log 2>&1; then
            say "$package comes from Debian $suite (only this package, unpacked and not installed)"
            return 0
        fi
    done
    return 1
}
