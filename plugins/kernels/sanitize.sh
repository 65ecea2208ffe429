#!/bin/sh
# Builds the extension with AddressSanitizer and UndefinedBehaviorSanitizer and runs the kernels' tests on it.
# usage: ./sanitize.sh [pytest arguments]; PYTHON and CXX are taken from the environment.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-python3}
cxx=${CXX:-c++}
build=${BUILD:-$here/build/sanitize}
cmake -S "$here" -B "$build" -DCMAKE_BUILD_TYPE=RelWithDebInfo -DCMAKE_CXX_COMPILER="$cxx" \
    -DFAIRLEAD_SANITIZE=address,undefined -DPython_EXECUTABLE="$("$python" -c 'import sys; print(sys.executable)')" \
    -Dnanobind_DIR="$("$python" -m nanobind --cmake_dir)"
cmake --build "$build"
# A copy of the package with the instrumented extension: an installed one stays as it is.
package=$build/package
rm -rf "$package"
mkdir -p "$package/fairlead_kernels"
cp "$here"/fairlead_kernels/*.py "$package/fairlead_kernels/"
cp "$build"/_native*.so "$package/fairlead_kernels/"
# The interpreter itself is not instrumented: the runtimes come first, and its own leaks are not ours.
export LD_PRELOAD="$("$cxx" -print-file-name=libasan.so) $("$cxx" -print-file-name=libubsan.so)"
export ASAN_OPTIONS="detect_leaks=0:${ASAN_OPTIONS:-}"
export PYTHONPATH="$package"
cd "$here/../.."
exec "$python" -m pytest -q -p no:cacheprovider tests/plugins/kernels "$@"
