# shellcheck shell=bash
# A Debian arm64 root. Whence: this machine's own apt sources, read when it is made and written nowhere.

debian_packages=ca-certificates,iproute2,libpython3-dev,mosquitto,procps,python3,python3-venv

mirror() {
  if [[ -n ${FAIRLEAD_AARCH64_MIRROR:-} ]]; then
    echo "$FAIRLEAD_AARCH64_MIRROR"
    return
  fi
  # URIs of the suite itself; its -security and -updates parts cannot start a root.
  local found
  found=$(apt-get indextargets --format '$(SITE) $(RELEASE) $(CREATED_BY)' 2>/dev/null |
    awk -v suite="$suite" '$2 == suite && $3 == "Packages" { print $1; exit }')
  echo "${found:-https://deb.debian.org/debian}"
}

make_root() {
  [[ -e $root/.second-stage-done ]] && return
  need debootstrap debootstrap
  [[ $(id -u) == 0 ]] || die "making the root needs root, for the owners of its files"
  rm -rf "$root.new"
  mkdir -p "$cache/debs"
  say "unpacking (log: $cache/debootstrap.log)"
  debootstrap --foreign --arch=arm64 --variant=minbase --cache-dir="$cache/debs" --include="$debian_packages" \
    "$suite" "$root.new" "$(mirror)" >"$cache/debootstrap.log" 2>&1 || die "debootstrap failed: $(tail -2 "$cache/debootstrap.log")"
  # A root that can be made again need not survive a power cut, and nobody reads its manuals.
  printf '%s\n' force-unsafe-io 'path-exclude=/usr/share/doc/*' 'path-exclude=/usr/share/man/*' \
    >"$root.new/etc/dpkg/dpkg.cfg.d/throwaway"
  say "configuring, emulated (log: $root.new/debootstrap/debootstrap.log)"
  second_stage >>"$cache/debootstrap.log" 2>&1 || die "the second stage failed: $(tail -2 "$cache/debootstrap.log")"
  # Names of mirrors stay out of what is kept.
  rm -rf "$root.new"/etc/apt/sources.list* "$root.new"/var/lib/apt/lists/*
  mkdir -p "$root.new/var/cache/fairlead-pycache"
  touch "$root.new/.second-stage-done"
  rm -rf "$root"
  mv "$root.new" "$root"
}

# Its own mount namespace: what debootstrap mounts is gone afterwards.
second_stage() {
  case $(method) in
    chroot) unshare --mount --propagation private nice chroot "$root.new" /debootstrap/debootstrap --second-stage ;;
    proot) nice proot ${emulator:+-q "$emulator"} -0 -r "$root.new" -b /dev -b /proc -b /sys -w / \
      /bin/sh /debootstrap/debootstrap --second-stage ;;
  esac
}

clean() {
  unregister
  # Nothing is mounted below it outside the namespaces of running commands.
  ! grep -q " $root" /proc/self/mounts || die "$root: something is mounted there"
  rm -rf "$cache"
}
