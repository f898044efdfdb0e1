// The driver of segmentio's kafka-go: what scripts/interop asks for, carried out by its Writer, its Client, and for tails its Reader
// without a group.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/segmentio/kafka-go"

	"ringmill/godriver"
)

// Longer than the broker takes to restart in the middle of a run.
const patience = 45 * time.Second

type driver struct {
	address string
	client  *kafka.Client
	writers map[string]*kafka.Writer
	tail    *kafka.Reader
}

func main() {
	address := os.Args[1]
	// What it knows of topics is asked for anew each time: they come and go here.
	transport := &kafka.Transport{MetadataTTL: time.Millisecond}
	client := &kafka.Client{Addr: kafka.TCP(address), Transport: transport}
	d := &driver{address: address, client: client, writers: map[string]*kafka.Writer{}}
	godriver.Serve(map[string]godriver.Operation{
		"hello":           d.hello,
		"create_topic":    d.createTopic,
		"alter_topic":     d.alterTopic,
		"describe_topic":  d.describeTopic,
		"add_partitions":  d.addPartitions,
		"delete_topic":    d.deleteTopic,
		"list_topics":     d.listTopics,
		"produce":         d.produce,
		"consume":         d.consume,
		"tail_start":      d.tailStart,
		"tail_read":       d.tailRead,
		"watermarks":      d.watermarks,
		"offset_for_time": d.offsetForTime,
		"bye":             d.bye,
	})
}

func deadline() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	time.AfterFunc(patience, cancel)
	return ctx
}

// again repeats what kafka-go does not: a request on a connection that the broker had closed, which nothing came of.
func again(try func() error) error {
	for began := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		err := try()
		// ListOffsets tells a lost connection as an unknown error of the partition.
		lost := errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.EPIPE) ||
			errors.Is(err, kafka.Unknown)
		if !lost || time.Since(began) > patience {
			return err
		}
	}
}

func (d *driver) hello(*godriver.Request) (godriver.Answer, error) {
	return godriver.Answer{
		"client": "kafka-go", "version": moduleVersion("github.com/segmentio/kafka-go"), "language": "Go",
		"codecs": []string{"none", "gzip", "snappy", "lz4", "zstd"}, "acks": []string{"0", "1", "all"},
		"can": []string{"headers", "null_value", "null_key", "timestamps", "read_timestamp", "by_timestamp", "tail", "create_topic", "delete_topic",
			"alter_topic", "describe_topic", "add_partitions", "list_topics"},
		"cannot": map[string]string{
			"idempotent": "its writer takes no producer id", "delete_records": "no such call",
			"append_time": "it passes over a batch's mark that the broker set its time",
		},
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
	wanted := kafka.TopicConfig{Topic: r.Topic, NumPartitions: int(r.Partitions), ReplicationFactor: 1}
	for name, value := range r.Configs {
		wanted.ConfigEntries = append(wanted.ConfigEntries, kafka.ConfigEntry{ConfigName: name, ConfigValue: value})
	}
	answer, err := d.client.CreateTopics(deadline(), &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{wanted}})
	if err != nil {
		return nil, err
	}
	return nil, answer.Errors[r.Topic]
}

func (d *driver) alterTopic(r *godriver.Request) (godriver.Answer, error) {
	resource := kafka.IncrementalAlterConfigsRequestResource{ResourceType: kafka.ResourceTypeTopic, ResourceName: r.Topic}
	for name, value := range r.Configs {
		change := kafka.IncrementalAlterConfigsRequestConfig{Name: name, Value: value, ConfigOperation: kafka.ConfigOperationSet}
		resource.Configs = append(resource.Configs, change)
	}
	request := &kafka.IncrementalAlterConfigsRequest{Resources: []kafka.IncrementalAlterConfigsRequestResource{resource}}
	answer, err := d.client.IncrementalAlterConfigs(deadline(), request)
	if err != nil {
		return nil, err
	}
	return nil, answer.Resources[0].Error
}

// metadata asks the broker itself: a transport answers from what it asked for before, however short the time to live.
func (d *driver) metadata(topics ...string) (*kafka.MetadataResponse, error) {
	transport := &kafka.Transport{}
	defer transport.CloseIdleConnections()
	client := &kafka.Client{Addr: d.client.Addr, Transport: transport}
	return client.Metadata(deadline(), &kafka.MetadataRequest{Topics: topics})
}

// partitions asks for a topic without making it.
func (d *driver) partitions(topic string) (int, error) {
	metadata, err := d.metadata(topic)
	if err != nil {
		return 0, err
	}
	return len(metadata.Topics[0].Partitions), metadata.Topics[0].Error
}

func (d *driver) describeTopic(r *godriver.Request) (godriver.Answer, error) {
	count, err := d.partitions(r.Topic)
	if err != nil {
		return nil, err
	}
	resource := kafka.DescribeConfigRequestResource{ResourceType: kafka.ResourceTypeTopic, ResourceName: r.Topic}
	described, err := d.client.DescribeConfigs(deadline(), &kafka.DescribeConfigsRequest{Resources: []kafka.DescribeConfigRequestResource{resource}})
	if err != nil {
		return nil, err
	}
	configs := map[string]string{}
	for _, config := range described.Resources[0].ConfigEntries {
		configs[config.ConfigName] = config.ConfigValue
	}
	return godriver.Answer{"partitions": count, "configs": configs}, described.Resources[0].Error
}

func (d *driver) addPartitions(r *godriver.Request) (godriver.Answer, error) {
	wanted := kafka.TopicPartitionsConfig{Name: r.Topic, Count: int32(r.Count)}
	answer, err := d.client.CreatePartitions(deadline(), &kafka.CreatePartitionsRequest{Topics: []kafka.TopicPartitionsConfig{wanted}})
	if err != nil {
		return nil, err
	}
	// A writer learns of new partitions seconds later; one that is made now knows them.
	return nil, errors.Join(answer.Errors[r.Topic], d.closeWriters())
}

func (d *driver) deleteTopic(r *godriver.Request) (godriver.Answer, error) {
	answer, err := d.client.DeleteTopics(deadline(), &kafka.DeleteTopicsRequest{Topics: []string{r.Topic}})
	if err != nil {
		return nil, err
	}
	return nil, errors.Join(answer.Errors[r.Topic], d.closeWriters())
}

func (d *driver) listTopics(*godriver.Request) (godriver.Answer, error) {
	metadata, err := d.metadata()
	if err != nil {
		return nil, err
	}
	names := []string{}
	for _, topic := range metadata.Topics {
		names = append(names, topic.Name)
	}
	return godriver.Answer{"topics": names}, nil
}

// offsets asks for the start, the end, and what a time leads to.
func (d *driver) offsets(r *godriver.Request, wanted ...kafka.OffsetRequest) (kafka.PartitionOffsets, error) {
	request := &kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{r.Topic: wanted}}
	var found kafka.PartitionOffsets
	err := again(func() error {
		answer, err := d.client.ListOffsets(deadline(), request)
		if err != nil {
			return err
		}
		for _, found = range answer.Topics[r.Topic] {
			if found.Partition == int(r.Partition) {
				return found.Error
			}
		}
		return fmt.Errorf("no answer for %s-%d", r.Topic, r.Partition)
	})
	return found, err
}

func (d *driver) watermarks(r *godriver.Request) (godriver.Answer, error) {
	found, err := d.offsets(r, kafka.FirstOffsetOf(int(r.Partition)), kafka.LastOffsetOf(int(r.Partition)))
	return godriver.Answer{"low": found.FirstOffset, "high": found.LastOffset}, err
}

func (d *driver) offsetForTime(r *godriver.Request) (godriver.Answer, error) {
	found, err := d.offsets(r, kafka.TimeOffsetOf(int(r.Partition), time.UnixMilli(r.TimestampMs)))
	for offset := range found.Offsets {
		if offset >= 0 {
			return godriver.Answer{"offset": offset}, err
		}
	}
	return godriver.Answer{"offset": nil}, err
}

func (d *driver) closeWriters() error {
	var failures []error
	for _, writer := range d.writers {
		failures = append(failures, writer.Close())
	}
	clear(d.writers)
	return errors.Join(failures...)
}

func (d *driver) bye(*godriver.Request) (godriver.Answer, error) {
	return nil, d.closeWriters()
}
