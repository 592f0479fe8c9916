#!/usr/bin/env bash
# Installs what is missing, and nothing the second time: PostgreSQL and PL/Python from the distribution,
# and a virtual environment (.pix/venv) of the very Python that PL/Python is linked against.
# With --tests, PgBouncer too, which the tests start themselves.
set -euo pipefail
umask 022  # the server's user reads the virtual environment
cd "$(dirname "$0")/.."

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

updated=
update_lists() {
    [ -n "$updated" ] || as_root apt-get update -qq
    updated=yes
}

plpython_library() {
    find /usr/lib/postgresql -path '*/lib/plpython3.so' 2>/dev/null | sort -V | tail -n 1
}

install_packages() {
    local missing=() package
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
    done
    if [ ${#missing[@]} -gt 0 ]; then
        echo "Installing ${missing[*]}"
        update_lists
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
            "${missing[@]}" >/dev/null
    fi
}

compile_package() {  # the server's user may not write into a checkout, and would compile it for each session
    .pix/venv/bin/python -m compileall -q loader plpython
}

if ! command -v apt-get >/dev/null; then
    echo "This script installs on Debian and Ubuntu. Elsewhere, install PostgreSQL 13 or later with PL/Python," >&2
    echo "and Python 3.11 or later; docs/how-to/install.md says how to go on." >&2
    exit 1
fi

if [ "${1:-}" = --tests ]; then
    tools/install.sh  # first: PgBouncer needs postgresql-common, which must not be there before PostgreSQL is installed below
    if [ ! -x /usr/sbin/pgbouncer ]; then
        install_packages pgbouncer
        # The distribution starts one for the system, which nobody asked for.
        if command -v systemctl >/dev/null; then as_root systemctl disable --quiet --now pgbouncer 2>/dev/null || true; fi
    fi
    exit 0
fi

stamp=.pix/installed
wanted=$(cat pyproject.toml requirements.lock tools/install.sh plpython/pixelplum/__init__.py | sha256sum)
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] && .pix/venv/bin/pix --version >/dev/null 2>&1; then
    compile_package
    exit 0
fi

if [ -z "$(plpython_library)" ]; then
    update_lists
    # The distribution would create and start a cluster of the system; only ours is wanted.
    if ! dpkg-query -W postgresql-common >/dev/null 2>&1; then
        as_root mkdir -p /etc/postgresql-common/createcluster.d
        echo 'create_main_cluster = false' |
            as_root tee /etc/postgresql-common/createcluster.d/pixelplum.conf >/dev/null
    fi
    major=$(apt-cache depends postgresql | sed -n 's/.*Depends: postgresql-\([0-9]*\)$/\1/p' | head -n 1)
    install_packages "postgresql-$major" "postgresql-plpython3-$major"
    as_root rm -f /etc/postgresql-common/createcluster.d/pixelplum.conf
fi

library=$(plpython_library)
version=$(ldd "$library" | sed -n 's/.*libpython\(3\.[0-9]*\)\.so.*/\1/p' | head -n 1)
python=/usr/bin/python$version
if [ "$(printf '3.11\n%s\n' "$version" | sort -V | head -n 1)" != 3.11 ]; then
    echo "PL/Python ($library) links Python $version; Pixelplum needs 3.11 or later." >&2
    exit 1
fi
first=$(command -v python3 || true)
if [ -n "$first" ] && [ "$("$first" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)" != "$version" ]; then
    echo "PL/Python links Python $version, and so $python is used; $first is another version."
fi
install_packages "python$version-venv" "python$version-dev" build-essential acl

if [ -x .pix/venv/bin/python ] && ! .pix/venv/bin/python -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$version')"; then
    echo "The virtual environment is of another Python than $version: making it again"
    rm -rf .pix/venv
fi
.pix/venv/bin/python -m pip --version >/dev/null 2>&1 || "$python" -m venv --clear .pix/venv
echo "Installing Python packages into .pix/venv (a few minutes the first time)"
.pix/venv/bin/python -m pip install --quiet --disable-pip-version-check \
    --constraint requirements.lock --editable '.[server,loader,tensorflow,umap,dev]'
compile_package
echo "$wanted" > "$stamp"
