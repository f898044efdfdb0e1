//! The driver for the client: a broker that says what the input says, over a real socket, to a client that asks and consumes.
//!
//! Versions and leaders are told truly, so that the client stays with this broker; every other answer is any bytes. The client may fail, and
//! never panics; what it hands out lies at or behind what was asked for.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use ringmill_net::Piece;
use ringmill_net::client::{Cluster, ConnectOptions, Consumer, ConsumerOptions, Start};
use ringmill_net::wire::api::SERVED;
use ringmill_net::wire::messages::api_versions::{ApiVersion, ApiVersionsResponse};
use ringmill_net::wire::messages::metadata::{
    MetadataResponse, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use ringmill_net::wire::{Api, ApiKey, Message, RequestHeader, encode_response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::script::Script;

const TOPIC: &str = "logs";

/// Answers of any bytes per input; then the broker is gone.
const ANSWERS_MAX: usize = 8;

/// See the file's page. The first bytes choose how far versions are narrowed and how the client consumes; then come answers, each with
/// its length.
pub fn answers(data: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime takes few resources").block_on(async {
        let mut script = Script::new(data);
        let (narrowed, check_crc, start) = (script.byte(), script.flag(), script.byte());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let port = listener.local_addr().expect("it is bound").port();
        let broker = Broker { script: RefCell::new(script), narrowed: narrowed.into(), port: port.into() };
        let consumed = consume(format!("127.0.0.1:{port}"), check_crc, start);
        tokio::select! {
            biased;
            () = consumed => {}
            () = broker.serve(listener) => {}
        }
    });
}

async fn consume(address: String, check_crc: bool, start: u8) {
    let connect = ConnectOptions { connect_timeout_ms: 1000, request_timeout_ms: 1000, ..ConnectOptions::default() };
    let Ok(cluster) = Cluster::connect(&address, connect.clone()).await else { return };
    let cluster = Arc::new(cluster);
    if start & 1 == 1 {
        let Ok(connection) = cluster.any().await else { return };
        let _ = connection.list_offset(TOPIC, 0, 5).await;
        let _ = cluster.sizes(TOPIC, &[0, 1]).await;
        let _ = cluster.delete_records(TOPIC, &[(0, 5)]).await;
        let _ = cluster.create_partitions(TOPIC, 3).await;
        let _ = connection.delete_topic(TOPIC).await;
    }
    let options =
        ConsumerOptions { check_crc, retry_backoff_ms: 0, max_wait_ms: 0, connect, ..ConsumerOptions::default() };
    let mut consumer = Consumer::on(cluster, options);
    let start = [Start::Offset(5), Start::Earliest, Start::Latest, Start::Timestamp(7)][usize::from(start / 2 % 4)];
    if consumer.assign(TOPIC, 0, start).await.is_err() {
        return;
    }
    while let Ok(Some(fetched)) = consumer.poll(Duration::from_secs(1)).await {
        for batch in fetched.batches().map_while(Result::ok) {
            let _ = batch.iter().count();
        }
        let position = consumer.position(TOPIC, 0).expect("it is assigned");
        assert!(position >= fetched.from, "from {} to {position}", fetched.from);
    }
}

/// The broker of one input.
struct Broker<'a> {
    script: RefCell<Script<'a>>,
    narrowed: i16,
    port: i32,
}

impl Broker<'_> {
    /// Serves one connection after the other; ends when it has said everything.
    async fn serve(&self, listener: TcpListener) {
        let mut left = ANSWERS_MAX;
        while left > 0 {
            let Ok((mut stream, _)) = listener.accept().await else { return };
            while let Some(answer) = self.answer(&mut stream, &mut left).await {
                if stream.write_all(&answer).await.is_err() {
                    break;
                }
            }
        }
        // Whoever still waits finds the connection closed, and nobody to connect to.
        drop(listener);
        std::future::pending().await
    }

    /// The answer to the next request of a connection.
    async fn answer(&self, stream: &mut TcpStream, left: &mut usize) -> Option<Vec<u8>> {
        let length = stream.read_i32().await.ok()?;
        let mut frame = vec![0; usize::try_from(length).expect("our client's frames are sound")];
        stream.read_exact(&mut frame).await.ok()?;
        let (header, _) = RequestHeader::parse(&frame).expect("our client's headers are sound");
        let key = header.api().expect("our client asks for what there is");
        let (version, id) = (header.api_version, header.correlation_id);
        match key {
            ApiKey::ApiVersions => Some(framed(&self.versions(), version, id)),
            ApiKey::Metadata => Some(framed(&self.overview(), version, id)),
            _ => {
                *left = left.checked_sub(1)?;
                let flexible = Api::served(key.code()).is_some_and(|api| api.is_flexible(version));
                let body = self.script.borrow_mut().bytes(4000);
                let mut answer = Vec::from(i32::try_from(body.len() + 4 + usize::from(flexible)).ok()?.to_be_bytes());
                answer.extend(id.to_be_bytes());
                answer.extend(flexible.then_some(0));
                answer.extend(body);
                Some(answer)
            }
        }
    }

    fn versions(&self) -> ApiVersionsResponse<'static> {
        let offered = |api: &Api| ApiVersion {
            api_key: api.key.code(),
            min_version: api.version_min,
            max_version: (api.version_max - self.narrowed % 8).max(api.version_min),
        };
        ApiVersionsResponse { api_keys: SERVED.iter().map(offered).collect(), ..ApiVersionsResponse::default() }
    }

    fn overview(&self) -> MetadataResponse<'static> {
        let brokers =
            vec![MetadataResponseBroker { node_id: 1, host: "127.0.0.1", port: self.port, ..Default::default() }];
        let partitions = (0..2)
            .map(|partition_index| MetadataResponsePartition { partition_index, leader_id: 1, ..Default::default() })
            .collect();
        let topic = MetadataResponseTopic { name: Some(TOPIC), topic_id: [9; 16], partitions, ..Default::default() };
        MetadataResponse { brokers, controller_id: 1, topics: vec![topic], ..MetadataResponse::default() }
    }
}

fn framed<'a>(message: &impl Message<'a>, version: i16, correlation_id: i32) -> Vec<u8> {
    let pieces = encode_response(message, version, correlation_id, Vec::new()).into_pieces();
    let bytes = |piece: Piece| match piece {
        Piece::Bytes(bytes) => bytes,
        Piece::File { .. } => unreachable!("no files are sent here"),
    };
    pieces.into_iter().flat_map(bytes).collect()
}
