# shellcheck shell=bash
# The C++ kernels with NEON: cross-built here, against the headers of the root's Python; run under emulation.

build_kernels() {
  need cmake cmake
  need aarch64-linux-gnu-g++ g++-aarch64-linux-gnu
  "$python" -c 'import nanobind' 2>/dev/null || die "$python has no nanobind, which the kernels' bindings are made with"
  local source=$checkout/plugins/kernels build=$cache/kernels
  # Headers of the root come last: the cross compiler has its own C library.
  # A folder that another checkout configured is of no use to this one.
  grep -qsxF "CMAKE_HOME_DIRECTORY:INTERNAL=$source" "$build/CMakeCache.txt" || rm -rf "$build"
  cmake -S "$source" -B "$build" -DCMAKE_BUILD_TYPE=Release -DFAIRLEAD_SELFTEST=ON \
    -DCMAKE_TOOLCHAIN_FILE="$source/cmake/aarch64-linux.cmake" \
    -DCMAKE_CXX_FLAGS="-idirafter $root/usr/include -idirafter $root/usr/include/aarch64-linux-gnu" \
    -DPython_EXECUTABLE="$python" -DPython_INCLUDE_DIR="$root/usr/include/python3.11" \
    -DSKBUILD_SOABI=cpython-311-aarch64-linux-gnu -Dnanobind_DIR="$("$python" -m nanobind --cmake_dir)" \
    >"$cache/kernels.log"
  nice cmake --build "$build" >>"$cache/kernels.log" 2>&1 || die "the kernels do not build: $(tail -3 "$cache/kernels.log")"
  FAIRLEAD_KERNELS_PURE=1 pip_for_root --no-deps "$source"
  cmake --install "$build" --prefix "$site_packages" >>"$cache/kernels.log"
}

run_selftest() {
  nice qemu-aarch64-static "$cache/kernels/kernels_selftest"
}
