//! Many groups of some members: how soon all are there, how their heartbeats fare, and what memory they take.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::figures::{self, Usage};
use super::forming::{Formed, Forming, Progress, Shared};
use super::heartbeats::{Beat, Heartbeats};
use super::options::Protocol;
use super::paced::{self, PACED_IN_FLIGHT_MAX};
use super::site::Site;
use crate::load::{Ending, Meter, Schedule, Session, Worker};
use crate::profile::{Profile, Role};
use crate::progress;
use crate::report::Run;

/// What closed connections leave behind at a broker is gone by then.
const CLOSE_TIME: Duration = Duration::from_millis(200);

/// Forms the groups, lets them live, and removes them.
pub(super) fn run(site: &Site<'_>, protocol: Protocol, number: u32) -> Result<(Run, Profile), String> {
    let options = site.options;
    let members = u64::from(options.groups) * u64::from(options.members);
    let topic = site.block_on(site.brokers.topic(&format!("{}-members", options.topic), options.members))?;
    let forming = Arc::new(Forming {
        brokers: Arc::clone(&site.brokers),
        protocol,
        topic,
        tag: format!("{}-members-{}-{number}", site.tag, protocol.name()),
        groups: options.groups,
        members: options.members as usize,
        session_timeout_ms: options.session_timeout_ms(),
        heartbeat: options.heartbeat,
        shared: Shared::new(&site.brokers, options.connections),
        bar: progress::things_bar("groups", u64::from(options.groups)),
        progress: Progress::default(),
    });
    let lanes = (options.joining / options.members).clamp(1, options.groups);
    let before = Usage::now(site.server)?;
    let began = Instant::now();
    let (formed, settled) = site.block_on(async {
        let formed = Arc::clone(&forming).run(lanes).await;
        let settled = began.elapsed();
        tokio::time::sleep(CLOSE_TIME).await;
        formed.map(|formed| (formed, settled))
    })?;
    forming.bar.finish_and_clear();
    let joined = Usage::now(site.server)?;

    let ending = Ending { duration: Some(options.duration), bytes: None };
    let session = Session::new(Role::Heartbeat, Duration::ZERO, ending, site.server);
    let measured = session.run("beats", workers(site, protocol, &formed)?)?;
    let after = Usage::now(site.server)?;
    site.note_leftover(site.block_on(forming.clear(&formed)));
    let (_, tally) = measured.collected.loads.first().ok_or("nothing was measured")?;

    let mut run = vec![
        figures::count("members_total", members),
        figures::seconds("settled_s", settled),
        figures::per_second("joins_per_s", figures::as_f64(members) / settled.as_secs_f64()),
    ];
    run.extend(joined.cpu_since(before, "server_cpu_joining_s"));
    run.extend(figures::speed(tally, measured.elapsed, 1, ("heartbeats_per_s", "")));
    run.extend(figures::cost(&measured, tally.records, "server_cpu_per_heartbeat_us"));
    run.extend(before.memory("memory_before_bytes"));
    run.extend(joined.memory("memory_joined_bytes"));
    run.extend(after.memory("memory_after_bytes"));
    if let Some((before, after)) = before.memory_bytes.zip(after.memory_bytes) {
        run.push(figures::bytes("memory_per_member_bytes", after.saturating_sub(before) / members));
    }
    run.extend(Usage::now(site.server)?.memory("memory_once_left_bytes"));
    let latency = vec![(Role::Heartbeat, tally.latency.clone())];
    Ok((run, Profile { run: 0, latency, samples: measured.collected.samples }))
}

/// The members of all groups, divided among the connections to their coordinators.
fn workers(site: &Site<'_>, protocol: Protocol, formed: &[Arc<Formed>]) -> Result<Vec<Worker<'static>>, String> {
    let options = site.options;
    let mut by_address: BTreeMap<&str, Vec<Beat>> = BTreeMap::new();
    for group in formed {
        by_address.entry(&group.address).or_default().extend(group.beats());
    }
    let mut shares: Vec<(&str, Vec<Beat>)> = Vec::new();
    for (address, beats) in by_address {
        let connections = (options.connections as usize).min(beats.len());
        let share = |at: usize| beats.iter().skip(at).step_by(connections).cloned().collect();
        shares.extend((0..connections).map(|at| (address, share(at))));
    }
    let connections = u32::try_from(shares.len()).unwrap_or(u32::MAX);
    let interval_ms = u64::try_from(options.heartbeat.as_millis()).unwrap_or(u64::MAX).max(1);
    let mut workers = Vec::new();
    for ((address, beats), index) in shares.into_iter().zip(0..) {
        // As many in an interval as this connection has members; the connections take turns.
        let per_thousand_s = beats.len() as u64 * u64::from(connections) * 1000;
        let schedule = move |now: Instant| Schedule::new(now, per_thousand_s, interval_ms, connections, index);
        let worker = paced::Worker::connect(address, Heartbeats::new(protocol, beats), PACED_IN_FLIGHT_MAX)?;
        let work = Box::new(move |meter: &Meter<'_>| worker.run(meter, Some(schedule)));
        workers.push(Worker { role: Role::Heartbeat, work });
    }
    Ok(workers)
}
