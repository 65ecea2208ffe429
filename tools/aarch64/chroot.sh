#!/usr/bin/env bash
# chroot.sh ROOT CHECKOUT FOLDER PATHS COMMAND ...: in a mount namespace of its own, show PATHS inside ROOT and run.
set -euo pipefail
root=$1 checkout=$2 folder=$3 paths=$4
shift 4

# A root that is a mount of its own is found in /proc/self/mountinfo, as anywhere else.
mount --bind "$root" "$root"
while read -r path; do
  if [[ -d $path ]]; then mkdir -p "$root$path"; else mkdir -p "$root${path%/*}" && touch "$root$path"; fi
  mount --rbind "$path" "$root$path"
done <<<"$paths"
# The tests must not write into the checkout: what they compile belongs to another machine.
mount -o remount,bind,ro "$root$checkout"
exec chroot "$root" /usr/bin/env --chdir="$folder" "$@"
