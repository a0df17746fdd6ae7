#!/bin/sh
# The part of the official postgres image's contract that docker-compose.yml uses: POSTGRES_USER,
# POSTGRES_PASSWORD, POSTGRES_DB, and the command "postgres [options]". Runs as uid 999.
set -eu
data=/var/lib/postgresql/data
if [ ! -s "$data/PG_VERSION" ]; then
  (umask 077 && printf '%s\n' "$POSTGRES_PASSWORD" > /tmp/password)
  initdb --pgdata "$data" --username "$POSTGRES_USER" --pwfile /tmp/password --auth-local trust \
    --auth-host scram-sha-256 --encoding UTF8 --locale C --no-sync > /dev/null
  rm /tmp/password
  printf 'CREATE DATABASE "%s"\n' "$POSTGRES_DB" | postgres --single -j -D "$data" postgres > /dev/null
fi
shift # the word "postgres"
exec postgres -D "$data" "$@"
