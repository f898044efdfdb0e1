-- clickhouse-client --multiquery < clickhouse.sql
CREATE DATABASE IF NOT EXISTS logs;

-- What is kept. Rows with the same key become one when ClickHouse merges, or at once for a query that says FINAL. A line that came twice has the same
-- time, and so lies in the same partition.
CREATE TABLE IF NOT EXISTS logs.access
(
    time DateTime, request_id String, status UInt16, bytes UInt64, request_ms UInt32,
    remote_addr String, method String, host String, uri String, referrer String, agent String
)
ENGINE = ReplacingMergeTree PARTITION BY toYYYYMM(time) ORDER BY (time, request_id);

-- The consumer. A block is as many rows, or fewer when none comes for half a second: choose about as many as come in a second.
CREATE TABLE IF NOT EXISTS logs.access_queue
(
    time Float64, request_id String, status UInt16, bytes UInt64, request_time Float64,
    remote_addr String, method String, host String, uri String, referrer String, agent String
)
ENGINE = Kafka SETTINGS kafka_broker_list = '127.0.0.1:9092', kafka_topic_list = 'access', kafka_group_name = 'clickhouse',
    kafka_format = 'JSONEachRow', kafka_row_delimiter = '\n', kafka_num_consumers = 1, kafka_max_block_size = 100;

-- Last, for it sets the consumer going.
CREATE MATERIALIZED VIEW IF NOT EXISTS logs.access_feed TO logs.access AS
SELECT
    toDateTime(toUInt32(time)) AS time, request_id, status, bytes, toUInt32(round(request_time * 1000)) AS request_ms,
    remote_addr, method, host, uri, referrer, agent
FROM logs.access_queue;
