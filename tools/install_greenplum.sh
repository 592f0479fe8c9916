#!/usr/bin/env bash
# Installs Pixelplum on a host of Greenplum: run it on every host, as root, in the same version.
#
#   GPHOME=/usr/local/greenplum-db tools/install_greenplum.sh [FOLDER]
#
# It makes a virtual environment in FOLDER (/opt/pixelplum) of the very Python that Greenplum's PL/Python links, and
# writes PYTHONPATH into $GPHOME/etc/environment.d, from where greenplum_path.sh hands it to every postmaster.
# It ends no session and restarts nothing: that is `gpstop -ar`, when all hosts are done.
set -euo pipefail
umask 022 # the server's user reads the virtual environment
cd "$(dirname "$0")/.."

gphome=${GPHOME:-/usr/local/greenplum-db}
folder=${1:-/opt/pixelplum}

library=$(find -L "$gphome/lib" -name plpython3.so 2>/dev/null | head -n 1 || true)
if [ -z "$library" ]; then
    echo "There is no PL/Python (plpython3.so) under $gphome/lib: set GPHOME to where Greenplum is installed." >&2
    exit 1
fi
version=$(LD_LIBRARY_PATH="$gphome/lib" ldd "$library" | sed -n 's/.*libpython\(3\.[0-9]*\)\.so.*/\1/p' | head -n 1 || true)
if [ "$(printf '3.11\n%s\n' "$version" | sort -V | head -n 1)" != 3.11 ]; then
    echo "Greenplum's PL/Python ($library) links Python ${version:-of an unknown version}; Pixelplum needs 3.11 or later." >&2
    exit 1
fi
for python in "$gphome/bin/python$version" "$gphome/ext/python/bin/python$version" "/usr/bin/python$version" \
    "/usr/local/bin/python$version"; do
    [ -x "$python" ] && break
done
if [ ! -x "$python" ]; then
    echo "There is no python$version on this host: install it, with its module venv." >&2
    exit 1
fi

headers=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h
if ! command -v c++ >/dev/null || [ ! -e "$headers" ]; then
    echo "Annoy has to be compiled: install a C++ compiler and $headers (build-essential, python$version-dev)." >&2
    exit 1
fi

# Building leaves files behind, which a checkout should not have.
source=$(mktemp -d)
trap 'rm -rf "$source"' EXIT
cp -r pyproject.toml README.md loader plpython sql migrations "$source"

# Annoy is compiled here. By default it would use what this processor has, and end processes on another that has less.
export ANNOY_COMPILER_ARGS=-O3,-ffast-math,-fno-associative-math,-DANNOYLIB_MULTITHREADED_BUILD,-std=c++14
"$folder/bin/python" -m pip --version >/dev/null 2>&1 || env -u PYTHONPATH -u PYTHONHOME "$python" -m venv --clear "$folder"
env -u PYTHONPATH -u PYTHONHOME "$folder/bin/python" -m pip install --quiet --disable-pip-version-check \
    --constraint requirements.lock "$source[server,loader]"
mkdir -p "$gphome/etc/environment.d"
path=$(env -u PYTHONPATH "$folder/bin/pix" server python-path)
echo "PYTHONPATH=\"$path\${PYTHONPATH:+:\$PYTHONPATH}\"" > "$gphome/etc/environment.d/50-pixelplum.conf"
echo "Pixelplum $("$folder/bin/pix" --version | sed 's/.* //') for Python $version is in $folder; when every host is done: gpstop -ar"
