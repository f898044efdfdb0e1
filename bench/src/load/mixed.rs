//! Producers, consumers that follow them, and readers that catch up from the log's beginning, all at once.

use std::fs;

use crate::cli::MixedOptions;
use crate::profile::Role;
use crate::report::Report;

use super::consume::{self, Reading};
use super::generated::Generated;
use super::outcome::{Outcome, RunLimits};
use super::peers::Peer;
use super::produce::Plan;
use super::session::{Ending, Session, Worker};
use super::topic::{self, Partition, TopicClient};
use super::{PRODUCE_DURATION_DEFAULT, batch, conditions, produce_workers, server, slow_sockets};

/// What a mixed load needs throughout its runs.
struct Mixed<'a> {
    options: &'a MixedOptions,
    generated: Generated<'a>,
    plan: Plan,
    client: TopicClient,
}

/// Produces and consumes the same topics at once.
///
/// # Errors
/// What the broker refused, or what does not fit together in the options.
pub(crate) fn run(options: &MixedOptions) -> Result<Report, String> {
    let load = &options.load;
    let consumers = options.consumers.unwrap_or(load.connections);
    if options.send.acks == 0 && options.backlog.is_some() {
        return Err("--backlog waits for answers: it needs --acks 1 or all".to_owned());
    }
    if Peer::of(&load.broker).is_some() {
        return Err("a mixed load speaks Kafka's protocol only".to_owned());
    }
    let mixed = Mixed {
        options,
        generated: Generated::new(&options.records, &options.send, load.connections)?,
        plan: Plan::new(load, &options.send, true)?,
        client: TopicClient::connect(&load.broker)?,
    };
    let duration = load.duration.or(load.bytes.is_none().then_some(PRODUCE_DURATION_DEFAULT));
    let ending = Ending { duration, bytes: load.bytes };
    let roles: Vec<Role> =
        [(Role::Produce, load.connections), (Role::Consume, consumers), (Role::CatchUp, options.catch_up)]
            .into_iter()
            .filter_map(|(role, count)| (count > 0).then_some(role))
            .collect();
    let mut outcome = Outcome::new("mixed", load.connections + consumers + options.catch_up);
    let mut described = Vec::new();
    for _ in 0..load.runs {
        let partitions = mixed.prepare()?;
        described = conditions(load, &partitions);
        described.push(("durability", mixed.client.durability(&partitions[0].topic).to_owned()));
        let session = Session::new(Role::Produce, load.warm_up, ending, server(load));
        session.settle();
        let limits =
            RunLimits::measure(load, &roles, options.send.rate.map(|_| batch::average_bytes(&mixed.stocks())))?;
        if options.cold {
            empty_page_cache()?;
        }
        // More connections than partitions would read some records twice.
        let consumers = consumers.min(u32::try_from(partitions.len()).unwrap_or(u32::MAX));
        described.push(("consumers", format!("{consumers}, and {} that catch up", options.catch_up)));
        let workers = mixed.workers(&partitions, consumers, &mut described)?;
        outcome.add(session.run("mixed", workers)?, &limits);
    }
    described.push(("rates", "produce: bytes of values; consume and catch-up: bytes of batches as stored".to_owned()));
    let clock = if options.send.idempotent { "whole milliseconds, so up to 1 ms too long" } else { "microseconds" };
    described.push(("end_to_end_latency", format!("from the batches' own times, in {clock}")));
    described.extend(mixed.plan.conditions());
    Ok(outcome.report(described, slow_sockets().into_iter().collect()))
}

impl Mixed<'_> {
    /// The topics, filled as far as was asked for.
    fn prepare(&self) -> Result<Vec<Partition>, String> {
        let load = &self.options.load;
        let partitions = self.client.prepare(load, &self.options.send)?;
        let Some(bytes) = self.options.backlog else { return Ok(partitions) };
        // As fast as possible, whatever the run's own pace is.
        let unpaced = self.plan.unpaced();
        let workers = produce_workers(&unpaced, &self.client, &partitions, load, self.stocks())?;
        let ending = Ending { duration: None, bytes: Some(bytes) };
        Session::new(Role::Produce, std::time::Duration::ZERO, ending, None).run("backlog", workers)?;
        self.client.describe(load)
    }

    fn stocks(&self) -> Vec<batch::Stock> {
        (0..self.options.load.connections).map(|connection| self.generated.stock(connection)).collect()
    }

    fn workers<'a>(
        &'a self,
        partitions: &[Partition],
        consumers: u32,
        described: &mut Vec<(&'static str, String)>,
    ) -> Result<Vec<Worker<'a>>, String> {
        let options = self.options;
        let stocks = self.stocks();
        described.push(("records", self.generated.to_string()));
        described.push(("batches", batch::describe(&stocks, options.send.codec)));
        // Consumers first, so that they wait at the logs' ends when the first record comes.
        let mut workers = Vec::new();
        for (count, role, reading) in
            [(consumers, Role::Consume, Reading::Follow), (options.catch_up, Role::CatchUp, Reading::Again)]
        {
            if count > 0 {
                for share in topic::share_out(partitions, count)? {
                    let worker = consume::Worker::new(&options.fetch, &share, reading)?;
                    workers.push(Worker { role, work: Box::new(move |meter| worker.run(meter)) });
                }
            }
        }
        workers.extend(produce_workers(&self.plan, &self.client, partitions, &options.load, stocks)?);
        Ok(workers)
    }
}

/// Writes dirty pages back and drops all that the kernel keeps of files.
fn empty_page_cache() -> Result<(), String> {
    rustix::fs::sync();
    fs::write("/proc/sys/vm/drop_caches", "3").map_err(|error| format!("--cold needs root: {error}"))
}
