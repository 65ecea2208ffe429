# shellcheck shell=bash
# Python packages of the root. This machine's pip chooses and unpacks aarch64 wheels: faster than an emulated pip,
# and its configuration never enters the root.

site_packages=$root$environment/lib/python3.11/site-packages
distributions=(agent firmware_bridge plugins/language_model plugins/sparse_inference)

pip_for_root() {
  nice "$python" -m pip --disable-pip-version-check install --quiet --no-compile --upgrade --target "$site_packages" "$@"
}

wheel_options() {
  local version
  printf '%s\n' --only-binary=:all: --implementation cp --python-version 3.11 --abi cp311 --abi abi3 --abi none
  # The C library of Debian 12 is 2.36.
  for version in 2_17 2_24 2_26 2_27 2_28 2_31 2_34 2_35 2_36; do echo --platform; echo "manylinux_${version}_aarch64"; done
  printf '%s\n' --platform manylinux2014_aarch64 --platform any
}

install_packages() {
  local wanted stamp=$cache/packages.txt options
  wanted=$("$python" "$here/requirements.py" "$checkout" agent[broker,worker] firmware_bridge[gpu] \
    plugins/kernels plugins/language_model plugins/sparse_inference)
  [[ -x $root$environment/bin/python ]] || (enter / python3 -m venv --without-pip "$environment")
  if [[ ! -e $stamp || $(<"$stamp") != "$wanted" || ! -d $site_packages/pytest ]]; then
    mapfile -t options < <(wheel_options)
    pip_for_root "${options[@]}" -r /dev/stdin <<<"$wanted"
    rm -f "$cache/checkout.txt"
    echo "$wanted" >"$stamp"
  fi
  # The distributions are installed editable: those of another checkout would be tested in place of this one's.
  if [[ ! -e $cache/checkout.txt || $(<"$cache/checkout.txt") != "$checkout" ]]; then
    pip_for_root --no-deps $(printf -- '-e %q ' "${distributions[@]/#/$checkout/}")
    echo "$checkout" >"$cache/checkout.txt"
  fi
}
