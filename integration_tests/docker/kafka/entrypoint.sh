#!/bin/sh
# The part of apache/kafka's contract that docker-compose.yml uses: CLUSTER_ID, KAFKA_HEAP_OPTS, and
# KAFKA_SOME_NAME=value for some.name=value.
set -eu
properties=/opt/kafka/config/server.properties
mkdir -p "${properties%/*}"
env | sed -n 's/^KAFKA_\([A-Z0-9_]*\)=\(.*\)$/\1 \2/p' | while read -r name value; do
  [ "$name" = HEAP_OPTS ] || echo "$(echo "$name" | tr 'A-Z_' 'a-z.')=$value"
done > "$properties"
set -f # the class path's * is for java, not for the shell
run="java -XX:TieredStopAtLevel=1 -Dlog4j2.level=INFO -cp /opt/kafka/libs/*"
$run -Xmx128m kafka.tools.StorageTool format --ignore-formatted --cluster-id "$CLUSTER_ID" --config "$properties"
exec $run ${KAFKA_HEAP_OPTS:-} kafka.Kafka "$properties"
