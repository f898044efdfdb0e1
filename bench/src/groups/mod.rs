//! What consumer groups cost: many that live, offsets that are committed, and one large group that changes.
//!
//! It works against any broker that speaks Kafka's protocol. What is set up, and a rebalance, whose steps wait for each other, go through
//! the project's client; heartbeats and commits are measured over plain sockets on threads of their own, as all loads are.

mod brokers;
mod classic;
mod commits;
mod consumer;
mod figures;
mod forming;
mod heartbeats;
mod members;
mod offsets_topic;
mod options;
mod paced;
mod rebalance;
mod roll_call;
mod site;

use ringmill_net::wire::messages::consumer_group_heartbeat::ConsumerGroupHeartbeatRequest;

use crate::group::{Group, TO_FIRST};
use crate::machine;
use crate::open_files;
use crate::profile::Profile;
use crate::report::{Case, Report, Run};

use commits::Pace;
pub(crate) use options::GroupsOptions;
use options::{Part, Protocol};
use site::Site;

/// Beside the members' connections.
const OPEN_FILES_MORE: u64 = 100;

/// Measures the parts that were asked for.
///
/// # Errors
/// What the broker refused, and which group did not become what it should.
pub(crate) fn run(options: &GroupsOptions) -> Result<Report, String> {
    let wanted = u64::from(options.joining.max(options.members).max(options.rebalance_members)) + OPEN_FILES_MORE;
    let allowed = open_files::allow_all();
    let mut warnings = Vec::new();
    if allowed < wanted {
        warnings.push(format!(
            "a process may have {allowed} open files here, {wanted} may be needed: `ulimit -Hn {wanted}` as root"
        ));
    }
    if cfg!(debug_assertions) {
        warnings.push("this is a debug build: build with --release to measure".to_owned());
    }
    let site = Site::open(options)?;
    check_protocols(&site)?;
    let mut profiles = Vec::new();
    let mut groups = Vec::new();
    for part in options.parts() {
        groups.push(match part {
            Part::Members => measure_members(&site, &mut profiles)?,
            Part::Commits => measure_commits(&site, &mut profiles)?,
            Part::Rebalance => measure_rebalance(&site)?,
        });
    }
    warnings.extend(site.leftover());
    Ok(Report { command: "groups", conditions: conditions(options), cases: Vec::new(), groups, warnings, profiles })
}

/// Fails before anything is measured in vain.
fn check_protocols(site: &Site<'_>) -> Result<(), String> {
    let speaks_consumer = site.options.protocols().contains(&Protocol::Consumer);
    if !speaks_consumer || site.options.parts() == [Part::Commits] {
        return Ok(());
    }
    let any = site.block_on(site.brokers.cluster.any()).map_err(|error| error.to_string())?;
    let version = any.version_of::<ConsumerGroupHeartbeatRequest<'_>>();
    version
        .map(drop)
        .map_err(|error| format!("{error}: this broker lacks the consumer protocol (KIP-848), use --protocol classic"))
}

fn measure_members(site: &Site<'_>, profiles: &mut Vec<Profile>) -> Result<Group, String> {
    let options = site.options;
    let mut cases = Vec::new();
    for protocol in options.protocols() {
        cases.push(repeated(options.runs, protocol.name(), profiles, |run| members::run(site, protocol, run))?);
    }
    Ok(Group {
        factor: "members",
        title: "Many groups",
        compared: format!(
            "{} groups of {} members each; at most {} members join at once, each over a connection of its own, for a join may wait until its \
             group is there. These connections are closed before memory is looked at. Afterwards each member sends a heartbeat every {} over \
             {} shared connections, by the clock.",
            options.groups,
            options.members,
            options.joining,
            shown(options.heartbeat),
            options.connections,
        ),
        why: "Settled is when the last group was whole, delays of the broker included. A heartbeat changes nothing, so it should cost little; \
              its latency counts from when it should have left. Memory after, less memory before, divided by the members, is what one of \
              them takes; once all have left and the groups are deleted it should be as before.",
        lead: "settled_s",
        ratio: TO_FIRST,
        cases,
    })
}

fn measure_commits(site: &Site<'_>, profiles: &mut Vec<Profile>) -> Result<Group, String> {
    let options = site.options;
    let mut cases = Vec::new();
    if options.rate > 0 {
        let pace = Pace::Offsets(options.rate);
        let name = format!("{} offsets/s", options.rate);
        cases.push(repeated(options.runs, &name, profiles, |run| commits::run(site, pace, run))?);
    }
    let fastest = |run| commits::run(site, Pace::Answers, run);
    cases.push(repeated(options.runs, "as fast as answered", profiles, fastest)?);
    Ok(Group {
        factor: "commits",
        title: "Committed offsets",
        compared: format!(
            "Requests of {} partitions over {} connections, each for the group of which it is the only member: by the clock, with as many \
             requests under way as come together, and with {} under way on each connection.",
            options.offsets, options.connections, options.in_flight,
        ),
        why: "An answer promises that the offsets are stored, and what is stored was compared with the last answers. Whether that means on the \
              disk is the broker's own rule. What __consumer_offsets grew by is shown where the broker tells its size.",
        lead: "offsets_per_s",
        ratio: TO_FIRST,
        cases,
    })
}

fn measure_rebalance(site: &Site<'_>) -> Result<Group, String> {
    let options = site.options;
    let mut cases = Vec::new();
    for protocol in options.protocols() {
        for run in 0..options.runs {
            rebalance::run(site, protocol, run, &mut cases)?;
        }
    }
    Ok(Group {
        factor: "rebalance",
        title: "One large group that changes",
        compared: format!(
            "A group of {} members, each with a connection of its own and a heartbeat every {}: it forms, then {} times one member leaves and \
             another joins. The time counts until the last member has its assignment.",
            options.rebalance_members,
            shown(options.rebalance_heartbeat),
            options.rounds,
        ),
        why: "Members learn of a rebalance by their heartbeats, so up to one interval of the time is theirs; from the last JoinGroup on it is the \
              broker's. A new group of the classic protocol waits for more members (group.initial.rebalance.delay.ms), which is subtracted \
              beyond the delay; a broker that prolongs the wait in whole steps when members come meanwhile shows up to one step more.",
        lead: "to_assigned_s",
        ratio: TO_FIRST,
        cases,
    })
}

/// A case out of so many runs of the same.
fn repeated(
    runs: u32,
    name: &str,
    profiles: &mut Vec<Profile>,
    mut measure: impl FnMut(u32) -> Result<(Run, Profile), String>,
) -> Result<Case, String> {
    let mut case = Case { name: name.to_owned(), runs: Vec::new() };
    for number in 0..runs {
        let (run, profile) = measure(number)?;
        if let Some(lead) = run.first() {
            eprintln!("{name}, run {} of {runs}: {} {}", number + 1, lead.key, lead.show());
        }
        case.runs.push(run);
        profiles.push(Profile { run: profiles.len() + 1, ..profile });
    }
    Ok(case)
}

fn conditions(options: &GroupsOptions) -> Vec<(&'static str, String)> {
    let mut conditions = machine::conditions();
    conditions.push(("broker", options.broker.clone()));
    if let Some(pid) = options.pid {
        conditions.push(("broker_command", machine::command_of(pid)));
    }
    if let Some(directory) = &options.limit {
        let file_system = machine::file_system(directory);
        conditions.push(("limit_measured_in", format!("{}, {file_system}", directory.display())));
    }
    conditions
}

/// As it was typed, or nearly so.
fn shown(time: std::time::Duration) -> String {
    crate::units::micros(time.as_secs_f64() * 1e6)
}
