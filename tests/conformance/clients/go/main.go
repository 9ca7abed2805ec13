// The drivers of the Go clients: a request a line on stdin, its answer a line on stdout, as ../python/driver.py says.
package main

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"time"
)

const timeout = 30 * time.Second

type record struct {
	Offset    int64     `json:"offset"`
	Timestamp *int64    `json:"timestamp"`
	Key       *string   `json:"key"`
	Value     *string   `json:"value"`
	Headers   []*header `json:"headers"`
}

// A header travels as [name, value].
type header struct {
	name  string
	value []byte
}

func (h *header) UnmarshalJSON(text []byte) error {
	var pair [2]*string
	if err := json.Unmarshal(text, &pair); err != nil {
		return err
	}
	h.name, h.value = *pair[0], decoded(pair[1])
	return nil
}

func (h *header) MarshalJSON() ([]byte, error) {
	return json.Marshal([2]any{h.name, encoded(h.value)})
}

type request struct {
	Op         string             `json:"op"`
	Topic      string             `json:"topic"`
	Partition  int32              `json:"partition"`
	Codec      string             `json:"codec"`
	Acks       string             `json:"acks"`
	Idempotent bool               `json:"idempotent"`
	Records    []*record          `json:"records"`
	Count      int                `json:"count"`
	Offset     *int64             `json:"offset"`
	Time       *int64             `json:"time"`
	At         any                `json:"at"`
	Partitions int                `json:"partitions"`
	Configs    map[string]*string `json:"configs"`
	Total      int                `json:"total"`
	Before     int64              `json:"before"`
	Type       string             `json:"type"`
	Name       string             `json:"name"`
	Set        map[string]string  `json:"set"`
	Delete     []string           `json:"delete"`

	Group       string `json:"group"`
	SessionMs   int    `json:"session_ms"`
	HeartbeatMs int    `json:"heartbeat_ms"`
	Instance    string `json:"instance"`
	Cooperative bool   `json:"cooperative"`
	Ms          int    `json:"ms"`
}

// How long is waited for one more record of those that a client's own goroutines hand over one by one.
const handOver = 10 * time.Millisecond

// What a request's partition is where it is null: the client's partitioner chooses.
const byPartitioner = -1

func milliseconds(count int) time.Duration {
	return time.Duration(count) * time.Millisecond
}

// What a member answers to a poll: records as [partition, offset, key, value], and the partitions that it owns.
func polled(records [][4]any, owned []int) object {
	slices.Sort(owned)
	return object{"records": records, "owned": owned}
}

type object = map[string]any
type operations = map[string]func(context.Context, *request) (object, error)

func decoded(text *string) []byte {
	if text == nil {
		return nil
	}
	data, err := base64.StdEncoding.DecodeString(*text)
	if err != nil {
		panic(err)
	}
	return data
}

func encoded(data []byte) *string {
	if data == nil {
		return nil
	}
	text := base64.StdEncoding.EncodeToString(data)
	return &text
}

func answer(offset int64, timestamp time.Time, key, value []byte, headers []*header) *record {
	ms := timestamp.UnixMilli()
	if headers == nil {
		headers = []*header{}
	}
	return &record{Offset: offset, Timestamp: &ms, Key: encoded(key), Value: encoded(value), Headers: headers}
}

// The time that a record asks for, or zero.
func (r *record) time() time.Time {
	if r.Timestamp == nil {
		return time.Time{}
	}
	return time.UnixMilli(*r.Timestamp)
}

func moduleVersion(path string) object {
	build, _ := debug.ReadBuildInfo()
	for _, module := range build.Deps {
		if module.Path == path {
			return object{"version": module.Version}
		}
	}
	panic("not built with " + path)
}

func main() {
	client, bootstrap := os.Args[1], os.Args[2]
	have := map[string]func(string) (operations, func(error) (int, bool)){
		"franz-go": franz, "sarama": saramaClient, "kafka-go": segmentio,
	}
	served, code := have[client](bootstrap)
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 64<<20)
	out := json.NewEncoder(os.Stdout)
	for lines.Scan() {
		asked := request{Partition: byPartitioner} // null leaves it so
		if err := json.Unmarshal(lines.Bytes(), &asked); err != nil {
			panic(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		done, err := run(ctx, served, &asked)
		cancel()
		if err != nil {
			failed := object{"code": nil, "message": err.Error()}
			if number, ok := code(err); ok {
				failed["code"] = number
			}
			done = object{"error": failed}
		} else {
			done = object{"ok": done}
		}
		if err := out.Encode(done); err != nil {
			panic(err)
		}
	}
}

func run(ctx context.Context, served operations, asked *request) (object, error) {
	operation := served[asked.Op]
	if operation == nil {
		return nil, fmt.Errorf("unknown operation %s", asked.Op)
	}
	return operation(ctx, asked)
}

// The first error of a list, with its causes.
func first(errs ...error) error {
	return errors.Join(errs...)
}
