//! Attacks by requests without end, each cheap to send and less cheap to answer.

use std::rc::Rc;

use ringmill_batch::Codec;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::super::field::Field;
use super::frames::{self, LARGE_TOPIC, WIDE_TOPIC};

/// Pipelines of requests that are answered.
const PIPELINES: usize = 50;

/// Pipelines of produces.
const PRODUCE_PIPELINES: usize = 20;

/// Requests that leave in one write, where they are small.
const REQUESTS_PER_WRITE: usize = 100;

/// Parked fetches, and the partitions of each.
const PARKED: usize = 200;
const PARKED_PARTITIONS: i32 = 30_000;

pub(super) async fn api_versions(field: Rc<Field>) {
    pipelines(&field, PIPELINES, &frames::api_versions(), REQUESTS_PER_WRITE, true).await;
}

pub(super) async fn metadata(field: Rc<Field>) {
    pipelines(&field, PIPELINES, &frames::metadata_of_all(), REQUESTS_PER_WRITE, true).await;
}

pub(super) async fn fetches(field: Rc<Field>) {
    pipelines(&field, PIPELINES, &frames::fetch_wide(PARKED_PARTITIONS, 0, 0, -1), 1, true).await;
}

pub(super) async fn list_offsets(field: Rc<Field>) {
    pipelines(&field, PIPELINES, &frames::list_offsets(), 1, true).await;
}

pub(super) async fn configs(field: Rc<Field>) {
    pipelines(&field, PIPELINES, &frames::describe_configs(), REQUESTS_PER_WRITE, true).await;
}

pub(super) async fn silent(field: Rc<Field>) {
    pipelines(&field, PRODUCE_PIPELINES, &frames::produce(WIDE_TOPIC, 100, Codec::None, 0), REQUESTS_PER_WRITE, false)
        .await;
}

pub(super) async fn bombs(field: Rc<Field>) {
    pipelines(&field, PRODUCE_PIPELINES, &frames::produce(LARGE_TOPIC, 64 << 20, Codec::Zstd, 1), 1, true).await;
}

async fn pipelines(field: &Rc<Field>, count: usize, request: &[u8], requests: usize, reads: bool) {
    let chunk = Rc::<[u8]>::from(request.repeat(requests));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..count {
        let (field, chunk) = (Rc::clone(field), Rc::clone(&chunk));
        tasks.spawn_local(async move { field.flood(&chunk, requests as u64, reads).await });
    }
    field.under_way();
    tasks.join_all().await;
}

/// Each wants more bytes than will ever come, from partitions that get some all the time.
pub(super) async fn parked(field: Rc<Field>) {
    let request = frames::fetch_wide(PARKED_PARTITIONS, i32::MAX, i32::MAX, -1);
    let mut streams = field.open_all(PARKED.min(field.connections)).await;
    for stream in &mut streams {
        field.count(u64::from(stream.write_all(&request).await.is_ok()));
    }
    field.under_way();
    // One append after the other wakes them all.
    let produce = frames::produce(WIDE_TOPIC, 100, Codec::None, 1);
    let Some(mut stream) = field.connect_patiently().await else { return };
    let mut answer = [0; 4096];
    while !field.is_over() {
        let sent = stream.write_all(&produce).await;
        if sent.is_err() || stream.read(&mut answer).await.is_ok_and(|count| count == 0) {
            let Some(again) = field.connect_patiently().await else { return };
            stream = again;
        }
        field.count(1);
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    field.count_ended(&streams);
}

pub(super) async fn sessions(field: Rc<Field>) {
    let request = frames::fetch_wide(1000, 0, 0, 0);
    let mut streams = field.open_all(field.connections).await;
    field.under_way();
    let mut answer = vec![0; 256 * 1024];
    while !field.is_over() {
        for stream in &mut streams {
            if field.is_over() {
                break;
            }
            field.count(u64::from(stream.write_all(&request).await.is_ok()));
            let _ = stream.read(&mut answer).await;
        }
    }
}

pub(super) async fn topics(field: Rc<Field>) {
    field.under_way();
    let mut number = 0;
    while let Some(mut stream) = field.connect_patiently().await {
        let mut answer = [0; 4096];
        loop {
            number += 1;
            let request = frames::create_topic(&format!("many-{number}"), 10_000);
            let answered = async {
                stream.write_all(&request).await?;
                stream.read(&mut answer).await
            };
            tokio::select! {
                () = field.until_over() => return,
                answered = answered => match answered {
                    Ok(count) if count > 0 => field.count(1),
                    _ => break,
                }
            }
        }
        field.lost().await;
    }
}
