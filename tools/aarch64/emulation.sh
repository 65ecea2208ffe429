# shellcheck shell=bash
# How aarch64 programs run here: natively, through binfmt_misc, or, where that is not to be had, through proot.

binfmt=/proc/sys/fs/binfmt_misc
entry=fairlead-aarch64
emulator=$(command -v qemu-aarch64-static || true)

# What the kernel compares a file's first 20 bytes with: ELF, 64 bits, little-endian, executable or shared, aarch64.
magic='\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00'
mask='\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff'

# An entry helps inside a chroot only if the kernel opened its interpreter when it was made (flag F).
registered() {
  local file
  for file in "$binfmt"/*; do
    [[ -f $file && $file != */register && $file != */status ]] || continue
    if grep -q '^enabled' "$file" && grep -q '^flags:.*F' "$file" && grep -q '^magic 7f454c460201.*b7' "$file"; then
      return 0
    fi
  done
  return 1
}

register() {
  [[ -n $emulator && $(id -u) == 0 && -d $binfmt ]] || return 1
  [[ -e $binfmt/register ]] || mount -t binfmt_misc binfmt_misc "$binfmt" 2>/dev/null || return 1
  registered || echo ":$entry:M::$magic:$mask:$emulator:FPOC" 2>/dev/null >"$binfmt/register" || return 1
  registered
}

unregister() {
  [[ -e $binfmt/$entry ]] && echo -1 >"$binfmt/$entry"
  return 0
}

# native, chroot or proot. Only root may change its root, and only debootstrap's second stage needs it to be real.
method() {
  if [[ -z ${FAIRLEAD_AARCH64_PROOT:-} && $(id -u) == 0 ]]; then
    if [[ $(uname -m) == aarch64 ]] || registered || register; then
      echo chroot
      return
    fi
  fi
  command -v proot >/dev/null && [[ -n $emulator || $(uname -m) == aarch64 ]] && echo proot && return
  echo none
}

require_emulation() {
  [[ $(uname -m) == aarch64 ]] || need qemu-aarch64-static qemu-user-static
  [[ $(method) != none ]] || die "aarch64 programs cannot run here: binfmt_misc takes no entry (that needs root and" \
    "a kernel with CONFIG_BINFMT_MISC), and proot, which works without, is not installed (Debian package: proot)"
  say "aarch64 programs run by $(method)"
}

# Paths of this machine that are seen inside, at their own place.
shown() {
  printf '%s\n' /dev /proc /sys "$checkout"
  [[ -z ${FAIRLEAD_AARCH64_BIND:-} ]] || tr ':' '\n' <<<"$FAIRLEAD_AARCH64_BIND"
}

# enter FOLDER COMMAND ...: replaces this process by a command in the root, so that signals reach it.
enter() {
  local folder=$1
  shift
  [[ -e $root/.second-stage-done ]] || die "$root: no root there yet; tools/aarch64/run prepare makes it"
  # OpenBLAS would take its SVE kernels, whose products are wrong under qemu 7.2 (27 of 160 small ones, NaN among them).
  local inside=(/usr/bin/env -i OPENBLAS_CORETYPE=ARMV8 "PATH=$environment/bin:/usr/local/bin:/usr/bin:/usr/sbin:/bin:/sbin" HOME=/root
    LANG=C.UTF-8 PYTHONPYCACHEPREFIX=/var/cache/fairlead-pycache
    HYPOTHESIS_STORAGE_DIRECTORY=/var/cache/hypothesis "TERM=${TERM:-dumb}")
  case $(method) in
    chroot) exec unshare --mount --propagation private bash "$here/chroot.sh" "$root" "$checkout" "$folder" \
      "$(shown)" "${inside[@]}" "$@" ;;
    proot)
      local binds=() path
      while read -r path; do binds+=(-b "$path"); done < <(shown)
      exec proot ${emulator:+-q "$emulator"} -0 -r "$root" "${binds[@]}" -w "$folder" "${inside[@]}" "$@"
      ;;
    *) die "aarch64 programs cannot run here; tools/aarch64/run prepare says why" ;;
  esac
}
