#!/usr/bin/env bash
# make-disk.sh OUT JOB [FILE...]: writes the disk that the lab boots: a small Linux of this machine's own programs, so
# that what was built here runs there, and this tree's JOB, runtime/, test images and each FILE (a path below the tree)
# at their places. A second or two; needs no network and no root.
#   LAB_IMAGES    what to carry of target/test-images (busybox and the hostile init)
#   LAB_LAYER     a directory whose files come on top of the small Linux's
source "$(dirname -- "${BASH_SOURCE[0]}")/../scripts/common.sh"
[ $# -ge 2 ] || die "usage: make-disk.sh OUT JOB [FILE...]"
out=$1 job=$2
shift 2

# What the library and the tests call; everything else is busybox. One that is not here, the tests do without.
programs=(bash mke2fs mkfs.erofs setfattr getfattr setcap getcap pgrep ps strace perl umount mount script)
work=$(mktemp -d "$(dirname -- "$out")/disk.XXXXXX")
trap 'rm -rf -- "$work"' EXIT
tree=$work/tree

# take FILE...: a file of the system's, at the same place; links cost no room where file systems allow them.
take() {
    local file
    for file in "$@"; do
        mkdir -p -- "$tree${file%/*}"
        cp -aL --remove-destination -- "$file" "$tree$file"
    done
}
# libraries PROGRAM...: the shared libraries that they load, with the loader.
libraries() { ldd "$@" 2>/dev/null | grep -o '/[^ ]*\.so[^ ]*' | sort -u; }
# carry PATH: a file or directory of this tree, at the same place.
carry() {
    mkdir -p -- "$tree$(dirname -- "$1")"
    # Of the libraries that programs load, some lie in it: copied into a directory that is there, it would come to lie below.
    rm -rf -- "$tree$1"
    cp -al -- "$1" "$tree$1" 2>/dev/null || cp -a -- "$1" "$tree$1"
}

mkdir -p "$tree"/{dev,etc,proc,root,run,sys,tmp,usr/bin,usr/lib,usr/lib64,usr/sbin,var/tmp,write}
for dir in bin lib lib64 sbin; do ln -s "usr/$dir" "$tree/$dir"; done
busybox=$(command -v busybox) || die "busybox is missing: run \`make setup\`"
cp -aL -- "$busybox" "$tree/usr/bin/busybox"
"$busybox" --list | while read -r applet; do
    [ "$applet" = busybox ] || ln -s busybox "$tree/usr/bin/$applet"
done
found=()
for program in "${programs[@]}"; do
    path=$(command -v "$program") && found+=("$path")
done
take "${found[@]}"
# shellcheck disable=SC2046  # paths of libraries have no blanks
take $(libraries "${found[@]}" "$runtime_dir/libexec/boxlite/boxlite-shim" "$@")
if [ -d "/usr/lib/$(uname -m)-linux-gnu/perl-base" ]; then
    cp -a --parents "/usr/lib/$(uname -m)-linux-gnu/perl-base" "$tree"
fi
printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n' >"$tree/etc/passwd"
printf 'root:x:0:\nnogroup:x:65534:\n' >"$tree/etc/group"
echo '127.0.0.1 localhost lab' >"$tree/etc/hosts"
if [ -n "${LAB_LAYER:-}" ]; then cp -a --remove-destination -- "$LAB_LAYER/." "$tree/"; fi

install -m 0755 "$root/lab/init.sh" "$tree/lab-init"
cp -- "$job" "$tree/lab-job"
printf '%s\n' "$root" >"$tree/lab-path"
carry "$runtime_dir"
for image in ${LAB_IMAGES:-busybox hostile-init}; do
    carry "$images_dir/$image"
done
for file in "$@"; do
    carry "$(realpath -- "$file")"
done
mkfs.erofs --all-root "$out" "$tree" >"$work/log" 2>&1 || { cat "$work/log" >&2; die "mkfs.erofs failed"; }
