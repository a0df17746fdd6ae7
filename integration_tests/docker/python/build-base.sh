#!/bin/bash
# A base for deploy/Dockerfile without pulling anything: the Python that runs this, static busybox, and shared libraries.
# Needs busybox-static, and DOCKER_HOST.
#
#   build-base.sh PYTHON IMAGE
set -euo pipefail
python=$1 image=$2
prefix=$("$python" -c 'import sys; print(sys.base_prefix)')
name=python$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
root=$(mktemp -d) && trap 'rm -rf "$root"' EXIT
chmod 755 "$root"
mkdir -p "$root"/{bin,dev,etc/ssl/certs,proc,sys,tmp,usr/bin,usr/local/bin,usr/local/lib}
chmod 1777 "$root/tmp"
install -m755 /usr/bin/busybox "$root/bin/busybox"
for applet in $(/usr/bin/busybox --list); do [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"; done
cp -L "$prefix/bin/$name" "$root/usr/local/bin/$name" && ln -s "$name" "$root/usr/local/bin/python3"
cp -a "$prefix"/lib/libpython*.so* "$root/usr/local/lib/" 2> /dev/null || true
tar -C "$prefix/lib" --exclude=__pycache__ --exclude='*.a' --exclude="$name/test" --exclude="$name/site-packages" \
  -c "$name" | tar -C "$root/usr/local/lib" -x
find "$root/usr/local" -type f \( -name "$name" -o -name '*.so*' \) -exec ldd {} + 2> /dev/null |
  awk '$2 == "=>" && $3 ~ "^/" {print $3} $1 ~ "^/lib.*/ld-" {print $1}' | grep -v "^$prefix\|^$root" | sort -u |
  while read -r library; do install -D -m755 "$(readlink -f "$library")" "$root$library"; done
for library in lib{stdc++.so.6,gcc_s.so.1,rt.so.1,resolv.so.2,pthread.so.0,dl.so.2,m.so.6,util.so.1,z.so.1}; do # of wheels
  found=$(ldconfig -p | awk -v name="$library" '$1 == name && !seen++ {print $NF}')
  [ -z "$found" ] || install -D -m755 "$(readlink -f "$found")" "$root$found"
done
cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/" 2> /dev/null || true
echo 'root:x:0:0::/root:/bin/sh' > "$root/etc/passwd"
echo 'hosts: files dns' > "$root/etc/nsswitch.conf"
tar -C "$root" --numeric-owner -c . | docker import --change 'ENV LD_LIBRARY_PATH=/usr/local/lib' \
  --change 'ENV PATH=/usr/local/bin:/usr/bin:/bin' --change 'ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt' \
  - "$image" > /dev/null
