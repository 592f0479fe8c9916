#!/usr/bin/env bash
# Prepares the container's database when it is new; the image's entrypoint runs it as gpadmin.
set -euo pipefail
unset PYTHONPATH # Greenplum's own, which the command line does not need
pix migrate
pix model import mini_inception
