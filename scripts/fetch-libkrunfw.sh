#!/usr/bin/env bash
# Puts libkrunfw (the guest's Linux kernel, as a library) into runtime/libexec/boxlite: the system's own when it is
# installed, else the one from Debian's package, unpacked there and not installed. Uses no network when it is there.
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"
source "$root/scripts/debian-package.sh"
shopt -s nullglob

package=libkrunfw5
library=libkrunfw.so.5
dest=$runtime_dir/libexec/boxlite/$library
about=$runtime_dir/share/doc/$package

for dir in /usr/local/lib /usr/local/lib64 /usr/lib /usr/lib64 "/usr/lib/$(uname -m)-linux-gnu"; do
    if [ -e "$dir/$library" ]; then
        install_file "$dir/$library" "$dest" 0644
        # What an archive of boxlite has to say of it, where a package brought it.
        if [ -s "/usr/share/doc/$package/copyright" ]; then
            install_file "/usr/share/doc/$package/copyright" "$about/copyright" 0644
            dpkg-query -W -f '${Version}\n' "$package" >"$about/version" 2>/dev/null || rm -f "$about/version"
        fi
        exit 0
    fi
done
if [ -s "$dest" ]; then exit 0; fi

help="install your distribution's libkrunfw 5, or copy its $library to $dest"
command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || die "no $library, and no apt to get it with: $help"

work=$(mktemp -d "${TMPDIR:-/tmp}/boxlite-libkrunfw.XXXXXX")
trap 'rm -rf -- "$work"' EXIT
cd "$work"

# The machine's own sources first (newer Debian, derivatives), then Debian's later suites.
download() {
    if apt-get -q -o APT::Sandbox::User="$(id -un)" download "$package" >apt.log 2>&1; then
        say "$package comes from this machine's apt sources"
        return 0
    fi
    download_from_suites "$package" forky sid
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
install_file "unpacked/usr/share/doc/$package/copyright" "$about/copyright" 0644
dpkg-deb -f "$1" Version >"$about/version"
install_file "${found[0]}" "$dest" 0644
