#!/bin/sh
# The part of the official zookeeper image's contract that docker-compose.yml uses: ZOO_SERVERS, ZOO_TICK_TIME,
# ZOO_ADMINSERVER_ENABLED and SERVER_JVMFLAGS.
set -eu
mkdir -p /conf /data /datalog
{
  echo "dataDir=/data"
  echo "dataLogDir=/datalog"
  echo "tickTime=${ZOO_TICK_TIME:-2000}"
  echo "initLimit=5"
  echo "syncLimit=2"
  echo "maxClientCnxns=60"
  echo "admin.enableServer=${ZOO_ADMINSERVER_ENABLED:-true}"
  echo "4lw.commands.whitelist=srvr"
  for server in $ZOO_SERVERS; do echo "$server"; done
} > /conf/zoo.cfg
[ -f /data/myid ] || echo 1 > /data/myid
set -f # the class path's * is for java, not for the shell
exec java -XX:TieredStopAtLevel=1 -Xmx256m ${SERVER_JVMFLAGS:-} -cp "/opt/zookeeper/libs/*" \
  org.apache.zookeeper.server.quorum.QuorumPeerMain /conf/zoo.cfg
