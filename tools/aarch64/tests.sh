# shellcheck shell=bash
# The tests in parts that end: a folder at a time, each with a log, a result and a limit of its own.

results=/var/cache/fairlead-results # inside the root
part_limit=${FAIRLEAD_AARCH64_PART_LIMIT:-7200}

parts() {
  if [[ -n ${FAIRLEAD_AARCH64_PARTS:-} ]]; then
    printf '%s\n' $FAIRLEAD_AARCH64_PARTS
    return
  fi
  (cd "$checkout" && find tests/agent -mindepth 1 -maxdepth 1 -type d ! -name __pycache__ | sort)
  printf 'tests/%s\n' firmware_bridge plugins/kernels plugins/language_model plugins/sparse_inference
}

# Emulated code is many times slower: no limit that is a matter of speed may fail a test. Hypothesis's own profile "ci"
# has none; the tests' own waits are stretched.
emulated_pytest() {
  enter "$checkout" env FAIRLEAD_TEST_EMULATED=1 "FAIRLEAD_TEST_PATIENCE=${FAIRLEAD_TEST_PATIENCE:-8}" \
    timeout --kill-after=60 "$part_limit" python -m pytest -p no:cacheprovider --hypothesis-profile=ci -o timeout=1800 "$@"
}

# run_part PART PYTEST ARGS: its exit status, commit and counts stay in the root.
run_part() {
  local part=$1 name=${1//\//.} status=0
  shift
  rm -f "$root$results/$name".*
  (emulated_pytest "--junitxml=$results/$name.xml" "$part" "$@") >"$root$results/$name.log" 2>&1 || status=$?
  echo "$status $(git -C "$checkout" describe --always --dirty 2>/dev/null || echo unknown)" >"$root$results/$name.status"
}

passed() { grep -qs '^0 ' "$root$results/${1//\//.}.status"; }

# run_all_parts [--resume] PYTEST ARGS
run_all_parts() {
  local part resume=no
  [[ ${1:-} == --resume ]] && resume=yes && shift
  mkdir -p "$root$results"
  [[ $resume == yes ]] || rm -f "$root$results"/*
  for part in $(parts); do
    if [[ $resume == yes ]] && passed "$part"; then
      say "$part: passed before"
    else
      step "$part" run_part "$part" "$@"
    fi
  done
  "$python" "$here/table.py" "$root$results"
}

# With paths: one run, shown as it goes. Without: everything, part by part, and a table.
run_tests() {
  local argument
  for argument in "$@"; do
    if [[ $argument == tests/* ]]; then
      emulated_pytest "$@"
      return
    fi
  done
  run_all_parts "$@"
}
