package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sort"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
)

// A transport keeps metadata for some seconds, and a topic that is not in it is unknown: each operation takes a new one.
func segmentio(bootstrap string) (operations, func(error) (int, bool)) {
	served, code := segmentioWith(bootstrap, nil)
	for name := range served {
		served[name] = func(ctx context.Context, r *request) (object, error) {
			transport := &kafka.Transport{}
			defer transport.CloseIdleConnections()
			fresh, _ := segmentioWith(bootstrap, transport)
			return fresh[name](ctx, r)
		}
	}
	member := &segmentioMember{bootstrap: bootstrap}
	served["group_join"], served["group_poll"] = member.join, member.poll
	served["group_commit"], served["group_leave"] = member.commit, member.leave
	return served, code
}

func segmentioWith(bootstrap string, transport *kafka.Transport) (operations, func(error) (int, bool)) {
	client := &kafka.Client{Addr: kafka.TCP(bootstrap), Timeout: timeout, Transport: transport}
	code := func(err error) (int, bool) {
		var known kafka.Error
		if errors.As(err, &known) {
			return int(known), true
		}
		var large kafka.MessageTooLargeError
		if errors.As(err, &large) {
			return int(kafka.MessageSizeTooLarge), true
		}
		return 0, false
	}
	kind := func(r *request) kafka.ResourceType {
		return map[string]kafka.ResourceType{"topic": kafka.ResourceTypeTopic, "broker": kafka.ResourceTypeBroker}[r.Type]
	}
	metadata := func(ctx context.Context, topics ...string) (*kafka.MetadataResponse, error) {
		return client.Metadata(ctx, &kafka.MetadataRequest{Topics: topics})
	}
	ids := func(brokers []kafka.Broker) []int {
		found := []int{}
		for _, one := range brokers {
			found = append(found, one.ID)
		}
		return found
	}
	return operations{
		"version": func(context.Context, *request) (object, error) {
			return moduleVersion("github.com/segmentio/kafka-go"), nil
		},
		"produce": func(ctx context.Context, r *request) (object, error) {
			return segmentioProduce(ctx, bootstrap, transport, r)
		},
		"consume": func(ctx context.Context, r *request) (object, error) { return segmentioConsume(ctx, bootstrap, r) },
		"list_offset": func(ctx context.Context, r *request) (object, error) {
			asked := kafka.FirstOffsetOf(int(r.Partition))
			if r.At == "latest" {
				asked = kafka.LastOffsetOf(int(r.Partition))
			}
			ms, timed := r.At.(float64)
			if timed {
				asked = kafka.TimeOffsetOf(int(r.Partition), time.UnixMilli(int64(ms)))
			}
			listed, err := client.ListOffsets(ctx, &kafka.ListOffsetsRequest{
				Topics: map[string][]kafka.OffsetRequest{r.Topic: {asked}},
			})
			if err != nil {
				return nil, err
			}
			found := listed.Topics[r.Topic][0]
			switch {
			case timed:
				for offset := range found.Offsets {
					return object{"offset": offset}, found.Error
				}
				return nil, first(found.Error, errors.New("no offset"))
			case r.At == "latest":
				return object{"offset": found.LastOffset}, found.Error
			default:
				return object{"offset": found.FirstOffset}, found.Error
			}
		},
		"create_topic": func(ctx context.Context, r *request) (object, error) {
			topic := kafka.TopicConfig{Topic: r.Topic, NumPartitions: r.Partitions, ReplicationFactor: 1}
			for name, value := range r.Configs {
				topic.ConfigEntries = append(topic.ConfigEntries, kafka.ConfigEntry{ConfigName: name, ConfigValue: *value})
			}
			created, err := client.CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{topic}})
			if err != nil {
				return nil, err
			}
			return object{}, created.Errors[r.Topic]
		},
		"list_topics": func(ctx context.Context, r *request) (object, error) {
			cluster, err := metadata(ctx)
			if err != nil {
				return nil, err
			}
			names := []string{}
			for _, topic := range cluster.Topics {
				names = append(names, topic.Name)
			}
			sort.Strings(names)
			return object{"topics": names}, nil
		},
		"describe_topic": func(ctx context.Context, r *request) (object, error) {
			cluster, err := metadata(ctx, r.Topic)
			if err != nil {
				return nil, err
			}
			described := cluster.Topics[0].Partitions
			sort.Slice(described, func(a, b int) bool { return described[a].ID < described[b].ID })
			partitions := []any{}
			for _, one := range described {
				partitions = append(partitions, []any{one.ID, one.Leader.ID, ids(one.Replicas), ids(one.Isr)})
			}
			return object{"partitions": partitions}, cluster.Topics[0].Error
		},
		"delete_topic": func(ctx context.Context, r *request) (object, error) {
			deleted, err := client.DeleteTopics(ctx, &kafka.DeleteTopicsRequest{Topics: []string{r.Topic}})
			if err != nil {
				return nil, err
			}
			return object{}, deleted.Errors[r.Topic]
		},
		"create_partitions": func(ctx context.Context, r *request) (object, error) {
			created, err := client.CreatePartitions(ctx, &kafka.CreatePartitionsRequest{
				Topics: []kafka.TopicPartitionsConfig{{Name: r.Topic, Count: int32(r.Total)}},
			})
			if err != nil {
				return nil, err
			}
			return object{}, created.Errors[r.Topic]
		},
		"describe_configs": func(ctx context.Context, r *request) (object, error) {
			described, err := client.DescribeConfigs(ctx, &kafka.DescribeConfigsRequest{
				Resources: []kafka.DescribeConfigRequestResource{{ResourceType: kind(r), ResourceName: r.Name}},
			})
			if err != nil {
				return nil, err
			}
			configs := map[string]string{}
			for _, one := range described.Resources[0].ConfigEntries {
				configs[one.ConfigName] = one.ConfigValue
			}
			return object{"configs": configs}, described.Resources[0].Error
		},
		"alter_configs": func(ctx context.Context, r *request) (object, error) {
			resource := kafka.AlterConfigRequestResource{ResourceType: kind(r), ResourceName: r.Name}
			for name, value := range r.Set {
				resource.Configs = append(resource.Configs, kafka.AlterConfigRequestConfig{Name: name, Value: value})
			}
			altered, err := client.AlterConfigs(ctx, &kafka.AlterConfigsRequest{Resources: []kafka.AlterConfigRequestResource{resource}})
			if err != nil {
				return nil, err
			}
			for _, failed := range altered.Errors {
				err = first(err, failed)
			}
			return object{}, err
		},
		"incremental_alter_configs": func(ctx context.Context, r *request) (object, error) {
			resource := kafka.IncrementalAlterConfigsRequestResource{ResourceType: kind(r), ResourceName: r.Name}
			for name, value := range r.Set {
				change := kafka.IncrementalAlterConfigsRequestConfig{Name: name, Value: value, ConfigOperation: kafka.ConfigOperationSet}
				resource.Configs = append(resource.Configs, change)
			}
			for _, name := range r.Delete {
				change := kafka.IncrementalAlterConfigsRequestConfig{Name: name, ConfigOperation: kafka.ConfigOperationDelete}
				resource.Configs = append(resource.Configs, change)
			}
			altered, err := client.IncrementalAlterConfigs(ctx, &kafka.IncrementalAlterConfigsRequest{
				Resources: []kafka.IncrementalAlterConfigsRequestResource{resource},
			})
			if err != nil {
				return nil, err
			}
			return object{}, altered.Resources[0].Error
		},
		"list_groups": func(ctx context.Context, r *request) (object, error) {
			listed, err := client.ListGroups(ctx, &kafka.ListGroupsRequest{})
			if err != nil {
				return nil, err
			}
			names := []string{}
			for _, group := range listed.Groups {
				names = append(names, group.GroupID)
			}
			sort.Strings(names)
			return object{"groups": names}, listed.Error
		},
		"describe_group": func(ctx context.Context, r *request) (object, error) {
			described, err := client.DescribeGroups(ctx, &kafka.DescribeGroupsRequest{GroupIDs: []string{r.Group}})
			if err != nil {
				return nil, err
			}
			group := described.Groups[0]
			return object{"state": group.GroupState, "members": len(group.Members)}, group.Error
		},
		"group_offset": func(ctx context.Context, r *request) (object, error) {
			fetched, err := client.OffsetFetch(ctx, &kafka.OffsetFetchRequest{
				GroupID: r.Group, Topics: map[string][]int{r.Topic: {int(r.Partition)}},
			})
			if err != nil {
				return nil, err
			}
			found := fetched.Topics[r.Topic][0]
			if found.CommittedOffset < 0 {
				return object{"offset": nil}, first(fetched.Error, found.Error)
			}
			return object{"offset": found.CommittedOffset}, first(fetched.Error, found.Error)
		},
		"alter_group_offset": func(ctx context.Context, r *request) (object, error) {
			committed, err := client.OffsetCommit(ctx, &kafka.OffsetCommitRequest{
				GroupID: r.Group, GenerationID: -1,
				Topics: map[string][]kafka.OffsetCommit{r.Topic: {{Partition: int(r.Partition), Offset: *r.Offset}}},
			})
			if err != nil {
				return nil, err
			}
			return object{}, committed.Topics[r.Topic][0].Error
		},
		"delete_group_offset": func(ctx context.Context, r *request) (object, error) {
			deleted, err := client.OffsetDelete(ctx, &kafka.OffsetDeleteRequest{
				GroupID: r.Group, Topics: map[string][]int{r.Topic: {int(r.Partition)}},
			})
			if err != nil {
				return nil, err
			}
			return object{}, first(deleted.Error, deleted.Topics[r.Topic][0].Error)
		},
		"delete_group": func(ctx context.Context, r *request) (object, error) {
			deleted, err := client.DeleteGroups(ctx, &kafka.DeleteGroupsRequest{GroupIDs: []string{r.Group}})
			if err != nil {
				return nil, err
			}
			return object{}, deleted.Errors[r.Group]
		},
		"describe_cluster": func(ctx context.Context, r *request) (object, error) {
			cluster, err := metadata(ctx)
			if err != nil {
				return nil, err
			}
			brokers := []any{}
			for _, one := range cluster.Brokers {
				brokers = append(brokers, []any{one.ID, one.Host, one.Port})
			}
			return object{"cluster_id": cluster.ClusterID, "controller": cluster.Controller.ID, "brokers": brokers}, nil
		},
	}, code
}

func segmentioProduce(ctx context.Context, bootstrap string, transport *kafka.Transport, r *request) (object, error) {
	offsets := make([]int64, 0, len(r.Records))
	var completed sync.Mutex
	writer := &kafka.Writer{
		Addr:      kafka.TCP(bootstrap),
		Transport: transport,
		Topic:     r.Topic,
		Compression: map[string]kafka.Compression{
			"none": 0, "gzip": kafka.Gzip, "snappy": kafka.Snappy, "lz4": kafka.Lz4, "zstd": kafka.Zstd,
		}[r.Codec],
		RequiredAcks: map[string]kafka.RequiredAcks{"0": kafka.RequireNone, "1": kafka.RequireOne, "all": kafka.RequireAll}[r.Acks],
		Balancer:     kafka.BalancerFunc(func(kafka.Message, ...int) int { return int(r.Partition) }),
		BatchTimeout: 50 * time.Millisecond,
		BatchBytes:   20_000_000,
		Completion: func(messages []kafka.Message, err error) {
			completed.Lock()
			defer completed.Unlock()
			for _, message := range messages {
				offsets = append(offsets, message.Offset)
			}
		},
	}
	if r.Partition == byPartitioner {
		writer.Balancer = kafka.Murmur2Balancer{} // left alone it takes turns, whatever the keys
	}
	messages := []kafka.Message{}
	for _, one := range r.Records {
		message := kafka.Message{Key: decoded(one.Key), Value: decoded(one.Value), Time: one.time()}
		for _, header := range one.Headers {
			message.Headers = append(message.Headers, kafka.Header{Key: header.name, Value: header.value})
		}
		messages = append(messages, message)
	}
	err := writer.WriteMessages(ctx, messages...)
	var each kafka.WriteErrors
	if errors.As(err, &each) {
		err = first(each...)
	}
	err = first(err, writer.Close())
	return object{"offsets": offsets}, err
}

func segmentioConsume(ctx context.Context, bootstrap string, r *request) (object, error) {
	reader := kafka.NewReader(kafka.ReaderConfig{
		Brokers: []string{bootstrap}, Topic: r.Topic, Partition: int(r.Partition), MaxBytes: 10_000_000, MaxWait: time.Second,
	})
	defer reader.Close()
	err := reader.SetOffset(kafka.FirstOffset)
	if r.Offset != nil {
		err = reader.SetOffset(*r.Offset)
	}
	if r.Time != nil {
		err = reader.SetOffsetAt(ctx, time.UnixMilli(*r.Time))
	}
	if err != nil {
		return nil, err
	}
	records := []*record{}
	for len(records) < r.Count {
		one, err := reader.ReadMessage(ctx)
		if err != nil {
			return nil, fmt.Errorf("%d of %d records came: %w", len(records), r.Count, err)
		}
		headers := []*header{}
		for _, each := range one.Headers {
			headers = append(headers, &header{each.Key, each.Value})
		}
		records = append(records, answer(one.Offset, one.Time, one.Key, one.Value, headers))
	}
	return object{"records": records}, nil
}

// The member of a group that this process is at present: a generation between two rebalances, and a reader for each of its partitions.
type segmentioMember struct {
	bootstrap  string
	topic      string
	group      *kafka.ConsumerGroup
	stop       context.CancelFunc
	messages   chan kafka.Message
	mutex      sync.Mutex
	generation *kafka.Generation
	next       map[int]int64 // partition -> offset behind what was handed out of it in this generation
}

func (m *segmentioMember) join(_ context.Context, r *request) (object, error) {
	group, err := kafka.NewConsumerGroup(kafka.ConsumerGroupConfig{
		ID: r.Group, Brokers: []string{m.bootstrap}, Topics: []string{r.Topic}, StartOffset: kafka.FirstOffset,
		SessionTimeout: milliseconds(r.SessionMs), HeartbeatInterval: milliseconds(r.HeartbeatMs),
	})
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	m.topic, m.group, m.stop, m.messages = r.Topic, group, stop, make(chan kafka.Message)
	go func() {
		for {
			generation, err := group.Next(ctx)
			if ctx.Err() != nil || errors.Is(err, kafka.ErrGroupClosed) {
				return
			}
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				continue
			}
			m.begin(generation)
		}
	}()
	return object{}, nil
}

func (m *segmentioMember) begin(generation *kafka.Generation) {
	m.mutex.Lock()
	m.generation, m.next = generation, map[int]int64{}
	m.mutex.Unlock()
	generation.Start(func(ctx context.Context) {
		<-ctx.Done()
		m.mutex.Lock()
		defer m.mutex.Unlock()
		m.generation = nil
	})
	for _, assigned := range generation.Assignments[m.topic] {
		generation.Start(func(ctx context.Context) {
			reader := kafka.NewReader(kafka.ReaderConfig{
				Brokers: []string{m.bootstrap}, Topic: m.topic, Partition: assigned.ID, MaxWait: milliseconds(200),
			})
			defer reader.Close()
			if err := reader.SetOffset(assigned.Offset); err != nil {
				panic(err)
			}
			for {
				one, err := reader.ReadMessage(ctx)
				if err != nil {
					return
				}
				select {
				case m.messages <- one:
				case <-ctx.Done():
					return
				}
			}
		})
	}
}

func (m *segmentioMember) poll(_ context.Context, r *request) (object, error) {
	records := [][4]any{}
	wait := milliseconds(r.Ms)
	for len(records) < 500 {
		select {
		case one := <-m.messages:
			m.mutex.Lock()
			m.next[one.Partition] = one.Offset + 1
			m.mutex.Unlock()
			records = append(records, [4]any{one.Partition, one.Offset, encoded(one.Key), encoded(one.Value)})
			wait = handOver
			continue
		case <-time.After(wait):
		}
		break
	}
	m.mutex.Lock()
	defer m.mutex.Unlock()
	owned := []int{}
	if m.generation != nil {
		for _, assigned := range m.generation.Assignments[m.topic] {
			owned = append(owned, assigned.ID)
		}
	}
	return polled(records, owned), nil
}

func (m *segmentioMember) commit(context.Context, *request) (object, error) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	if m.generation == nil {
		return nil, kafka.RebalanceInProgress
	}
	return object{}, m.generation.CommitOffsets(map[string]map[int]int64{m.topic: m.next})
}

func (m *segmentioMember) leave(context.Context, *request) (object, error) {
	m.stop()
	return object{}, m.group.Close()
}
