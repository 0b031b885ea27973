#!/usr/bin/env bash
# Make .venv with the package in it, doing only the steps whose inputs changed.
# A step's stamp holds the checksum of what it was made from. The log is build/setup.log.
set -euo pipefail
cd "$(dirname "$0")/.."

mkdir -p build
log=build/setup.log
exec 9>build/.setup.lock
flock 9

say() { printf 'setup: %s\n' "$*"; }

# run WHAT COMMAND...: a step that prints one line, or the end of its log when it fails.
run() {
    local what=$1
    shift
    say "$what"
    if ! "$@" >"$log" 2>&1 9>&- </dev/null; then
        tail -n 10 "$log" >&2
        grep -m 10 -i 'error:' "$log" >&2 || true # where a compiler's words are, far above the end
        say "failed: $what" >&2
        say "the whole log is in $PWD/$log" >&2
        exit 1
    fi
}

# The first Python >= 3.11 that can make a virtual environment and has the headers to build for it.
find_python() {
    local candidate
    for candidate in ${PYTHON:-} python3.11 python3.12 python3.13 python3 /usr/bin/python3.11 /usr/bin/python3; do
        if "$candidate" - 2>/dev/null <<'PY'; then
import ensurepip, os, sys, sysconfig, venv
ok = sys.version_info >= (3, 11) and os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h"))
sys.exit(not ok)
PY
            command -v "$candidate"
            return
        fi
    done
    return 1
}

missing_packages() {
    find_python >/dev/null || echo python3-venv python3-dev
    command -v gcc >/dev/null || echo gcc
    command -v g++ >/dev/null || echo g++
    command -v make >/dev/null || echo make
}

install_packages() {
    local packages=("$@")
    if [[ $EUID -ne 0 ]] || ! command -v apt-get >/dev/null; then
        say "Debian packages are missing: ${packages[*]}" >&2
        say "they can be installed with: sudo apt-get update && sudo apt-get install -y ${packages[*]}" >&2
        exit 1
    fi
    export DEBIAN_FRONTEND=noninteractive
    run "Debian's package lists" apt-get update
    run "Debian packages: ${packages[*]}" apt-get install -y --no-install-recommends "${packages[@]}"
    if [[ -n $(missing_packages) ]]; then
        say "still missing after apt-get: $(missing_packages | xargs)" >&2
        say "wBPF needs Python >= 3.11 with venv and headers; set PYTHON=/path/to/python to name one" >&2
        exit 1
    fi
}

checksum() { sha256sum "$@" | sha256sum | cut -d' ' -f1; }
is_fresh() { [[ -f .venv/.stamp-$1 && $(<".venv/.stamp-$1") == "$2" ]]; }
stamp() { printf '%s\n' "$2" >".venv/.stamp-$1"; }

if [[ ! -x .venv/bin/python ]] || ! is_fresh venv "made in $PWD"; then
    packages=$(missing_packages | xargs)
    # shellcheck disable=SC2086 # one word a package
    [[ -z $packages ]] || install_packages $packages
    python=$(find_python)
    run "virtual environment with $("$python" -V) ($python)" "$python" -m venv --clear .venv
    stamp venv "made in $PWD"
fi

lock=$(checksum requirements.lock)
if ! is_fresh lock "$lock"; then
    run "packages of requirements.lock (a minute or two)" \
        .venv/bin/python -m pip install --disable-pip-version-check --require-hashes -r requirements.lock
    stamp lock "$lock"
fi

# For eBPF in the kernel. The build does without; `wbpf.bpf.kernel` then says what to install.
has_libbpf() { gcc -E - <<<'#include <bpf/libbpf.h>' >/dev/null 2>&1; }
if ! has_libbpf; then
    if [[ $EUID -eq 0 ]] && command -v apt-get >/dev/null; then
        export DEBIAN_FRONTEND=noninteractive
        (run "Debian's package lists" apt-get update &&
            run "Debian package: libbpf-dev" apt-get install -y --no-install-recommends libbpf-dev) || true
    fi
    has_libbpf || say "without libbpf-dev (Debian's name): no eBPF programs in the kernel"
fi

# The environment's path is in the build's cache too, so a moved clone builds anew.
mapfile -d '' -t sources < <(find CMakeLists.txt pyproject.toml native -type f -not -path 'native/tests/*' -print0 | sort -z)
package=$({ pwd; echo "$lock"; grep -h ^__version__ src/wbpf/__init__.py; has_libbpf && echo libbpf; sha256sum "${sources[@]}"; } | sha256sum)
if ! is_fresh package "$package"; then
    run "wbpf and its native core" \
        .venv/bin/python -m pip install --disable-pip-version-check --no-build-isolation --no-deps -e .
    cp "$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("platlib"))')"/wbpf/_native.pyi src/wbpf/
    stamp package "$package"
    say "done: .venv"
fi
