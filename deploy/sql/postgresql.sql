-- Run by the owner of the tables, or a superuser, once `kafka-stream schema apply` has made them (as shop_owner).
-- On the tables of your results grant what the sinks do (docs/operating.md).

-- Runs the stream. It neither creates nor owns a table: the store is given tables="verify".
CREATE ROLE shop_stream LOGIN PASSWORD 'CHANGE-ME';
GRANT USAGE ON SCHEMA public TO shop_stream;
GRANT SELECT, INSERT, UPDATE ON kafka_stream_offsets TO shop_stream;
GRANT SELECT, INSERT, UPDATE ON kafka_stream_topics TO shop_stream;
GRANT SELECT, INSERT, DELETE ON kafka_stream_history TO shop_stream;
GRANT SELECT, INSERT, UPDATE ON kafka_stream_dead_letters TO shop_stream;
GRANT SELECT ON kafka_stream_schema TO shop_stream;
GRANT SELECT, INSERT, UPDATE ON kafka_stream_states TO shop_stream;
GRANT SELECT, INSERT, UPDATE ON kafka_stream_watermarks TO shop_stream;
GRANT SELECT, INSERT, UPDATE ON kafka_stream_late TO shop_stream;
GRANT SELECT, INSERT, UPDATE, DELETE ON kafka_stream_seen TO shop_stream;

-- Looks: offsets describe, history, dead-letters list, state, windows, ui, top, schema check.
CREATE ROLE shop_reader LOGIN PASSWORD 'CHANGE-ME';
GRANT USAGE ON SCHEMA public TO shop_reader;
GRANT SELECT ON kafka_stream_offsets TO shop_reader;
GRANT SELECT ON kafka_stream_topics TO shop_reader;
GRANT SELECT ON kafka_stream_history TO shop_reader;
GRANT SELECT ON kafka_stream_dead_letters TO shop_reader;
GRANT SELECT ON kafka_stream_schema TO shop_reader;
GRANT SELECT ON kafka_stream_states TO shop_reader;
GRANT SELECT ON kafka_stream_watermarks TO shop_reader;
GRANT SELECT ON kafka_stream_late TO shop_reader;
GRANT SELECT ON kafka_stream_seen TO shop_reader;
