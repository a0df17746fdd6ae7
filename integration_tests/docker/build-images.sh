#!/bin/bash
# Builds the servers' images without pulling anything. Each is a root of static busybox, a jlink'ed JRE with jars from
# Maven Central or the installed database, and the shared libraries that those name; `docker import` makes it an image.
# Needs the packages that integration_tests/images.py installs, and DOCKER_HOST.
#
#   KAFKA_IMAGE=… POSTGRES_IMAGE=… ZOOKEEPER_IMAGE=… MARIADB_IMAGE=… build-images.sh WORK_DIRECTORY
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
work=$1
rm -rf "$work" && mkdir -p "$work"
newest() { printf '%s\n' "$@" | sort -V | tail -1; }
jdk=$(newest /usr/lib/jvm/java-*-openjdk-*/jmods) && jdk=${jdk%/jmods}
pg=$(newest /usr/lib/postgresql/*/bin/postgres) && pg=${pg%/bin/postgres}

root_of() { # NAME: directories, busybox and users
  local root=$work/$1 applet
  mkdir -p "$root"/{bin,dev,etc,proc,root,run,sys,tmp,usr/local/bin}
  chmod 1777 "$root/tmp"
  install -m755 /usr/bin/busybox "$root/bin/busybox"
  for applet in $(/usr/bin/busybox --list); do [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"; done
  { # the users of both databases
    echo 'root:x:0:0::/root:/bin/sh'
    echo 'postgres:x:999:999::/var/lib/postgresql:/bin/sh'
    echo 'mysql:x:998:998::/var/lib/mysql:/bin/sh'
  } > "$root/etc/passwd"
  printf 'root:x:0:\npostgres:x:999:\nmysql:x:998:\n' > "$root/etc/group"
  echo 'hosts: files dns' > "$root/etc/nsswitch.conf"
}
libraries() { # NAME FILE_OR_DIRECTORY...: every shared library that the ELF files there are linked to
  local root=$work/$1 library
  shift
  find "$@" -type f \( -perm -u+x -o -name '*.so*' \) -exec ldd {} + 2> /dev/null |
    awk '$2 == "=>" && $3 ~ "^/" {print $3} $1 ~ "^/lib.*/ld-" {print $1}' | grep -v "^$work" | sort -u |
    while read -r library; do install -D -m755 "$(readlink -f "$library")" "$root$library"; done
}
import() { # NAME IMAGE CHANGE...
  local name=$1 image=$2 change changes=()
  shift 2
  for change in "$@"; do changes+=(--change "$change"); done
  install -m755 "$here/$name/entrypoint.sh" "$work/$name/usr/local/bin/entrypoint.sh"
  tar -C "$work/$name" --numeric-owner -c . |
    docker import "${changes[@]}" --change 'ENTRYPOINT ["/usr/local/bin/entrypoint.sh"]' - "$image" > /dev/null
}
jre() { # java.desktop is there for log4j 2.25; the class-data archive makes the JVM start faster
  # (--strip-debug would need objcopy, and Debian's libraries are stripped)
  local modules=java.base,java.desktop,java.instrument,java.logging,java.management,java.management.rmi,java.naming
  modules+=,java.security.jgss,java.security.sasl,java.sql,java.xml
  modules+=,jdk.crypto.ec,jdk.management,jdk.net,jdk.security.auth,jdk.unsupported,jdk.zipfs
  "$jdk/bin/jlink" --add-modules "$modules" --strip-java-debug-attributes --no-man-pages --no-header-files \
    --compress=1 --output "$1"
  "$1/bin/java" -Xshare:dump > /dev/null
}
jars() { # NAME: what NAME/pom.xml names
  mvn -q -B -f "$here/$1/pom.xml" org.apache.maven.plugins:maven-dependency-plugin:2.8:copy-dependencies \
    -DincludeScope=runtime "-DoutputDirectory=$work/$1/opt/$1/libs"
}
java_server() { # NAME IMAGE: a JRE and the jars
  local root=$work/$1
  root_of "$1"
  cp -al "$work/jre" "$root/opt/jre"
  libraries "$1" "$work/jre/bin/java" "$work/jre/lib/server" \
    "$work"/jre/lib/lib{java,jimage,jli,management,net,nio,verify,zip}.so
  import "$1" "$2" 'ENV PATH=/opt/jre/bin:/usr/local/bin:/bin'
}
kafka_and_zookeeper() {
  local fetching
  (jars kafka && jars zookeeper) & fetching=$!
  jre "$work/jre"
  wait $fetching
  mkdir -p "$work/kafka/var/lib/kafka/data"
  java_server kafka "$KAFKA_IMAGE"
  java_server zookeeper "$ZOOKEEPER_IMAGE"
}
postgres() {
  local root=$work/postgres share=usr/share/postgresql/${pg##*/}
  root_of postgres
  mkdir -p "$root$pg" "$root/usr/share/postgresql" "$root/usr/share/zoneinfo" \
    "$root/var/lib/postgresql/data" "$root/var/run/postgresql"
  cp -a "$pg/bin" "$pg/lib" "$root$pg/" && rm -rf "$root$pg"/lib/{bitcode,pgxs,llvmjit.so}
  cp -a "/$share" "$root/usr/share/postgresql/" && rm -rf "${root:?}/$share/man"
  cp -a /usr/share/zoneinfo/{UTC,Etc} "$root/usr/share/zoneinfo/"
  libraries postgres "$pg/bin" "$pg/lib/dict_snowball.so" "$pg/lib/libpqwalreceiver.so"
  chown -R 999:999 "$root/var/lib/postgresql" "$root/var/run/postgresql" && chmod 3777 "$root/var/run/postgresql"
  import postgres "$POSTGRES_IMAGE" "ENV PATH=$pg/bin:/usr/local/bin:/bin" 'USER 999' 'CMD ["postgres"]'
}
mariadb() {
  local root=$work/mariadb program programs=(/usr/sbin/mariadbd /usr/bin/{mariadb,my_print_defaults,resolveip})
  root_of mariadb
  mkdir -p "$root"/usr/{bin,sbin,share} "$root/usr/lib/mysql/plugin" "$root/var/lib/mysql" "$root/run/mysqld"
  for program in "${programs[@]}" /usr/bin/mariadb-install-db; do cp -L "$program" "$root$program"; done
  cp -a /usr/share/mysql "$root/usr/share/"
  libraries mariadb "${programs[@]}"
  chown 998:998 "$root/var/lib/mysql" "$root/run/mysqld"
  import mariadb "$MARIADB_IMAGE" 'ENV PATH=/usr/sbin:/usr/bin:/usr/local/bin:/bin' 'USER 998' 'CMD ["mariadbd"]'
}
kafka_and_zookeeper
postgres
mariadb
rm -rf "$work"
