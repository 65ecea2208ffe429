#!/bin/sh
# Builds kernels, self-test and extension with AddressSanitizer and UndefinedBehaviorSanitizer, and runs the kernels'
# own tests on them. usage: ./sanitize.sh [pytest arguments], or ./sanitize.sh build, which stops after the build and
# needs CMake and nanobind alone; PYTHON and CXX are taken from the environment.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-python3}
cxx=${CXX:-c++}
build=${BUILD:-$here/build/sanitize}
mkdir -p "$(dirname "$build")"
# With -O1 and lines alone the largest files compile in half the time; reports say as much.
cmake -S "$here" -B "$build" -DCMAKE_BUILD_TYPE=RelWithDebInfo -DCMAKE_CXX_FLAGS_RELWITHDEBINFO="-O1 -g1" \
    -DCMAKE_CXX_COMPILER="$cxx" \
    -DFAIRLEAD_SANITIZE=address,undefined -DFAIRLEAD_SELFTEST=ON \
    -DPython_EXECUTABLE="$("$python" -c 'import sys; print(sys.executable)')" \
    -Dnanobind_DIR="$("$python" -m nanobind --cmake_dir)" >"$build.log"
cmake --build "$build" --parallel "$(nproc)" >>"$build.log" 2>&1 || { tail -30 "$build.log"; exit 1; }
[ "${1:-}" != build ] || exit 0
export UBSAN_OPTIONS="print_stacktrace=1:${UBSAN_OPTIONS:-}"
"$build/kernels_selftest"
# A copy of the package with the instrumented extension: an installed one stays as it is.
package=$build/package
rm -rf "$package"
mkdir -p "$package/fairlead_kernels"
cp "$here"/fairlead_kernels/*.py "$package/fairlead_kernels/"
cp "$build"/_native*.so "$package/fairlead_kernels/"
# The interpreter itself is not instrumented: the runtimes come first, its own leaks are not ours, and each array has a
# block of its own, so that what lies behind it is guarded.
export LD_PRELOAD="$("$cxx" -print-file-name=libasan.so) $("$cxx" -print-file-name=libubsan.so)"
export ASAN_OPTIONS="detect_leaks=0:${ASAN_OPTIONS:-}"
export PYTHONMALLOC=malloc
# The pages whose kernels are tested are defined there, as is the reference.
export PYTHONPATH="$package:$here/../elastic_serving"
cd "$here/../.."
# Importing transformers takes longer here than most of the tests; others run the same decoder.
reference=tests/plugins/kernels/test_decoder.py::test_equals_huggingface_llama
# A report must reach the terminal although the process ends at once; slowness fails no test.
exec "$python" -m pytest -q -p no:cacheprovider --capture=sys --hypothesis-profile=sanitized --deselect "$reference" tests/plugins/kernels "$@"
