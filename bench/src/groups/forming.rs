//! Many groups form: a bounded number at once, while those that are whole already are kept alive.
//!
//! A broker serves a connection's requests one after the other, and a JoinGroup waits for its answer until the whole group is there (in
//! the consumer protocol a join waits only until it is stored). So each member joins over a connection of its own: a lane has as many
//! connections as a group has members and forms one group after the other; there are as many lanes as members may join at once. Everything
//! after that shares few connections.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use ringmill_net::client::Connection;
use tokio::task::JoinSet;

use super::brokers::{Brokers, Topic};
use super::heartbeats::Beat;
use super::options::Protocol;
use super::roll_call::RollCall;
use super::{classic, consumer};

/// Between two rounds of heartbeats of a group whose members wait for each other.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// What is to be formed, and how far it is.
pub(super) struct Forming {
    pub(super) brokers: Arc<Brokers>,
    pub(super) protocol: Protocol,
    pub(super) topic: Topic,
    /// Begins the groups' ids.
    pub(super) tag: String,
    pub(super) groups: u32,
    pub(super) members: usize,
    pub(super) session_timeout_ms: i32,
    pub(super) heartbeat: Duration,
    pub(super) shared: Shared,
    pub(super) bar: ProgressBar,
    pub(super) progress: Progress,
}

/// How far it is; nothing at first.
#[derive(Default)]
pub(super) struct Progress {
    /// The next group's number.
    next: AtomicU32,
    formed: Mutex<Vec<Arc<Formed>>>,
}

/// A whole group.
pub(super) struct Formed {
    pub(super) id: Arc<str>,
    /// Of its coordinator.
    pub(super) address: String,
    pub(super) members: Members,
}

pub(super) enum Members {
    Classic(classic::Group, Vec<classic::Member>),
    Consumer(Vec<consumer::Member>),
}

/// Connections that many members use, some to each coordinator.
pub(super) struct Shared {
    brokers: Arc<Brokers>,
    count: usize,
    open: tokio::sync::Mutex<BTreeMap<String, Vec<Arc<Connection>>>>,
}

impl Shared {
    pub(super) fn new(brokers: &Arc<Brokers>, count: u32) -> Shared {
        Shared { brokers: Arc::clone(brokers), count: count as usize, open: tokio::sync::Mutex::default() }
    }

    /// One of those to an address; users with different numbers take turns.
    pub(super) async fn get(&self, address: &str, number: usize) -> Result<Arc<Connection>, String> {
        let mut open = self.open.lock().await;
        if !open.contains_key(address) {
            let mut connections = Vec::new();
            for _ in 0..self.count {
                connections.push(self.brokers.connection(address).await?);
            }
            open.insert(address.to_owned(), connections);
        }
        let connections = &open[address];
        Ok(Arc::clone(&connections[number % connections.len()]))
    }
}

impl Forming {
    /// Forms all groups, at most `lanes` of them at once.
    pub(super) async fn run(self: Arc<Forming>, lanes: u32) -> Result<Vec<Arc<Formed>>, String> {
        let mut running = JoinSet::new();
        for _ in 0..lanes {
            running.spawn(Arc::clone(&self).lane());
        }
        let keeper = Arc::clone(&self);
        let mut keeping = std::pin::pin!(keeper.keep_alive());
        loop {
            tokio::select! {
                biased;
                lost = &mut keeping => return Err(lost),
                ended = running.join_next() => match ended {
                    Some(lane) => lane.map_err(|error| error.to_string())??,
                    None => break,
                },
            }
        }
        Ok(std::mem::take(&mut *self.formed()))
    }

    async fn lane(self: Arc<Forming>) -> Result<(), String> {
        let mut own: BTreeMap<String, Vec<Arc<Connection>>> = BTreeMap::new();
        loop {
            let number = self.progress.next.fetch_add(1, Ordering::Relaxed);
            if number >= self.groups {
                return Ok(());
            }
            let id: Arc<str> = format!("{}-{number}", self.tag).into();
            let address = self.brokers.coordinator(&id).await?;
            let connections = own.entry(address.clone()).or_default();
            while connections.len() < self.members {
                connections.push(self.brokers.connection(&address).await?);
            }
            let members = match self.protocol {
                Protocol::Classic => self.form_classic(&id, connections).await?,
                Protocol::Consumer => self.form_consumer(&id, connections).await?,
            };
            self.formed().push(Arc::new(Formed { id, address, members }));
            self.bar.inc(1);
        }
    }

    async fn form_classic(&self, id: &Arc<str>, connections: &[Arc<Connection>]) -> Result<Members, String> {
        let group = classic::Group::new(Arc::clone(id), self.topic.clone(), self.session_timeout_ms, self.members);
        let group = Arc::new(group);
        let mut joining = JoinSet::new();
        for connection in connections {
            let (connection, group) = (Arc::clone(connection), Arc::clone(&group));
            joining.spawn(async move {
                let mut member = classic::Member::new();
                member.enter(&connection, &group).await.map(|_| member)
            });
        }
        let mut members = Vec::with_capacity(self.members);
        while let Some(member) = joining.join_next().await {
            members.push(member.map_err(|error| error.to_string())??);
        }
        let group = Arc::into_inner(group).expect("all members have ended that shared the group");
        Ok(Members::Classic(group, members))
    }

    async fn form_consumer(&self, id: &Arc<str>, connections: &[Arc<Connection>]) -> Result<Members, String> {
        let (brokers, topic) = (Arc::clone(&self.brokers), self.topic.clone());
        let mut group = RollCall::new(brokers, id, topic, self.session_timeout_ms, LOOK_INTERVAL, connections.to_vec());
        group.settle(Instant::now()).await?;
        Ok(Members::Consumer(group.into_members()))
    }

    /// Lets all members leave, over all shared connections at once, for nobody sends heartbeats any more; then removes the groups.
    pub(super) async fn clear(self: &Arc<Forming>, formed: &[Arc<Formed>]) -> Result<(), String> {
        let mut clearing = JoinSet::new();
        let shares = self.shared.count;
        for share in 0..shares {
            let forming = Arc::clone(self);
            let groups: Vec<Arc<Formed>> = formed.iter().skip(share).step_by(shares).cloned().collect();
            clearing.spawn(async move {
                for group in groups {
                    let connection = forming.shared.get(&group.address, share).await?;
                    group.leave(&connection).await?;
                }
                Ok::<_, String>(())
            });
        }
        while let Some(cleared) = clearing.join_next().await {
            cleared.map_err(|error| error.to_string())??;
        }
        for group in formed {
            self.brokers.delete_group(&group.id).await?;
        }
        Ok(())
    }

    /// Sends heartbeats for all groups that are whole. Ends only with an error.
    async fn keep_alive(&self) -> String {
        loop {
            tokio::time::sleep(self.heartbeat).await;
            let formed: Vec<Arc<Formed>> = self.formed().clone();
            for (number, group) in formed.iter().enumerate() {
                if let Err(error) = self.keep_alive_one(number, group).await {
                    return error;
                }
            }
        }
    }

    async fn keep_alive_one(&self, number: usize, formed: &Formed) -> Result<(), String> {
        let connection = self.shared.get(&formed.address, number).await?;
        match &formed.members {
            Members::Classic(group, members) => {
                for member in members {
                    if member.heartbeat(&connection, group).await? == classic::Told::JoinAnew {
                        return Err(format!("group {} rebalances though nobody comes or goes", formed.id));
                    }
                }
            }
            Members::Consumer(members) => {
                for member in members {
                    member.clone().heartbeat(&connection, &self.topic, self.session_timeout_ms).await?;
                }
            }
        }
        Ok(())
    }

    fn formed(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Formed>>> {
        self.progress.formed.lock().expect("nobody panics while looking")
    }
}

impl Formed {
    /// Its members, as their heartbeats name them.
    pub(super) fn beats(&self) -> Vec<Beat> {
        let beat = |member: &str, epoch| Beat { group: Arc::clone(&self.id), member: member.to_owned(), epoch };
        match &self.members {
            Members::Classic(_, members) => members.iter().map(|each| beat(&each.id, each.generation)).collect(),
            Members::Consumer(members) => members.iter().map(|each| beat(&each.id, each.epoch)).collect(),
        }
    }

    async fn leave(&self, connection: &Connection) -> Result<(), String> {
        match &self.members {
            Members::Classic(group, members) => classic::leave(connection, group, members).await,
            Members::Consumer(members) => {
                for member in members {
                    member.leave(connection).await?;
                }
                Ok(())
            }
        }
    }
}
