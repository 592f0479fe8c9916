#!/usr/bin/env bash
# Entry of the container: creates the database in the volume if there is none, brings it to this version, and
# becomes PostgreSQL, as the user postgres.
set -euo pipefail

: "${POSTGRES_PASSWORD:?Set POSTGRES_PASSWORD, there is no default password}"
volume=${PIX_VOLUME:-/var/lib/pixelplum}
pix="$(cd "$(dirname "$0")/.." && pwd)/.pix/venv/bin/pix"
library=$(find /usr/lib/postgresql -path '*/lib/plpython3.so' | sort -V | tail -n 1)
export PATH="${library%/lib/plpython3.so}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PYTHONPATH=$("$pix" server python-path)
export PYTHONPATH PIX_CACHE="$volume/cache" LANG=C.UTF-8

as_postgres() {
    setpriv --reuid=postgres --regid=postgres --init-groups env HOME="$volume" "$@"
}

install -d -o postgres -g postgres -m 700 "$volume" "$volume/data" "$volume/cache"
install -d -o postgres -g postgres -m 755 /var/run/postgresql
cd "$volume"
if [ ! -s "$volume/data/PG_VERSION" ]; then
    as_postgres initdb -D "$volume/data" -U postgres -E UTF8 --locale=C.UTF-8 --data-checksums \
        --auth-local=trust --auth-host=scram-sha-256
    echo "host all all all scram-sha-256" >> "$volume/data/pg_hba.conf"
    cores=$(nproc)
    cat >> "$volume/data/postgresql.conf" <<END
listen_addresses = '*'
unix_socket_directories = '/var/run/postgresql'
unix_socket_permissions = 0700
shared_buffers = 256MB
max_wal_size = 4GB
max_worker_processes = $((cores + 8))
max_parallel_workers = $((cores + 4))
max_parallel_workers_per_gather = $((cores > 1 ? cores - 1 : 1))
jit = off
END
fi

# Until everything is in place, only the socket answers.
as_postgres pg_ctl -D "$volume/data" -w -o "-c listen_addresses=''" -l "$volume/data/start.log" start
owner="host=/var/run/postgresql user=postgres"
echo "ALTER ROLE postgres PASSWORD :'password'" |
    psql -Xq -v ON_ERROR_STOP=1 -v password="$POSTGRES_PASSWORD" "$owner dbname=postgres"
if [ "$(psql -XAtc "SELECT 1 FROM pg_database WHERE datname = 'pix'" "$owner dbname=postgres")" != 1 ]; then
    psql -Xqc "CREATE DATABASE pix" "$owner dbname=postgres"
fi
"$pix" --dsn "$owner dbname=pix" migrate
if [ "$(psql -XAtc "SELECT count(*) FROM pix.models" "$owner dbname=pix")" = 0 ]; then
    "$pix" --dsn "$owner dbname=pix" model import mini_inception
fi
as_postgres pg_ctl -D "$volume/data" -w -m fast stop

unset POSTGRES_PASSWORD
exec setpriv --reuid=postgres --regid=postgres --init-groups env HOME="$volume" postgres -D "$volume/data"
