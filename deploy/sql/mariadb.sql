-- Run by an administrator, once `kafka-stream schema apply` has made the tables in the database shop (as their owner).
-- On the tables of your results grant what the sinks do, and TRIGGER (docs/guarantees.md).

-- Runs the stream. It neither creates nor owns a table: the store is given tables="verify".
CREATE USER shop_stream@'%' IDENTIFIED BY 'CHANGE-ME';
GRANT SELECT, INSERT, UPDATE ON shop.kafka_stream_offsets TO shop_stream@'%';
GRANT SELECT, INSERT, UPDATE ON shop.kafka_stream_topics TO shop_stream@'%';
GRANT SELECT, INSERT, DELETE ON shop.kafka_stream_history TO shop_stream@'%';
GRANT SELECT, INSERT, UPDATE ON shop.kafka_stream_dead_letters TO shop_stream@'%';
GRANT SELECT ON shop.kafka_stream_schema TO shop_stream@'%';
GRANT SELECT, INSERT, UPDATE ON shop.kafka_stream_states TO shop_stream@'%';
GRANT SELECT, INSERT, UPDATE ON shop.kafka_stream_watermarks TO shop_stream@'%';
GRANT SELECT, INSERT, UPDATE ON shop.kafka_stream_late TO shop_stream@'%';
GRANT SELECT, INSERT, UPDATE, DELETE ON shop.kafka_stream_seen TO shop_stream@'%';

-- Looks: offsets describe, history, dead-letters list, state, windows, ui, top, schema check.
CREATE USER shop_reader@'%' IDENTIFIED BY 'CHANGE-ME';
GRANT SELECT ON shop.kafka_stream_offsets TO shop_reader@'%';
GRANT SELECT ON shop.kafka_stream_topics TO shop_reader@'%';
GRANT SELECT ON shop.kafka_stream_history TO shop_reader@'%';
GRANT SELECT ON shop.kafka_stream_dead_letters TO shop_reader@'%';
GRANT SELECT ON shop.kafka_stream_schema TO shop_reader@'%';
GRANT SELECT ON shop.kafka_stream_states TO shop_reader@'%';
GRANT SELECT ON shop.kafka_stream_watermarks TO shop_reader@'%';
GRANT SELECT ON shop.kafka_stream_late TO shop_reader@'%';
GRANT SELECT ON shop.kafka_stream_seen TO shop_reader@'%';
