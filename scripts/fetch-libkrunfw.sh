#!/usr/bin/env bash
# Puts libkrunfw (the guest's Linux kernel, as a library) into runtime/libexec/boxlite: the system's own when it is
# installed, else the one from Debian's package, unpacked there and not installed. Uses no network when it is there.
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"
shopt -s nullglob

package=libkrunfw5
library=libkrunfw.so.5
dest=$runtime_dir/libexec/boxlite/$library

for dir in /usr/local/lib /usr/local/lib64 /usr/lib /usr/lib64 /usr/lib/*-linux-gnu; do
    if [ -e "$dir/$library" ]; then
        install_file "$dir/$library" "$dest" 0644
        exit 0
    fi
done
if [ -s "$dest" ]; then exit 0; fi

help="install your distribution's libkrunfw 5, or copy its $library to $dest"
command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || die "no $library, and no apt to get it with: $help"

work=$(mktemp -d "${TMPDIR:-/tmp}/boxlite-libkrunfw.XXXXXX")
trap 'rm -rf -- "$work"' EXIT
cd "$work"

# The machine's own Debian source with suite $1 in place of its release's, as private source files.
write_sources() {
    local from to=$1 file
    from=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    [ -n "$from" ] || return 0
    for file in /etc/apt/sources.list.d/*.sources; do
        awk -v from="$from" -v to="$to" '
            BEGIN { RS = ""; FS = "\n" }
            {
                text = ""; found = 0; binary = 0; main = 0; off = 0
                for (i = 1; i <= NF; i++) {
                    line = $i; key = tolower(line); sub(/:.*/, "", key)
                    if (line ~ /^#/) continue
                    n = split(line, word, /[ \t]+/)
                    if (key == "enabled" && line ~ /no *$/) off = 1
                    for (w = 2; w <= n; w++) {
                        if (key == "types" && word[w] == "deb") binary = 1
                        if (key == "suites" && word[w] == from) found = 1
                        if (key == "components" && word[w] == "main") main = 1
                    }
                    if (key == "types") line = "Types: deb"
                    if (key == "suites") line = "Suites: " to
                    if (key == "components") line = "Components: main"
                    text = text line "\n"
                }
                if (found && binary && main && !off) print text
            }' "$file" >>parts/boxlite.sources
    done
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
        [ -r "$file" ] || continue
        # deb [options] uri suite component...: the options may hold spaces.
        sed -nE "s/^[[:space:]]*deb[[:space:]]+(\[[^]]*\][[:space:]]+)?([^][[:space:]]+)[[:space:]]+$from[[:space:]]+(.*[[:space:]])?main([[:space:]].*)?$/deb \1\2 $to main/p" \
            "$file" >>parts/boxlite.list
    done
    [ -s parts/boxlite.sources ] || rm -f parts/boxlite.sources
    [ -s parts/boxlite.list ] || rm -f parts/boxlite.list
    return 0
}

# apt with its lists and cache in $work: works for any user, and leaves the machine's own apt state alone.
private_apt() {
    apt-get -q -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts="$work/parts" \
        -o Dir::State::lists="$work/lists" -o Dir::Cache="$work/cache" \
        -o APT::Sandbox::User="$(id -un)" -o Acquire::Languages=none -o APT::Update::Post-Invoke::= "$@"
}

# The machine's own sources first (newer Debian, derivatives), then Debian's later suites.
download() {
    if apt-get -q -o APT::Sandbox::User="$(id -un)" download "$package" >apt.log 2>&1; then
        say "$package comes from this machine's apt sources"
        return 0
    fi
    local suite
    for suite in forky sid; do
        rm -rf parts lists cache
        mkdir -p parts lists/partial cache/archives/partial
        write_sources "$suite"
        [ -n "$(ls parts)" ] || return 1
        if private_apt update >>apt.log 2>&1 && private_apt download "$package" >>apt.log 2>&1; then
            say "$package comes from Debian $suite (only this package, unpacked in runtime/)"
            return 0
        fi
    done
    return 1
}

if ! download; then
    tail -n 5 apt.log | sed 's/^/  /' >&2
    die "$package could not be downloaded with this machine's apt sources: check its network, or $help"
fi

set -- ./"$package"_*.deb
[ -f "${1:-}" ] || die "apt-get downloaded no $package package: $help"
dpkg-deb -x "$1" unpacked
found=(unpacked/usr/lib/*/"$library".* unpacked/usr/lib/"$library".*)
[ "${#found[@]}" -gt 0 ] || die "the package $package holds no $library: $help"
install_file "unpacked/usr/share/doc/$package/copyright" "$runtime_dir/share/doc/$package/copyright" 0644
install_file "${found[0]}" "$dest" 0644
