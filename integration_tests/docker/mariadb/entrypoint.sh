#!/bin/sh
# The part of the official mariadb image's contract that docker-compose.yml uses: MARIADB_USER, MARIADB_PASSWORD,
# MARIADB_DATABASE, MARIADB_ROOT_PASSWORD, and the command "mariadbd [options]". Runs as uid 998.
set -eu
data=/var/lib/mysql
if [ ! -e "$data/initialized" ]; then
  rm -rf "${data:?}"/* # an installation that was interrupted
  mariadb-install-db --no-defaults --datadir="$data" --auth-root-authentication-method=normal --skip-test-db \
    --skip-name-resolve > /dev/null
  {
    echo "DELETE FROM mysql.global_priv WHERE User = 'root' AND Host <> 'localhost';" # they have no password
    echo "FLUSH PRIVILEGES;" # a server that bootstraps knows no users until it is told to look for them
    echo "SET PASSWORD FOR root@localhost = PASSWORD('$MARIADB_ROOT_PASSWORD');"
    echo "CREATE USER root@'%' IDENTIFIED BY '$MARIADB_ROOT_PASSWORD';"
    echo "GRANT ALL ON *.* TO root@'%' WITH GRANT OPTION;"
    echo "CREATE DATABASE \`$MARIADB_DATABASE\`;"
    echo "CREATE USER '$MARIADB_USER'@'%' IDENTIFIED BY '$MARIADB_PASSWORD';"
    echo "GRANT ALL ON \`$MARIADB_DATABASE\`.* TO '$MARIADB_USER'@'%';"
  } | mariadbd --no-defaults --bootstrap --datadir="$data"
  touch "$data/initialized"
fi
shift # the word "mariadbd"
exec mariadbd --no-defaults --datadir="$data" --skip-name-resolve "$@"
