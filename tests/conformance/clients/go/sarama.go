package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sort"
	"strconv"
	"sync"
	"time"

	"github.com/IBM/sarama"
)

func saramaConfig() *sarama.Config {
	config := sarama.NewConfig()
	config.Version = sarama.MaxVersion
	config.Consumer.Return.Errors = true
	config.Producer.Return.Successes = true
	config.Producer.Partitioner = sarama.NewManualPartitioner
	config.Producer.MaxMessageBytes = 20_000_000
	return config
}

func saramaClient(bootstrap string) (operations, func(error) (int, bool)) {
	brokers := []string{bootstrap}
	client, err := sarama.NewClient(brokers, saramaConfig())
	if err != nil {
		panic(err)
	}
	admin, err := sarama.NewClusterAdminFromClient(client)
	if err != nil {
		panic(err)
	}
	code := func(err error) (int, bool) {
		var of_topic *sarama.TopicError
		if errors.As(err, &of_topic) {
			return int(of_topic.Err), true
		}
		var known sarama.KError
		if errors.As(err, &known) {
			return int(known), true
		}
		return 0, false
	}
	kind := func(r *request) sarama.ConfigResourceType {
		return map[string]sarama.ConfigResourceType{"topic": sarama.TopicResource, "broker": sarama.BrokerResource}[r.Type]
	}
	member := &saramaMember{brokers: brokers}
	return operations{
		"group_join":   member.join,
		"group_poll":   member.poll,
		"group_commit": member.commit,
		"group_leave":  member.leave,
		"version":      func(context.Context, *request) (object, error) { return moduleVersion("github.com/IBM/sarama"), nil },
		"produce":      func(_ context.Context, r *request) (object, error) { return saramaProduce(brokers, r) },
		"consume":      func(ctx context.Context, r *request) (object, error) { return saramaConsume(ctx, brokers, r) },
		"list_offset": func(_ context.Context, r *request) (object, error) {
			at := map[any]int64{"earliest": sarama.OffsetOldest, "latest": sarama.OffsetNewest}[r.At]
			if ms, ok := r.At.(float64); ok {
				at = int64(ms)
			}
			offset, err := client.GetOffset(r.Topic, r.Partition, at)
			return object{"offset": offset}, err
		},
		"create_topic": func(_ context.Context, r *request) (object, error) {
			detail := &sarama.TopicDetail{NumPartitions: int32(r.Partitions), ReplicationFactor: 1, ConfigEntries: r.Configs}
			return object{}, admin.CreateTopic(r.Topic, detail, false)
		},
		"list_topics": func(context.Context, *request) (object, error) {
			topics, err := admin.ListTopics()
			names := []string{}
			for name := range topics {
				names = append(names, name)
			}
			sort.Strings(names)
			return object{"topics": names}, err
		},
		"describe_topic": func(_ context.Context, r *request) (object, error) {
			topics, err := admin.DescribeTopics([]string{r.Topic})
			if err != nil {
				return nil, err
			}
			if topics[0].Err != sarama.ErrNoError {
				return nil, topics[0].Err
			}
			described := topics[0].Partitions
			sort.Slice(described, func(a, b int) bool { return described[a].ID < described[b].ID })
			partitions := []any{}
			for _, one := range described {
				partitions = append(partitions, []any{one.ID, one.Leader, one.Replicas, one.Isr})
			}
			return object{"partitions": partitions}, nil
		},
		"delete_topic": func(_ context.Context, r *request) (object, error) {
			return object{}, admin.DeleteTopic(r.Topic)
		},
		"create_partitions": func(_ context.Context, r *request) (object, error) {
			return object{}, admin.CreatePartitions(r.Topic, int32(r.Total), nil, false)
		},
		"delete_records": func(_ context.Context, r *request) (object, error) {
			return object{"low_watermark": nil}, admin.DeleteRecords(r.Topic, map[int32]int64{r.Partition: r.Before})
		},
		"describe_configs": func(_ context.Context, r *request) (object, error) {
			entries, err := admin.DescribeConfig(sarama.ConfigResource{Type: kind(r), Name: r.Name})
			configs := map[string]string{}
			for _, one := range entries {
				configs[one.Name] = one.Value
			}
			return object{"configs": configs}, err
		},
		"alter_configs": func(_ context.Context, r *request) (object, error) {
			entries := map[string]*string{}
			for name, value := range r.Set {
				entries[name] = &value
			}
			return object{}, admin.AlterConfig(kind(r), r.Name, entries, false)
		},
		"incremental_alter_configs": func(_ context.Context, r *request) (object, error) {
			entries := map[string]sarama.IncrementalAlterConfigsEntry{}
			for name, value := range r.Set {
				entries[name] = sarama.IncrementalAlterConfigsEntry{Operation: sarama.IncrementalAlterConfigsOperationSet, Value: &value}
			}
			for _, name := range r.Delete {
				entries[name] = sarama.IncrementalAlterConfigsEntry{Operation: sarama.IncrementalAlterConfigsOperationDelete}
			}
			return object{}, admin.IncrementalAlterConfig(kind(r), r.Name, entries, false)
		},
		"describe_cluster": func(context.Context, *request) (object, error) {
			found, controller, err := admin.DescribeCluster()
			described := []any{}
			for _, one := range found {
				host, port, _ := net.SplitHostPort(one.Addr())
				number, _ := strconv.Atoi(port)
				described = append(described, []any{one.ID(), host, number})
			}
			return object{"controller": controller, "brokers": described}, err
		},
		"describe_log_dirs": func(context.Context, *request) (object, error) {
			described, err := admin.DescribeLogDirs([]int32{1})
			sizes := map[string]int64{}
			for _, directory := range described[1] {
				for _, topic := range directory.Topics {
					for _, one := range topic.Partitions {
						sizes[fmt.Sprintf("%s-%d", topic.Topic, one.PartitionID)] = one.Size
					}
				}
			}
			return object{"partitions": sizes}, err
		},
		"list_groups": func(context.Context, *request) (object, error) {
			listed, err := admin.ListConsumerGroups()
			names := []string{}
			for name := range listed {
				names = append(names, name)
			}
			sort.Strings(names)
			return object{"groups": names}, err
		},
		"describe_group": func(_ context.Context, r *request) (object, error) {
			described, err := admin.DescribeConsumerGroups([]string{r.Group})
			if err != nil {
				return nil, err
			}
			if described[0].Err != sarama.ErrNoError {
				return nil, described[0].Err
			}
			return object{"state": described[0].State, "members": len(described[0].Members)}, nil
		},
		"group_offset": func(_ context.Context, r *request) (object, error) {
			fetched, err := admin.ListConsumerGroupOffsets(r.Group, map[string][]int32{r.Topic: {r.Partition}})
			if err != nil {
				return nil, err
			}
			found := fetched.GetBlock(r.Topic, r.Partition)
			if found == nil || found.Offset < 0 {
				return object{"offset": nil}, nil
			}
			return object{"offset": found.Offset}, nil
		},
		"alter_group_offset": func(_ context.Context, r *request) (object, error) {
			offsets := map[string]map[int32]sarama.OffsetAndMetadata{r.Topic: {r.Partition: {Offset: *r.Offset, LeaderEpoch: -1}}}
			altered, err := admin.AlterConsumerGroupOffsets(r.Group, offsets, nil)
			if err != nil {
				return nil, err
			}
			if failed := altered.Errors[r.Topic][r.Partition]; failed != sarama.ErrNoError {
				return nil, failed
			}
			return object{}, nil
		},
		"delete_group_offset": func(_ context.Context, r *request) (object, error) {
			return object{}, admin.DeleteConsumerGroupOffset(r.Group, r.Topic, r.Partition)
		},
		"delete_group": func(_ context.Context, r *request) (object, error) {
			return object{}, admin.DeleteConsumerGroup(r.Group)
		},
	}, code
}

func saramaProduce(brokers []string, r *request) (object, error) {
	config := saramaConfig()
	if r.Partition == byPartitioner {
		config.Producer.Partitioner = sarama.NewConfig().Producer.Partitioner
	}
	config.Producer.Compression = map[string]sarama.CompressionCodec{
		"none": sarama.CompressionNone, "gzip": sarama.CompressionGZIP, "snappy": sarama.CompressionSnappy,
		"lz4": sarama.CompressionLZ4, "zstd": sarama.CompressionZSTD,
	}[r.Codec]
	config.Producer.RequiredAcks = map[string]sarama.RequiredAcks{
		"0": sarama.NoResponse, "1": sarama.WaitForLocal, "all": sarama.WaitForAll,
	}[r.Acks]
	config.Producer.Idempotent = r.Idempotent
	if r.Idempotent {
		config.Net.MaxOpenRequests = 1
	}
	producer, err := sarama.NewSyncProducer(brokers, config)
	if err != nil {
		return nil, err
	}
	defer producer.Close()
	messages := []*sarama.ProducerMessage{}
	for _, one := range r.Records {
		message := &sarama.ProducerMessage{Topic: r.Topic, Partition: r.Partition, Timestamp: one.time()}
		// A nil Encoder is null; one of nil bytes is empty.
		if one.Key != nil {
			message.Key = sarama.ByteEncoder(decoded(one.Key))
		}
		if one.Value != nil {
			message.Value = sarama.ByteEncoder(decoded(one.Value))
		}
		for _, header := range one.Headers {
			message.Headers = append(message.Headers, sarama.RecordHeader{Key: []byte(header.name), Value: header.value})
		}
		messages = append(messages, message)
	}
	if err := producer.SendMessages(messages); err != nil {
		var all sarama.ProducerErrors
		if errors.As(err, &all) {
			return nil, all[0].Err
		}
		return nil, err
	}
	offsets := []int64{}
	for _, message := range messages {
		offsets = append(offsets, message.Offset)
	}
	return object{"offsets": offsets}, nil
}

func saramaConsume(ctx context.Context, brokers []string, r *request) (object, error) {
	client, err := sarama.NewClient(brokers, saramaConfig())
	if err != nil {
		return nil, err
	}
	defer client.Close()
	start := int64(sarama.OffsetOldest)
	if r.Offset != nil {
		start = *r.Offset
	}
	if r.Time != nil {
		if start, err = client.GetOffset(r.Topic, r.Partition, *r.Time); err != nil {
			return nil, err
		}
	}
	consumer, err := sarama.NewConsumerFromClient(client)
	if err != nil {
		return nil, err
	}
	defer consumer.Close()
	partition, err := consumer.ConsumePartition(r.Topic, r.Partition, start)
	if err != nil {
		return nil, err
	}
	defer partition.Close()
	records := []*record{}
	for len(records) < r.Count {
		select {
		case one := <-partition.Messages():
			headers := []*header{}
			for _, each := range one.Headers {
				headers = append(headers, &header{string(each.Key), each.Value})
			}
			records = append(records, answer(one.Offset, one.Timestamp, one.Key, one.Value, headers))
		case failed := <-partition.Errors():
			return nil, failed.Err
		case <-ctx.Done():
			return nil, fmt.Errorf("%d of %d records came", len(records), r.Count)
		}
	}
	return object{"records": records}, nil
}

// The member of a group that this process is at present: a session between two rebalances, and what its claims hand over.
type saramaMember struct {
	brokers  []string
	topic    string
	group    sarama.ConsumerGroup
	stop     context.CancelFunc
	stopped  chan struct{}
	messages chan *sarama.ConsumerMessage
	mutex    sync.Mutex
	session  sarama.ConsumerGroupSession
}

func (m *saramaMember) Setup(session sarama.ConsumerGroupSession) error {
	m.become(session)
	return nil
}

func (m *saramaMember) Cleanup(sarama.ConsumerGroupSession) error {
	m.become(nil)
	return nil
}

func (m *saramaMember) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for message := range claim.Messages() {
		select {
		case m.messages <- message:
		case <-session.Context().Done():
			return nil
		}
	}
	return nil
}

func (m *saramaMember) become(session sarama.ConsumerGroupSession) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.session = session
}

func (m *saramaMember) current() sarama.ConsumerGroupSession {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	return m.session
}

func (m *saramaMember) join(_ context.Context, r *request) (object, error) {
	config := saramaConfig()
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	config.Consumer.Offsets.AutoCommit.Enable = false
	config.Consumer.Group.Session.Timeout = milliseconds(r.SessionMs)
	config.Consumer.Group.Heartbeat.Interval = milliseconds(r.HeartbeatMs)
	config.Consumer.Group.InstanceId = r.Instance
	if r.Cooperative {
		config.Consumer.Group.Rebalance.GroupStrategies = []sarama.BalanceStrategy{sarama.NewBalanceStrategyCooperativeSticky()}
	}
	group, err := sarama.NewConsumerGroup(m.brokers, r.Group, config)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	m.topic, m.group, m.stop = r.Topic, group, stop
	m.messages, m.stopped = make(chan *sarama.ConsumerMessage), make(chan struct{})
	go func() {
		for err := range group.Errors() {
			fmt.Fprintln(os.Stderr, err)
		}
	}()
	go func() {
		defer close(m.stopped)
		for ctx.Err() == nil {
			if err := group.Consume(ctx, []string{r.Topic}, m); err != nil && ctx.Err() == nil {
				fmt.Fprintln(os.Stderr, err)
			}
		}
	}()
	return object{}, nil
}

func (m *saramaMember) poll(_ context.Context, r *request) (object, error) {
	records := [][4]any{}
	wait := milliseconds(r.Ms)
	for len(records) < 500 {
		select {
		case one := <-m.messages:
			if session := m.current(); session != nil {
				session.MarkMessage(one, "")
			}
			records = append(records, [4]any{one.Partition, one.Offset, encoded(one.Key), encoded(one.Value)})
			wait = handOver
			continue
		case <-time.After(wait):
		}
		break
	}
	owned := []int{}
	if session := m.current(); session != nil {
		for _, partition := range session.Claims()[m.topic] {
			owned = append(owned, int(partition))
		}
	}
	return polled(records, owned), nil
}

func (m *saramaMember) commit(context.Context, *request) (object, error) {
	session := m.current()
	if session == nil {
		return nil, sarama.ErrRebalanceInProgress
	}
	session.Commit() // what it could not commit is told by the group's errors alone
	return object{}, nil
}

func (m *saramaMember) leave(context.Context, *request) (object, error) {
	m.stop()
	<-m.stopped
	return object{}, m.group.Close()
}
