// The driver of sarama: what scripts/interop asks for, carried out by its SyncProducer, its Consumer without a group, and its
// ClusterAdmin; and with `member` for its first argument, a group member.
//
// SARAMA_VERSION=1.0.0 makes it what Telegraf and Filebeat embed: requests of that Kafka version, and no ApiVersions before them.
package main

import (
	"fmt"
	"os"
	"runtime/debug"
	"sort"
	"time"

	"github.com/IBM/sarama"

	"ringmill/godriver"
)

// Longer than the broker takes to restart in the middle of a run.
const patience = 45 * time.Second

// Kafka's default of max.message.bytes.
const batchBytesMax = 1_048_588

type driver struct {
	address   string
	version   sarama.KafkaVersion
	client    sarama.Client
	admin     sarama.ClusterAdmin
	consumer  sarama.Consumer
	tailing   sarama.Consumer
	producers map[string]sarama.SyncProducer
	tail      sarama.PartitionConsumer
}

func main() {
	if os.Args[1] == "member" {
		joinGroup(os.Args[2], os.Args[3])
		return
	}
	d := &driver{address: os.Args[1], version: sarama.MaxVersion, producers: map[string]sarama.SyncProducer{}}
	if text := os.Getenv("SARAMA_VERSION"); text != "" {
		d.version = must(sarama.ParseKafkaVersion(text))
	}
	d.client = must(sarama.NewClient([]string{d.address}, d.config()))
	d.admin = must(sarama.NewClusterAdminFromClient(d.client))
	// A client of its own: requests wait behind a fetch that was sent before them on the same connection.
	d.consumer = must(sarama.NewConsumer([]string{d.address}, d.config()))
	long := d.config()
	// So long that a broker that answers only at its end is found out by the tail.
	long.Consumer.MaxWaitTime = 5 * time.Second
	d.tailing = must(sarama.NewConsumer([]string{d.address}, long))
	godriver.Serve(map[string]godriver.Operation{
		"hello":           d.hello,
		"create_topic":    d.createTopic,
		"alter_topic":     d.alterTopic,
		"describe_topic":  d.describeTopic,
		"add_partitions":  d.addPartitions,
		"delete_records":  d.deleteRecords,
		"delete_topic":    d.deleteTopic,
		"list_topics":     d.listTopics,
		"produce":         d.produce,
		"consume":         d.consume,
		"tail_start":      d.tailStart,
		"tail_read":       d.tailRead,
		"watermarks":      d.watermarks,
		"offset_for_time": d.offsetForTime,
		"extras":          d.extras,
		"bye":             d.bye,
	})
}

func must[T any](value T, err error) T {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return value
}

// old tells whether it plays a client that was configured for an old Kafka.
func (d *driver) old() bool { return !d.version.IsAtLeast(sarama.V2_0_0_0) }

// config is what all clients have in common.
func (d *driver) config() *sarama.Config {
	config := sarama.NewConfig()
	config.Version = d.version
	config.ApiVersionsRequest = !d.old()
	config.Metadata.Retry.Backoff = 250 * time.Millisecond
	config.Metadata.Retry.Max = int(patience / config.Metadata.Retry.Backoff)
	config.Consumer.Return.Errors = true
	config.Consumer.Retry.Backoff = 250 * time.Millisecond
	config.Consumer.Fetch.Default = 4 << 20
	// Closing a reader waits for the fetch under way.
	config.Consumer.MaxWaitTime = 100 * time.Millisecond
	config.Producer.Return.Successes = true
	config.Producer.Partitioner = sarama.NewManualPartitioner
	config.Producer.MaxMessageBytes = batchBytesMax
	config.Producer.Retry.Backoff = 250 * time.Millisecond
	config.Producer.Retry.Max = int(patience / config.Producer.Retry.Backoff)
	// More than one request in flight could change the order when a request is repeated.
	config.Net.MaxOpenRequests = 1
	return config
}

func (d *driver) hello(*godriver.Request) (godriver.Answer, error) {
	name, cannot := "sarama", map[string]string{}
	codecs := []string{"none", "gzip", "snappy", "lz4", "zstd"}
	can := []string{"idempotent", "headers", "null_value", "null_key", "timestamps", "read_timestamp", "by_timestamp", "tail", "create_topic",
		"extras", "delete_topic", "alter_topic", "list_topics", "add_partitions", "delete_records", "group:range"}
	if d.old() {
		name += " at " + d.version.String()
		codecs = codecs[:4]
		cannot["zstd"] = "needs a configured version of 2.1.0"
		cannot["describe_topic"] = "sends DescribeConfigs version 0, which Kafka 4 does not have either"
	} else {
		can = append(can, "describe_topic", "group:sticky", "group:cooperative-sticky", "group:static")
	}
	return godriver.Answer{
		"client": name, "version": moduleVersion("github.com/IBM/sarama"), "language": "Go",
		"codecs": codecs, "acks": []string{"0", "1", "all"},
		"can": can, "cannot": cannot,
	}, nil
}

func moduleVersion(path string) string {
	build, _ := debug.ReadBuildInfo()
	for _, module := range build.Deps {
		if module.Path == path {
			return module.Version[1:]
		}
	}
	return "unknown"
}

func (d *driver) createTopic(r *godriver.Request) (godriver.Answer, error) {
	detail := &sarama.TopicDetail{NumPartitions: r.Partitions, ReplicationFactor: 1, ConfigEntries: map[string]*string{}}
	for name, value := range r.Configs {
		detail.ConfigEntries[name] = &value
	}
	if err := d.admin.CreateTopic(r.Topic, detail, false); err != nil {
		return nil, err
	}
	return nil, d.client.RefreshMetadata(r.Topic)
}

func (d *driver) alterTopic(r *godriver.Request) (godriver.Answer, error) {
	if d.old() {
		return nil, d.replaceSettings(r)
	}
	changes := map[string]sarama.IncrementalAlterConfigsEntry{}
	for name, value := range r.Configs {
		changes[name] = sarama.IncrementalAlterConfigsEntry{Operation: sarama.IncrementalAlterConfigsOperationSet, Value: &value}
	}
	return nil, d.admin.IncrementalAlterConfig(sarama.TopicResource, r.Topic, changes, false)
}

// Before Kafka 2.3 a topic's settings could only be replaced as a whole.
func (d *driver) replaceSettings(r *godriver.Request) error {
	state := map[string]*string{}
	for name, value := range r.Configs {
		state[name] = &value
	}
	return d.admin.AlterConfig(sarama.TopicResource, r.Topic, state, false)
}

func (d *driver) describeTopic(r *godriver.Request) (godriver.Answer, error) {
	topics, err := d.admin.DescribeTopics([]string{r.Topic})
	if err != nil {
		return nil, err
	}
	if topics[0].Err != sarama.ErrNoError {
		return nil, topics[0].Err
	}
	described, err := d.admin.DescribeConfig(sarama.ConfigResource{Type: sarama.TopicResource, Name: r.Topic})
	if err != nil {
		return nil, err
	}
	configs := map[string]string{}
	for _, config := range described {
		configs[config.Name] = config.Value
	}
	return godriver.Answer{"partitions": len(topics[0].Partitions), "configs": configs}, nil
}

func (d *driver) addPartitions(r *godriver.Request) (godriver.Answer, error) {
	if err := d.admin.CreatePartitions(r.Topic, int32(r.Count), nil, false); err != nil {
		return nil, err
	}
	// A producer learns of new partitions minutes later; one that is made now knows them.
	d.closeProducers()
	return nil, d.client.RefreshMetadata(r.Topic)
}

func (d *driver) deleteRecords(r *godriver.Request) (godriver.Answer, error) {
	if err := d.admin.DeleteRecords(r.Topic, map[int32]int64{r.Partition: r.Before}); err != nil {
		return nil, err
	}
	low, err := d.client.GetOffset(r.Topic, r.Partition, sarama.OffsetOldest)
	return godriver.Answer{"low": low}, err
}

func (d *driver) deleteTopic(r *godriver.Request) (godriver.Answer, error) {
	return nil, d.admin.DeleteTopic(r.Topic)
}

func (d *driver) listTopics(*godriver.Request) (godriver.Answer, error) {
	names, err := d.topicNames()
	sort.Strings(names)
	return godriver.Answer{"topics": names}, err
}

func (d *driver) topicNames() ([]string, error) {
	if d.old() {
		// ClusterAdmin.ListTopics describes settings too, see hello.
		if err := d.client.RefreshMetadata(); err != nil {
			return nil, err
		}
		return d.client.Topics()
	}
	names := []string{}
	topics, err := d.admin.ListTopics()
	for name := range topics {
		names = append(names, name)
	}
	return names, err
}

func (d *driver) watermarks(r *godriver.Request) (godriver.Answer, error) {
	low, err := d.client.GetOffset(r.Topic, r.Partition, sarama.OffsetOldest)
	if err != nil {
		return nil, err
	}
	high, err := d.client.GetOffset(r.Topic, r.Partition, sarama.OffsetNewest)
	return godriver.Answer{"low": low, "high": high}, err
}

func (d *driver) offsetForTime(r *godriver.Request) (godriver.Answer, error) {
	offset, err := d.client.GetOffset(r.Topic, r.Partition, r.TimestampMs)
	if err != nil || offset < 0 {
		return godriver.Answer{"offset": nil}, err
	}
	return godriver.Answer{"offset": offset}, nil
}

func (d *driver) closeProducers() {
	for _, producer := range d.producers {
		producer.Close()
	}
	clear(d.producers)
}

func (d *driver) bye(*godriver.Request) (godriver.Answer, error) {
	d.closeProducers()
	return nil, nil
}
