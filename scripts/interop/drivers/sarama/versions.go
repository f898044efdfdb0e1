// Every version of Kafka that sarama can be configured for, with and without asking the broker what it knows.
package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/IBM/sarama"

	"ringmill/godriver"
)

func (d *driver) eachVersion() []godriver.Check {
	asks := godriver.NewCheck("every version of Kafka", func() error { return d.versions(true) })
	silent := godriver.NewCheck("every version of Kafka, no ApiVersions", func() error { return d.versions(false) })
	return []godriver.Check{asks, silent}
}

func (d *driver) versions(asks bool) error {
	var failures []string
	for i, version := range sarama.SupportedVersions {
		// Idempotent producers begin at 0.11; of each minor version the first release stands for all.
		if !version.IsAtLeast(sarama.V0_11_0_0) || version.String() != firstRelease(version) {
			continue
		}
		if err := d.round(fmt.Sprintf("version-%d-%t", i, asks), version, asks); err != nil {
			failures = append(failures, fmt.Sprintf("%v: %v", version, err))
		}
	}
	if failures != nil {
		return errors.New(strings.Join(failures, "; "))
	}
	return nil
}

func firstRelease(version sarama.KafkaVersion) string {
	parts := strings.Split(version.String(), ".")
	parts[len(parts)-1] = "0"
	return strings.Join(parts, ".")
}

// round writes, reads, and administers one topic as a client of that version.
func (d *driver) round(topic string, version sarama.KafkaVersion, asks bool) error {
	config := d.config()
	config.Version, config.ApiVersionsRequest = version, asks
	config.Producer.Idempotent, config.Producer.RequiredAcks = true, sarama.WaitForAll
	// A closed connection is an answer here, not a reason to try again.
	config.Metadata.Retry.Max, config.Admin.Retry.Max, config.Producer.Retry.Max = 2, 1, 1
	client, err := sarama.NewClient([]string{d.address}, config)
	if err != nil {
		return err
	}
	admin, err := sarama.NewClusterAdminFromClient(client)
	if err != nil {
		return err
	}
	defer admin.Close()
	if err := admin.CreateTopic(topic, &sarama.TopicDetail{NumPartitions: 1, ReplicationFactor: 1}, false); err != nil {
		return fmt.Errorf("create: %w", err)
	}
	if err := writeAndRead(client, topic); err != nil {
		return err
	}
	return administer(client, admin, topic, version)
}

func writeAndRead(client sarama.Client, topic string) error {
	producer, err := sarama.NewSyncProducerFromClient(client)
	if err != nil {
		return err
	}
	defer producer.Close()
	for want := range int64(3) {
		message := &sarama.ProducerMessage{Topic: topic, Value: sarama.StringEncoder(fmt.Sprint(want))}
		if _, offset, err := producer.SendMessage(message); err != nil || offset != want {
			return fmt.Errorf("produce: offset %d: %w", offset, err)
		}
	}
	consumer, err := sarama.NewConsumerFromClient(client)
	if err != nil {
		return err
	}
	reader, err := consumer.ConsumePartition(topic, 0, sarama.OffsetOldest)
	if err != nil {
		return fmt.Errorf("consume: %w", err)
	}
	defer reader.Close()
	for want := range int64(3) {
		select {
		case message := <-reader.Messages():
			if message.Offset != want || string(message.Value) != fmt.Sprint(want) {
				return fmt.Errorf("consume: %+v", message)
			}
		case failure := <-reader.Errors():
			return fmt.Errorf("consume: %w", failure)
		case <-time.After(5 * time.Second):
			return errors.New("consume: nothing came")
		}
	}
	return nil
}

func administer(client sarama.Client, admin sarama.ClusterAdmin, topic string, version sarama.KafkaVersion) error {
	if end, err := client.GetOffset(topic, 0, sarama.OffsetNewest); err != nil || end != 3 {
		return fmt.Errorf("offsets: %d: %w", end, err)
	}
	if err := admin.DeleteRecords(topic, map[int32]int64{0: 2}); err != nil {
		return fmt.Errorf("delete records: %w", err)
	}
	if low, err := client.GetOffset(topic, 0, sarama.OffsetOldest); err != nil || low != 2 {
		return fmt.Errorf("offsets after deleting: %d: %w", low, err)
	}
	if version.IsAtLeast(sarama.V1_0_0_0) {
		if err := admin.CreatePartitions(topic, 2, nil, false); err != nil {
			return fmt.Errorf("create partitions: %w", err)
		}
	}
	// Version 0 of DescribeLogDirs and of DescribeConfigs, which older ones send, went with Kafka 4.
	if version.IsAtLeast(sarama.V2_0_0_0) {
		if _, err := admin.DescribeLogDirs([]int32{client.Brokers()[0].ID()}); err != nil {
			return fmt.Errorf("log directories: %w", err)
		}
	}
	soon := "3600000"
	if err := admin.AlterConfig(sarama.TopicResource, topic, map[string]*string{"retention.ms": &soon}, false); err != nil {
		return fmt.Errorf("alter: %w", err)
	}
	if version.IsAtLeast(sarama.V2_3_0_0) {
		change := map[string]sarama.IncrementalAlterConfigsEntry{"retention.ms": {Operation: sarama.IncrementalAlterConfigsOperationSet, Value: &soon}}
		if err := admin.IncrementalAlterConfig(sarama.TopicResource, topic, change, false); err != nil {
			return fmt.Errorf("alter incrementally: %w", err)
		}
	}
	if version.IsAtLeast(sarama.V1_1_0_0) {
		topics, err := admin.ListTopics()
		if set := topics[topic].ConfigEntries["retention.ms"]; err != nil || set == nil || *set != soon {
			return fmt.Errorf("describe: %+v: %w", topics[topic], err)
		}
	}
	if err := admin.DeleteTopic(topic); err != nil {
		return fmt.Errorf("delete: %w", err)
	}
	return nil
}
