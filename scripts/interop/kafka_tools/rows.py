"""What Kafka's own tools are asked and what they must answer: one row a call, top to bottom.

How rows are run: run.py. `{inputs}` is the folder of the files that the tools read, `{lines}` the real log lines in one of them.
"""

from run import Row

NOTHING = r"\A\s*\Z"

TOPICS = [
    Row("broker-api-versions", "", [r"\(id: (?P<node>\d+) rack: null isFenced: false\)", r"Produce\(0\): 0 to 13 \[usable: 13\]",
                                    r"ApiVersions\(18\): 0 to "]),
    Row("cluster", "cluster-id", [r"^Cluster ID: \S+$"]),
    Row("features", "describe", stderr=".*"),
    Row("topics", "--list", [NOTHING]),
    Row("topics", "--create --topic tools --partitions 2 --config retention.ms=86400000 --config max.message.bytes=2000000",
        [r"^Created topic tools\.$"]),
    Row("topics", "--create --topic tools --partitions 2", [r"Topic 'tools' already exists|exists already"], exit_code=1, stderr=".*TopicExistsException.*"),
    Row("topics", "--create --if-not-exists --topic tools --partitions 2"),
    Row("topics", "--create --topic bad --config retention.mss=1", [r"retention\.mss"], exit_code=1, stderr=".*InvalidConfigurationException.*"),
    Row("topics", "--create --topic bad --replica-assignment {node},{node}"),
    Row("topics", "--delete --topic bad"),
    Row("topics", "--list", [r"\Atools\n\Z"]),
    Row("topics", "--describe --topic tools",
        [r"^Topic: tools\tTopicId: (?P<id>\S{22})\tPartitionCount: 2\tReplicationFactor: 1\tConfigs: .*retention\.ms=86400000",
         r"^Topic: tools\t.*max\.message\.bytes=2000000",
         r"^\tTopic: tools\tPartition: 1\tLeader: {node}\tReplicas: {node}\tIsr: {node}\tElr: \tLastKnownElr: $"]),
    Row("topics", "--describe --topic-id {id}", [r"^Topic: tools\tTopicId: {id}\t"]),
    Row("topics", "--describe --topics-with-overrides", [r"^Topic: tools\t"]),
    Row("topics", "--describe --unavailable-partitions", [NOTHING]),
    Row("topics", "--describe --under-replicated-partitions", [NOTHING]),
    Row("topics", "--describe --topic nowhere", [r"Topic 'nowhere' does not exist"], exit_code=1, stderr=".*"),
    Row("topics", "--alter --topic tools --partitions 4", [NOTHING]),
    Row("topics", "--describe --topic tools --partition-size-limit-per-response 3", [r"PartitionCount: 4\t", r"^\tTopic: tools\tPartition: 3\t"]),
    Row("topics", "--alter --topic tools --partitions 3", [r"currently has 4 partitions|already has 4|4 partitions"], exit_code=1,
        stderr=".*InvalidPartitionsException.*"),
]

# How the configs of a topic may differ from the definitions in Kafka's own code.
DIFFERENCES = [
    r"(flush\.bytes|strict\.records|write\.caching): only here",
    r"flush\.ms: default 1000 here, 9223372036854775807 in Kafka",
    # These came with Kafka 4.4.
    r"(errors\.deadletterqueue\.group\.enable|max\.decompressed\.message\.bytes|remote\.copy\.lag\.(bytes|ms)): only here",
]

CONFIGS = [
    Row("configs", "--describe --entity-type topics --entity-name tools",
        [r"^Dynamic configs for topic tools are:$",
         r"^  retention\.ms=86400000 sensitive=false synonyms=\{DYNAMIC_TOPIC_CONFIG:retention\.ms=86400000, .*DEFAULT_CONFIG:log\.retention\..*\}$"]),
    Row("configs", "--describe --all --entity-type topics --entity-name tools",
        [r"^All configs for topic tools are:$", r"^  cleanup\.policy=delete sensitive=false synonyms=\{DEFAULT_CONFIG:log\.cleanup\.policy=delete\}$",
         r"^  segment\.bytes=1073741824 ", r"^  min\.insync\.replicas=1 "]),
    Row("configs", "--alter --entity-type topics --entity-name tools --add-config retention.ms=3600000,segment.bytes=2097152",
        [r"^Completed updating config for topic tools\.$"]),
    Row("configs", "--describe --entity-type topics --entity-name tools", [r"^  retention\.ms=3600000 ", r"^  segment\.bytes=2097152 ", r"^  max\.message\.bytes=2000000 "]),
    Row("configs", "--alter --entity-type topics --entity-name tools --delete-config retention.ms", [r"^Completed updating config for topic tools\.$"]),
    Row("configs", "--describe --entity-type topics --entity-name tools", [r"^  segment\.bytes=2097152 "], hides=[r"^  retention\.ms="]),
    Row("configs", "--alter --entity-type topics --entity-name tools --add-config no.such.config=1", exit_code=1, stderr=".*no\\.such\\.config.*"),
    Row("configs", "--alter --entity-type topics --entity-name tools --add-config retention.ms=soon", exit_code=1, stderr=".*retention\\.ms.*"),
    Row("configs", "--describe --entity-type topics", [r"^Dynamic configs for topic tools are:$"]),
    Row("configs", "--describe --entity-type brokers --entity-name {node}", [r"^Dynamic configs for broker {node} are:$"]),
    Row("configs", "--describe --all --entity-type brokers --entity-name {node}",
        [r"^All configs for broker {node} are:$", r"^  num\.partitions=1 sensitive=false synonyms=\{DEFAULT_CONFIG:num\.partitions=1\}$", r"^  node\.id={node} "]),
    Row("configs", "--alter --entity-type brokers --entity-default --add-config num.partitions=3",
        [r"^Completed updating default config for brokers in the cluster\.$"]),
    Row("configs", "--describe --entity-type brokers --entity-default",
        [r"^Default configs for brokers in the cluster are:$",
         r"^  num\.partitions=3 sensitive=false synonyms=\{DYNAMIC_DEFAULT_BROKER_CONFIG:num\.partitions=3\}$"]),
    Row("topics", "--create --topic wide", [r"^Created topic wide\.$"]),
    Row("topics", "--describe --topic wide", [r"PartitionCount: 3\t"]),
    Row("configs", "--alter --entity-type brokers --entity-default --delete-config num.partitions",
        [r"^Completed updating default config for brokers in the cluster\.$"]),
    Row("topics", "--create --topic narrow", [r"^Created topic narrow\.$"]),
    Row("topics", "--describe --topic narrow", [r"PartitionCount: 1\t"]),
    Row("topics", "--delete --topic 'wide|narrow'", [NOTHING]),
    Row("client-metrics", "--list", [NOTHING]),
    Row("topics", "--create --topic defaults", [r"^Created topic defaults\.$"]),
    Row("topic-configs", "--topic defaults", [r"^write\.caching: only here$"], hides=[rf"^(?!({'|'.join(DIFFERENCES)})$).+$"]),
    Row("topics", "--delete --topic defaults", [NOTHING]),
]

PARSED = "--reader-property parse.key=true --reader-property parse.headers=true --reader-property null.marker=NIL"
PRINTED = " ".join(f"--formatter-property print.{part}=true" for part in ("timestamp", "partition", "offset", "headers", "key", "value"))
RECORDS = [
    # keyed.txt is written by write_inputs in check.py.
    Row("topics", "--create --topic keyed --partitions 1", [r"^Created topic keyed\.$"]),
    Row("console-producer", f"--topic keyed {PARSED} --compression-codec zstd", stdin="{inputs}/keyed.txt"),
    Row("console-consumer", f"--topic keyed --partition 0 --offset earliest --max-messages 5 {PRINTED}",
        [r"^CreateTime:(?P<first_ms>\d{13})\tPartition:0\tOffset:0\ta:1,b:2\tkey-1\tfirst line$",
         r"^CreateTime:\d{13}\tPartition:0\tOffset:1\tNO_HEADERS\tkey-2\tsecond line$",
         r"^CreateTime:\d{13}\tPartition:0\tOffset:2\ta:3\tnull\tno key$",
         r"^CreateTime:\d{13}\tPartition:0\tOffset:3\tNO_HEADERS\tkey-4\tnull$",
         r"^CreateTime:(?P<last_ms>\d{13})\tPartition:0\tOffset:4\te:\tkey-5\t$"], stderr="Processed a total of 5 messages"),
    Row("console-consumer", "--topic keyed --partition 0 --offset 1 --max-messages 1", [r"\Asecond line\n\Z"], stderr="Processed a total of 1 messages"),
    Row("console-consumer", "--topic keyed --partition 0 --offset earliest --timeout-ms 2500 --isolation-level read_committed",
        [r"\Afirst line\nsecond line\nno key\nnull\n\n\Z"], stderr=".*Processed a total of 5 messages"),
    Row("console-producer", "--topic lines --compression-codec none --command-property acks=1", stdin="{inputs}/lines.txt", stderr=".*UNKNOWN_TOPIC_OR_PARTITION.*|"),
    Row("console-consumer", "--topic lines --partition 0 --offset earliest --max-messages {line_count}", [r"\A{lines}\Z"],
        stderr="Processed a total of {line_count} messages"),
    Row("get-offsets", "--topic keyed", [r"\Akeyed:0:5\n\Z"]),
    Row("get-offsets", "--topic keyed --time earliest", [r"\Akeyed:0:0\n\Z"]),
    Row("get-offsets", "--topic keyed --time latest", [r"\Akeyed:0:5\n\Z"]),
    Row("get-offsets", "--topic keyed --time max-timestamp", [r"\Akeyed:0:[0-4]\n\Z"]),
    Row("get-offsets", "--topic keyed --time {first_ms}", [r"\Akeyed:0:0\n\Z"]),
    Row("get-offsets", "--topic keyed --time earliest-local", [r"\Akeyed:0:0\n\Z"]),
    Row("get-offsets", "--topic keyed --time latest-tiered", [r"\A(keyed:0:-1\n)?\Z"]),
    Row("get-offsets", "--topic keyed --time earliest-pending-upload", [r"\A(keyed:0:-1\n)?\Z"]),
    Row("get-offsets", "--topic-partitions tools:1-3,keyed", [r"\Akeyed:0:5\ntools:1:0\ntools:2:0\n\Z"]),
    Row("delete-records", "--offset-json-file {inputs}/before-2.json", [r"^partition: keyed-0\tlow_watermark: 2$"]),
    Row("get-offsets", "--topic keyed --time earliest", [r"\Akeyed:0:2\n\Z"]),
    Row("console-consumer", "--topic keyed --partition 0 --offset earliest --max-messages 1", [r"\Ano key\n\Z"], stderr="Processed a total of 1 messages"),
    Row("delete-records", "--offset-json-file {inputs}/beyond.json", [r"partition: keyed-0\terror: .*OffsetOutOfRangeException"],
        stderr=".*OFFSET_OUT_OF_RANGE"),
    Row("delete-records", "--offset-json-file {inputs}/to-the-end.json", [r"^partition: keyed-0\tlow_watermark: 5$"]),
    Row("get-offsets", "--topic keyed --time earliest", [r"\Akeyed:0:5\n\Z"]),
    Row("log-dirs", "--describe --topic-list lines,tools",
        [r'"broker":{node},', r'"logDir":"[^"]*/data"', r'"error":null', r'"partition":"lines-0","size":[1-9]\d{5},"offsetLag":0,"isFuture":false',
         r'"partition":"tools-3","size":0,']),
    Row("log-dirs", "--describe --broker-list {node}", [r'"partition":"keyed-0"']),
    Row("topics", "--delete --topic tools", [NOTHING]),
    Row("topics", "--delete --topic tools", [r"Topic 'tools' does not exist"], exit_code=1, stderr=".*"),
    Row("topics", "--list", [r"\Akeyed\nlines\n\Z"]),
]

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")


def load(codec):
    """A topic of small segments, filled by the performance tool with this codec."""
    return [
        Row("topics", f"--create --topic load-{codec} --partitions 1 --config segment.bytes=1048576", [rf"^Created topic load-{codec}\.$"]),
        Row("producer-perf-test", f"--topic load-{codec} --num-records 4000 --record-size 1000 --throughput -1 "
            f"--command-property compression.type={codec} linger.ms=2", [r"^4000 records sent, .* 99\.9th\.$"]),
        Row("get-offsets", f"--topic load-{codec}", [rf"\Aload-{codec}:0:4000\n\Z"]),
    ]


GROUPS = "JoinGroup"
PERFORMANCE = [
    *[row for codec in CODECS for row in load(codec)],
    Row("e2e-latency", "--topic load-none --num-records 20 --producer-acks all --record-size 100", [r"^Percentiles: 50th = "],
        needs="OffsetCommit", why="after its warm-up it commits offsets"),
    Row("consumer-perf-test", "--topic load-none --num-records 4000 --timeout 5000 --hide-header", [r", 40[0-2]\d, "],
        needs=GROUPS, why="it subscribes to its topic, which takes a group, and has no flag for partitions"),
    Row("console-consumer", "--topic load-none --from-beginning --max-messages 10 --group tools", [r"^([A-Z]{1000}\n){10}\Z"], needs=GROUPS,
        stderr=".*Processed a total of 10 messages", why="without --partition it subscribes"),
]
