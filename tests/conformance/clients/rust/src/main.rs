//! The driver of rskafka: a request a line on stdin, its answer a line on stdout, as ../python/driver.py says.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{BufRead, Write};
use std::sync::Arc;
use std::time::Duration;

use base64::prelude::{Engine, BASE64_STANDARD};
use chrono::{DateTime, Utc};
use rskafka::client::error::{Error as ClientError, ProtocolError};
use rskafka::client::partition::{Compression, OffsetAt, PartitionClient, UnknownTopicHandling};
use rskafka::client::{Client, ClientBuilder};
use rskafka::record::Record;
use serde_json::{json, Value};

const TIMEOUT: Duration = Duration::from_secs(30);
const TIMEOUT_MS: i32 = 30_000;
const VERSION: &str = "0.6.0";

type Answer = Result<Value, Box<dyn Error>>;

fn decoded(text: &Value) -> Option<Vec<u8>> {
    text.as_str().map(|text| BASE64_STANDARD.decode(text).expect("base64"))
}

fn encoded(data: &Option<Vec<u8>>) -> Value {
    data.as_ref().map_or(Value::Null, |data| BASE64_STANDARD.encode(data).into())
}

fn time(ms: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(ms).expect("a time")
}

fn text(request: &Value, name: &str) -> String {
    request[name].as_str().expect(name).to_owned()
}

fn number(request: &Value, name: &str) -> i64 {
    request[name].as_i64().expect(name)
}

async fn partition(client: &Client, request: &Value) -> Result<Arc<PartitionClient>, ClientError> {
    let number = number(request, "partition") as i32;
    let opened = client.partition_client(text(request, "topic"), number, UnknownTopicHandling::Error).await?;
    Ok(Arc::new(opened))
}

async fn produce(client: &Client, request: &Value) -> Answer {
    let compression = match request["codec"].as_str() {
        Some("gzip") => Compression::Gzip,
        Some("snappy") => Compression::Snappy,
        Some("lz4") => Compression::Lz4,
        Some("zstd") => Compression::Zstd,
        _ => Compression::NoCompression,
    };
    let mut records = Vec::new();
    for one in request["records"].as_array().expect("records") {
        let mut headers = BTreeMap::new();
        for header in one["headers"].as_array().expect("headers") {
            headers.insert(header[0].as_str().expect("a name").to_owned(), decoded(&header[1]).unwrap_or_default());
        }
        records.push(Record {
            key: decoded(&one["key"]),
            value: decoded(&one["value"]),
            headers,
            timestamp: one["timestamp"].as_i64().map_or_else(|| std::time::SystemTime::now().into(), time),
        });
    }
    Ok(json!({"offsets": partition(client, request).await?.produce(records, compression).await?}))
}

async fn consume(client: &Client, request: &Value) -> Answer {
    let partition = partition(client, request).await?;
    let count = number(request, "count") as usize;
    let mut offset = if let Some(offset) = request["offset"].as_i64() {
        offset
    } else if let Some(ms) = request["time"].as_i64() {
        partition.get_offset(OffsetAt::Timestamp(time(ms))).await?
    } else {
        partition.get_offset(OffsetAt::Earliest).await?
    };
    let mut records = Vec::new();
    while records.len() < count {
        let (fetched, _) = partition.fetch_records(offset, 1..10_000_000, 1_000).await?;
        for one in fetched {
            let headers: Vec<Value> =
                one.record.headers.into_iter().map(|(name, value)| json!([name, encoded(&Some(value))])).collect();
            offset = one.offset + 1;
            records.push(json!({
                "offset": one.offset,
                "timestamp": one.record.timestamp.timestamp_millis(),
                "key": encoded(&one.record.key),
                "value": encoded(&one.record.value),
                "headers": headers,
            }));
        }
    }
    records.truncate(count);
    Ok(json!({"records": records}))
}

async fn run(client: &Client, request: &Value) -> Answer {
    match request["op"].as_str() {
        Some("version") => Ok(json!({"version": VERSION})),
        Some("produce") => produce(client, request).await,
        Some("consume") => consume(client, request).await,
        Some("list_offset") => {
            let at = match (request["at"].as_str(), request["at"].as_i64()) {
                (Some("earliest"), _) => OffsetAt::Earliest,
                (_, Some(ms)) => OffsetAt::Timestamp(time(ms)),
                _ => OffsetAt::Latest,
            };
            Ok(json!({"offset": partition(client, request).await?.get_offset(at).await?}))
        }
        Some("create_topic") => {
            let partitions = number(request, "partitions") as i32;
            client.controller_client()?.create_topic(text(request, "topic"), partitions, 1, TIMEOUT_MS).await?;
            Ok(json!({}))
        }
        Some("delete_topic") => {
            client.controller_client()?.delete_topic(text(request, "topic"), TIMEOUT_MS).await?;
            Ok(json!({}))
        }
        Some("list_topics") => {
            let mut names: Vec<String> = client.list_topics().await?.into_iter().map(|topic| topic.name).collect();
            names.sort();
            Ok(json!({"topics": names}))
        }
        Some("delete_records") => {
            partition(client, request).await?.delete_records(number(request, "before"), TIMEOUT_MS).await?;
            Ok(json!({"low_watermark": null}))
        }
        _ => Err("unknown operation".into()),
    }
}

/// Return Kafka's number of an error; the client gives its name only.
fn code(error: &(dyn Error + 'static)) -> Option<i16> {
    match error.downcast_ref::<ClientError>() {
        Some(ClientError::ServerError { protocol_error, .. }) => {
            (-1..200).find(|code| ProtocolError::new(*code).as_ref() == Some(protocol_error))
        }
        _ => None,
    }
}

fn main() {
    let bootstrap = std::env::args().nth(1).expect("HOST:PORT");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let client = runtime.block_on(ClientBuilder::new(vec![bootstrap]).build()).expect("a client");
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let request: Value = serde_json::from_str(&line.expect("a line")).expect("JSON");
        let done = runtime.block_on(async {
            match tokio::time::timeout(TIMEOUT, run(&client, &request)).await {
                Ok(done) => done,
                Err(_) => Err("no answer in time".into()),
            }
        });
        let answer = match done {
            Ok(value) => json!({"ok": value}),
            Err(error) => json!({"error": {"code": code(error.as_ref()), "message": error.to_string()}}),
        };
        writeln!(out, "{answer}").expect("stdout");
        out.flush().expect("stdout");
    }
}
